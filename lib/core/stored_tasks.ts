/**
 * The port to tasks that a store keeps: each answer is told after the commit that holds its cause.
 *
 * What the store could not keep is undone here, before the answer is told.
 *
 * @module
 */

import type { EndedReservation, Reservation } from "./reservations.ts";
import type { CommitOutcome, Commits } from "./store.ts";
import type { Task, TaskDescription } from "./task.ts";
import type { TaskQueue } from "./task_queue.ts";
import type { CompleteAnswer, KickAnswer, Tasks } from "./tasks.ts";

/** Tasks that outlive the process. */
export class StoredTasks implements Tasks {
  readonly #queue: TaskQueue;
  readonly #commits: Commits;
  readonly #connected = new Set<number>();
  #consumersSoFar = 0;

  /**
   * Makes the port to a queue with a store.
   *
   * @param commits tells when what the queue told the store is kept.
   */
  constructor(queue: TaskQueue, commits: Commits) {
    this.#queue = queue;
    this.#commits = commits;
  }

  /** See {@linkcode Tasks.room}. */
  get room(): number {
    return this.#queue.room;
  }

  /** See {@linkcode Tasks.size}. */
  get size(): number {
    return this.#queue.size;
  }

  /** See {@linkcode Tasks.isSettled}. */
  get isSettled(): boolean {
    return this.#commits.isSettled;
  }

  /** See {@linkcode Tasks.openConsumer}. */
  openConsumer(then: (consumer: number) => void): void {
    this.#connected.add(++this.#consumersSoFar);
    then(this.#consumersSoFar);
  }

  /** See {@linkcode Tasks.create}. */
  create(description: TaskDescription, then: (isKept: boolean) => void): void {
    const task = this.#queue.create(description);
    this.#afterCommit((outcome) => {
      const isKept = outcome === "kept";
      if (isKept) this.#queue.admit(task);
      else this.#queue.undoCreate(task);
      then(isKept);
    });
  }

  /** See {@linkcode Tasks.kick}. */
  kick(taskId: string, then: (answer: KickAnswer) => void): void {
    const kicked = this.#queue.kick(taskId);
    this.#afterCommit((outcome) => {
      if (kicked === undefined) return then("not buried");
      const isKept = outcome !== "not kept";
      if (isKept) this.#queue.admit(kicked.task);
      else this.#queue.undoKick(kicked);
      then(isKept ? "kicked" : "not kept");
    });
  }

  /** See {@linkcode Tasks.request}. */
  request(then: (task: Task | undefined) => void): void {
    const task = this.#queue.request();
    this.#afterCommit((outcome) => {
      const isBack = task !== undefined && outcome === "not kept";
      if (isBack) this.#queue.giveBack(task);
      then(isBack ? undefined : task);
    });
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
    const reservation = this.#queue.reserve(consumer, nowMs);
    this.#afterCommit(() => then(reservation));
  }

  /** See {@linkcode Tasks.giveBack}. */
  giveBack(handOut: Task | Reservation, then: (isBack: boolean) => void): void {
    const isBack = this.#queue.giveBack(handOut);
    this.#afterCommit(() => then(isBack));
  }

  /** See {@linkcode Tasks.complete}. */
  complete(consumer: number, taskId: string, then: (answer: CompleteAnswer) => void): void {
    const reservation = this.#queue.complete(consumer, taskId);
    this.#afterCommit((outcome) => {
      if (reservation === undefined) return then("not held");
      if (outcome !== "not kept") return then("completed");
      const isConnected = this.#connected.has(consumer);
      this.#queue.undoComplete(reservation, { isConnected });
      then(isConnected ? "not kept" : "ready again");
    });
  }

  /** See {@linkcode Tasks.release}. */
  release(
    consumer: number,
    taskId: string,
    then: (reservation: Reservation | undefined) => void,
  ): void {
    const reservation = this.#queue.release(consumer, taskId);
    this.#afterCommit(() => then(reservation));
  }

  /** See {@linkcode Tasks.endConsumer}. */
  endConsumer(
    consumer: number,
    options: { readonly counts: boolean },
    then: (ended: readonly EndedReservation[]) => void,
  ): void {
    this.#connected.delete(consumer);
    const ended = this.#queue.endConsumer(consumer, options);
    this.#afterCommit(() => then(ended));
  }

  /** See {@linkcode Tasks.endLeases}. */
  endLeases(
    nowMs: number,
    options: { readonly most: number },
    then: (ended: readonly EndedReservation[]) => void,
  ): void {
    const ended = this.#queue.endLeases(nowMs, options);
    // Asked five times per second: if nothing has ended, there is nothing to commit. But what was
    // asked earlier must be answered first.
    if (ended.length === 0 && this.isSettled) then(ended);
    else this.#afterCommit(() => then(ended));
  }

  /** See {@linkcode Tasks.afterAll}. */
  afterAll(then: () => void): void {
    this.#afterCommit(then);
  }

  #afterCommit(effect: (outcome: CommitOutcome) => void): void {
    this.#commits.afterCommit(effect);
  }
}
