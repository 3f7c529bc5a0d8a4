/**
 * The engine's nodes under kill -9.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { pause } from "../../../tests/lab/deadline.ts";
import { testSeed } from "../../../tests/lab/seed.ts";
import { killRounds } from "../../lab/kill_rounds.ts";
import { findPostgres, installHint, type PostgresNodes } from "../../lab/postgres.ts";
import { startFront } from "../../lab/start_front.ts";
import { testWithNodes, until } from "../nodes.ts";

const rounds = 3;

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

/** Sessions of fronts at the primary, by process id. */
async function sessionsAt(nodes: PostgresNodes): Promise<readonly unknown[]> {
  const rows = await nodes.primary.query(
    "SELECT pid FROM pg_stat_activity WHERE application_name = 'queue front'",
  );
  return rows.map(({ pid }) => pid);
}

testWithNodes(
  "while the primary is alone nothing is confirmed, and then all is",
  async ({ nodes, database }) => {
    await using front = await startFront(nodes.hosts, database);
    await using producer = await front.producer();
    for (const node of nodes.standbys) await node.kill();
    await producer.send("CREATE 1 a 0\nSYNC\n");
    // Longer than a turn may take: it was repeated in vain.
    await front.stderr.line(/^engine: 127\.0\.0\.1:\d+: no answer: clients wait$/);
    assertEquals(producer.received.lines, []);
    // Of its repetitions the first one and the last one are left there, and maybe one that is ending.
    const seen = new Set<unknown>();
    while (seen.size < 4) {
      for (const session of await sessionsAt(nodes)) seen.add(session);
      await pause(200);
    }
    await until(async () => (await sessionsAt(nodes)).length <= 2, "the end of sessions");
    await nodes.repair();
    assertEquals(await producer.received.next(), "OK 1");
    await front.stderr.line(/^engine is back after [\d.]+ s$/);
    assertEquals(await front.drain(), ["a"]);
  },
  { count: 3 },
);
