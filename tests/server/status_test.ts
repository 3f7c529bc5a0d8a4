import { assertEquals } from "@std/assert";
import { MemoryTasks } from "../../lib/core/memory_tasks.ts";
import { TaskQueue } from "../../lib/core/task_queue.ts";
import { ServerStatus } from "../../lib/server/status.ts";

/** A status whose clock the test drives, and counts. */
function makeStatus() {
  const clock = { ms: 0, asked: 0 };
  const { inspection } = new MemoryTasks(new TaskQueue());
  const nowMs = () => (clock.asked++, clock.ms);
  const status = new ServerStatus(inspection.queue, { clock: { nowMs, look: nowMs } });
  return { status, clock };
}

const task = { priority: 2, taskId: "task5", duration: "3.0", arrival: 1 } as const;

Deno.test({
  name: "The clock is asked once for all lines that are read at the same time",
  permissions: "none",
  fn() {
    const { status, clock } = makeStatus();
    const one = status.openConsumer(1, "127.0.0.1:5000");
    const before = clock.asked;
    for (let turn = 1; turn <= 3; turn++) {
      for (const consumer of [undefined, one, one]) {
        status.beginInput(turn, consumer);
        if (consumer !== undefined) status.handOut(consumer, task);
      }
    }
    assertEquals(clock.asked - before, 3);
  },
});

Deno.test({
  name: "What a consumer works on lasts from its hand-out, or from the end of what it had before",
  permissions: "none",
  fn() {
    const { status, clock } = makeStatus();
    const one = status.openConsumer(1, "127.0.0.1:5000");
    const at = (ms: number) => {
      clock.ms = ms;
      status.beginInput(ms, one);
    };
    at(1000);
    for (const taskId of ["first", "second", "third"]) {
      status.handOut(one, { task: { ...task, taskId }, consumer: 1 });
    }
    at(2000);
    // Which of the others it works on cannot be told: of one that ends early there is no bar.
    status.noteEvent({ kind: "completed", taskId: "second", consumer: 1 });
    at(3000);
    status.noteEvent({ kind: "completed", taskId: "first", consumer: 1 });
    at(4000);
    status.noteEvent({ kind: "failed", taskId: "third", consumer: 1 });
    const bars = status.barsSince(0).map(({ taskId, startMs, endMs, how }) =>
      `${taskId} ${startMs} ${endMs} ${how}`
    );
    assertEquals(bars, ["first 1000 3000 completed", "third 3000 4000 failed"]);
  },
});

Deno.test({
  name: "A requested task is worked on until its consumer says anything",
  permissions: "none",
  fn() {
    const { status, clock } = makeStatus();
    const one = status.openConsumer(1, "127.0.0.1:5000");
    status.handOut(one, task);
    clock.ms = 500;
    status.beginInput(1, one);
    assertEquals(status.barsSince(0).map(({ endMs, how }) => [endMs, how]), [[500, "next"]]);
    assertEquals(status.working, 0);
  },
});

Deno.test({
  name: "What came in a turn came at its time, though nothing was read for long after it",
  permissions: "none",
  fn() {
    const clock = { ms: 1000 };
    const queue = new TaskQueue();
    const { inspection } = new MemoryTasks(queue);
    const nowMs = () => clock.ms;
    const status = new ServerStatus(inspection.queue, { clock: { nowMs, look: nowMs } });
    status.beginInput(1, undefined);
    queue.create({ priority: 2, taskId: "early", duration: "3.0" });
    clock.ms = 31_000;
    assertEquals(status.ageSecondsOf(1, clock.ms), 30);
    status.beginInput(2, undefined);
    queue.create({ priority: 2, taskId: "late", duration: "3.0" });
    clock.ms = 41_000;
    status.tick();
    assertEquals([1, 2].map((arrival) => status.ageSecondsOf(arrival, clock.ms)), [40, 10]);
  },
});
