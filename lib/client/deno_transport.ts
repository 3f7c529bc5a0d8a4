/**
 * Connections under Deno: this module alone knows the `Deno` of this room.
 *
 * @module
 */

import { findIpv4 } from "./find_address.ts";
import { after, onAbort } from "./timer.ts";
import type { ServerAddress, Transport, TransportEvents } from "./transport.ts";

/** Room for what one read may bring; a reply is at most 64 KiB long, and mostly 30 bytes. */
const readBytes = 16 * 1024;

/** How long the handshake of TLS may take, in milliseconds: a server that hangs never ends it. */
const handshakeMs = 10_000;

/** Opens a connection by `Deno.connect`: it needs the permission `--allow-net` alone. */
export async function openDenoTransport(
  address: ServerAddress,
  events: TransportEvents,
  signal: AbortSignal,
): Promise<Transport> {
  const hostname = await findAllowedHost(address, signal);
  signal.throwIfAborted();
  const conn = await Deno.connect({ hostname, port: address.port, signal });
  if (signal.aborted) {
    conn.close();
    throw signal.reason;
  }
  setUp(conn);
  return transportOf(
    address.tls === undefined ? conn : await startTls(conn, address, signal),
    events,
  );
}

/** Does the handshake of TLS; the connection is closed if that fails, or the signal is aborted. */
async function startTls(
  conn: Deno.TcpConn,
  { hostname, tls }: ServerAddress,
  signal: AbortSignal,
): Promise<Deno.TlsConn> {
  const secured = await Deno.startTls(conn, { hostname, caCerts: [...tls?.caCerts ?? []] });
  const timeUp = new AbortController();
  const forgetTime = after(
    handshakeMs,
    () => timeUp.abort(new Error(`no TLS handshake within ${handshakeMs / 1000} s`)),
  );
  const ending = AbortSignal.any([signal, timeUp.signal]);
  const forgetEnding = onAbort(ending, () => secured.close());
  try {
    await secured.handshake();
    return secured;
  } catch (error) {
    if (!ending.aborted) secured.close();
    throw ending.aborted ? ending.reason : error;
  } finally {
    forgetEnding();
    forgetTime();
  }
}

function transportOf(conn: Deno.TcpConn | Deno.TlsConn, events: TransportEvents): Transport {
  readAll(conn, events);
  return {
    async write(bytes) {
      for (let sent = 0; sent < bytes.length;) sent += await conn.write(bytes.subarray(sent));
    },
    closeWrite() {
      conn.closeWrite().catch(() => {}); // The peer is gone: the reading side tells.
    },
    close() {
      try {
        conn.close();
      } catch {
        // It is closed already.
      }
    },
  };
}

/** The IPv4 address, unless only the name may be connected to: `--allow-net=localhost:5000`. */
async function findAllowedHost(
  { hostname, port }: ServerAddress,
  signal: AbortSignal,
): Promise<string> {
  const ipv4 = await findIpv4(hostname, signal);
  if (ipv4 === undefined) return hostname;
  const { state } = await Deno.permissions.query({ name: "net", host: `${ipv4}:${port}` });
  return state === "granted" ? ipv4 : hostname;
}

function setUp(conn: Deno.TcpConn): void {
  try {
    conn.setNoDelay(true);
    conn.setKeepAlive(true);
  } catch {
    // The peer is gone already: the first read will tell.
  }
}

/** Reads to the end. Never rejects. */
async function readAll(conn: Deno.TcpConn | Deno.TlsConn, events: TransportEvents): Promise<void> {
  const buffer = new Uint8Array(readBytes);
  try {
    for (;;) {
      const count = await conn.read(buffer);
      if (count === null) break;
      events.data(buffer.subarray(0, count));
    }
    events.end();
  } catch (error) {
    events.end(error as Error);
  }
}
