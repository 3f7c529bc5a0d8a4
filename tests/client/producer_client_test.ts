import { assert, assertEquals, assertRejects } from "@std/assert";
import { connectProducer, DisconnectedError, QueueError, RefusedError } from "../../mod.ts";
import { freePort } from "../lab/free_port.ts";
import { patienceMs, pause, within } from "../lab/deadline.ts";
import { RawServer } from "../lab/peers.ts";
import { denoRun, startServer } from "../lab/processes.ts";

/** No client waits between two attempts for as long as a test takes. */
const retry = { firstMs: 60_000, mostMs: 60_000 };

/** What a promise rejects with. */
async function failureOf(promise: Promise<unknown>): Promise<unknown> {
  return await within(promise.then(() => "no error", (error) => error), "a rejection");
}

Deno.test("create() resolves when the task is in the queue", async () => {
  await using server = await startServer(denoRun);
  await using producer = await connectProducer({ port: server.producerPort });
  await producer.create({ id: "first", duration: 3 });
  assertEquals(await server.drain(), ["first"]);
});

Deno.test("Of many pipelined tasks exactly the refused one rejects, with the server's reason", async () => {
  await using server = await startServer(denoRun);
  await using producer = await connectProducer({ port: server.producerPort });
  const tasks = ["a", "b", "c"].map((id) => ({
    id,
    payload: { x: id === "b" ? "x".repeat(2000) : "" },
  }));
  const results = await Promise.allSettled(tasks.map((task) => producer.create(task)));
  assertEquals(results.map(({ status }) => status), ["fulfilled", "rejected", "fulfilled"]);
  const { reason } = results[1] as PromiseRejectedResult;
  assert(reason instanceof RefusedError);
  assertEquals(reason.taskId, "b");
  assertEquals(reason.reason, "line must have at most 1024 bytes with its LF");
  assertEquals(await server.drain(), ["a", "c"]);
});

Deno.test("However many tasks are too long for the server, those between them are created in order", async () => {
  await using server = await startServer(denoRun);
  const losses: Error[] = [];
  await using producer = await connectProducer({
    port: server.producerPort,
    onDisconnect: (cause) => losses.push(cause),
  });
  const isLong = (i: number) => i % 3 !== 0;
  const results = await Promise.allSettled(
    Array.from(
      { length: 2000 },
      (_, i) => producer.create({ id: `t${i}`, payload: { x: isLong(i) ? "x".repeat(2000) : "" } }),
    ),
  );
  for (const [i, result] of results.entries()) {
    const error = result.status === "rejected" ? result.reason : undefined;
    if (!isLong(i)) assertEquals(error, undefined);
    else assertEquals(error?.reason, "line must have at most 1024 bytes with its LF");
  }
  const valid = results.flatMap((_, i) => isLong(i) ? [] : [`t${i}`]);
  assertEquals(await server.drain(), valid);
  assertEquals(losses, []);
});

Deno.test("A task that is too long for every server is a RangeError, and nothing is sent", async () => {
  await using server = await startServer(denoRun, { args: ["--max-line", "65536"] });
  await using producer = await connectProducer({ port: server.producerPort });
  const payloadOf = (lineBytes: number) => ({
    x: "x".repeat(lineBytes - 'CREATE 2 a 60 {"x":""}\n'.length),
  });
  await producer.create({ id: "a", payload: payloadOf(65_536) });
  await assertRejects(
    () => producer.create({ id: "a", payload: payloadOf(65_537) }),
    RangeError,
    "payload must leave the task's line at most 65536 bytes long",
  );
  assertEquals(producer.unconfirmed, 0);
});

Deno.test("Once the server has said how long a line may be, a longer one is refused without it", async () => {
  await using server = new RawServer();
  const connecting = connectProducer({ port: server.port, retry });
  const peer = await server.accept();
  await peer.send("OK 0\n");
  const producer = await connecting;
  const create = (id: string, bytes: number) =>
    failureOf(producer.create({ id, payload: { x: "x".repeat(bytes) } }));
  const first = create("first", 3000);
  // Not sent before it is known what the server says to the first.
  const second = create("second", 3000);
  await peer.received.line(/^SYNC$/, { nth: 2 });
  await peer.send("ERROR line must have at most 2048 bytes with its LF\nOK 0\n");
  for (const error of [await first, await second]) {
    assert(error instanceof RefusedError);
    assertEquals(error.reason, "line must have at most 2048 bytes with its LF");
  }
  const shorter = create("shorter", 1900);
  await peer.received.line(/^CREATE 2 shorter/);
  await peer.send("OK 1\n");
  assertEquals(await shorter, "no error");
  assertEquals(peer.received.count(/second/), 0);
  peer.close();
  await producer.close();
});

