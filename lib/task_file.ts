/**
 * A task file -> its tasks, or everything that is wrong with it. Pure.
 *
 * One task a line: `timestamp priority task_id duration`, blanks as on the wire, blank lines
 * skipped, LF or CRLF; the last line needs no LF.
 *
 * @module
 */

import {
  parseDuration,
  parsePriority,
  parseTaskId,
  ProtocolError,
  splitFields,
} from "./protocol.ts";
import { quote } from "./quote.ts";
import type { TaskDescription } from "./task.ts";

/** Most errors listed: a wrong file has thousands. */
const maxListedErrors = 20;

/** A task and when to send it. */
export interface TimedTask extends TaskDescription {
  /** Seconds after the producer starts. */
  readonly timestampSeconds: number;
}

/** What a task file holds: its errors, one line each; or its tasks where there are none. */
export type TaskFile =
  | { readonly tasks: readonly TimedTask[] }
  | { readonly errors: readonly string[] };

/**
 * Reads a task file.
 *
 * @param name what to call the file in errors.
 * @returns the tasks in the order of their timestamps, equal ones in file order.
 */
export function parseTaskFile(bytes: Uint8Array, name: string): TaskFile {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // what a fatal decoder throws
    return { errors: [`${name}: not a text file: it must be valid UTF-8`] };
  }
  const tasks: TimedTask[] = [];
  const errors: string[] = [];
  let errorCount = 0;
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    const fields = splitFields(line);
    if (fields.length === 0) continue;
    try {
      tasks.push(parseTimedTask(fields));
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      if (++errorCount <= maxListedErrors) errors.push(`${name}:${index + 1}: ${error.message}`);
    }
  }
  if (errorCount > maxListedErrors) {
    errors.push(`${name}: ${errorCount - maxListedErrors} more lines with errors`);
  }
  if (errorCount > 0) return { errors };
  // Array.prototype.sort is stable (ECMAScript 2019).
  return { tasks: tasks.sort((a, b) => a.timestampSeconds - b.timestampSeconds) };
}

function parseTimedTask(fields: readonly string[]): TimedTask {
  const [timestamp, priority, taskId, duration] = fields;
  if (fields.length !== 4) {
    throw new ProtocolError(
      `expected "timestamp priority task_id duration", got ${fields.length} fields: ${
        quote(fields.join(" "))
      }`,
    );
  }
  return {
    timestampSeconds: Number(parseDuration(timestamp as string, "timestamp")),
    priority: parsePriority(priority as string),
    taskId: parseTaskId(taskId as string),
    duration: parseDuration(duration as string),
  };
}
