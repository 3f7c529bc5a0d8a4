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

/** Which port a peer has come to. */
export type Port = "producer" | "consumer";

/** What a producer may say. */
export type ProducerCommand =
  | { readonly kind: "create"; readonly task: TaskDescription }
  | { readonly kind: "sync" }
  | { readonly kind: "kick"; readonly taskId: string };

/** What a consumer may say. */
export type ConsumerCommand =
  | { readonly kind: "request" }
  | { readonly kind: "reserve" }
  | { readonly kind: "complete"; readonly taskId: string }
  | { readonly kind: "release"; readonly taskId: string };

/** What a peer may say. */
export type Command = ProducerCommand | ConsumerCommand;

/** What a server may say. */
export type Reply =
  | { readonly kind: "greeting"; readonly consumer: number }
  | { readonly kind: "assign"; readonly taskId: string; readonly duration: string }
  | { readonly kind: "no task" }
  | { readonly kind: "done" }
  | { readonly kind: "ok"; readonly count: number }
  | { readonly kind: "error"; readonly reason: string };

/** A peer's mistake: its message is one line of printable text, fit for `ERROR <reason>`. */
export class ProtocolError extends Error {
  /** Names the class in messages. */
  override readonly name = "ProtocolError";
}

/** One verb of the protocol: how its line reads and is written. */
interface Verb<T> {
  /** The verb and its fields, as errors show them. */
  readonly form: string;
  /** Makes the value of a line's fields, the verb first, which are as many as in the form. */
  read(fields: readonly string[]): T;
  /** Makes the line of a value. */
  write(value: T): string;
}

/** The verbs of a union of values, by the kind of value that each makes. */
type Verbs<T extends { readonly kind: string }> = {
  readonly [K in T["kind"]]: Verb<Extract<T, { readonly kind: K }>>;
};

// Values without fields are shared: consumers that poll send little else.
const sync = { kind: "sync" } as const;
const request = { kind: "request" } as const;
const reserve = { kind: "reserve" } as const;

const producerVerbs: Verbs<ProducerCommand> = {
  create: {
    form: "CREATE <priority> <task_id> <duration>",
    read: (fields) => ({
      kind: "create",
      task: {
        priority: parsePriority(fields[1] as string),
        taskId: parseTaskId(fields[2] as string),
        duration: parseDuration(fields[3] as string),
      },
    }),
    write: ({ task }) => `CREATE ${task.priority} ${task.taskId} ${task.duration}`,
  },
  sync: { form: "SYNC", read: () => sync, write: () => "SYNC" },
  kick: taskVerb("kick", "KICK <task_id>"),
};

const consumerVerbs: Verbs<ConsumerCommand> = {
  request: { form: "REQUEST", read: () => request, write: () => "REQUEST" },
  reserve: { form: "RESERVE", read: () => reserve, write: () => "RESERVE" },
  complete: taskVerb("complete", "COMPLETE <task_id>"),
  release: taskVerb("release", "RELEASE <task_id>"),
};

const commandVerbs: Verbs<Command> = { ...producerVerbs, ...consumerVerbs };

/** Replies that begin with their verb; a greeting and an error read otherwise. */
const replyVerbs: Verbs<Exclude<Reply, { readonly kind: "greeting" | "error" }>> = {
  "assign": {
    form: "ASSIGN <task_id> <duration>",
    read: (fields) => ({
      kind: "assign",
      taskId: parseTaskId(fields[1] as string),
      duration: parseDuration(fields[2] as string),
    }),
    write: ({ taskId, duration }) => `ASSIGN ${taskId} ${duration}`,
  },
  "no task": { form: "NOTASK", read: () => ({ kind: "no task" }), write: () => "NOTASK" },
  "done": { form: "DONE", read: () => ({ kind: "done" }), write: () => "DONE" },
  "ok": {
    form: "OK <n>",
    read: (fields) => ({ kind: "ok", count: parseCount(fields[1] as string) }),
    write: ({ count }) => `OK ${count}`,
  },
};

const errorWord = "ERROR";
const noFields: readonly string[] = [];

/** The verb of a command that names a task and nothing else. */
function taskVerb<K extends string>(kind: K, form: string): Verb<{ kind: K; taskId: string }> {
  const word = wordOf(form);
  return {
    form,
    read: (fields) => ({ kind, taskId: parseTaskId(fields[1] as string) }),
    write: ({ taskId }) => `${word} ${taskId}`,
  };
}

/** A verb with what its lines are found and checked by. */
interface Form<T> extends Verb<T> {
  /** The first field of its lines. */
  readonly word: string;
  /** How many fields a line has, the word too. */
  readonly count: number;
}

