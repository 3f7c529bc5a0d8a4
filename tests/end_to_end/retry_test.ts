/**
 * `--retry`, with the programs as processes: what a server that comes late, goes, and comes back
 * does to them.
 *
 * @module
 */

import { assert, assertEquals, assertGreaterOrEqual, assertLess } from "@std/assert";
import { freePort } from "../lab/free_port.ts";
import {
  denoRun,
  denoRunWithFiles,
  ScratchFolder,
  startConsumer,
  startProducer,
  startServer,
  startStoreServer,
} from "../lab/processes.ts";
import { RawPeer, RawServer } from "../lab/peers.ts";

const patient = { args: ["--retry"] };
const patientAndSynced = { args: ["--sync", "--retry"] };

function awaiting(port: number): string {
  return `Cannot connect to 127.0.0.1:${port}: nothing listens there ` +
    "(start the server first, check address and port); trying again until Ctrl+C";
}

function ended(port: number): string {
  return `the connection to 127.0.0.1:${port} has ended; trying again until Ctrl+C`;
}

function connected(port: number): string {
  return `connected to 127.0.0.1:${port}`;
}

Deno.test("consumer --retry waits for a server, and comes back after its crash and its end", async () => {
  const ports = [freePort(), freePort()] as const;
  await using consumer = startConsumer(denoRun, ports[1], patient);
  await consumer.stderr.line(/^Cannot connect/);
  for (const end of ["SIGKILL", "SIGINT"] as const) {
    await using server = await startServer(denoRun, { ports });
    const nth = end === "SIGKILL" ? 1 : 2;
    await consumer.stdout.line(/^NOTASK$/, { nth: consumer.stdout.count(/^NOTASK$/) + 1 });
    await consumer.stdout.line(/^Consumer1 connected$/, { nth });
    await server.stop(end);
  }
  await using again = await startServer(denoRun, { ports });
  await consumer.stdout.line(/^Consumer1 connected$/, { nth: 3 });
  await again.crash();
  assertEquals(await consumer.stop(), 0);
  assertEquals(consumer.stdout.texts.at(-1), "exit");
  assertEquals(consumer.stdout.texts[0], "Consumer1 connected");
  // One line for each thing that lasts, none for each attempt.
  const said = consumer.stderr.texts;
  assertEquals(said.slice(0, 2), [awaiting(ports[1]), connected(ports[1])]);
  assertLess(said.length, 9);
});

Deno.test("consumer --retry finishes a requested task first, and drops a reserved one", async () => {
  const finish = async (args: readonly string[], stdout: readonly string[], stderr: string[]) => {
    await using server = new RawServer();
    await using consumer = startConsumer(denoRun, server.port, { args: ["--retry", ...args] });
    const first = await server.accept();
    await first.send("Consumer1\n");
    await first.received.next();
    await first.send("ASSIGN work 1.5\n");
    first.close();
    const second = await server.accept();
    await second.send("Consumer2\n");
    await second.received.next();
    await second.send("DONE\n");
    second.close();
    const third = await server.accept();
    await third.send("Consumer3\n");
    await third.received.next();
    assertEquals(await consumer.stop(), 0);
    assertEquals(consumer.stdout.texts, [
      ...["Consumer1 connected", "[REQUEST]", ...stdout, "Consumer2 connected", "[REQUEST]"],
      ...["Consumer3 connected", "[REQUEST]", "exit"],
    ]);
    assertEquals(consumer.stderr.texts, [...stderr, ended(server.port), connected(server.port)]);
  };
  await finish([], ["[COMPLETE] work"], [
    "the connection has ended: finishing work first",
  ]);
  await finish(["--reserve"], [], []);
});

Deno.test("consumer --retry ends at an ERROR in place of the greeting", async () => {
  await using server = new RawServer();
  await using consumer = startConsumer(denoRun, server.port, patient);
  const peer = await server.accept();
  await peer.send("ERROR this port does not speak HTTP\n");
  peer.close();
  assertEquals(await consumer.exitCode(), 1);
  assertEquals(consumer.stderr.text, "the server says: ERROR this port does not speak HTTP\n");
});

