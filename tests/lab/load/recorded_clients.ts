/**
 * Producers and consumers that write down what they send and get, for tests/lab/judges/history.ts.
 *
 * @module
 */

import { sleep } from "../../../lib/clock.ts";
import { isDisconnect } from "../../../lib/net/connection.ts";
import type { ClientHistory, Entry } from "../judges/history.ts";
import type { Random } from "../random.ts";
import { LineBuffer } from "../line_buffer.ts";

/** How long a client waits for an answer before it gives its connection up, in milliseconds. */
const patienceMs = 1000;

/** Writes down the histories of all clients of one run, on one clock. */
export class Recorder {
  /** What was written down. */
  readonly clients: ClientHistory[] = [];
  /** Counts entries: all clients run in one process, so that is a clock, and never stands still. */
  #now = 0;
  #lastTask = 0;

  /** Connects a producer, which creates some tasks in batches, and syncs each. */
  async produce(port: number, { tasks, random }: { tasks: number; random: Random }): Promise<void> {
    const link = await this.#connect(port, `producer ${this.clients.length}`);
    if (link === undefined) return;
    for (let left = tasks; left > 0 && !link.isBroken;) {
      const batch = Math.min(left, 1 + random.below(20));
      left -= batch;
      const creates = Array.from({ length: batch }, () => ({
        ...{ sent: "CREATE" as const, task: `task${++this.#lastTask}` },
        priority: 1 + random.below(3),
      }));
      await link.send([...creates, { sent: "SYNC" }]);
      await link.receive("OK");
    }
    link.close();
  }

  /** Connects a consumer, which asks some times, several requests at once. */
  async consume(port: number, { requests, isReserving, random }: {
    requests: number;
    isReserving: boolean;
    random: Random;
  }): Promise<void> {
    const link = await this.#connect(port, `consumer ${this.clients.length}`);
    if (link === undefined) return;
    await link.receive("Consumer");
    const held: string[] = [];
    for (let left = requests; left > 0 && !link.isBroken;) {
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

  /** Takes what is left, until there is nothing. */
  async drain(port: number): Promise<void> {
    const link = await this.#connect(port, "drain");
    if (link === undefined) throw new Error("cannot connect to drain");
    await link.receive("Consumer");
    for (let answer: string[] | undefined = ["ASSIGN"]; answer?.[0] === "ASSIGN";) {
      await link.send([{ sent: "REQUEST" }]);
      answer = await link.receive("ASSIGN", "NOTASK");
    }
    link.close();
  }

  async #connect(port: number, client: string): Promise<Link | undefined> {
    const entries: Entry[] = [];
    const history = { client, entries, isBroken: false };
    this.clients.push(history);
    const conn = await Deno.connect({ hostname: "127.0.0.1", port });
    conn.setNoDelay(true);
    return new Link(conn, history, () => ++this.#now);
  }
}

type Sent =
  | { readonly sent: "CREATE"; readonly task: string; readonly priority: number }
  | { readonly sent: "SYNC" | "REQUEST" | "RESERVE" }
  | { readonly sent: "COMPLETE" | "RELEASE"; readonly task: string };

/** One connection that is written down. */
class Link {
  readonly #conn: Deno.TcpConn;
  readonly #history: { entries: Entry[]; isBroken: boolean };
  readonly #tick: () => number;
  readonly #lines = new LineBuffer();

  constructor(
    conn: Deno.TcpConn,
    history: { entries: Entry[]; isBroken: boolean },
    tick: () => number,
  ) {
    this.#conn = conn;
    this.#history = history;
    this.#tick = tick;
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
    const bytes = new TextEncoder().encode(text);
    for (let written = 0; written < bytes.length && !this.isBroken;) {
      written += await this.#attempt(() => this.#conn.write(bytes.subarray(written))) ?? 0;
    }
  }

  /** Reads lines up to the first of these kinds; undefined where it does not come. */
  async receive(...kinds: string[]): Promise<string[] | undefined> {
    for (;;) {
      const line = await this.#readLine();
      if (line === undefined) return undefined;
      const fields = line.split(" ");
      this.#write(fields);
      const [verb = ""] = fields;
      if (kinds.some((kind) => verb === kind || /^Consumer\d/.test(verb))) return fields;
    }
  }

  close(): void {
    try {
      this.#conn.close();
    } catch (error) {
      if (!isDisconnect(error)) throw error; // given up, and so closed before
    }
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

  async #readLine(): Promise<string | undefined> {
    const buffer = new Uint8Array(4096);
    for (;;) {
      const line = this.#lines.next();
      if (line !== undefined) return line;
      const count = await this.#attempt(() => this.#conn.read(buffer));
      if (count === undefined || count === null) {
        this.#history.isBroken = true;
        return undefined;
      }
      this.#lines.add(buffer.subarray(0, count));
    }
  }

  /** Gives the connection up where it takes too long. */
  async #attempt<T>(action: () => Promise<T>): Promise<T | undefined> {
    const inTime = new AbortController();
    const watch = sleep(patienceMs, inTime.signal).then((isLate) => {
      if (isLate) this.close();
    });
    try {
      return await action();
    } catch (error) {
      if (!isDisconnect(error)) throw error;
      this.#history.isBroken = true;
      return undefined;
    } finally {
      inTime.abort();
      await watch;
    }
  }
}
