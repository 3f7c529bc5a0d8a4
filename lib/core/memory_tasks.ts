/**
 * The port to tasks that are in memory alone: each answer is told at once.
 *
 * @module
 */

import { LocalTasks } from "./local_tasks.ts";
import type { EndedReservation, Reservation } from "./reservations.ts";
import type { CommitOutcome } from "./store.ts";
import type { Task, TaskDescription } from "./task.ts";
import type { GivingUp } from "./task_queue.ts";
import type { CompleteAnswer, KickAnswer, Tasks } from "./tasks.ts";

/** Tasks that are gone when the process ends. */
export class MemoryTasks extends LocalTasks implements Tasks {
  /** No answer is ever owed. */
  readonly isSettled = true;
  #consumersSoFar = 0;

  /** See {@linkcode Tasks.openConsumer}. */
  openConsumer(then: (consumer: number) => void): void {
    then(++this.#consumersSoFar);
  }

  /** See {@linkcode Tasks.create}. */
  create(description: TaskDescription, then: (isKept: boolean) => void): void {
    this.queue.admit(this.queue.create(description));
    this.#tell(then, true);
  }

  /** See {@linkcode Tasks.schedule}. */
  schedule(description: TaskDescription, dueMs: number, then: (isKept: boolean) => void): void {
    this.queue.admit(this.queue.create(description, dueMs), dueMs);
    this.#tell(then, true);
  }

  /** See {@linkcode Tasks.kick}. */
  kick(taskId: string, then: (answer: KickAnswer) => void): void {
    const kicked = this.queue.kick(taskId);
    if (kicked !== undefined) this.queue.admit(kicked.task);
    this.#tell(then, kicked === undefined ? "not buried" : "kicked");
  }

  /** See {@linkcode Tasks.request}. */
  request(then: (task: Task | undefined) => void): void {
    then(this.queue.request());
  }

  /** See {@linkcode Tasks.reserve}. */
  reserve(
    consumer: number,
    nowMs: number,
    then: (reservation: Reservation | undefined) => void,
  ): void {
    then(this.queue.reserve(consumer, nowMs));
  }

  /** See {@linkcode Tasks.stopWaiting}. */
  stopWaiting(consumer: number): void {
    this.waiting.end(consumer)?.then(undefined);
  }

  /** See {@linkcode Tasks.endWaits}. */
  endWaits(nowMs: number, options: { readonly most: number }, then: (ended: number) => void): void {
    const ended = this.waiting.endOver(nowMs, options);
    for (const waiter of ended) waiter.then(undefined);
    then(ended.length);
  }

  /** See {@linkcode Tasks.giveBack}. */
  giveBack(handOut: Task | Reservation, then: (isBack: boolean) => void): void {
    this.#tell(then, this.queue.giveBack(handOut));
  }

  /** See {@linkcode Tasks.complete}. */
  complete(consumer: number, taskId: string, then: (answer: CompleteAnswer) => void): void {
    const reservation = this.queue.complete(consumer, taskId);
    then(reservation === undefined ? "not held" : "completed");
  }

  /** See {@linkcode Tasks.giveUp}. */
  giveUp(
    consumer: number,
    held: { readonly taskId: string; readonly how: GivingUp },
    then: (ended: EndedReservation | undefined) => void,
  ): void {
    this.#tell(then, this.queue.giveUp(consumer, held.taskId, held.how));
  }

  /** See {@linkcode Tasks.touch}. */
  touch(
    consumer: number,
    held: { readonly taskId: string; readonly nowMs: number },
    then: (isHeld: boolean) => void,
  ): void {
    then(this.queue.touch(consumer, held.taskId, held.nowMs));
  }

  /** See {@linkcode Tasks.endConsumer}. */
  endConsumer(
    consumer: number,
    options: { readonly counts: boolean },
    then: (ended: readonly EndedReservation[]) => void,
  ): void {
    this.#tell(then, this.queue.endConsumer(consumer, options));
  }

  /** See {@linkcode Tasks.endLeases}. */
  endLeases(
    nowMs: number,
    options: { readonly most: number },
    then: (ended: readonly EndedReservation[]) => void,
  ): void {
    this.#tell(then, this.queue.endLeases(nowMs, options));
  }

  /** See {@linkcode Tasks.endDelays}. */
  endDelays(
    nowMs: number,
    options: { readonly most: number },
    then: (ready: readonly Task[]) => void,
  ): void {
    this.#tell(then, this.queue.endDelays(nowMs, options));
  }

  /** See {@linkcode Tasks.afterAll}. */
  afterAll(then: () => void): void {
    then();
  }

  /** See {@linkcode QueueTasks.afterCommit}. */
  protected override afterCommit(effect: (outcome: CommitOutcome) => void): void {
    this.#tell(effect, "kept");
  }

  /**
   * Each answer that may tell of tasks that have become ready passes here: the consumers that wait get
   * them after it.
   */
  #tell<T>(then: (answer: T) => void, answer: T): void {
    then(answer);
    if (this.waiting.size === 0) return;
    for (const { then, reservation } of this.waiting.grant(this.queue)) then(reservation);
  }
}
