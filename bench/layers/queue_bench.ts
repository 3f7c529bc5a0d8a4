/** @module Cost of the queue: one task created and one handed out. */

import { TaskQueue } from "../../lib/core/task_queue.ts";
import { priorities } from "../../lib/core/task.ts";
import { Random } from "../../tests/lab/random.ts";

const random = new Random(1);

const duration = "3.0";

for (const size of [1_000, 1_000_000]) {
  const queue = new TaskQueue({ maxTasks: 2 * size });
  const create = () =>
    queue.admit(queue.create({ priority: random.pick(priorities), taskId: "task1", duration }));
  for (let i = 0; i < size; i++) create();

  const name = `${size.toLocaleString("en")} tasks waiting`;
  Deno.bench(`create and request, ${name}`, { group: "queue" }, () => {
    create();
    queue.request();
  });
  Deno.bench(`create, reserve and complete, ${name}`, { group: "queue" }, () => {
    create();
    queue.reserve(1, 0);
    queue.complete(1, "task1");
  });
}
