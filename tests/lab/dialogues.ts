/**
 * The dialogues of docs/protocol.md, and how they are spoken.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { maxLineBytes } from "../../lib/core/protocol.ts";
import { Connection, ConnectionGroup } from "../../lib/net/connection.ts";
import { within } from "./deadline.ts";

/** A dialogue of the document. */
export interface Dialogue {
  /** The line of the document at which it begins. */
  readonly line: number;
  /** The token that the server asks for; undefined if it asks for none. */
  readonly token: string | undefined;
  /** Who says and gets what. */
  readonly steps: readonly string[];
}

/** The ports of 127.0.0.1 at which peers are served. */
export interface DialoguePorts {
  /** For those whose name begins with P. */
  readonly producers: number;
  /** For the others. */
  readonly consumers: number;
}

/** Reads all dialogues. */
export async function readDialogues(): Promise<Dialogue[]> {
  const document = await Deno.readTextFile(new URL("../../docs/protocol.md", import.meta.url));
  return [...document.matchAll(/^```dialogue( with token \S+)?\n(.*?)^```$/gms)].map((match) => {
    const line = document.slice(0, match.index).split("\n").length;
    const token = match[1]?.split(" ").at(-1);
    return { line, token, steps: String(match[2]).trim().split("\n") };
  });
}

/** Speaks a dialogue, with each peer connected when it is first named. */
export async function speak({ steps }: Dialogue, ports: DialoguePorts): Promise<void> {
  const peers = new Map<string, Peer>();
  try {
    for (const step of steps) {
      const [, name = "", action = "", text = ""] = /^(\w+) (\S+) ?(.*)$/.exec(step) ?? [];
      const peer = peers.get(name) ?? await Peer.connect(name, ports);
      peers.set(name, peer);
      await within(peer.step(action, text), step);
    }
  } finally {
    for (const peer of peers.values()) peer.close();
  }
}

/** One side of a dialogue, connected when it is first named. */
class Peer {
  readonly #connection: Connection;
  #unread: string[] = [];

  constructor(conn: Deno.TcpConn) {
    this.#connection = new Connection(conn, new ConnectionGroup({ maxLineBytes }));
  }

  static async connect(name: string, { producers, consumers }: DialoguePorts): Promise<Peer> {
    const port = name.startsWith("P") ? producers : consumers;
    return new Peer(await Deno.connect({ hostname: "127.0.0.1", port }));
  }

  async step(action: string, text: string): Promise<void> {
    switch (action) {
      case ">":
        this.#connection.send(text);
        this.#connection.flush();
        await this.#connection.drained();
        break;
      case "<":
        assertEquals(await this.#nextLine(), text);
        break;
      case "half-closes":
        await this.#connection.closeWrite();
        break;
      case "is":
        assertEquals(text, "closed");
        assertEquals(await this.#nextLine(), undefined);
        break;
      case "closes":
        this.close();
        break;
      default:
        throw new Error(`unknown step "${action} ${text}"`);
    }
  }

  close(): void {
    this.#connection.close();
  }

  async #nextLine(): Promise<string | undefined> {
    while (this.#unread.length === 0) {
      const lines = await this.#connection.readLines();
      if (lines === undefined) return undefined;
      this.#unread = lines.map(String);
    }
    return this.#unread.shift();
  }
}
