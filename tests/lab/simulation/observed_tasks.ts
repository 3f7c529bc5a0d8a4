/**
 * A port to tasks that tells what is asked before it is done: sessions run unchanged, and the order
 * in which they ask is seen.
 *
 * @module
 */

import type { EndedReservation, Reservation } from "../../../lib/core/reservations.ts";
import type { Task, TaskDescription } from "../../../lib/core/task.ts";
import type { Fullness, GivingUp, TaskCounts } from "../../../lib/core/task_queue.ts";
import type { CompleteAnswer, KickAnswer, Tasks } from "../../../lib/core/tasks.ts";

/** What was asked. */
export type Ask =
  | { readonly ask: "open consumer" | "request" }
  | { readonly ask: "create"; readonly task: TaskDescription }
  | { readonly ask: "schedule"; readonly task: TaskDescription; readonly dueMs: number }
  | { readonly ask: "kick"; readonly name: string }
  | { readonly ask: "reserve" | "stop waiting" | "end consumer"; readonly consumer: number }
  /** A consumer is told how its wait has ended, and has been told. */
  | { readonly ask: "tell" | "told"; readonly consumer: number }
  | { readonly ask: "give back"; readonly handOut: Task | Reservation }
  | { readonly ask: "await task"; readonly consumer: number; readonly waitMs: number }
  | { readonly ask: "complete" | "touch"; readonly consumer: number; readonly name: string }
  | {
    readonly ask: "give up";
    readonly consumer: number;
    readonly name: string;
    readonly how: GivingUp;
  }
  | { readonly ask: "end leases" | "end delays" | "end waits"; readonly nowMs: number };

/** Tasks, watched. */
export class ObservedTasks implements Tasks {
  readonly #tasks: Tasks;
  readonly #observe: (ask: Ask) => void;

  /** Watches the asks for some tasks. */
  constructor(tasks: Tasks, observe: (ask: Ask) => void) {
    this.#tasks = tasks;
    this.#observe = observe;
  }

  /** See {@linkcode Tasks.room}. */
  get room(): number {
    return this.#tasks.room;
  }

  /** See {@linkcode Tasks.fullOf}. */
  get fullOf(): Fullness | undefined {
    return this.#tasks.fullOf;
  }

  /** See {@linkcode Tasks.size}. */
  get size(): number {
    return this.#tasks.size;
  }

  /** See {@linkcode Tasks.counts}. */
  get counts(): TaskCounts {
    return this.#tasks.counts;
  }

  /** See {@linkcode Tasks.nextDueMs}. */
  get nextDueMs(): number | undefined {
    return this.#tasks.nextDueMs;
  }

  /** See {@linkcode Tasks.isSettled}. */
  get isSettled(): boolean {
    return this.#tasks.isSettled;
  }

  /** See {@linkcode Tasks.openConsumer}. */
  openConsumer(then: (consumer: number) => void): void {
    this.#observe({ ask: "open consumer" });
    this.#tasks.openConsumer(then);
  }

  /** See {@linkcode Tasks.create}. */
  create(task: TaskDescription, then: (isKept: boolean) => void): void {
    this.#observe({ ask: "create", task });
    this.#tasks.create(task, then);
  }

  /** See {@linkcode Tasks.schedule}. */
  schedule(task: TaskDescription, dueMs: number, then: (isKept: boolean) => void): void {
    this.#observe({ ask: "schedule", task, dueMs });
    this.#tasks.schedule(task, dueMs, then);
  }

  /** See {@linkcode Tasks.kick}. */
  kick(name: string, then: (answer: KickAnswer) => void): void {
    this.#observe({ ask: "kick", name });
    this.#tasks.kick(name, then);
  }

  /** See {@linkcode Tasks.request}. */
  request(then: (task: Task | undefined) => void): void {
    this.#observe({ ask: "request" });
    this.#tasks.request(then);
  }

  /** See {@linkcode Tasks.reservedBy}. */
  reservedBy(consumer: number): number {
    return this.#tasks.reservedBy(consumer);
  }

  /** See {@linkcode Tasks.reserve}. */
  reserve(consumer: number, nowMs: number, then: (held: Reservation | undefined) => void): void {
    this.#observe({ ask: "reserve", consumer });
    this.#tasks.reserve(consumer, nowMs, then);
  }

  /** See {@linkcode Tasks.awaitTask}. */
  awaitTask(
    consumer: number,
    wait: { readonly nowMs: () => number; readonly waitMs: number },
    then: (held: Reservation | undefined) => void,
  ): void {
    this.#observe({ ask: "await task", consumer, waitMs: wait.waitMs });
    this.#tasks.awaitTask(consumer, wait, (held) => {
      this.#observe({ ask: "tell", consumer });
      then(held);
      this.#observe({ ask: "told", consumer });
    });
  }

  /** See {@linkcode Tasks.stopWaiting}. */
  stopWaiting(consumer: number): void {
    this.#observe({ ask: "stop waiting", consumer });
    this.#tasks.stopWaiting(consumer);
  }

  /** See {@linkcode Tasks.endWaits}. */
  endWaits(nowMs: number, options: { readonly most: number }, then: (ended: number) => void): void {
    this.#observe({ ask: "end waits", nowMs });
    this.#tasks.endWaits(nowMs, options, then);
  }

  /** See {@linkcode Tasks.giveBack}. */
  giveBack(handOut: Task | Reservation, then: (isBack: boolean) => void): void {
    this.#observe({ ask: "give back", handOut });
    this.#tasks.giveBack(handOut, then);
  }

  /** See {@linkcode Tasks.complete}. */
  complete(consumer: number, name: string, then: (answer: CompleteAnswer) => void): void {
    this.#observe({ ask: "complete", consumer, name });
    this.#tasks.complete(consumer, name, then);
  }

  /** See {@linkcode Tasks.giveUp}. */
  giveUp(
    consumer: number,
    held: { readonly taskId: string; readonly how: GivingUp },
    then: (ended: EndedReservation | undefined) => void,
  ): void {
    this.#observe({ ask: "give up", consumer, name: held.taskId, how: held.how });
    this.#tasks.giveUp(consumer, held, then);
  }

  /** See {@linkcode Tasks.touch}. */
  touch(
    consumer: number,
    held: { readonly taskId: string; readonly nowMs: number },
    then: (isHeld: boolean) => void,
  ): void {
    this.#observe({ ask: "touch", consumer, name: held.taskId });
    this.#tasks.touch(consumer, held, then);
  }

  /** See {@linkcode Tasks.endConsumer}. */
  endConsumer(
    consumer: number,
    options: { readonly counts: boolean },
    then: (ended: readonly EndedReservation[]) => void,
  ): void {
    this.#observe({ ask: "end consumer", consumer });
    this.#tasks.endConsumer(consumer, options, then);
  }

  /** See {@linkcode Tasks.endLeases}. */
  endLeases(
    nowMs: number,
    options: { readonly most: number },
    then: (ended: readonly EndedReservation[]) => void,
  ): void {
    this.#observe({ ask: "end leases", nowMs });
    this.#tasks.endLeases(nowMs, options, then);
  }

  /** See {@linkcode Tasks.endDelays}. */
  endDelays(
    nowMs: number,
    options: { readonly most: number },
    then: (ready: readonly Task[]) => void,
  ): void {
    this.#observe({ ask: "end delays", nowMs });
    this.#tasks.endDelays(nowMs, options, then);
  }

  /** See {@linkcode Tasks.afterAll}. */
  afterAll(then: () => void): void {
    this.#tasks.afterAll(then);
  }
}
