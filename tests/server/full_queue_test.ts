/** A full queue: producers wait for room, however they end meanwhile, and consumers always get in. */

import { assertEquals, assertMatch } from "@std/assert";
import { MemoryTasks } from "../../lib/core/memory_tasks.ts";
import { TaskQueue } from "../../lib/core/task_queue.ts";
import { serve } from "../../lib/server/serve.ts";
import { connectMany, limited, openFiles, until } from "../lab/load/scenarios.ts";
import { denoRun, type Launcher, type ServerProgram, startServer } from "../lab/processes.ts";
import { RawPeer } from "../lab/peers.ts";
import { ResettingPeer } from "../lab/load/resets.ts";

/** More than the server reads of a producer that waits, so that its end is behind unread lines. */
const manyTasks = "CREATE 1 later 1\n".repeat(5000);

/** Starts a server whose queue is full: it holds the task `first`. */
async function startFull(
  options: { launcher?: Launcher; args?: readonly string[] } = {},
): Promise<ServerProgram> {
  const server = await startServer(options.launcher ?? denoRun, {
    args: ["--max-tasks", "1", ...options.args ?? []],
  });
  await using producer = await RawPeer.connect(server.producerPort);
  assertEquals(await producer.ask("CREATE 1 first 1\nSYNC"), "OK 1");
  return server;
}

async function connectConsumer(server: ServerProgram): Promise<RawPeer> {
  const peer = await RawPeer.connect(server.consumerPort);
  assertMatch(await peer.received.next(), /^Consumer\d+$/);
  return peer;
}

/** Takes tasks until it has got so many. */
async function take(consumer: RawPeer, count: number): Promise<string[]> {
  const tasks: string[] = [];
  while (tasks.length < count) {
    const [verb, task] = (await consumer.ask("REQUEST")).split(" ");
    if (verb === "ASSIGN") tasks.push(task as string);
  }
  return tasks;
}

Deno.test("A producer that is reset while it waits for room goes, though its lines are unread", async () => {
  await using server = await startFull();
  const files = openFiles(server.pid);
  const producers = await Promise.all(
    Array.from({ length: 20 }, () => ResettingPeer.connect(server.producerPort)),
  );
  for (const producer of producers) await producer.send(manyTasks);
  await server.stderr.line(/^the queue is full/);
  for (const producer of producers) await producer.reset();
  await until(() => openFiles(server.pid) <= files, "the server to close what was reset");
});

Deno.test("A producer that half-closes while it waits for room still delivers, and is closed", async () => {
  await using server = await startFull();
  await using producer = await RawPeer.connect(server.producerPort);
  await producer.send("CREATE 1 a 1\nCREATE 1 b 1\nCREATE 1 c 1\n");
  await producer.closeWrite();
  await server.stderr.line(/^the queue is full/);
  await using consumer = await connectConsumer(server);
  assertEquals(await take(consumer, 4), ["first", "a", "b", "c"]);
  assertEquals(await producer.toEnd(), "");
});

Deno.test("A tenth of the connections is kept for consumers, whatever producers take", async () => {
  await using server = await startFull({ args: ["--max-connections", "20"] });
  const producers: RawPeer[] = [];
  for (let i = 0; i < 20; i++) producers.push(await RawPeer.connect(server.producerPort));
  for (const refused of producers.slice(18)) {
    assertEquals(await refused.toEnd(), "ERROR too many connections\n");
  }
  for (const [i, waiting] of producers.slice(0, 18).entries()) {
    await waiting.send(`CREATE 1 later${i} 1\n`);
  }
  await using consumer = await connectConsumer(server);
  assertEquals((await take(consumer, 19)).length, 19);
  await using second = await connectConsumer(server);
  assertEquals(await second.ask("REQUEST"), "NOTASK");
  for (const producer of producers) await producer[Symbol.asyncDispose]();
});

