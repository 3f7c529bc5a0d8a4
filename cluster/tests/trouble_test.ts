/**
 * What operators, other machines and peers do to an engine and its fronts; fast ones of them.
 *
 * @module
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { denoScript, listeningPorts, ServerProgram } from "../../tests/lab/processes.ts";
import { RawPeer } from "../../tests/lab/peers.ts";
import { Engine } from "../engine.ts";
import { parseEngineAddress } from "../engine_address.ts";
import { frontAt, frontFlags } from "../lab/start_front.ts";
import { Turn } from "../turn.ts";
import { frontOf, type Place, testWithNodes, until } from "./nodes.ts";

/** Runs SQL in the queue's database. */
async function sql({ nodes, database }: Place, text: string): Promise<Record<string, unknown>[]> {
  return await nodes.primary.query(text, database);
}

/** The sessions of fronts, of those that match a condition. */
const sessions = (condition = "true") =>
  `FROM pg_stat_activity WHERE application_name = 'queue front' AND ${condition}`;

/** Ends the sessions of all fronts, which connect anew. */
const endSessions = `SELECT pg_terminate_backend(pid) ${sessions()}`;

/** Has a front of its own hold so many tasks; returns how long the receipt was, in characters. */
async function lengthOfTakes({ nodes, database }: Place, count: number): Promise<number> {
  const address = parseEngineAddress(`postgres://front@${nodes.hosts}/${database}`);
  const { signal } = new AbortController();
  const engine = await Engine.open({ address, say: () => {}, signal });
  const turn = new Turn();
  for (let i = 0; i < count; i++) turn.take(1);
  const { length } = await engine.turn(turn.encode());
  await engine.close();
  return length;
}

testWithNodes(
  "Payloads that have no room in one receipt are handed out in several",
  async (place) => {
    const bytes = (length: number) => crypto.getRandomValues(new Uint8Array(length)).toBase64();
    await using front = await frontOf(place, "--max-line", "65536", "--quiet");
    await using producer = await front.producer();
    const payloads = Array.from({ length: 150 }, () => `{"x":"${bytes(48_000)}"}`);
    // With tasks that have none, so that such long ones are not expected.
    await producer.send([
      ...Array.from({ length: 1000 }, (_, i) => `CREATE 3 small${i} 0\n`),
      ...payloads.map((payload, i) => `CREATE 1 long${i} 0 ${payload}\n`),
      "SYNC\n",
    ].join(""));
    assertEquals(await producer.received.next(), "OK 1150");
    assert(await lengthOfTakes(place, 1150) < 5 * 1024 * 1024);
    const consumers = await Promise.all(Array.from({ length: 5 }, () => front.consumer()));
    try {
      await Promise.all(consumers.map((consumer) => consumer.send("RESERVE\n".repeat(30))));
      const got: string[] = [];
      for (const consumer of consumers) {
        for (let i = 0; i < 30; i++) got.push(await consumer.received.next());
      }
      assertEquals(got.sort(), payloads.map((payload, i) => `ASSIGN long${i} 0 ${payload}`).sort());
    } finally {
      for (const consumer of consumers) consumer.close();
    }
  },
);

testWithNodes("Each of many kicks of one name finds a task of its own", async (place) => {
  await using front = await frontOf(place, "--quiet");
  await using producer = await front.producer();
  await using consumer = await front.consumer();
  await producer.send("CREATE 1 a 0\n".repeat(30) + "CREATE 1 b 0\nSYNC\n");
  assertEquals(await producer.received.next(), "OK 31");
  await consumer.send("RESERVE\n".repeat(31) + "BURY a\n".repeat(30) + "BURY b\nSYNC\n");
  for (let i = 0; i < 31; i++) assertMatch(await consumer.received.next(), /^ASSIGN/);
  assertEquals(await consumer.received.next(), "OK 0");
  await producer.send("KICK a\n".repeat(20) + "KICK b\nKICK c\nKICK b\n" + "KICK a\n".repeat(12));
  const answers: string[] = [];
  for (let i = 0; i < 35; i++) answers.push((await producer.received.next()).split(" ")[0] ?? "");
  const wanted = [...Array(21).fill("OK"), "ERROR", "ERROR", ...Array(10).fill("OK")];
  assertEquals(answers, [...wanted, "ERROR", "ERROR"]);
});

testWithNodes(
  "A front that is refused while it serves says what to do, and ends",
  async (place) => {
    await using front = await frontOf(place);
    await using producer = await front.producer();
    await sql(place, "REVOKE queue_front FROM front");
    await producer.send("CREATE 1 a 0\nSYNC\n");
    await front.stderr.line(
      /^The engine refuses: .*: permission denied for .*: GRANT queue_front to this user$/,
    );
    assertEquals(await front.exitCode(), 1);
  },
);

