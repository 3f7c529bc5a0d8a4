/**
 * What an operator may see of a queue and do to it, beside what peers can.
 *
 * It is apart from the port `Tasks`, since what answers sessions need not know all tasks: what does
 * know them offers this, too.
 *
 * @module
 */

import type { Clearing, ListedTask, Paused } from "./listed_task.ts";
import type { CommitOutcome, KeptTask } from "./store.ts";
import type { TaskQueue } from "./task_queue.ts";

/** A queue that can only be looked at. */
export type QueueView = Pick<
  TaskQueue,
  | "size"
  | "maxTasks"
  | "counts"
  | "room"
  | "totals"
  | "paused"
  | "lastArrival"
  | "oldestArrival"
  | "waitingCount"
  | "list"
  | "countOf"
  | "find"
  | "search"
>;

/** What became of an action: the tasks that it changed; or there was no room to keep the change. */
export type Acted = readonly ListedTask[] | "not kept";

/** Tasks that are removed step by step. */
export interface ClearingSteps {
  /**
   * Takes the next step, a short one; to be called when the last one is answered.
   *
   * @param then is told what it removed, which may be nothing; undefined if there is no more.
   */
  next(then: (acted: Acted | undefined) => void): void;
}

/** A queue in an operator's hands. Answers come as those of `Tasks` do. */
export interface Inspection {
  /** The queue. */
  readonly queue: QueueView;
  /** How many consumers wait for a task. */
  readonly waitingConsumers: number;
  /** Stops and resumes requests, creates or both; it is not kept over a restart. */
  pause(change: Partial<Paused>): void;
  /** Makes buried tasks ready, with a clean count; others stay as they are. */
  kick(arrivals: readonly number[], then: (acted: Acted) => void): void;
  /** Removes tasks for good; those that consumers hold stay. */
  remove(arrivals: readonly number[], then: (acted: Acted) => void): void;
  /**
   * Begins to remove all tasks that are meant.
   *
   * @param options.most how many a step removes at most.
   */
  clear(which: Clearing, options: { readonly most: number }): ClearingSteps;
  /** Calls back after all answers that are owed now: then all that was asked so far is settled. */
  afterAll(then: () => void): void;
}

/** What inspects a queue needs of the port to it. */
export interface InspectionPort {
  /** The consumers that wait for a task. */
  readonly waiting: { readonly size: number };
  /** Calls an effect once the changes made so far are kept, or are not; then serves who waits. */
  afterCommit(effect: (outcome: CommitOutcome) => void): void;
}

/** The queue of one process in an operator's hands. */
export class QueueInspection implements Inspection {
  /** See {@linkcode Inspection.queue}. */
  readonly queue: QueueView;
  readonly #queue: TaskQueue;
  readonly #port: InspectionPort;

  /** Makes the operator's side of a port to a queue. */
  constructor(queue: TaskQueue, port: InspectionPort) {
    this.queue = queue;
    this.#queue = queue;
    this.#port = port;
  }

  /** See {@linkcode Inspection.waitingConsumers}. */
  get waitingConsumers(): number {
    return this.#port.waiting.size;
  }

  /** See {@linkcode Inspection.pause}. */
  pause(change: Partial<Paused>): void {
    this.#queue.pause(change);
    this.#port.afterCommit(() => {});
  }

  /** See {@linkcode Inspection.kick}. */
  kick(arrivals: readonly number[], then: (acted: Acted) => void): void {
    const kicked = arrivals.flatMap((arrival) => this.#queue.kickArrival(arrival) ?? []);
    this.#settle(kicked, {
      keep: ({ task }) => this.#queue.admit(task),
      undo: (one) => this.#queue.undoKick(one),
      tell: ({ task }) => ({ task, state: "waiting", ends: 0 }),
    }, then);
  }

  /** See {@linkcode Inspection.remove}. */
  remove(arrivals: readonly number[], then: (acted: Acted) => void): void {
    this.#settleRemoval(arrivals.flatMap((arrival) => this.#queue.remove(arrival) ?? []), then);
  }

  /** See {@linkcode Inspection.clear}. */
  clear(which: Clearing, options: { readonly most: number }): ClearingSteps {
    const steps = this.#queue.clear(which, options);
    return {
      next: (then) => {
        const { done, value } = steps.next();
        if (done === true) return then(undefined);
        if (value.length === 0) return then([]);
        this.#settleRemoval(value, (acted) => {
          if (acted === "not kept") steps.return(undefined);
          then(acted);
        });
      },
    };
  }

  /** See {@linkcode Inspection.afterAll}. */
  afterAll(then: () => void): void {
    this.#port.afterCommit(then);
  }

  #settleRemoval(removed: readonly KeptTask[], then: (acted: Acted) => void): void {
    this.#settle(removed, {
      keep: () => {},
      undo: (one) => this.#queue.undoRemove(one),
      tell: (one) => toListed(one),
    }, then);
  }

  #settle(
    changed: readonly KeptTask[],
    how: {
      readonly keep: (one: KeptTask) => void;
      readonly undo: (one: KeptTask) => void;
      readonly tell: (one: KeptTask) => ListedTask;
    },
    then: (acted: Acted) => void,
  ): void {
    this.#port.afterCommit((outcome) => {
      const isKept = outcome !== "not kept";
      for (const one of changed) (isKept ? how.keep : how.undo)(one);
      then(isKept ? changed.map(how.tell) : "not kept");
    });
  }
}

/** A removed task as it was. */
function toListed({ task, ends, isBuried, dueMs }: KeptTask): ListedTask {
  if (isBuried) return { task, state: "buried", ends };
  return dueMs === undefined
    ? { task, state: "waiting", ends }
    : { task, state: "delayed", ends, dueMs };
}
