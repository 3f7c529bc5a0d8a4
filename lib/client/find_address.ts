/**
 * Finds where a server of a given name listens.
 *
 * @module
 */

import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { untilAborted } from "../clock.ts";

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
  try {
    const looking = lookup(hostname, { all: true });
    // A name server may take half a minute. The look-up cannot be cancelled; the wait can.
    const found = await (signal === undefined ? looking : untilAborted(looking, signal));
    return found?.find(({ family }) => family === 4)?.address;
  } catch {
    return undefined;
  }
}
