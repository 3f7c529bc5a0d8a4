/**
 * Accepts TCP connections, and has those that are open read in between.
 *
 * @module
 */

import type { Address } from "../address.ts";
import { nowMs, sleep } from "../clock.ts";
import type { Listener } from "./stream.ts";

/** How long connections are accepted one after the other before open ones are read, in milliseconds. */
const acceptingMs = 2;

/** A socket that listens; closed when its scope is left. */
export class TcpListener implements Listener, Disposable {
  readonly #listener: Deno.TcpListener;
  #restedMs = -Infinity;

  /** Takes over a listener. */
  constructor(listener: Deno.TcpListener) {
    this.#listener = listener;
  }

  /** Where it listens. */
  get addr(): Address {
    return this.#listener.addr;
  }

  /**
   * Waits for the next peer, and before that, now and then, a millisecond for others to be read.
   *
   * While connections wait, Deno's accept() resolves without a look at any other socket. Who
   * connects faster than they are accepted would keep everybody else from being read. It must be a
   * timer: the runtime asks for input when it has nothing else to do.
   */
  async accept(): Promise<Deno.TcpConn> {
    if (nowMs() - this.#restedMs >= acceptingMs) {
      await sleep(1);
      this.#restedMs = nowMs();
    }
    return await this.#listener.accept();
  }

  /** Accepts no more peers: an accept that waits is rejected. */
  close(): void {
    this.#listener.close();
  }

  /** Closes it, unless it is closed already. */
  [Symbol.dispose](): void {
    this.#listener[Symbol.dispose]();
  }
}
