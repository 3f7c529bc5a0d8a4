/**
 * The table of failures in docs/cluster.md, row by row, for real.
 *
 * @module
 */

import { assert, assertEquals, assertNotMatch } from "@std/assert";
import { pause, within } from "../../../tests/lab/deadline.ts";
import type { RawPeer } from "../../../tests/lab/peers.ts";
import { denoScript, listeningPorts, ServerProgram } from "../../../tests/lab/processes.ts";
import { noDisk, SmallDisk } from "../../../tests/lab/small_disk.ts";
import { NetworkNamespace, noNamespace } from "../../lab/network_namespace.ts";
import { findPostgres, installHint, PostgresNodes } from "../../lab/postgres.ts";
import { Relay } from "../../lab/relay.ts";
import { frontFlags, startFront } from "../../lab/start_front.ts";
import { connected, frontOf, testWithNodes } from "../nodes.ts";

/** How long a front is away: longer than others wait for it, in milliseconds. */
const awayMs = 20_000;

/** Has a consumer hold a task that was created at another front. */
async function hold(front: ServerProgram, other: ServerProgram): Promise<RawPeer> {
  await using producer = await other.producer();
  await producer.send("CREATE 1 a 100\nSYNC\n");
  assertEquals(await producer.received.next(), "OK 1");
  const consumer = await front.consumer();
  await consumer.send("RESERVE\n");
  assertEquals(await consumer.received.next(), "ASSIGN a 100");
  return consumer;
}

/** Checks what comes of a task whose holder's front was away, and that this front serves again. */
async function checkReturn(
  { front, other, holder }: {
    readonly front: ServerProgram;
    readonly other: ServerProgram;
    readonly holder: RawPeer;
  },
): Promise<void> {
  await front.stderr.line(/^engine: front \d+ was given up: all connections are closed$/);
  assertEquals(await within(holder.receive(), "the end of the connection"), undefined);
  holder.close();
  assertNotMatch(front.stdout.text, /\[COMPLETE\]/);
  await using next = await other.consumer();
  await next.send("RESERVE\nCOMPLETE a\nSYNC\n");
  assertEquals(await next.received.next(), "ASSIGN a 100");
  assertEquals(await next.received.next(), "OK 1");
  await using again = await connected(front);
  assertEquals(await again.ask("REQUEST"), "NOTASK");
}

testWithNodes(
  "A front that was stopped for 20 s closes its connections, and serves anew",
  async (place) => {
    await using front = await frontOf(place);
    await using other = await frontOf(place);
    const holder = await hold(front, other);
    front.kill("SIGSTOP");
    await holder.send("COMPLETE a\n");
    const [back] = await Promise.all([
      other.stdout.line(/^\[REQUEUE\] a - consumer\d+$/),
      pause(awayMs),
    ]);
    assert(back !== undefined);
    front.kill("SIGCONT");
    await checkReturn({ front, other, holder });
  },
);

testWithNodes(
  "A front that was cut off for 20 s closes its connections, and serves anew",
  async (place) => {
    const { nodes, database } = place;
    using namespace = new NetworkNamespace();
    await using relay = new Relay(nodes.primary.port, namespace.here);
    const [file = "", ...prefix] = namespace.prefix;
    const flags = frontFlags.map((flag) => flag.replace(/^--allow-net=.*/, "--allow-net"));
    const address = `postgres://front@${namespace.here}:${relay.port}/${database}`;
    const server = denoScript("cluster/server.ts", flags, [
      ...[namespace.there, "0", "0", "--engine", address],
    ]);
    const command = { file, args: [...prefix, server.file, ...server.args] };
    await using front = new ServerProgram(command, {});
    [front.producerPort, front.consumerPort] = listeningPorts(
      (await front.stderr.line(/^listening: /)).text,
    );
    front.peers = { hostname: namespace.there };
    await using other = await frontOf(place);
    const holder = await hold(front, other);
    namespace.pull();
    await Promise.all([
      other.stdout.line(/^\[REQUEUE\] a - consumer\d+$/),
      front.stderr.line(/^engine: .*: clients wait$/),
      pause(awayMs),
    ]);
    namespace.plug();
    await checkReturn({ front, other, holder });
  },
  { ignored: findPostgres() === undefined ? installHint : noNamespace() },
);

/** Creates at one front and works at another until it is told to stop. */
async function work(
  { producerAt, consumerAt, goesOn }: {
    readonly producerAt: ServerProgram;
    readonly consumerAt: ServerProgram;
    readonly goesOn: () => boolean;
  },
): Promise<{ created: number; done: string[] }> {
  await using producer = await producerAt.producer();
  await using consumer = await consumerAt.consumer();
  const done: string[] = [];
  let created = 0;
  while (goesOn()) {
    await producer.send(`CREATE 1 task${created++} 0\nSYNC\n`);
    assertEquals(await producer.received.next(), `OK ${created}`);
    await consumer.send("RESERVE\n");
    const [verb, name = ""] = (await consumer.received.next()).split(" ");
    assertEquals(verb, "ASSIGN");
    await consumer.send(`COMPLETE ${name}\nSYNC\n`);
    assertEquals(await consumer.received.next(), `OK ${created}`);
    done.push(name);
  }
  return { created, done };
}

