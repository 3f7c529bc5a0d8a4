/** The dialogues of docs/protocol.md, run against the real server as they stand. */

import { maxLineBytes } from "../../lib/core/protocol.ts";
import { assert, assertEquals } from "@std/assert";
import { Connection, ConnectionGroup } from "../../lib/net/connection.ts";
import { TaskQueue } from "../../lib/core/task_queue.ts";
import { MemoryTasks } from "../../lib/core/memory_tasks.ts";
import { Access } from "../../lib/server/access.ts";
import { serve } from "../../lib/server/serve.ts";

const document = await Deno.readTextFile(new URL("../../docs/protocol.md", import.meta.url));
const dialogues = [...document.matchAll(/^```dialogue( with token \S+)?\n(.*?)^```$/gms)].map(
  (match) => {
    const line = document.slice(0, match.index).split("\n").length;
    const token = match[1]?.split(" ").at(-1);
    return { line, token, steps: String(match[2]).trim().split("\n") };
  },
);

/** Where the server listens. */
interface TcpListeners {
  readonly producers: Deno.TcpListener;
  readonly consumers: Deno.TcpListener;
}

/** One side of a dialogue, connected when it is first named. */
class Peer {
  readonly #connection: Connection;
  #unread: string[] = [];

  constructor(conn: Deno.TcpConn) {
    this.#connection = new Connection(conn, new ConnectionGroup({ maxLineBytes }));
  }

  static async connect(name: string, { producers, consumers }: TcpListeners): Promise<Peer> {
    const { addr } = name.startsWith("P") ? producers : consumers;
    return new Peer(await Deno.connect({ hostname: addr.hostname, port: addr.port }));
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

Deno.test("docs/protocol.md holds dialogues", () => {
  assert(dialogues.length >= 4);
});

for (const { line, token, steps } of dialogues) {
  Deno.test(`The server speaks the dialogue in docs/protocol.md, line ${line}`, async () => {
    const stop = new AbortController();
    const address = { hostname: "127.0.0.1", port: 0 };
    const listeners = { producers: Deno.listen(address), consumers: Deno.listen(address) };
    const ignore = { write: () => {} };
    const serving = serve(listeners, new MemoryTasks(new TaskQueue()), {
      signal: stop.signal,
      log: ignore,
      errors: ignore,
      access: token === undefined ? undefined : await Access.of(token, { say: () => {} }),
    });
    const peers = new Map<string, Peer>();
    try {
      for (const step of steps) {
        const [, name = "", action = "", text = ""] = /^(\w+) (\S+) ?(.*)$/.exec(step) ?? [];
        const peer = peers.get(name) ?? await Peer.connect(name, listeners);
        peers.set(name, peer);
        await peer.step(action, text);
      }
    } finally {
      for (const peer of peers.values()) peer.close();
      stop.abort();
      await serving;
    }
  });
}