/** Plays a server that refuses payloads, and closes at the 100th malformed line, as of 1.0. */
async function refusePayloads(server: RawServer): Promise<string[]> {
  const created: string[] = [];
  for (;;) {
    const peer = await server.accept();
    let accepted = 0;
    for (let malformed = 0; malformed < 100;) {
      const line = await peer.received.nextOrEnd();
      if (line === undefined) {
        peer.close();
        return created;
      }
      if (line === "SYNC") await peer.offer(`OK ${accepted}\n`);
      else if (line.includes("{")) {
        malformed++;
        await peer.offer("ERROR there is a field too many\n");
      } else {
        accepted++;
        created.push(line.split(" ")[2] as string);
      }
    }
    await peer.offer("ERROR too many errors\n");
    await peer.closeWrite();
    await peer.received.ended;
    peer.close();
  }
}

Deno.test("Lines that a server refuses, at whatever number, cost no other task its confirmation", async () => {
  await using server = new RawServer();
  const playing = refusePayloads(server);
  const producer = await connectProducer({ port: server.port, retry });
  const ids = Array.from({ length: 1500 }, (_, i) => `${i % 2 === 0 ? "good" : "bad"}${i}`);
  const creations = ids.map((id) =>
    producer.create(id.startsWith("good") ? { id } : { id, payload: {} })
  );
  // What is sent again while it closes is confirmed, too.
  const closing = producer.close();
  const results = await within(Promise.allSettled(creations), "all answers");
  for (const [i, result] of results.entries()) {
    const error = result.status === "rejected" ? result.reason : undefined;
    if (i % 2 === 0) assertEquals(error, undefined);
    else assert(error instanceof RefusedError, `${i}: ${error}`);
  }
  await within(closing, "the end");
  assertEquals(await playing, ids.filter((id) => id.startsWith("good")));
});

Deno.test("What a signal has given up is not sent again when the connection is renewed", async () => {
  await using server = new RawServer();
  const connecting = connectProducer({ port: server.port, retry });
  const first = await server.accept();
  await first.send("OK 0\n");
  const producer = await connecting;
  const giveUp = new AbortController();
  const refused = failureOf(producer.create({ id: "refused" }));
  const unwanted = failureOf(producer.create({ id: "unwanted" }, { signal: giveUp.signal }));
  const wanted = producer.create({ id: "wanted" });
  await first.received.line(/wanted/, { nth: 2 });
  giveUp.abort("enough");
  assertEquals(await unwanted, "enough");
  await first.send("ERROR no\nERROR too many errors\n");
  first.close();
  const second = await server.accept();
  await second.send("OK 0\n");
  await second.received.line(/wanted/);
  await second.send("OK 1\n");
  await within(wanted, "the confirmation");
  assert(await refused instanceof RefusedError);
  assertEquals(second.received.texts.slice(0, 2), ["SYNC", "CREATE 2 wanted 60"]);
  second.close();
  await producer.close();
});

Deno.test("Tasks reach the queue in the order of the calls", async () => {
  await using server = await startServer(denoRun);
  await using producer = await connectProducer({ port: server.producerPort });
  const ids = Array.from({ length: 3000 }, (_, i) => `t${i}`);
  await Promise.all(ids.map((id) => producer.create({ id })));
  assertEquals(await server.drain(), ids);
});

Deno.test("createAll() pulls as the server confirms: at most 1,000 tasks ahead of it", async () => {
  await using server = await startServer(denoRun, { args: ["--max-tasks", "500"] });
  await using producer = await connectProducer({ port: server.producerPort });
  let pulled = 0;
  function* tasks() {
    for (; pulled < 5000; pulled++) yield { id: `t${pulled}` };
  }
  const all = producer.createAll(tasks());
  const drained: string[] = [];
  await server.stderr.line(/^the queue is full/);
  while (drained.length < 5000) {
    assert(pulled <= drained.length + 500 + 1000 + 1, `pulled ${pulled} of ${drained.length}`);
    drained.push(...await server.drain());
  }
  assertEquals(await all, 5000);
  assertEquals(drained, Array.from({ length: 5000 }, (_, i) => `t${i}`));
});

Deno.test("createAll() stops pulling at the first error, and rejects with it", async () => {
  await using server = await startServer(denoRun);
  await using producer = await connectProducer({ port: server.producerPort });
  let pulled = 0;
  async function* tasks() {
    for (; pulled < 10_000; pulled++) {
      yield { id: `t${pulled}`, payload: { x: pulled === 10 ? "x".repeat(2000) : "" } };
      await Promise.resolve();
    }
  }
  const error = await failureOf(producer.createAll(tasks()));
  assert(error instanceof RefusedError);
  assertEquals(error.taskId, "t10");
  assert(pulled < 3000, `${pulled} tasks were pulled`);
  assertEquals(producer.unconfirmed, 0);
});

