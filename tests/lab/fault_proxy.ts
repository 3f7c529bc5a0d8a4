/**
 * A TCP proxy that does to connections what bad networks do.
 *
 * @module
 */

import { sleep } from "../../lib/clock.ts";
import { isDisconnect } from "../../lib/net/connection.ts";

/** What happens to one connection. */
export type NetworkFault =
  | { readonly kind: "none" }
  /** Every piece comes later; the order stays. */
  | { readonly kind: "delay"; readonly ms: number }
  /** Every byte is written by itself. */
  | { readonly kind: "single bytes" }
  /** Both sides are cut off, what is under way is lost: RST where something was unread, else FIN. */
  | { readonly kind: "reset"; readonly afterBytes: number }
  /** Nothing arrives any more, and nobody is told, until the proxy is closed. */
  | { readonly kind: "blackhole"; readonly afterBytes: number };

/** Forwards connections from its own port to another one of 127.0.0.1. */
export class FaultProxy implements AsyncDisposable {
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #targetPort: number;
  readonly #drawFault: () => NetworkFault;
  readonly #closing = new AbortController();
  readonly #conns = new Set<Deno.Conn>();
  readonly #running: Promise<void>[] = [];

  /** Opens a proxy; `drawFault` is asked once for each connection. */
  constructor(targetPort: number, drawFault: () => NetworkFault) {
    this.#targetPort = targetPort;
    this.#drawFault = drawFault;
    this.#running.push(this.#acceptAll());
  }

  /** Where clients connect. */
  get port(): number {
    return this.#listener.addr.port;
  }

  /** Ends all connections, and waits until nothing of them is left. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    this.#listener.close();
    for (const conn of this.#conns) this.#close(conn);
    await Promise.all(this.#running);
  }

  async #acceptAll(): Promise<void> {
    for (;;) {
      const client = await unlessGone(() => this.#listener.accept());
      if (client === undefined) return;
      this.#running.push(this.#forward(client, this.#drawFault()));
    }
  }

  async #forward(client: Deno.TcpConn, fault: NetworkFault): Promise<void> {
    this.#conns.add(client);
    const server = await Deno.connect({ hostname: "127.0.0.1", port: this.#targetPort });
    this.#conns.add(server);
    if (this.#closing.signal.aborted) return [client, server].forEach((conn) => this.#close(conn));
    for (const conn of [client, server]) conn.setNoDelay(true);
    const budget = { bytes: "afterBytes" in fault ? fault.afterBytes : Infinity };
    const ends = await Promise.all([
      this.#pump({ from: client, to: server, fault, budget }),
      this.#pump({ from: server, to: client, fault, budget }),
    ]);
    if (fault.kind === "blackhole" && ends.includes("out of budget")) return;
    for (const conn of [client, server]) this.#close(conn);
  }

  /** Brings bytes from one side to the other, until that ends or the fault strikes. */
  async #pump({ from, to, fault, budget }: Pump): Promise<"closed" | "out of budget"> {
    const buffer = new Uint8Array(16 * 1024);
    const cut = () => {
      if (fault.kind === "reset") { for (const conn of [from, to]) this.#close(conn); }
      return "out of budget" as const;
    };
    while (budget.bytes > 0) {
      const count = await unlessGone(() => from.read(buffer));
      if (count === undefined || count === null) {
        await unlessGone(() => to.closeWrite());
        return "closed";
      }
      const bytes = buffer.subarray(0, Math.min(count, budget.bytes));
      budget.bytes -= bytes.length;
      if (fault.kind === "delay") await sleep(fault.ms, this.#closing.signal);
      const piece = fault.kind === "single bytes" ? 1 : bytes.length;
      for (let start = 0; start < bytes.length; start += piece) {
        if (!await this.#write(to, bytes.subarray(start, start + piece))) return "closed";
      }
    }
    return cut();
  }

  async #write(to: Deno.Conn, bytes: Uint8Array): Promise<boolean> {
    for (let written = 0; written < bytes.length;) {
      const count = await unlessGone(() => to.write(bytes.subarray(written)));
      if (count === undefined) return false;
      written += count;
    }
    return true;
  }

  #close(conn: Deno.Conn): void {
    if (this.#conns.delete(conn)) conn.close();
  }
}

interface Pump {
  readonly from: Deno.TcpConn;
  readonly to: Deno.TcpConn;
  readonly fault: NetworkFault;
  /** Shared by both directions. */
  readonly budget: { bytes: number };
}

async function unlessGone<T>(action: () => Promise<T>): Promise<T | undefined> {
  try {
    return await action();
  } catch (error) {
    if (!isDisconnect(error)) throw error;
    return undefined;
  }
}
