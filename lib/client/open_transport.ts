/**
 * Chooses the transport of the runtime.
 *
 * @module
 */

import { openDenoTransport } from "./deno_transport.ts";
import { openNodeTransport } from "./node_transport.ts";
import type { OpenTransport } from "./transport.ts";

/** Opens a connection: by `Deno.connect` under Deno, else by `node:net`. */
export const openTransport: OpenTransport = "Deno" in globalThis
  ? openDenoTransport
  : openNodeTransport;
