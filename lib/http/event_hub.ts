/**
 * Tells those who watch what changes: one message for all of them, at most twice a second.
 *
 * Each message is a whole state with totals, so that one who misses some misses nothing but bars.
 *
 * @module
 */

import type { Clock } from "../clock.ts";
import { HttpError, type HttpResponse } from "./message.ts";
import {
  barView,
  historyView,
  type Operated,
  type Overview,
  overviewOf,
  problemView,
  TaskViews,
} from "./views.ts";
import { historyStepMs } from "../server/status.ts";

/** Most who watch at a time. */
export const maxViewers = 32;

/** How often what has changed is told, in milliseconds. */
const tickMs = 500;

/** How many ticks without a change are left out in a row: a proxy may close what is silent. */
const quietTicks = 9;

/**
 * How many consumers are told of, with their bars: the first ones that are connected. A page shows no
 * more; and of a thousand at work, each second had a megabyte to tell to each of ten viewers.
 */
const maxConsumers = 100;

/** How many ticks a viewer may be behind before it is sent no more, and before it is closed. */
const maxBehind = { skipped: 4, closed: 20 };

/** How long the end waits for viewers to take the last message, in milliseconds. */
const farewellMs = 200;

/** When a browser tries again that has lost its stream, in milliseconds. */
const retryMs = 2000;

const encoder = new TextEncoder();

interface Viewer {
  send(bytes: Uint8Array): void;
  close(): void;
  readonly waitingBytes: number;
  behind: number;
}

/** The viewers of a queue. */
export class EventHub {
  readonly #operated: Operated;
  readonly #clock: Clock;
  readonly #viewers = new Set<Viewer>();
  #cancelTick: () => void = () => {};
  /** What was told last. */
  #told = { changes: 0, bars: 0, problems: 0, state: "", lastConsumer: 0 };
  #quiet = 0;
  #onEmpty: () => void = () => {};
  #isClosed = false;

  /** Makes a hub without viewers. */
  constructor(operated: Operated, clock: Clock) {
    this.#operated = operated;
    this.#clock = clock;
  }

  /** How many watch. */
  get size(): number {
    return this.#viewers.size;
  }

  /**
   * Answers one who wants to watch.
   *
   * @throws {HttpError} if too many do.
   */
  open(): HttpResponse {
    if (this.#viewers.size >= maxViewers || this.#isClosed) {
      throw new HttpError(503, "too many pages are open: try again", { "Retry-After": "1" });
    }
    return {
      status: 200,
      headers: { "Content-Type": "text/event-stream", "Cache-Control": "no-store" },
      body: (sink) => {
        const viewer: Viewer = {
          send: (bytes) => sink.send(bytes),
          close: () => sink.close(),
          get waitingBytes() {
            return sink.waitingBytes;
          },
          behind: 0,
        };
        this.#add(viewer);
        return () => this.#remove(viewer);
      },
    };
  }

