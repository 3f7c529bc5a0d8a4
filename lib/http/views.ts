/**
 * What the API tells: tasks, consumers and the whole queue, as JSON has them. docs/api.md says what
 * each field means.
 *
 * @module
 */

import type { Histogram } from "../histogram.ts";
import type { Inspection } from "../core/inspection.ts";
import type { ListedState, ListedTask } from "../core/listed_task.ts";
import { startsInSeconds } from "../core/prediction.ts";
import { taskOf } from "../core/reservations.ts";
import { priorities, type Priority, type Task } from "../core/task.ts";
import type { Bar, ConsumerStatus, HistoryPoint, Problem, ServerStatus } from "../server/status.ts";

/** How many tasks are looked at when times are predicted. */
export const predictedTasks = 1000;

/** How many characters of a payload are shown. */
const payloadChars = 80;

/** What becomes of tasks beyond memory. */
export type StoreState = "none" | "ok" | "full" | "failed" | "silent";

/** What is known of a server that an operator looks at. */
export interface Operated {
  /** The queue. */
  readonly inspection: Inspection;
  /** What the server does. */
  readonly status: ServerStatus;
  /** What does not change while it runs. */
  readonly server: ServerFacts;
  /** The state of the store. */
  readonly storeState: () => StoreState;
  /** The time of day, in milliseconds since 1970. */
  readonly wallMs: () => number;
  /** How long the store's commits took, in seconds; empty without a store. */
  readonly commitSeconds: Histogram;
  /** How many event lines were dropped so far. */
  readonly droppedLines: () => number;
  /** How much memory the process has, in bytes. */
  readonly memoryBytes: () => number;
}

/** What does not change while a server runs. */
export interface ServerFacts {
  /** Its version. */
  readonly version: string;
  /** The version of Deno. */
  readonly deno: string;
  /** When it started, in seconds since 1970. */
  readonly startedAt: number;
  /** Where producers connect. */
  readonly producers: string;
  /** Where consumers connect. */
  readonly consumers: string;
  /** Options that producers and consumers must be given. */
  readonly clientOptions: readonly string[];
  /** Where the tasks are kept; null if in memory alone. */
  readonly store: string | null;
  /** The most tasks. */
  readonly maxTasks: number;
  /** The most connections. */
  readonly maxConnections: number;
  /** Whether other servers serve the same tasks. */
  readonly isShared: boolean;
}

/** A task, as JSON has it. */
export interface TaskView {
  /** Its identity: names repeat. */
  readonly arrival: number;
  /** 1 to 3. */
  readonly priority: Priority;
  /** Its name. */
  readonly taskId: string;
  /** Seconds of work, as text. */
  readonly duration: string;
  /** The first characters of its payload; null if it has none. */
  readonly payload: string | null;
  /** Its state; `requested` is one that a consumer works on, and that is gone from the queue. */
  readonly state: ListedState | "requested";
  /** Its place among those that wait; null if it does not, or nobody has counted. */
  readonly position: number | null;
  /** How long ago it arrived. */
  readonly ageSeconds: number;
  /** When it will probably start; null if that is not known. */
  readonly startsInSeconds: number | null;
  /** When it is ready, if it is delayed. */
  readonly dueInSeconds: number | null;
  /** How many of its hand-outs ended without completion. */
  readonly tries: number;
  /** Who holds it, if it is reserved. */
  readonly consumer: number | null;
  /** How long its consumer may still hold it. */
  readonly leaseEndsInSeconds: number | null;
  /** How long ago it was buried. */
  readonly buriedAgeSeconds: number | null;
}

/** A consumer, as JSON has it. */
export interface ConsumerView {
  /** Its number. */
  readonly number: number;
  /** Its address. */
  readonly peer: string;
  /** What it works on; null if nothing. */
  readonly task: TaskView | null;
  /** How many more tasks are in its hands. */
  readonly pipelined: number;
  /** For how long it has had that task, or none. */
  readonly sinceSeconds: number;
  /** How many tasks it was handed. */
  readonly handedOut: number;
  /** How long ago it said something. */
  readonly lastSeenSeconds: number;
}

