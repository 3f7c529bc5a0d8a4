import { assert } from "@std/assert";
import { simulate } from "../lab/simulation/search.ts";

Deno.test(
  "Sessions and queue hold every invariant in 10,000 random schedules, in under a minute",
  { permissions: "none" },
  () => {
    const seed = Date.now() % 1_000_000_000;
    const startMs = performance.now();
    const fault = simulate({ seed, schedules: 10_000 });
    assert(fault === undefined, fault);
    const seconds = (performance.now() - startMs) / 1000;
    assert(seconds < 60, `10,000 schedules took ${seconds} s`);
  },
);
