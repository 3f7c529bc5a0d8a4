import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  connectConsumer,
  connectProducer,
  type Consumer,
  DisconnectedError,
  LostTaskError,
  type NewTask,
  QueueError,
  RefusedError,
  type Task,
} from "../../mod.ts";
import { QueueConsumer } from "../../lib/client/consumer_client.ts";
import { pause, within } from "../lab/deadline.ts";
import { RawServer } from "../lab/peers.ts";
import { denoRun, type ServerProgram, startServer } from "../lab/processes.ts";

/** A server with tasks, and a consumer of it. */
async function open(...tasks: NewTask[]): Promise<{ server: ServerProgram; consumer: Consumer }> {
  const server = await startServer(denoRun);
  await create(server, ...tasks);
  return { server, consumer: await connectConsumer({ port: server.consumerPort }) };
}

async function create(server: ServerProgram, ...tasks: NewTask[]): Promise<void> {
  await using producer = await connectProducer({ port: server.producerPort });
  await producer.createAll(tasks);
}

/** The next task, which must come. */
async function take(consumer: Consumer): Promise<Task> {
  const task = await within(consumer.next(), "a task");
  assert(task !== undefined);
  return task;
}

async function failureOf(promise: Promise<unknown>): Promise<unknown> {
  return await within(promise.then(() => "no error", (error) => error), "a rejection");
}

/** Plays a server up to the first RESERVE of a consumer. */
async function playServer(
  server: RawServer,
): Promise<{ consumer: Consumer; next: Promise<Task | undefined>; peer: RawPeer }> {
  const connecting = connectConsumer({
    port: server.port,
    retry: { firstMs: 60_000, mostMs: 60_000 },
  });
  const peer = await server.accept();
  await peer.send("Consumer7\nOK 0\n");
  const consumer = await connecting;
  const next = consumer.next();
  assertEquals(await peer.received.next(), "SYNC");
  assertEquals(await peer.received.next(), "RESERVE 60");
  return { consumer, next, peer };
}

type RawPeer = Awaited<ReturnType<RawServer["accept"]>>;

Deno.test("A task comes with its name, duration and payload, the most urgent first", async () => {
  const { server, consumer } = await open(
    { id: "low", priority: 3, duration: 0.5 },
    { id: "high", priority: 1, duration: 3, payload: { path: "/in/ä", n: [1, 2.5] } },
  );
  await using _server = server;
  await using _consumer = consumer;
  const high = await take(consumer);
  assertEquals([high.id, high.duration], ["high", 3]);
  assertEquals(high.payload, { path: "/in/ä", n: [1, 2.5] });
  assertEquals(high.payloadText, '{"path":"/in/ä","n":[1,2.5]}');
  const low = await take(consumer);
  assertEquals([low.id, low.duration, low.payload], ["low", 0.5, undefined]);
});

Deno.test("complete() resolves when the server has confirmed it, and the task is gone", async () => {
  const { server, consumer } = await open({ id: "a" });
  await using _server = server;
  const task = await take(consumer);
  await task.complete();
  await server.stdout.line(/^\[COMPLETE\].*a/);
  await consumer.close();
  assertEquals(await server.drain(), []);
});

Deno.test("complete() is confirmed at once while the consumer waits for its next task", async () => {
  const { server, consumer } = await open({ id: "a" });
  await using _server = server;
  await using _consumer = consumer;
  const task = await take(consumer);
  const waiting = consumer.next();
  await server.stdout.line(/^\[2 consumers online\]$/);
  await within(task.complete(), "the confirmation", 5000);
  await consumer.close();
  assertEquals(await waiting, undefined);
});

Deno.test("next() waits for a task that is created later, and the server is not polled", async () => {
  await using server = new RawServer();
  const { consumer, next, peer } = await playServer(server);
  await peer.send("ASSIGN late 1\n");
  assertEquals((await next)?.id, "late");
  assertEquals(peer.received.texts, ["SYNC", "RESERVE 60"]);
  peer.close();
  await consumer.close();
});

Deno.test("next({ waitMs }) returns undefined when the time is over; with 0 it asks once", async () => {
  const { server, consumer } = await open();
  await using _server = server;
  await using _consumer = consumer;
  assertEquals(await consumer.next({ waitMs: 0 }), undefined);
  assertEquals(await consumer.next({ waitMs: 50 }), undefined);
  await create(server, { id: "a" });
  // The wait that was given up is taken over, and nothing is lost in it.
  const task = await consumer.next({ waitMs: 20_000 });
  assertEquals(task?.id, "a");
});

