/**
 * Things that peers do to a server, and what they cost it: each is run against the real process
 * and returns figures, which tests hold to their bounds and tools/prove/reliability.ts prints. All
 * is on bare sockets: the peers misbehave, and of the others the answer to one line is timed.
 *
 * @module
 */

import { cpuSeconds, rssBytes } from "../proc.ts";
import { sleep } from "../../../lib/clock.ts";
import { within } from "../deadline.ts";
import { Authority } from "../certificates.ts";
import {
  inShell,
  type Launcher,
  ScratchFolder,
  type ServerProgram,
  startServer,
} from "../processes.ts";
import type { RawPeer } from "../peers.ts";
import type { FloodOrder } from "./flood_worker.ts";
import type { StrangerKind, StrangerOrder } from "./stranger_worker.ts";

/** Descriptors of 10,000 connections, and what the programs need besides. */
export const manyFiles = 10_200;

/** How often memory is looked at, in milliseconds. */
const sampleMs = 50;

/** Longest time for what should take seconds, in milliseconds. */
const patienceMs = 120_000;

const encoder = new TextEncoder();

/** How many descriptors a process has open. */
export function openFiles(pid: number): number {
  return [...Deno.readDirSync(`/proc/${pid}/fd`)].length;
}

/** Starts a program with a limit of open files, soft and hard. */
export function limited(launcher: Launcher, maxFiles: number): Launcher {
  return inShell(launcher, `ulimit -n ${maxFiles}`);
}

/** The hard limit of open files, which no test can go beyond. */
export async function hardFileLimit(): Promise<number> {
  const command = new Deno.Command("/bin/sh", { args: ["-c", "ulimit -Hn"] });
  const limit = new TextDecoder().decode((await command.output()).stdout).trim();
  return limit === "unlimited" ? Infinity : Number(limit);
}

/** Watches the memory of a process while something is done to it; returns the most, in bytes. */
export async function peakRss(pid: number, action: () => Promise<void>): Promise<number> {
  let peak = rssBytes(pid);
  const done = new AbortController();
  const watch = async () => {
    while (await sleep(sampleMs, done.signal)) peak = Math.max(peak, rssBytes(pid));
  };
  const watching = watch();
  try {
    await action();
  } finally {
    done.abort();
    await watching;
  }
  return Math.max(peak, rssBytes(pid));
}

/** Waits until a condition holds; it is looked at every 50 ms. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  const poll = async () => {
    while (!condition()) await sleep(sampleMs);
  };
  await within(poll(), what, patienceMs);
}

/** Waits until a server has done all it was asked: it uses no CPU for half a second. */
export async function untilIdle(server: ServerProgram): Promise<void> {
  for (;;) {
    const before = cpuSeconds(server.pid);
    await sleep(500);
    if (cpuSeconds(server.pid) - before < 0.03) return;
  }
}

/** A flood under way, until its scope is left. */
export class Flood implements Disposable {
  /** Resolves when all lines are sent. */
  readonly sent: Promise<void>;
  readonly #worker: Worker;

  private constructor(worker: Worker, sent: Promise<void>) {
    this.#worker = worker;
    this.sent = sent;
  }

  /** Starts a flood and waits until it is connected. */
  static async start(order: FloodOrder): Promise<Flood> {
    const worker = new Worker(new URL("flood_worker.ts", import.meta.url), { type: "module" });
    const connected = Promise.withResolvers<void>();
    const sent = Promise.withResolvers<void>();
    worker.onmessage = ({ data }) => (data === "sent" ? sent : connected).resolve();
    worker.onerror = ({ message }) => connected.reject(new Error(message));
    worker.postMessage(order);
    await within(connected.promise, "the flood to connect");
    return new Flood(worker, sent.promise);
  }

  /** Ends it, as kill -9 would: its connections are reset, for it read nothing. */
  [Symbol.dispose](): void {
    this.#worker.terminate();
  }
}

