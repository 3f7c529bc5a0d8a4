/** The gate over streams of its own: what the end-to-end tests cannot bring about at will. */

import { assertEquals } from "@std/assert";
import { ConnectionGroup } from "../../lib/net/connection.ts";
import type { Stream } from "../../lib/net/stream.ts";
import { Gate, maxStrangers } from "../../lib/server/gate.ts";
import { VirtualClock } from "../lab/simulation/virtual_clock.ts";

/** A gate whose handshakes never end, whatever becomes of their streams. */
class Stage {
  readonly clock = new VirtualClock(0);
  readonly lines: string[] = [];
  readonly gate = new Gate({
    group: new ConnectionGroup({ maxLineBytes: 1024, clock: this.clock }),
    clock: this.clock,
    secure: () => new Promise(() => {}),
    complain: (peer, _topic, reason) => this.lines.push(`${peer}: ${reason}`),
  });

  /** Has a peer connect that begins a handshake. */
  connect(port: number): { readonly stream: Begun; readonly end: Promise<string> } {
    const stream = new Begun(port);
    const end = this.gate.admit(stream).then((connection) => connection ? "passed" : "closed");
    return { stream, end };
  }
}

/** A stream of a peer that has sent the first byte of TLS. */
class Begun implements Stream {
  readonly remoteAddr;
  isClosed = false;

  constructor(port: number) {
    this.remoteAddr = { hostname: "10.0.0.1", port };
  }

  read(buffer: Uint8Array): Promise<number> {
    buffer[0] = 0x16;
    return Promise.resolve(1);
  }

  write(bytes: Uint8Array): Promise<number> {
    return Promise.resolve(bytes.length);
  }

  closeWrite(): Promise<void> {
    return Promise.resolve();
  }

  close(): void {
    this.isClosed = true;
  }
}

Deno.test({
  name: "A handshake that never ends keeps its place for 5 s, though nothing tells it of its close",
  permissions: "none",
  async fn() {
    const stage = new Stage();
    const { stream, end } = stage.connect(1);
    await stage.clock.pass(4999);
    assertEquals(stream.isClosed, false);
    await stage.clock.pass(1);
    assertEquals([await end, stream.isClosed], ["closed", true]);
    assertEquals(stage.lines, ["10.0.0.1:1: no TLS handshake within 5 s"]);
  },
});

Deno.test({
  name: "Who loses its place is gone, and a gate closes whatever goes on before it",
  permissions: "none",
  async fn() {
    const stage = new Stage();
    const peers = Array.from({ length: maxStrangers + 1 }, (_, i) => stage.connect(i + 1));
    assertEquals(await peers[0]?.end, "closed");
    assertEquals(stage.lines, [
      "10.0.0.1:1: closed before its TLS handshake: 100 others wait for theirs",
    ]);
    await stage.gate.close();
    for (const { stream, end } of peers) {
      assertEquals([await end, stream.isClosed], ["closed", true]);
    }
  },
});