Deno.test("next({ waitMs }) has the server wait no longer than somebody waits here", async () => {
  await using server = new RawServer();
  const connecting = connectConsumer({ port: server.port });
  const peer = await server.accept();
  await peer.send("Consumer1\nOK 0\n");
  const consumer = await connecting;
  assertEquals(await consumer.next({ waitMs: 1 }), undefined);
  await peer.received.line(/^RESERVE 1$/);
  // Who comes meanwhile takes over what is left of the wait, and then waits on.
  const patient = consumer.next();
  await pause(600);
  await peer.send("NOTASK\n");
  await peer.received.line(/^RESERVE 60$/);
  await peer.send("ASSIGN a 1\n");
  assertEquals((await patient)?.id, "a");
  peer.close();
  await consumer.close();
});

Deno.test("look() tells an answer that there is no task from no answer, and from the close", async () => {
  await using server = new RawServer();
  const connecting = QueueConsumer.connect({
    port: server.port,
    retry: { firstMs: 1, mostMs: 1 },
  });
  const first = await server.accept();
  await first.send("Consumer1\nOK 0\n");
  const consumer = await connecting;
  const none = consumer.look();
  await first.received.line(/^RESERVE$/);
  await first.send("NOTASK\n");
  assertEquals(await none, "none");
  const lost = consumer.look();
  await first.received.line(/^RESERVE$/, { nth: 2 });
  first.close();
  assertEquals(await lost, "no answer");
  const mute = consumer.look();
  const second = await server.accept();
  await second.send("Consumer2\nOK 0\n");
  assertEquals(await within(mute, "the end of the wait", 20_000), "no answer");
  await second.send("NOTASK\n");
  const closed = consumer.look();
  consumer.stop();
  assertEquals(await closed, "closed");
  second.close();
  await consumer.close();
});

Deno.test("Calls that are given up while there is no server leave one connection, not many", async () => {
  await using server = new RawServer();
  const lost = Promise.withResolvers<void>();
  const connecting = QueueConsumer.connect({
    port: server.port,
    retry: { firstMs: 500, mostMs: 500 },
    onDisconnect: () => lost.resolve(),
  });
  const first = await server.accept();
  await first.send("Consumer1\nOK 0\n");
  const consumer = await connecting;
  first.close();
  await lost.promise;
  for (let i = 0; i < 5; i++) {
    const giveUp = new AbortController();
    const given = failureOf(consumer.look({ signal: giveUp.signal }));
    giveUp.abort("enough");
    assertEquals(await given, "enough");
  }
  const last = consumer.look();
  const second = await server.accept();
  await second.send("Consumer2\nOK 0\n");
  await second.received.line(/^RESERVE$/);
  await second.send("NOTASK\n");
  assertEquals(await last, "none");
  assertEquals(second.received.count(/^RESERVE/), 1);
  second.close();
  await consumer.close();
});

Deno.test("next() gives up by its signal, and the task that comes then is released", async () => {
  await using server = new RawServer();
  const connecting = connectConsumer({ port: server.port });
  const peer = await server.accept();
  await peer.send("Consumer1\nOK 0\n");
  const consumer = await connecting;
  const giveUp = new AbortController();
  const next = failureOf(consumer.next({ signal: giveUp.signal }));
  await peer.received.line(/^RESERVE 60$/);
  giveUp.abort("enough");
  assertEquals(await next, "enough");
  await peer.send("ASSIGN a 1\n");
  await peer.received.line(/^RELEASE a$/);
  await peer.send("OK 0\n");
  peer.close();
  await consumer.close();
});

Deno.test("fail({ delay }) has the task come again after that time", async () => {
  const { server, consumer } = await open({ id: "a" });
  await using _server = server;
  await using _consumer = consumer;
  const startMs = performance.now();
  await (await take(consumer)).fail({ delay: 0.5 });
  const again = await take(consumer);
  assertEquals(again.id, "a");
  assert(performance.now() - startMs >= 500);
});

Deno.test("A task that was failed five times is buried", async () => {
  const { server, consumer } = await open({ id: "a" });
  await using _server = server;
  await using _consumer = consumer;
  for (let i = 0; i < 5; i++) await (await take(consumer)).fail({ delay: 0 });
  assertEquals(await consumer.next({ waitMs: 0 }), undefined);
  await server.stdout.line(/^\[BURY\].*a/);
});

