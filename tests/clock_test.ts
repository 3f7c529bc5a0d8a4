import {
  assert,
  assertEquals,
  assertGreaterOrEqual,
  assertLess,
  assertLessOrEqual,
  assertRejects,
} from "@std/assert";
import {
  clockStepMs,
  CoarseClock,
  nowMs,
  sleep,
  sleepUntil,
  systemClock,
  untilAborted,
} from "../lib/clock.ts";

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

/** Calls back 50 times in each turn of the event loop; returns how long the longest of these took. */
async function inTurns(ms: number, callback: () => void): Promise<number> {
  let longestMs = 0;
  for (const endMs = nowMs() + ms; nowMs() < endMs;) {
    const startMs = nowMs();
    for (let i = 0; i < 50; i++) callback();
    await new Promise<void>((resolve) => systemClock.afterInput(resolve));
    longestMs = Math.max(longestMs, nowMs() - startMs);
  }
  return longestMs;
}

/** Counts how often the time of day is read until the scope is left. */
function spyOnTimeOfDay(): Disposable & { count: number } {
  const { now } = Date;
  const spy = {
    count: 0,
    [Symbol.dispose]() {
      Date.now = now;
    },
  };
  Date.now = () => {
    spy.count++;
    return now();
  };
  return spy;
}

function assertIsExact(clock: CoarseClock): void {
  const beforeMs = nowMs();
  const toldMs = clock.nowMs();
  assertGreaterOrEqual(toldMs, Math.floor(beforeMs) - 1);
  assertLessOrEqual(toldMs, nowMs());
}

Deno.test("CoarseClock that is asked often goes in steps, and is read once per step", async () => {
  using clock = new CoarseClock();
  using reads = spyOnTimeOfDay();
  let [asked, mostBehindMs, lastMs] = [0, 0, 0];
  // Until then it does not know that it will be asked often.
  await inTurns(3 * clockStepMs, () => clock.nowMs());
  reads.count = 0;
  const times = new Set<number>();
  const longestMs = await inTurns(10 * clockStepMs, () => {
    asked++;
    const toldMs = clock.nowMs();
    times.add(toldMs);
    mostBehindMs = Math.max(mostBehindMs, nowMs() - toldMs);
    assertGreaterOrEqual(toldMs, lastMs);
    lastMs = toldMs;
  });
  // Once per step; not at all rarely if a busy machine makes a step seem idle.
  assertLess(reads.count, asked / 10);
  assertGreaterOrEqual(asked, 1000);
  assertGreaterOrEqual(times.size, 2);
  assertLessOrEqual(mostBehindMs, clockStepMs + 2 * longestMs + 2);
});

Deno.test("CoarseClock is exact once somebody looks, however often it is asked", async () => {
  using clock = new CoarseClock();
  // It ends within a step.
  await inTurns(3.5 * clockStepMs, () => clock.nowMs());
  const beforeMs = nowMs();
  assertGreaterOrEqual(clock.look(), Math.floor(beforeMs) - 1);
  await inTurns(5 * clockStepMs, () => assertIsExact(clock));
});

/** Asks a clock so often in a step, and tells whether a timer moves it in the next one. */
async function isTimedAfter(clock: CoarseClock, asks: number, pauseMs: number): Promise<boolean> {
  clock.nowMs();
  await sleep(3 * clockStepMs);
  // Begins a step.
  for (let i = 0; i < asks; i++) clock.nowMs();
  await sleep(pauseMs);
  const firstMs = clock.nowMs();
  during(5, () => {});
  return clock.nowMs() === firstMs;
}

Deno.test("CoarseClock goes in steps if it was asked more than 100 times in the step before", async () => {
  using clock = new CoarseClock();
  // Late by more than a step, a busy machine makes the step before too long ago.
  for (let tries = 10; !await isTimedAfter(clock, 101, clockStepMs + 1); tries--) {
    assertGreaterOrEqual(tries, 1);
  }
  assertEquals(await isTimedAfter(clock, 100, clockStepMs + 1), false);
  // Whatever was asked long ago.
  assertEquals(await isTimedAfter(clock, 1000, 3 * clockStepMs), false);
});

Deno.test("CoarseClock is exact for five minutes after a look, and then goes in steps again", async () => {
  using clock = new CoarseClock();
  const { now } = performance;
  let shiftMs = 0;
  try {
    performance.now = () => now.call(performance) + shiftMs;
    clock.look();
    shiftMs += 299_000;
    // Until the time of day has moved, too, which it is compared with.
    during(2, () => {});
    await inTurns(3.5 * clockStepMs, () => assertIsExact(clock));
    shiftMs += 2000;
    await inTurns(3 * clockStepMs, () => clock.nowMs());
    using reads = spyOnTimeOfDay();
    let asked = 0;
    await inTurns(5 * clockStepMs, () => {
      asked++;
      clock.nowMs();
    });
    assertLess(reads.count, asked / 10);
  } finally {
    performance.now = now;
  }
});

Deno.test("CoarseClock is exact when it is asked rarely, also after it was asked often", async () => {
  using clock = new CoarseClock();
  const askRarely = async () => {
    for (let i = 0; i < 10; i++) {
      assertIsExact(clock);
      await sleep(5);
    }
  };
  await askRarely();
  await inTurns(3 * clockStepMs, () => clock.nowMs());
  // It was asked often in the last step, too: one more is timed, in which it is not asked at all.
  await sleep(6 * clockStepMs);
  await askRarely();
});

Deno.test("CoarseClock tells whole milliseconds, less than 2 ms behind nowMs()", () => {
  using clock = new CoarseClock();
  clock.look();
  during(50, () => {
    const beforeMs = nowMs();
    const toldMs = clock.nowMs();
    assertGreaterOrEqual(toldMs, Math.floor(beforeMs) - 1);
    assertLessOrEqual(toldMs, nowMs());
    assert(Number.isInteger(toldMs), `${toldMs}`);
  });
});

Deno.test("CoarseClock goes on when the time of day is set, and never goes back", () => {
  using clock = new CoarseClock();
  clock.look();
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
  using clock = new CoarseClock();
  clock.look();
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