for (const [how, line] of [["that wait for room", "CREATE 1 later 1\n"], ["that are idle", ""]]) {
  Deno.test(`Out of descriptors, producers ${how} make way for a consumer`, async () => {
    await using server = await startFull({ launcher: limited(denoRun, 100) });
    const producers = await connectMany(server.producerPort, 120);
    try {
      for (const producer of producers) await producer.write(new TextEncoder().encode(line));
      await server.stderr.line(/^out of file descriptors/);
      await using consumer = await connectConsumer(server);
      assertEquals(await take(consumer, 1), ["first"]);
    } finally {
      for (const producer of producers) producer.close();
    }
  });
}

Deno.test("Room that is made in the turn in which a producer begins to wait wakes it", async () => {
  await using server = await startFull();
  await using producer = await RawPeer.connect(server.producerPort);
  await using consumer = await connectConsumer(server);
  for (let i = 1; i <= 20; i++) {
    // Both lines come while the server stands still, so it reads them in one turn.
    server.kill("SIGSTOP");
    await producer.send(`CREATE 1 task${i} 1\nSYNC\n`);
    await consumer.send("REQUEST\n");
    server.kill("SIGCONT");
    assertEquals(await producer.received.next(), `OK ${i}`);
    assertMatch(await consumer.received.next(), /^ASSIGN/);
  }
});

Deno.test("Room that a consumer makes in its last batch wakes a producer", async () => {
  await using server = await startFull();
  await using producer = await RawPeer.connect(server.producerPort);
  await producer.send("CREATE 1 second 1\nSYNC\n");
  await server.stderr.line(/^the queue is full/);
  await using consumer = await connectConsumer(server);
  await consumer.send("x\n".repeat(99) + "REQUEST\nx\n");
  assertEquals(await producer.received.next(), "OK 1");
  assertMatch(await consumer.toEnd(), /\nASSIGN first 1\n.*\nERROR too many errors\n$/);
});

Deno.test("At the limit of payloads producers wait as at a full queue, and nothing is lost", async () => {
  const stop = new AbortController();
  const producers = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const consumers = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const errors: string[] = [];
  const full = Promise.withResolvers<void>();
  const tasks = new MemoryTasks(new TaskQueue({ maxPayloadChars: 1000 }));
  const serving = serve({ producers, consumers }, tasks, {
    signal: stop.signal,
    errors: {
      write(line) {
        errors.push(line);
        full.resolve();
      },
    },
  });
  const payload = `["${"x".repeat(496)}"]`;
  const names = Array.from({ length: 9 }, (_, i) => `task${i}`);
  {
    await using first = await RawPeer.connect(producers.addr.port);
    await using second = await RawPeer.connect(producers.addr.port);
    await first.send(names.slice(0, 4).map((name) => `CREATE 2 ${name} 1 ${payload}\n`).join(""));
    await full.promise;
    assertEquals(tasks.size, 2);
    // What has no payload waits, too, and what is scheduled.
    await second.send(
      `SYNC\nCREATE 3 ${names[4]} 1\nSCHEDULE 0 3 ${names[5]} 1 ${payload}\nSYNC\n`,
    );
    assertEquals(await second.received.next(), "OK 0");
    await using consumer = await RawPeer.connect(consumers.addr.port);
    await consumer.received.next();
    const taken: string[] = [];
    while (taken.length < 6) {
      const [verb, name] = (await consumer.ask("RESERVE 1")).split(" ");
      if (verb !== "ASSIGN") continue;
      taken.push(name as string);
      await consumer.send(`COMPLETE ${name}\n`);
    }
    assertEquals(taken.sort(), names.slice(0, 6));
    assertEquals(await second.received.next(), "OK 2");
    assertEquals(await first.ask("SYNC"), "OK 4");
    assertEquals(tasks.size, 0);
  }
  assertEquals(errors, ["the queue is full of payloads at 2 tasks: producers wait"]);
  stop.abort();
  await serving;
});
