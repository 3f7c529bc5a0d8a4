/**
 * The engine's primary under kill -9, in a loop.
 *
 * @module
 */

import { assert } from "@std/assert";
import { testSeed } from "../../../tests/lab/seed.ts";
import { killRounds } from "../../lab/kill_rounds.ts";
import { findPostgres, installHint } from "../../lab/postgres.ts";

const rounds = 5;

Deno.test({
  name: `two fronts keep their promises over ${rounds} kills of the primary under load` +
    (findPostgres() === undefined ? ` (${installHint})` : ""),
  ignore: findPostgres() === undefined,
  async fn() {
    const report = await killRounds({ rounds, seed: testSeed });
    console.log(JSON.stringify(report));
    // A loop that kills before anything was promised shows nothing.
    assert(report.confirmed > 200 * rounds, JSON.stringify(report));
    assert(report.handedOut > 200 * rounds, JSON.stringify(report));
  },
});
