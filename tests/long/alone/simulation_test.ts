import { assert } from "@std/assert";
import { simulate } from "../../lab/simulation/search.ts";

Deno.test(
  "The server holds every invariant in 10,000 random schedules, at 100 or more per second",
  { permissions: "none" },
  async () => {
    const seed = Date.now() % 1_000_000_000;
    const startMs = performance.now();
    const fault = await simulate({ seed, schedules: 10_000 });
    assert(fault === undefined, fault);
    const seconds = (performance.now() - startMs) / 1000;
    assert(seconds < 100, `10,000 schedules took ${seconds} s`);
  },
);
