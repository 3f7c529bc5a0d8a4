/**
 * A task as a program describes it, and its line on the wire.
 *
 * @module
 */

import {
  formatCommand,
  highestMaxLineBytes,
  parseDuration,
  parseTaskId,
  ProtocolError,
} from "../core/protocol.ts";
import { priorities } from "../core/task.ts";
import { quote } from "../quote.ts";
import type { Json } from "./json.ts";

/** A task to create. */
export interface NewTask {
  /**
   * Its name: 1 to 255 bytes of UTF-8 without blanks, control or format characters. Several tasks
   * may share one.
   */
  readonly id: string;
  /** 1 HIGH, 2 MEDIUM, 3 LOW; 2 if left out. */
  readonly priority?: 1 | 2 | 3;
  /**
   * How long it will take, in seconds; 60 if left out. Whoever takes it has twice as long, and 10 s,
   * but at most 24 h: then it goes to somebody else. From 0 to below 10^9, exact to the nanosecond.
   */
  readonly duration?: number;
  /**
   * Data for whoever does it: an object or an array, as JSON on the line of the task. The line has
   * at most 1,024 bytes if the server is not told otherwise (`--max-line`).
   */
  readonly payload?: Json;
  /** In how many seconds it is ready to be taken; at once if left out. */
  readonly delay?: number;
}

const defaultDurationSeconds = 60;

/**
 * Writes a task as a command's line, with its LF.
 *
 * @throws {TypeError} a field has the wrong type.
 * @throws {RangeError} a field has a value that no task can have.
 */
export function formatNewTask(newTask: NewTask): string {
  const { id, priority = 2, duration = defaultDurationSeconds, payload, delay = 0 } = newTask;
  if (!priorities.includes(priority)) {
    throw new RangeError(`priority must be 1, 2 or 3, got ${String(priority)}`);
  }
  const task = {
    priority,
    taskId: checkId(id),
    duration: formatSeconds("duration", duration),
    ...payload === undefined ? {} : { payload: formatPayload(payload) },
  };
  const delayText = formatSeconds("delay", delay);
  const command = delay === 0
    ? formatCommand({ kind: "create", task })
    : formatCommand({ kind: "schedule", delay: delayText, task });
  const line = `${command}\n`;
  if (byteLength(line) > highestMaxLineBytes) {
    throw new RangeError(
      `payload must leave the task's line at most ${highestMaxLineBytes} bytes long, which no ` +
        `server exceeds, got ${byteLength(line)}`,
    );
  }
  return line;
}

const encoder = new TextEncoder();

/** How many bytes a text has in UTF-8. */
export function byteLength(text: string): number {
  return encoder.encode(text).length;
}

/** A blank would end the name, and half a surrogate pair would arrive as another character. */
const notInId = /[ \t\p{Cs}]/u;

function checkId(id: string): string {
  if (typeof id !== "string") throw new TypeError(`id must be a string, got ${typeof id}`);
  if (id === "") throw new RangeError("id must have at least 1 byte");
  if (notInId.test(id)) {
    throw new RangeError(`id must have no blanks or lone surrogates, got ${quote(id)}`);
  }
  try {
    return parseTaskId(id);
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    throw new RangeError(`id: ${error.message}`);
  }
}

/**
 * Writes seconds as decimal digits, rounded to the nanosecond; never as `1e-7`.
 *
 * @throws {TypeError} it is no number.
 * @throws {RangeError} it is not from 0 to below 10^9.
 */
export function formatSeconds(field: string, seconds: number): string {
  if (typeof seconds !== "number") {
    throw new TypeError(`${field} must be a number of seconds, got ${typeof seconds}`);
  }
  const text = Number.isInteger(seconds)
    ? String(seconds)
    : seconds.toFixed(9).replace(/\.?0+$/, "");
  try {
    return parseDuration(text, field);
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    throw new RangeError(`${field} must be seconds from 0 to below 10^9, got ${seconds}`);
  }
}

/** The control characters that JSON.stringify leaves as they are, and the protocol does not allow. */
const unescapedControls = /[\x7f-\x9f]/g;

function formatPayload(payload: Json): string {
  let text: string | undefined;
  try {
    text = JSON.stringify(payload);
  } catch (error) {
    throw new TypeError(`payload cannot be written as JSON: ${(error as Error).message}`);
  }
  if (text === undefined || !/^[{[]/.test(text)) {
    throw new TypeError(`payload must be an object or an array, got ${quote(String(text))}`);
  }
  // They are within strings: nowhere else may JSON have them.
  return text.replace(unescapedControls, (char) => {
    return `\\u00${char.charCodeAt(0).toString(16)}`;
  });
}