Deno.test("bury() has nobody attempt it again", async () => {
  const { server, consumer } = await open({ id: "a" });
  await using _server = server;
  await using _consumer = consumer;
  await (await take(consumer)).bury();
  assertEquals(await consumer.next({ waitMs: 0 }), undefined);
});

Deno.test("release() puts a task back into its old place, as often as one likes", async () => {
  const { server, consumer } = await open({ id: "a" }, { id: "b" });
  await using _server = server;
  await using _consumer = consumer;
  for (let i = 0; i < 10; i++) {
    const task = await take(consumer);
    assertEquals(task.id, "a");
    await task.release();
  }
  await (await take(consumer)).release({ delay: 30 });
  assertEquals((await take(consumer)).id, "b");
});

Deno.test("touch() has the lease start anew", async () => {
  const { server, consumer } = await open({ id: "a" });
  await using _server = server;
  await using _consumer = consumer;
  const task = await take(consumer);
  await task.touch();
  await task.complete();
});

Deno.test("Only one of complete, fail, bury and release can end a task", async () => {
  const { server, consumer } = await open({ id: "a" });
  await using _server = server;
  await using _consumer = consumer;
  const task = await take(consumer);
  const completed = task.complete();
  await assertRejects(() => task.fail(), QueueError, "was ended before");
  await assertRejects(() => task.touch(), QueueError, "was ended before");
  await completed;
});

Deno.test("A delay that cannot be written changes nothing: the task is still held", async () => {
  const { server, consumer } = await open({ id: "a" });
  await using _server = server;
  await using _consumer = consumer;
  const task = await take(consumer);
  await assertRejects(() => task.fail({ delay: -1 }), RangeError, "delay");
  await assertRejects(() => task.release({ delay: NaN }), RangeError, "delay");
  await task.complete();
});

Deno.test("A task that leaves its scope without a word has failed", async () => {
  const { server, consumer } = await open({ id: "a" });
  await using _server = server;
  await using _consumer = consumer;
  {
    await using _task = await take(consumer);
  }
  await server.stdout.line(/^\[FAIL\].*a/);
  await create(server, { id: "b" });
  {
    await using done = await take(consumer);
    await done.complete();
  }
  await server.stdout.line(/^\[COMPLETE\].*b/);
  assertEquals(server.stdout.count(/^\[FAIL\]/), 1);
});

Deno.test("Two held tasks of one name keep their payloads apart", async () => {
  const tasks = [1, 2].map((n) => ({ id: "same", payload: { n } }));
  const { server, consumer } = await open(...tasks);
  await using _server = server;
  await using _consumer = consumer;
  const [first, second] = [await take(consumer), await take(consumer)];
  await second.complete();
  await first.release();
  assertEquals((await take(consumer)).payload, { n: 1 });
});

Deno.test("for await yields tasks until the consumer is closed", async () => {
  await using server = new RawServer();
  const connecting = connectConsumer({ port: server.port });
  const peer = await server.accept();
  await peer.send("Consumer1\nOK 0\n");
  const consumer = await connecting;
  const ids: string[] = [];
  const looping = (async () => {
    for await (const task of consumer) {
      ids.push(task.id);
      await task.complete();
    }
  })();
  for (const [index, id] of ["a", "b"].entries()) {
    await peer.received.line(/^RESERVE 60$/, { nth: index + 1 });
    await peer.send(`ASSIGN ${id} 1\n`);
    await peer.received.line(new RegExp(`^COMPLETE ${id}$`));
    await peer.send(`OK ${index + 1}\n`);
  }
  // It waits for the third.
  await peer.received.line(/^RESERVE 60$/, { nth: 3 });
  const closing = consumer.close();
  await within(looping, "the end of the loop");
  assertEquals(ids, ["a", "b"]);
  peer.close();
  await closing;
});

Deno.test("close() gives back what is held, uncounted, and next() after it rejects", async () => {
  const { server, consumer } = await open({ id: "a" });
  await using _server = server;
  const task = await take(consumer);
  await consumer.close();
  assert(task.signal.aborted);
  await server.stdout.line(/^\[REQUEUE\].*a/);
  await assertRejects(() => consumer.next(), QueueError, "closed");
  assertEquals(await server.drain(), ["a"]);
});

