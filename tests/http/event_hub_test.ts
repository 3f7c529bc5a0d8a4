import { assertEquals } from "@std/assert";
import type { Clock } from "../../lib/clock.ts";
import { EventHub } from "../../lib/http/event_hub.ts";
import type { StreamBody } from "../../lib/http/message.ts";
import type { ServerStatus, WatchedConsumer } from "../../lib/server/status.ts";
import { makeOperated } from "./operated.ts";

/** A hub over an empty queue, and a clock that the test drives. */
function makeHub() {
  const due: (() => void)[] = [];
  let timeMs = 0;
  const clock: Clock = {
    nowMs: () => 0,
    after(_ms, callback) {
      due.push(callback);
      return () => void due.splice(due.indexOf(callback), 1);
    },
    afterInput: (callback) => callback(),
  };
  const operated = makeOperated({ nowMs: () => timeMs });
  const { status } = operated;
  const hub = new EventHub(operated, clock);
  const tick = () => {
    status.noteProblem("something new");
    for (const callback of due.splice(0)) callback();
  };
  const pass = (ms: number) => void (timeMs += ms);
  return { hub, tick, due, status, pass };
}

/** A viewer of whose stream nothing is taken beyond the first message. */
function open(hub: EventHub, options: { readonly takes: boolean }) {
  const sent: Uint8Array[] = [];
  const viewer = { sent, isClosed: false, leave: () => {} };
  viewer.leave = (hub.open().body as StreamBody)({
    send: (bytes) => void sent.push(bytes),
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

Deno.test({
  name: "Viewers are told of the first 100 consumers, and of the next one when one of these leaves",
  permissions: "none",
  fn() {
    const { hub, status, tick, pass } = makeHub();
    const consumers = Array.from({ length: 150 }, (_, i) => status.openConsumer(i + 1, ""));
    const { sent } = open(hub, { takes: true });
    tick();
    for (const consumer of consumers.slice(98, 102)) work(status, { consumer, pass });
    tick();
    status.closeConsumer(consumers[6] as WatchedConsumer);
    tick();
    const told = sent.slice(1).map(dataOf);
    const numbersOf = (list: readonly { readonly number: number }[]) =>
      list.map(({ number }) => number);
    assertEquals(told.map(({ changed }) => numbersOf(changed)), [[], [99, 100], [101]]);
    const barsOf = told.map(({ bars }) => bars.map((bar: { consumer: number }) => bar.consumer));
    assertEquals(barsOf, [[], [99, 100], []]);
    assertEquals(told[2].gone, [7]);
  },
});

/** Has a consumer do a second's work. */
function work(
  status: ServerStatus,
  { consumer, pass }: {
    readonly consumer: WatchedConsumer;
    readonly pass: (ms: number) => void;
  },
): void {
  const task = { priority: 1 as const, taskId: "a", duration: "1", arrival: 1 };
  status.noteTime();
  status.handOut(consumer, task);
  pass(1000);
  status.noteTime();
  status.beginInput(consumer.number, consumer);
}

/** What an overview says. */
// deno-lint-ignore no-explicit-any -- as JSON.parse has it
function dataOf(message: Uint8Array): any {
  return JSON.parse(new TextDecoder().decode(message).split("\ndata: ")[1] as string);
}
