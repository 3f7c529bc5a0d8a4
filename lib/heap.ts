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

/** An item of a heap, with its key. */
export interface Entry<T> {
  /** What was added. */
  readonly item: T;
  /** What it was added with. */
  readonly key: number;
}

/** A heap that can only be looked at. */
export interface HeapView<T> {
  /** See {@linkcode Heap.size}. */
  readonly size: number;
  /** See {@linkcode Heap.first}. */
  first(count: number): Entry<T>[];
  /** See {@linkcode Heap.findIndex}. */
  findIndex(matches: (item: T) => boolean): number;
  /** See {@linkcode Heap.itemAt}. */
  itemAt(index: number): T;
  /** See {@linkcode Heap.at}. */
  at(index: number): Entry<T>;
}

/** A priority queue of items: the item with the smallest key leaves first. */
export class Heap<T> implements HeapView<T> {
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

  /**
   * The items that would leave first, in order, with their keys; the heap stays as it is.
   * Cost: O(k log k) for k items, however many there are.
   */
  first(count: number): Entry<T>[] {
    const found: Entry<T>[] = [];
    const candidates = new Heap<number>();
    const consider = (index: number) => {
      if (index < this.size) candidates.push(index, this.#keys[index] as number);
    };
    consider(0);
    while (found.length < count && candidates.size > 0) {
      const index = candidates.pop() as number;
      found.push({ item: this.#items[index] as T, key: this.#keys[index] as number });
      consider(2 * index + 1);
      consider(2 * index + 2);
    }
    return found;
  }

  /** All items and their keys, in no order, as they are now. Cost: O(n), a millisecond per 500,000. */
  copy(): { readonly items: readonly T[]; readonly keys: readonly number[] } {
    return { items: this.#items.slice(), keys: this.#keys.slice() };
  }

  /** The index of a key; -1 if the heap has none such. Cost: O(n), 0.3 ms per million. */
  indexOfKey(key: number): number {
    return this.#keys.indexOf(key);
  }

  /** The index of the first item that matches; -1 if none does. Cost: O(n). */
  findIndex(matches: (item: T) => boolean): number {
    return this.#items.findIndex(matches);
  }

  /** The item at an index, which must be in the heap. Cost: O(1). */
  itemAt(index: number): T {
    return this.#items[index] as T;
  }

  /** The item and the key at an index, which must be in the heap. Cost: O(1). */
  at(index: number): Entry<T> {
    return { item: this.#items[index] as T, key: this.#keys[index] as number };
  }

  /** How many keys are smaller than one. Cost: O(n). */
  countBelow(key: number): number {
    return this.#keys.reduce((count, other) => other < key ? count + 1 : count, 0);
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
