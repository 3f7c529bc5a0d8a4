/**
 * Several fronts are one queue: what is said at one counts at the others.
 *
 * @module
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { readDialogues, speak } from "../../tests/lab/dialogues.ts";
import { within } from "../../tests/lab/deadline.ts";
import { RawPeer } from "../../tests/lab/peers.ts";
import type { PostgresNode } from "../lab/postgres.ts";
import { frontAt, startFront } from "../lab/start_front.ts";
import { OwnFront } from "./fronts.ts";
import { connected, frontOf, giveUpAll, type Step, testInOneNode, testWithNodes } from "./nodes.ts";

const dialogues = await readDialogues();

testInOneNode(
  "Producers and consumers at different fronts speak the dialogues of docs/protocol.md",
  dialogues.map((dialogue) => [
    `line ${dialogue.line}`,
    async ({ nodes, database }) => {
      const { token } = dialogue;
      await using one = await OwnFront.open(nodes.hosts, database, { token });
      await using other = await OwnFront.open(nodes.hosts, database, { token });
      await speak(dialogue, {
        producers: one.ports.producers,
        consumers: other.ports.consumers,
      });
    },
  ]),
);

testInOneNode("Several fronts are one queue", [
  ["a task waits for whoever asks first, at any front, in one order", async (place) => {
    await using one = await frontOf(place);
    await using other = await frontOf(place);
    await using producer = await one.producer();
    await producer.send("CREATE 3 c 0\nCREATE 2 b 0\nCREATE 1 a 0\nCREATE 1 d 0\nSYNC\n");
    assertEquals(await producer.received.next(), "OK 4");
    await using first = await other.consumer();
    await using second = await one.consumer();
    const got: string[] = [];
    for (const consumer of [first, second, first, second, first]) {
      await consumer.send("REQUEST\n");
      got.push(await consumer.received.next());
    }
    assertEquals(got, ["ASSIGN a 0", "ASSIGN d 0", "ASSIGN b 0", "ASSIGN c 0", "NOTASK"]);
  }],
  ["who waits at one front is woken by a task from another", async ({ nodes, database }) => {
    // It never looks by itself: only a notification brings it the task.
    await using one = await OwnFront.open(nodes.hosts, database, { beats: false });
    await using other = await OwnFront.open(nodes.hosts, database);
    await using consumer = await RawPeer.connect(one.ports.consumers);
    await using producer = await RawPeer.connect(other.ports.producers);
    assertMatch(await consumer.received.next(), /^Consumer\d+$/);
    for (let i = 0; i < 5; i++) {
      await consumer.send("RESERVE 60\n");
      // Once this is answered, the engine knows that somebody waits.
      await using helper = await RawPeer.connect(one.ports.consumers);
      assertMatch(await helper.received.next(), /^Consumer\d+$/);
      await helper.send("RESERVE\n");
      assertEquals(await helper.received.next(), "NOTASK");
      await producer.send(`CREATE 1 task${i} 0\n`);
      assertEquals(await consumer.received.next(), `ASSIGN task${i} 0`);
    }
  }],
  ["a delayed task is ready at every front, though the one that took it is gone", async (place) => {
    await using other = await frontOf(place);
    {
      await using one = await frontOf(place);
      await using producer = await one.producer();
      await producer.send('SCHEDULE 0.5 1 late 0 {"x": 1}\nSYNC\n');
      assertEquals(await producer.received.next(), "OK 1");
      await one.crash();
    }
    await using consumer = await other.consumer();
    await consumer.send("RESERVE 60\n");
    assertEquals(await consumer.received.next(), 'ASSIGN late 0 {"x": 1}');
  }],
  ["a producer waits for room that a consumer makes at another front", async (place) => {
    await using one = await frontOf(place, "--max-tasks", "2");
    await using other = await frontOf(place);
    await using producer = await one.producer();
    await producer.send("CREATE 1 a 0\nCREATE 1 b 0\nCREATE 1 c 0\nSYNC\n");
    await one.stderr.line(/^the queue is full at 2 tasks: producers wait$/);
    await using consumer = await other.consumer();
    await consumer.send("REQUEST\n");
    assertEquals(await consumer.received.next(), "ASSIGN a 0");
    assertEquals(await producer.received.next(), "OK 3");
  }],
  [
    "what a killed front held is back in its place after some 15 s, and was counted",
    async (place) => {
      await using other = await frontOf(place);
      await using one = await frontOf(place);
      await using producer = await other.producer();
      await producer.send("CREATE 1 a 100\nCREATE 2 b 0\nSYNC\n");
      assertEquals(await producer.received.next(), "OK 2");
      const held = await one.consumer();
      await held.send("RESERVE\n");
      assertEquals(await held.received.next(), "ASSIGN a 100");
      const startMs = performance.now();
      await one.crash();
      held.close();
      await other.stdout.line(/^\[REQUEUE\] a - consumer\d+$/);
      const seconds = (performance.now() - startMs) / 1000;
      assert(seconds > 10, `given up after ${seconds} s`);
      await using consumer = await other.consumer();
      await consumer.send("REQUEST\n");
      assertEquals(await consumer.received.next(), "ASSIGN a 100");
    },
  ],
  ["a front that was given up closes its connections, and serves anew", async (place) => {
    await using one = await frontOf(place);
    const { primary } = place.nodes;
    const consumer = await one.consumer();
    await using producer = await one.producer();
    await producer.send("CREATE 1 a 0\nSYNC\n");
    assertEquals(await producer.received.next(), "OK 1");
    await consumer.send("RESERVE\n");
    assertEquals(await consumer.received.next(), "ASSIGN a 0");
    await giveUpAll(primary, place.database);
    await one.stderr.line(/^engine: front \d+ was given up: all connections are closed$/);
    assertEquals(await within(consumer.receive(10_000), "the end of the connection"), undefined);
    consumer.close();
    await using again = await connected(one);
    await again.send("RESERVE\n");
    assertEquals(await again.received.next(), "ASSIGN a 0");
  }],
  [
    "a front says so, and ends, if the engine has lost a turn that it had confirmed",
    async (place) => {
      await using one = await frontOf(place);
      await using producer = await one.producer();
      await producer.send("CREATE 1 a 0\nSYNC\n");
      assertEquals(await producer.received.next(), "OK 1");
      await place.nodes.primary.query("UPDATE queue.front SET turn = turn - 2", place.database);
      await one.stderr.line(/^THE ENGINE HAS LOST CONFIRMED WORK: front \d+ is at turn/);
      assertEquals(await one.exitCode(), 1);
    },
  ],
  ...([
    [
      "does not have what the front holds",
      "DELETE FROM queue.reserved",
      /completes 1, and holds 0/,
    ],
    ["gives an arrival twice", "ALTER SEQUENCE queue.arrival RESTART", /duplicate key value/],
    ["has another schema by now", "DROP SCHEMA queue CASCADE", /load cluster\/schema\.sql/],
  ] as const).map(([what, sql, said]): Step => [
    `a front ends, and says why, if the engine ${what}`,
    async (place) => {
      await using one = await frontOf(place);
      await using producer = await one.producer();
      await using consumer = await one.consumer();
      await producer.send("CREATE 1 a 0\nCREATE 1 b 0\nSYNC\n");
      assertEquals(await producer.received.next(), "OK 2");
      await consumer.send("RESERVE\n");
      assertEquals(await consumer.received.next(), "ASSIGN a 0");
      await place.nodes.primary.query(sql, place.database);
      await consumer.send("COMPLETE a\n");
      await producer.send("CREATE 1 c 0\nCREATE 1 d 0\nSYNC\n");
      await one.stderr.line(said);
      assertEquals(await one.exitCode(), 1);
    },
  ]),
  ["sessions of the engine that end again and again cost no task and no answer", async (place) => {
    await using one = await frontOf(place, "--quiet");
    await using producer = await one.producer();
    await using consumer = await one.consumer();
    let isOver = false;
    const ending = (async () => {
      for (let i = 0; i < 60; i++) {
        await place.nodes.primary.query(
          "SELECT pg_terminate_backend(pid) FROM pg_stat_activity " +
            `WHERE application_name = 'queue front' AND datname = '${place.database}'`,
        );
      }
      isOver = true;
    })();
    let created = 0;
    const got: string[] = [];
    while (!isOver) {
      await producer.send(`CREATE 1 task${created++} 0\nSYNC\n`);
      assertEquals(await producer.received.next(), `OK ${created}`);
      await consumer.send("RESERVE\n");
      const [verb, name = ""] = (await consumer.received.next()).split(" ");
      assertEquals(verb, "ASSIGN");
      got.push(name);
      await consumer.send(`COMPLETE ${name}\n`);
    }
    await ending;
    await consumer.send("SYNC\n");
    assertEquals(await consumer.received.next(), `OK ${created}`);
    assertEquals(got, got.map((_, i) => `task${i}`));
  }],
  ["a front that the engine refuses says what to do, and ends", async ({ nodes, database }) => {
    const { primary, hosts } = nodes;
    await primary.query("CREATE ROLE stranger LOGIN; CREATE ROLE secret LOGIN PASSWORD 'x'");
    await primary.askPasswordOf("secret");
    for (
      const [address, said] of [
        [`stranger@${hosts}/${database}`, "GRANT queue_front to this user"],
        [`nobody@${hosts}/${database}`, "check the user"],
        [`secret@${hosts}/${database}`, "check the password"],
        [`front@${hosts}/nothing`, "create the database"],
        [`front@${hosts}/postgres`, "load cluster/schema.sql"],
      ] as const
    ) {
      await using one = frontAt(`postgres://${address}`);
      await one.stderr.line(/^The engine refuses: /);
      assertEquals(await one.exitCode(), 1);
      assertMatch(one.stderr.lines[0]?.text ?? "", new RegExp(said));
    }
  }],
  ["a front serves with a newer schema, and says what it needs if it is older", async (place) => {
    const setVersion = (version: number) =>
      place.nodes.primary.query(
        "CREATE OR REPLACE FUNCTION queue.version() RETURNS int LANGUAGE sql IMMUTABLE " +
          `AS 'SELECT ${version}'`,
        place.database,
      );
    await setVersion(2);
    await using newer = await frontOf(place);
    await using consumer = await newer.consumer();
    assertEquals(await consumer.ask("REQUEST"), "NOTASK");
    await setVersion(0);
    await using older = frontAt(`postgres://front@${place.nodes.hosts}/${place.database}`);
    await older.stderr.line(/^The engine has schema 0, this front needs 1: load the newer one$/);
    assertEquals(await older.exitCode(), 1);
  }],
  ["a front ends at Ctrl+C though the engine does not answer", async (place) => {
    await using one = await frontOf(place);
    await using producer = await one.producer();
    await place.nodes.killPrimary();
    await producer.send("CREATE 1 a 0\nSYNC\n");
    await one.stderr.line(/^engine: 127\.0\.0\.1:\d+: .*: clients wait$/);
    assertEquals(await one.stop(), 1);
    assertMatch(one.stderr.lines.at(-1)?.text ?? "", /^engine: no answer: what is held here/);
  }],
]);

testWithNodes(
  "A node that refuses a front keeps it from no other, and ends none that has clients",
  async (place) => {
    const { nodes, database } = place;
    for (const node of nodes.nodes) await node.configure({ synchronous_standby_names: "" });
    const [standby] = nodes.standbys as [PostgresNode];
    await standby.askPasswordOf("front");
    await using front = await startFront(`127.0.0.1:${standby.port},${nodes.hosts}`, database);
    await using consumer = await front.consumer();
    assertEquals(await consumer.ask("REQUEST"), "NOTASK");
    await nodes.killPrimary();
    await nodes.promote();
    await consumer.send("REQUEST\n");
    await front.stderr.line(/^engine: 127.*; 127.*: .*password.*: clients wait$/);
    await standby.askPasswordOf("nobody");
    assertEquals(await consumer.received.next(), "NOTASK");
  },
  { count: 2 },
);
