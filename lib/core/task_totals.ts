/**
 * What has happened to the tasks so far, in counters.
 *
 * They are the queue's, not a connection's, so that none falls when a peer leaves. What could not be
 * kept is taken back from its counter in the same turn in which it was counted.
 *
 * @module
 */

import { priorities, type Priority } from "./task.ts";

/** A number per priority. */
export type PerPriority = Readonly<Record<Priority, number>>;

/** Why a task came back to the queue without having failed. */
export interface ReturnTotals {
  /** Its lease ended. */
  readonly lease: number;
  /** Its consumer's connection ended. */
  readonly gone: number;
  /** Its consumer released it. */
  readonly released: number;
  /** The line that handed it out never left, or the hand-out could not be kept. */
  readonly unsent: number;
}

/** Counters since the start of the process. */
export interface TaskTotals {
  /** Tasks that a store gave back at the start. */
  readonly restored: number;
  /** Tasks that producers created. */
  readonly created: PerPriority;
  /** Tasks handed out by `REQUEST`, which are gone then. */
  readonly requested: PerPriority;
  /** Tasks handed out by `RESERVE`. */
  readonly reserved: PerPriority;
  /** Tasks that their consumers completed; who only requests does not say so. */
  readonly completed: number;
  /** Failures that consumers told. */
  readonly failed: number;
  /** Tasks that came back to the queue. */
  readonly returned: ReturnTotals;
  /** Requested tasks among those that came back unsent: they are not gone. */
  readonly requestsUndone: number;
  /** Tasks that were buried. */
  readonly burials: number;
  /** Buried tasks that were made ready again. */
  readonly kicked: number;
  /** Tasks that an operator removed. */
  readonly removed: number;
  /** Requests for which there was no task. */
  readonly emptyRequests: number;
}

/** The same, to be counted in. */
export type CountedTotals = {
  -readonly [Name in keyof TaskTotals]: TaskTotals[Name] extends number ? number
    : { -readonly [Key in keyof TaskTotals[Name]]: number };
};

/** Makes counters that are zero. */
export function noTotals(): CountedTotals {
  return {
    restored: 0,
    created: { 1: 0, 2: 0, 3: 0 },
    requested: { 1: 0, 2: 0, 3: 0 },
    reserved: { 1: 0, 2: 0, 3: 0 },
    completed: 0,
    failed: 0,
    returned: { lease: 0, gone: 0, released: 0, unsent: 0 },
    requestsUndone: 0,
    burials: 0,
    kicked: 0,
    removed: 0,
    emptyRequests: 0,
  };
}

/** The sum over all priorities. */
export function sumOf(counts: PerPriority): number {
  return priorities.reduce((sum, priority) => sum + counts[priority], 0);
}

/** How many tasks have left for good: all that came in, less these, are in the queue. */
export function goneOf(totals: TaskTotals): number {
  return sumOf(totals.requested) - totals.requestsUndone + totals.completed + totals.removed;
}
