/**
 * The port to tasks that are in memory alone: each answer is told at once.
 *
 * A class of its own, and not a store that always succeeds: that took 5 % more of the processor.
 *
 * @module
 */

import { type Inspection, QueueInspection } from "./inspection.ts";
import type { EndedReservation, Reservation } from "./reservations.ts";
import type { Task, TaskDescription } from "./task.ts";
import type { GivingUp, TaskCounts, TaskQueue } from "./task_queue.ts";
import { type CompleteAnswer, earlier, type KickAnswer, type Tasks } from "./tasks.ts";
import { WaitingConsumers } from "./waiting_consumers.ts";

/** Tasks that are gone when the process ends. */
export class MemoryTasks implements Tasks {
  /** No answer is ever owed. */
  readonly isSettled = true;
  /** What an operator sees and may do. */
  readonly inspection: Inspection;
  readonly #queue: TaskQueue;
  readonly #waiting = new WaitingConsumers();
  #consumersSoFar = 0;

  /** Makes the port to a queue without a store. */
  constructor(queue: TaskQueue) {
    this.#queue = queue;
    const waiting = this.#waiting;
    this.inspection = new QueueInspection(queue, {
      get waitingConsumers() {
        return waiting.size;
      },
      afterCommit: (effect) => effect("kept"),
      serveWaiting: () => this.#serveWaiting(),
    });
  }

  /** See {@linkcode Tasks.room}. */
  get room(): number {
    return this.#queue.room;
  }

  /** See {@linkcode Tasks.size}. */
  get size(): number {
    return this.#queue.size;
  }

  /** See {@linkcode Tasks.counts}. */
  get counts(): TaskCounts {
    return this.#queue.counts;
  }

  /** See {@linkcode Tasks.nextDueMs}. */
  get nextDueMs(): number | undefined {
    return earlier(this.#queue.nextDelayEndMs, this.#waiting.nextEndMs);
  }

  /** See {@linkcode Tasks.openConsumer}. */
  openConsumer(then: (consumer: number) => void): void {
    then(++this.#consumersSoFar);
  }

  /** See {@linkcode Tasks.create}. */
  create(description: TaskDescription, then: (isKept: boolean) => void): void {
    this.#queue.admit(this.#queue.create(description));
    then(true);
    this.#serveWaiting();
  }

  /** See {@linkcode Tasks.schedule}. */
  schedule(description: TaskDescription, dueMs: number, then: (isKept: boolean) => void): void {
    this.#queue.admit(this.#queue.create(description, dueMs), dueMs);
    then(true);
  }

  /** See {@linkcode Tasks.kick}. */
  kick(taskId: string, then: (answer: KickAnswer) => void): void {
    const kicked = this.#queue.kick(taskId);
    if (kicked !== undefined) this.#queue.admit(kicked.task);
    then(kicked === undefined ? "not buried" : "kicked");
    this.#serveWaiting();
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

  /** See {@linkcode Tasks.awaitTask}. */
  awaitTask(
    consumer: number,
    wait: { readonly nowMs: () => number; readonly waitMs: number },
    then: (reservation: Reservation | undefined) => void,
  ): void {
    const nowMs = wait.nowMs();
    if (this.#queue.mayReserve(consumer)) then(this.#queue.reserve(consumer, nowMs));
    else this.#waiting.add({ consumer, nowMs: wait.nowMs, then }, nowMs + wait.waitMs);
  }

  /** See {@linkcode Tasks.stopWaiting}. */
  stopWaiting(consumer: number): void {
    this.#waiting.end(consumer)?.then(undefined);
  }

  /** See {@linkcode Tasks.endWaits}. */
  endWaits(nowMs: number, options: { readonly most: number }, then: (ended: number) => void): void {
    const ended = this.#waiting.endOver(nowMs, options);
    for (const waiter of ended) waiter.then(undefined);
    then(ended.length);
  }

  /** See {@linkcode Tasks.giveBack}. */
  giveBack(handOut: Task | Reservation, then: (isBack: boolean) => void): void {
    then(this.#queue.giveBack(handOut));
    this.#serveWaiting();
  }

  /** See {@linkcode Tasks.complete}. */
  complete(consumer: number, taskId: string, then: (answer: CompleteAnswer) => void): void {
    const reservation = this.#queue.complete(consumer, taskId);
    then(reservation === undefined ? "not held" : "completed");
  }

  /** See {@linkcode Tasks.giveUp}. */
  giveUp(
    consumer: number,
    held: { readonly taskId: string; readonly how: GivingUp },
    then: (ended: EndedReservation | undefined) => void,
  ): void {
    then(this.#queue.giveUp(consumer, held.taskId, held.how));
    this.#serveWaiting();
  }

  /** See {@linkcode Tasks.touch}. */
  touch(
    consumer: number,
    held: { readonly taskId: string; readonly nowMs: number },
    then: (isHeld: boolean) => void,
  ): void {
    then(this.#queue.touch(consumer, held.taskId, held.nowMs));
  }

  /** See {@linkcode Tasks.endConsumer}. */
  endConsumer(
    consumer: number,
    options: { readonly counts: boolean },
    then: (ended: readonly EndedReservation[]) => void,
  ): void {
    then(this.#queue.endConsumer(consumer, options));
    this.#serveWaiting();
  }

  /** See {@linkcode Tasks.endLeases}. */
  endLeases(
    nowMs: number,
    options: { readonly most: number },
    then: (ended: readonly EndedReservation[]) => void,
  ): void {
    then(this.#queue.endLeases(nowMs, options));
    this.#serveWaiting();
  }

  /** See {@linkcode Tasks.endDelays}. */
  endDelays(
    nowMs: number,
    options: { readonly most: number },
    then: (ready: readonly Task[]) => void,
  ): void {
    then(this.#queue.endDelays(nowMs, options));
    this.#serveWaiting();
  }

  /** See {@linkcode Tasks.afterAll}. */
  afterAll(then: () => void): void {
    then();
  }

  /** To be called whenever tasks may have become ready. */
  #serveWaiting(): void {
    if (this.#waiting.size === 0) return;
    for (const { then, reservation } of this.#waiting.grant(this.#queue)) then(reservation);
  }
}
