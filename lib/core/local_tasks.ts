/**
 * What the two ports over a {@linkcode TaskQueue} in this process share: its counts, and the consumers
 * that wait.
 *
 * They differ in when an answer is told. A class of its own for each, and not one with a store that
 * always succeeds: that took 5 % more of the processor.
 *
 * @module
 */

import { type Inspection, QueueInspection } from "./inspection.ts";
import type { Reservation } from "./reservations.ts";
import type { CommitOutcome } from "./store.ts";
import type { Fullness, TaskCounts, TaskQueue } from "./task_queue.ts";
import { earlier } from "./tasks.ts";
import { WaitingConsumers } from "./waiting_consumers.ts";

/** A port to a queue in this process; how it answers is left to the classes below it. */
export abstract class LocalTasks {
  /** The tasks. */
  protected readonly queue: TaskQueue;
  /** Those to whom the next task that is ready goes. */
  protected readonly waiting: WaitingConsumers = new WaitingConsumers();

  /** What an operator sees and may do. */
  readonly inspection: Inspection;

  /** Makes the port to a queue. */
  constructor(queue: TaskQueue) {
    this.queue = queue;
    this.inspection = new QueueInspection(queue, {
      waiting: this.waiting,
      afterCommit: (effect) => this.afterCommit(effect),
    });
  }

  /**
   * Calls an effect once the changes made so far are kept, or are not. Tasks may have become ready:
   * the consumers that wait get them.
   */
  protected abstract afterCommit(effect: (outcome: CommitOutcome) => void): void;

  /** See {@linkcode Tasks.room}. */
  get room(): number {
    return this.queue.room;
  }

  /** See {@linkcode Tasks.fullOf}. */
  get fullOf(): Fullness | undefined {
    return this.queue.fullOf;
  }

  /** See {@linkcode Tasks.size}. */
  get size(): number {
    return this.queue.size;
  }

  /** See {@linkcode Tasks.counts}. */
  get counts(): TaskCounts {
    return this.queue.counts;
  }

  /** See {@linkcode Tasks.nextDueMs}. */
  get nextDueMs(): number | undefined {
    return earlier(this.queue.nextDelayEndMs, this.waiting.nextEndMs);
  }

  /** See {@linkcode Tasks.reservedBy}. */
  reservedBy(consumer: number): number {
    return this.queue.reservedBy(consumer);
  }

  /** See {@linkcode Tasks.awaitTask}. */
  awaitTask(
    consumer: number,
    wait: { readonly nowMs: () => number; readonly waitMs: number },
    then: (reservation: Reservation | undefined) => void,
  ): void {
    const nowMs = wait.nowMs();
    if (this.queue.mayReserve(consumer)) this.reserve(consumer, nowMs, then);
    else this.waiting.add({ consumer, nowMs: wait.nowMs, then }, nowMs + wait.waitMs);
  }

  /** See {@linkcode Tasks.reserve}. */
  abstract reserve(
    consumer: number,
    nowMs: number,
    then: (reservation: Reservation | undefined) => void,
  ): void;
}
