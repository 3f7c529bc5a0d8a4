import { assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { Heap } from "../lib/heap.ts";

/** An item that knows its key and, from onMove, its index. */
interface Item {
  readonly key: number;
  index: number;
}

function itemHeap(): Heap<Item> {
  return new Heap<Item>((item, index) => item.index = index);
}

function popAll<T>(heap: Heap<T>): T[] {
  const popped: T[] = [];
  while (heap.size > 0) popped.push(heap.pop() as T);
  return popped;
}

Deno.test({
  name: "Heap.pop(), peek() and peekKey() return undefined where the heap is empty",
  permissions: "none",
  fn() {
    const heap = new Heap<number>();
    assertEquals([heap.size, heap.peek(), heap.peekKey()], [0, undefined, undefined]);
    assertEquals([heap.pop(), heap.size], [undefined, 0]);
  },
});

Deno.test({
  name: "Heap.peek() returns what pop() then removes",
  permissions: "none",
  fn() {
    const heap = new Heap<number>();
    for (const key of [3, 1, 2]) heap.push(key, key);
    assertEquals([heap.peek(), heap.size], [1, 3]);
    assertEquals([heap.pop(), heap.size, heap.peek()], [1, 2, 2]);
  },
});

Deno.test({
  name: "Heap.pop() leaves in the order of the sorted array, whatever came in",
  permissions: "none",
  fn() {
    fc.assert(fc.property(fc.array(fc.integer()), (keys) => {
      const heap = new Heap<number>();
      for (const key of keys) heap.push(key, key);
      assertEquals(heap.size, keys.length);
      assertEquals(popAll(heap), keys.toSorted((a, b) => a - b));
    }));
  },
});

Deno.test({
  name: "Heap orders by key, whatever the items are: also below zero, by fractions and beyond 2^31",
  permissions: "none",
  fn() {
    const keys = [0.5, -3, 2 ** 53 - 1, 0.25, -Infinity, 2 ** 53 - 2, 2 ** 31, Infinity];
    const heap = new Heap<string>();
    for (const key of keys) heap.push(`item ${key}`, key);
    const popped: (readonly [number | undefined, string | undefined])[] = [];
    while (heap.size > 0) popped.push([heap.peekKey(), heap.pop()]);
    assertEquals(
      popped,
      keys.toSorted((a, b) => a < b ? -1 : 1).map((key) => [key, `item ${key}`]),
    );
  },
});

Deno.test({
  name: "Heap.removeAt() refuses an index that it does not have",
  permissions: "none",
  fn() {
    const heap = itemHeap();
    assertThrows(() => heap.removeAt(0), RangeError, "index must be below 0, got 0");
    heap.push({ key: 1, index: -1 }, 1);
    assertThrows(() => heap.removeAt(1), RangeError, "index must be below 1, got 1");
    assertThrows(() => heap.removeAt(-1), RangeError, "index must be below 1, got -1");
    assertEquals(heap.size, 1);
  },
});

Deno.test({
  name: "Heap.removeAt() takes the item out that onMove told of, and the others keep their order",
  permissions: "none",
  fn() {
    const push = fc.record({ do: fc.constant("push"), number: fc.nat(20) });
    const pop = fc.record({ do: fc.constant("pop"), number: fc.nat() });
    const remove = fc.record({ do: fc.constant("remove"), number: fc.nat() });
    const steps = fc.array(
      fc.oneof({ weight: 3, arbitrary: push }, pop, { weight: 2, arbitrary: remove }),
      { maxLength: 200, size: "max" },
    );
    fc.assert(fc.property(steps, (steps) => {
      const heap = itemHeap();
      let model: Item[] = [];
      for (const { do: verb, number } of steps) {
        if (verb === "push") {
          const item = { key: number, index: -1 };
          heap.push(item, number);
          model.push(item);
        } else if (verb === "pop") {
          const popped = heap.pop();
          // Of equal keys any may leave first: the model follows the heap's choice.
          assertEquals(popped?.key, model.map((item) => item.key).sort((a, b) => a - b)[0]);
          model = model.filter((item) => item !== popped);
        } else if (model.length > 0) {
          const item = model[number % model.length] as Item;
          assertStrictEquals(heap.removeAt(item.index), item);
          model = model.filter((other) => other !== item);
        }
        assertEquals(heap.size, model.length);
      }
      assertEquals(
        popAll(heap).map((item) => item.key),
        model.map((item) => item.key).sort((a, b) => a - b),
      );
    }));
  },
});

/** A heap out of which some items were taken at random places, and what is left of them. */
const worn = fc.record({
  keys: fc.array(fc.integer({ min: -50, max: 50 }), { maxLength: 200 }),
  removals: fc.array(fc.nat(), { maxLength: 50 }),
}).map(({ keys, removals }) => {
  const heap = new Heap<{ key: number }>();
  for (const key of keys) heap.push({ key }, key);
  for (const at of removals) if (heap.size > 0) heap.removeAt(at % heap.size);
  return heap;
});

function keysOf(entries: readonly { readonly key: number }[]): number[] {
  return entries.map(({ key }) => key);
}

const ascending = (a: number, b: number) => a - b;

Deno.test({
  name: "Heap.first() tells what pop() would remove next, and changes nothing",
  permissions: "none",
  fn() {
    fc.assert(fc.property(worn, fc.nat(250), (heap, count) => {
      const before = heap.copy();
      const first = heap.first(count);
      assertEquals(heap.copy(), before);
      assertEquals(keysOf(first), before.keys.toSorted(ascending).slice(0, count));
      for (const { item, key } of first) assertEquals(item.key, key);
      assertEquals(first.map(({ key }) => key), keysOf(popAll(heap)).slice(0, count));
    }));
  },
});

Deno.test({
  name: "Heap.indexOfKey(), at(), findIndex() and countBelow() tell of what is in the heap",
  permissions: "none",
  fn() {
    fc.assert(fc.property(worn, fc.integer({ min: -50, max: 50 }), (heap, key) => {
      const { keys } = heap.copy();
      const index = heap.indexOfKey(key);
      assertEquals(index === -1, !keys.includes(key));
      if (index !== -1) assertEquals(heap.at(index).key, key);
      assertEquals(heap.findIndex((item) => item.key === key) === -1, index === -1);
      assertEquals(heap.countBelow(key), keys.filter((other) => other < key).length);
    }));
  },
});
