import {
  assert,
  assertEquals,
  assertGreaterOrEqual,
  assertLess,
  assertLessOrEqual,
  assertRejects,
} from "@std/assert";
import { CoarseClock, nowMs, sleep, sleepUntil, untilAborted } from "../lib/clock.ts";

/** True where a promise has settled once timers of some milliseconds have run. */
async function settlesWithin(promise: Promise<unknown>, ms: number): Promise<boolean> {
  const timeUp = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => timeUp.resolve(false), ms);
  const settled = await Promise.race([promise.then(() => true), timeUp.promise]);
  clearTimeout(timer);
  return settled;
}

/** Counts the timers that are started. */
function spyOnTimers(): { count: number; restore(): void } {
  const { setTimeout } = globalThis;
  const spy = {
    count: 0,
    restore() {
      globalThis.setTimeout = setTimeout;
    },
  };
  globalThis.setTimeout = new Proxy(setTimeout, {
    apply(target, _this, args) {
      spy.count++;
      return Reflect.apply(target, globalThis, args);
    },
  });
  return spy;
}

Deno.test("nowMs() only goes forward, with fractions", () => {
  let last = nowMs();
  let fractions = 0;
  for (let i = 0; i < 1000; i++) {
    const now = nowMs();
    assertGreaterOrEqual(now, last);
    if (!Number.isInteger(now)) fractions++;
    last = now;
  }
  assertGreaterOrEqual(fractions, 1);
});

/** Calls back all the time for some milliseconds. */
function during(ms: number, callback: () => void): void {
  for (const endMs = nowMs() + ms; nowMs() < endMs;) callback();
}

Deno.test("CoarseClock tells whole milliseconds, less than 2 ms behind nowMs()", () => {
  const clock = new CoarseClock();
  during(50, () => {
    const beforeMs = nowMs();
    const toldMs = clock.nowMs();
    assertGreaterOrEqual(toldMs, Math.floor(beforeMs) - 1);
    assertLessOrEqual(toldMs, nowMs());
    assert(Number.isInteger(toldMs), `${toldMs}`);
  });
});

Deno.test("CoarseClock goes on when the time of day is set, and never goes back", () => {
  const clock = new CoarseClock();
  const { now } = Date;
  try {
    let lastMs = clock.nowMs();
    for (const shiftMs of [3_600_000, -3_600_000, 1, -1]) {
      Date.now = () => now() + shiftMs;
      during(5, () => {
        const beforeMs = nowMs();
        const toldMs = clock.nowMs();
        assertGreaterOrEqual(toldMs, lastMs);
        // Set to what it was when it was read, it is read again a millisecond later.
        assertGreaterOrEqual(toldMs, Math.floor(beforeMs) - 2);
        lastMs = toldMs;
      });
    }
  } finally {
    Date.now = now;
  }
});

Deno.test("CoarseClock asks the dearer clock once per millisecond", () => {
  const clock = new CoarseClock();
  const dearer = performance.now;
  const startMs = Date.now();
  let calls = 0;
  try {
    performance.now = () => {
      calls++;
      return dearer.call(performance);
    };
    while (Date.now() < startMs + 20) clock.nowMs();
  } finally {
    performance.now = dearer;
  }
  assertGreaterOrEqual(calls, 2);
  assertLessOrEqual(calls, Date.now() - startMs + 1);
});

Deno.test("nowMs() does not follow the wall clock", () => {
  const wallClock = Date.now;
  try {
    const before = nowMs();
    Date.now = () => wallClock() + 86_400_000;
    assertLess(nowMs() - before, 60_000);
  } finally {
    Date.now = wallClock;
  }
});

Deno.test("sleepUntil() never wakes early", async () => {
  for (let i = 0; i < 50; i++) {
    const untilMs = nowMs() + i / 10;
    assertEquals(await sleepUntil(untilMs), true);
    assertGreaterOrEqual(nowMs(), untilMs);
  }
});

Deno.test("sleepUntil() a time that has passed returns true at once", async () => {
  assertEquals(await sleepUntil(nowMs() - 1000), true);
  assertEquals(await sleep(0), true);
  assertEquals(await sleep(-5), true);
});

for (const days of [24.8, 24.9, 25, 50, 365_000]) {
  Deno.test(`sleep() of ${days} days does not end at once, and its signal wakes it`, async () => {
    const stop = new AbortController();
    const timers = spyOnTimers();
    try {
      const sleeping = sleep(days * 86_400_000, stop.signal);
      assertEquals(await settlesWithin(sleeping, 50), false);
      stop.abort();
      assertEquals(await sleeping, false);
    } finally {
      timers.restore();
    }
    // One of sleep(), one of this test: a delay that is too long for a timer fires on and on.
    assertEquals(timers.count, 2);
  });
}

Deno.test("sleep() with a signal that has come returns false at once", async () => {
  assertEquals(await sleep(1_000_000, AbortSignal.abort()), false);
});

Deno.test("untilAborted() returns what its promise does, or throws it", async () => {
  const { signal } = new AbortController();
  assertEquals(await untilAborted(Promise.resolve(7), signal), 7);
  await assertRejects(() => untilAborted(Promise.reject(new RangeError("no")), signal), RangeError);
});

Deno.test("untilAborted() returns undefined where the signal comes, or came, first", async () => {
  const never = new Promise<number>(() => {});
  const stop = new AbortController();
  const waiting = untilAborted(never, stop.signal);
  stop.abort();
  assertEquals(await waiting, undefined);
  assertEquals(await untilAborted(Promise.resolve(7), stop.signal), undefined);
  // A failure that comes after the signal is nobody's: it must not end the program.
  assertEquals(await untilAborted(Promise.reject(new RangeError("no")), stop.signal), undefined);
});
