/**
 * What the schema does against faults, each beside the same schema without it: there a test must see
 * the fault.
 *
 * @module
 */

import { assert, assertEquals, assertGreater, assertLess, assertMatch } from "@std/assert";
import type { RawPeer } from "../../tests/lab/peers.ts";

import type { PostgresNode } from "../lab/postgres.ts";
import { Relay } from "../lab/relay.ts";
import { startFront } from "../lab/start_front.ts";
import { frontOf, type Place, testWithNodes, until } from "./nodes.ts";

/** Changes a text that must be there. */
function replace(schema: string, ...changes: readonly (readonly [was: string, is: string])[]) {
  for (const [was, is] of changes) {
    assert(schema.includes(was), `the schema does not say ${was}`);
    schema = schema.replaceAll(was, is);
  }
  return schema;
}

/** Has front 1 stand still between seeing the tasks and locking the first, if a test says so. */
const withGate = (schema: string) =>
  replace(schema, ["LIMIT most FOR UPDATE", "LIMIT gate(my_front, most) FOR UPDATE"]) +
  `CREATE FUNCTION queue.gate(my_front int, n bigint) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN
     PERFORM pg_advisory_lock(4242, my_front);
     PERFORM pg_advisory_unlock(4242, my_front);
     RETURN n;
   END $$;`;

/** Has fronts take at the same time. */
const withoutLock = (schema: string) =>
  replace(
    schema,
    ["PERFORM pg_advisory_lock('ready'::regclass::oid::bigint);", ""],
    ["PERFORM pg_advisory_unlock('ready'::regclass::oid::bigint);", ""],
  );

/** Makes each turn that comes, and remembers none. */
const withoutReceipt = (schema: string) =>
  replace(
    schema,
    ["IF known_turn = my_turn THEN RETURN known_receipt; END IF;", ""],
    ["IF known_turn <> my_turn - 1 THEN", "IF false THEN"],
  );

/** Who waits for an advisory lock. */
async function waitersOf(node: PostgresNode): Promise<number> {
  const [row] = await node.query(
    "SELECT count(*)::int AS n FROM pg_locks WHERE locktype = 'advisory' AND NOT granted",
  );
  return Number(row?.n);
}

/**
 * Has a front see one task, and be overtaken: another task is confirmed, and then a second front asks.
 * There is a task at each moment.
 *
 * @returns what both fronts answered.
 */
async function overtake({ nodes, database }: Place): Promise<[one: string, other: string]> {
  await using one = await startFront(nodes.hosts, database);
  await using other = await startFront(nodes.hosts, database);
  await using producer = await other.producer();
  await using slow = await one.consumer();
  await using quick = await other.consumer();
  await producer.send("CREATE 1 first 0\nSYNC\n");
  assertEquals(await producer.received.next(), "OK 1");
  await using gate = await nodes.primary.lock("4242, 1", database);
  await slow.send("REQUEST\n");
  await until(async () => await waitersOf(nodes.primary) > 0, "a front in the gate");
  await producer.send("CREATE 1 second 0\nSYNC\n");
  assertEquals(await producer.received.next(), "OK 2");
  await quick.send("REQUEST\n");
  let isAnswered = false;
  const answer = quick.received.next().finally(() => isAnswered = true);
  // It has its answer, or waits for the other one.
  await until(async () => isAnswered || await waitersOf(nodes.primary) > 1, "the second front");
  await gate[Symbol.asyncDispose]();
  return [await slow.received.next(), await answer];
}

testWithNodes("While another front takes a task nobody is told NOTASK", async ({ nodes }) => {
  await nodes.primary.createQueue("sound", withGate);
  assertEquals(await overtake({ nodes, database: "sound" }), ["ASSIGN first 0", "ASSIGN second 0"]);
  await nodes.primary.createQueue("broken", (schema) => withoutLock(withGate(schema)));
  assertEquals(await overtake({ nodes, database: "broken" }), ["NOTASK", "ASSIGN first 0"]);
});