/** The whole queue, as JSON has it; arrays are by priority. */
export interface Overview {
  /** When, in seconds since 1970. */
  readonly time: number;
  /** Tasks that may be handed out. */
  readonly waiting: readonly number[];
  /** How long ago the oldest of these arrived. */
  readonly oldestAgeSeconds: readonly (number | null)[];
  /** Tasks whose time has not come. */
  readonly delayed: number;
  /** Tasks that consumers hold. */
  readonly reserved: number;
  /** Tasks that are handed out no more. */
  readonly buried: number;
  /** All tasks. */
  readonly tasks: number;
  /** The arrival of the last one. */
  readonly lastArrival: number;
  /** The last burial's number: what `upToBurial` takes. */
  readonly lastBurial: number;
  /** Counters since the start, as all that follow up to `refused`. */
  readonly created: readonly number[];
  /** Hand-outs. */
  readonly handedOut: readonly number[];
  /** Completions of reserved tasks. */
  readonly completed: number;
  /** Failures. */
  readonly failed: number;
  /** Tasks that came back without having failed. */
  readonly returned: number;
  /** Burials. */
  readonly burials: number;
  /** Kicks. */
  readonly kicked: number;
  /** Removals by an operator. */
  readonly removed: number;
  /** Requests for which there was no task. */
  readonly emptyRequests: number;
  /** Lines of peers that were refused. */
  readonly refused: number;
  /** Connected producers. */
  readonly producers: number;
  /** Those of them that wait for room. */
  readonly waitingProducers: number;
  /** Connected consumers. */
  readonly consumers: number;
  /** Those of them that have a task. */
  readonly working: number;
  /** Those of them that wait for a task. */
  readonly waitingConsumers: number;
  /** How much work waits. */
  readonly workSeconds: number;
  /** When all of it will be done; null without consumers, while paused, or if others serve, too. */
  readonly drainedInSeconds: number | null;
  /** What an operator has stopped. */
  readonly paused: { readonly creates: boolean; readonly requests: boolean };
  /** The state of the store. */
  readonly store: StoreState;
  /** Memory of the process. */
  readonly memoryBytes: number;
}

/** Rounds to thousandths: what JSON tells is measured no finer. */
export function thousandths(seconds: number): number {
  return Math.round(seconds * 1000) / 1000;
}

/** What a time of the status is in seconds since 1970. */
export function unixSeconds({ status, wallMs }: Operated, timeMs: number): number {
  return thousandths((wallMs() + timeMs - status.look()) / 1000);
}

/** Tells of tasks; one object tells of one moment. */
export class TaskViews {
  readonly #operated: Operated;
  readonly #nowMs: number;
  /** By position; made when it is first asked for. */
  #starts: readonly number[] | undefined;

  /** Begins to tell of this moment. */
  constructor(operated: Operated) {
    this.#operated = operated;
    this.#nowMs = operated.status.look();
  }