testWithNodes("Sessions that end 60 times in 10 s cost no task and no answer", async (place) => {
  await using one = await frontOf(place, "--quiet");
  await using other = await frontOf(place, "--quiet");
  let isOver = false;
  const working = work({ producerAt: one, consumerAt: other, goesOn: () => !isOver });
  let ended = 0;
  for (let i = 0; i < 60; i++) {
    const rows = await place.nodes.primary.query(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'queue front'",
    );
    ended += rows.length;
    await pause(10_000 / 60);
  }
  isOver = true;
  const { created, done } = await working;
  assert(created > 5 && ended > 60, `${created} tasks, ${ended} sessions ended`);
  assertEquals(done, Array.from({ length: created }, (_, i) => `task${i}`));
  assertEquals(await one.drain(), []);
});

testWithNodes(
  "While both standbys are gone for 3 s nothing is confirmed, and then all is",
  async (place) => {
    const { nodes } = place;
    await using one = await frontOf(place, "--quiet");
    await using other = await frontOf(place, "--quiet");
    await using producer = await one.producer();
    await using consumer = await other.consumer();
    await producer.send("CREATE 1 a 0\nSYNC\n");
    assertEquals(await producer.received.next(), "OK 1");
    const standbys = nodes.standbys;
    for (const node of standbys) await node.kill();
    await producer.send("CREATE 1 b 0\nSYNC\n");
    await consumer.send("REQUEST\n");
    const greeting = consumer.received.lines.length;
    await pause(3000);
    assertEquals([producer.received.lines.length, consumer.received.lines.length - greeting], [
      1,
      0,
    ]);
    for (const node of standbys) await node.start();
    assertEquals(await producer.received.next(), "OK 2");
    assertEquals(await consumer.received.next(), "ASSIGN a 0");
    assertEquals(await consumer.ask("REQUEST"), "ASSIGN b 0");
  },
  { count: 3 },
);

Deno.test({
  name: "While the engine's disk is full clients wait, and then nothing is lost" +
    (noDisk === undefined ? "" : ` (${noDisk})`),
  ignore: noDisk !== undefined || findPostgres() === undefined,
  async fn() {
    await using disk = new SmallDisk(160);
    await using nodes = await PostgresNodes.start({ count: 1, fsync: false, dir: disk.path });
    await nodes.primary.createQueue("queue");
    await using front = await startFront(nodes.hosts, "queue", ["--max-line", "65536", "--quiet"]);
    await using producer = await front.producer();
    // Such that it cannot be compressed.
    const bytes = crypto.getRandomValues(new Uint8Array(40_000));
    const payload = `{"x":"${bytes.toBase64()}"}`;
    let [sent, isWaiting] = [0, false];
    const waiting = front.stderr.line(/^engine: .*: clients wait$/).finally(() => isWaiting = true);
    while (!isWaiting) {
      await producer.send(`CREATE 1 task${sent++} 0 ${payload}\nSYNC\n`);
      const answer = producer.received.next();
      answer.catch(() => {});
      await Promise.race([answer, waiting]);
      // Some tasks find room, and the next ones do not.
      if (sent === 5) disk.fill();
    }
    assert(sent > 5);
    disk.free();
    await front.stderr.line(/^engine is back after [\d.]+ s$/);
    await using consumer = await front.consumer();
    const names = await front.drain();
    assertEquals(names, Array.from({ length: sent }, (_, i) => `task${i}`));
    assertEquals(await consumer.ask("REQUEST"), "NOTASK");
  },
});

/** What keeps an engine from answering for a while, by what is said of it. */
const absences: Readonly<Record<string, (nodes: PostgresNodes) => Promise<void>>> = {
  "after an outage of the engine for 20 s": async (nodes) => {
    await nodes.killPrimary();
    await pause(awayMs);
    await nodes.primary.start();
  },
  "by an engine that was frozen for 20 s": async (nodes) => {
    using _frozen = await nodes.primary.freeze();
    await pause(awayMs);
  },
};

for (const [when, goAway] of Object.entries(absences)) {
  testWithNodes(`No front that lives is given up, nor ${when}`, async (place) => {
    const { nodes } = place;
    await using front = await frontOf(place);
    await using other = await frontOf(place);
    await using holder = await hold(front, other);
    // So long that both have looked four times.
    await pause(22_000);
    for (const one of [front, other]) assertNotMatch(one.stderr.text, /given up/);
    await goAway(nodes);
    for (const one of [front, other]) await one.stderr.line(/^engine is back after [\d.]+ s$/);
    // Another look for dead fronts.
    await pause(6000);
    await holder.send("COMPLETE a\nSYNC\n");
    assertEquals(await holder.received.next(), "OK 1");
    for (const one of [front, other]) assertNotMatch(one.stderr.text, /given up/);
  });
}
