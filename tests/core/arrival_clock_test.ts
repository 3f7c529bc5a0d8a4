import { assert, assertEquals, assertLess, assertLessOrEqual } from "@std/assert";
import fc from "fast-check";
import { ArrivalClock, maxCheckpoints } from "../../lib/core/arrival_clock.ts";
import { Random } from "../lab/random.ts";
import { testSeed, withSeed } from "../lab/seed.ts";

const options = { permissions: "none" } as const;

/** Largest error of what the clock tells, as a part of what is allowed. */
function worstError(clock: ArrivalClock, timesMs: readonly number[], nowMs: number): number {
  let worst = 0;
  for (const [index, timeMs] of timesMs.entries()) {
    const told = clock.timeOf(index + 1);
    assert(told !== undefined, `arrival ${index + 1} is not known`);
    const allowedMs = Math.max(1, (nowMs - timeMs) / 128);
    worst = Math.max(worst, Math.abs(told - timeMs) / allowedMs);
  }
  return worst;
}

Deno.test(
  "ArrivalClock.timeOf() knows the times of all arrivals, and of none to come",
  options,
  () => {
    const clock = new ArrivalClock();
    assertEquals(clock.timeOf(1), undefined);
    clock.mark(3, 10);
    clock.mark(3, 20);
    clock.mark(4, 30);
    assertEquals([1, 2, 3, 4, 5].map((n) => clock.timeOf(n)), [10, 10, 10, 30, undefined]);
  },
);

Deno.test(
  "ArrivalClock tells times to 1 ms or a 128th of their age, however many arrive",
  options,
  () => {
    const gaps = fc.array(fc.double({ min: 0, max: 5000, noNaN: true }), {
      minLength: 1,
      maxLength: 200,
    });
    fc.assert(
      fc.property(gaps, fc.double({ min: 0, max: 1e9, noNaN: true }), (gaps, restMs) => {
        const clock = new ArrivalClock();
        const timesMs: number[] = [];
        let nowMs = 0;
        for (let round = 0; round < 6000; round += gaps.length) {
          for (const gap of gaps) {
            nowMs += gap;
            clock.mark(timesMs.push(nowMs), nowMs);
          }
        }
        assertLessOrEqual(clock.checkpoints.length, maxCheckpoints);
        assertLessOrEqual(worstError(clock, timesMs, nowMs), 1);
        nowMs += restMs;
        assertLessOrEqual(worstError(clock, timesMs, nowMs), 1);
      }),
      { numRuns: 20 },
    );
  },
);

Deno.test("ArrivalClock keeps its promise over a hundred days", options, () =>
  withSeed(() => {
    const random = new Random(testSeed);
    const clock = new ArrivalClock();
    // Every hundredth arrival is looked at.
    const seen: { readonly number: number; readonly timeMs: number }[] = [];
    const dayMs = 24 * 3600 * 1000;
    let number = 0;
    let nowMs = 0;
    while (nowMs < 100 * dayMs) {
      const lastMs = nowMs;
      nowMs += 2000 + random.below(4000);
      clock.mark(++number, nowMs);
      // That it drops checkpoints must not be seen in the last ones.
      if (number > 1) assertLessOrEqual(Math.abs(clock.timeOf(number - 1) as number - lastMs), 50);
      if (number % 100 === 0) seen.push({ number, timeMs: nowMs });
    }
    for (const { number, timeMs } of seen) {
      const told = clock.timeOf(number) as number;
      assertLessOrEqual(Math.abs(told - timeMs), Math.max(1, (nowMs - timeMs) / 128));
    }
    assertLessOrEqual(clock.checkpoints.length, maxCheckpoints);
  }));

Deno.test("ArrivalClock goes on with the checkpoints of another", options, () => {
  const first = new ArrivalClock();
  first.mark(2, -5000);
  first.mark(7, -1000);
  const clock = new ArrivalClock(first.checkpoints);
  clock.mark(8, 50);
  assertEquals([2, 3, 8].map((n) => clock.timeOf(n)), [-5000, -1000, 50]);
});

Deno.test("ArrivalClock tells of each number the first checkpoint that reaches it", options, () => {
  // Nearer to each other than its own would be: most are dropped with the next one.
  const known = Array.from({ length: maxCheckpoints }, (_, i) => ({ number: 3 * i, timeMs: i }));
  const clock = new ArrivalClock(known, { leastGapMs: 100 });
  const look = () => {
    const { checkpoints } = clock;
    for (let number = 0; number <= (clock.last?.number as number); number++) {
      const told = checkpoints.find((one) => one.number >= number)?.timeMs;
      assertEquals(clock.timeOf(number), told, `${number}`);
    }
    return checkpoints.length;
  };
  assertEquals(look(), maxCheckpoints);
  clock.mark(3 * maxCheckpoints, maxCheckpoints + 100);
  assertLess(look(), 100);
});
