/** @module What it costs that an operator may look: a task is created and requested. */

import { nowMs } from "../../lib/clock.ts";
import type { ServerEvent } from "../../lib/core/events.ts";
import { MemoryTasks } from "../../lib/core/memory_tasks.ts";
import { ConsumerSession, ProducerSession, type SessionOutput } from "../../lib/core/session.ts";
import { TaskQueue } from "../../lib/core/task_queue.ts";
import { ServerStatus } from "../../lib/server/status.ts";

/** The calls of a server, as lib/server/serve.ts makes them; without a status it is the base line. */
function makeDialogue(options: { readonly hasStatus: boolean; readonly linesPerTurn?: number }) {
  const { linesPerTurn = 1 } = options;
  const tasks = new MemoryTasks(new TaskQueue());
  const status = options.hasStatus
    ? new ServerStatus(tasks.inspection.queue, { clock: { nowMs, look: nowMs } })
    : undefined;
  const watched = status?.openConsumer(1, "127.0.0.1:5000");
  const output: SessionOutput = {
    ...{ reply() {}, send() {}, complain() {} },
    event: (event: ServerEvent) => status?.noteEvent(event),
    handOut: (handOut) => {
      if (watched !== undefined) status?.handOut(watched, handOut);
    },
  };
  const producer = new ProducerSession(tasks, output);
  const consumer = new ConsumerSession(1, tasks, output);
  for (let i = 0; i < 1000; i++) producer.receive("CREATE 2 task1234567 3.0", nowMs);
  let lines = 0;
  const turn = () => Math.floor(lines++ / linesPerTurn);
  return () => {
    status?.beginInput(turn(), undefined);
    producer.receive("CREATE 2 task1234567 3.0", nowMs);
    consumer.noteUnsent(0);
    status?.beginInput(turn(), watched);
    consumer.receive("REQUEST", nowMs);
  };
}

Deno.bench(
  "nobody may look",
  { group: "status", baseline: true },
  makeDialogue({ hasStatus: false }),
);
Deno.bench("an operator may look", { group: "status" }, makeDialogue({ hasStatus: true }));
Deno.bench(
  "the same, 32 lines a turn",
  { group: "status" },
  makeDialogue({ hasStatus: true, linesPerTurn: 32 }),
);
