import { systemClock } from "../../lib/clock.ts";
import { assertEquals, assertGreater, assertRejects } from "@std/assert";
import { nowMs } from "../../lib/clock.ts";
import { SlicedWork } from "../../lib/server/sliced_work.ts";

function work(ms: number): void {
  for (const endMs = nowMs() + ms; nowMs() < endMs;);
}

Deno.test("SlicedWork lets timers fire between steps that are asked for at once", async () => {
  const sliced = new SlicedWork(systemClock);
  const done: number[] = [];
  let ticks = 0;
  const timer = setInterval(() => ticks++, 1);
  // All of them in one turn of the event loop.
  await Promise.all(Array.from({ length: 30 }, (_, step) =>
    sliced.do(() => {
      work(3);
      done.push(step);
    })));
  clearInterval(timer);
  sliced.finish();
  assertEquals(done, Array.from({ length: 30 }, (_, step) => step));
  assertGreater(ticks, 5);
});

Deno.test("SlicedWork does a lone step at once", async () => {
  const sliced = new SlicedWork(systemClock);
  let isDone = false;
  const doing = sliced.do(() => isDone = true);
  assertEquals(isDone, true);
  await doing;
  sliced.finish();
});

Deno.test("SlicedWork goes on after a step that throws, and tells who asked for it", async () => {
  const sliced = new SlicedWork(systemClock);
  const failing = sliced.do(() => {
    throw new RangeError("no");
  });
  let isDone = false;
  const next = sliced.do(() => isDone = true);
  await assertRejects(() => failing, RangeError, "no");
  await next;
  assertEquals(isDone, true);
  sliced.finish();
});

Deno.test("SlicedWork.finish() does what still waits, and leaves no timer", async () => {
  const sliced = new SlicedWork(systemClock);
  const steps = [1, 2, 3, 4].map(() => sliced.do(() => work(3)));
  sliced.finish();
  await Promise.all(steps);
});
