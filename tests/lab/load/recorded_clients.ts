/**
 * Producers and consumers that write down what they say and get, for ../judges/history.ts.
 *
 * They are the client library's, but for those that say `REQUEST` or `KICK`, which the library does
 * not: these stay on bare sockets, with several lines under way at once.
 *
 * @module
 */

import {
  connectConsumer,
  connectProducer,
  DisconnectedError,
  LostTaskError,
  type NewTask,
  QueueError,
  type Task,
} from "../../../mod.ts";
import type { ClientHistory, Entry } from "../judges/history.ts";
import { RawPeer } from "../peers.ts";
import type { Random } from "../random.ts";

/** How a producer or a consumer behaves. */
export interface Behaviour {
  /** Draws what it does. */
  readonly random: Random;
  /** Says before each step whether to go on; without it, all tasks or requests are sent. */
  readonly goesOn?: () => boolean;
}

/** How long a reserving consumer waits for an answer at most, in milliseconds. */
const mostReservingMs = 4000;

/** Most tasks that a reserving consumer holds at a time. */
const maxHeld = 4;

/** How a reserving consumer ends a task, in percent; the rest is completed. */
const percents = { release: 15, bury: 5 };

/** How many of 100 tasks it touches before. */
const touchPercent = 10;

/** Writes down the histories of all clients of one run, on one clock. */
export class Recorder {
  /** What was written down. */
  readonly clients: ClientHistory[] = [];
  readonly #patienceMs: number;
  /** Counts entries: all clients run in one process, so that is a clock, and never stands still. */
  #now = 0;
  #lastTask = 0;

  /**
   * Begins with no client.
   *
   * @param options.patienceMs how long a client waits for an answer before it gives its connection
   * up; a reserving consumer waits 4 s at most, since after 5 s the library says that there is no task.
   */
  constructor(options: { readonly patienceMs: number }) {
    this.#patienceMs = options.patienceMs;
  }

  /**
   * Connects a producer, which creates some tasks.
   *
   * @param tasks how many.
   * @param window how many may be unconfirmed.
   */
  async produce(port: number, { tasks, window = 20, random, goesOn = () => true }: Behaviour & {
    readonly tasks: number;
    readonly window?: number;
  }): Promise<void> {
    const client = this.#begin("producer");
    const producer = await client.ask(connectProducer({ port, ...client.options }));
    if (producer === undefined) return;
    const unconfirmed = new Set<Promise<void>>();
    for (let left = tasks; left > 0 && goesOn() && !client.isBroken; left--) {
      const [task, priority] = [`task${++this.#lastTask}`, 1 + random.below(3)];
      client.write({ sent: "CREATE", task, priority });
      const created = producer.create({ id: task, duration: 1, priority } as NewTask);
      const confirmed = client.confirm(task, created)
        .then(() => void unconfirmed.delete(confirmed));
      confirmed.catch(() => {}); // one that rejects stays, and is awaited
      unconfirmed.add(confirmed);
      if (unconfirmed.size >= window) await Promise.race(unconfirmed);
    }
    await Promise.all(unconfirmed);
    await producer.close();
  }

  /** Connects a consumer, which reserves tasks, holds some at a time, and ends them. */
  async reserve(port: number, { requests, random, goesOn = () => true }: Behaviour & {
    readonly requests: number;
  }): Promise<void> {
    const client = this.#begin("reserving consumer", { mostMs: mostReservingMs });
    const consumer = await client.ask(connectConsumer({ port, ...client.options }));
    if (consumer === undefined) return;
    let held: Task[] = [];
    for (let left = requests; left > 0 && goesOn() && !client.isBroken; left--) {
      client.write({ sent: "RESERVE" });
      const task = await client.ask(consumer.next({ waitMs: 0 }));
      if (client.isBroken) break; // undefined says no more than that
      client.write(task === undefined ? { got: "NOTASK" } : { got: "ASSIGN", task: task.id });
      if (task !== undefined) held.push(task);
      if (task !== undefined && held.length < 1 + random.below(maxHeld)) continue;
      await Promise.all(held.map((task) => endTask(client, task, random)));
      held = [];
    }
    await consumer.close();
  }

  /** Connects a consumer, which sends some requests, several at once. */
  async request(port: number, { requests, random, goesOn = () => true }: Behaviour & {
    readonly requests: number;
  }): Promise<void> {
    const client = this.#begin("requesting consumer");
    const peer = await greeted(client, port);
    for (let left = requests; left > 0 && goesOn() && !client.isBroken;) {
      const depth = Math.min(left, 1 + random.below(4));
      left -= depth;
      await requestTasks(client, peer, depth);
    }
    peer?.close();
  }

  /**
   * Takes what is left, until there is nothing; the names in the order in which they came.
   *
   * @throws {Error} the server ends the connection, or does not answer.
   */
  async drain(port: number, { depth = 1 }: { readonly depth?: number } = {}): Promise<string[]> {
    const client = this.#begin("drain");
    const peer = await greeted(client, port);
    const names: string[] = [];
    for (let got = depth; got === depth;) {
      const assigned = await requestTasks(client, peer, depth);
      if (client.isBroken) throw new Error("the server does not answer the one who drains");
      names.push(...assigned);
      got = assigned.length;
    }
    peer?.close();
    return names;
  }