/** What a client that asks one thing at a time waits for its answers, in milliseconds. */
export interface Waits {
  /** How many answers. */
  readonly count: number;
  /** Half of them came sooner. */
  readonly p50Ms: number;
  /** All but 1 of 100 came sooner. */
  readonly p99Ms: number;
}

/** Asks again and again for some time, a few hundred times a second. */
export async function politeClient(server: ServerProgram, seconds: number): Promise<Waits> {
  await using consumer = await server.consumer();
  const endMs = performance.now() + 1000 * seconds;
  return await askWhile(consumer, () => performance.now() < endMs);
}

async function askWhile(consumer: RawPeer, goesOn: () => boolean): Promise<Waits> {
  const waits: number[] = [];
  while (goesOn()) {
    const askedMs = performance.now();
    await consumer.ask("REQUEST");
    waits.push(performance.now() - askedMs);
    await sleep(2);
  }
  return summary(waits);
}

/** Sums up waits, which it sorts. */
export function summary(waits: number[]): Waits {
  waits.sort((a, b) => a - b);
  const quantile = (part: number) => waits[Math.floor(part * waits.length)] as number;
  return { count: waits.length, p50Ms: quantile(0.5), p99Ms: quantile(0.99) };
}

/** Connects many at once, some hundred at a time; they read nothing. */
export async function connectMany(port: number, count: number): Promise<Deno.TcpConn[]> {
  const conns: Deno.TcpConn[] = [];
  while (conns.length < count) {
    const batch = Math.min(200, count - conns.length);
    conns.push(
      ...await Promise.all(Array.from({ length: batch }, () => Deno.connect({ port }))),
    );
  }
  return conns;
}

/** A line of 1 GiB, and 20 of 100 MB, all at once, on the producer port. */
export async function longLines(launcher: Launcher): Promise<{ rss: number; answers: string[] }> {
  const sizes = [2 ** 30, ...Array.from({ length: 20 }, () => 100_000_000)];
  await using server = await startServer(launcher);
  const answers: string[] = [];
  const send = async (size: number) => {
    using conn = await Deno.connect({ port: server.producerPort });
    const chunk = new Uint8Array(256 * 1024).fill(0x78);
    for (let left = size; left > 0;) {
      left -= await conn.write(chunk.subarray(0, Math.min(left, chunk.length)));
    }
    await conn.write(encoder.encode("\nSYNC\n"));
    await conn.closeWrite();
    answers.push(await new Response(conn.readable).text());
  };
  const rss = await peakRss(server.pid, async () => {
    await Promise.all(sizes.map(send));
  });
  return { rss, answers };
}

/** Connections that pipeline REQUESTs and read nothing, with a polite client beside them. */
export async function floods(
  launcher: Launcher,
  { connections, seconds }: { connections: number; seconds: number },
): Promise<{ rss: number; polite: Waits }> {
  await using server = await startServer(launcher);
  using _flood = await Flood.start({ port: server.consumerPort, connections, line: "REQUEST" });
  let polite: Waits = { count: 0, p50Ms: 0, p99Ms: 0 };
  const rss = await peakRss(server.pid, async () => {
    polite = await politeClient(server, seconds);
  });
  return { rss, polite };
}

/** Connections that say nothing, half of them on either port. */
export async function idleConnections(
  launcher: Launcher,
  connections: number,
): Promise<{ rss: number; rssWithout: number; answer: string }> {
  await using server = await startServer(launcher);
  const rssWithout = rssBytes(server.pid);
  const conns = [
    ...await connectMany(server.producerPort, connections / 2 - 1),
    ...await connectMany(server.consumerPort, connections / 2 - 1),
  ];
  try {
    // A port's connections are accepted in order: when the last is answered, all are there.
    await using lastProducer = await server.producer();
    await lastProducer.ask("SYNC");
    await using last = await server.consumer();
    const answer = await last.ask("REQUEST");
    await untilIdle(server);
    return { rss: rssBytes(server.pid), rssWithout, answer };
  } finally {
    for (const conn of conns) conn.close();
  }
}

