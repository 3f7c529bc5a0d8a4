/**
 * The port to tasks that a store keeps: each answer is told after the commit that holds its cause.
 *
 * What the store could not keep is undone here, before the answer is told.
 *
 * @module
 */

import { LocalTasks } from "./local_tasks.ts";
import type { EndedReservation, Reservation } from "./reservations.ts";
import type { CommitOutcome, Commits } from "./store.ts";
import type { Task, TaskDescription } from "./task.ts";
import type { GivingUp, TaskQueue } from "./task_queue.ts";
import type { CompleteAnswer, KickAnswer, Tasks } from "./tasks.ts";

/** Tasks that outlive the process. */
export class StoredTasks extends LocalTasks implements Tasks {
  readonly #commits: Commits;
  readonly #connected = new Set<number>();
  #consumersSoFar = 0;

  /**
   * Makes the port to a queue with a store.
   *
   * @param commits tells when what the queue told the store is kept.
   */
  constructor(queue: TaskQueue, commits: Commits) {
    super(queue);
    this.#commits = commits;
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
    this.#create(description, undefined, then);
  }

  /** See {@linkcode Tasks.schedule}. */
  schedule(description: TaskDescription, dueMs: number, then: (isKept: boolean) => void): void {
    this.#create(description, dueMs, then);
  }

  #create(
    description: TaskDescription,
    dueMs: number | undefined,
    then: (isKept: boolean) => void,
  ): void {
    const task = this.queue.create(description, dueMs);
    this.afterCommit((outcome) => {
      const isKept = outcome === "kept";
      if (isKept) this.queue.admit(task, dueMs);
      else this.queue.undoCreate(task);
      then(isKept);
    });
  }

  /** See {@linkcode Tasks.kick}. */
  kick(taskId: string, then: (answer: KickAnswer) => void): void {
    const kicked = this.queue.kick(taskId);
    this.afterCommit((outcome) => {
      if (kicked === undefined) return then("not buried");
      const isKept = outcome !== "not kept";
      if (isKept) this.queue.admit(kicked.task);
      else this.queue.undoKick(kicked);
      then(isKept ? "kicked" : "not kept");
    });
  }

  /** See {@linkcode Tasks.request}. */
  request(then: (task: Task | undefined) => void): void {
    const task = this.queue.request();
    this.afterCommit((outcome) => {
      const isBack = task !== undefined && outcome === "not kept";
      if (isBack) this.queue.giveBack(task);
      then(isBack ? undefined : task);
    });
  }

  /** See {@linkcode Tasks.reserve}. */
  reserve(
    consumer: number,
    nowMs: number,
    then: (reservation: Reservation | undefined) => void,
  ): void {
    const reservation = this.queue.reserve(consumer, nowMs);
    this.afterCommit(() => then(reservation));
  }

  /** See {@linkcode Tasks.stopWaiting}. */
  stopWaiting(consumer: number): void {
    const waiter = this.waiting.end(consumer);
    if (waiter !== undefined) this.afterCommit(() => waiter.then(undefined));
  }

  /** See {@linkcode Tasks.endWaits}. */
  endWaits(nowMs: number, options: { readonly most: number }, then: (ended: number) => void): void {
    const ended = this.waiting.endOver(nowMs, options);
    this.#afterCommitOfAny(ended, () => {
      for (const waiter of ended) waiter.then(undefined);
      then(ended.length);
    });
  }

  /** See {@linkcode Tasks.giveBack}. */
  giveBack(handOut: Task | Reservation, then: (isBack: boolean) => void): void {
    const isBack = this.queue.giveBack(handOut);
    this.afterCommit(() => then(isBack));
  }

  /** See {@linkcode Tasks.complete}. */
  complete(consumer: number, taskId: string, then: (answer: CompleteAnswer) => void): void {
    const reservation = this.queue.complete(consumer, taskId);
    this.afterCommit((outcome) => {
      if (reservation === undefined) return then("not held");
      if (outcome !== "not kept") return then("completed");
      const isConnected = this.#connected.has(consumer);
      this.queue.undoComplete(reservation, { isConnected });
      then(isConnected ? "not kept" : "ready again");
    });
  }

  /** See {@linkcode Tasks.giveUp}. */
  giveUp(
    consumer: number,
    held: { readonly taskId: string; readonly how: GivingUp },
    then: (ended: EndedReservation | undefined) => void,
  ): void {
    const ended = this.queue.giveUp(consumer, held.taskId, held.how);
    this.afterCommit(() => then(ended));
  }

  /** See {@linkcode Tasks.touch}. */
  touch(
    consumer: number,
    held: { readonly taskId: string; readonly nowMs: number },
    then: (isHeld: boolean) => void,
  ): void {
    const isHeld = this.queue.touch(consumer, held.taskId, held.nowMs);
    this.afterCommit(() => then(isHeld));
  }

  /** See {@linkcode Tasks.endConsumer}. */
  endConsumer(
    consumer: number,
    options: { readonly counts: boolean },
    then: (ended: readonly EndedReservation[]) => void,
  ): void {
    this.#connected.delete(consumer);
    const ended = this.queue.endConsumer(consumer, options);
    this.afterCommit(() => then(ended));
  }

  /** See {@linkcode Tasks.endLeases}. */
  endLeases(
    nowMs: number,
    options: { readonly most: number },
    then: (ended: readonly EndedReservation[]) => void,
  ): void {
    const ended = this.queue.endLeases(nowMs, options);
    this.#afterCommitOfAny(ended, () => then(ended));
  }

  /** See {@linkcode Tasks.endDelays}. */
  endDelays(
    nowMs: number,
    options: { readonly most: number },
    then: (ready: readonly Task[]) => void,
  ): void {
    const ready = this.queue.endDelays(nowMs, options);
    this.#afterCommitOfAny(ready, () => then(ready));
  }

  /** See {@linkcode Tasks.afterAll}. */
  afterAll(then: () => void): void {
    this.afterCommit(then);
  }

  /**
   * Each ask passes here. It may have made tasks ready now; the outcome may do so later, when what was
   * not kept is undone. The consumers that wait get them after its answer.
   */
  protected override afterCommit(effect: (outcome: CommitOutcome) => void): void {
    this.#commits.afterCommit((outcome) => {
      effect(outcome);
      this.#serveWaiting();
    });
    this.#serveWaiting();
  }

  /**
   * Asked for several times per second: if nothing has ended, there is nothing to commit. But what was
   * asked earlier must be answered first.
   */
  #afterCommitOfAny(ended: readonly unknown[], effect: () => void): void {
    if (ended.length === 0 && this.isSettled) effect();
    else this.afterCommit(effect);
  }

  #serveWaiting(): void {
    if (this.waiting.size === 0) return;
    for (const { then, reservation } of this.waiting.grant(this.queue)) {
      this.#commits.afterCommit(() => then(reservation));
    }
  }
}
