/** @module Cost of a dialogue: CREATE on one session, REQUEST on another, 1,000 tasks waiting. */

import { MemoryTasks } from "../../lib/core/memory_tasks.ts";
import { ConsumerSession, ProducerSession } from "../../lib/core/session.ts";
import { TaskQueue } from "../../lib/core/task_queue.ts";

const tasks = new MemoryTasks(new TaskQueue());
const nowMs = () => 0;
const ignore = { reply: () => {}, event: () => {}, send: () => {}, complain: () => {} };
const producer = new ProducerSession(tasks, ignore);
const consumer = new ConsumerSession(1, tasks, ignore);
for (let i = 0; i < 1000; i++) producer.receive("CREATE 2 task1234567 3.0", nowMs);

Deno.bench("CREATE and REQUEST", { group: "session" }, () => {
  producer.receive("CREATE 2 task1234567 3.0", nowMs);
  consumer.receive("REQUEST", nowMs);
  consumer.noteUnsent(0);
});

Deno.bench("a malformed line", { group: "session" }, () => {
  // A session ends at 100 of them.
  new ProducerSession(tasks, ignore).receive("CREATE 4 task1234567 3.0", nowMs);
});