/** What consumers that wait for tasks cost. */
export interface WaitingCost {
  /** CPU while there are no tasks, in percent of a core. */
  readonly idlePercent: number;
  /** From a task's CREATE to its ASSIGN. */
  readonly handOuts: Waits;
}

/**
 * Consumers that wait in `RESERVE 60`: a while without tasks, then at a steady rate of them, each for
 * the one that has waited longest. It completes the task and waits again.
 */
export async function waitingConsumers(
  launcher: Launcher,
  { consumers, seconds, perSecond }: { consumers: number; seconds: number; perSecond: number },
): Promise<WaitingCost> {
  const args = ["--quiet", "--max-connections", String(2 * consumers)];
  await using server = await startServer(launcher, { args });
  await using producer = await server.producer();
  const sentMs = new Map<string, number>();
  const waits: number[] = [];
  const conns = await connectMany(server.consumerPort, consumers);
  const take = async (conn: Deno.TcpConn) => {
    const buffer = new Uint8Array(4096);
    conn.setNoDelay(true);
    await conn.write(encoder.encode("RESERVE 60\n"));
    for (;;) {
      // Each line comes whole: nothing else is under way on its connection.
      const count = await conn.read(buffer).catch(() => null);
      if (count === null) return;
      const text = new TextDecoder().decode(buffer.subarray(0, count));
      const name = /ASSIGN (\S+)/.exec(text)?.[1];
      if (name !== undefined) {
        waits.push(performance.now() - (sentMs.get(name) as number));
        await conn.write(encoder.encode(`COMPLETE ${name}\nRESERVE 60\n`));
      } else if (text.includes("NOTASK")) await conn.write(encoder.encode("RESERVE 60\n"));
    }
  };
  const taking = conns.map(take);
  try {
    await untilIdle(server);
    const [cpuBefore, startMs] = [cpuSeconds(server.pid), performance.now()];
    await sleep(seconds * 1000);
    const idlePercent = 100_000 * (cpuSeconds(server.pid) - cpuBefore) /
      (performance.now() - startMs);
    const beginMs = performance.now();
    for (let sent = 0; sent < seconds * perSecond;) {
      const due = Math.min(seconds, (performance.now() - beginMs) / 1000) * perSecond;
      for (; sent < due; sent++) {
        sentMs.set(`t${sent}`, performance.now());
        await producer.send(`CREATE 1 t${sent} 1\n`);
      }
      await sleep(1);
    }
    await until(() => waits.length >= sentMs.size, "each task to be handed out");
    return { idlePercent, handOuts: summary(waits) };
  } finally {
    for (const conn of conns) conn.close();
    await Promise.allSettled(taking);
  }
}

/** How far a server is from where it was. */
export interface Growth {
  /** Resident memory before and after, in bytes. */
  readonly rss: readonly [number, number];
  /** Open descriptors before and after. */
  readonly files: readonly [number, number];
  /** How long it took, in seconds. */
  readonly seconds: number;
}

/** Connects and disconnects, half on either port; half end with a reset, half with a FIN. */
export async function comeAndGo(launcher: Launcher, connections: number): Promise<Growth> {
  await using server = await startServer(launcher, { args: ["--quiet"] });
  const storm = async (count: number) => {
    let left = count;
    const client = async () => {
      while (left > 0) {
        const number = left--;
        const port = number % 2 === 0 ? server.consumerPort : server.producerPort;
        using conn = await Deno.connect({ port });
        // A greeting that is not read makes the close a reset.
        if (number % 4 === 0) await conn.read(new Uint8Array(64));
      }
    };
    await Promise.all(Array.from({ length: 50 }, client));
  };
  const files = openFiles(server.pid);
  // What the first ones cost stays: compiled code, heap, thread pool.
  await storm(connections / 2);
  await until(() => openFiles(server.pid) <= files, "the server to close all");
  await untilIdle(server);
  const rss = rssBytes(server.pid);
  const startMs = performance.now();
  await storm(connections);
  await until(() => openFiles(server.pid) <= files, "the server to close all");
  const seconds = (performance.now() - startMs) / 1000;
  await untilIdle(server);
  return { rss: [rss, rssBytes(server.pid)], files: [files, openFiles(server.pid)], seconds };
}

