import { assertEquals } from "@std/assert";
import type { Clock } from "../../lib/clock.ts";
import { MemoryTasks } from "../../lib/core/memory_tasks.ts";
import { TaskQueue } from "../../lib/core/task_queue.ts";
import { Histogram } from "../../lib/histogram.ts";
import { EventHub } from "../../lib/http/event_hub.ts";
import type { StreamBody } from "../../lib/http/message.ts";
import { ServerStatus } from "../../lib/server/status.ts";

/** A hub over an empty queue, and a clock that the test drives. */
function makeHub() {
  const due: (() => void)[] = [];
  const clock: Clock = {
    nowMs: () => 0,
    after(_ms, callback) {
      due.push(callback);
      return () => void due.splice(due.indexOf(callback), 1);
    },
    afterInput: (callback) => callback(),
  };
  const { inspection } = new MemoryTasks(new TaskQueue());
  const status = new ServerStatus(inspection.queue, { nowMs: () => 0 });
  const server = {
    ...{ version: "1", deno: "2", startedAt: 0, producers: "", consumers: "", store: null },
    ...{ maxTasks: 1, maxConnections: 1 },
  };
  const hub = new EventHub({
    ...{ inspection, status, server, storeState: () => "none", wallMs: () => 0 },
    ...{ memoryBytes: () => 0, droppedLines: () => 0, commitSeconds: new Histogram([]) },
  }, clock);
  const tick = () => {
    status.noteProblem("something new");
    for (const callback of due.splice(0)) callback();
  };
  return { hub, tick, due };
}

/** A viewer of whose stream nothing is taken beyond the first message. */
function open(hub: EventHub, options: { readonly takes: boolean }) {
  const sent: string[] = [];
  const viewer = { sent, isClosed: false, leave: () => {} };
  viewer.leave = (hub.open().body as StreamBody)({
    send: (text) => void sent.push(text),
    get waitingBytes() {
      return options.takes ? 0 : 1;
    },
    close: () => viewer.isClosed = true,
  });
  return viewer;
}

Deno.test({
  name: "A viewer that takes nothing is sent three more messages, and closed after twenty",
  permissions: "none",
  fn() {
    const { hub, tick } = makeHub();
    const [slow, quick] = [open(hub, { takes: false }), open(hub, { takes: true })];
    for (let i = 0; i < 19; i++) tick();
    assertEquals([slow.sent.length, slow.isClosed], [1 + 3, false]);
    assertEquals(hub.size, 2);
    tick();
    assertEquals([slow.sent.length, slow.isClosed, hub.size], [1 + 3, true, 1]);
    assertEquals([quick.sent.length, quick.isClosed], [1 + 20, false]);
  },
});

Deno.test({
  name: "Without viewers nothing is done, and no timer runs",
  permissions: "none",
  fn() {
    const { hub, tick, due } = makeHub();
    assertEquals(due.length, 0);
    const viewer = open(hub, { takes: true });
    tick();
    assertEquals([due.length, hub.size], [1, 1]);
    viewer.leave();
    assertEquals([due.length, hub.size], [0, 0]);
  },
});
