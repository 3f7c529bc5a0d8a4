/**
 * A relay between a front and its engine, which can lose an answer.
 *
 * @module
 */

import { isDisconnect } from "../../lib/net/connection.ts";

/** Forwards connections, and loses what the engine says next whenever it is told to. */
export class Relay implements AsyncDisposable {
  readonly #listener: Deno.TcpListener;
  readonly #target: number;
  readonly #conns = new Set<Deno.Conn>();
  readonly #running: Promise<void>[] = [];
  /** How many answers are to be lost. */
  toLose = 0;

  /** Forwards what connects to a free port of an address to a port of 127.0.0.1. */
  constructor(target: number, hostname = "127.0.0.1") {
    this.#listener = Deno.listen({ hostname, port: 0 });
    this.#target = target;
    this.#running.push(this.#accept());
  }

  /** Where it listens. */
  get port(): number {
    return this.#listener.addr.port;
  }

  async #accept(): Promise<void> {
    for await (const front of this.#listener) {
      const engine = await Deno.connect({ hostname: "127.0.0.1", port: this.#target });
      for (const conn of [front, engine]) this.#conns.add(conn);
      const end = () => {
        for (const conn of [front, engine]) {
          if (this.#conns.delete(conn)) conn.close();
        }
      };
      this.#running.push(this.#pass(front, engine, () => true, end));
      this.#running.push(
        this.#pass(engine, front, () => this.toLose === 0 || this.toLose-- < 0, end),
      );
    }
  }

  async #pass(from: Deno.Conn, to: Deno.Conn, mayPass: () => boolean, end: () => void) {
    const buffer = new Uint8Array(65536);
    try {
      for (let count; (count = await from.read(buffer)) !== null;) {
        if (!mayPass()) break;
        for (let sent = 0; sent < count;) sent += await to.write(buffer.subarray(sent, count));
      }
    } catch (error) {
      if (!isDisconnect(error) && !(error instanceof Deno.errors.BadResource)) throw error;
    } finally {
      end();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const conn of this.#conns) conn.close();
    this.#conns.clear();
    await Promise.all(this.#running);
  }
}
