/**
 * Producers and consumers that write down what they send and get, for ../judges/history.ts.
 *
 * @module
 */

import type { ClientHistory, Entry } from "../judges/history.ts";
import type { Random } from "../random.ts";
import { RawPeer } from "../peers.ts";

/** How a producer or a consumer behaves. */
export interface Behaviour {
  /** Draws what it does. */
  readonly random: Random;
  /** Says before each step whether to send more; without it, all tasks or requests are sent. */
  readonly goesOn?: () => boolean;
}

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
   * up.
   */
  constructor(options: { readonly patienceMs: number }) {
    this.#patienceMs = options.patienceMs;
  }

  /**
   * Connects a producer, which creates some tasks in batches, and syncs each.
   *
   * @param tasks how many tasks it creates.
   * @param window how many batches may be on their way.
   */
  async produce(port: number, { tasks, window = 1, random, goesOn = () => true }: Behaviour & {
    readonly tasks: number;
    readonly window?: number;
  }): Promise<void> {
    const link = await this.#connect(port, `producer ${this.clients.length}`);
    if (link === undefined) return;
    let waiting = 0;
    for (let left = tasks; (waiting > 0 || (left > 0 && goesOn())) && !link.isBroken;) {
      while (left > 0 && waiting < window && goesOn()) {
        const batch = Math.min(left, 1 + random.below(20));
        left -= batch;
        waiting++;
        const creates = Array.from({ length: batch }, () => ({
          ...{ sent: "CREATE" as const, task: `task${++this.#lastTask}` },
          priority: 1 + random.below(3),
        }));
        await link.send([...creates, { sent: "SYNC" }]);
      }
      await link.receive("OK");
      waiting--;
    }
    link.close();
  }

  /** Connects a consumer, which asks some times, several requests at once. */
  async consume(port: number, { requests, isReserving, random, goesOn = () => true }: Behaviour & {
    readonly requests: number;
    readonly isReserving: boolean;
  }): Promise<void> {
    const link = await this.#connect(port, `consumer ${this.clients.length}`);
    if (link === undefined) return;
    await link.receive("Consumer");
    const held: string[] = [];
    for (let left = requests; left > 0 && goesOn() && !link.isBroken;) {
      const depth = Math.min(left, 1 + random.below(4));
      left -= depth;
      const ends = held.splice(0).map((task) => ({
        sent: random.chance(80) ? "COMPLETE" as const : "RELEASE" as const,
        task,
      }));
      const asks = Array.from({ length: depth }, () => ({
        sent: isReserving ? "RESERVE" as const : "REQUEST" as const,
      }));
      await link.send([...ends, ...asks]);
      for (let i = 0; i < depth && !link.isBroken; i++) {
        const answer = await link.receive("ASSIGN", "NOTASK");
        if (answer?.[0] === "ASSIGN" && isReserving) held.push(answer[1] as string);
      }
    }
    link.close();
  }

  /**
   * Takes what is left, until there is nothing; the names in the order in which they came.
   *
   * @throws {Error} the server ends the connection, or does not answer.
   */
  async drain(port: number, { depth = 1 }: { readonly depth?: number } = {}): Promise<string[]> {
    const link = await this.#connect(port, "drain");
    await link?.receive("Consumer");
    const names: string[] = [];
    for (let isEmpty = false; !isEmpty;) {
      await link?.send(Array.from({ length: depth }, () => ({ sent: "REQUEST" })));
      for (let i = 0; i < depth; i++) {
        const answer = await link?.receive("ASSIGN", "NOTASK");
        if (answer === undefined) throw new Error("the server does not answer the one who drains");
        if (answer[0] === "NOTASK") isEmpty = true;
        else names.push(answer[1] as string);
      }
    }
    link?.close();
    return names;
  }

  /** Connects; undefined if nothing listens any more. */
  async #connect(port: number, client: string): Promise<Link | undefined> {
    const entries: Entry[] = [];
    const history = { client, entries, isBroken: false };
    this.clients.push(history);
    try {
      const peer = await RawPeer.connect(port);
      return new Link(peer, history, { tick: () => ++this.#now, patienceMs: this.#patienceMs });
    } catch (error) {
      if (!(error instanceof Deno.errors.ConnectionRefused)) throw error;
      history.isBroken = true;
      return undefined;
    }
  }
}

type Sent =
  | { readonly sent: "CREATE"; readonly task: string; readonly priority: number }
  | { readonly sent: "SYNC" | "REQUEST" | "RESERVE" }
  | { readonly sent: "COMPLETE" | "RELEASE"; readonly task: string };

/** One connection that is written down. */
class Link {
  readonly #peer: RawPeer;
  readonly #history: ClientHistory & { entries: Entry[]; isBroken: boolean };
  readonly #tick: () => number;
  readonly #patienceMs: number;

  constructor(
    peer: RawPeer,
    history: ClientHistory & { entries: Entry[]; isBroken: boolean },
    { tick, patienceMs }: { tick: () => number; patienceMs: number },
  ) {
    this.#peer = peer;
    this.#history = history;
    this.#tick = tick;
    this.#patienceMs = patienceMs;
  }

  get isBroken(): boolean {
    return this.#history.isBroken;
  }

  async send(lines: readonly Sent[]): Promise<void> {
    for (const line of lines) this.#history.entries.push({ at: this.#tick(), ...line });
    const text = lines.map((line) =>
      line.sent === "CREATE"
        ? `CREATE ${line.priority} ${line.task} 1\n`
        : "task" in line
        ? `${line.sent} ${line.task}\n`
        : `${line.sent}\n`
    ).join("");
    if (!await this.#peer.offer(text, this.#patienceMs)) this.#history.isBroken = true;
  }

  /** Reads lines up to the first of these kinds; undefined if it does not come. */
  async receive(...kinds: string[]): Promise<string[] | undefined> {
    for (;;) {
      const line = await this.#peer.receive(this.#patienceMs);
      if (line === undefined) {
        this.#history.isBroken = true;
        return undefined;
      }
      const fields = line.split(" ");
      this.#write(fields);
      const [verb = ""] = fields;
      if (!/^(?:Consumer\d+|ASSIGN|NOTASK|OK|ERROR|DONE)$/.test(verb)) {
        throw new Error(`${this.#history.client} got ${line}`);
      }
      if (kinds.some((kind) => verb === kind || /^Consumer\d/.test(verb))) return fields;
    }
  }

  close(): void {
    this.#peer.close();
  }

  #write([verb, first = ""]: string[]): void {
    const at = this.#tick();
    const { entries } = this.#history;
    if (verb === "ASSIGN") entries.push({ at, got: verb, task: first });
    else if (verb === "OK") entries.push({ at, got: verb, count: Number(first) });
    else if (verb === "NOTASK" || verb === "ERROR" || verb === "DONE") {
      entries.push({ at, got: verb });
    }
  }
}
