/**
 * A server with a store, as a process, and the dialogues that tests have with it.
 *
 * @module
 */

import { type Command, Program } from "./processes.ts";
import { RawPeer } from "./peers.ts";

/** Requests that are sent at once to empty a server: one commit for all. */
const drainAtOnce = 200;

const denoRun: readonly string[] = [
  ...[Deno.execPath(), "run", "--no-prompt", "--allow-net", "--allow-read", "--allow-write"],
  new URL("../../server.ts", import.meta.url).pathname,
];

/** The command of a server with a store, on ports that the system chooses. */
export function storeCommand(store: string): Command {
  const [file, ...args] = [...denoRun, "127.0.0.1", "0", "0", "--store", store];
  return { file: file as string, args, clearEnv: false };
}

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

  /**
   * Takes all ready tasks; their names in the order in which they came.
   *
   * @param verb whether they are taken for good, or completed one by one.
   */
  async drain(verb: "REQUEST" | "RESERVE" = "REQUEST"): Promise<string[]> {
    await using consumer = await this.consumer();
    const names: string[] = [];
    for (let isEmpty = false; !isEmpty;) {
      await consumer.send(`${verb}\n`.repeat(drainAtOnce));
      const got: string[] = [];
      for (let i = 0; i < drainAtOnce; i++) {
        const [answer, name] = (await consumer.received.next()).split(" ");
        if (answer === "ASSIGN") got.push(name as string);
        else if (answer === "NOTASK") isEmpty = true;
        else throw new Error(`${verb} was answered ${answer} ${name}`);
      }
      if (verb === "RESERVE") {
        await consumer.send(got.map((name) => `COMPLETE ${name}\n`).join(""));
      }
      names.push(...got);
    }
    return names;
  }
}

/** Sends CREATEs and SYNC; the answers up to the OK, and what that counts. */
export async function create(
  producer: RawPeer,
  names: readonly string[],
): Promise<{ errors: string[]; accepted: number }> {
  await producer.send(names.map((name) => `CREATE 1 ${name} 0.5\n`).join("") + "SYNC\n");
  const errors: string[] = [];
  for (;;) {
    const answer = await producer.received.next();
    if (answer.startsWith("OK ")) return { errors, accepted: Number(answer.slice(3)) };
    errors.push(answer);
  }
}

/** Names of 200 characters and more: a few thousand fill a small disk. */
export function names(prefix: string, count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${prefix}${i}-${"x".repeat(200)}`);
}
