/**
 * A long queue at work that many look at: what a search takes, and what it costs the others.
 *
 * @module
 */

import { sleep } from "../../../lib/clock.ts";
import { within } from "../deadline.ts";
import { ask, startHttpServer } from "../http_peer.ts";
import { rssBytes } from "../proc.ts";
import type { Launcher, ServerProgram } from "../processes.ts";
import { connectMany, peakRss, politeClient, summary, untilIdle, type Waits } from "./scenarios.ts";

/** Tasks that are created before their arrival is confirmed. */
const fillBatch = 10_000;

/** How long a consumer works on a task, in milliseconds. */
const workMs = 1000;

const encoder = new TextEncoder();

/** How much there is to look at, and who looks. */
export interface WatchedLoad {
  /** Tasks that wait. */
  readonly tasks: number;
  /** Consumers that work on a task for a second each. */
  readonly consumers: number;
  /** Pages that are open. */
  readonly viewers: number;
  /** How long is measured. */
  readonly seconds: number;
}

/** What it costs. */
export interface WatchedCost {
  /** How long searches took of which each looks at all tasks, one after the other. */
  readonly searches: Waits;
  /** What a client waited meanwhile that asks for one task at a time. */
  readonly polite: Waits;
  /** The same while all is so but the searches. */
  readonly politeBefore: Waits;
  /** Memory of the server before anybody looked, in bytes. */
  readonly rssWithout: number;
  /** The most memory afterwards. */
  readonly rss: number;
}

/** Fills a queue, has consumers work and viewers look, and searches. */
export async function watchedQueue(launcher: Launcher, load: WatchedLoad): Promise<WatchedCost> {
  await using http = await startHttpServer(launcher, { args: ["--quiet"] });
  const { server, port } = http;
  await fill(server, load.tasks);
  const done = new AbortController();
  const consumers = await connectMany(server.consumerPort, load.consumers);
  const viewers: Deno.TcpConn[] = [];
  const working = consumers.map((conn) => work(conn, done.signal));
  try {
    await sleep(workMs);
    const rssWithout = rssBytes(server.pid);
    viewers.push(...await connectMany(port, load.viewers));
    working.push(...viewers.map((conn) => watch(conn, port)));
    await within(allWatch(port, load.viewers), "all viewers");
    const politeBefore = await politeClient(server, load.seconds / 2);
    const searching = search(port, done.signal);
    let polite: Waits = { count: 0, p50Ms: 0, p99Ms: 0 };
    const rss = await peakRss(server.pid, async () => {
      polite = await politeClient(server, load.seconds);
    });
    done.abort();
    return { searches: summary(await searching), polite, politeBefore, rssWithout, rss };
  } finally {
    done.abort();
    for (const conn of [...consumers, ...viewers]) conn.close();
    await Promise.allSettled(working);
  }
}

async function fill(server: ServerProgram, tasks: number): Promise<void> {
  await using producer = await server.producer();
  for (let first = 0; first < tasks; first += fillBatch) {
    const count = Math.min(fillBatch, tasks - first);
    const lines = Array.from({ length: count }, (_, i) => `CREATE 2 task${first + i} 1\n`);
    const answer = await producer.ask(lines.join("") + "SYNC");
    if (answer !== `OK ${first + count}`) throw new Error(`SYNC was answered ${answer}`);
  }
  await untilIdle(server);
}

/** Works on one task after the other. */
async function work(conn: Deno.TcpConn, signal: AbortSignal): Promise<void> {
  const buffer = new Uint8Array(4096);
  // Not all in step.
  await sleep(Math.random() * workMs, signal);
  await conn.write(encoder.encode("RESERVE\n"));
  for (;;) {
    // Each line comes whole: nothing else is under way on its connection.
    const count = await conn.read(buffer);
    if (count === null) return;
    const name = /ASSIGN (\S+)/.exec(new TextDecoder().decode(buffer.subarray(0, count)))?.[1];
    if (name === undefined) continue;
    if (!await sleep(workMs, signal)) return;
    await conn.write(encoder.encode(`COMPLETE ${name}\nRESERVE\n`));
  }
}

/** Reads events to their end, as a page does; what they say is not looked at. */
async function watch(conn: Deno.TcpConn, port: number): Promise<void> {
  const buffer = new Uint8Array(64 * 1024);
  await conn.write(encoder.encode(`GET /api/events HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n\r\n`));
  while (await conn.read(buffer) !== null);
}

/** Resolves when the server counts so many viewers. */
async function allWatch(port: number, viewers: number): Promise<void> {
  const count = new RegExp(`^taskqueue_viewers ${viewers}$`, "m");
  while (!count.test((await ask(port, "GET /metrics")).body)) await sleep(50);
}

/** Searches for what no task is called until the signal; how long each search took. */
async function search(port: number, signal: AbortSignal): Promise<number[]> {
  const waits: number[] = [];
  while (!signal.aborted) {
    const beginMs = performance.now();
    const { status, body } = await ask(port, "GET /api/tasks?name=nobody");
    if (status !== 200) throw new Error(`a search was answered ${status} ${body}`);
    waits.push(performance.now() - beginMs);
  }
  return waits;
}