Deno.test("The client's signal ends next() with its reason, and gives back what is held", async () => {
  const { server, consumer: unused } = await open({ id: "a" });
  await using _server = server;
  await unused.close();
  const stop = new AbortController();
  const consumer = await connectConsumer({ port: server.consumerPort, signal: stop.signal });
  await take(consumer);
  const waiting = failureOf(consumer.next());
  stop.abort("enough");
  assertEquals(await waiting, "enough");
  assertEquals(await failureOf(consumer.next()), "enough");
  await consumer.close();
  assertEquals(await server.drain(), ["a"]);
});

Deno.test("A signal that is aborted before the first connection rejects with its reason", async () => {
  await using server = new RawServer();
  const connecting = connectConsumer({ port: server.port, signal: AbortSignal.abort("enough") });
  assertEquals(await failureOf(connecting), "enough");
});

Deno.test("A killed server: the task's signal is aborted, and next() goes on with the next server", async () => {
  const { server, consumer } = await open({ id: "a" });
  await using _consumer = consumer;
  await using _server = server;
  const ports = [server.producerPort, server.consumerPort] as const;
  const task = await take(consumer);
  const waiting = consumer.next();
  await server.crash();
  await within(aborted(task.signal), "the signal");
  assert(await failureOf(task.complete()) instanceof LostTaskError);
  await using again = await startServer(denoRun, { ports });
  await create(again, { id: "b" });
  const next = await within(waiting, "a task");
  assertEquals(next?.id, "b");
  await next?.complete();
});

Deno.test("complete() rejects with a DisconnectedError if the connection is lost before its OK", async () => {
  await using server = new RawServer();
  const { consumer, next, peer } = await playServer(server);
  await peer.send("ASSIGN a 1\n");
  const task = await next as Task;
  const completed = failureOf(task.complete());
  await peer.received.line(/^COMPLETE a$/);
  peer.close();
  const error = await completed;
  assert(error instanceof DisconnectedError);
  assertEquals(error.taskIds, ["a"]);
  await consumer.close();
});

Deno.test("A task that the server says is not held is lost, and the consumer goes on", async () => {
  await using server = new RawServer();
  const { consumer, next, peer } = await playServer(server);
  await peer.send("ASSIGN a 1\n");
  const task = await next as Task;
  const completed = failureOf(task.complete());
  await peer.received.line(/^COMPLETE a$/);
  await peer.send('ERROR this consumer does not hold task "a"\nOK 0\n');
  assert(await completed instanceof LostTaskError);
  const another = consumer.next();
  await peer.received.line(/^RESERVE 60$/, { nth: 2 });
  await peer.send("ASSIGN b 1\n");
  assertEquals((await another)?.id, "b");
  peer.close();
  await consumer.close();
});

Deno.test("touch() of a task that is not held any more aborts its signal", async () => {
  await using server = new RawServer();
  const { consumer, next, peer } = await playServer(server);
  await peer.send("ASSIGN a 1\n");
  const task = await next as Task;
  const touched = failureOf(task.touch());
  await peer.received.line(/^TOUCH a$/);
  await peer.send('ERROR this consumer does not hold task "a"\nOK 0\n');
  assert(await touched instanceof LostTaskError);
  assert(task.signal.aborted);
  peer.close();
  await consumer.close();
});

Deno.test("A server that cannot complete a task refuses it, and gets the task back", async () => {
  await using server = new RawServer();
  const { consumer, next, peer } = await playServer(server);
  await peer.send("ASSIGN a 1\n");
  const task = await next as Task;
  const completed = failureOf(task.complete());
  await peer.received.line(/^COMPLETE a$/);
  await peer.send("ERROR store full\nOK 0\n");
  const error = await completed;
  assert(error instanceof RefusedError);
  assertEquals([error.taskId, error.reason], ["a", "store full"]);
  // Uncounted: not by the end of its connection.
  await peer.received.line(/^RELEASE a$/);
  await peer.send("OK 0\n");
  const another = consumer.next();
  await peer.received.line(/^RESERVE 60$/, { nth: 2 });
  await peer.send("ASSIGN b 1\n");
  assertEquals((await another)?.id, "b");
  peer.close();
  await consumer.close();
});

