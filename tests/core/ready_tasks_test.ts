import { assertEquals, assertLess } from "@std/assert";
import fc from "fast-check";
import type { Found, ListedTask } from "../../lib/core/listed_task.ts";
import { ReadyTasks } from "../../lib/core/ready_tasks.ts";
import type { Priority, Task } from "../../lib/core/task.ts";

const toListed = (task: Task): ListedTask => ({ task, state: "waiting", ends: 0 });

/** Runs a search to its end; what happens between its steps is up to the test. */
function finish(search: Generator<undefined, Found>, between: () => void = () => {}): Found {
  for (;;) {
    const step = search.next();
    if (step.done === true) return step.value;
    between();
  }
}

Deno.test({
  name: "ReadyTasks.search() finds the first tasks with a text in their names, and counts all",
  permissions: "none",
  fn() {
    const tasks = fc.array(
      fc.record({
        priority: fc.constantFrom<Priority>(1, 2, 3),
        taskId: fc.constantFrom("ab", "ba", "abab", "c", "한글"),
        duration: fc.constantFrom("1", "2.5"),
        payload: fc.constantFrom(undefined, '["ab c"]'),
      }),
      { maxLength: 60 },
    );
    const names = fc.constantFrom("a", "ab", "ba", "c", "글", "1", " 1", "[", "b 1");
    fc.assert(fc.property(tasks, names, fc.integer({ min: 1, max: 9 }), (tasks, name, keep) => {
      const ready = new ReadyTasks();
      const all = tasks.map(({ payload, ...rest }, index): Task => ({
        ...rest,
        ...payload === undefined ? {} : { payload },
        arrival: index + 1,
      }));
      for (const task of all.toReversed()) ready.add(task);
      const wanted: Priority[] = [1, 3];
      const meant = all.filter((task) => wanted.includes(task.priority));
      const hits = meant.filter(({ taskId }) => taskId.includes(name))
        .sort((a, b) => a.priority - b.priority || a.arrival - b.arrival);
      assertEquals(finish(ready.search({ wanted, name, keep }, toListed)), {
        total: hits.length,
        tasks: hits.slice(0, keep).map(toListed),
        searched: meant.length,
      });
    }));
  },
});

Deno.test({
  name: "ReadyTasks.search() passes over no task while others are handed out and come in",
  permissions: "none",
  fn() {
    const ready = new ReadyTasks();
    let arrival = 0;
    const add = (taskId: string) =>
      ready.add({ priority: 2, taskId, duration: "1", arrival: ++arrival });
    for (let i = 0; i < 100_000; i++) add(i % 1000 === 999 ? `wanted${i}` : `other${i}`);
    let taken = 0;
    const search = ready.search({ wanted: [2], name: "wanted", keep: 200 }, toListed);
    const { tasks } = finish(search, () => {
      for (let i = 0; i < 500; i++) {
        if (ready.take()?.taskId.startsWith("wanted")) taken++;
        add("later");
      }
    });
    const names = new Set(tasks.map(({ task }) => task.taskId));
    assertEquals(names.size, tasks.length, "each once");
    assertLess(100 - taken - 1, names.size);
  },
});
