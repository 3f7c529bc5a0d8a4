/**
 * Looks through a heap in steps, while others go on using it.
 *
 * @module
 */

import type { Entry, HeapView } from "../heap.ts";

/** How many items are looked at in a step: a quarter of a millisecond at most. */
export const searchedPerStep = 5_000;

/** What was found in a heap. */
export interface FoundEntries<T> {
  /** How many items match. */
  readonly total: number;
  /** How many were looked at. */
  readonly searched: number;
  /** Those of them with the smallest keys, in order. */
  readonly first: readonly Entry<T>[];
}

/**
 * Finds the items that match; it yields after each step.
 *
 * Nothing is copied: memory that is new to the process costs more than the search. From the end to
 * the start, since what leaves a heap moves others towards the start: such an item may be counted
 * twice, but none is passed over, unless another one comes in before it meanwhile.
 *
 * @param options.keep how many of those found are told, the first ones.
 */
export function* searchHeap<T>(
  heap: HeapView<T>,
  options: { readonly matches: (item: T) => boolean; readonly keep: number },
): Generator<undefined, FoundEntries<T>> {
  const { matches, keep } = options;
  let [total, searched] = [0, 0];
  let hits: Entry<T>[] = [];
  for (let index = heap.size - 1; index >= 0; index--) {
    if (++searched % searchedPerStep === 0) {
      yield;
      index = Math.min(index, heap.size - 1);
      if (index < 0) break;
    }
    if (!matches(heap.itemAt(index))) continue;
    total++;
    if (hits.push(heap.at(index)) > 2 * keep) hits = firstOf(hits, keep);
  }
  return { total, searched, first: firstOf(hits, keep) };
}

/** The first of some entries, in order, each item once. */
function firstOf<T>(hits: readonly Entry<T>[], count: number): Entry<T>[] {
  return hits.toSorted((a, b) => a.key - b.key)
    .filter(({ key, item }, index, sorted) => {
      const before = sorted[index - 1];
      return before?.key !== key || before.item !== item;
    }).slice(0, count);
}
