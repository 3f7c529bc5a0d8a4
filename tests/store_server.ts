/**
 * A server with a store, as a process, and the dialogues that tests have with it.
 *
 * @module
 */

import { Program } from "./support/programs.ts";
import { RawPeer } from "./support/raw_peer.ts";

/** Requests that are sent at once to empty a server: one commit for all. */
const drainAtOnce = 200;

const denoRun: readonly string[] = [
  ...[Deno.execPath(), "run", "--no-prompt", "--allow-net", "--allow-read", "--allow-write"],
  new URL("../server.ts", import.meta.url).pathname,
];

/** A server and where it listens. */
export class StoreServer extends Program {
  /** The port for producers. */
  producerPort = 0;
  /** The port for consumers. */
  consumerPort = 0;

  /**
   * Starts a server on a store and waits until it listens.
   *
   * @param options.shell what a shell does before: limits, traps.
   * @param options.program the server's program and its first arguments; `deno run` by default.
   */
  static async start(
    store: string,
    options: {
      readonly args?: readonly string[];
      readonly shell?: string;
      readonly program?: readonly string[];
    } = {},
  ): Promise<StoreServer> {
    const command = [
      ...options.program ?? denoRun,
      ...["127.0.0.1", "0", "0", "--store", store, ...options.args ?? []],
    ];
    const [file, ...args] = options.shell === undefined
      ? command
      : ["sh", "-c", `${options.shell}; exec "$@"`, "sh", ...command];
    const server = new StoreServer({ file: file as string, args, clearEnv: false });
    try {
      const { text } = await server.stderr.line(/^listening: /);
      const [producerPort, consumerPort] = text.matchAll(/:(\d+)/g).map((match) => match[1]);
      server.producerPort = Number(producerPort);
      server.consumerPort = Number(consumerPort);
      return server;
    } catch (error) {
      await server[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Connects as a producer. */
  producer(): Promise<RawPeer> {
    return RawPeer.connect(this.producerPort);
  }

  /** Connects as a consumer, and takes the greeting. */
  async consumer(): Promise<RawPeer> {
    const consumer = await RawPeer.connect(this.consumerPort);
    await consumer.received.next();
    return consumer;
  }

  /** Kills it as `kill -9` does. */
  async crash(): Promise<void> {
    this.kill("SIGKILL");
    await this.exitCode();
  }

  /** Takes all ready tasks; their names in the order in which they came. */
  async drain(): Promise<string[]> {
    await using consumer = await this.consumer();
    const names: string[] = [];
    for (let isEmpty = false; !isEmpty;) {
      await consumer.send("REQUEST\n".repeat(drainAtOnce));
      for (let i = 0; i < drainAtOnce; i++) {
        const [verb, name] = (await consumer.received.next()).split(" ");
        if (verb === "NOTASK") isEmpty = true;
        else names.push(name as string);
      }
    }
    return names;
  }
}
