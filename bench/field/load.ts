/**
 * The load program: a process of its own that drives one server and measures it.
 *
 * It reads jobs from stdin, one line of JSON each, and answers each with one line of JSON.
 *
 * A *client* has two connections, one that creates tasks and one that asks for them, as programs in
 * use have; some servers are also measured with one for both. It keeps `inFlight` tasks under way:
 * each is created and at once asked for; as many as an answer brings are sent anew, in one write a
 * connection. The queue holds some tasks before (`fill`), so that a request never meets an empty
 * queue. A task's latency is the time from the write that creates it to the arrival of the answer to
 * the request sent with it.
 *
 * @module
 */

import { TextLineStream } from "@std/streams/text-line-stream";
import { type Dialect, type DialectName, indexOfLf, makeDialect, Outbox } from "./dialects.ts";
import { close, connect, Poller, receive, send } from "./libc.ts";
import { cpuSeconds } from "../../tests/lab/proc.ts";
import { Random } from "../../tests/lab/random.ts";

/** A server, as the load program sees it. */
export interface Target {
  /** How it is spoken to. */
  readonly dialect: DialectName;
  /** Its port for creating tasks, and the one for asking for them; may be the same. */
  readonly ports: readonly [number, number];
  /** Connections of each client: one for each of the two, or one for both. */
  readonly connections: 1 | 2;
  /** Its process. */
  readonly pid: number;
}

/** What the load program can be asked to do. */
export type Job =
  | { readonly kind: "fill"; readonly target: Target; readonly tasks: number }
  | {
    /** As many tasks as the server takes. */
    readonly kind: "drive";
    readonly target: Target;
    readonly clients: number;
    readonly inFlight: number;
    readonly warmUpSeconds: number;
    readonly seconds: number;
  }
  | {
    /** So many a second, whatever the server does: clients in turn, latency from the due time. */
    readonly kind: "pace";
    readonly target: Target;
    readonly clients: number;
    readonly perSecond: number;
    /** Create a task with each request. */
    readonly creates: boolean;
    readonly warmUpSeconds: number;
    readonly seconds: number;
  };

/** What came of a job. */
export interface Measurement {
  /** Tasks handed out. */
  readonly tasks: number;
  /** Requests that found the queue empty, and were sent again. */
  readonly repeats: number;
  /** The measured time. */
  readonly seconds: number;
  /** CPU time of the server in that time. */
  readonly serverSeconds: number;
  /** CPU time of the load program in that time. */
  readonly loadSeconds: number;
  /** Median latency, in microseconds. */
  readonly p50Us: number;
  /** 99th percentile of the latency, in microseconds. */
  readonly p99Us: number;
}

/** Creates sent before their arrival is confirmed, when filling. */
const fillBatch = 500;

/** How long the last answers may take, in milliseconds. */
const drainMs = 10_000;

/** Input of all connections, one after the other; longer than all that one may have in flight. */
const input = new Uint8Array(256 * 1024);

/** One connection of a client. */
class Link {
  /** What waits to be sent. */
  readonly out = new Outbox();
  readonly fd: number;
  #tail = new Uint8Array(0);

  constructor(port: number) {
    this.fd = connect(port);
  }

  flush(): void {
    if (this.out.length === 0) return;
    send(this.fd, this.out.bytes, this.out.length);
    this.out.length = 0;
  }

  /** Takes what has come, line by line: from its start to its LF, in {@linkcode input}. */
  take(onLine: (start: number, end: number) => void): void {
    input.set(this.#tail);
    const length = this.#tail.length + receive(this.fd, input, this.#tail.length);
    let start = 0;
    for (;;) {
      const end = indexOfLf(input, start, length);
      if (end === -1) break;
      onLine(start, end);
      start = end + 1;
    }
    this.#tail = start === length ? empty : input.slice(start, length);
  }
}

/** A client: its connections, and the tasks that it has under way. */
class Client {
  readonly #dialect: Dialect;
  readonly #creates: Link;
  readonly #requests: Link;
  /** When the requests that wait for their answers were due, first come first. */
  readonly #dueMs: number[] = [];

