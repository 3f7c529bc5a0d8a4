/**
 * The port to tasks that are in memory alone: each answer is told at once.
 *
 * A class of its own, and not a store that always succeeds: that took 5 % more of the processor.
 *
 * @module
 */

import type { EndedReservation, Reservation } from "./reservations.ts";
import type { Task, TaskDescription } from "./task.ts";
import type { TaskQueue } from "./task_queue.ts";
import type { CompleteAnswer, KickAnswer, Tasks } from "./tasks.ts";

/** Tasks that are gone when the process ends. */
export class MemoryTasks implements Tasks {
  /** No answer is ever owed. */
  readonly isSettled = true;
  readonly #queue: TaskQueue;
  #consumersSoFar = 0;

  /** Makes the port to a queue without a store. */
  constructor(queue: TaskQueue) {
    this.#queue = queue;
  }

  /** See {@linkcode Tasks.room}. */
  get room(): number {
    return this.#queue.room;
  }

  /** See {@linkcode Tasks.size}. */
  get size(): number {
    return this.#queue.size;
  }

  /** See {@linkcode Tasks.openConsumer}. */
  openConsumer(then: (consumer: number) => void): void {
    then(++this.#consumersSoFar);
  }

  /** See {@linkcode Tasks.create}. */
  create(description: TaskDescription, then: (isKept: boolean) => void): void {
    this.#queue.admit(this.#queue.create(description));
    then(true);
  }

  /** See {@linkcode Tasks.kick}. */
  kick(taskId: string, then: (answer: KickAnswer) => void): void {
    const kicked = this.#queue.kick(taskId);
    if (kicked !== undefined) this.#queue.admit(kicked.task);
    then(kicked === undefined ? "not buried" : "kicked");
  }

  /** See {@linkcode Tasks.request}. */
  request(then: (task: Task | undefined) => void): void {
    then(this.#queue.request());
  }

  /** See {@linkcode Tasks.reservedBy}. */
  reservedBy(consumer: number): number {
    return this.#queue.reservedBy(consumer);
  }

  /** See {@linkcode Tasks.reserve}. */
  reserve(
    consumer: number,
    nowMs: number,
    then: (reservation: Reservation | undefined) => void,
  ): void {
    then(this.#queue.reserve(consumer, nowMs));
  }

  /** See {@linkcode Tasks.giveBack}. */
  giveBack(handOut: Task | Reservation, then: (isBack: boolean) => void): void {
    then(this.#queue.giveBack(handOut));
  }

  /** See {@linkcode Tasks.complete}. */
  complete(consumer: number, taskId: string, then: (answer: CompleteAnswer) => void): void {
    const reservation = this.#queue.complete(consumer, taskId);
    then(reservation === undefined ? "not held" : "completed");
  }

  /** See {@linkcode Tasks.release}. */
  release(
    consumer: number,
    taskId: string,
    then: (reservation: Reservation | undefined) => void,
  ): void {
    then(this.#queue.release(consumer, taskId));
  }

  /** See {@linkcode Tasks.endConsumer}. */
  endConsumer(
    consumer: number,
    options: { readonly counts: boolean },
    then: (ended: readonly EndedReservation[]) => void,
  ): void {
    then(this.#queue.endConsumer(consumer, options));
  }

  /** See {@linkcode Tasks.endLeases}. */
  endLeases(
    nowMs: number,
    options: { readonly most: number },
    then: (ended: readonly EndedReservation[]) => void,
  ): void {
    then(this.#queue.endLeases(nowMs, options));
  }

  /** See {@linkcode Tasks.afterAll}. */
  afterAll(then: () => void): void {
    then();
  }
}
