/**
 * Consumers that wait for a task, by the thousands.
 *
 * @module
 */

import { writeAll } from "../../tests/lab/peers.ts";

/** Connections that are opened at a time: the queue of a listener is short. */
const openedAtOnce = 100;

/** Bytes of an answer that matter here. */
const answerBytes = 256;

/** Consumers that have asked for a task and wait; they are disconnected with their scope. */
export class IdleConsumers implements Disposable {
  readonly #connections: Deno.TcpConn[] = [];
  #first = Promise.withResolvers<string>();

  /** Has so many consumers wait for so many seconds. */
  async add(
    port: number,
    { count, waitSeconds }: { readonly count: number; readonly waitSeconds: number },
  ): Promise<void> {
    for (let left = count; left > 0; left -= openedAtOnce) {
      const opening = Math.min(left, openedAtOnce);
      await Promise.all(Array.from({ length: opening }, () => this.#open(port, waitSeconds)));
    }
  }

  /** How many wait, or have been answered. */
  get size(): number {
    return this.#connections.length;
  }

  /** The next answer that any of them gets. */
  next(): Promise<string> {
    this.#first = Promise.withResolvers<string>();
    return this.#first.promise;
  }

  async #open(port: number, waitSeconds: number): Promise<void> {
    const connection = await Deno.connect({ hostname: "127.0.0.1", port });
    this.#connections.push(connection);
    await readLine(connection);
    await writeAll(connection, new TextEncoder().encode(`RESERVE ${waitSeconds}\n`));
    readLine(connection).then((line) => this.#first.resolve(line), () => {});
  }

  [Symbol.dispose](): void {
    for (const connection of this.#connections) connection.close();
  }
}

/** One read: what a consumer is told fits into one packet. */
async function readLine(connection: Deno.TcpConn): Promise<string> {
  const buffer = new Uint8Array(answerBytes);
  const count = await connection.read(buffer);
  if (count === null) throw new Error("the front has closed a connection");
  return new TextDecoder().decode(buffer.subarray(0, count));
}