/**
 * Creates tasks and hands them out at a front of which answers of the engine are lost.
 *
 * @param lost to what: if both were lost, a task made twice would make up for one lost.
 * @returns all that were handed out, or are left.
 */
async function loseAnswers(
  { nodes, database }: Place,
  lost: "CREATE" | "REQUEST",
): Promise<string[]> {
  await using proxy = new Relay(nodes.primary.port);
  await using front = await startFront(`127.0.0.1:${proxy.port}`, database);
  await using other = await startFront(nodes.hosts, database);
  await using producer = await front.producer();
  await using consumer = await front.consumer();
  const seen: string[] = [];
  const say = async (peer: RawPeer, text: string) => {
    proxy.toLose = text.startsWith(lost) ? 1 : 0;
    await peer.send(text);
    return await peer.received.next();
  };
  for (let i = 0; i < 5; i++) {
    assertMatch(await say(producer, `CREATE 1 task${i} 0\nSYNC\n`), /^OK/);
    const [verb, name = ""] = (await say(consumer, "REQUEST\n")).split(" ");
    if (verb === "ASSIGN") seen.push(name);
  }
  proxy.toLose = 0;
  return [...seen, ...await other.drain()];
}

for (const [lost, fault] of [["CREATE", "doubles"], ["REQUEST", "loses"]] as const) {
  testWithNodes(
    `A lost answer to ${lost} ${fault} no task`,
    async ({ nodes }) => {
      const all = ["task0", "task1", "task2", "task3", "task4"];
      await nodes.primary.createQueue("sound");
      assertEquals(await loseAnswers({ nodes, database: "sound" }, lost), all);
      await nodes.primary.createQueue("broken", withoutReceipt);
      const seen = await loseAnswers({ nodes, database: "broken" }, lost);
      if (fault === "doubles") assertGreater(seen.length, new Set(seen).size);
      else assertLess(new Set(seen).size, all.length);
    },
  );
}

testWithNodes(
  "A standby that is promoted without confirmed turns stops the front, which says so",
  async (place) => {
    const { nodes } = place;
    // As if OK meant one disk.
    for (const node of nodes.nodes) await node.configure({ synchronous_standby_names: "" });
    await using front = await frontOf(place);
    await front.stderr.line(/^WARNING: engine: synchronous_standby_names is empty/);
    await using producer = await front.producer();
    await producer.send("CREATE 1 kept 0\nSYNC\n");
    assertEquals(await producer.received.next(), "OK 1");
    const [standby] = nodes.standbys as [PostgresNode];
    await until(async () => {
      const rows = await standby.query("SELECT FROM queue.ready", place.database);
      return rows.length === 1;
    }, "the standby");
    await standby.configure({ primary_conninfo: "" });
    await until(async () => {
      const rows = await nodes.primary.query("SELECT FROM pg_stat_replication");
      return rows.length === 0;
    }, "the end of replication");
    await producer.send("CREATE 1 lost 0\nSYNC\nCREATE 1 lost2 0\nSYNC\n");
    assertEquals(await producer.received.next(), "OK 2");
    assertEquals(await producer.received.next(), "OK 3");
    await nodes.killPrimary();
    await nodes.promote();
    await front.stderr.line(/^THE ENGINE HAS LOST CONFIRMED WORK: front \d+ is at turn \d+, not/);
    assertEquals(await front.exitCode(), 1);
  },
  { count: 2, fsync: true },
);

testWithNodes(
  "A front that has made a turn since it was seen is not given up",
  async ({ nodes, database }) => {
    const { primary } = nodes;
    const ask = async (sql: string) => await primary.query(sql, database);
    await ask("SELECT queue.open_front(), queue.open_front(), queue.open_front()");
    await ask("UPDATE queue.front SET turn = 5 WHERE front IN (1, 2)");
    // It has seen all of them at turn 4; and the third one, which is at 0, at 0.
    await ask("SELECT queue.sweep(ARRAY[1, 2, 3], ARRAY[4, 4, 0])");
    const left = await ask("SELECT front FROM queue.front WHERE front > 0 ORDER BY front");
    assertEquals(left, [{ front: 1 }, { front: 2 }]);
  },
);
