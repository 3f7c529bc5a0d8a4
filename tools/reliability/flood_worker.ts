/**
 * Sends one line over and over on many connections, and reads nothing: a thread of its own, so
 * that whoever measures beside it is not slowed by it.
 *
 * @module
 */

/// <reference lib="deno.worker" />

/** What to send, to whom. */
export interface FloodOrder {
  /** The port on 127.0.0.1. */
  readonly port: number;
  /** How many connections. */
  readonly connections: number;
  /** The line, without its LF. */
  readonly line: string;
  /** How many lines on each connection; without end where there is none. */
  readonly lines?: number;
}

/** Lines of one write. */
const linesAWrite = 1000;

self.onmessage = async ({ data }: MessageEvent<FloodOrder>) => {
  const bytes = new TextEncoder().encode((data.line + "\n").repeat(linesAWrite));
  const conns = await Promise.all(
    Array.from({ length: data.connections }, () => Deno.connect({ port: data.port })),
  );
  self.postMessage("connected");
  await Promise.all(conns.map((conn) => send(conn, bytes, data.lines ?? Infinity)));
  self.postMessage("sent");
};

async function send(conn: Deno.Conn, bytes: Uint8Array, lines: number): Promise<void> {
  try {
    for (let left = lines; left > 0; left -= linesAWrite) {
      for (let sent = 0; sent < bytes.length;) sent += await conn.write(bytes.subarray(sent));
    }
  } catch {
    // The server is gone: the run is over, or the one who measures finds out.
  }
}
