/**
 * Ending a connection with a reset, which Deno's own sockets cannot do at will.
 *
 * @module
 */

import { connect, type Socket } from "node:net";

/** A connection that reads nothing and ends with RST. */
export class ResettingPeer {
  readonly #socket: Socket;

  private constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** Connects to a port of 127.0.0.1. */
  static async connect(port: number): Promise<ResettingPeer> {
    const socket = connect({ port, host: "127.0.0.1" });
    // Paused, it leaves in the kernel what comes.
    socket.pause();
    await new Promise<void>((resolve, reject) => {
      socket.once("connect", resolve);
      socket.once("error", reject);
    });
    socket.setNoDelay(true);
    socket.on("error", () => {}); // a reset by the other end
    return new ResettingPeer(socket);
  }

  /** Sends a text as it is. */
  async send(text: string): Promise<void> {
    await new Promise<void>((resolve) => this.#socket.write(text, () => resolve()));
  }

  /** Ends the connection with RST: what either side has not read is lost. */
  async reset(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#socket.once("close", () => resolve()));
    this.#socket.resetAndDestroy();
    await closed;
  }
}
