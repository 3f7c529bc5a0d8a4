/**
 * Pauses between attempts: short after a restart, no burden during an outage.
 *
 * @module
 */

/** The pauses that are made if nothing else is said, in milliseconds. */
export const defaultPauseMs = { first: 100, most: 5_000 } as const;

/** Says how long to pause before each attempt. */
export class Backoff {
  readonly #firstMs: number;
  readonly #mostMs: number;
  #failures = 0;

  /**
   * Makes the pauses of one client that has not failed yet.
   *
   * @param pauseMs the first pause, and the longest, each in milliseconds.
   */
  constructor({ first, most }: { readonly first: number; readonly most: number } = defaultPauseMs) {
    this.#firstMs = first;
    this.#mostMs = most;
  }

  /** How many attempts have failed in a row. */
  get failures(): number {
    return this.#failures;
  }

  /**
   * Notes a failure.
   *
   * @param livedMs how long the connection had lasted that was lost, in milliseconds; after one that
   * lasted for the longest pause the pauses begin anew.
   * @returns how long to pause, in milliseconds: twice as long as after the failure before, and of
   * that from a half to all by chance, so that many clients of one server do not come back at once.
   */
  fail(livedMs = 0): number {
    if (this.isLong(livedMs)) this.#failures = 0;
    const longestMs = Math.min(this.#mostMs, this.#firstMs * 2 ** this.#failures);
    this.#failures++;
    return longestMs * (1 - Math.random() / 2);
  }

  /** Whether a connection that lasted for so many milliseconds was a good one. */
  isLong(livedMs: number): boolean {
    return livedMs >= this.#mostMs;
  }
}
