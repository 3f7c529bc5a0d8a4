/**
 * What an operator sees of tasks, and may ask for.
 *
 * @module
 */

import type { Priority, Task } from "./task.ts";

/** What an operator has stopped for now. */
export interface Paused {
  /** No new task is taken: producers wait, as they do when the queue is full. */
  readonly creates: boolean;
  /** No task is handed out: there seems to be none. */
  readonly requests: boolean;
}

/** A state that a task can be looked at in; one that is ready is called waiting. */
export type ListedState = "waiting" | "delayed" | "reserved" | "buried";

/** A task, as an operator sees it. */
export interface ListedTask {
  /** The task. */
  readonly task: Task;
  /** Its state. */
  readonly state: ListedState;
  /** How many of its hand-outs ended without completion. */
  readonly ends: number;
  /** When it is to be ready, if it is delayed. */
  readonly dueMs?: number;
  /** Who holds it, if it is reserved. */
  readonly consumer?: number;
  /** Until when, if it is reserved. */
  readonly leaseEndMs?: number;
  /** If it is buried, which burial that was, from 1; 0 if it is not known, after a restart. */
  readonly burial?: number;
  /** Its place among those that wait, from 1; left out if nobody has counted. */
  readonly position?: number;
}

/** Which tasks are listed. */
export interface Listing {
  /** Those of these priorities. */
  readonly wanted: readonly Priority[];
  /** How many of the first ones are left out. */
  readonly skip: number;
  /** How many are told at most. */
  readonly limit: number;
}

/** Which tasks are looked for. */
export interface Search {
  /** Those of these priorities. */
  readonly wanted: readonly Priority[];
  /** Those with this text in their names; case matters. */
  readonly name: string;
  /** How many of those found are told, the first ones. */
  readonly keep: number;
}

/** What a search has found. */
export interface Found {
  /** How many tasks match. */
  readonly total: number;
  /** The first ones of these. */
  readonly tasks: readonly ListedTask[];
  /** How many tasks were looked at. */
  readonly searched: number;
}

/** Which tasks are to be cleared. */
export interface Clearing {
  /** Those in this state; reserved tasks are their consumers'. */
  readonly state: Exclude<ListedState, "reserved">;
  /** Those of this priority. */
  readonly priority: Priority;
  /** Those that had arrived by then. */
  readonly upToArrival: number;
}