testWithNodes(
  "A node that refuses a front, or answers nothing, does not keep it from the primary",
  async (place) => {
    const { nodes, database } = place;
    const [primary, other] = [nodes.primary, nodes.standbys[0]];
    assert(other !== undefined);
    // As a node that is being made anew: it has another user only.
    await nodes.primary.query("CREATE ROLE once LOGIN IN ROLE queue_front");
    await other.askPasswordOf("once");
    const hosts = `127.0.0.1:${other.port},127.0.0.1:${primary.port}`;
    await using front = frontAt(`postgres://once@${hosts}/${database}`);
    await front.stderr.line(/^listening: /);
    await sql(place, endSessions);
    await primary.askPasswordOf("once");
    // It has clients, and somebody may be changing the password just now.
    await front.stderr.line(/^engine: .*SASL.*: clients wait$/);
  },
  { count: 2 },
);

testWithNodes(
  "A commit that is cancelled while it waits for a standby is not confirmed",
  async (place) => {
    const { nodes } = place;
    await using front = await frontOf(place);
    await using producer = await front.producer();
    const [standby] = nodes.standbys;
    await standby?.kill();
    await producer.send("CREATE 1 a 0\nSYNC\n");
    const cancel = async () => {
      await sql(place, `SELECT pg_cancel_backend(pid) ${sessions("wait_event = 'SyncRep'")}`);
      return front.stderr.count(/^engine: .*canceling wait for synchronous replication/) > 0;
    };
    await until(cancel, "what the front says of it");
    assertEquals(producer.received.lines.length, 0);
    await standby?.start();
    assertEquals(await producer.received.next(), "OK 1");
  },
  { count: 2 },
);

testWithNodes(
  "A primary that no standby follows any more is left for the one that was promoted",
  async (place) => {
    const { nodes } = place;
    await using front = await frontOf(place);
    await using producer = await front.producer();
    await producer.send("CREATE 1 a 0\nSYNC\n");
    assertEquals(await producer.received.next(), "OK 1");
    const old = nodes.primary;
    await nodes.promote();
    assert(old.isRunning);
    await producer.send("CREATE 1 b 0\nSYNC\n");
    assertEquals(await producer.received.next(), "OK 2");
    await using consumer = await front.consumer();
    assertEquals(await consumer.ask("REQUEST"), "ASSIGN a 0");
    assertEquals(await consumer.ask("REQUEST"), "ASSIGN b 0");
  },
  { count: 3 },
);

testWithNodes("While a table is locked, a call that nobody waits for ends", async (place) => {
  await using front = await frontOf(place);
  await using producer = await front.producer();
  const lock = await place.nodes.primary.lockTable("queue.ready", place.database);
  await producer.send("CREATE 1 a 0\nSYNC\n");
  const isWaiting = "wait_event_type = 'Lock'";
  await until(async () => (await sql(place, `SELECT ${sessions(isWaiting)}`)).length === 1, "it");
  const [{ pid } = {}] = await sql(place, `SELECT pid ${sessions(isWaiting)}`);
  await front.stderr.line(/^engine: .*: no answer: clients wait$/);
  const isLeft = async () => (await sql(place, `SELECT ${sessions(`pid = ${pid}`)}`)).length > 0;
  await until(async () => !await isLeft(), "its end");
  await lock[Symbol.asyncDispose]();
  assertEquals(await producer.received.next(), "OK 1");
});

testWithNodes(
  "Peers that have taken all descriptors do not keep a front from its engine",
  async (place) => {
    const { nodes, database } = place;
    const { file, args } = denoScript("cluster/server.ts", frontFlags, [
      ...["127.0.0.1", "0", "0", "--engine", `postgres://front@${nodes.hosts}/${database}`],
    ]);
    const limited = ["-c", 'ulimit -n 64; exec "$@"', "sh", file, ...args];
    await using front = new ServerProgram({ file: "/bin/sh", args: limited }, {});
    const { text } = await front.stderr.line(/^listening: /);
    [front.producerPort, front.consumerPort] = listeningPorts(text);
    await using producer = await front.producer();
    const others: RawPeer[] = [];
    try {
      for (let i = 0; i < 100; i++) others.push(await RawPeer.connect(front.producerPort));
      await front.stderr.line(/^out of file descriptors/);
      // While it is away, peers that have waited to be accepted take its descriptor.
      await nodes.killPrimary();
      await producer.send("CREATE 1 a 0\nSYNC\n");
      await front.stderr.line(/^engine: .*: clients wait$/);
      const open = () => [...Deno.readDirSync(`/proc/${front.pid}/fd`)].length;
      await until(() => Promise.resolve(open() >= 64), "its last descriptor");
      await nodes.primary.start();
      assertEquals(await producer.received.next(), "OK 1");
    } finally {
      for (const other of others) other.close();
    }
  },
);
