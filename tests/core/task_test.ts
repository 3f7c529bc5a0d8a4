import { assertEquals } from "@std/assert";
import { comesBefore, type Priority, type Task } from "../../lib/core/task.ts";

function task(priority: Priority, arrival: number): Task {
  return { priority, arrival, taskId: "task", duration: "1" };
}

const pairs: readonly (readonly [first: Task, second: Task, why: string])[] = [
  [task(1, 9), task(2, 1), "HIGH before MEDIUM, though it came later"],
  [task(2, 9), task(3, 1), "MEDIUM before LOW, though it came later"],
  [task(1, 9), task(3, 1), "HIGH before LOW, though it came later"],
  [task(1, 1), task(1, 2), "first in, first out among HIGH"],
  [task(2, 1), task(2, 2), "first in, first out among MEDIUM"],
  [task(3, 9), task(3, 10), "arrivals compare as numbers"],
];

for (const [first, second, why] of pairs) {
  Deno.test({
    name: `comesBefore() puts ${why}`,
    permissions: "none",
    fn() {
      assertEquals([comesBefore(first, second), comesBefore(second, first)], [true, false]);
    },
  });
}

Deno.test({
  name: "comesBefore() puts no task before itself",
  permissions: "none",
  fn() {
    assertEquals(comesBefore(task(2, 5), task(2, 5)), false);
  },
});

Deno.test({
  name: "comesBefore() looks at neither name nor duration",
  permissions: "none",
  fn() {
    const first: Task = { priority: 1, arrival: 1, taskId: "z", duration: "999" };
    const second: Task = { priority: 1, arrival: 2, taskId: "a", duration: "0" };
    assertEquals([comesBefore(first, second), comesBefore(second, first)], [true, false]);
  },
});
