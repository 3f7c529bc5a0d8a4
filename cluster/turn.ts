/**
 * One turn of a front: all that it asks of the engine at once, as arguments of queue.turn_1, and what
 * the engine answers. Pure.
 *
 * It owns the order in which the parts of a turn take effect, which schema.sql tells, and what may
 * not be in one turn because of it.
 *
 * @module
 */

import type { TaskState } from "../lib/core/store.ts";
import type { Task, TaskDescription } from "../lib/core/task.ts";
import { parsePriority } from "../lib/core/protocol.ts";
import type { TaskCounts } from "../lib/core/task_queue.ts";

/** Most parts of a turn: more save nothing, and keep other fronts from their hand-outs. */
export const maxParts = 5000;

/**
 * Most characters of payloads in a turn, the last one's not counted: so many take some 0.3 s, in which
 * this front answers nobody.
 */
const maxPayloadChars = 4 * 1024 * 1024;

/** A task as the engine hands it out. */
export interface EngineTask {
  /** The task. */
  readonly task: Task;
  /** How many of its hand-outs ended without completion. */
  readonly ends: number;
}

/** The tasks of all fronts together. */
export interface EngineState {
  /** How many there are. */
  readonly counts: TaskCounts;
  /** The length of their payloads, in characters. */
  readonly payloadChars: number;
  /** When the next delay is over, in milliseconds since 1970; undefined if there is none. */
  readonly due: number | undefined;
}

/** What the engine answers to a turn. */
export interface Receipt {
  /** Tasks that were handed out, for the first of those who asked. */
  readonly taken: readonly EngineTask[];
  /** Delayed tasks that are ready now. */
  readonly ready: readonly EngineTask[];
  /** Which of the kicks found a task, from 0. */
  readonly kicked: ReadonlySet<number>;
  /** New consumers' numbers. */
  readonly consumers: readonly number[];
  /** Whether payloads had no room in it: hand-outs that are left are to be asked for again. */
  readonly isCut: boolean;
  /** What is there after the turn. */
  readonly state: EngineState;
}

/** The arguments of queue.turn_1, after the front's number and the turn's. */
export type TurnArguments = readonly [
  waiting: boolean,
  done: Column<number>,
  backArrivals: Column<number>,
  backEnds: Column<number>,
  backDues: Column<number>,
  backBuried: Column<boolean>,
  givenPriorities: Column<number>,
  givenArrivals: Column<number>,
  givenEnds: Column<number>,
  givenIds: Column<string>,
  givenDurations: Column<string>,
  givenPayloads: Column<string>,
  dueUntil: number | null,
  dueMost: number,
  holders: Column<number>,
  newPriorities: Column<number>,
  newIds: Column<string>,
  newDurations: Column<string>,
  newPayloads: Column<string>,
  newDues: Column<number>,
  kickedIds: Column<string>,
  consumers: number,
];

/** An array of SQL; null instead of one that has no element but null. */
export type Column<T> = readonly (T | null)[] | null;

/** What is asked of the engine at once. */
export class Turn {
  /** Whether consumers wait at this front for tasks that others create. */
  waiting = false;
  /** New tasks in it, and the length of their payloads. */
  readonly created = { tasks: 0, chars: 0 };
  readonly #done: number[] = [];
  readonly #back: { readonly task: Task; readonly state: TaskState }[] = [];
  readonly #given: EngineTask[] = [];
  readonly #holders: number[] = [];
  readonly #takesByHolder = new Map<number, number>();
  readonly #new: { readonly task: TaskDescription; readonly due: number | undefined }[] = [];
  readonly #kicks: string[] = [];
  #delays: { readonly until: number; readonly most: number } | undefined;
  readonly #meanChars: number;
  #consumers = 0;
  #payloadChars = 0;

  /**
   * Makes an empty turn.
   *
   * @param meanChars how long a payload is that is handed out, as far as is known.
   */
  constructor(meanChars = 0) {
    this.#meanChars = meanChars;
  }

  /** Whether nothing is asked. */
  get isEmpty(): boolean {
    return this.#parts === 0 && this.#delays === undefined;
  }

  /** Whether more belongs into the next turn. */
  get isFull(): boolean {
    return this.#parts >= maxParts || this.#payloadChars >= maxPayloadChars;
  }

