/**
 * The command codec: text of one line <-> commands and replies. Pure.
 *
 * ```text
 * producer port                               consumer port
 *   CREATE <priority> <task_id> <duration>      REQUEST | RESERVE [seconds]
 *     [payload]                                 COMPLETE <task_id>
 *   SCHEDULE <seconds> <priority> <task_id>     RELEASE <task_id> [seconds]
 *     <duration> [payload]                      FAIL <task_id> [seconds]
 *   SYNC                                        BURY <task_id> | TOUCH <task_id>
 *   KICK <task_id>                              SYNC
 *   AUTH <token>                                AUTH <token>
 * replies
 *   OK <n> | ERROR <reason>                     Consumer<N> | NOTASK | OK <n>
 *   DONE                                        ASSIGN <task_id> <duration> [payload]
 *                                               DONE | ERROR <reason>
 * fields, separated by one or more spaces or tabs
 *   priority  1 | 2 | 3
 *   task_id   1 to 255 bytes of UTF-8 without blanks, control or format characters
 *   duration  1 to 9 digits, optionally a point and 1 to 9 digits; so are seconds, but
 *             after RESERVE, which takes 1 to 60
 *   payload   the rest of the line: one JSON object or array
 *   token     16 to 1,018 characters of visible ASCII
 * ```
 *
 * Lines come here without their LF. docs/protocol.md is the specification.
 *
 * @module
 */

import { tooLongReason } from "../line.ts";
import { escape, quote } from "../quote.ts";
import type { Priority, TaskDescription } from "./task.ts";

/** Longest line, in bytes, LF included, if nothing else is asked for. */
export const maxLineBytes = 1024;

/** The most that the longest line may be set to, in bytes: payloads are data for one task. */
export const highestMaxLineBytes = 65_536;

/** The longest that a consumer may wait for a task, in seconds. */
export const maxWaitSeconds = 60;

/** Longest task_id, in bytes of UTF-8: what fits a file name. */
export const maxTaskIdBytes = 255;

/** Shortest token, in characters: one of random letters and digits cannot be guessed. */
export const minTokenChars = 16;

/** Longest token, in characters: with its verb and its LF it fits into the shortest limit of a line. */
export const maxTokenChars: number = maxLineBytes - "AUTH \n".length;

/** Which port a peer has come to. */
export type Port = "producer" | "consumer";

/** What a producer may say. */
export type ProducerCommand =
  | { readonly kind: "create"; readonly task: TaskDescription }
  /** The delay is in seconds, as text. */
  | { readonly kind: "schedule"; readonly delay: string; readonly task: TaskDescription }
  | { readonly kind: "sync" }
  | { readonly kind: "kick"; readonly taskId: string }
  | AuthCommand;

/** The first line to a server that asks for a token. */
export interface AuthCommand {
  /** What it is. */
  readonly kind: "auth";
  /** What the server has been given, too. */
  readonly token: string;
}

/** What a consumer may say. */
export type ConsumerCommand =
  | { readonly kind: "request" }
  /** Waits for a task if it says for how many seconds. */
  | { readonly kind: "reserve"; readonly waitSeconds?: number }
  | { readonly kind: "complete"; readonly taskId: string }
  /** The delay is in seconds, as text. */
  | { readonly kind: "release"; readonly taskId: string; readonly delay?: string }
  | { readonly kind: "fail"; readonly taskId: string; readonly delay?: string }
  | { readonly kind: "bury"; readonly taskId: string }
  | { readonly kind: "touch"; readonly taskId: string }
  | { readonly kind: "sync" }
  | AuthCommand;

/** What a peer may say. */
export type Command = ProducerCommand | ConsumerCommand;

/** What a server may say. */
export type Reply =
  | { readonly kind: "greeting"; readonly consumer: number }
  | {
    readonly kind: "assign";
    readonly taskId: string;
    readonly duration: string;
    readonly payload?: string;
  }
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
  /** A last field that a line may have or not. A payload takes all that is left of the line. */
  readonly optional?: "[seconds]" | "[payload]";
  /**
   * True for a verb that no error names to peers that have not used it: they are told what they were
   * always told.
   */
  readonly isOptIn?: boolean;
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

const syncVerb: Verb<typeof sync> = { form: "SYNC", read: () => sync, write: () => "SYNC" };

