import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  connectProducer,
  DisconnectedError,
  LostTaskError,
  type NewTask,
  QueueError,
  type Task,
  work,
  type WorkOptions,
} from "../../mod.ts";
import { pause, within } from "../lab/deadline.ts";
import { killRounds } from "../lab/load/kill_rounds.ts";
import { RawServer } from "../lab/peers.ts";
import { denoRun, type ServerProgram, startServer } from "../lab/processes.ts";
import { testSeed } from "../lab/seed.ts";

async function create(server: ServerProgram, ...tasks: NewTask[]): Promise<void> {
  await using producer = await connectProducer({ port: server.producerPort });
  await producer.createAll(tasks);
}

function numbered(count: number): NewTask[] {
  return Array.from({ length: count }, (_, i) => ({ id: `t${i}`, duration: 1 }));
}

/** Options of a worker of a server, and what stops it. */
function workOptions(
  server: { readonly consumerPort: number },
  options: Partial<WorkOptions> = {},
): { stop: AbortController; options: WorkOptions } {
  const stop = new AbortController();
  return { stop, options: { port: server.consumerPort, signal: stop.signal, ...options } };
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve()));
}

Deno.test("work() completes a task when the handler has returned, and counts it", async () => {
  await using server = await startServer(denoRun);
  await create(server, ...numbered(100));
  const { stop, options } = workOptions(server, { concurrency: 4 });
  let handled = 0;
  const count = await work(options, async () => {
    await Promise.resolve();
    if (++handled === 100) stop.abort();
  });
  assertEquals(count, { completed: 100, failed: 0 });
  await server.stdout.line(/^\[COMPLETE\]/, { nth: 100 });
});

Deno.test("work() works on as many tasks at a time as it was told, and reserves none ahead", async () => {
  await using server = await startServer(denoRun);
  await create(server, ...numbered(5));
  const { stop, options } = workOptions(server, { concurrency: 2 });
  const running = new Map<string, () => void>();
  const working = work(options, (task) => new Promise<void>((end) => running.set(task.id, end)));
  await server.stdout.line(/^\[ASSIGN\]/, { nth: 2 });
  // More urgent than all that wait: reserved ahead, t2 would come before it.
  await create(server, { id: "urgent", priority: 1 });
  assertEquals(server.stdout.count(/^\[ASSIGN\]/), 2);
  running.get("t0")?.();
  const { text } = await server.stdout.line(/^\[ASSIGN\]/, { nth: 3 });
  assert(text.startsWith("[ASSIGN] urgent"), text);
  stop.abort();
  for (const end of running.values()) end();
  await server.stdout.line(/^\[COMPLETE\] urgent/);
  assertEquals(await working, { completed: 3, failed: 0 });
});

Deno.test("A handler that throws fails its task, tells onError, and the worker goes on", async () => {
  await using server = await startServer(denoRun);
  await create(server, { id: "bad" }, { id: "good" });
  const told: unknown[] = [];
  const onError = (error: unknown, task: Task) => told.push(error, task.id);
  const { stop, options } = workOptions(server, { onError });
  const count = await work(options, (task) => {
    if (task.id === "bad") throw "broken";
    stop.abort();
  });
  assertEquals(count, { completed: 1, failed: 1 });
  assertEquals(told, ["broken", "bad"]);
  await server.stdout.line(/^\[FAIL\] bad/);
});

Deno.test("A handler may end its task itself: release is neither, bury is failed", async () => {
  await using server = await startServer(denoRun);
  await create(server, { id: "later" }, { id: "never" }, { id: "done" }, { id: "last" });
  const { stop, options } = workOptions(server);
  const count = await work(options, async (task) => {
    if (task.id === "later") await task.release({ delay: 60 });
    if (task.id === "never") await task.bury();
    if (task.id === "done") await task.complete();
    if (task.id === "last") stop.abort();
  });
  assertEquals(count, { completed: 2, failed: 1 });
});

Deno.test("At its signal work() asks no more, and waits for the handlers that run", async () => {
  await using server = await startServer(denoRun);
  await create(server, ...numbered(3));
  const { stop, options } = workOptions(server);
  const handled: string[] = [];
  const count = await work(options, async (task) => {
    stop.abort();
    await pause(100);
    handled.push(task.id);
  });
  assertEquals(count, { completed: 1, failed: 0 });
  assertEquals(handled, ["t0"]);
  assertEquals(await server.drain(), ["t1", "t2"]);
});

Deno.test("After graceMs the tasks' signals are aborted, and what stops then is released uncounted", async () => {
  await using server = await startServer(denoRun);
  await create(server, ...numbered(1));
  const onError = (error: unknown) => assertEquals(error, "not to be told");
  const { stop, options } = workOptions(server, { graceMs: 50, onError });
  const count = await work(options, async (task) => {
    stop.abort();
    await aborted(task.signal);
    throw task.signal.reason;
  });
  assertEquals(count, { completed: 0, failed: 0 });
  assertEquals(server.stdout.count(/^\[FAIL\]/), 0);
  assertEquals(await server.drain(), ["t0"]);
});

