import { assertEquals, assertLessOrEqual } from "@std/assert";
import { HeapSweep } from "../../lib/core/heap_sweep.ts";
import { searchedPerStep } from "../../lib/core/search_heap.ts";
import { Heap } from "../../lib/heap.ts";

Deno.test({
  name: "A sweep takes each second of a million items, looks twice at most, and in short steps",
  permissions: "none",
  fn() {
    const count = 1_000_000;
    const heap = new Heap<number>();
    // In an order that has nothing to do with what is meant.
    for (let i = 0; i < count; i++) heap.push(i, (i * 7919) % count);
    let looks = 0;
    const sweep = new HeapSweep(heap, (item) => {
      looks++;
      return item % 2 === 0;
    });
    let [taken, steps] = [0, 0];
    for (let before = 0;; before = looks) {
      const entries = sweep.next({ most: 1000 });
      assertLessOrEqual(looks - before, searchedPerStep);
      if (entries === undefined) break;
      assertLessOrEqual(entries.length, 1000);
      taken += entries.length;
      steps++;
    }
    assertEquals([taken, heap.size], [count / 2, count / 2]);
    // Each is looked at once, and what fills a hole once more.
    assertLessOrEqual(looks, 2 * count);
    assertLessOrEqual(steps, count / 2 / 1000 + 2 * count / searchedPerStep);
    const { keys } = heap.copy();
    assertEquals(keys.every((key, i) => i === 0 || (keys[(i - 1) >> 1] as number) <= key), true);
  },
});
