/**
 * Connections under Node and Bun.
 *
 * @module
 */

import { connect, isIP, type Socket } from "node:net";
import { findIpv4 } from "./find_address.ts";
import type { ServerAddress, Transport, TransportEvents } from "./transport.ts";

/** Opens a connection by `node:net`, or by `node:tls`, which is loaded only then. */
export async function openNodeTransport(
  { hostname, port, tls }: ServerAddress,
  events: TransportEvents,
  signal: AbortSignal,
): Promise<Transport> {
  const host = await findIpv4(hostname, signal) ?? hostname;
  const openTls = tls === undefined ? undefined : (await import("node:tls")).connect;
  signal.throwIfAborted();
  return await new Promise((resolve, reject) => {
    const options = { host, port, allowHalfOpen: true };
    const ca = tls?.caCerts === undefined ? {} : { ca: [...tls.caCerts] };
    const name = isIP(hostname) === 0 ? { servername: hostname } : {};
    const socket = openTls === undefined
      ? connect(options)
      : openTls({ ...options, ...ca, ...name });
    let failure: Error | undefined;
    const abort = () => socket.destroy();
    const settle = () => signal.removeEventListener("abort", abort);
    signal.addEventListener("abort", abort);
    socket.on(openTls === undefined ? "connect" : "secureConnect", () => {
      settle();
      socket.setNoDelay(true);
      socket.setKeepAlive(true);
      resolve(transportOf(socket));
    });
    socket.on("data", (bytes: Uint8Array) => events.data(bytes));
    socket.on("end", () => events.end());
    socket.on("error", (error: Error) => failure = error);
    socket.on("close", () => {
      settle();
      events.end(failure);
      // Without effect if it was connected.
      reject(signal.aborted ? signal.reason : failure ?? new Error("the connection was closed"));
    });
  });
}

function transportOf(socket: Socket): Transport {
  return {
    write(bytes) {
      return new Promise((resolve, reject) => {
        const fail = () => reject(new Error("the connection is closed"));
        if (socket.destroyed) return fail();
        // Bun does not call back for what waits when a socket is destroyed.
        socket.once("close", fail);
        socket.write(bytes, (error?: Error | null) => {
          socket.removeListener("close", fail);
          if (error) reject(error);
          else resolve();
        });
      });
    },
    closeWrite() {
      socket.end();
    },
    close() {
      socket.destroy();
    },
  };
}