Deno.test("consumer and producer --retry try again at a server with too many connections", async () => {
  await using folder = new ScratchFolder();
  const file = await folder.write("tasks.txt", "0 1 a 1\n");
  for (const synced of [[], ["--sync"]]) {
    await using server = await startServer(denoRun, { args: ["--max-connections", "2"] });
    const guests = await Promise.all([1, 2].map(() => RawPeer.connect(server.consumerPort)));
    for (const guest of guests) assertEquals((await guest.received.next()).slice(0, 8), "Consumer");
    await using consumer = startConsumer(denoRun, server.consumerPort, patient);
    const args = ["--retry", ...synced];
    await using producer = startProducer(denoRun, server.producerPort, file, { args });
    const full = (port: number) =>
      `the server at 127.0.0.1:${port} says: ERROR too many connections; trying again until Ctrl+C`;
    for (const program of [consumer, producer]) await program.stderr.line(/too many connections/);
    for (const guest of guests) guest.close();
    assertEquals(await producer.exitCode(), 0);
    await consumer.stdout.line(/^\[COMPLETE\] a$/);
    assertEquals(await consumer.stop(), 0);
    assertEquals(server.stdout.count(/^\[CREATE\]/), 1);
    assertEquals(producer.stderr.texts, [full(server.producerPort)]);
    assertEquals(consumer.stderr.texts, [full(server.consumerPort)]);
  }
});

Deno.test("producer --retry that is turned away until Ctrl+C says that nothing was sent", async () => {
  await using folder = new ScratchFolder();
  const file = await folder.write("tasks.txt", "0 1 a 1\n");
  await using server = await startServer(denoRun, { args: ["--max-connections", "1"] });
  await using guest = await RawPeer.connect(server.consumerPort);
  await guest.received.next();
  await using producer = startProducer(denoRun, server.producerPort, file, patient);
  await producer.stderr.line(/too many connections/);
  assertEquals(await producer.stop(), 130);
  const last = "interrupted: 0 tasks were sent, the first left out is a";
  assertEquals(producer.stderr.texts.at(-1), last);
});

Deno.test("consumer and producer --retry end in order at Ctrl+C while nothing listens", async () => {
  await using folder = new ScratchFolder();
  const file = await folder.write("tasks.txt", "0 1 a 1\n");
  const port = freePort();
  await using consumer = startConsumer(denoRun, port, patient);
  await using producer = startProducer(denoRun, port, file, patient);
  for (const program of [consumer, producer]) await program.stderr.line(/^Cannot connect/);
  assertEquals(await consumer.stop(), 0);
  assertEquals([consumer.stdout.text, consumer.stderr.text], ["exit\n", awaiting(port) + "\n"]);
  assertEquals(await producer.stop(), 130);
  assertEquals(producer.stdout.text, "exit\n");
  assertEquals(producer.stderr.texts, [
    awaiting(port),
    "interrupted: 0 tasks were sent, the first left out is a",
  ]);
});

Deno.test("producer --retry waits for a server, and its time 0 is when the connection stands", async () => {
  await using folder = new ScratchFolder();
  const file = await folder.write("tasks.txt", "0 1 a 1\n1 1 b 1\n");
  const ports = [freePort(), freePort()] as const;
  await using producer = startProducer(denoRun, ports[0], file, patient);
  await producer.stderr.line(/^Cannot connect/);
  await using server = await startServer(denoRun, { ports });
  const first = await server.stdout.line(/^\[CREATE\] 1 a 1$/);
  const second = await server.stdout.line(/^\[CREATE\] 1 b 1$/);
  assertGreaterOrEqual(second.atMs - first.atMs, 900);
  assertEquals(await producer.exitCode(), 0);
  assertEquals(producer.stdout.text, "[CREATE] 1 a 1\n[CREATE] 1 b 1\nexit\n");
  assertEquals(producer.stderr.texts, [awaiting(ports[0]), connected(ports[0])]);
});

Deno.test("producer --retry without --sync ends if the server goes: it knows of no task whether it was taken", async () => {
  await using folder = new ScratchFolder();
  const file = await folder.write("tasks.txt", "0 1 a 1\n1000 1 b 1\n");
  await using server = new RawServer();
  await using producer = startProducer(denoRun, server.port, file, patient);
  const peer = await server.accept();
  await producer.stdout.line(/^\[CREATE\] 1 a 1$/);
  peer.close();
  assertEquals(await producer.exitCode(), 1);
  assertEquals(
    producer.stderr.text,
    `the server at 127.0.0.1:${server.port} closed the connection: 1 task was sent, ` +
      "none is confirmed, the first not sent is b\n",
  );
});

