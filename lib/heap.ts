/**
 * A binary heap kept in one array; it owns the heap order and nothing else.
 *
 * It knows no domain: who creates one says which of two items comes first. The sift loops move a
 * hole instead of swapping, which halves the writes (Knuth, TAOCP vol. 3, 5.2.3, algorithm H).
 *
 * @module
 */

/** A priority queue of items in the order that one function gives. */
export class Heap<T> {
  readonly #items: T[] = [];
  readonly #comesBefore: (a: T, b: T) => boolean;
  readonly #onMove: ((item: T, index: number) => void) | undefined;

  /**
   * Makes an empty heap.
   *
   * @param comesBefore a strict weak order: true where `a` must leave before `b`. Of two items for
   * which it is false both ways, either may leave first: a heap is not stable.
   * @param onMove is told the index of an item whenever that changes, for
   * {@linkcode Heap.removeAt}.
   */
  constructor(
    comesBefore: (a: T, b: T) => boolean,
    onMove?: (item: T, index: number) => void,
  ) {
    this.#comesBefore = comesBefore;
    this.#onMove = onMove;
  }

  /** How many items are in the heap. Cost: O(1). */
  get size(): number {
    return this.#items.length;
  }

  /** The item that would leave next, or undefined where the heap is empty. Cost: O(1). */
  peek(): T | undefined {
    return this.#items[0];
  }

  /** Adds an item. Cost: O(log n), O(1) for one that comes after all others. */
  push(item: T): void {
    this.#items.push(item);
    this.#siftUp(this.#items.length - 1, item);
  }

  /** Removes and returns the first item, or undefined where the heap is empty. Cost: O(log n). */
  pop(): T | undefined {
    const first = this.#items[0];
    const last = this.#items.pop();
    if (this.#items.length > 0) this.#siftDown(0, last as T);
    return first;
  }

  /**
   * Removes and returns the item at an index that `onMove` has told. Cost: O(log n).
   *
   * @throws {RangeError} where the heap has no such index.
   */
  removeAt(index: number): T {
    const item = this.#items[index];
    if (item === undefined) {
      throw new RangeError(`index must be below ${this.#items.length}, got ${index}`);
    }
    const last = this.#items.pop() as T;
    if (index < this.#items.length) {
      // The last item may belong above or below the hole: it comes from another branch.
      if (this.#comesBefore(last, item)) this.#siftUp(index, last);
      else this.#siftDown(index, last);
    }
    return item;
  }

  /** Every item, in no particular order. */
  values(): Iterable<T> {
    return this.#items.values();
  }

  #siftUp(hole: number, item: T): void {
    const items = this.#items;
    while (hole > 0) {
      const parent = (hole - 1) >> 1;
      const above = items[parent] as T;
      if (!this.#comesBefore(item, above)) break;
      this.#put(above, hole);
      hole = parent;
    }
    this.#put(item, hole);
  }

  #siftDown(hole: number, item: T): void {
    const items = this.#items;
    const size = items.length;
    for (let child = 2 * hole + 1; child < size; child = 2 * hole + 1) {
      const right = child + 1;
      if (right < size && this.#comesBefore(items[right] as T, items[child] as T)) child = right;
      const below = items[child] as T;
      if (!this.#comesBefore(below, item)) break;
      this.#put(below, hole);
      hole = child;
    }
    this.#put(item, hole);
  }

  #put(item: T, index: number): void {
    this.#items[index] = item;
    this.#onMove?.(item, index);
  }
}
