/**
 * Counts values by size.
 *
 * @module
 */

/** A histogram as Prometheus has it. */
export class Histogram {
  /** Upper bounds of the buckets, but for the last one, which has none. */
  readonly bounds: readonly number[];
  readonly #counts: number[];
  #sum = 0;

  /** Makes an empty one; the bounds must grow. */
  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.#counts = Array.from({ length: bounds.length + 1 }, () => 0);
  }

  /** How many values are in each bucket, not in those below it. */
  get counts(): readonly number[] {
    return this.#counts;
  }

  /** The sum of all values. */
  get sum(): number {
    return this.#sum;
  }

  /** Counts a value. Cost: O(buckets). */
  add(value: number): void {
    let bucket = 0;
    while (bucket < this.bounds.length && value > (this.bounds[bucket] as number)) bucket++;
    this.#counts[bucket] = (this.#counts[bucket] as number) + 1;
    this.#sum += value;
  }
}
