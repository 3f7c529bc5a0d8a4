/**
 * Connects to a server and is never let in: a thread of its own, so that whoever measures beside it
 * is not slowed by it.
 *
 * @module
 */

/// <reference lib="deno.worker" />

import { connect } from "node:net";

/** What strangers do: begin a TLS handshake, say nothing, or guess tokens. */
export type StrangerKind = "handshakes" | "silence" | "guesses";

/** Who comes, and to whom. */
export interface StrangerOrder {
  /** The ports on 127.0.0.1, which are taken in turn. */
  readonly ports: readonly number[];
  /** What they do. */
  readonly kind: StrangerKind;
  /** How many connections in all. */
  readonly connections: number;
}

/** Guesses under way at a time. */
const guessers = 50;

/** The address that guesses: another one than that of honest clients. */
const guessingAddress = "127.0.0.2";

self.onmessage = async ({ data }: MessageEvent<StrangerOrder>) => {
  await (data.kind === "guesses" ? guessAll(data) : standBeforeTheGate(data));
  self.postMessage("done");
};

/** Connects all, and waits until the server has closed each. */
async function standBeforeTheGate({ ports, kind, connections }: StrangerOrder): Promise<void> {
  const hello = Uint8Array.of(0x16, 3, 1, 2, 0, 1);
  const stand = async (index: number) => {
    using conn = await Deno.connect({ port: ports[index % ports.length] as number });
    try {
      if (kind === "handshakes") await conn.write(hello);
      while (await conn.read(new Uint8Array(100)) !== null);
    } catch {
      // Closed without a word.
    }
  };
  await Promise.all(Array.from({ length: connections }, (_, index) => stand(index)));
}

/** Says wrong tokens, one per connection. */
async function guessAll({ ports, connections }: StrangerOrder): Promise<void> {
  let next = 0;
  const guess = (port: number, token: string) =>
    new Promise<void>((resolve) => {
      const options = { host: "127.0.0.1", port, localAddress: guessingAddress };
      const socket = connect(options, () => socket.write(`AUTH ${token}\n`));
      socket.on("error", () => {}).on("close", () => resolve()).resume();
    });
  const go = async () => {
    while (next < connections) {
      const index = next++;
      await guess(ports[index % ports.length] as number, `wrong-token-${index}`.padEnd(20, "x"));
    }
  };
  await Promise.all(Array.from({ length: guessers }, go));
}
