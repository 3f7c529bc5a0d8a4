/** @module Cost of the heap: one item in and one out. */

import { Heap } from "../../lib/heap.ts";
import { Random } from "../../tests/lab/random.ts";

const random = new Random(1);

for (const size of [1_000, 1_000_000]) {
  const heap = new Heap<number>();
  for (let i = 0; i < size; i++) heap.push(i, random.next());

  Deno.bench(`push and pop, ${size.toLocaleString("en")} items`, { group: "heap" }, () => {
    heap.push(0, random.next());
    heap.pop();
  });
}
