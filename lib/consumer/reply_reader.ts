/**
 * Reads what a server says to a consumer, and is lenient with servers that others wrote for the
 * assignment. (Our server is not lenient with its clients.) Such a server may differ in two ways:
 *
 * - It sends a greeting or a reply without LF, and relies on each `recv` of its client to return
 *   one message. So text without LF counts as a message if it is a complete one by itself, and
 *   either nothing follows it for 300 ms or the server closes its side. A server that has once
 *   ended a reply with LF is trusted to end all of them; then only the close makes text count.
 * - It hands out a task in words other than `ASSIGN <task_id> <duration>`. Three other forms are
 *   understood, but only in a line that has its LF.
 *
 * @module
 */

import { sleep } from "../clock.ts";
import type { Connection } from "../net/connection.ts";
import type { Line } from "../line.ts";
import {
  assignWord,
  parseDuration,
  parsePriority,
  parseReply,
  parseTaskId,
  ProtocolError,
  protocolWords,
  type Reply,
  splitFields,
} from "../core/protocol.ts";

/** Text without LF counts as a message if nothing follows it for this long, in milliseconds. */
const settleMs = 300;

/** `Consumer1`, `Consumer 1`, `consumer1 connected`; or the number alone. */
const greetingForms = [/^Consumer[ \t]*(\d{1,15})(?:[ \t]+connected)?$/i, /^(\d{1,15})$/];

/**
 * Finds the consumer's number in a greeting: in `Consumer1`, or in one of the other forms that
 * servers written for the assignment send.
 *
 * @returns undefined if the text is no greeting.
 */
export function parseGreeting(text: string): number | undefined {
  for (const form of greetingForms) {
    const match = form.exec(text.trim());
    if (match !== null) return Number(match[1]);
  }
  return undefined;
}

/**
 * Words that are not the name of a task if a line of two fields begins with them, in upper or lower
 * case: `OK 3`, `error: 404` and `Consumer1 5` hand out no task.
 *
 * In doubt a line is not a task. A task mistaken for something else is reported, and the consumer
 * asks again a second later; something else mistaken for a task is work that nobody wanted.
 */
const statusWord = new RegExp(
  `^(?:${protocolWords.join("|")}|consumer\\d*|err|task|wait|retry|exit|bye)[^\\p{L}\\p{N}]*$`,
  "iu",
);

/**
 * Parses one line of a server. Besides the replies of the protocol it accepts three other forms of
 * `ASSIGN`: `TASK <task_id> <duration>`, `<task_id> <duration>` and
 * `ASSIGN <priority> <task_id> <duration>`.
 *
 * @throws {ProtocolError} if the line is no reply.
 */
export function parseLenientReply(line: string): Reply {
  return parseUnusualAssign(splitFields(line)) ?? parseReply(line);
}

function parseUnusualAssign(fields: readonly string[]): Reply | undefined {
  const [first, second, third, fourth] = fields as [string, string, string, string];
  try {
    if (fields.length === 4 && first === assignWord) {
      parsePriority(second);
      return assign(third, fourth);
    }
    if (fields.length === 3 && first === "TASK") return assign(second, third);
    if (fields.length === 2 && !statusWord.test(first)) return assign(first, second);
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
  }
  return undefined;
}

function assign(taskId: string, duration: string): Reply {
  return { kind: "assign", taskId: parseTaskId(taskId), duration: parseDuration(duration) };
}

/**
 * Yields the server's messages, the greeting first, each without its line end.
 *
 * Ends when the server has closed its side, or the connection is gone. Lines that are no valid
 * message are yielded, too: the caller reports them.
 */
export async function* readMessages(connection: Connection): AsyncGenerator<Line> {
  /** True once the server has ended a reply with LF. A greeting with LF does not count. */
  let endsReplies = false;
  /** True if the message just yielded came without LF. Its LF, or the rest of it, may follow. */
  let wasUnended = false;
  /** Messages yielded so far. */
  let count = 0;
  let reading = connection.readLines();
  for (;;) {
    const text = connection.unendedText;
    const mayBeMessage = !endsReplies && text !== undefined && isMessage(text, count);
    if (mayBeMessage && await nothingFollows(reading)) {
      connection.dropUnended();
      wasUnended = true;
      count++;
      yield text;
    }
    const lines = await reading;
    if (lines === undefined) break;
    reading = connection.readLines();
    for (const line of lines) {
      const isReplyLine = typeof line === "string" && isReply(line, parseLenientReply);
      // After a message without LF, an empty line is its late LF. After such a greeting, also text
      // is its late rest: " connected" after "Consumer1".
      const isRest = wasUnended && !isReplyLine && (line === "" || count === 1);
      wasUnended = false;
      if (isRest) continue;
      if (isReplyLine && count > 0) endsReplies = true;
      count++;
      yield line;
    }
  }
  // A server that has closed in order has sent its last message whole. If the connection broke off,
  // the text may be the beginning of a longer message: "ASSIGN task1 3" of "ASSIGN task1 30".
  const last = connection.isBroken ? undefined : connection.unendedText;
  if (last !== undefined && isMessage(last, count)) yield last;
}

/** Waits for 300 ms, or until the read under way ends; true if it did not end in that time. */
async function nothingFollows(reading: Promise<unknown>): Promise<boolean> {
  const came = new AbortController();
  reading.then(() => came.abort());
  return await sleep(settleMs, came.signal);
}

/** Whether a text without LF is a complete message; the other forms of `ASSIGN` do not count. */
function isMessage(text: string, earlierMessages: number): boolean {
  return isReply(text, parseReply) || (earlierMessages === 0 && parseGreeting(text) !== undefined);
}

function isReply(text: string, parse: (text: string) => Reply): boolean {
  try {
    return parse(text).kind !== "greeting";
  } catch (error) {
    if (error instanceof ProtocolError) return false;
    throw error;
  }
}
