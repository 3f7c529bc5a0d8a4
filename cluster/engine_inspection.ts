/**
 * What an operator sees of a queue that an engine keeps, and does to it.
 *
 * It has a connection of its own: to count a large queue takes longer than a turn may wait. Figures of
 * the whole queue are the engine's, as of the last look; counters are this front's.
 *
 * @module
 */

import type {
  Acted,
  ClearingSteps,
  Inspection,
  Listed,
  QueueFigures,
  Silence,
} from "../lib/core/inspection.ts";
import type {
  Clearing,
  Found,
  ListedState,
  ListedTask,
  Listing,
  Search,
} from "../lib/core/listed_task.ts";
import { priorities, type Priority } from "../lib/core/task.ts";
import type { EngineTasks } from "./engine_tasks.ts";

/** What is asked of the engine. */
export interface Desk {
  /**
   * Asks something, at whichever host is the primary; after a failure once more.
   *
   * @returns the column `value` of each row; undefined if there was no answer in time. What was
   * asked may have been done.
   * @throws {Error} the engine refuses this question; another one it may answer.
   */
  ask(text: string, values: readonly unknown[]): Promise<readonly unknown[] | undefined>;
}

/** How long somebody waits for fresh figures, in milliseconds; then the old ones are shown. */
const patienceMs = 2000;

/**
 * A look that took longer is repeated only after ten times as long, in milliseconds: it must not
 * cost the engine more than a tenth of one of its cores, however many tasks it has to count.
 */
const cheapMs = 50;

/** The engine's names of states. */
const tables = { waiting: "ready", delayed: "delayed", reserved: "reserved", buried: "buried" };

/** What queue.look tells. */
interface Look {
  readonly ready: number;
  readonly delayed: number;
  readonly reserved: number;
  readonly buried: number;
  readonly last_arrival: number;
  readonly last_burial: number;
  /** What it has cost the engine. */
  readonly took_ms: number;
  readonly waiting:
    | Readonly<Partial<Record<Priority, { count: number; oldest: number; seconds: number }>>>
    | null;
}

const nothing: Look = {
  ...{ ready: 0, delayed: 0, reserved: 0, buried: 0, last_arrival: 0, last_burial: 0 },
  ...{ took_ms: 0, waiting: null },
};

/** A task, as queue.shown tells of it. */
interface Shown {
  readonly state: string;
  readonly priority: Priority;
  readonly arrival: number;
  readonly ends: number;
  readonly task_id: string;
  readonly duration: string;
  readonly payload: string | null;
  readonly due?: number;
  readonly consumer?: number;
  readonly burial?: number;
}

/** How an {@linkcode EngineInspection} is made. */
export interface EngineInspectionOptions {
  /** Most tasks in the queue. */
  readonly maxTasks: number;
  /** Added to times of this process, it makes milliseconds since 1970 of them. */
  readonly epochMs: number;
  /** Tells the time. */
  readonly nowMs: () => number;
  /** Calls back after some time, unless the returned function is called before. */
  readonly after: (ms: number, callback: () => void) => () => void;
  /** Takes a line for the operator. */
  readonly say: (line: string) => void;
}

/** The queue of several fronts in an operator's hands. */
export class EngineInspection implements Inspection {
  /** See {@linkcode Inspection.queue}. */
  readonly queue: QueueFigures;
  /** See {@linkcode Inspection.isShared}. */
  readonly isShared = true;
  readonly #desk: Desk;
  readonly #tasks: EngineTasks;
  readonly #options: EngineInspectionOptions;
  #seen: Look = nothing;
  #looking: Promise<void> = Promise.resolve();
  #next: Promise<void> | undefined;
  #lookAgainMs = -Infinity;
  #isSilent = false;
  /** What was said last about a question that the engine refuses. */
  #complaint = "";

