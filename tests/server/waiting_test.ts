/** Consumers that wait and say much behind that: their end is noticed, and they cost little. */

import { assertEquals, assertLess, assertMatch } from "@std/assert";
import { openFiles, peakRss, until } from "../lab/load/scenarios.ts";
import { ResettingPeer } from "../lab/load/resets.ts";
import { RawPeer } from "../lab/peers.ts";
import { denoRun, type ServerProgram, startServer } from "../lab/processes.ts";

/** More than may be said behind a wait, in several reads of the server. */
const manyWaits = 1200;
const waiting = "RESERVE 60\n".repeat(manyWaits);

/** A consumer that comes now gets the next task: nobody else waits for one. */
async function checkServes(server: ServerProgram): Promise<void> {
  await using consumer = await server.consumer();
  await using producer = await server.producer();
  await producer.send("CREATE 1 task 1\n");
  assertEquals(await consumer.ask("RESERVE 5"), "ASSIGN task 1");
}

Deno.test("A consumer that closes is noticed, however much it has said behind a wait", async () => {
  await using server = await startServer(denoRun);
  const files = openFiles(server.pid);
  const consumer = await server.consumer();
  await consumer.send("RESERVE 60\nTOUCH x\n" + waiting);
  // All that is answered is read, or the close would be a reset.
  assertMatch(await consumer.received.next(), /^(ERROR|NOTASK)/);
  consumer.close();
  const startMs = performance.now();
  await until(() => openFiles(server.pid) <= files, "the server to close");
  // Long before the wait would have ended by itself.
  assertLess(performance.now() - startMs, 30_000);
  await checkServes(server);
});

Deno.test("A consumer that half-closes gets each answer, however much it has said behind a wait", async () => {
  await using server = await startServer(denoRun);
  await using consumer = await RawPeer.connect(server.consumerPort);
  await consumer.send(waiting + "SYNC\n");
  await consumer.closeWrite();
  const [greeting, ...answers] = (await consumer.toEnd()).trimEnd().split("\n");
  assertMatch(greeting as string, /^Consumer\d+$/);
  assertEquals(answers, [...Array(manyWaits).fill("NOTASK"), "OK 0"]);
});

Deno.test("Many waiting consumers that say much and are reset cost little, and take no task", async () => {
  await using server = await startServer(denoRun);
  const files = openFiles(server.pid);
  const peakBytes = await peakRss(server.pid, async () => {
    const peers = await Promise.all(
      Array.from({ length: 300 }, () => ResettingPeer.connect(server.consumerPort)),
    );
    for (const peer of peers) await peer.send(waiting);
    for (const peer of peers) await peer.reset();
  });
  await until(() => openFiles(server.pid) <= files, "the server to close what was reset");
  await checkServes(server);
  assertLess(peakBytes / 2 ** 20, 250);
});

Deno.test("A consumer may have 64 commands behind a wait; one more ends the wait", async () => {
  await using server = await startServer(denoRun);
  await using consumer = await server.consumer();
  await consumer.send("RESERVE 60\n" + "RESERVE 60\n".repeat(64) + "TOUCH x\n");
  const notHeld = 'ERROR this consumer does not hold task "x"';
  assertEquals(await consumer.received.next(), notHeld);
  await consumer.send("RESERVE 60\nTOUCH x\n");
  assertEquals([await consumer.received.next(), await consumer.received.next()], [
    "NOTASK",
    notHeld,
  ]);
  await using producer = await server.producer();
  await producer.send("CREATE 1 task 1\n");
  assertEquals(await consumer.received.next(), "ASSIGN task 1");
});

Deno.test("A consumer that says too much behind its wait loses its place to those who wait", async () => {
  await using server = await startServer(denoRun);
  await using flooding = await server.consumer();
  await using patient = await server.consumer();
  const notHeld = 'ERROR this consumer does not hold task "x"';
  await flooding.send("RESERVE 60\n" + "RESERVE 60\n".repeat(64) + "TOUCH x\n");
  assertEquals(await flooding.received.next(), notHeld);
  await patient.send("RESERVE 60\nTOUCH x\n");
  assertEquals(await patient.received.next(), notHeld);
  await flooding.send("RESERVE 60\n");
  assertEquals(await flooding.received.next(), "NOTASK");
  await using producer = await server.producer();
  await producer.send("CREATE 1 first 1\nCREATE 1 second 1\n");
  assertEquals(await patient.received.next(), "ASSIGN first 1");
  assertEquals(await flooding.received.next(), "ASSIGN second 1");
});
