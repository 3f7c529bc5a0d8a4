/**
 * Counts in sentences: `1 task was sent`, `2 tasks were sent`.
 *
 * @module
 */

/**
 * Writes a number and the words that agree with it.
 *
 * @param one what follows 1: `task was sent`.
 * @param many what follows any other number; `one` with an s if left out.
 */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}
