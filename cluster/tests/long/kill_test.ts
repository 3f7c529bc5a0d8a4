/**
 * The engine's nodes under kill -9.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { testSeed } from "../../../tests/lab/seed.ts";
import { killRounds } from "../../lab/kill_rounds.ts";
import { findPostgres, installHint, PostgresNodes } from "../../lab/postgres.ts";
import { startFront } from "../../lab/start_front.ts";

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

Deno.test({
  name: "while the primary is alone nothing is confirmed, and then all is" +
    (findPostgres() === undefined ? ` (${installHint})` : ""),
  ignore: findPostgres() === undefined,
  async fn() {
    await using nodes = await PostgresNodes.start({ count: 3, fsync: false });
    await nodes.primary.createQueue("queue");
    await using front = await startFront(nodes.hosts, "queue");
    await using producer = await front.producer();
    for (const node of nodes.standbys) await node.kill();
    await producer.send("CREATE 1 a 0\nSYNC\n");
    // Longer than a turn may take: it was repeated in vain.
    await front.stderr.line(/^engine: 127\.0\.0\.1:\d+: no answer: clients wait$/);
    assertEquals(producer.received.lines, []);
    await nodes.repair();
    assertEquals(await producer.received.next(), "OK 1");
    await front.stderr.line(/^engine is back after [\d.]+ s$/);
    assertEquals(await front.drain(), ["a"]);
  },
});