for (const last of ["", "DONE\n"]) {
  const what = last === "" ? "breaks off" : "ends by DONE";
  Deno.test(`producer --sync --retry goes on with the first task not confirmed if its connection ${what}`, async () => {
    await using folder = new ScratchFolder();
    const file = await folder.write("tasks.txt", "0 1 x 1\n0 1 a 1\n0 1 b 1\n0 1 c 1\n2 1 d 1\n");
    await using server = new RawServer();
    await using producer = startProducer(denoRun, server.port, file, {
      args: ["--sync", "--retry", "--from", "2"],
    });
    const first = await server.accept();
    await first.received.line(/^SYNC$/);
    assertEquals(first.received.text, "CREATE 1 a 1\nCREATE 1 b 1\nCREATE 1 c 1\nSYNC\n");
    await first.send("OK 3\n");
    await first.received.line(/^SYNC$/, { nth: 2 });
    await first.send(last);
    first.close();
    const closedMs = performance.now();
    const second = await server.accept();
    const { atMs } = await second.received.line(/^SYNC$/);
    // Its time is over: time 0 is still that of the first connection.
    assertLess(atMs - closedMs, 1900);
    assertEquals(second.received.text, "CREATE 1 d 1\nSYNC\n");
    second.close();
    const third = await server.accept();
    await third.received.line(/^SYNC$/);
    assertEquals(third.received.text, "CREATE 1 d 1\nSYNC\n");
    await third.send("OK 1\n");
    assertEquals(await third.toEnd(), "CREATE 1 d 1\nSYNC\n");
    third.close();
    assertEquals(await producer.exitCode(), 0);
    const names = producer.stdout.texts.map((line) => line.split(" ")[2]);
    assertEquals(names, ["a", "b", "c", "d", "d", "d", undefined]);
    assertEquals(producer.stderr.texts, [ended(server.port), connected(server.port)]);
  });
}

Deno.test("producer --sync --retry does not try again after a refusal, and says where to go on", async () => {
  await using folder = new ScratchFolder();
  const file = await folder.write("tasks.txt", "0 1 a 1\n0.5 1 b 1\n");
  await using server = new RawServer();
  await using producer = startProducer(denoRun, server.port, file, patientAndSynced);
  const peer = await server.accept();
  await peer.received.line(/^SYNC$/);
  await peer.send("OK 1\n");
  await peer.received.line(/^SYNC$/, { nth: 2 });
  await peer.send("ERROR store full\nOK 1\n");
  peer.close();
  assertEquals(await producer.exitCode(), 1);
  assertEquals(producer.stderr.texts, [
    "the server says: ERROR store full",
    "the first task is confirmed: send the rest with --from 2",
  ]);
});

Deno.test("producer --sync --retry says at Ctrl+C while the server is gone where to go on", async () => {
  await using folder = new ScratchFolder();
  const file = await folder.write("tasks.txt", "0 1 a 1\n0.5 1 b 1\n1000 1 c 1\n");
  let port: number;
  let said: Promise<string[]>;
  {
    await using server = new RawServer();
    port = server.port;
    const producer = startProducer(denoRun, port, file, patientAndSynced);
    said = (async () => {
      await using running = producer;
      await running.stderr.line(/^the connection to/);
      assertEquals(await running.stop(), 130);
      assertEquals(running.stdout.texts.at(-1), "exit");
      return running.stderr.texts;
    })();
    const peer = await server.accept();
    await peer.received.line(/^SYNC$/);
    await peer.send("OK 1\n");
    await peer.received.line(/^SYNC$/, { nth: 2 });
  }
  assertEquals(await said, [
    ended(port),
    "the first task is confirmed: send the rest with --from 2",
    "interrupted: 2 tasks were sent, the first left out is c",
  ]);
});

Deno.test("producer --sync --retry loses no task to kill -9 of the server, and doubles no confirmed one", async () => {
  await using folder = new ScratchFolder();
  const count = 30_000;
  const tasks = Array.from({ length: count }, (_, i) => `${i < 2000 ? 0 : 1} 2 task${i + 1} 0.5\n`);
  const file = await folder.write("tasks.txt", tasks.join(""));
  const store = `${folder.path}/tasks.db`;
  const first = await startStoreServer(store);
  await using _first = first;
  const ports = [first.producerPort, first.consumerPort] as const;
  await using producer = startProducer(denoRun, ports[0], file, patientAndSynced);
  await first.stdout.line(/^\[CREATE\]/, { nth: 3000 });
  await first.crash();
  await producer.stderr.line(/^the connection to/);
  await using second = await startServer(denoRunWithFiles, {
    ports,
    args: ["--store", store, "--quiet"],
  });
  assertEquals(await producer.exitCode(), 0, producer.stderr.text);
  assertEquals(producer.stderr.texts, [ended(ports[0]), connected(ports[0])]);
  const times = new Map<string, number>();
  for (const name of await second.drain()) times.set(name, (times.get(name) ?? 0) + 1);
  const expected = Array.from({ length: count }, (_, i) => `task${i + 1}`);
  assertEquals(new Set(times.keys()), new Set(expected));
  // The early ones were confirmed a second before; what was under way at the crash may be there twice.
  assertEquals(expected.slice(0, 2000).filter((name) => times.get(name) !== 1), []);
  assert([...times.values()].every((count) => count <= 2));
});
