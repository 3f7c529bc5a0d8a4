/**
 * When tasks will start and the queue will be empty, if each takes as long as it says.
 *
 * @module
 */

import { Heap } from "../heap.ts";

/**
 * When each of some tasks starts that wait in this order, in seconds from now.
 *
 * @param durations of the tasks, in seconds.
 * @param freeInSeconds when each consumer will be free; tasks start never if there is none.
 */
export function startsInSeconds(
  durations: readonly number[],
  freeInSeconds: readonly number[],
): number[] {
  const free = new Heap<undefined>();
  for (const seconds of freeInSeconds) free.push(undefined, seconds);
  return durations.map((duration) => {
    const start = free.peekKey() ?? Infinity;
    free.pop();
    free.push(undefined, start + duration);
    return start;
  });
}

/** How much work is in so many tasks, of which the first ones are looked at, in seconds. */
export function workSeconds(first: readonly number[], count: number): number {
  const sum = first.reduce((total, duration) => total + duration, 0);
  return first.length === 0 ? 0 : sum + (count - first.length) * sum / first.length;
}
