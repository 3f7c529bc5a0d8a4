/**
 * What schema.sql says, in memory: a model of the engine, for tests without one and beside one.
 *
 * @module
 */

import { parsePriority } from "../../lib/core/protocol.ts";
import type { Task } from "../../lib/core/task.ts";
import { endsBeforeBurial } from "../../lib/core/task_queue.ts";
import { GivenUpError } from "../engine.ts";
import type { Column, TurnArguments } from "../turn.ts";

type State = "ready" | "delayed" | "reserved" | "buried";

interface Row {
  readonly task: Task;
  ends: number;
  state: State;
  due: number;
  front: number;
}

interface Front {
  turn: number;
  receipt: string;
}

/** All that a node knows. */
interface Content {
  readonly rows: Map<number, Row>;
  readonly fronts: Map<number, Front>;
  lastArrival: number;
  lastConsumer: number;
  lastFront: number;
}

/** What the primary knew after a change. */
interface LogEntry {
  /** The number of the change; never used twice. */
  readonly position: number;
  readonly content: Content;
}

/**
 * An engine in memory: a primary, and standbys that have what is on a majority's disks and maybe more.
 *
 * Changes reach the standbys in order: if one has a change, it has all before.
 */
export class ModelEngine {
  #content: Content = {
    ...{ rows: new Map(), fronts: new Map(), lastArrival: 0, lastConsumer: 0, lastFront: 0 },
  };
  /** The last state that a majority has, and those after it. */
  #log: LogEntry[] = [];
  /** Changes that are gone, since nobody had them but a primary that is gone, too. */
  readonly #dropped = new Set<number>();
  #position = 0;

  /** Makes one without tasks. */
  constructor() {
    this.#note();
  }

  /** A new front's number. */
  openFront(): number {
    const number = ++this.#content.lastFront;
    this.#content.fronts.set(number, { turn: 0, receipt: "" });
    this.confirm(this.#note());
    return number;
  }

  /** Ends a front: what it holds is ready again; each counts as so many ends. */
  retire(front: number, counted: 0 | 1): void {
    this.#content.fronts.delete(front);
    for (const row of this.#in("reserved")) {
      if (row.front !== front) continue;
      row.ends += counted;
      row.state = row.ends >= endsBeforeBurial ? "buried" : "ready";
    }
    this.confirm(this.#note());
  }

  /** The number of the last change. */
  get position(): number {
    return this.#position;
  }

  /**
   * Waits, so to speak, until a change is on a majority's disks.
   *
   * @returns false if it is not and never will be: the primary is gone, with that change.
   */
  confirm(position: number): boolean {
    if (this.#dropped.has(position)) return false;
    const index = this.#log.findIndex((entry) => entry.position === position);
    if (index > 0) this.#log.splice(0, index);
    return true;
  }

  /**
   * Loses the primary, and promotes a standby.
   *
   * @param choose how many changes beyond those that a majority has it has, of so many.
   */
  promote(choose: (most: number) => number): void {
    const kept = 1 + choose(this.#log.length - 1);
    for (const { position } of this.#log.splice(kept)) this.#dropped.add(position);
    this.#content = copyOf((this.#log.at(-1) as LogEntry).content);
  }

  /** Notes that something has changed; returns its number. */
  #note(): number {
    this.#log.push({ position: ++this.#position, content: copyOf(this.#content) });
    return this.#position;
  }

  /**
   * One turn of a front.
   *
   * @throws {GivenUpError} it was ended.
   * @throws {Error} it is not the next turn, or the front holds other tasks.
   */
  turn(number: number, turn: number, args: TurnArguments): string {
    const front = this.#content.fronts.get(number);
    if (front === undefined) throw new GivenUpError(`front ${number} was given up`);
    if (front.turn === turn) return front.receipt;
    if (front.turn !== turn - 1) throw new Error(`front ${number} is at turn ${front.turn}`);
    front.turn = turn;
    front.receipt = this.#take(number, args);
    this.#note();
    return front.receipt;
  }

  #take(front: number, args: TurnArguments): string {
    const [, done, back, backEnds, backDues, backBuried, givenPriorities, ...others] = args;
    const [given, givenEnds, givenIds, givenDurations, givenPayloads, until, most, ...rest] =
      others;
    const [holders, priorities, ids, durations, payloads, dues, kicks, consumers] = rest;
    const out: string[] = [];
    for (const arrival of values(done)) {
      this.#held(front, arrival);
      this.#content.rows.delete(arrival);
    }
    values(back).forEach((arrival, i) => {
      const row = this.#held(front, arrival);
      const due = backDues?.[i] ?? undefined;
      row.ends = backEnds?.[i] ?? 0;
      row.state = backBuried?.[i] === true ? "buried" : due === undefined ? "ready" : "delayed";
      row.due = due ?? 0;
    });
    values(given).forEach((arrival, i) => {
      this.#content.rows.set(arrival, {
        task: taskOf([givenPriorities, givenIds, givenDurations, givenPayloads], i, arrival),
        ...{ ends: givenEnds?.[i] ?? 0, state: "ready", due: 0, front: 0 },
      });
    });
    if (until !== null) {
      const due = this.#in("delayed").filter((row) => row.due <= until)
        .sort((a, b) => a.due - b.due || a.task.arrival - b.task.arrival).slice(0, most);
      for (const row of due) {
        row.state = "ready";
        out.push(`D ${format(row)}`);
      }
    }
    const holding = values(holders);
    this.#inOrder("ready").slice(0, holding.length).forEach((row, i) => {
      out.push(`A ${format(row)}`);
      row.state = "reserved";
      row.front = front;
      if (holding[i] === 0) this.#content.rows.delete(row.task.arrival);
    });
    values(ids).forEach((_, i) => {
      const due = dues?.[i] ?? undefined;
      const task = taskOf([priorities, ids, durations, payloads], i, ++this.#content.lastArrival);
      const state = due === undefined ? "ready" : "delayed";
      this.#content.rows.set(task.arrival, { task, state, ends: 0, due: due ?? 0, front: 0 });
    });
    values(kicks).forEach((taskId, i) => {
      const row = this.#inOrder("buried").find(({ task }) => task.taskId === taskId);
      if (row === undefined) return;
      row.state = "ready";
      row.ends = 0;
      out.push(`K ${i + 1}`);
    });
    const numbers = Array.from({ length: consumers }, () => ++this.#content.lastConsumer);
    if (consumers > 0) out.push(`N ${numbers.join(" ")}`);
    return [...out, this.#sums()].join("\n");
  }

  #sums(): string {
    const states: readonly State[] = ["ready", "delayed", "reserved", "buried"];
    const counts = states.map((state) => this.#in(state).length);
    const chars = [...this.#content.rows.values()].reduce(
      (sum, { task }) => sum + [...task.payload ?? ""].length,
      0,
    );
    const dues = this.#in("delayed").map(({ due }) => due);
    return ["S", ...counts, chars, ...dues.length === 0 ? [] : [Math.min(...dues)]].join(" ");
  }

  #held(front: number, arrival: number): Row {
    const row = this.#content.rows.get(arrival);
    if (row?.state === "reserved" && row.front === front) return row;
    throw new Error(`front ${front} does not hold task ${arrival}`);
  }

  #in(state: State): Row[] {
    return [...this.#content.rows.values()].filter((row) => row.state === state);
  }

  #inOrder(state: State): Row[] {
    return this.#in(state).sort((a, b) =>
      a.task.priority - b.task.priority || a.task.arrival - b.task.arrival
    );
  }
}

function copyOf({ rows, fronts, ...last }: Content): Content {
  return { ...last, rows: copiesOf(rows), fronts: copiesOf(fronts) };
}

function copiesOf<V extends object>(values: ReadonlyMap<number, V>): Map<number, V> {
  return new Map(values.entries().map(([key, value]) => [key, { ...value }]));
}

function values<T>(column: Column<T>): T[] {
  return (column ?? []) as T[];
}

function taskOf(
  [priorities, ids, durations, payloads]: readonly [
    Column<number>,
    Column<string>,
    Column<string>,
    Column<string>,
  ],
  i: number,
  arrival: number,
): Task {
  const task = {
    priority: parsePriority(String(priorities?.[i])),
    ...{ taskId: ids?.[i] ?? "", duration: durations?.[i] ?? "", arrival },
  };
  const payload = payloads?.[i] ?? undefined;
  return payload === undefined ? task : { ...task, payload };
}

function format({ task, ends }: Row): string {
  const { priority, arrival, taskId, duration, payload } = task;
  return [priority, arrival, ends, taskId, duration, ...payload === undefined ? [] : [payload]]
    .join(" ");
}
