/**
 * The command codec: text of one line <-> commands and replies. Pure.
 *
 * ```text
 * producer port                               consumer port
 *   CREATE <priority> <task_id> <duration>      REQUEST | RESERVE
 *   SYNC                                        COMPLETE <task_id>
 *   KICK <task_id>                              RELEASE <task_id>
 * replies
 *   OK <n> | ERROR <reason>                     Consumer<N> | ASSIGN <task_id> <duration>
 *                                               NOTASK | DONE | ERROR <reason>
 * fields, separated by one or more spaces or tabs
 *   priority  1 | 2 | 3
 *   task_id   1 to 255 bytes of UTF-8 without blanks, control or format characters
 *   duration  1 to 9 digits, optionally a point and 1 to 9 digits
 * ```
 *
 * Lines come here without their LF. docs/protocol.md is the specification.
 *
 * @module
 */

import { escape, quote } from "../quote.ts";
import type { Priority, TaskDescription } from "./task.ts";

/** Longest line, in bytes, LF included: three times the longest valid command. */
export const maxLineBytes = 1024;

/** Longest task_id, in bytes of UTF-8: what fits a file name. */
export const maxTaskIdBytes = 255;

/** What a producer may say. */
export type ProducerCommand =
  | { readonly verb: "CREATE"; readonly task: TaskDescription }
  | { readonly verb: "SYNC" }
  | { readonly verb: "KICK"; readonly taskId: string };

/** What a consumer may say. */
export type ConsumerCommand =
  | { readonly verb: "REQUEST" }
  | { readonly verb: "RESERVE" }
  | { readonly verb: "COMPLETE"; readonly taskId: string }
  | { readonly verb: "RELEASE"; readonly taskId: string };

/** What a server may say. */
export type Reply =
  | { readonly kind: "greeting"; readonly consumer: number }
  | { readonly kind: "ASSIGN"; readonly taskId: string; readonly duration: string }
  | { readonly kind: "NOTASK" }
  | { readonly kind: "DONE" }
  | { readonly kind: "OK"; readonly count: number }
  | { readonly kind: "ERROR"; readonly reason: string };

/** A peer's mistake: its message is one line of printable text, fit for `ERROR <reason>`. */
export class ProtocolError extends Error {
  /** Names the class in messages. */
  override readonly name = "ProtocolError";
}

// Commands without fields are shared: polling consumers send little else.
const sync: ProducerCommand = { verb: "SYNC" };
const request: ConsumerCommand = { verb: "REQUEST" };
const reserve: ConsumerCommand = { verb: "RESERVE" };

const space = 0x20;
const tab = 0x09;

/**
 * Splits a line at spaces and tabs; nothing else counts as blank.
 *
 * By index, because `String.trim()` and `\s` also take U+FEFF, NBSP and VT for blanks.
 */
export function splitFields(line: string): string[] {
  const fields: string[] = [];
  let start = -1;
  for (let i = 0; i < line.length; i++) {
    const code = line.charCodeAt(i);
    if (code === space || code === tab) {
      if (start !== -1) fields.push(line.slice(start, i));
      start = -1;
    } else if (start === -1) {
      start = i;
    }
  }
  if (start !== -1) fields.push(start === 0 ? line : line.slice(start));
  return fields;
}

/**
 * Reads one line of a producer.
 *
 * @throws {ProtocolError} where it is no command of the producer port.
 */
export function parseProducerCommand(line: string): ProducerCommand {
  const fields = splitFields(line);
  switch (fields[0]) {
    case "CREATE":
      expectFields(fields, 4, "CREATE <priority> <task_id> <duration>");
      return {
        verb: "CREATE",
        task: {
          priority: parsePriority(fields[1] as string),
          taskId: parseTaskId(fields[2] as string),
          duration: parseDuration(fields[3] as string),
        },
      };
    case "SYNC":
      expectFields(fields, 1, "SYNC");
      return sync;
    case "KICK":
      expectFields(fields, 2, "KICK <task_id>");
      return { verb: "KICK", taskId: parseTaskId(fields[1] as string) };
    default:
      throw unknownCommand(fields[0], "CREATE, SYNC or KICK", {
        names: ["REQUEST", "RESERVE", "COMPLETE", "RELEASE"],
        port: "consumer port",
      });
  }
}

/**
 * Reads one line of a consumer.
 *
 * @throws {ProtocolError} where it is no command of the consumer port.
 */
export function parseConsumerCommand(line: string): ConsumerCommand {
  if (line === "REQUEST") return request;
  const fields = splitFields(line);
  switch (fields[0]) {
    case "REQUEST":
      expectFields(fields, 1, "REQUEST");
      return request;
    case "RESERVE":
      expectFields(fields, 1, "RESERVE");
      return reserve;
    case "COMPLETE":
      expectFields(fields, 2, "COMPLETE <task_id>");
      return { verb: "COMPLETE", taskId: parseTaskId(fields[1] as string) };
    case "RELEASE":
      expectFields(fields, 2, "RELEASE <task_id>");
      return { verb: "RELEASE", taskId: parseTaskId(fields[1] as string) };
    default:
      throw unknownCommand(fields[0], "REQUEST, RESERVE, COMPLETE or RELEASE", {
        names: ["CREATE", "SYNC", "KICK"],
        port: "producer port",
      });
  }
}