  /** Kicks tasks, buried or not; the number of those that were. */
  async kick(port: number, tasks: readonly string[]): Promise<number> {
    const client = this.#begin("kick");
    await using peer = await RawPeer.connect(port);
    for (const task of tasks) client.write({ sent: "KICK", task });
    await peer.send(tasks.map((task) => `KICK ${task}\n`).join(""));
    let buried = 0;
    for (const _ of tasks) if (await peer.received.next() === "OK 1") buried++;
    return buried;
  }

  #begin(kind: string, { mostMs = Infinity } = {}): RecordedClient {
    const client = new RecordedClient(`${kind} ${this.clients.length}`, {
      tick: () => ++this.#now,
      patienceMs: Math.min(this.#patienceMs, mostMs),
    });
    this.clients.push(client);
    return client;
  }
}

type Untimed<T> = T extends unknown ? Omit<T, "at"> : never;

/** One client that is written down. */
class RecordedClient implements ClientHistory {
  readonly client: string;
  readonly entries: Entry[] = [];
  isBroken = false;
  readonly patienceMs: number;
  readonly #tick: () => number;
  readonly #givingUp = new AbortController();

  constructor(
    client: string,
    { tick, patienceMs }: { readonly tick: () => number; readonly patienceMs: number },
  ) {
    this.client = client;
    this.#tick = tick;
    this.patienceMs = patienceMs;
  }

  /** How the library connects for it: it is broken as soon as one connection is lost. */
  get options() {
    const onDisconnect = () => void (this.isBroken = true);
    return { retry: false, signal: this.#givingUp.signal, onDisconnect } as const;
  }

  write(entry: Untimed<Entry>): void {
    this.entries.push({ ...entry, at: this.#tick() });
  }

  /**
   * Awaits what the library promises.
   *
   * @returns undefined if the connection was lost, or nothing came in time; then it is given up.
   * @throws {QueueError} the server refuses it, or does not keep to the protocol.
   */
  async ask<T>(promise: Promise<T>): Promise<T | undefined> {
    const late = setTimeout(() => this.#giveUp(), this.patienceMs);
    try {
      return await promise;
    } catch (error) {
      if (!this.#givingUp.signal.aborted && !isLoss(error)) throw error;
      this.#giveUp();
      return undefined;
    } finally {
      clearTimeout(late);
    }
  }

  /** Writes down that what was said of a task is done, when the library says so. */
  async confirm(task: string, promise: Promise<void>): Promise<void> {
    await this.ask(promise.then(() => this.write({ got: "CONFIRMED", task })));
  }

  #giveUp(): void {
    this.isBroken = true;
    this.#givingUp.abort();
  }
}

/** Whether only the connection was lost: what the server must not say is a QueueError's cause. */
function isLoss(error: unknown): boolean {
  if (!(error instanceof DisconnectedError || error instanceof LostTaskError)) return false;
  return error.cause instanceof Error && !(error.cause instanceof QueueError);
}

async function endTask(client: RecordedClient, task: Task, random: Random): Promise<void> {
  if (random.chance(touchPercent)) {
    client.write({ sent: "TOUCH", task: task.id });
    await client.ask(task.touch());
    if (client.isBroken) return;
  }
  const drawn = random.below(100);
  const isReleased = drawn < percents.release;
  const isBuried = !isReleased && drawn < percents.release + percents.bury;
  const sent = isReleased ? "RELEASE" : isBuried ? "BURY" : "COMPLETE";
  client.write({ sent, task: task.id });
  const ended = isReleased ? task.release() : isBuried ? task.bury() : task.complete();
  await client.confirm(task.id, ended);
}

/** Connects a bare socket to a consumer port; undefined, and broken, if nothing listens there. */
async function greeted(client: RecordedClient, port: number): Promise<RawPeer | undefined> {
  try {
    const peer = await RawPeer.connect(port);
    if (await peer.receive(client.patienceMs) === undefined) client.isBroken = true;
    return peer;
  } catch (error) {
    if (!(error instanceof Deno.errors.ConnectionRefused)) throw error;
    client.isBroken = true;
  }
}

/** Sends some `REQUEST`s in one piece; the tasks that came. */
async function requestTasks(
  client: RecordedClient,
  peer: RawPeer | undefined,
  depth: number,
): Promise<string[]> {
  const names: string[] = [];
  for (let i = 0; i < depth; i++) client.write({ sent: "REQUEST" });
  if (!await peer?.offer("REQUEST\n".repeat(depth), client.patienceMs)) client.isBroken = true;
  for (let i = 0; i < depth && !client.isBroken; i++) {
    const line = await peer?.receive(client.patienceMs);
    const [verb, task = ""] = line?.split(" ") ?? [];
    if (verb === undefined) client.isBroken = true;
    else if (verb === "NOTASK") client.write({ got: verb });
    else if (verb !== "ASSIGN") throw new Error(`${client.client} got ${line}`);
    else {
      client.write({ got: verb, task });
      names.push(task);
    }
  }
  return names;
}