  constructor({ dialect, ports, connections }: Target, number: number) {
    this.#dialect = makeDialect(dialect, number);
    this.#requests = new Link(ports[1]);
    this.#creates = connections === 2 ? new Link(ports[0]) : this.#requests;
    this.#requests.out.add(encoder.encode(this.#dialect.hello));
    this.flush();
  }

  get #links(): Set<Link> {
    return new Set([this.#creates, this.#requests]);
  }

  get waiting(): number {
    return this.#dueMs.length;
  }

  /** Has a poller watch all connections, with keys that tell the client. */
  watch(poller: Poller, number: number): void {
    for (const link of this.#links) {
      poller.add(link.fd, 2 * number + Number(link === this.#creates));
    }
  }

  create(): void {
    this.#dialect.create(this.#creates.out, 1 + random.below(3), nextNumber());
  }

  request(dueMs: number): void {
    this.#dialect.request(this.#requests.out);
    this.#dueMs.push(dueMs);
  }

  flush(): void {
    this.#creates.flush();
    this.#requests.flush();
  }

  /** Takes what has come, by a poller's key; returns how many requests were answered. */
  take(key: number, latencies: Latencies, mayBeEmpty: boolean): number {
    let answered = 0;
    const nowMs = performance.now();
    const link = key % 2 === 1 ? this.#creates : this.#requests;
    link.take((start, end) => {
      const meaning = this.#dialect.read(input, start, end, this.#requests.out);
      if (meaning !== "task" && meaning !== "no task") return;
      const dueMs = this.#dueMs.shift() as number;
      if (meaning === "task" || mayBeEmpty) {
        latencies.add(nowMs - dueMs);
        answered++;
      } else {
        // The server is behind with reading creates by all the tasks that waited. Asked again.
        this.request(dueMs);
        latencies.repeats++;
      }
    });
    return answered;
  }

  /** Waits until the server has taken all that was sent for creating tasks. */
  confirmCreates(): void {
    this.#creates.out.add(encoder.encode(this.#dialect.barrier));
    this.flush();
    const deadlineMs = performance.now() + drainMs;
    using poller = new Poller();
    poller.add(this.#creates.fd, 0);
    for (let isConfirmed = false; !isConfirmed;) {
      if (performance.now() > deadlineMs) throw new Error("the server does not answer");
      if (poller.wait(100) === 0) continue;
      this.#creates.take((start, end) => {
        const meaning = this.#dialect.read(input, start, end, this.#requests.out);
        isConfirmed ||= meaning === "barrier";
      });
    }
  }

  close(): void {
    for (const link of this.#links) close(link.fd);
  }
}

const encoder = new TextEncoder();
const empty = new Uint8Array(0);

/** Latencies in steps of 1 µs, up to 1 s. */
class Latencies {
  readonly #counts = new Uint32Array(1_000_000);
  #count = 0;
  /** Requests that had to be sent again, as the queue was empty. */
  repeats = 0;

  add(ms: number): void {
    const us = Math.min(Math.round(ms * 1000), this.#counts.length - 1);
    this.#counts[us] = (this.#counts[us] as number) + 1;
    this.#count++;
  }

  get count(): number {
    return this.#count;
  }

  percentileUs(percent: number): number {
    let rest = Math.ceil(this.#count * percent / 100);
    return this.#counts.findIndex((count) => (rest -= count) <= 0);
  }
}

let lastNumber = 0;

/** A task's number: unique in this process, of at most 8 digits. */
function nextNumber(): number {
  return lastNumber = (lastNumber + 1) % 100_000_000;
}

/** Draws the priorities, the same in each run. */
const random = new Random(20_260_101);

/** Runs clients until the time is over; `turn` sends what is due and tells how long to wait. */
function measure(
  job: Extract<Job, { kind: "drive" | "pace" }>,
  turn: (clients: readonly Client[], nowMs: number) => number,
  answered: (client: Client, tasks: number) => void,
): Measurement {
  using poller = new Poller();
  const creates = job.kind === "drive" || job.creates;
  // Without creates there is nothing to connect for.
  const target = creates ? job.target : { ...job.target, connections: 1 as const };
  const clients = Array.from({ length: job.clients }, (_, i) => new Client(target, i));
  clients.forEach((client, i) => client.watch(poller, i));
  const mayBeEmpty = job.kind === "pace";
  let latencies = new Latencies();
  const run = (untilMs: number, isDone = () => false) => {
    for (let nowMs = performance.now(); nowMs < untilMs && !isDone(); nowMs = performance.now()) {
      const found = poller.wait(turn(clients, nowMs));
      for (let i = 0; i < found; i++) {
        const key = poller.key(i);
        const client = clients[key >> 1] as Client;
        answered(client, client.take(key, latencies, mayBeEmpty));
      }
    }
  };
  try {
    run(performance.now() + 1000 * job.warmUpSeconds);
    latencies = new Latencies();
    const [startMs, server, load] = [
      performance.now(),
      cpuSeconds(job.target.pid),
      cpuSeconds("self"),
    ];
    run(startMs + 1000 * job.seconds);
    const seconds = (performance.now() - startMs) / 1000;
    const measured = latencies;
    const measurement = {
      tasks: measured.count,
      repeats: measured.repeats,
      seconds,
      serverSeconds: cpuSeconds(job.target.pid) - server,
      loadSeconds: cpuSeconds("self") - load,
      p50Us: measured.percentileUs(50),
      p99Us: measured.percentileUs(99),
    };
    // What is under way is taken in, so that the queue is as long as before.
    turn = () => 10;
    answered = (client) => client.flush();
    run(performance.now() + drainMs, () => clients.every((client) => client.waiting === 0));
    if (clients.some((client) => client.waiting > 0)) throw new Error("answers are missing");
    return measurement;
  } finally {
    for (const client of clients) client.close();
  }
}

function drive(job: Extract<Job, { kind: "drive" }>): Measurement {
  const sendTasks = (client: Client, tasks: number) => {
    const nowMs = performance.now();
    for (let i = 0; i < tasks; i++) client.create();
    for (let i = 0; i < tasks; i++) client.request(nowMs);
    client.flush();
  };
  let hasStarted = false;
  return measure(job, (clients) => {
    if (!hasStarted) clients.forEach((client) => sendTasks(client, job.inFlight));
    hasStarted = true;
    return 100;
  }, sendTasks);
}

function pace(job: Extract<Job, { kind: "pace" }>): Measurement {
  const periodMs = 1000 / job.perSecond;
  let dueMs = performance.now();
  let turns = 0;
  return measure(job, (clients, nowMs) => {
    for (; dueMs <= nowMs; dueMs += periodMs) {
      const client = clients[turns++ % clients.length] as Client;
      if (job.creates) client.create();
      client.request(dueMs);
      client.flush();
    }
    // epoll counts whole milliseconds: what is due before the next one is waited for in a loop.
    return Math.max(0, Math.floor(dueMs - nowMs - 1));
  }, (client) => client.flush());
}

function fill({ target, tasks }: Extract<Job, { kind: "fill" }>): Measurement {
  const client = new Client(target, 0);
  const [startMs, server, load] = [performance.now(), cpuSeconds(target.pid), cpuSeconds("self")];
  for (let created = 0; created < tasks;) {
    const batch = Math.min(fillBatch, tasks - created);
    for (let i = 0; i < batch; i++) client.create();
    client.confirmCreates();
    created += batch;
  }
  client.close();
  return {
    tasks,
    repeats: 0,
    seconds: (performance.now() - startMs) / 1000,
    serverSeconds: cpuSeconds(target.pid) - server,
    loadSeconds: cpuSeconds("self") - load,
    p50Us: 0,
    p99Us: 0,
  };
}

if (import.meta.main) {
  const jobs = Deno.stdin.readable.pipeThrough(new TextDecoderStream())
    .pipeThrough(new TextLineStream());
  for await (const line of jobs) {
    const job = JSON.parse(line) as Job;
    const measurement = job.kind === "fill"
      ? fill(job)
      : job.kind === "drive"
      ? drive(job)
      : pace(job);
    console.log(JSON.stringify(measurement));
  }
}
