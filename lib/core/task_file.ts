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
import { quote } from "../quote.ts";
import type { TaskDescription } from "./task.ts";

/** Most errors listed: a wrong file has thousands. */
const maxListedErrors = 20;

/** Most tasks in a file: ten times what a server holds by default, and some 1.2 GB of memory. */
export const maxFileTasks = 10_000_000;

/** Longest line in characters: 50 times the longest valid one. More is not kept. */
const maxLineChars = 16 * 1024;

/** A task and when to send it. */
export interface TimedTask extends TaskDescription {
  /** Seconds after the producer starts. */
  readonly timestampSeconds: number;
}

/** What a task file holds: its errors, one line each; or its tasks where there are none. */
export type TaskFile =
  | { readonly tasks: readonly TimedTask[] }
  | { readonly errors: readonly string[] };

/** Reads a task file that comes in pieces: of a long one, what is read is at once checked. */
export class TaskFileParser {
  readonly #name: string;
  readonly #decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  readonly #tasks: TimedTask[] = [];
  readonly #errors: string[] = [];
  #errorCount = 0;
  #isText = true;
  #hasTooMany = false;
  #lineCount = 0;
  /** What came after the last LF. */
  #unended = "";

  /** Starts a file; `name` is what errors call it. */
  constructor(name: string) {
    this.#name = name;
  }

  /** Takes the next bytes, cut anywhere. */
  add(bytes: Uint8Array): void {
    this.#takeText(this.#decode(bytes));
  }

  /** The tasks in the order of their timestamps, equal ones in file order; or the errors. */
  finish(): TaskFile {
    this.#takeText(this.#decode());
    this.#takeLine(this.#unended);
    if (!this.#isText) {
      return { errors: [`${this.#name}: not a text file: it must be valid UTF-8`] };
    }
    if (this.#hasTooMany) {
      return { errors: [`${this.#name}: more than ${maxFileTasks} tasks: split the file`] };
    }
    if (this.#errorCount > maxListedErrors) {
      this.#errors.push(
        `${this.#name}: ${this.#errorCount - maxListedErrors} more lines with errors`,
      );
    }
    if (this.#errorCount > 0) return { errors: this.#errors };
    // Array.prototype.sort is stable (ECMAScript 2019).
    return { tasks: this.#tasks.sort((a, b) => a.timestampSeconds - b.timestampSeconds) };
  }

  /** Decodes the next bytes, or without any what is left of a character. */
  #decode(bytes?: Uint8Array): string {
    if (!this.#isText) return "";
    try {
      return bytes === undefined
        ? this.#decoder.decode()
        : this.#decoder.decode(bytes, { stream: true });
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // what a fatal decoder throws
      this.#isText = false;
      return "";
    }
  }

  #takeText(text: string): void {
    const lines = text.split("\n");
    const last = lines.pop() as string;
    for (const line of lines) {
      this.#takeLine(this.#unended + line);
      this.#unended = "";
    }
    // One character more than may be: enough to see that the line is too long.
    if (this.#unended.length <= maxLineChars) this.#unended += last.slice(0, maxLineChars + 1);
  }

  #takeLine(line: string): void {
    this.#lineCount++;
    try {
      if (line.length > maxLineChars) {
        throw new ProtocolError(`a line must have at most ${maxLineChars} characters`);
      }
      const fields = splitFields(line.endsWith("\r") ? line.slice(0, -1) : line);
      if (fields.length === 0) return;
      const task = parseTimedTask(fields);
      if (this.#tasks.length < maxFileTasks) this.#tasks.push(task);
      else this.#hasTooMany = true;
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      if (++this.#errorCount > maxListedErrors) return;
      this.#errors.push(`${this.#name}:${this.#lineCount}: ${error.message}`);
    }
  }
}

/** Reads a task file that is there as a whole; see {@linkcode TaskFileParser}. */
export function parseTaskFile(bytes: Uint8Array, name: string): TaskFile {
  const parser = new TaskFileParser(name);
  parser.add(bytes);
  return parser.finish();
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
