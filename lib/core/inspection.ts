/**
 * What an operator may see of a queue and do to it, beside what peers can.
 *
 * It is apart from the port `Tasks`, since what answers sessions need not know all tasks: what does
 * know them offers this, too.
 *
 * @module
 */

import type {
  Clearing,
  Found,
  ListedState,
  ListedTask,
  Listing,
  Paused,
  Search,
} from "./listed_task.ts";
import { workSeconds } from "./prediction.ts";
import type { CommitOutcome, KeptTask } from "./store.ts";
import { priorities, type Priority } from "./task.ts";
import type { TaskQueue } from "./task_queue.ts";

/** How many tasks of a priority are looked at to say how much work waits. */
export const estimatedTasks = 1000;

/** Figures of a queue; as of the last {@linkcode Inspection.afterAll}, if they are kept elsewhere. */
export type QueueFigures = Pick<
  TaskQueue,
  | "size"
  | "maxTasks"
  | "counts"
  | "totals"
  | "paused"
  | "lastArrival"
  | "lastBurial"
  | "oldestArrival"
  | "waitingCount"
>;

/** In place of an answer: what keeps the tasks has said nothing in time. */
export type Silence = "no answer";

/** Some of the tasks in a state. */
export interface Listed {
  /** How many there are in all. */
  readonly total: number;
  /** Those that were asked for. */
  readonly tasks: readonly ListedTask[];
}

/**
 * What became of an action: the tasks that it changed; or there was no room to keep the change; or
 * it is not known.
 */
export type Acted = readonly ListedTask[] | "not kept" | Silence;

/** Tasks that are removed step by step. */
export interface ClearingSteps {
  /**
   * Takes the next step, a short one; to be called when the last one is answered, unless that failed.
   *
   * @param then is told what it removed, which may be nothing; undefined if there is no more.
   */
  next(then: (acted: Acted | undefined) => void): void;
}

/** A queue in an operator's hands. Answers come as those of `Tasks` do. */
export interface Inspection {
  /** What there is in figures. */
  readonly queue: QueueFigures;
  /**
   * Whether other servers serve the same tasks. Then the counters and the consumers are of this one
   * alone, nobody can tell when a task starts, and nothing can be paused.
   */
  readonly isShared: boolean;
  /** How many consumers wait for a task. */
  readonly waitingConsumers: number;
  /** How much work waits, in seconds, as far as the first tasks tell. */
  workSeconds(priority: Priority): number;
  /** The first tasks that wait, as far as they can be told at once: none if the queue is shared. */
  firstWaiting(limit: number): readonly ListedTask[];
  /** Tells of the first tasks in a state, in the order of {@linkcode TaskQueue.list}. */
  list(state: ListedState, listing: Listing, then: (listed: Listed | Silence) => void): void;
  /** Tells of a task; undefined if there is none such. */
  find(arrival: number, then: (listed: ListedTask | undefined | Silence) => void): void;
  /**
   * Looks for tasks with a text in their names, in the order of {@linkcode list}.
   *
   * @param options.nextTurn lets others have their turn, and calls back.
   */
  search(
    state: ListedState,
    options: Search & { readonly nextTurn: (resume: () => void) => void },
    then: (found: Found | Silence) => void,
  ): void;
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
  /**
   * Calls back after all answers that are owed now: then all that was asked so far is settled, and
   * the figures are as of now. If nothing is heard for some seconds, they are as they were.
   */
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
  readonly queue: QueueFigures;
  /** See {@linkcode Inspection.isShared}. */
  readonly isShared = false;
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

  /** See {@linkcode Inspection.workSeconds}. */
  workSeconds(priority: Priority): number {
    const first = this.#queue.list("waiting", {
      ...{ wanted: [priority], skip: 0, limit: estimatedTasks },
    });
    const durations = first.map(({ task }) => Number(task.duration));
    return workSeconds(durations, this.#queue.waitingCount(priority));
  }

  /** See {@linkcode Inspection.firstWaiting}. */
  firstWaiting(limit: number): readonly ListedTask[] {
    return this.#queue.list("waiting", { wanted: priorities, skip: 0, limit });
  }

  /** See {@linkcode Inspection.list}; of tasks that do not wait all priorities are told. */
  list(state: ListedState, listing: Listing, then: (listed: Listed) => void): void {
    const total = this.#queue.countOf(state, listing.wanted);
    then({ total, tasks: this.#queue.list(state, listing) });
  }

  /** See {@linkcode Inspection.find}. */
  find(arrival: number, then: (listed: ListedTask | undefined) => void): void {
    then(this.#queue.find(arrival));
  }

  /** See {@linkcode Inspection.search}. */
  search(
    state: ListedState,
    { nextTurn, ...search }: Search & { readonly nextTurn: (resume: () => void) => void },
    then: (found: Found) => void,
  ): void {
    const searching = this.#queue.search(state, search);
    const step = () => {
      const { done, value } = searching.next();
      if (done === true) then(value);
      else nextTurn(step);
    };
    step();
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