const authVerb: Verb<AuthCommand> = {
  form: "AUTH <token>",
  isOptIn: true,
  read: (fields) => ({ kind: "auth", token: parseToken(fields[1] as string) }),
  write: ({ token }) => `AUTH ${token}`,
};

const producerVerbs: Verbs<ProducerCommand> = {
  create: {
    form: "CREATE <priority> <task_id> <duration>",
    optional: "[payload]",
    read: (fields) => ({ kind: "create", task: readTask(fields, 1) }),
    write: ({ task }) => `CREATE ${writeTask(task)}`,
  },
  sync: syncVerb,
  kick: taskVerb("kick", "KICK <task_id>"),
  schedule: {
    form: "SCHEDULE <seconds> <priority> <task_id> <duration>",
    optional: "[payload]",
    isOptIn: true,
    read: (fields) => ({
      kind: "schedule",
      delay: parseDuration(fields[1] as string, "delay"),
      task: readTask(fields, 2),
    }),
    write: ({ delay, task }) => `SCHEDULE ${delay} ${writeTask(task)}`,
  },
  auth: authVerb,
};

const consumerVerbs: Verbs<ConsumerCommand> = {
  request: { form: "REQUEST", read: () => request, write: () => "REQUEST" },
  reserve: {
    form: "RESERVE",
    optional: "[seconds]",
    read: (fields) => {
      const seconds = optionalField(fields, 1);
      return seconds === undefined ? reserve : { kind: "reserve", waitSeconds: parseWait(seconds) };
    },
    write: ({ waitSeconds }) => joinFields("RESERVE", waitSeconds),
  },
  complete: taskVerb("complete", "COMPLETE <task_id>"),
  release: delayVerb("release", "RELEASE <task_id>"),
  fail: { ...delayVerb("fail", "FAIL <task_id>"), isOptIn: true },
  bury: { ...taskVerb("bury", "BURY <task_id>"), isOptIn: true },
  touch: { ...taskVerb("touch", "TOUCH <task_id>"), isOptIn: true },
  sync: { ...syncVerb, isOptIn: true },
  auth: authVerb,
};

const commandVerbs: Verbs<Command> = { ...producerVerbs, ...consumerVerbs };