  get #parts(): number {
    return this.#done.length + this.#back.length + this.#given.length + this.#holders.length +
      this.#new.length + this.#kicks.length + this.#consumers;
  }

  /** How many tasks a consumer is to get that it does not have yet. */
  takesFor(consumer: number): number {
    return this.#takesByHolder.get(consumer) ?? 0;
  }

  /**
   * Whether a task can still be put back in this turn: that comes before all hand-outs, kicks and ends
   * of delays, and must not seem to have come before one that was asked for earlier.
   *
   * @param consumer who held it; undefined if that is not known.
   */
  mayPutBack(consumer?: number): boolean {
    return this.takesFor(0) === 0 && this.#kicks.length === 0 && this.#delays === undefined &&
      (consumer === undefined ? this.#holders.length === 0 : this.takesFor(consumer) === 0);
  }

  /** Whether delays can still be ended in this turn: that comes before all hand-outs. */
  get mayEndDelays(): boolean {
    return this.#delays === undefined && this.#holders.length === 0;
  }

  /** Removes a task that is held here. */
  complete(task: Task): void {
    this.#done.push(task.arrival);
  }

  /** Puts a task that is held here into another state. */
  putBack(task: Task, state: TaskState): void {
    this.#back.push({ task, state });
  }

  /** Has a requested task be there again. */
  giveBack(given: EngineTask): void {
    this.#given.push(given);
    this.#payloadChars += given.task.payload?.length ?? 0;
  }

  /** Makes delayed tasks ready that are due by then, so many at most. */
  endDelays(until: number, most: number): void {
    this.#delays = { until, most };
  }

  /**
   * Asks for the first task: for a consumer to hold, or for good if that is undefined.
   *
   * @returns its place in {@linkcode Receipt.taken}.
   */
  take(consumer?: number): number {
    const holder = consumer ?? 0;
    this.#payloadChars += this.#meanChars;
    this.#takesByHolder.set(holder, this.takesFor(holder) + 1);
    return this.#holders.push(holder) - 1;
  }

  /** The hand-outs after so many, as a turn of their own. */
  takesAfter(taken: number): Turn {
    const rest = new Turn();
    rest.waiting = this.waiting;
    rest.#holders.push(...this.#holders.slice(taken));
    return rest;
  }

  /** How many hand-outs are asked for. */
  get takes(): number {
    return this.#holders.length;
  }

  /** Adds a new task; delayed until a time, in milliseconds since 1970, if that is given. */
  create(task: TaskDescription, due?: number): void {
    const chars = task.payload?.length ?? 0;
    this.#new.push({ task, due });
    this.created.tasks++;
    this.created.chars += chars;
    this.#payloadChars += chars;
  }

  /** Whether the turn makes tasks ready that its own hand-outs come too early for. */
  get makesReadyLate(): boolean {
    return this.#kicks.length > 0 || this.#new.some(({ due }) => due === undefined);
  }

  /** Kicks a task; returns what it is called in {@linkcode Receipt.kicked}. */
  kick(taskId: string): number {
    return this.#kicks.push(taskId) - 1;
  }

  /** Asks for a new consumer's number; returns its place in {@linkcode Receipt.consumers}. */
  openConsumer(): number {
    return this.#consumers++;
  }

  /** The turn as the engine takes it. */
  encode(): TurnArguments {
    const [done, back, given, created] = [this.#done, this.#back, this.#given, this.#new];
    return [
      this.waiting,
      column(done, (arrival) => arrival),
      column(back, ({ task }) => task.arrival),
      column(back, ({ state }) => state.ends),
      column(back, ({ state }) => state.dueMs),
      column(back, ({ state }) => state.isBuried),
      column(given, ({ task }) => task.priority),
      column(given, ({ task }) => task.arrival),
      column(given, ({ ends }) => ends),
      column(given, ({ task }) => task.taskId),
      column(given, ({ task }) => task.duration),
      column(given, ({ task }) => task.payload),
      this.#delays?.until ?? null,
      this.#delays?.most ?? 0,
      column(this.#holders, (holder) => holder),
      column(created, ({ task }) => task.priority),
      column(created, ({ task }) => task.taskId),
      column(created, ({ task }) => task.duration),
      column(created, ({ task }) => task.payload),
      column(created, ({ due }) => due),
      column(this.#kicks, (taskId) => taskId),
      this.#consumers,
    ];
  }
}

/** A column of rows; null if there is no value in it, which spares the engine to read it. */
function column<T, V>(rows: readonly T[], value: (row: T) => V | undefined): Column<V> {
  const values = rows.map((row) => value(row) ?? null);
  return values.every((value) => value === null) ? null : values;
}

/**
 * Reads what queue.turn_1 has returned.
 *
 * @throws {Error} it is no receipt.
 */
export function decodeReceipt(text: string): Receipt {
  const taken: EngineTask[] = [];
  const ready: EngineTask[] = [];
  const kicked = new Set<number>();
  let isCut = false;
  let consumers: readonly number[] = [];
  for (const line of text.split("\n")) {
    const rest = line.slice(2);
    switch (line[0]) {
      case "A":
        taken.push(decodeTask(rest));
        break;
      case "D":
        ready.push(decodeTask(rest));
        break;
      case "C":
        isCut = true;
        break;
      case "K":
        kicked.add(Number(rest) - 1);
        break;
      case "N":
        consumers = rest.split(" ").map(Number);
        break;
      case "S":
        return { taken, ready, kicked, consumers, isCut, state: decodeState(rest) };
    }
  }
  throw new Error("the engine has answered with no receipt");
}

function decodeTask(line: string): EngineTask {
  const [, priority = "", arrival, ends, taskId = "", duration = "", payload] =
    /^(\d) (\d+) (\d+) ([^ ]+) ([^ ]+)(?: (.*))?$/su.exec(line) ?? [];
  const task = { priority: parsePriority(priority), taskId, duration, arrival: Number(arrival) };
  return { task: payload === undefined ? task : { ...task, payload }, ends: Number(ends) };
}

function decodeState(line: string): EngineState {
  const [ready = 0, delayed = 0, reserved = 0, buried = 0, payloadChars = 0, due] = line.split(" ")
    .map(Number);
  return { counts: { ready, delayed, reserved, buried }, payloadChars, due };
}