Deno.test("At a full queue create() waits, and its signal gives up waiting", async () => {
  await using server = await startServer(denoRun, { args: ["--max-tasks", "1"] });
  await using producer = await connectProducer({ port: server.producerPort });
  await producer.create({ id: "fills" });
  const patient = producer.create({ id: "patient" });
  const giveUp = new AbortController();
  const impatient = failureOf(producer.create({ id: "impatient" }, { signal: giveUp.signal }));
  await server.stderr.line(/^the queue is full/);
  assertEquals(producer.unconfirmed, 2);
  giveUp.abort("enough");
  assertEquals(await impatient, "enough");
  const drained = await server.drain();
  await within(patient, "the confirmation");
  drained.push(...await server.drain());
  // The impatient one was sent before it was given up: it may have been created, or not.
  assertEquals(drained.slice(0, 2), ["fills", "patient"]);
});

Deno.test("close() confirms what is under way; create() after it rejects", async () => {
  await using server = await startServer(denoRun);
  const producer = await connectProducer({ port: server.producerPort });
  const creations = Array.from({ length: 2500 }, (_, i) => producer.create({ id: `t${i}` }));
  await producer.close();
  await Promise.all(creations);
  await assertRejects(() => producer.create({ id: "late" }), QueueError, "closed");
  await producer.close();
  assertEquals((await server.drain()).length, 2500);
});

Deno.test("A killed server: what was not confirmed rejects, and the next create() connects again", async () => {
  let ports: readonly [number, number];
  const losses: number[] = [];
  const onDisconnect = (_: Error, attempt: number, waitMs: number) => losses.push(attempt, waitMs);
  {
    await using server = await startServer(denoRun, { args: ["--max-tasks", "1"] });
    ports = [server.producerPort, server.consumerPort];
    const retry = { firstMs: 20, mostMs: 50 };
    await using producer = await connectProducer({ port: ports[0], retry, onDisconnect });
    await producer.create({ id: "fills" });
    const stuck = ["a", "b"].map((id) => failureOf(producer.create({ id })));
    await server.stderr.line(/^the queue is full/);
    await server.crash();
    for (const [i, id] of ["a", "b"].entries()) {
      const error = await stuck[i];
      assert(error instanceof DisconnectedError);
      assertEquals(error.taskIds, [id]);
      assert(error.cause instanceof Error);
    }
    // Waits while there is no server.
    const next = producer.create({ id: "next" });
    await using again = await startServer(denoRun, { ports });
    await within(next, "the confirmation", patienceMs);
    assertEquals(await again.drain(), ["next"]);
  }
  assert(losses.length >= 2);
  assertEquals(losses[0], 1);
  assert((losses[1] as number) >= 10 && (losses[1] as number) <= 20);
});

Deno.test("close() does not wait for a server that is gone", async () => {
  await using server = await startServer(denoRun, { args: ["--max-tasks", "1"] });
  const producer = await connectProducer({ port: server.producerPort });
  await producer.create({ id: "fills" });
  const stuck = failureOf(producer.create({ id: "a" }));
  await server.stderr.line(/^the queue is full/);
  await server.crash();
  await stuck;
  const waiting = failureOf(producer.create({ id: "b" }));
  await within(producer.close(), "the end");
  assert(await waiting instanceof DisconnectedError);
});

Deno.test("close() gives up a server that does not answer after waitMs", async () => {
  await using server = new RawServer();
  const connecting = connectProducer({ port: server.port, retry });
  const peer = await server.accept();
  await peer.send("OK 0\n");
  const producer = await connecting;
  const creations = ["a", "b"].map((id) => failureOf(producer.create({ id })));
  await peer.received.line(/^CREATE 2 b/);
  await peer.send("OK 1\n");
  assertEquals(await creations[0], "no error");
  await within(producer.close({ waitMs: 200 }), "the end");
  const error = await creations[1];
  assert(error instanceof DisconnectedError);
  assertEquals(error.taskIds, ["b"]);
  assertEquals(error.message, "disconnected: no answer for 200 ms while closing");
  await assertRejects(() => producer.create({ id: "late" }), QueueError, "closed");
  peer.close();
});

Deno.test("close() waits for a server that answers from time to time, however long that takes", async () => {
  await using server = new RawServer();
  const connecting = connectProducer({ port: server.port, retry });
  const peer = await server.accept();
  await peer.send("OK 0\n");
  const producer = await connecting;
  const creations = ["a", "b", "c"].map((id) => producer.create({ id }));
  await peer.received.line(/^CREATE 2 c/);
  const startMs = performance.now();
  const closing = producer.close({ waitMs: 1500 });
  for (const count of [1, 2, 3]) {
    await pause(700);
    await peer.send(`OK ${count}\n`);
  }
  await Promise.all(creations);
  assert(performance.now() - startMs > 1500);
  peer.close();
  await closing;
});