  /** Tells all viewers the last state and that the server ends; resolves when they know, or soon. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancelTick();
    if (this.#viewers.size === 0) return;
    const bye = encoder.encode(this.#formatNews(overviewOf(this.#operated)) + format("bye", {}));
    for (const viewer of this.#viewers) {
      viewer.send(bye);
      viewer.close();
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#onEmpty = resolve;
    const cancel = this.#clock.after(farewellMs, resolve);
    await promise;
    cancel();
  }

  #add(viewer: Viewer): void {
    if (this.#viewers.size === 0) {
      // Nobody has missed what happened while nobody watched.
      const { status } = this.#operated;
      const { changes, barsSoFar: bars, problemsSoFar: problems } = status;
      this.#told = { changes, bars, problems, state: "", lastConsumer: this.#lastConsumer };
      this.#cancelTick = this.#clock.after(tickMs, () => this.#tick());
    }
    this.#viewers.add(viewer);
    const overview = {
      ...overviewOf(this.#operated),
      changed: [],
      gone: [],
      bars: [],
      problems: [],
    };
    viewer.send(encoder.encode(
      `retry: ${retryMs}\n\n` + format("hello", this.#hello()) + format("overview", overview),
    ));
  }

  #remove(viewer: Viewer): void {
    this.#viewers.delete(viewer);
    if (this.#viewers.size > 0) return;
    this.#cancelTick();
    this.#onEmpty();
  }

  #hello(): unknown {
    const operated = this.#operated;
    const { status, server } = operated;
    const views = new TaskViews(operated);
    const consumers = status.consumers.take(maxConsumers);
    return {
      server,
      history: {
        stepSeconds: historyStepMs / 1000,
        points: status.history.map((point) => historyView(operated, point)),
      },
      consumers: [...consumers.map((consumer) => views.ofConsumer(consumer))],
      bars: this.#barsSince(0),
      problems: status.problems.map((problem) => problemView(operated, problem)),
    };
  }

  #tick(): void {
    if (this.#viewers.size === 0) return;
    this.#cancelTick = this.#clock.after(tickMs, () => this.#tick());
    const { inspection } = this.#operated;
    if (inspection.isShared) inspection.afterAll(() => this.#tell());
    else this.#tell();
  }

  /** Tells all viewers what has changed, if something has. */
  #tell(): void {
    if (this.#viewers.size === 0 || this.#isClosed) return;
    const overview = overviewOf(this.#operated);
    const state = stateOf(overview);
    const { status } = this.#operated;
    const isQuiet = state === this.#told.state && status.changes === this.#told.changes &&
      status.barsSoFar === this.#told.bars && status.problemsSoFar === this.#told.problems;
    if (isQuiet && ++this.#quiet <= quietTicks) return;
    this.#quiet = 0;
    // In bytes, since the same ones are for all.
    const message = encoder.encode(this.#formatNews(overview));
    this.#told.state = state;
    for (const viewer of this.#viewers) {
      if (isTold(viewer, message)) continue;
      viewer.close();
      this.#remove(viewer);
    }
  }

  #formatNews(overview: Overview): string {
    return format("overview", { ...overview, ...this.#news() });
  }

  /** What has happened since it was last told. */
  #news(): Readonly<Record<string, unknown>> {
    const operated = this.#operated;
    const { status } = operated;
    const views = new TaskViews(operated);
    const told = this.#told;
    // One that has moved up is told of, though nothing has changed with it.
    const changed = [
      ...status.consumers.take(maxConsumers)
        .filter((one) => one.changed > told.changes || one.number > told.lastConsumer)
        .map((consumer) => views.ofConsumer(consumer)),
    ];
    const gone = status.gone.filter((one) => one.changed > told.changes);
    const bars = this.#barsSince(told.bars);
    const problems = status.problemsSince(told.problems);
    this.#told = {
      changes: status.changes,
      bars: status.barsSoFar,
      problems: status.problemsSoFar,
      state: told.state,
      lastConsumer: this.#lastConsumer,
    };
    return {
      ...{ changed, bars },
      gone: gone.map(({ number }) => number),
      problems: problems.map((problem) => problemView(operated, problem)),
    };
  }

  /** The number of the last consumer that is told of; Infinity if all are. */
  get #lastConsumer(): number {
    const { status } = this.#operated;
    if (status.consumerCount <= maxConsumers) return Infinity;
    return status.consumers.take(maxConsumers).reduce((_, { number }) => number, 0);
  }

  /** Bars of the consumers that are told of, and of those before them that have left. */
  #barsSince(count: number): readonly unknown[] {
    const last = this.#lastConsumer;
    return this.#operated.status.barsSince(count).filter(({ consumer }) => consumer <= last)
      .map((bar) => barView(this.#operated, bar));
  }
}

/** Sends a message, unless the viewer does not take what it was sent; false if it takes nothing. */
function isTold(viewer: Viewer, message: Uint8Array): boolean {
  viewer.behind = viewer.waitingBytes === 0 ? 0 : viewer.behind + 1;
  if (viewer.behind < maxBehind.skipped) viewer.send(message);
  return viewer.behind < maxBehind.closed;
}

/** What of an overview does not change by time alone. */
function stateOf(overview: Overview): string {
  const {
    time: _time,
    oldestAgeSeconds: _ages,
    memoryBytes: _memory,
    drainedInSeconds: _drained,
    ...rest
  } = overview;
  return JSON.stringify(rest);
}

function format(event: string, value: unknown): string {
  return `event: ${event}\ndata: ${JSON.stringify(value)}\n\n`;
}
