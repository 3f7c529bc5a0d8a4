import { assert, assertEquals } from "@std/assert";
import {
  connectConsumer,
  connectProducer,
  DisconnectedError,
  LostTaskError,
  QueueError,
} from "../../mod.ts";
import { within } from "../lab/deadline.ts";
import { RawServer } from "../lab/peers.ts";
import { Random } from "../lab/random.ts";
import { withSeed } from "../lab/seed.ts";

/** No client connects again within a test. */
const retry = { firstMs: 60_000, mostMs: 60_000 };

async function outcomeOf(promise: Promise<unknown>): Promise<unknown> {
  return await within(promise.then(() => "no error", (error) => error), "an end");
}

/** What a server says when it should confirm, by name, and what it is told to be. */
const wrongs: readonly (readonly [name: string, said: string | Uint8Array, what: string])[] = [
  ["a word", "HELLO\n", 'says "HELLO", which is no reply'],
  ["a task", "ASSIGN a 1\n", 'says "ASSIGN a 1", which was not asked for'],
  ["another greeting", "Consumer2\n", 'says "Consumer2", which was not asked for'],
  ["a count that cannot be", "OK 7\n", "7"],
  ["what is not UTF-8", new Uint8Array([0xff, 0x0a]), "sends what is not UTF-8"],
  ["1 MiB without LF", "x".repeat(2 ** 20), "sends a line of more than 65536 bytes"],
  ["a line of 1 MiB", "x".repeat(2 ** 20) + "\n", "sends a line of more than 65536 bytes"],
  ["control characters", "OK \x1b[2J\n", 'says "OK \\u{1b}[2J", which is no reply'],
];

for (const [name, said, what] of wrongs) {
  Deno.test(`A producer ends a connection on which the server says ${name}`, async () => {
    await using server = new RawServer();
    const causes: Error[] = [];
    const onDisconnect = (cause: Error) => causes.push(cause);
    const connecting = connectProducer({ port: server.port, retry, onDisconnect });
    const peer = await server.accept();
    await peer.send("OK 0\n");
    const producer = await connecting;
    const created = outcomeOf(producer.create({ id: "a" }));
    await peer.received.line(/^CREATE/);
    await peer.offer(said);
    assert(await created instanceof QueueError);
    await within(peer.received.ended, "the close");
    await producer.close();
    assert(causes[0] instanceof QueueError);
    assert(causes[0].message.includes(what), causes[0].message);
  });

  Deno.test(`A consumer ends a connection on which the server says ${name}`, async () => {
    await using server = new RawServer();
    const causes: Error[] = [];
    const onDisconnect = (cause: Error) => causes.push(cause);
    const connecting = connectConsumer({ port: server.port, retry, onDisconnect });
    const peer = await server.accept();
    await peer.send("Consumer1\nOK 0\n");
    const consumer = await connecting;
    const next = consumer.next();
    await peer.received.line(/^RESERVE/);
    await peer.send("ASSIGN a 1\n");
    const task = await next;
    const completed = outcomeOf(task?.complete() as Promise<void>);
    await peer.received.line(/^COMPLETE/);
    await peer.offer(said);
    const error = await completed;
    assert(error instanceof DisconnectedError || error instanceof LostTaskError, String(error));
    await within(peer.received.ended, "the close");
    await consumer.close();
    assert(causes[0] instanceof QueueError);
    assert(causes[0].message.includes(what), causes[0].message);
  });
}

Deno.test("A task in the same bytes as DONE is not worked on: it goes back with the connection", async () => {
  await using server = new RawServer();
  const connecting = connectConsumer({ port: server.port, retry });
  const peer = await server.accept();
  await peer.send("Consumer1\nOK 0\n");
  const consumer = await connecting;
  const next = consumer.next();
  await peer.received.line(/^RESERVE/);
  await peer.send("ASSIGN a 1\nDONE\n");
  await within(peer.received.ended, "the close");
  peer.close();
  await consumer.close();
  assertEquals(await next, undefined);
});

Deno.test("ERRORs that nobody asked for, a thousand of them, do no harm", async () => {
  await using server = new RawServer();
  const connecting = connectProducer({ port: server.port, retry });
  const peer = await server.accept();
  await peer.send("OK 0\n" + "ERROR noise\n".repeat(1000));
  const producer = await connecting;
  const created = producer.create({ id: "a" });
  await peer.received.line(/^CREATE/);
  await peer.send("ERROR more noise\nOK 1\n");
  await within(created, "the confirmation");
  peer.close();
  await producer.close();
});

Deno.test("A server may close at any byte: the producer's calls end, and never hang", async () => {
  const said = "OK 0\nOK 1\nERROR refused\nOK 1\n";
  for (let end = 0; end <= said.length; end++) {
    await using server = new RawServer();
    const stop = new AbortController();
    const connecting = connectProducer({ port: server.port, retry, signal: stop.signal });
    const outcomes = connecting.then((producer) =>
      Promise.all(["a", "b"].map((id) => outcomeOf(producer.create({ id }))))
    );
    outcomes.catch(() => {});
    const peer = await server.accept();
    await peer.received.line(/^SYNC/);
    await peer.offer(said.slice(0, 5));
    if (end > 5) await peer.received.line(/^CREATE 2 b/);
    await peer.offer(said.slice(5, end));
    await peer.closeWrite();
    // What was not sent before the close waits for the next connection, which the signal ends.
    if (end <= 5) stop.abort("enough");
    const [a, b] = end <= 5 ? [undefined, undefined] : await outcomes;
    if (end > 5 && end < 10) assert(a instanceof DisconnectedError, `${end}: ${a}`);
    if (end >= 10) assertEquals(a, "no error");
    if (end > 5 && end < said.length) assert(b instanceof DisconnectedError, `${end}: ${b}`);
    if (end === said.length) assertEquals(String(b).includes("refused"), true);
    peer.close();
    if (end > 5) await (await connecting).close();
    else await connecting.then((producer) => producer.close(), () => {});
  }
});

Deno.test("Random replies at random times: no call hangs, and nothing is thrown past them", () =>
  withSeed(async (seed) => {
    const random = new Random(seed);
    const words = ["OK 0", "OK 1", "NOTASK", "ASSIGN a 1", "ERROR x", "DONE", "Consumer1", "x", ""];
    for (let i = 0; i < 100; i++) {
      await using server = new RawServer();
      const { port } = server;
      const stop = new AbortController();
      const using = random.chance(50)
        ? connectProducer({ port, retry, signal: stop.signal }).then(async (producer) => {
          await Promise.allSettled(["a", "b", "c"].map((id) => producer.create({ id })));
          await producer.close();
        })
        : connectConsumer({ port, retry, signal: stop.signal }).then(async (consumer) => {
          const task = await consumer.next();
          await task?.complete().catch(() => {});
          await consumer.close();
        });
      const ended = outcomeOf(using);
      const peer = await server.accept();
      await peer.offer(random.chance(80) ? random.pick(["OK 0\n", "Consumer1\nOK 0\n"]) : "");
      for (let k = random.below(6); k > 0; k--) {
        await peer.offer(random.pick(words) + random.pick(["\n", "\n", "\r\n", ""]));
        if (random.chance(50)) await Promise.resolve();
      }
      peer.close();
      stop.abort("enough");
      await ended;
    }
  }));
