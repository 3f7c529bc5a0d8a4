import {
  assert,
  assertEquals,
  assertGreaterOrEqual,
  assertLessOrEqual,
  assertRejects,
} from "@std/assert";
import type { Clock } from "../../lib/clock.ts";
import { connectPatiently } from "../../lib/net/connect_patiently.ts";
import { UsageError, UserError } from "../../lib/user_error.ts";
import { freePort } from "../lab/free_port.ts";

const hostname = "127.0.0.1";

/** A clock on which every wait is over at once, and remembered. */
class QuickClock implements Clock {
  readonly waitsMs: number[] = [];
  timeMs = 0;

  nowMs(): number {
    return this.timeMs;
  }

  after(ms: number, callback: () => void): () => void {
    this.waitsMs.push(ms);
    this.timeMs += ms;
    const timer = setTimeout(callback, 0);
    return () => clearTimeout(timer);
  }

  afterInput(callback: () => void): void {
    setTimeout(callback, 0);
  }
}

function assertPauses(waitsMs: readonly number[], longestMs: readonly number[]): void {
  assertEquals(waitsMs.length, longestMs.length);
  for (const [index, waitMs] of waitsMs.entries()) {
    const longest = longestMs[index] as number;
    assertLessOrEqual(waitMs, longest);
    assertGreaterOrEqual(waitMs, longest / 2);
  }
}

/** Accepts connections and closes them until the signal. */
async function closeEach(listener: Deno.TcpListener): Promise<void> {
  for await (const conn of listener) conn.close();
}

Deno.test("connectPatiently() pauses twice as long after each attempt, for 5 s at most", async () => {
  const stop = new AbortController();
  const clock = new QuickClock();
  const said: string[] = [];
  const port = freePort();
  const connections = connectPatiently({ hostname, port }, {
    signal: stop.signal,
    isPatient: true,
    clock,
    say: (line) => {
      said.push(line);
      // The third time that it says so.
      if (said.length === 3) stop.abort();
    },
  });
  for await (const _conn of connections) assert(false, "nothing listens there");
  assertPauses(clock.waitsMs.slice(0, 9), [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
  assert(new Set(clock.waitsMs.slice(6)).size > 3, "the pauses are no matter of chance");
  // At once, and then each minute.
  assertGreaterOrEqual(clock.timeMs, 120_000);
  assertLessOrEqual(clock.timeMs, 131_000);
  const line = `Cannot connect to ${hostname}:${port}: nothing listens there ` +
    "(start the server first, check address and port); trying again until Ctrl+C";
  assertEquals(said, [line, line, line]);
});

Deno.test("connectPatiently() begins anew with the pauses after a connection of 5 s, not of less", async () => {
  const listener = Deno.listen({ hostname, port: 0 });
  const closing = closeEach(listener);
  const clock = new QuickClock();
  const stop = new AbortController();
  const said: string[] = [];
  const connections = connectPatiently({ hostname, port: listener.addr.port }, {
    signal: stop.signal,
    isPatient: true,
    clock,
    say: (line) => said.push(line),
  });
  let count = 0;
  for await (const { conn } of connections) {
    conn.close();
    count++;
    clock.timeMs += count === 4 ? 5_000 : 1_000;
    if (count === 6) stop.abort();
  }
  listener.close();
  await closing;
  assertPauses(clock.waitsMs, [100, 200, 400, 100, 200]);
  const ended = `the connection to ${hostname}:${listener.addr.port} has ended; ` +
    "trying again until Ctrl+C";
  const connected = `connected to ${hostname}:${listener.addr.port}`;
  assertEquals(said, [ended, connected, ended, connected]);
});

Deno.test("connectPatiently() yields one connection, or throws, if it is not patient", async () => {
  const signal = new AbortController().signal;
  const options = { signal, isPatient: false, say: () => assert(false, "it says something") };
  const listener = Deno.listen({ hostname, port: 0 });
  const closing = closeEach(listener);
  let count = 0;
  for await (const { conn } of connectPatiently({ hostname, port: listener.addr.port }, options)) {
    conn.close();
    count++;
  }
  assertEquals(count, 1);
  listener.close();
  await closing;
  const failing = connectPatiently({ hostname, port: freePort() }, options);
  await assertRejects(() => failing.next(), UserError, "nothing listens there");
});

Deno.test("connectPatiently() does not try again what can never succeed", async () => {
  const signal = new AbortController().signal;
  const options = { signal, isPatient: true, say: () => assert(false, "it says something") };
  const connections = connectPatiently({ hostname: "::1", port: 1 }, options);
  await assertRejects(() => connections.next(), UsageError, "ip must be an IPv4 address");
});

Deno.test({
  name: "connectPatiently() does not try again without the permission",
  permissions: "none",
  async fn() {
    const signal = new AbortController().signal;
    const options = { signal, isPatient: true, say: () => assert(false, "it says something") };
    for (const host of [hostname, "localhost"]) {
      const connections = connectPatiently({ hostname: host, port: 1 }, options);
      await assertRejects(() => connections.next(), UserError, "run with --allow-net");
    }
  },
});
