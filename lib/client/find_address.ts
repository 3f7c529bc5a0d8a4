/**
 * Finds where a server of a given name listens.
 *
 * @module
 */

import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { onAbort } from "./timer.ts";

/**
 * Finds the IPv4 address of a host, as the server listens on IPv4 alone: `localhost` is 127.0.0.1
 * even if it also is ::1. Asked for each connection, because names move.
 *
 * @returns undefined if it has none, is an address already, or may not be looked up: then connecting
 * to the name itself succeeds, or tells why not.
 */
export async function findIpv4(
  hostname: string,
  signal?: AbortSignal,
): Promise<string | undefined> {
  if (isIP(hostname) !== 0 || signal?.aborted) return undefined;
  // A name server may take half a minute. The look-up cannot be cancelled; the wait can.
  const aborted = Promise.withResolvers<readonly []>();
  const forgetSignal = onAbort(signal, () => aborted.resolve([]));
  try {
    const found = await Promise.race([lookup(hostname, { all: true }), aborted.promise]);
    return found.find(({ family }) => family === 4)?.address;
  } catch {
    return undefined;
  } finally {
    forgetSignal();
  }
}