/** Replies that begin with their verb; a greeting and an error read otherwise. */
const replyVerbs: Verbs<Exclude<Reply, { readonly kind: "greeting" | "error" }>> = {
  "assign": {
    form: "ASSIGN <task_id> <duration>",
    optional: "[payload]",
    read: (fields) => {
      const kind = "assign";
      const taskId = parseTaskId(fields[1] as string);
      const duration = parseDuration(fields[2] as string);
      const payload = optionalField(fields, 3);
      return payload === undefined
        ? { kind, taskId, duration }
        : { kind, taskId, duration, payload: parsePayload(payload) };
    },
    write: ({ taskId, duration, payload }) =>
      payload === undefined
        ? `ASSIGN ${taskId} ${duration}`
        : `ASSIGN ${taskId} ${duration} ${payload}`,
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

/** The verb of a command that names a task and nothing else. */
function taskVerb<K extends string>(kind: K, form: string): Verb<{ kind: K; taskId: string }> {
  const word = wordOf(form);
  return {
    form,
    read: (fields) => ({ kind, taskId: parseTaskId(fields[1] as string) }),
    write: ({ taskId }) => `${word} ${taskId}`,
  };
}

/** The verb of a command that names a task, and may say for how long it is to be delayed. */
function delayVerb<K extends string>(
  kind: K,
  form: string,
): Verb<{ kind: K; taskId: string; delay?: string }> {
  const word = wordOf(form);
  return {
    form,
    optional: "[seconds]",
    read: (fields) => {
      const taskId = parseTaskId(fields[1] as string);
      const delay = optionalField(fields, 2);
      return delay === undefined
        ? { kind, taskId }
        : { kind, taskId, delay: parseDuration(delay, "delay") };
    },
    write: ({ taskId, delay }) => joinFields(`${word} ${taskId}`, delay),
  };
}

function joinFields(fields: string, optional: string | number | undefined): string {
  return optional === undefined ? fields : `${fields} ${optional}`;
}

/** A field that may be missing. V8 reads an element beyond an array's end slowly. */
function optionalField(fields: readonly string[], index: number): string | undefined {
  return index < fields.length ? fields[index] : undefined;
}

/** Reads the fields of a task, of which the first has the given index. */
function readTask(fields: readonly string[], first: number): TaskDescription {
  const priority = parsePriority(fields[first] as string);
  const taskId = parseTaskId(fields[first + 1] as string);
  const duration = parseDuration(fields[first + 2] as string);
  const payload = optionalField(fields, first + 3);
  return payload === undefined
    ? { priority, taskId, duration }
    : { priority, taskId, duration, payload: parsePayload(payload) };
}

function writeTask({ priority, taskId, duration, payload }: TaskDescription): string {
  const fields = `${priority} ${taskId} ${duration}`;
  return payload === undefined ? fields : `${fields} ${payload}`;
}

/** A verb with what its lines are found and checked by. */
interface Form<T> extends Verb<T> {
  /** The first field of its lines. */
  readonly word: string;
  /** How many fields a line has at least, the word too. */
  readonly least: number;
  /** How many fields a line has at most. */
  readonly most: number;
  /** Which field is the payload, counted from 0; -1 if there is none. */
  readonly payloadIndex: number;
  /** The form with the optional field. */
  readonly wholeForm: string;
}

// Lists, not maps: to find one of four words in a map takes longer than to compare it with each.
function listForms<T extends { readonly kind: string }>(verbs: Verbs<T>): readonly Form<T>[] {
  return Object.values<Verb<T>>(verbs).map((verb) => {
    const least = verb.form.split(" ").length;
    return {
      ...verb,
      word: wordOf(verb.form),
      least,
      most: verb.optional === undefined ? least : least + 1,
      payloadIndex: verb.optional === "[payload]" ? least : -1,
      wholeForm: joinFields(verb.form, verb.optional),
    };
  });
}

function wordOf(form: string): string {
  return form.split(" ", 1)[0] as string;
}

const forms = {
  producer: listForms<ProducerCommand>(producerVerbs),
  consumer: listForms<ConsumerCommand>(consumerVerbs),
};
const replyForms = listForms(replyVerbs);

const requestWord = wordOf(consumerVerbs.request.form);

/** The word that begins the line of a hand-out. */
export const assignWord: string = wordOf(replyVerbs["assign"].form);

/** How the lines of each side read: the verb, then its fields; all but greetings and errors. */
export const lineForms: Readonly<Record<Port | "server", readonly string[]>> = {
  producer: forms.producer.map(({ wholeForm }) => wholeForm),
  consumer: forms.consumer.map(({ wholeForm }) => wholeForm),
  server: replyForms.map(({ wholeForm }) => wholeForm),
};

/** Every word that begins a command or a reply, in upper case. */
export const protocolWords: readonly string[] = [
  ...Object.values(lineForms).flat().map(wordOf),
  errorWord,
];

const space = 0x20;
const tab = 0x09;
const brace = 0x7b;
const bracket = 0x5b;

function isBlank(code: number): boolean {
  return code === space || code === tab;
}

/**
 * Splits a line at spaces and tabs; nothing else counts as blank.
 *
 * By index, because `String.trim()` and `\s` also take U+FEFF, NBSP and VT for blanks.
 *
 * @param payloadIndex the field, counted from 0, that is all the rest of the line if it begins with
 * `{` or `[`.
 */
export function splitFields(line: string, payloadIndex = -1): string[] {
  const fields: string[] = [];
  let start = -1;
  for (let i = 0; i < line.length; i++) {
    const code = line.charCodeAt(i);
    if (isBlank(code)) {
      if (start !== -1) fields.push(line.slice(start, i));
      start = -1;
    } else if (start === -1) {
      start = i;
      if (fields.length === payloadIndex && (code === brace || code === bracket)) {
        fields.push(line.slice(i, endOfText(line)));
        return fields;
      }
    }
  }
  if (start !== -1) fields.push(start === 0 ? line : line.slice(start));
  return fields;
}

/** The index after the last character that is no blank. */
function endOfText(line: string): number {
  let end = line.length;
  while (isBlank(line.charCodeAt(end - 1))) end--;
  return end;
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
  // Consumers that poll send little but this word.
  return line === requestWord ? request : parseCommand(line, "consumer", forms.consumer);
}

function parseCommand<T>(line: string, port: Port, verbs: readonly Form<T>[]): T {
  const verb = findForm(line, verbs);
  if (verb === undefined) throw unknownCommand(splitFields(line)[0], port);
  return readFields(line, verb);
}

/** Finds the verb whose word is the first field of a line. */
function findForm<T>(line: string, verbs: readonly Form<T>[]): Form<T> | undefined {
  let start = 0;
  while (isBlank(line.charCodeAt(start))) start++;
  for (const verb of verbs) {
    if (!line.startsWith(verb.word, start)) continue;
    const end = start + verb.word.length;
    if (end === line.length || isBlank(line.charCodeAt(end))) return verb;
  }
  return undefined;
}

/**
 * Reads one line of a server.
 *
 * @throws {ProtocolError} it is no reply.
 */
export function parseReply(line: string): Reply {
  const greeting = /^[ \t]*Consumer(\d{1,15})[ \t]*$/.exec(line);
  if (greeting !== null) return { kind: "greeting", consumer: Number(greeting[1]) };
  const error = /^[ \t]*ERROR(?:[ \t](.*))?$/s.exec(line);
  if (error !== null) return { kind: "error", reason: escape(error[1] ?? "") };
  const verb = findForm(line, replyForms);
  if (verb === undefined) throw new ProtocolError(`unknown reply ${quote(line)}`);
  return readFields(line, verb);
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

function readFields<T>(line: string, verb: Form<T>): T {
  const fields = splitFields(line, verb.payloadIndex);
  if (fields.length >= verb.least && fields.length <= verb.most) {
    const hasPayload = fields.length === verb.payloadIndex + 1;
    if (!hasPayload || beginsPayload(fields[verb.payloadIndex] as string)) return verb.read(fields);
  }
  const what = fields.length < verb.least ? "a field is missing" : "there is a field too many";
  const form = verb.isOptIn ? verb.wholeForm : verb.form;
  throw new ProtocolError(`${what}: expected ${quote(form)}, got ${quote(fields.join(" "))}`);
}

/** Whether a field is meant to be a payload: it begins with `{` or `[`. */
export function beginsPayload(text: string): boolean {
  const code = text.charCodeAt(0);
  return code === brace || code === bracket;
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
    `${field} must be seconds as digits with an optional fraction, at most 9 digits each, such as 3 or 0.25, got ${
      quote(text)
    }`,
  );
}

/**
 * Checks a payload: one JSON object or array, on one line.
 *
 * @returns the text as it came.
 * @throws {ProtocolError} for any other text.
 */
export function parsePayload(text: string): string {
  if (/\p{Cc}/u.test(text)) {
    throw new ProtocolError(`payload must have no control characters, got ${quote(text)}`);
  }
  try {
    JSON.parse(text);
  } catch {
    throw new ProtocolError(`payload must be one JSON object or array, got ${quote(text)}`);
  }
  return text;
}

/**
 * Checks a token: 16 to 1,018 characters of visible ASCII.
 *
 * @throws {ProtocolError} for any other text, which is a secret and not in the message.
 */
export function parseToken(text: string): string {
  const isFit = text.length >= minTokenChars && text.length <= maxTokenChars;
  if (isFit && visibleAscii.test(text)) return text;
  throw new ProtocolError(
    `token must have ${minTokenChars} to ${maxTokenChars} visible ASCII characters and no blanks`,
  );
}

function parseWait(text: string): number {
  const seconds = /^[1-9]\d?$/.test(text) ? Number(text) : 0;
  if (seconds >= 1 && seconds <= maxWaitSeconds) return seconds;
  throw new ProtocolError(
    `seconds must be a whole number from 1 to ${maxWaitSeconds}, got ${quote(text)}`,
  );
}

function parseCount(text: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new ProtocolError(`n must be a whole number, got ${quote(text)}`);
}

function expectedOn(port: Port): string {
  const words = forms[port].filter((verb) => !verb.isOptIn).map((verb) => verb.word);
  return `expected ${words.slice(0, -1).join(", ")} or ${words.at(-1)}`;
}

function unknownCommand(word: string | undefined, port: Port): ProtocolError {
  const expected = expectedOn(port);
  if (word === undefined) return new ProtocolError(`empty line: ${expected}`);
  const other = port === "producer" ? "consumer" : "producer";
  if (forms[other].some((verb) => verb.word === word)) {
    return new ProtocolError(formatReason({ kind: "wrong port", word, port: other }));
  }
  return new ProtocolError(`unknown command ${quote(word)}: ${expected}`);
}

/** A reason behind `ERROR` by which a client can tell what to do; the others are for people. */
export type Reason =
  /** The first line was not `AUTH` with the server's token; nothing later is looked at. */
  | { readonly kind: "authentication required" }
  /** The server has no token, or has been told it before. */
  | { readonly kind: "no token asked for" }
  /** The client has begun to speak another protocol; nothing that it has sent was looked at. */
  | { readonly kind: "not spoken"; readonly protocol: string }
  /** The port speaks TLS, and the client has not begun to: nothing that it has sent was looked at. */
  | { readonly kind: "TLS required" }
  /** The same may succeed later; nothing that the client has sent was looked at. */
  | { readonly kind: "too many connections" }
  /** This connection ends for the sake of others; what was sent before was looked at. */
  | { readonly kind: "made way" }
  /** The line before this one was the last malformed one that was borne: nothing later is looked at. */
  | { readonly kind: "too many errors" }
  /** A task cannot be created, completed or kicked: its change cannot be kept. */
  | { readonly kind: "store full" }
  /** The consumer does not hold the task, which is quoted. */
  | { readonly kind: "not held"; readonly task: string }
  /** The line has more bytes than the server allows, its LF included. */
  | { readonly kind: "line too long"; readonly maxLineBytes: number }
  /** The command is one of the other port, which is named. */
  | { readonly kind: "wrong port"; readonly word: string; readonly port: Port };

/** How one kind of reason is written and recognized. */
interface ReasonForm<T> {
  write(reason: T): string;
  read(text: string): T | undefined;
}

const reasonForms: { [K in Reason["kind"]]: ReasonForm<Extract<Reason, { readonly kind: K }>> } = {
  "authentication required": fixedReason("authentication required"),
  "no token asked for": fixedReason(
    "no token asked for",
    "AUTH is for the first line to a server with a token",
  ),
  "not spoken": {
    write: ({ protocol }) => `this port does not speak ${protocol}`,
    read: (text) => {
      const name = /^this port does not speak (\w+)$/.exec(text)?.[1];
      return name === undefined ? undefined : { kind: "not spoken", protocol: name };
    },
  },
  "TLS required": fixedReason("TLS required", "this port speaks TLS alone"),
  "too many connections": fixedReason("too many connections"),
  "made way": fixedReason("made way", "too many connections: closed to make way for a consumer"),
  "too many errors": fixedReason("too many errors"),
  "store full": fixedReason("store full"),
  "not held": {
    write: ({ task }) => `this consumer does not hold task ${task}`,
    read: (text) => {
      const task = /^this consumer does not hold task(?: (.*))?$/.exec(text);
      return task === null ? undefined : { kind: "not held", task: task[1] ?? "" };
    },
  },
  "line too long": {
    write: ({ maxLineBytes }) => tooLongReason(maxLineBytes),
    read: (text) => {
      const digits = /(?<=^\D*)\d{1,15}(?=\D*$)/.exec(text);
      const limit = Number(digits?.[0]);
      const isSame = digits !== null && tooLongReason(limit) === text;
      return isSame ? { kind: "line too long", maxLineBytes: limit } : undefined;
    },
  },
  "wrong port": {
    write: ({ word, port }) =>
      `${word} belongs on the ${port} port: ${
        expectedOn(port === "producer" ? "consumer" : "producer")
      }`,
    read: (text) => {
      const match = /^(\S+) belongs on the (producer|consumer) port\b/.exec(text);
      if (match === null) return undefined;
      return { kind: "wrong port", word: match[1] as string, port: match[2] as Port };
    },
  },
};

function fixedReason<K extends string>(kind: K, text: string = kind): ReasonForm<{ kind: K }> {
  return { write: () => text, read: (other) => other === text ? { kind } : undefined };
}

/** Writes what stands behind `ERROR`. */
export function formatReason(reason: Reason): string {
  return (reasonForms[reason.kind] as ReasonForm<Reason>).write(reason);
}

/** Reads what stands behind `ERROR`; undefined if it is for people. */
export function parseReason(text: string): Reason | undefined {
  for (const form of Object.values<ReasonForm<Reason>>(reasonForms)) {
    const reason = form.read(text);
    if (reason !== undefined) return reason;
  }
  return undefined;
}