Deno.test("OK of a number that cannot be is the server's mistake, and no refusal", async () => {
  await using server = new RawServer();
  const connecting = connectProducer({ port: server.port, retry });
  const peer = await server.accept();
  await peer.send("OK 0\n");
  const producer = await connecting;
  const created = failureOf(producer.create({ id: "a" }));
  await peer.received.line(/^CREATE/);
  await peer.send("OK 2\n");
  const error = await created;
  assert(error instanceof DisconnectedError && !(error instanceof RefusedError));
  assertEquals(error.taskIds, ["a"]);
  assert(error.cause instanceof QueueError);
  assertEquals(error.cause.message, `127.0.0.1:${server.port} has answered OK 2 to task 1`);
  peer.close();
  await producer.close();
});

Deno.test("What onDisconnect throws rejects what waits for the connection, once", async () => {
  const { promise: thrown, resolve } = Promise.withResolvers<void>();
  await using server = new RawServer();
  const connecting = connectProducer({
    port: server.port,
    retry: { firstMs: 1, mostMs: 1 },
    onDisconnect: () => {
      resolve();
      throw new Error("broken");
    },
  });
  const first = await server.accept();
  await first.send("OK 0\n");
  const producer = await connecting;
  first.close();
  await within(thrown, "onDisconnect");
  await assertRejects(() => producer.create({ id: "a" }), Error, "broken");
  const created = producer.create({ id: "b" });
  const second = await server.accept();
  await second.send("OK 0\n");
  await second.received.line(/^CREATE 2 b/);
  await second.send("OK 1\n");
  await within(created, "the confirmation");
  second.close();
  await producer.close();
});

Deno.test("With `retry: false` a connection that cannot be made rejects at once", async () => {
  const port = freePort();
  const error = await failureOf(connectProducer({ port, retry: false }));
  assert(error instanceof DisconnectedError);
  assertEquals(error.taskIds, []);
});

Deno.test("The client's signal ends connecting, with its reason", async () => {
  const port = freePort();
  const attempts = Promise.withResolvers<void>();
  const stop = new AbortController();
  const onDisconnect = (_: Error, attempt: number) => {
    if (attempt === 2) attempts.resolve();
  };
  const retry = { firstMs: 1, mostMs: 60_000 };
  const connecting = failureOf(
    connectProducer({ port, retry, onDisconnect, signal: stop.signal }),
  );
  await within(attempts.promise, "the second attempt");
  stop.abort("enough");
  assertEquals(await connecting, "enough");
});

Deno.test("The client's signal ends what waits, and create() after it rejects with its reason", async () => {
  await using server = await startServer(denoRun, { args: ["--max-tasks", "1"] });
  const stop = new AbortController();
  const producer = await connectProducer({ port: server.producerPort, signal: stop.signal });
  await producer.create({ id: "fills" });
  const stuck = failureOf(producer.create({ id: "a" }));
  stop.abort("enough");
  assertEquals(await stuck, "enough");
  assertEquals(await failureOf(producer.create({ id: "b" })), "enough");
  await producer.close();
});

Deno.test("The consumers' port is told from the producers'", async () => {
  await using server = await startServer(denoRun);
  await assertRejects(
    () => connectProducer({ port: server.consumerPort }),
    QueueError,
    "is not the producer port, but the other one",
  );
});

Deno.test("Too many connections is a reason to try again, not to fail", async () => {
  await using server = await startServer(denoRun, { args: ["--max-connections", "1"] });
  const first = await connectProducer({ port: server.producerPort });
  const told = Promise.withResolvers<Error>();
  const retry = { firstMs: 10, mostMs: 10 };
  const connecting = connectProducer({
    port: server.producerPort,
    retry,
    onDisconnect: (cause) => told.resolve(cause),
  });
  assert((await within(told.promise, "the refusal")).message.includes("too many connections"));
  await first.close();
  await (await within(connecting, "the connection")).close();
});

Deno.test("DONE ends a producer's connection in order: what the server still confirms counts", async () => {
  await using server = new RawServer();
  const connecting = connectProducer({ port: server.port });
  const peer = await server.accept();
  assertEquals(await peer.received.next(), "SYNC");
  await peer.send("OK 0\n");
  const producer = await connecting;
  const [kept, lost] = [
    producer.create({ id: "kept" }),
    failureOf(producer.create({ id: "lost" })),
  ];
  await peer.received.atLeast(5);
  await peer.send("DONE\nOK 1\n");
  await kept;
  peer.close();
  const error = await lost;
  assert(error instanceof DisconnectedError);
  assertEquals(error.taskIds, ["lost"]);
  await producer.close();
});
