/**
 * The port between a dialogue and whatever keeps the tasks.
 *
 * A session asks, and is told each answer exactly once: at once if the tasks are in memory, after a
 * commit if they are in a store, later if they are behind a network. What was asked first is answered
 * first, whatever it is; only a new consumer's number may come sooner, since that consumer has asked
 * nothing yet. When an answer is told, what it says is kept; what could not be kept has been undone.
 *
 * Asks also take effect in the order of asking, often before earlier ones are answered. Two things
 * wait: a new task can be handed out only after its `create` was answered, and an `awaitTask` that
 * finds no task is answered when there is one, or its time is over. If what keeps the tasks fails, no
 * further answer comes.
 *
 * @module
 */

import type { EndedReservation, Reservation } from "./reservations.ts";
import type { Task, TaskDescription } from "./task.ts";
import type { Fullness, GivingUp, TaskCounts } from "./task_queue.ts";

/** What became of a kick: done, no such task is buried, or there was no room to keep it. */
export type KickAnswer = "kicked" | "not buried" | "not kept";

/**
 * What became of a completion: done; the consumer holds no such task; or there was no room to keep
 * it, so that the consumer holds the task still, or it is ready again if the consumer has gone.
 */
export type CompleteAnswer = "completed" | "not held" | "not kept" | "ready again";

/** The tasks, as a session and the server see them. */
export interface Tasks {
  /** How many new tasks fit now at least; at 0 nothing may be created. */
  readonly room: number;
  /** Why there is no room; undefined if there is some. */
  readonly fullOf: Fullness | undefined;
  /** How many tasks there are, in whatever state. */
  readonly size: number;
  /** How many tasks there are, by state. */
  readonly counts: TaskCounts;
  /**
   * False exactly while an answer is owed: from the ask until its `then` is called. To a consumer that
   * waits for a task none is owed until there is one.
   */
  readonly isSettled: boolean;
  /** When {@linkcode endDelays} or {@linkcode endWaits} next has something to do, as far as known. */
  readonly nextDueMs: number | undefined;

  /** Gives a new consumer its number: from 1, never one that was given before. */
  openConsumer(then: (consumer: number) => void): void;
  /** Takes a new task; `isKept` is false if there was no room to keep it. */
  create(task: TaskDescription, then: (isKept: boolean) => void): void;
  /** Takes a new task that is to be ready at a time; see {@linkcode create}. */
  schedule(task: TaskDescription, dueMs: number, then: (isKept: boolean) => void): void;
  /** Makes the first buried task of that name ready. */
  kick(taskId: string, then: (answer: KickAnswer) => void): void;
  /** Removes the first task and hands it out; undefined if none is ready, or if it is not kept. */
  request(then: (task: Task | undefined) => void): void;
  /** How many tasks a consumer holds, as far as is known now. */
  reservedBy(consumer: number): number;
  /**
   * Reserves the first task until its lease ends; undefined if none is ready, or the consumer holds
   * as many as it may.
   */
  reserve(
    consumer: number,
    nowMs: number,
    then: (reservation: Reservation | undefined) => void,
  ): void;
  /**
   * Reserves the first task. If none is ready, the consumer waits for one: the longest waiting gets
   * the next. Told undefined when its time is over, or if it holds as many as it may.
   *
   * @param wait.nowMs tells the time at which the lease begins.
   */
  awaitTask(
    consumer: number,
    wait: { readonly nowMs: () => number; readonly waitMs: number },
    then: (reservation: Reservation | undefined) => void,
  ): void;
  /** Ends the wait of a consumer at once; nothing if it does not wait. */
  stopWaiting(consumer: number): void;
  /**
   * Ends waits whose time is over, the earliest first: those consumers are told.
   *
   * @param options.most how many at most; if so many ended, there may be more.
   */
  endWaits(nowMs: number, options: { readonly most: number }, then: (ended: number) => void): void;
  /** Takes back what was handed out with a line that never left; false if it is not held now. */
  giveBack(handOut: Task | Reservation, then: (isBack: boolean) => void): void;
  /** Ends a task that a consumer holds. */
  complete(consumer: number, taskId: string, then: (answer: CompleteAnswer) => void): void;
  /** Ends an attempt at a task without completing it; undefined if the consumer does not hold it. */
  giveUp(
    consumer: number,
    held: { readonly taskId: string; readonly how: GivingUp },
    then: (ended: EndedReservation | undefined) => void,
  ): void;
  /** Starts the lease of a task anew; false if the consumer holds no such task. */
  touch(
    consumer: number,
    held: { readonly taskId: string; readonly nowMs: number },
    then: (isHeld: boolean) => void,
  ): void;
  /**
   * Ends all that a consumer holds, and its number.
   *
   * @param options.counts whether these are ends that lead to burial.
   */
  endConsumer(
    consumer: number,
    options: { readonly counts: boolean },
    then: (ended: readonly EndedReservation[]) => void,
  ): void;
  /**
   * Ends reservations whose leases are over, the earliest first.
   *
   * @param options.most how many at most; if as many are told, there may be more.
   */
  endLeases(
    nowMs: number,
    options: { readonly most: number },
    then: (ended: readonly EndedReservation[]) => void,
  ): void;
  /**
   * Makes delayed tasks ready whose time has come, the earliest first.
   *
   * @param options.most how many at most; if as many are told, there may be more.
   */
  endDelays(
    nowMs: number,
    options: { readonly most: number },
    then: (ready: readonly Task[]) => void,
  ): void;
  /** Calls back after all answers that are owed now. */
  afterAll(then: () => void): void;
}

/** The earlier of two times; undefined if there is neither. */
export function earlier(
  oneMs: number | undefined,
  otherMs: number | undefined,
): number | undefined {
  if (oneMs === undefined) return otherMs;
  return otherMs === undefined ? oneMs : Math.min(oneMs, otherMs);
}