Deno.test("A handler that never ends keeps no worker: its task is released 1 s after the grace", async () => {
  await using server = await startServer(denoRun);
  await create(server, ...numbered(1));
  const { stop, options } = workOptions(server, { graceMs: 50 });
  const startMs = performance.now();
  const count = await work(options, () => {
    stop.abort();
    return new Promise(() => {});
  });
  const tookMs = performance.now() - startMs;
  assert(tookMs >= 1000 && tookMs < 5000, `${tookMs} ms`);
  assertEquals(count, { completed: 0, failed: 0 });
  assertEquals(await server.drain(), ["t0"]);
});

Deno.test("An idle worker ends at once", async () => {
  await using server = await startServer(denoRun);
  const { stop, options } = workOptions(server, { concurrency: 3 });
  const working = work(options, () => {});
  await server.stdout.line(/^\[3 consumers online\]$/);
  stop.abort();
  assertEquals(await within(working, "the end", 1500), { completed: 0, failed: 0 });
});

Deno.test("A worker whose server is not there yet ends at its signal, too", async () => {
  let port: number;
  {
    await using server = new RawServer();
    port = server.port;
  }
  const stop = new AbortController();
  const tried = Promise.withResolvers<void>();
  const onDisconnect = () => tried.resolve();
  const working = work({ port, signal: stop.signal, onDisconnect }, () => {});
  await tried.promise;
  stop.abort();
  assertEquals(await within(working, "the end"), { completed: 0, failed: 0 });
});

Deno.test("A worker whose signal is aborted before it begins does nothing", async () => {
  const working = work({ port: 1, signal: AbortSignal.abort() }, () => {});
  assertEquals(await within(working, "the end"), { completed: 0, failed: 0 });
});

Deno.test("With `retry: false` a worker rejects if it cannot connect", async () => {
  let port: number;
  {
    await using server = new RawServer();
    port = server.port;
  }
  await assertRejects(() => work({ port, retry: false }, () => {}), DisconnectedError);
});

Deno.test("Several connections that are lost together are one outage for onDisconnect", async () => {
  await using server = await startServer(denoRun);
  const attempts: number[] = [];
  const again = Promise.withResolvers<void>();
  const { stop, options } = workOptions(server, {
    concurrency: 5,
    retry: { firstMs: 100, mostMs: 100 },
    onDisconnect: (_, attempt) => {
      attempts.push(attempt);
      if (attempt === 3) again.resolve();
    },
  });
  const working = work(options, () => {});
  await server.stdout.line(/^\[5 consumers online\]$/);
  await server.crash();
  await within(again.promise, "the third attempt");
  stop.abort();
  await working;
  assertEquals(attempts, [1, 2, 3]);
});

Deno.test("What onError throws ends the worker and rejects", async () => {
  await using server = await startServer(denoRun);
  await create(server, ...numbered(1));
  const onError = (error: unknown) => {
    throw error;
  };
  const { options } = workOptions(server, { onError });
  const broken = new Error("broken");
  await assertRejects(
    () =>
      work(options, () => {
        throw broken;
      }),
    Error,
    "broken",
  );
});

Deno.test("A task that is lost while its handler runs is told to onError, and counts as failed", async () => {
  await using server = new RawServer();
  const told: unknown[] = [];
  const { stop, options } = workOptions({ consumerPort: server.port }, {
    onError: (error) => told.push(error),
    retry: { firstMs: 60_000, mostMs: 60_000 },
  });
  const started = Promise.withResolvers<void>();
  const working = work(options, async (task) => {
    started.resolve();
    await aborted(task.signal);
    stop.abort();
  });
  const peer = await server.accept();
  await peer.send("Consumer1\nOK 0\n");
  await peer.received.line(/^RESERVE/);
  await peer.send("ASSIGN a 1\n");
  await started.promise;
  await peer.send("DONE\n");
  await peer.received.ended;
  peer.close();
  assertEquals(await working, { completed: 0, failed: 1 });
  assert(told[0] instanceof LostTaskError);
});

Deno.test("A port that speaks something else is an error of the first connection, not an outage", async () => {
  await using server = new RawServer();
  const working = assertRejects(
    () => work({ port: server.port }, () => {}),
    QueueError,
    'says "220 mail.example.com"',
  );
  await (await server.accept()).send("220 mail.example.com\r\n");
  await working;
});

Deno.test("kill -9 of a server with a store: every confirmed task is done, at most as many as are in flight are done again, and the program ends", async () => {
  const rounds = 5;
  const report = await killRounds({ rounds, seed: testSeed });
  assert(report.confirmed > 5 * rounds, JSON.stringify(report));
  assert(report.repeated > 0, JSON.stringify(report));
});
