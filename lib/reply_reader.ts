/**
 * The replies of a server to a consumer, also of one that does not end its lines.
 *
 * Servers written for the assignment may `send` a greeting or a reply without LF and rely on one
 * `recv` to be one message. Until a server has sent its first LF, what has come is taken for a
 * message when nothing follows for a while and it is one by itself.
 *
 * @module
 */

import { sleep } from "./clock.ts";
import type { Connection } from "./connection.ts";
import type { Line } from "./lines.ts";
import { parseReply, ProtocolError } from "./protocol.ts";

/** How long nothing must follow a message without LF, in milliseconds. */
const settleMs = 300;

const greetingForms = [/^Consumer[ \t]*(\d{1,15})(?:[ \t]+connected)?$/i, /^(\d{1,15})$/];

/**
 * Finds the consumer's number in a greeting: `Consumer1`, or what programs written for the
 * assignment say in its place.
 *
 * @returns undefined where the text is no greeting.
 */
export function parseGreeting(text: string): number | undefined {
  for (const form of greetingForms) {
    const match = form.exec(text.trim());
    if (match !== null) return Number(match[1]);
  }
  return undefined;
}

/** Yields the server's messages, the greeting first, until it closes or the connection is gone. */
export async function* readMessages(connection: Connection): AsyncGenerator<Line> {
  let hasSeenLf = false;
  let count = 0;
  let reading = connection.readLines();
  for (;;) {
    const text = connection.unendedText;
    if (!hasSeenLf && text !== undefined && isMessage(text, count) && await settles(reading)) {
      connection.dropUnended();
      count++;
      yield text;
    }
    const lines = await reading;
    if (lines === undefined) return;
    reading = connection.readLines();
    for (const line of lines) {
      // After a greeting that was taken without its LF, the rest of it may follow.
      const isRest = !hasSeenLf && count === 1 && !(typeof line === "string" && isReply(line));
      hasSeenLf = true;
      if (!isRest) yield line;
      count++;
    }
  }
}

/** True where nothing more comes for a while. */
async function settles(reading: Promise<unknown>): Promise<boolean> {
  const came = new AbortController();
  reading.then(() => came.abort());
  return await sleep(settleMs, came.signal);
}

function isMessage(text: string, earlierMessages: number): boolean {
  return isReply(text) || (earlierMessages === 0 && parseGreeting(text) !== undefined);
}

function isReply(text: string): boolean {
  try {
    return parseReply(text).kind !== "greeting";
  } catch (error) {
    if (error instanceof ProtocolError) return false;
    throw error;
  }
}
