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

/** How long a step of a {@linkcode CoarseClock} lasts, in milliseconds. */
export const clockStepMs = 20;

/** If it is asked for more often in a step, a timer that moves it costs less than reading the time. */
const asksPerStep = 100;

/** How long a look keeps the clock exact, in milliseconds: Prometheus looks once a minute. */
const lookMs = 5 * 60_000;

/**
 * A clock that may be read for each task: whole milliseconds, at half the cost of {@linkcode nowMs}.
 *
 * The time of day can be read at half the cost, but may jump. So it is read just to see whether a
 * millisecond has passed. Even this is a hundredth of all that a server does for a task. So the clock of
 * a busy server is moved by a timer, in steps, as long as nobody looks at what it tells.
 */
export class CoarseClock implements Disposable {
  #nowMs = 0;
  /** The time of day when the time was read. */
  #readAtMs = -1;
  /** How often it was asked for in this step. */
  #asked = 0;
  #stepEndMs = 0;
  /** Cancels the timer that ends this step; undefined if the time is read instead. */
  #cancelStep: (() => void) | undefined;
  #exactUntilMs = 0;

  /**
   * See {@linkcode nowMs}; less than 2 ms behind it, and never goes back.
   *
   * If it was asked for more than 100 times in the 20 ms before, and {@linkcode CoarseClock.look} was
   * not called for five minutes, it is up to 20 ms behind, and as much more as the process itself is
   * late.
   */
  nowMs(): number {
    this.#asked++;
    return this.#cancelStep === undefined ? this.#read() : this.#nowMs;
  }

  /** The time, less than 2 ms behind; {@linkcode CoarseClock.nowMs} is as exact for five minutes. */
  look(): number {
    const nowMs = this.#read();
    this.#exactUntilMs = nowMs + lookMs;
    this.#endStep();
    return nowMs;
  }

  /** Cancels the timer, if there is one. */
  [Symbol.dispose](): void {
    this.#endStep();
  }

  #read(): number {
    const timeOfDayMs = Date.now();
    if (timeOfDayMs !== this.#readAtMs) {
      this.#readAtMs = timeOfDayMs;
      this.#nowMs = Math.floor(nowMs());
      if (this.#nowMs >= this.#stepEndMs) this.#beginStep();
    }
    return this.#nowMs;
  }

  #beginStep(): void {
    // A step that is long over tells nothing of now.
    const isBusy = this.#asked > asksPerStep && this.#nowMs < this.#stepEndMs + clockStepMs;
    this.#endStep();
    this.#asked = 0;
    this.#stepEndMs = this.#nowMs + clockStepMs;
    if (!isBusy || this.#nowMs < this.#exactUntilMs) return;
    this.#cancelStep = systemClock.after(clockStepMs, () => {
      this.#endStep();
      this.#read();
    });
  }

  /** Has the time be read again. */
  #endStep(): void {
    this.#cancelStep?.();
    this.#cancelStep = undefined;
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
