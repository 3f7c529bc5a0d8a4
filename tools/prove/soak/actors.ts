/**
 * The peers of a soak: honest ones that check every answer, and those that behave badly.
 *
 * @module
 */

import { sleep } from "../../../lib/clock.ts";
import { isDisconnect } from "../../../lib/net/connection.ts";
import { LineBuffer } from "../../../tests/lab/line_buffer.ts";
import { drawLine } from "../../../tests/lab/load/line_fuzzer.ts";
import { ResettingPeer } from "../../../tests/lab/load/resets.ts";
import { connectMany, Flood } from "../../../tests/lab/load/scenarios.ts";
import type { Random } from "../../../tests/lab/random.ts";
import type { EventModel } from "../../../tests/lab/judges/event_model.ts";

/** Producers wait while so many tasks are ready. */
const maxReadyTasks = 10_000;

/** How long a server may take to answer, or to print, in milliseconds. */
const patienceMs = 30_000;

/** What all actors work with. */
export interface Stage {
  /** Where producers connect. */
  readonly producerPort: number;
  /** Where consumers connect. */
  readonly consumerPort: number;
  /** What the server's lines say. */
  readonly model: EventModel;
  /** Draws what they do. */
  readonly random: Random;
  /** Aborts when they must come to their end. */
  readonly signal: AbortSignal;
  /** Starts a client program of the project; returns how to kill it. */
  startProgram(role: "producer" | "consumer"): Promise<() => Promise<void>>;
}

/** Runs one round: connects, does what it is here for, and leaves. */
export type Actor = (stage: Stage) => Promise<void>;

/** How the names of tasks begin whose lines never end: none of them may be created. */
export const unendedName = "unended";

let lastTask = 0;

/** Lines that are no command of the producer port: none of them may create a task. */
const malformed = ["", "create 1 a 1", "CREATE 9 a 1", "CREATE 1 a", "CREATE 1 \xff 1e9", "SYNC 1"];

/** Actors by name, and how many of each are at work at a time. */
export const actors: readonly { name: string; count: number; act: Actor }[] = [
  { name: "honest producer", count: 3, act: produce },
  { name: "honest consumer", count: 3, act: (stage) => consume(stage, "REQUEST") },
  { name: "reserving consumer", count: 3, act: (stage) => consume(stage, "RESERVE") },
  { name: "killed program", count: 2, act: killProgram },
  { name: "reset", count: 2, act: reset },
  { name: "half line", count: 1, act: halfLine },
  { name: "malformed lines", count: 1, act: sendMalformed },
  { name: "flood", count: 1, act: flood },
  { name: "slow reader", count: 2, act: readSlowly },
  { name: "storm of connects", count: 1, act: storm },
];

async function produce({ producerPort, model, random, signal }: Stage): Promise<void> {
  using link = await Link.connect(producerPort);
  let created = 0;
  for (let batches = 1 + random.below(20); batches > 0 && !signal.aborted; batches--) {
    while (model.readyTasks > maxReadyTasks && await sleep(20, signal)) { /* consumers work */ }
    const size = 1 + random.below(50);
    const lines = Array.from({ length: size }, () => newTask(random));
    created += size;
    await link.send(lines.join("") + "SYNC\n");
    const answer = await link.read();
    if (answer !== `OK ${created}`) model.fail(`SYNC after ${created} tasks got ${answer}`);
    await sleep(random.below(20), signal);
  }
}

/** Takes tasks, and in the end compares them with what the server says it handed out. */
async function consume(stage: Stage, verb: "REQUEST" | "RESERVE"): Promise<void> {
  const { consumerPort, model, random, signal } = stage;
  const link = await Link.connect(consumerPort);
  const number = Number((await link.read())?.slice("Consumer".length));
  const got: string[] = [];
  let ends = "";
  for (let rounds = 1 + random.below(30); rounds > 0 && !signal.aborted; rounds--) {
    const depth = 1 + random.below(30);
    await link.send(ends + `${verb}\n`.repeat(depth));
    ends = "";
    for (let i = 0; i < depth; i++) {
      const [kind, task] = (await link.read())?.split(" ") ?? [];
      if (kind === "ASSIGN" && task !== undefined) {
        got.push(task);
        if (verb === "RESERVE") ends += `${random.chance(80) ? "COMPLETE" : "RELEASE"} ${task}\n`;
      } else if (kind !== "NOTASK") model.fail(`consumer${number} got ${kind} for ${verb}`);
    }
    await sleep(random.below(20), signal);
  }
  // What it holds comes back; all that it was handed must be on the server's console.
  link[Symbol.dispose]();
  const isShown = () => (model.handedTo(number)?.length ?? 0) >= got.length;
  for (let waitedMs = 0; !isShown() && waitedMs < patienceMs; waitedMs += 20) await sleep(20);
  const handed = model.handedTo(number) ?? [];
  if (handed.join() !== got.join()) {
    model.fail(`consumer${number} got ${got.length} tasks, the server says ${handed.length}`);
  }
}