  /** A task of the queue. */
  of(listed: ListedTask): TaskView {
    const { position, dueMs, leaseEndMs, burial, consumer } = listed;
    const { status } = this.#operated;
    const untilOf = (ms: number | undefined) =>
      ms === undefined ? null : thousandths((ms - this.#nowMs) / 1000);
    const buriedAge = burial === undefined
      ? undefined
      : status.burialAgeSecondsOf(burial, this.#nowMs);
    return {
      ...this.#plain(listed.task),
      state: listed.state,
      position: position ?? null,
      startsInSeconds: position === undefined ? null : this.#startOf(position),
      dueInSeconds: untilOf(dueMs),
      tries: listed.ends,
      consumer: consumer ?? null,
      leaseEndsInSeconds: untilOf(leaseEndMs),
      buriedAgeSeconds: buriedAge === undefined ? null : thousandths(buriedAge),
    };
  }

  /** A consumer. */
  ofConsumer(consumer: ConsumerStatus): ConsumerView {
    const { number, peer, held, handedOut } = consumer;
    const [first] = held;
    return {
      number,
      peer,
      task: first === undefined ? null : this.of({
        task: taskOf(first),
        state: "reserved",
        ends: 0,
        consumer: number,
        ..."task" in first ? {} : { state: "requested" as "reserved" },
      }),
      pipelined: Math.max(0, held.length - 1),
      sinceSeconds: thousandths((this.#nowMs - consumer.sinceMs) / 1000),
      handedOut,
      lastSeenSeconds: thousandths((this.#nowMs - consumer.lastSeenMs) / 1000),
    };
  }

  #plain(task: Task) {
    const { arrival, priority, taskId, duration, payload } = task;
    const ageSeconds = thousandths(this.#operated.status.ageSecondsOf(arrival, this.#nowMs));
    return {
      ...{ arrival, priority, taskId, duration, ageSeconds },
      payload: payload?.slice(0, payloadChars) ?? null,
    };
  }

  #startOf(position: number): number | null {
    this.#starts ??= this.#predict();
    const start = this.#starts[position - 1] ?? Infinity;
    return Number.isFinite(start) ? thousandths(start) : null;
  }

  #predict(): readonly number[] {
    const { inspection } = this.#operated;
    if (inspection.queue.paused.requests) return [];
    const first = inspection.firstWaiting(predictedTasks);
    return startsInSeconds(first.map(({ task }) => Number(task.duration)), this.#freeInSeconds());
  }

  #freeInSeconds(): number[] {
    return [...freeInSeconds(this.#operated.status, this.#nowMs)];
  }
}

/** When each consumer will be done with what it has, if that takes as long as it says. */
function freeInSeconds(status: ServerStatus, nowMs: number): IteratorObject<number> {
  return status.consumers.map(({ held, sinceMs }) => {
    const work = held.reduce((sum, one) => sum + Number(taskOf(one).duration), 0);
    return held.length === 0 ? 0 : Math.max(0, work - (nowMs - sinceMs) / 1000);
  });
}

/** Tells of the whole queue. Cost: 1 ms, and some more with thousands of consumers. */
export function overviewOf(operated: Operated): Overview {
  const { inspection, status, storeState, memoryBytes } = operated;
  const { queue } = inspection;
  const { counts, totals, paused } = queue;
  const nowMs = status.look();
  const byPriority = <T>(of: (priority: Priority) => T) => priorities.map(of);
  const work = priorities.reduce((sum, priority) => sum + inspection.workSeconds(priority), 0);
  const free = [...freeInSeconds(status, nowMs)];
  const isUnknown = free.length === 0 || paused.requests || inspection.isShared;
  const underWay = free.reduce((sum, seconds) => sum + seconds, 0);
  const { refused } = status;
  return {
    time: unixSeconds(operated, nowMs),
    waiting: byPriority((priority) => queue.waitingCount(priority)),
    oldestAgeSeconds: byPriority((priority) => {
      const arrival = queue.oldestArrival(priority);
      return arrival === undefined ? null : thousandths(status.ageSecondsOf(arrival, nowMs));
    }),
    delayed: counts.delayed,
    reserved: counts.reserved,
    buried: counts.buried,
    tasks: queue.size,
    lastArrival: queue.lastArrival,
    lastBurial: queue.lastBurial,
    created: byPriority((priority) => totals.created[priority]),
    handedOut: byPriority((priority) => totals.requested[priority] + totals.reserved[priority]),
    completed: totals.completed,
    failed: totals.failed,
    returned: Object.values(totals.returned).reduce((sum, count) => sum + count, 0),
    burials: totals.burials,
    kicked: totals.kicked,
    removed: totals.removed,
    emptyRequests: totals.emptyRequests,
    refused: refused.malformed + refused.state + refused.store_full,
    producers: status.server.producers,
    waitingProducers: status.server.waitingProducers,
    consumers: status.consumerCount,
    working: status.working,
    waitingConsumers: inspection.waitingConsumers,
    workSeconds: thousandths(work),
    drainedInSeconds: isUnknown ? null : thousandths((work + underWay) / free.length),
    paused,
    store: storeState(),
    memoryBytes: memoryBytes(),
  };
}

/** A bar, as JSON has it. */
export function barView(operated: Operated, { startMs, endMs, ...rest }: Bar): unknown {
  const [start, end] = [unixSeconds(operated, startMs), unixSeconds(operated, endMs)];
  return { ...rest, start, end };
}

/** A line for the operator, as JSON has it. */
export function problemView(operated: Operated, { timeMs, text }: Problem): unknown {
  return { time: unixSeconds(operated, timeMs), text };
}

/** A point of the history, as JSON has it. */
export function historyView(operated: Operated, { timeMs, ...rest }: HistoryPoint): unknown {
  return { time: unixSeconds(operated, timeMs), ...rest };
}
