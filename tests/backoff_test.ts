import { assert, assertEquals } from "@std/assert";
import { Backoff } from "../lib/backoff.ts";

function assertFrom(leastMs: number, ms: number): void {
  assert(ms >= leastMs && ms <= 2 * leastMs, `${ms} is not from ${leastMs} to ${2 * leastMs}`);
}

Deno.test("Backoff doubles the pause up to the longest, and takes off up to a half", () => {
  const backoff = new Backoff({ first: 100, most: 1000 });
  for (const leastMs of [50, 100, 200, 400, 500, 500]) assertFrom(leastMs, backoff.fail());
  assertEquals(backoff.failures, 6);
});

Deno.test("Backoff begins anew after a connection that lasted for the longest pause, not for less", () => {
  const backoff = new Backoff({ first: 100, most: 1000 });
  assertFrom(50, backoff.fail());
  assertFrom(100, backoff.fail(999));
  assertFrom(50, backoff.fail(1000));
  assertEquals(backoff.failures, 1);
});

Deno.test("Backoff pauses by chance, for as long as its clients may live", () => {
  const pauses = Array.from({ length: 10 }, () => new Backoff().fail());
  assert(new Set(pauses).size > 5);
  const backoff = new Backoff();
  for (let i = 0; i < 10_000; i++) assert(backoff.fail() <= 5000);
});
