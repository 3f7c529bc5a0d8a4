/**
 * A binary heap kept in two arrays, one of keys and one of items.
 *
 * It knows nothing about tasks: whoever adds an item gives its key, a number. The keys are in an
 * array of their own because comparing then reads no item, and two children's keys lie side by side
 * in memory. The sift loops move a hole through the heap instead of swapping items, which halves
 * the writes (Knuth, TAOCP vol. 3, 5.2.3, algorithm H).
 *
 * @module
 */

/** A priority queue of items: the item with the smallest key leaves first. */
export class Heap<T> {
  readonly #keys: number[] = [];
  readonly #items: T[] = [];
  readonly #onMove: ((item: T, index: number) => void) | undefined;

  /**
   * Makes an empty heap.
   *
   * @param onMove called with an item and its new index whenever the index changes, so that the
   * caller can pass it to {@linkcode Heap.removeAt}.
   */
  constructor(onMove?: (item: T, index: number) => void) {
    this.#onMove = onMove;
  }

  /** How many items are in the heap. Cost: O(1). */
  get size(): number {
    return this.#items.length;
  }

  /** The item that would leave next, or undefined if the heap is empty. Cost: O(1). */
  peek(): T | undefined {
    return this.#items[0];
  }

  /** The key of the item that would leave next, or undefined if the heap is empty. Cost: O(1). */
  peekKey(): number | undefined {
    return this.#keys[0];
  }

  /**
   * Adds an item. Cost: O(log n), or O(1) if its key is larger than all others.
   *
   * @param key any number but NaN. Two items with the same key may leave in either order, since a
   * heap is not stable.
   */
  push(item: T, key: number): void {
    this.#items.push(item);
    this.#keys.push(key);
    this.#siftUp(this.#items.length - 1, item, key);
  }

  /**
   * Removes and returns the item with the smallest key, or undefined if the heap is empty.
   * Cost: O(log n).
   */
  pop(): T | undefined {
    return this.size === 0 ? undefined : this.removeAt(0);
  }

  /**
   * Removes and returns the item at an index, which the caller knows from `onMove`. Cost: O(log n).
   *
   * @throws {RangeError} if the heap has no such index.
   */
  removeAt(index: number): T {
    if (!(index >= 0 && index < this.size)) {
      throw new RangeError(`index must be below ${this.size}, got ${index}`);
    }
    const item = this.#items[index] as T;
    const key = this.#keys[index] as number;
    const last = this.#items.pop() as T;
    const lastKey = this.#keys.pop() as number;
    if (index < this.size) {
      // The last item fills the hole. It comes from another branch, so it may be too large or too
      // small for this place.
      if (lastKey < key) this.#siftUp(index, last, lastKey);
      else this.#siftDown(index, last, lastKey);
    }
    return item;
  }

  #siftUp(hole: number, item: T, key: number): void {
    const keys = this.#keys;
    while (hole > 0) {
      const parent = (hole - 1) >> 1;
      const above = keys[parent] as number;
      if (!(key < above)) break;
      this.#put(hole, this.#items[parent] as T, above);
      hole = parent;
    }
    this.#put(hole, item, key);
  }

  #siftDown(hole: number, item: T, key: number): void {
    const keys = this.#keys;
    const size = keys.length;
    for (let child = 2 * hole + 1; child < size; child = 2 * hole + 1) {
      let below = keys[child] as number;
      const right = child + 1;
      if (right < size && (keys[right] as number) < below) {
        child = right;
        below = keys[right] as number;
      }
      if (!(below < key)) break;
      this.#put(hole, this.#items[child] as T, below);
      hole = child;
    }
    this.#put(hole, item, key);
  }

  #put(index: number, item: T, key: number): void {
    this.#keys[index] = key;
    this.#items[index] = item;
    this.#onMove?.(item, index);
  }
}