/** Connections that send a line, or read their answers, a byte at a time, beside a polite client. */
export async function slowPeers(
  launcher: Launcher,
  { connections, seconds }: { connections: number; seconds: number },
): Promise<{ rss: number; polite: Waits }> {
  await using server = await startServer(launcher);
  const conns = await connectMany(server.consumerPort, connections);
  const line = encoder.encode("REQUEST\n".repeat(100));
  const done = new AbortController();
  const crawl = async (conn: Deno.TcpConn, index: number) => {
    const isReader = index % 10 === 0;
    const one = new Uint8Array(1);
    if (isReader) await conn.write(line);
    await sleep(index % 1000, done.signal);
    for (let i = 0; !done.signal.aborted; i++) {
      if (isReader) await conn.read(one);
      else await conn.write(line.subarray(i % line.length, i % line.length + 1));
      await sleep(1000, done.signal);
    }
  };
  try {
    const crawling = conns.map(crawl);
    let polite: Waits = { count: 0, p50Ms: 0, p99Ms: 0 };
    const rss = await peakRss(server.pid, async () => {
      polite = await politeClient(server, seconds);
    });
    done.abort();
    await Promise.all(crawling);
    return { rss, polite };
  } finally {
    for (const conn of conns) conn.close();
  }
}

/** What strangers cost a server and a client that has been let in. */
export interface StrangersCost {
  /** Most memory while they were there, in bytes. */
  readonly rss: number;
  /** Descriptors before and after. */
  readonly files: readonly [number, number];
  /** How long they took, to the close of the last one, in seconds. */
  readonly seconds: number;
  /** The waits of the client meanwhile. */
  readonly polite: Waits;
}

/** Connections that are never let in, to a server with a token, and with TLS for handshakes. */
export async function strangers(
  launcher: Launcher,
  { kind, connections }: { readonly kind: StrangerKind; readonly connections: number },
): Promise<StrangersCost> {
  const token = "correct-horse-battery-staple";
  await using authority = kind === "handshakes" ? await Authority.found() : undefined;
  await using folder = new ScratchFolder();
  const args = ["--token-file", await folder.write("token", token)];
  if (authority !== undefined) {
    const { cert, key } = await authority.give();
    args.push("--tls-cert", cert, "--tls-key", key);
  }
  const caCerts = authority && [await Deno.readTextFile(authority.file)];
  await using server = await startServer(launcher, { args, peers: { token, caCerts } });
  // Before the others: they may have its address, whose oldest strangers lose their places.
  await using consumer = await server.consumer(1);
  const files = openFiles(server.pid);
  const ports = [server.producerPort, server.consumerPort];
  const worker = new Worker(new URL("stranger_worker.ts", import.meta.url), { type: "module" });
  try {
    const startMs = performance.now();
    const order: StrangerOrder = { ports, kind, connections };
    let seconds: number | undefined;
    worker.onmessage = () => seconds = (performance.now() - startMs) / 1000;
    worker.postMessage(order);
    let polite: Waits = { count: 0, p50Ms: 0, p99Ms: 0 };
    const rss = await peakRss(server.pid, async () => {
      polite = await askWhile(consumer, () => seconds === undefined);
    });
    await until(() => openFiles(server.pid) <= files, "their descriptors");
    return { rss, files: [files, openFiles(server.pid)], seconds: seconds ?? 0, polite };
  } finally {
    worker.terminate();
  }
}
