/**
 * Many simulations of fronts over a model of the engine.
 *
 * @module
 */

import { withSeed } from "../../../tests/lab/seed.ts";
import { simulateAll } from "../simulation.ts";

const runs = 10_000;

Deno.test(`in ${runs} simulations no confirmed task is lost, and none is gone twice`, async () => {
  await withSeed((seed) => simulateAll(seed, runs));
});