Deno.test("A refused complete() does not cost the next task of its connection anything", async () => {
  await using server = new RawServer();
  const { consumer, next, peer } = await playServer(server);
  await peer.send("ASSIGN same 1\n");
  const completed = failureOf((await next as Task).complete());
  const another = consumer.next();
  await peer.received.line(/^RESERVE 60$/, { nth: 2 });
  await peer.send("ERROR store full\nOK 0\nASSIGN same 1\n");
  const second = await another as Task;
  const secondCompleted = second.complete();
  assert(await completed instanceof RefusedError);
  await peer.received.line(/^COMPLETE same$/, { nth: 2 });
  // The first one is given back before the second is completed: the server takes the oldest.
  assertEquals(peer.received.texts.filter((text) => text.includes(" same")), [
    "COMPLETE same",
    "RELEASE same",
    "COMPLETE same",
  ]);
  await peer.send("OK 0\nOK 1\n");
  await within(secondCompleted, "the confirmation");
  assert(!second.signal.aborted);
  peer.close();
  await consumer.close();
});

Deno.test("A server that can neither complete nor take back a task loses the connection", async () => {
  await using server = new RawServer();
  const { consumer, next, peer } = await playServer(server);
  await peer.send("ASSIGN a 1\n");
  const completed = failureOf((await next as Task).complete());
  await peer.received.line(/^COMPLETE a$/);
  await peer.send("ERROR no\nOK 0\n");
  assert(await completed instanceof RefusedError);
  await peer.received.line(/^RELEASE a$/);
  await peer.send("ERROR never\nOK 0\n");
  await within(peer.received.ended, "the close");
  peer.close();
  await consumer.close();
});

Deno.test("When the lease is over the task's signal is aborted, and complete() sends nothing", async () => {
  await using server = new RawServer();
  const { consumer, next, peer } = await playServer(server);
  // The least lease is 10 s.
  await peer.send("ASSIGN a 0\n");
  const task = await next as Task;
  const startMs = performance.now();
  await within(aborted(task.signal), "the end of the lease", 20_000);
  assert(performance.now() - startMs >= 9_900);
  const error = await failureOf(task.complete());
  assert(error instanceof LostTaskError);
  assert(error.message.includes("its lease is over"));
  assertEquals(peer.received.count(/COMPLETE/), 0);
  peer.close();
  await consumer.close();
});

Deno.test("A task whose lease is over is not taken for the next one of its name", async () => {
  await using server = new RawServer();
  const { consumer, next, peer } = await playServer(server);
  await peer.send("ASSIGN same 0 [1]\n");
  const first = await next as Task;
  await within(aborted(first.signal), "the end of the lease", 20_000);
  const second = consumer.next();
  await peer.received.line(/^RESERVE 60$/, { nth: 2 });
  // Whether the server has ended the lease or not: from here on it does not hold the first for us.
  assertEquals(peer.received.texts.slice(2), ["FAIL same 0", "SYNC", "RESERVE 60"]);
  await peer.send("OK 0\nASSIGN same 0 [2]\n");
  const completed = (await second as Task).complete();
  await peer.received.line(/^COMPLETE same$/);
  await peer.send("OK 1\n");
  await completed;
  peer.close();
  await consumer.close();
});

Deno.test("A server that says at once that there is no task is asked again after pollMs", async () => {
  await using server = new RawServer();
  const connecting = connectConsumer({ port: server.port, pollMs: 200 });
  const peer = await server.accept();
  await peer.send("Consumer1\nOK 0\n");
  const consumer = await connecting;
  const next = consumer.next();
  const first = await peer.received.line(/^RESERVE/);
  await peer.send("NOTASK\n");
  const second = await peer.received.line(/^RESERVE/, { nth: 2 });
  assert(second.atMs - first.atMs >= 199, `after ${second.atMs - first.atMs} ms`);
  await peer.send("ASSIGN a 1\n");
  assertEquals((await next)?.id, "a");
  peer.close();
  await consumer.close();
});

Deno.test("A server that knows no SYNC for consumers is refused, and told why", async () => {
  await using server = new RawServer();
  const connecting = failureOf(connectConsumer({ port: server.port }));
  const peer = await server.accept();
  await peer.send('Consumer1\nERROR unknown command "SYNC": expected REQUEST\n');
  const error = await connecting;
  assert(error instanceof QueueError);
  assert(error.message.includes('unknown command "SYNC"'), error.message);
});

Deno.test("The producers' port is told from the consumers'", async () => {
  await using server = await startServer(denoRun);
  await assertRejects(
    () => connectConsumer({ port: server.producerPort }),
    QueueError,
    "is not the consumer port, but the other one",
  );
});

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener("abort", () => resolve());
  });
}
