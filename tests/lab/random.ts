/**
 * Random numbers that a seed repeats. Pure.
 *
 * @module
 */

/**
 * A generator of 32-bit numbers: Tommy Ettinger's mulberry32 (public domain), whose state is one
 * 32-bit counter. Far too weak for secrets, quick and even enough for tests.
 */
export class Random {
  #state: number;

  /** Starts at a seed: a whole number, of which the lowest 32 bits count. */
  constructor(seed: number) {
    this.#state = seed | 0;
  }

  /** The next number, from 0 to 2^32-1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return (mixed ^ (mixed >>> 14)) >>> 0;
  }

  /** A whole number from 0 to `end` - 1. */
  below(end: number): number {
    return this.next() % end;
  }

  /** True in `percent` of 100 cases. */
  chance(percent: number): boolean {
    return this.below(100) < percent;
  }

  /** One of the items of a list that is not empty. */
  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)] as T;
  }
}
