/**
 * Sends one line over and over on many connections, and reads nothing or just the answers: a thread of its own, so
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
  /** How many lines on each connection; without end if there is none. */
  readonly lines?: number;
  /** Lines per write; 1,000 if there is none. */
  readonly linesPerWrite?: number;
  /** Whether each write waits until every line of the one before is answered. */
  readonly waitsForAnswers?: boolean;
}

self.onmessage = async ({ data }: MessageEvent<FloodOrder>) => {
  const conns = await Promise.all(
    Array.from({ length: data.connections }, () => Deno.connect({ port: data.port })),
  );
  self.postMessage("connected");
  await Promise.all(conns.map((conn) => send(conn, data)));
  self.postMessage("sent");
};

async function send(conn: Deno.Conn, order: FloodOrder): Promise<void> {
  const { line, lines = Infinity, linesPerWrite = 1000 } = order;
  const bytes = new TextEncoder().encode((line + "\n").repeat(linesPerWrite));
  try {
    for (let left = lines; left > 0; left -= linesPerWrite) {
      for (let sent = 0; sent < bytes.length;) sent += await conn.write(bytes.subarray(sent));
      if (order.waitsForAnswers) await readLines(conn, linesPerWrite);
    }
  } catch {
    // The server is gone: the run is over, or the one who measures finds out.
  }
}

async function readLines(conn: Deno.Conn, count: number): Promise<void> {
  const buffer = new Uint8Array(16 * 1024);
  while (count > 0) {
    const length = await conn.read(buffer);
    if (length === null) return;
    count -= buffer.subarray(0, length).filter((byte) => byte === 0x0a).length;
  }
}