async function killProgram({ random, signal, startProgram }: Stage): Promise<void> {
  const kill = await startProgram(random.chance(50) ? "producer" : "consumer");
  await sleep(200 + random.below(5000), signal);
  await kill();
}

async function reset({ producerPort, consumerPort, random, signal }: Stage): Promise<void> {
  const isConsumer = random.chance(70);
  const peer = await ResettingPeer.connect(isConsumer ? consumerPort : producerPort);
  if (isConsumer) await peer.send(random.chance(30) ? "RESERVE\n".repeat(3) : "REQUEST\n");
  else await peer.send(newTask(random) + newTask(random).slice(0, -3));
  await sleep(random.below(50), signal);
  await peer.reset();
  await sleep(random.below(200), signal);
}

async function halfLine({ producerPort, consumerPort, random, signal }: Stage): Promise<void> {
  const isConsumer = random.chance(50);
  using link = await Link.connect(isConsumer ? consumerPort : producerPort);
  await link.send(isConsumer ? "REQU" : `CREATE 1 ${unendedName}${random.next()} 1`);
  await sleep(random.below(500), signal);
}

async function sendMalformed({ producerPort, consumerPort, random, signal }: Stage): Promise<void> {
  const isConsumer = random.chance(50);
  using link = await Link.connect(isConsumer ? consumerPort : producerPort);
  for (let lines = random.below(150); lines > 0 && !link.hasEnded; lines--) {
    await link.sendBytes(
      isConsumer ? drawLine(random) : new TextEncoder().encode(`${random.pick(malformed)}\n`),
    );
  }
  await sleep(random.below(300), signal);
}

async function flood({ consumerPort, random, signal }: Stage): Promise<void> {
  if (!await sleep(random.below(15_000), signal)) return;
  const order = { port: consumerPort, connections: 1 + random.below(8), line: "REQUEST" };
  using _flood = await Flood.start(order);
  await sleep(1000 + random.below(3000), signal);
}

async function readSlowly({ consumerPort, random, signal }: Stage): Promise<void> {
  using link = await Link.connect(consumerPort);
  await link.send("REQUEST\n".repeat(1 + random.below(500)));
  for (let bytes = random.below(100); bytes > 0 && await sleep(50, signal); bytes--) {
    await link.readByte();
  }
}

async function storm({ producerPort, consumerPort, random, signal }: Stage): Promise<void> {
  const port = random.chance(50) ? consumerPort : producerPort;
  for (const conn of await connectMany(port, 50 + random.below(200))) conn.close();
  await sleep(random.below(3000), signal);
}

function newTask(random: Random): string {
  return `CREATE ${1 + random.below(3)} task${++lastTask} 0.${random.below(10)}\n`;
}

/** A connection that ends quietly where the server ends it. */
export class Link implements Disposable {
  /** True where the server has ended it. */
  hasEnded = false;
  readonly #conn: Deno.TcpConn;
  readonly #lines = new LineBuffer();
  readonly #buffer = new Uint8Array(4096);

  private constructor(conn: Deno.TcpConn) {
    conn.setNoDelay(true);
    this.#conn = conn;
  }

  /** Connects to a port of 127.0.0.1. */
  static async connect(port: number): Promise<Link> {
    return new Link(await Deno.connect({ hostname: "127.0.0.1", port }));
  }

  /** Sends a text as it is. */
  async send(text: string): Promise<void> {
    await this.sendBytes(new TextEncoder().encode(text));
  }

  /** Sends bytes. */
  async sendBytes(bytes: Uint8Array): Promise<void> {
    for (let sent = 0; sent < bytes.length && !this.hasEnded;) {
      sent += await this.#attempt(() => this.#conn.write(bytes.subarray(sent))) ?? 0;
    }
  }

  /** Reads the next line; undefined at the end. */
  async read(): Promise<string | undefined> {
    for (;;) {
      const line = this.#lines.next();
      if (line !== undefined) return line;
      const count = await this.#attempt(() => this.#conn.read(this.#buffer));
      if (count === undefined) return undefined;
      this.#lines.add(this.#buffer.subarray(0, count));
    }
  }

  /** Reads one byte. */
  async readByte(): Promise<void> {
    await this.#attempt(() => this.#conn.read(this.#buffer.subarray(0, 1)));
  }

  async #attempt(action: () => Promise<number | null>): Promise<number | undefined> {
    const late = AbortSignal.timeout(patienceMs);
    const close = () => this[Symbol.dispose]();
    late.addEventListener("abort", close);
    try {
      const count = await action();
      if (count !== null) return count;
    } catch (error) {
      if (!isDisconnect(error)) throw error;
    } finally {
      late.removeEventListener("abort", close);
    }
    this.hasEnded = true;
    return undefined;
  }

  /** Closes the connection. */
  [Symbol.dispose](): void {
    try {
      this.#conn.close();
    } catch (error) {
      if (!isDisconnect(error)) throw error; // closed before
    }
  }
}
