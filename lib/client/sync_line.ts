/**
 * The line that has a server confirm.
 *
 * @module
 */

import { formatCommand } from "../core/protocol.ts";

/** Asks for an `OK` behind everything that was sent before; with its LF. */
export const syncLine = `${formatCommand({ kind: "sync" })}\n`;
