/**
 * A clock that never jumps, sleep of any length, and waits that a signal can end.
 *
 * @module
 */

/** Longest delay that setTimeout accepts: with a longer one it fires at once (HTML, 8.6 Timers). */
const maxTimeoutMs = 2 ** 31 - 1;

/** Milliseconds since the program started. Changing the system's time does not affect it. */
export function nowMs(): number {
  return performance.now();
}

/**
 * Sleeps until a given time; never wakes before it unless the signal says so.
 *
 * @param untilMs a time on the clock of {@linkcode nowMs}; may be months away.
 * @param signal ends the sleep early.
 * @returns true if the time has come, false if the signal came first.
 */
export async function sleepUntil(untilMs: number, signal?: AbortSignal): Promise<boolean> {
  for (;;) {
    if (signal?.aborted) return false;
    const restMs = untilMs - nowMs();
    if (restMs <= 0) return true;
    // Rounded up, because timers count whole milliseconds: rounded down, one would fire early.
    await timeout(Math.min(Math.ceil(restMs), maxTimeoutMs), signal);
  }
}

/** Sleeps for some milliseconds; see {@linkcode sleepUntil}. */
export function sleep(ms: number, signal?: AbortSignal): Promise<boolean> {
  return sleepUntil(nowMs() + ms, signal);
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
  if (signal.aborted) return undefined;
  const aborted = Promise.withResolvers<undefined>();
  const abort = () => aborted.resolve(undefined);
  signal.addEventListener("abort", abort);
  try {
    return await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

function timeout(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const wake = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", wake);
      resolve();
    };
    const timer = setTimeout(wake, ms);
    signal?.addEventListener("abort", wake);
  });
}
