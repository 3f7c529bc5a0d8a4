/**
 * Two ends of one real TCP connection, for tests.
 *
 * @module
 */

import { ResettingPeer } from "./load/resets.ts";

/** The two ends; leaving their scope closes what is still open. */
export interface SocketPair extends Disposable {
  /** The end that the code under test works with. */
  readonly near: Deno.TcpConn;
  /** The end that the test plays the peer with. */
  readonly far: Deno.TcpConn;
}

/** Connects the two ends over the loopback interface. */
export async function socketPair(): Promise<SocketPair> {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  const [near, far] = await Promise.all([
    listener.accept(),
    Deno.connect({ hostname: "127.0.0.1", port }),
  ]);
  return {
    near,
    far,
    [Symbol.dispose]() {
      for (const conn of [near, far]) closeQuietly(conn);
    },
  };
}

/** A connection and the way in which its peer resets it. */
export interface ResettableConn extends Disposable {
  /** The end that the code under test works with. */
  readonly near: Deno.TcpConn;
  /** Resets the connection from the other end, which has read nothing. */
  reset(): Promise<void>;
}

/** Makes a connection for a reset: `close()` of a Deno.TcpConn sends FIN before it sends RST. */
export async function resettableConn(): Promise<ResettableConn> {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const [near, far] = await Promise.all([
    listener.accept(),
    ResettingPeer.connect(listener.addr.port),
  ]);
  return { near, reset: () => far.reset(), [Symbol.dispose]: () => closeQuietly(near) };
}

/** Reads to the end of the other side; throws where the connection is reset. */
export async function readToEnd(conn: Deno.TcpConn): Promise<string> {
  const decoder = new TextDecoder();
  const buffer = new Uint8Array(256 * 1024);
  let text = "";
  for (;;) {
    const count = await conn.read(buffer);
    if (count === null) return text;
    text += decoder.decode(buffer.subarray(0, count), { stream: true });
  }
}

/** Closes a connection that may be closed already. */
function closeQuietly(conn: Deno.TcpConn): void {
  try {
    conn.close();
  } catch (error) {
    if (!(error instanceof Deno.errors.BadResource)) throw error;
  }
}
