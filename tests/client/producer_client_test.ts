import { assert, assertEquals, assertRejects } from "@std/assert";
import { connectProducer, DisconnectedError, QueueError, RefusedError } from "../../mod.ts";
import { patienceMs, within } from "../lab/deadline.ts";
import { RawServer } from "../lab/peers.ts";
import { denoRun, startServer } from "../lab/processes.ts";

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

Deno.test("With `retry: false` a connection that cannot be made rejects at once", async () => {
  const port = await freePort();
  const error = await failureOf(connectProducer({ port, retry: false }));
  assert(error instanceof DisconnectedError);
  assertEquals(error.taskIds, []);
});

Deno.test("The client's signal ends connecting, with its reason", async () => {
  const port = await freePort();
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

/** A port where nobody listens. */
async function freePort(): Promise<number> {
  await using server = new RawServer();
  return server.port;
}
