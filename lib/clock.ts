/**
 * A clock that never jumps, sleep of any length, and waits that a signal can end.
 *
 * @module
 */

import { setImmediate } from "node:timers";

/**
 * Longest delay that setTimeout accepts, in milliseconds: with a longer one it fires at once (HTML,
 * 8.6 Timers).
 */
export const maxTimeoutMs = 2 ** 31 - 1;

/** What tells the time and calls back: the system's, or a simulated one. */
export interface Clock {
  /** Milliseconds since some moment; never goes back. */
  nowMs(): number;
  /** Calls back once after so many whole milliseconds, 2^31 - 1 at most; returns what cancels it. */
  after(ms: number, callback: () => void): () => void;
  /** Calls back once the input that is ready now has been read, and before any timer. */
  afterInput(callback: () => void): void;
}

/** Milliseconds since the program started. Changing the system's time does not affect it. */
export function nowMs(): number {
  return performance.now();
}

/**
 * A clock that may be read for each task: whole milliseconds, at half the cost of {@linkcode nowMs}.
 *
 * The time of day can be read at half the cost, but may jump. So it is read just to see whether a
 * millisecond has passed.
 */
export class CoarseClock {
  /** The time of day when the time was read. */
  #readAtMs = -1;
  #nowMs = 0;

  /** See {@linkcode nowMs}; less than 2 ms behind it, and never goes back. */
  nowMs(): number {
    const timeOfDayMs = Date.now();
    if (timeOfDayMs !== this.#readAtMs) {
      this.#readAtMs = timeOfDayMs;
      this.#nowMs = Math.floor(nowMs());
    }
    return this.#nowMs;
  }
}

/** The clock and the timers of the runtime. */
export const systemClock: Clock = {
  nowMs,
  after(ms, callback) {
    const timer = setTimeout(callback, ms);
    return () => clearTimeout(timer);
  },
  afterInput(callback) {
    setImmediate(callback);
  },
};

/**
 * Sleeps until a given time; never wakes before it unless the signal says so.
 *
 * @param untilMs a time on the clock of {@linkcode nowMs}; may be months away.
 * @param signal ends the sleep early.
 * @returns true if the time has come, false if the signal came first.
 */
export async function sleepUntil(
  untilMs: number,
  signal?: AbortSignal,
  clock: Clock = systemClock,
): Promise<boolean> {
  for (;;) {
    if (signal?.aborted) return false;
    const restMs = untilMs - clock.nowMs();
    if (restMs <= 0) return true;
    // Rounded up, because timers count whole milliseconds: rounded down, one would fire early.
    await timeout(Math.min(Math.ceil(restMs), maxTimeoutMs), { signal, clock });
  }
}

/** Sleeps for some milliseconds; see {@linkcode sleepUntil}. */
export function sleep(
  ms: number,
  signal?: AbortSignal,
  clock: Clock = systemClock,
): Promise<boolean> {
  return sleepUntil(clock.nowMs() + ms, signal, clock);
}

/**
 * Waits for a promise, but no longer than until a signal.
 *
 * @returns the promise's value, or undefined if the signal came first. The work behind the promise
 * is not cancelled: only the wait ends.
 */
export async function untilAborted<T>(
  promise: Promise<T>,
  signal: AbortSignal,
): Promise<T | undefined> {
  if (signal.aborted) {
    // It may fail when nobody waits any more.
    promise.catch(() => {});
    return undefined;
  }
  const aborted = Promise.withResolvers<undefined>();
  const abort = () => aborted.resolve(undefined);
  signal.addEventListener("abort", abort);
  try {
    return await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

function timeout(
  ms: number,
  { signal, clock }: { readonly signal: AbortSignal | undefined; readonly clock: Clock },
): Promise<void> {
  return new Promise((resolve) => {
    const wake = () => {
      cancel();
      signal?.removeEventListener("abort", wake);
      resolve();
    };
    const cancel = clock.after(ms, wake);
    signal?.addEventListener("abort", wake);
  });
}
