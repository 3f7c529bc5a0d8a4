/**
 * Parses a task file into its tasks, or into a list of everything that is wrong with it. Pure.
 *
 * Each line describes one task: `timestamp priority task_id duration`, separated by spaces or tabs,
 * and behind these, if it begins with `{` or `[`, the task's payload. A line ends with LF or CRLF,
 * which the last line may lack. Blank lines are skipped.
 *
 * @module
 */

import {
  beginsPayload,
  parseDuration,
  parsePayload,
  parsePriority,
  parseTaskId,
  ProtocolError,
  splitFields,
} from "./protocol.ts";
import { quote } from "../quote.ts";
import type { TaskDescription } from "./task.ts";

/** Most errors listed one by one; further ones are only counted, as a wrong file has thousands. */
const maxListedErrors = 20;

/** Most tasks in a file: ten times what a server holds by default. They take some 1.2 GB. */
export const maxFileTasks = 10_000_000;

/**
 * Longest line, in characters: 50 times the longest valid one. The rest of a longer line is not
 * kept, so that a file without line ends cannot fill the memory.
 */
const maxLineChars = 16 * 1024;

/** Which field of a line may be the payload, counted from 0. */
const payloadIndex = 4;

/** A task, and when to send it. */
export interface TimedTask extends TaskDescription {
  /** When to send it, in seconds after the producer's start. */
  readonly timestampSeconds: number;
}

/** The tasks of a valid file; or the errors of an invalid one, each a line of text. */
export type TaskFile =
  | { readonly tasks: readonly TimedTask[] }
  | { readonly errors: readonly string[] };

/**
 * Parses a task file piece by piece, so that a file of a gigabyte never is in memory as a whole.
 *
 * Call {@linkcode TaskFileParser.add} for each piece, then {@linkcode TaskFileParser.finish} once.
 */
export class TaskFileParser {
  readonly #name: string;
  // Here `ignoreBOM` means that a byte order mark stays in the text, and so is an error in line 1.
  readonly #decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  readonly #tasks: TimedTask[] = [];
  readonly #errors: string[] = [];
  /** All errors, also those that are not listed. */
  #errorCount = 0;
  #isUtf8 = true;
  #hasTooManyTasks = false;
  #lineCount = 0;
  /** The beginning of a line whose LF has not come yet. */
  #unended = "";

  /**
   * Makes a parser that has read nothing.
   *
   * @param name what errors call the file.
   */
  constructor(name: string) {
    this.#name = name;
  }

  /** Takes the next piece. It may begin and end anywhere, even in the middle of a character. */
  add(bytes: Uint8Array): void {
    this.#takeText(this.#decode(bytes));
  }

  /** Returns the tasks by timestamp, those with equal timestamps in file order; or the errors. */
  finish(): TaskFile {
    this.#takeText(this.#decode());
    this.#takeLine(this.#unended);
    if (!this.#isUtf8) {
      return { errors: [`${this.#name}: not a text file: it must be valid UTF-8`] };
    }
    if (this.#hasTooManyTasks) {
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

  /** Decodes the next bytes; without any, ends the text: an unfinished character is an error. */
  #decode(bytes?: Uint8Array): string {
    if (!this.#isUtf8) return "";
    try {
      return bytes === undefined
        ? this.#decoder.decode()
        : this.#decoder.decode(bytes, { stream: true });
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      // A fatal TextDecoder throws a TypeError for bytes that are not UTF-8.
      this.#isUtf8 = false;
      return "";
    }
  }

  /** Takes the lines that the text completes, and keeps the beginning of the next one. */
  #takeText(text: string): void {
    const lines = text.split("\n");
    const last = lines.pop() as string;
    for (const line of lines) {
      this.#takeLine(this.#unended + line);
      this.#unended = "";
    }
    // Keep one character more than a line may have: enough to see later that it is too long.
    if (this.#unended.length <= maxLineChars) this.#unended += last.slice(0, maxLineChars + 1);
  }

  /** Takes a whole line without its LF: adds its task, or its error. */
  #takeLine(line: string): void {
    this.#lineCount++;
    try {
      if (line.length > maxLineChars) {
        throw new ProtocolError(`a line must have at most ${maxLineChars} characters`);
      }
      const fields = splitFields(line.endsWith("\r") ? line.slice(0, -1) : line, payloadIndex);
      if (fields.length === 0) return;
      const task = parseTimedTask(fields);
      if (this.#tasks.length < maxFileTasks) this.#tasks.push(task);
      else this.#hasTooManyTasks = true;
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      if (++this.#errorCount > maxListedErrors) return;
      this.#errors.push(`${this.#name}:${this.#lineCount}: ${error.message}`);
    }
  }
}

/** Parses a task file that is in memory as a whole; see {@linkcode TaskFileParser}. */
export function parseTaskFile(bytes: Uint8Array, name: string): TaskFile {
  const parser = new TaskFileParser(name);
  parser.add(bytes);
  return parser.finish();
}

function parseTimedTask(fields: readonly string[]): TimedTask {
  const [timestamp, priority, taskId, duration, payload] = fields;
  const hasPayload = fields.length === payloadIndex + 1 && beginsPayload(payload as string);
  if (fields.length !== payloadIndex && !hasPayload) {
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
    ...hasPayload ? { payload: parsePayload(payload as string) } : {},
  };
}
