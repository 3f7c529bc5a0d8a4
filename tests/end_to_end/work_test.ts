/**
 * What real work needs of a server, as a process: failure, delay, payload, waiting.
 *
 * @module
 */

import { assert, assertEquals, assertLess } from "@std/assert";
import type { RawPeer } from "../lab/peers.ts";
import {
  denoRun,
  ScratchFolder,
  startConsumer,
  startServer,
  startStoreServer,
} from "../lab/processes.ts";

Deno.test("a consumer that waits gets the task at once, the longest waiting first", async () => {
  await using server = await startServer(denoRun);
  await using producer = await server.producer();
  await using first = await server.consumer();
  await using second = await server.consumer();
  await first.send("RESERVE 60\nSYNC\n");
  // Nothing tells that a wait has begun: but who asks later on its own connection has been heard.
  assertEquals(await second.ask("TOUCH x"), 'ERROR this consumer does not hold task "x"');
  await second.send("RESERVE 60\n");
  assertEquals(await second.ask("TOUCH x"), 'ERROR this consumer does not hold task "x"');
  const startMs = performance.now();
  await producer.send('CREATE 3 a 1 {"n": 1}\nCREATE 1 b 2\n');
  const answers = [await first.received.next(), await second.received.next()];
  assertEquals(answers, ['ASSIGN a 1 {"n": 1}', "ASSIGN b 2"]);
  assertLess(performance.now() - startMs, 1000);
  assertEquals(await first.received.next(), "OK 0");
});

Deno.test("a wait ends with NOTASK after its time, and at the server's shutdown before DONE", async () => {
  await using server = await startServer(denoRun);
  await using consumer = await server.consumer();
  const startMs = performance.now();
  assertEquals(await consumer.ask("RESERVE 1"), "NOTASK");
  assert(performance.now() - startMs >= 999);
  await consumer.send("RESERVE 60\nRESERVE 60\n");
  assertEquals(await consumer.ask("TOUCH x"), 'ERROR this consumer does not hold task "x"');
  server.kill("SIGINT");
  for (const answer of ["NOTASK", "NOTASK", "DONE"]) {
    assertEquals(await consumer.received.next(), answer);
  }
});

Deno.test("a consumer that half-closes while it waits is answered, and its connection closed", async () => {
  await using server = await startServer(denoRun);
  await using consumer = await server.consumer();
  await consumer.send("RESERVE 60\n");
  await consumer.closeWrite();
  assert((await consumer.toEnd()).endsWith("NOTASK\n"));
  assertEquals(await server.drain(), []);
});

Deno.test("a poison task delays no good one, and is buried at its fifth failure", async () => {
  await using server = await startServer(denoRun);
  await using producer = await server.producer();
  const good = Array.from({ length: 1000 }, (_, i) => `good${i}`);
  await producer.send(`CREATE 1 poison 0\n${good.map((name) => `CREATE 2 ${name} 0\n`).join("")}`);
  assertEquals(await producer.ask("SYNC"), "OK 1001");
  await using consumer = await server.consumer();
  const done: string[] = [];
  for (let failures = 0; failures < 5 || done.length < good.length;) {
    const [, name = ""] = (await consumer.ask("RESERVE 5")).split(" ");
    if (name === "poison") failures++;
    else done.push(name);
    await consumer.send(name === "poison" ? "FAIL poison 0.05\n" : `COMPLETE ${name}\n`);
  }
  assertEquals(done, good);
  assertEquals(await consumer.ask("SYNC"), "OK 1000");
  assertEquals(await consumer.ask("RESERVE"), "NOTASK");
  await server.stdout.line(/^\[BURY\] poison - consumer1$/);
  assertEquals(server.stdout.count(/^\[FAIL\] poison - consumer1$/), 5);
  assertEquals(server.stdout.count(/^\[READY\] poison$/), 4);
  assertEquals(server.stdout.count(/^\[BURY\] poison - consumer1$/), 1);
});

Deno.test("server --store keeps payloads, delays and failures over kill -9", async () => {
  await using folder = new ScratchFolder();
  const path = `${folder.path}/tasks.db`;
  {
    await using server = await startStoreServer(path);
    await using producer = await server.producer();
    await producer.send('CREATE 1 a 1 {"path": "작업 b"}\nSCHEDULE 5 3 later 1 []\n');
    await producer.send("CREATE 2 failed 1\nSCHEDULE 3600 1 far 1\nSCHEDULE 0 2 overdue 1\n");
    assertEquals(await producer.ask("SYNC"), "OK 5");
    await using consumer = await server.consumer();
    assertEquals(await consumer.ask("RESERVE"), 'ASSIGN a 1 {"path": "작업 b"}');
    assertEquals(await consumer.ask("RESERVE"), "ASSIGN failed 1");
    await consumer.send("FAIL failed 3600\n");
    assertEquals(await consumer.ask("SYNC"), "OK 0");
    await server.crash();
  }
  await using server = await startStoreServer(path);
  await using consumer = await server.consumer();
  assertEquals(await consumer.ask("RESERVE"), 'ASSIGN a 1 {"path": "작업 b"}');
  // What became due while no server ran is there for the first who asks.
  assertEquals(await consumer.ask("RESERVE"), "ASSIGN overdue 1");
  assertEquals(await consumer.ask("RESERVE 9"), "ASSIGN later 1 []");
  assertEquals(await consumer.ask("RESERVE"), "NOTASK");
  assertEquals(await server.stop("SIGINT"), 0);
  assertEquals(server.stderr.texts[1], "store: 5 tasks: 2 ready, 3 delayed");
});

Deno.test("server --max-line takes longer payloads, and no other server does", async () => {
  const line = `CREATE 1 a 1 ["${"x".repeat(2000)}"]`;
  for (const options of [[], ["--max-line", "4096"]]) {
    await using server = await startServer(denoRun, { args: options });
    await using producer = await server.producer();
    await producer.send(`${line}\n`);
    const answer = await producer.ask("SYNC");
    if (options.length === 0) {
      assertEquals(answer, "ERROR line must have at most 1024 bytes with its LF");
      continue;
    }
    assertEquals(answer, "OK 1");
    await using consumer: RawPeer = await server.consumer();
    assertEquals(await consumer.ask("RESERVE"), line.replace("CREATE 1", "ASSIGN"));
  }
});

Deno.test("consumer --reserve takes a task whose payload is long", async () => {
  await using server = await startServer(denoRun, { args: ["--max-line", "65536"] });
  await using producer = await server.producer();
  await producer.send(`CREATE 1 long 0 ["${"x".repeat(60_000)}"]\n`);
  assertEquals(await producer.ask("SYNC"), "OK 1");
  await using consumer = startConsumer(denoRun, server.consumerPort, { args: ["--reserve"] });
  await consumer.stdout.line(/^\[COMPLETE\] long$/);
  await server.stdout.line(/^\[COMPLETE\] long - consumer1$/);
});
