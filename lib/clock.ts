/**
 * Time that only goes forward, sleep of any length, and waiting with an end.
 *
 * @module
 */

/** Longest delay that setTimeout takes: a longer one fires at once (HTML, 8.6 Timers). */
const maxTimeoutMs = 2 ** 31 - 1;

/** Milliseconds since the program started; a jump of the wall clock does not move it. */
export function nowMs(): number {
  return performance.now();
}

/**
 * Sleeps until a time, never less.
 *
 * @param untilMs on the clock of {@linkcode nowMs}; may be months away.
 * @param signal wakes the sleeper early.
 * @returns true where the time has come, false where the signal came first.
 */
export async function sleepUntil(untilMs: number, signal?: AbortSignal): Promise<boolean> {
  for (;;) {
    if (signal?.aborted) return false;
    const restMs = untilMs - nowMs();
    if (restMs <= 0) return true;
    // Rounded up: timers count whole milliseconds, and may not fire early.
    await timeout(Math.min(Math.ceil(restMs), maxTimeoutMs), signal);
  }
}

/** Sleeps for some milliseconds; see {@linkcode sleepUntil}. */
export function sleep(ms: number, signal?: AbortSignal): Promise<boolean> {
  return sleepUntil(nowMs() + ms, signal);
}

/**
 * Waits for a promise or a signal.
 *
 * @returns undefined where the signal came first; the promise goes on.
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
