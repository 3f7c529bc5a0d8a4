/**
 * The contract of a store, which keeps the tasks beyond the life of the process.
 *
 * The queue tells it each change as it is made; a commit keeps the changes since the last one, all
 * at once. What a commit must keep, and what it may leave out if there is no room, is
 * {@linkcode CommitOutcome}.
 *
 * @module
 */

import type { Histogram } from "../histogram.ts";
import type { Checkpoint } from "./arrival_clock.ts";
import type { Task } from "./task.ts";

/**
 * What became of the changes of a commit: all are kept; all but the new tasks, for which there was
 * no room; or none.
 *
 * Two kinds of changes are never undone by the queue, so the store keeps them with a later commit if
 * there is no room now, whatever the outcome: that a task came back, and an update of its state. Of a
 * task that changes again meanwhile the last change counts that is kept.
 */
export type CommitOutcome = "kept" | "kept without new tasks" | "not kept";

/** Tells when changes are kept. */
export interface Commits {
  /** Calls an effect once the changes made so far are kept, in the order of the calls. */
  afterCommit(effect: (outcome: CommitOutcome) => void): void;
  /** False exactly while an effect waits: from its call until it is called. */
  readonly isSettled: boolean;
}

/** What a store keeps of a task besides the task itself. */
export interface TaskState {
  /** How many of its reservations ended without completion. */
  readonly ends: number;
  /** Whether it is buried. */
  readonly isBuried: boolean;
  /**
   * When it is to be ready, in milliseconds on the clock that the queue is given; undefined if it
   * was never delayed. It stays when that time is over: then it means nothing.
   */
  readonly dueMs: number | undefined;
}

/** What a store gives back at the start. */
export interface KeptTask extends TaskState {
  /** The task as it was added. */
  readonly task: Task;
}

/** The changes that must outlive the process. */
export interface TaskChanges {
  /** A new task entered; it is ready at a time, or at once if that is left out. */
  add(task: Task, dueMs?: number): void;
  /** A task whose removal was noted came back, with its count of ends; it is not buried. */
  addBack(task: Task, ends: number): void;
  /** A task is gone. */
  remove(task: Task): void;
  /** A task's state changed; nothing if the task is gone. */
  update(task: Task, state: TaskState): void;
  /** A buried task is ready again, with a clean count. */
  kick(task: Task): void;
}

/** Upper bounds of the histogram of commits, in seconds: from a cache in memory to a slow disk. */
export const commitBounds: readonly number[] = [
  ...[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1],
];

/** Keeps tasks. */
export interface TaskStore extends TaskChanges, Disposable {
  /** Whether new tasks were refused lately for want of room; left out if that cannot be. */
  readonly isFull?: boolean;
  /** How long commits took that had changes, in seconds; left out if it is not measured. */
  readonly commitSeconds?: Histogram;
  /** Every kept task, each once, in any order; changes that are not committed do not show. */
  keptTasks(): Iterable<KeptTask>;
  /**
   * When kept tasks arrived, about, in the order of arrival; on the clock that the queue is given, and
   * so before its beginning. Left out if the store does not know.
   */
  keptTimes?(): Iterable<Checkpoint>;
  /**
   * Keeps the changes since the last call, in one piece.
   *
   * @throws the store can be trusted no more.
   */
  commit(): CommitOutcome;
  /** Calls back, once, if the store is found to have failed while nothing is committed. */
  watch(onFailure: (error: unknown) => void): void;
}