/**
 * Reads one line of a server.
 *
 * @throws {ProtocolError} where it is no reply.
 */
export function parseReply(line: string): Reply {
  const fields = splitFields(line);
  const greeting = /^Consumer(\d{1,15})$/.exec(fields[0] ?? "");
  if (greeting !== null && fields.length === 1) {
    return { kind: "greeting", consumer: Number(greeting[1]) };
  }
  switch (fields[0]) {
    case "ASSIGN":
      expectFields(fields, 3, "ASSIGN <task_id> <duration>");
      return {
        kind: "ASSIGN",
        taskId: parseTaskId(fields[1] as string),
        duration: parseDuration(fields[2] as string),
      };
    case "NOTASK":
      expectFields(fields, 1, "NOTASK");
      return { kind: "NOTASK" };
    case "DONE":
      expectFields(fields, 1, "DONE");
      return { kind: "DONE" };
    case "OK":
      expectFields(fields, 2, "OK <n>");
      if (!/^\d{1,15}$/.test(fields[1] as string)) {
        throw new ProtocolError(`n must be a whole number, got ${quote(fields[1] as string)}`);
      }
      return { kind: "OK", count: Number(fields[1]) };
    case "ERROR":
      return { kind: "ERROR", reason: escape(line.slice(line.indexOf("ERROR") + 6)) };
    default:
      throw new ProtocolError(`unknown reply ${quote(line)}`);
  }
}

/** Writes a task as the line that creates it, without its LF. */
export function formatCreate(task: TaskDescription): string {
  return `CREATE ${task.priority} ${task.taskId} ${task.duration}`;
}

/** Writes a task as the line that hands it out, without its LF. */
export function formatAssign(task: TaskDescription): string {
  return `ASSIGN ${task.taskId} ${task.duration}`;
}

/**
 * Reads a priority: `1`, `2` or `3`, nothing else.
 *
 * @throws {ProtocolError} for any other text.
 */
export function parsePriority(text: string): Priority {
  // Compared as text: Number() would take "01", "0x1", "1e0" and " 1" for 1.
  if (text === "1") return 1;
  if (text === "2") return 2;
  if (text === "3") return 3;
  throw new ProtocolError(`priority must be 1, 2 or 3, got ${quote(text)}`);
}

const visibleAscii = /^[\x21-\x7e]*$/;
const notInTaskId = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u;
const encoder = new TextEncoder();

/**
 * Checks a task_id: 1 to 255 bytes of UTF-8 without control or format characters.
 *
 * @throws {ProtocolError} for any other text.
 */
export function parseTaskId(text: string): string {
  const isAscii = visibleAscii.test(text);
  const bytes = isAscii ? text.length : encoder.encode(text).length;
  if (bytes > maxTaskIdBytes) {
    throw new ProtocolError(
      `task_id must have at most ${maxTaskIdBytes} bytes, got ${bytes} in ${quote(text)}`,
    );
  }
  if (!isAscii && notInTaskId.test(text)) {
    throw new ProtocolError(
      `task_id must have no control or format characters, got ${quote(text)}`,
    );
  }
  return text;
}

const durationGrammar = /^[0-9]{1,9}(?:\.[0-9]{1,9})?$/;

/**
 * Checks a duration or timestamp, in seconds: `^\d{1,9}(\.\d{1,9})?$`, ASCII digits.
 *
 * @param field what to call it in the error.
 * @returns the text as it came: `3.0` stays `3.0`.
 * @throws {ProtocolError} for any other text.
 */
export function parseDuration(text: string, field = "duration"): string {
  if (durationGrammar.test(text)) return text;
  throw new ProtocolError(
    `${field} must be seconds as digits with an optional fraction, such as 3 or 0.25, got ${
      quote(text)
    }`,
  );
}

function expectFields(fields: readonly string[], count: number, form: string): void {
  if (fields.length === count) return;
  const what = fields.length < count ? "a field is missing" : "there is a field too many";
  throw new ProtocolError(`${what}: expected ${quote(form)}, got ${quote(fields.join(" "))}`);
}

function unknownCommand(
  verb: string | undefined,
  expected: string,
  other: { names: readonly string[]; port: string },
): ProtocolError {
  if (verb === undefined) return new ProtocolError(`empty line: expected ${expected}`);
  if (other.names.includes(verb)) {
    return new ProtocolError(`${verb} belongs on the ${other.port}: expected ${expected}`);
  }
  return new ProtocolError(`unknown command ${quote(verb)}: expected ${expected}`);
}