// Lists, not maps: to find one of four words in a map takes longer than to compare it with each.
function listForms<T extends { readonly kind: string }>(verbs: Verbs<T>): readonly Form<T>[] {
  return Object.values<Verb<T>>(verbs).map((verb) => ({
    ...verb,
    word: wordOf(verb.form),
    count: verb.form.split(" ").length,
  }));
}

function wordOf(form: string): string {
  return form.split(" ", 1)[0] as string;
}

const forms = {
  producer: listForms<ProducerCommand>(producerVerbs),
  consumer: listForms<ConsumerCommand>(consumerVerbs),
};
const replyForms = listForms(replyVerbs);

/** The word that begins the line of a hand-out. */
export const assignWord: string = wordOf(replyVerbs["assign"].form);

/** How the lines of each side read: the verb, then its fields; all but greetings and errors. */
export const lineForms: Readonly<Record<Port | "server", readonly string[]>> = {
  producer: forms.producer.map(({ form }) => form),
  consumer: forms.consumer.map(({ form }) => form),
  server: replyForms.map(({ form }) => form),
};

/** Every word that begins a command or a reply, in upper case. */
export const protocolWords: readonly string[] = [
  ...Object.values(lineForms).flat().map(wordOf),
  errorWord,
];

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
 * @throws {ProtocolError} it is no command of the producer port.
 */
export function parseProducerCommand(line: string): ProducerCommand {
  return parseCommand(line, "producer", forms.producer);
}

/**
 * Reads one line of a consumer.
 *
 * @throws {ProtocolError} it is no command of the consumer port.
 */
export function parseConsumerCommand(line: string): ConsumerCommand {
  return parseCommand(line, "consumer", forms.consumer);
}

function parseCommand<T>(line: string, port: Port, verbs: readonly Form<T>[]): T {
  // Consumers that poll send little but one word: it needs no splitting.
  for (const verb of verbs) {
    if (verb.count === 1 && verb.word === line) return verb.read(noFields);
  }
  const fields = splitFields(line);
  const word = fields[0];
  for (const verb of verbs) {
    if (verb.word === word) return readFields(fields, verb);
  }
  throw unknownCommand(word, port);
}

/**
 * Reads one line of a server.
 *
 * @throws {ProtocolError} it is no reply.
 */
export function parseReply(line: string): Reply {
  const fields = splitFields(line);
  const [word = ""] = fields;
  const greeting = /^Consumer(\d{1,15})$/.exec(word);
  if (greeting !== null && fields.length === 1) {
    return { kind: "greeting", consumer: Number(greeting[1]) };
  }
  if (word === errorWord) {
    return { kind: "error", reason: escape(line.slice(line.indexOf(word) + word.length + 1)) };
  }
  for (const verb of replyForms) {
    if (verb.word === word) return readFields(fields, verb);
  }
  throw new ProtocolError(`unknown reply ${quote(line)}`);
}

/** Writes a command as its line, without its LF. */
export function formatCommand(command: Command): string {
  return (commandVerbs[command.kind] as Verb<Command>).write(command);
}

/** Writes a reply as its line, without its LF. */
export function formatReply(reply: Reply): string {
  switch (reply.kind) {
    case "greeting":
      return `Consumer${reply.consumer}`;
    case "error":
      return `${errorWord} ${reply.reason}`;
    default:
      return (replyVerbs[reply.kind] as Verb<Reply>).write(reply);
  }
}

function readFields<T>(fields: readonly string[], verb: Form<T>): T {
  if (fields.length === verb.count) return verb.read(fields);
  const what = fields.length < verb.count ? "a field is missing" : "there is a field too many";
  throw new ProtocolError(`${what}: expected ${quote(verb.form)}, got ${quote(fields.join(" "))}`);
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

function parseCount(text: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new ProtocolError(`n must be a whole number, got ${quote(text)}`);
}

function unknownCommand(word: string | undefined, port: Port): ProtocolError {
  const words = forms[port].map((verb) => verb.word);
  const expected = `expected ${words.slice(0, -1).join(", ")} or ${words.at(-1)}`;
  if (word === undefined) return new ProtocolError(`empty line: ${expected}`);
  const other = port === "producer" ? "consumer" : "producer";
  if (forms[other].some((verb) => verb.word === word)) {
    return new ProtocolError(`${word} belongs on the ${other} port: ${expected}`);
  }
  return new ProtocolError(`unknown command ${quote(word)}: ${expected}`);
}