  /** Makes the operator's side of a front's tasks. */
  constructor(desk: Desk, tasks: EngineTasks, options: EngineInspectionOptions) {
    this.#desk = desk;
    this.#tasks = tasks;
    this.#options = options;
    this.queue = figures(() => this.#seen, tasks, options.maxTasks);
  }

  /** True if the engine did not answer when it was last asked. */
  get isSilent(): boolean {
    return this.#isSilent;
  }

  /** See {@linkcode Inspection.waitingConsumers}. */
  get waitingConsumers(): number {
    return this.#tasks.waitingConsumers;
  }

  /** See {@linkcode Inspection.workSeconds}. */
  workSeconds(priority: Priority): number {
    const { count = 0, seconds = 0 } = this.#seen.waiting?.[priority] ?? {};
    return count * seconds;
  }

  /** See {@linkcode Inspection.firstWaiting}. */
  firstWaiting(): readonly ListedTask[] {
    return [];
  }

  /** See {@linkcode Inspection.list}. */
  list(
    state: ListedState,
    { wanted, skip, limit }: Listing,
    then: (listed: Listed | Silence) => void,
  ): void {
    this.afterAll(async () => {
      const rows = await this.#ask<Shown>("SELECT queue.list($1, $2, '', $3, $4) AS value", [
        ...[tables[state], wanted, skip, limit],
      ]);
      if (rows === undefined) return then("no answer");
      then({ total: this.#countOf(state, wanted), tasks: this.#toListed(rows, skip) });
    });
  }

  /** See {@linkcode Inspection.find}. */
  find(arrival: number, then: (listed: ListedTask | undefined | Silence) => void): void {
    this.#ask<Shown | null>("SELECT queue.find($1) AS value", [arrival]).then((rows) => {
      if (rows === undefined) return then("no answer");
      then(rows[0] == null ? undefined : this.#toListed([rows[0]])[0]);
    });
  }

  /** See {@linkcode Inspection.search}; it is the engine that takes turns. */
  search(
    state: ListedState,
    { wanted, name, keep }: Search,
    then: (found: Found | Silence) => void,
  ): void {
    this.afterAll(async () => {
      const searched = this.#countOf(state, priorities);
      // No name has this character, and PostgreSQL refuses every text that has it.
      if (name.includes("\0")) return then({ total: 0, tasks: [], searched });
      const what = [tables[state], wanted, name];
      const [total, rows] = await Promise.all([
        this.#ask<string>("SELECT queue.count($1, $2, $3) AS value", what),
        this.#ask<Shown>("SELECT queue.list($1, $2, $3, 0, $4) AS value", [...what, keep]),
      ]);
      if (total === undefined || rows === undefined) return then("no answer");
      then({ total: Number(total[0]), tasks: this.#toListed(rows), searched });
    });
  }

  /** See {@linkcode Inspection.pause}; other fronts would go on. */
  pause(): void {
    throw new RangeError("a queue of several fronts is not paused at one");
  }

  /** See {@linkcode Inspection.kick}. */
  kick(arrivals: readonly number[], then: (acted: Acted) => void): void {
    this.#act("SELECT queue.kick($1) AS value", [arrivals], (acted) => {
      if (typeof acted === "string") return then(acted);
      this.#tasks.totals.kicked += acted.length;
      then(acted.map(({ task }) => ({ task, state: "waiting", ends: 0 })));
    });
  }

