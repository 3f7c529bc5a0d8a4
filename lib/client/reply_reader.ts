/**
 * The replies of a server to a consumer, also of one that does not end its lines.
 *
 * Servers written for the assignment may `send` a greeting or a reply without LF and rely on one
 * `recv` to be one message. Until a reply has come with its LF, what has come is taken for a
 * message if nothing follows for a while and it is one by itself; at the end of the stream in any
 * case. Such servers may also write an `ASSIGN` in other words: only clients are lenient.
 *
 * @module
 */

import { sleep } from "../clock.ts";
import type { Connection } from "../net/connection.ts";
import type { Line } from "../line.ts";
import {
  parseDuration,
  parsePriority,
  parseReply,
  parseTaskId,
  ProtocolError,
  type Reply,
  splitFields,
} from "../core/protocol.ts";

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

/**
 * What a line of two fields does not begin with if it is a task, in any case: `OK 3`, `error: 404` and
 * `Consumer1 5` say something else. A line that is taken for none is reported and costs a second; one
 * that is taken for a task by mistake is work that nobody wanted.
 */
const statusWord = new RegExp(
  "^(?:ok|err|error|assign|notask|done|task|create|request|reserve|complete|release|sync|kick|" +
    "consumer\\d*|wait|retry|exit|bye)[^\\p{L}\\p{N}]*$",
  "iu",
);

/**
 * Reads one line of a server as a consumer takes it: also `TASK <task_id> <duration>`,
 * `<task_id> <duration>` and `ASSIGN <priority> <task_id> <duration>` hand out a task.
 *
 * @throws {ProtocolError} if it is no reply.
 */
export function parseLenientReply(line: string): Reply {
  return parseUnusualAssign(splitFields(line)) ?? parseReply(line);
}

function parseUnusualAssign(fields: readonly string[]): Reply | undefined {
  const [first, second, third, fourth] = fields as [string, string, string, string];
  try {
    if (fields.length === 4 && first === "ASSIGN") {
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

/** Yields the server's messages, the greeting first, until it closes or the connection is gone. */
export async function* readMessages(connection: Connection): AsyncGenerator<Line> {
  /** True when the server has once ended a reply: then it will end the others. */
  let endsReplies = false;
  /** True after a message that was taken without LF: its LF may follow. */
  let isUnended = false;
  let count = 0;
  let reading = connection.readLines();
  for (;;) {
    const text = connection.unendedText;
    if (!endsReplies && text !== undefined && isMessage(text, count) && await settles(reading)) {
      connection.dropUnended();
      isUnended = true;
      count++;
      yield text;
    }
    const lines = await reading;
    if (lines === undefined) break;
    reading = connection.readLines();
    for (const line of lines) {
      const isReplyLine = typeof line === "string" && isReply(line, parseLenientReply);
      // The rest of a message that was taken without its LF: of a greeting it may be a word.
      const isRest = isUnended && !isReplyLine && (line === "" || count === 1);
      isUnended = false;
      if (isRest) continue;
      if (isReplyLine && count > 0) endsReplies = true;
      count++;
      yield line;
    }
  }
  // Cut off, a line may be anything; before an orderly end it is what the server had to say.
  const last = connection.isBroken ? undefined : connection.unendedText;
  if (last !== undefined && isMessage(last, count)) yield last;
}

/** True where nothing more comes for a while. */
async function settles(reading: Promise<unknown>): Promise<boolean> {
  const came = new AbortController();
  reading.then(() => came.abort());
  return await sleep(settleMs, came.signal);
}

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
