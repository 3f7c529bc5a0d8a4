/**
 * Waiting with an end: a test that would hang fails instead, and says what it waited for.
 *
 * @module
 */

/** How long a test waits for what should come at once, in milliseconds: machines may be busy. */
export const patienceMs = 30_000;

/**
 * Awaits a promise, for some time at most.
 *
 * @param what what is awaited, for the error; a function where it is known only then.
 */
export async function within<T>(
  promise: Promise<T>,
  what: string | (() => string),
  ms: number = patienceMs,
): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    late.reject(new Error(`waited ${ms} ms for ${typeof what === "string" ? what : what()}`));
  }, ms);
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** Waits for some milliseconds: where a test is about time itself, or about nothing happening. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Awaits all, also where one fails: what the others still do must not reach into the next test. */
export async function allOf<T>(promises: Iterable<Promise<T>>): Promise<T[]> {
  const all = [...promises];
  await Promise.allSettled(all);
  return await Promise.all(all);
}
