/**
 * The store under kill -9, in a loop; `deno task prove crash` does the same for longer.
 *
 * @module
 */

import { assert } from "@std/assert";
import { testSeed } from "../lab/seed.ts";
import { crashRounds } from "../lab/load/crash_rounds.ts";

const rounds = 200;

Deno.test(`a server with a store keeps its promises over ${rounds} kills under load`, async () => {
  const report = await crashRounds({ rounds, seed: testSeed });
  // A loop that kills before anything was promised shows nothing.
  const { confirmed, survived, handedOut, completed } = report;
  assert(confirmed > 50 * rounds && survived > 50 * rounds, JSON.stringify(report));
  assert(handedOut > survived && completed > rounds, JSON.stringify(report));
});