  /** See {@linkcode Inspection.remove}. */
  remove(arrivals: readonly number[], then: (acted: Acted) => void): void {
    this.#act("SELECT queue.remove($1) AS value", [arrivals], (acted) => {
      this.#countRemoved(acted);
      then(acted);
    });
  }

  /** See {@linkcode Inspection.clear}. */
  clear(
    { state, priority, upToArrival }: Clearing,
    { most }: { readonly most: number },
  ): ClearingSteps {
    let isMore = true;
    return {
      next: (then) => {
        if (!isMore) return then(undefined);
        this.#act("SELECT queue.take_away($1, $2, NULL, $3, $4) AS value", [
          ...[tables[state], priority, upToArrival, most],
        ], (acted) => {
          this.#countRemoved(acted);
          isMore = typeof acted !== "string" && acted.length === most;
          then(acted);
        });
      },
    };
  }

  /** See {@linkcode Inspection.afterAll}. */
  afterAll(then: () => void): void {
    const { after } = this.#options;
    let isTold = false;
    const tell = () => {
      if (isTold) return;
      isTold = true;
      then();
    };
    const cancel = after(patienceMs, () => {
      this.#isSilent = true;
      tell();
    });
    this.look().then(() => {
      cancel();
      tell();
    });
  }

  /** Brings the figures up to date; they stay as they are if the engine does not answer. */
  look(): Promise<void> {
    // The look that is under way may have begun before what was asked so far.
    this.#next ??= this.#looking.then(() => {
      this.#next = undefined;
      return this.#looking = this.#look();
    });
    return this.#next;
  }

  async #look(): Promise<void> {
    const { nowMs } = this.#options;
    if (nowMs() < this.#lookAgainMs) return;
    const rows = await this.#ask<Look>("SELECT queue.look() AS value", []);
    if (rows === undefined) return;
    this.#seen = rows[0] as Look;
    const { took_ms: tookMs } = this.#seen;
    this.#lookAgainMs = tookMs < cheapMs ? -Infinity : nowMs() + 10 * tookMs;
  }

  /** Asks the engine. What it refuses costs whoever has asked that, and nobody else. */
  async #ask<T>(text: string, values: readonly unknown[]): Promise<readonly T[] | undefined> {
    try {
      const rows = await this.#desk.ask(text, values);
      this.#isSilent = rows === undefined;
      return rows as readonly T[] | undefined;
    } catch (error) {
      const complaint = `the operator's side: ${(error as Error).message}`;
      // A page asks again and again.
      if (complaint !== this.#complaint) this.#options.say(complaint);
      this.#complaint = complaint;
      return undefined;
    }
  }

  #act(
    text: string,
    values: readonly unknown[],
    then: (acted: readonly ListedTask[] | Silence) => void,
  ): void {
    this.#ask<Shown>(text, values).then((rows) => {
      // The state after it is to be seen, whatever a look costs.
      this.#lookAgainMs = -Infinity;
      this.#tasks.refresh();
      then(rows === undefined ? "no answer" : this.#toListed(rows));
    });
  }

  #countRemoved(acted: readonly ListedTask[] | Silence): void {
    if (typeof acted !== "string") this.#tasks.totals.removed += acted.length;
  }

  #countOf(state: ListedState, wanted: readonly Priority[]): number {
    if (state !== "waiting") return this.#seen[state];
    return wanted.reduce((sum, priority) => sum + this.queue.waitingCount(priority), 0);
  }

  /**
   * Tells of tasks as the library does.
   *
   * @param skipped how many that wait are before the first one; left out: nobody has counted.
   */
  #toListed(rows: readonly Shown[], skipped?: number): ListedTask[] {
    return rows.map(
      ({ task_id: taskId, priority, arrival, duration, payload, ...shown }, index) => {
        const { ends, due, consumer, burial } = shown;
        const state = shown.state === "ready" ? "waiting" : shown.state as ListedState;
        const hasPosition = state === "waiting" && skipped !== undefined;
        return {
          task: { priority, taskId, duration, arrival, ...payload === null ? {} : { payload } },
          ...{ state, ends },
          ...due === undefined ? {} : { dueMs: due - this.#options.epochMs },
          ...consumer === undefined ? {} : { consumer },
          ...burial === undefined ? {} : { burial },
          ...hasPosition ? { position: skipped + index + 1 } : {},
        };
      },
    );
  }
}

/** The figures as of the last look; and this front's counters. */
function figures(seen: () => Look, tasks: EngineTasks, maxTasks: number): QueueFigures {
  return {
    maxTasks,
    totals: tasks.totals,
    paused: { creates: false, requests: false },
    get counts() {
      const { ready, delayed, reserved, buried } = seen();
      return { ready, delayed, reserved, buried };
    },
    get size() {
      const { ready, delayed, reserved, buried } = seen();
      return ready + delayed + reserved + buried;
    },
    get lastArrival() {
      return seen().last_arrival;
    },
    get lastBurial() {
      return seen().last_burial;
    },
    oldestArrival: (priority) => seen().waiting?.[priority]?.oldest,
    waitingCount: (priority) => seen().waiting?.[priority]?.count ?? 0,
  };
}
