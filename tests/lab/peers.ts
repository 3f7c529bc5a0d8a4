/**
 * Peers on bare sockets, that send and see bytes: what no program of the project does for them.
 *
 * @module
 */

import { isDisconnect } from "../../lib/net/connection.ts";
import { patienceMs, within } from "./deadline.ts";
import { LineLog } from "./line_log.ts";

/** How a {@linkcode RawPeer} connects. */
export interface PeerOptions {
  /** Is said first, as a line of its own. */
  readonly token?: string | undefined;
  /** Authorities to trust, as PEM; undefined without TLS. */
  readonly caCerts?: readonly string[] | undefined;
  /** Where it is; 127.0.0.1 if left out. */
  readonly hostname?: string;
}

/** One end of a TCP connection, or of one with TLS. */
export class RawPeer implements AsyncDisposable {
  /** What the other end says. */
  readonly received: LineLog;

  readonly #conn: Deno.TcpConn | Deno.TlsConn;
  #isClosed = false;

  /** Takes over a connection. */
  constructor(conn: Deno.TcpConn | Deno.TlsConn) {
    if ("setNoDelay" in conn) conn.setNoDelay(true);
    this.#conn = conn;
    this.received = new LineLog(chunks(conn), "what the peer says");
  }

  /** Connects to a port of 127.0.0.1; a certificate must be for `localhost`. */
  static async connect(port: number, options: PeerOptions = {}): Promise<RawPeer> {
    return new RawPeer(await openConn(port, options));
  }

  /** Sends a text or bytes as they are. */
  async send(data: string | Uint8Array): Promise<void> {
    await writeAll(this.#conn, data);
  }

  /**
   * Sends to an end that may go at any moment.
   *
   * @returns false if it has gone, or takes nothing for `ms`: then the connection is closed.
   */
  async offer(data: string | Uint8Array, ms: number = patienceMs): Promise<boolean> {
    const late = setTimeout(() => this.close(), ms);
    try {
      await writeAll(this.#conn, data);
      return true;
    } catch (error) {
      if (!isDisconnect(error)) throw error;
      this.close();
      return false;
    } finally {
      clearTimeout(late);
    }
  }

  /**
   * Takes the next line of an end that may go at any moment.
   *
   * @returns undefined if it has gone, or says nothing for `ms`: then the connection is closed.
   */
  async receive(ms: number = patienceMs): Promise<string | undefined> {
    const late = setTimeout(() => this.close(), ms);
    try {
      return await this.received.nextOrEnd();
    } finally {
      clearTimeout(late);
    }
  }

  /** Sends a line and takes the next line of the other end. */
  async ask(line: string): Promise<string> {
    await this.send(line + "\n");
    return await this.received.next();
  }

  /** Ends what this end sends. */
  async closeWrite(): Promise<void> {
    await this.#conn.closeWrite();
  }

  /** Waits for the other end's close, and returns all that it ever said. */
  async toEnd(ms?: number): Promise<string> {
    await within(this.received.ended, "the peer's close", ms);
    return this.received.text;
  }

  /** Closes the connection. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#conn.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    await this.received.ended;
  }
}

/** Opens what a {@linkcode RawPeer} speaks over: TLS is agreed on, and the token said. */
export async function openConn(
  port: number,
  { token, caCerts, hostname = "127.0.0.1" }: PeerOptions = {},
): Promise<Deno.TcpConn | Deno.TlsConn> {
  const socket = await Deno.connect({ hostname, port });
  socket.setNoDelay(true);
  const conn = caCerts === undefined
    ? socket
    : await Deno.startTls(socket, { hostname: "localhost", caCerts: [...caCerts] });
  if (token !== undefined) await writeAll(conn, `AUTH ${token}\n`);
  return conn;
}

/** A server of which the test plays every byte. */
export class RawServer implements AsyncDisposable {
  /** How many connections were accepted. */
  accepted = 0;

  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #peers: RawPeer[] = [];

  /** Where it listens. */
  get port(): number {
    return this.#listener.addr.port;
  }

  /** Awaits the next connection. */
  async accept(): Promise<RawPeer> {
    const conn = await within(this.#listener.accept(), "a connection");
    this.accepted++;
    const peer = new RawPeer(conn);
    this.#peers.push(peer);
    return peer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const peer of this.#peers) await peer[Symbol.asyncDispose]();
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
export function longNames(prefix: string, count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${prefix}${i}-${"x".repeat(200)}`);
}

/** Writes all of a text or of bytes. */
export async function writeAll(
  conn: Deno.TcpConn | Deno.TlsConn,
  data: string | Uint8Array,
): Promise<void> {
  const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
  for (let sent = 0; sent < bytes.length;) sent += await conn.write(bytes.subarray(sent));
}

async function* chunks(conn: Deno.TcpConn | Deno.TlsConn): AsyncGenerator<Uint8Array> {
  const buffer = new Uint8Array(64 * 1024);
  for (;;) {
    const count = await conn.read(buffer);
    if (count === null) return;
    yield buffer.subarray(0, count);
  }
}
