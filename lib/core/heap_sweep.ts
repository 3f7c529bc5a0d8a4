/**
 * Takes items out of a heap in steps, while others go on using it.
 *
 * @module
 */

import type { Entry, Heap } from "../heap.ts";
import { searchedPerStep } from "./search_heap.ts";

/**
 * A sweep through a heap, from its end to its start: there the hole of what is taken out is filled by
 * what has been looked at. Cost: O(n) in all, and O(log n) for each item that is taken.
 *
 * What others add or take may move an item from before the place where the sweep is to behind it. The
 * heap's owner tells the sweep of such moves, and there is another pass for those items. They are
 * few: one at most for each change, of the first pass only.
 */
export class HeapSweep<T> {
  readonly #heap: Heap<T>;
  readonly #isMeant: (item: T) => boolean;
  /** The index to look at next. */
  #index = Infinity;
  #hasPassedOver = false;

  /** Begins a sweep for the items that match. */
  constructor(heap: Heap<T>, isMeant: (item: T) => boolean) {
    this.#heap = heap;
    this.#isMeant = isMeant;
  }

  /** To be called when an item of the heap is put to an index. Cost: O(1). */
  noteMove(item: T, index: number): void {
    if (index > this.#index && this.#isMeant(item)) this.#hasPassedOver = true;
  }

  /**
   * Takes out the next items, in no order; none of them may have been in this step's part.
   *
   * @param options.most how many at most.
   * @returns undefined if none is left.
   */
  next(options: { readonly most: number }): Entry<T>[] | undefined {
    const taken: Entry<T>[] = [];
    for (let looked = 0; looked < searchedPerStep && taken.length < options.most; looked++) {
      this.#index = Math.min(this.#index, this.#heap.size - 1);
      if (this.#index < 0) {
        if (!this.#hasPassedOver) return taken.length > 0 ? taken : undefined;
        this.#hasPassedOver = false;
        this.#index = Infinity;
      } else if (this.#isMeant(this.#heap.itemAt(this.#index))) {
        // The hole may be filled by what has not been looked at: the index stays.
        taken.push(this.#heap.at(this.#index));
        this.#heap.removeAt(this.#index);
      } else this.#index--;
    }
    return taken;
  }
}
