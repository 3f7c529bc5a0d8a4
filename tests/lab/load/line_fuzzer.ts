/**
 * Mutated lines, and what must hold of the codec and of the framing whatever comes.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { type Line, UnreadableLine } from "../../../lib/line.ts";
import { LineCutter, LineSplitter } from "../../../lib/net/lines.ts";
import {
  formatCommand,
  formatReply,
  lineForms,
  maxLineBytes,
  parseConsumerCommand,
  parseProducerCommand,
  parseReply,
  ProtocolError,
} from "../../../lib/core/protocol.ts";
import type { Random } from "../random.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** What the fields of the lines may be: as an expression, and some values that it fits. */
interface Field {
  readonly grammar: string;
  /** What else must hold of what the first group of the expression takes. */
  readonly isValid?: (text: string) => boolean;
  readonly values: readonly string[];
}

// The grammar of docs/protocol.md once more, as expressions that may be slow.
const blanks = "[ \\t]+";
const duration: Field = {
  grammar: "[0-9]{1,9}(?:\\.[0-9]{1,9})?",
  values: ["3.0", "0.25", "999999999.999999999", "007.5", "123456789"],
};
const waitSeconds: Field = {
  grammar: "(?:[1-9]|[1-5][0-9]|60)",
  values: ["1", "60", "9", "30"],
};
const fields: Readonly<Record<string, Field>> = {
  "<priority>": { grammar: "[123]", values: ["1", "2", "3"] },
  "<task_id>": {
    grammar: "([^ \\t\\p{Cc}\\p{Cf}\\p{Zl}\\p{Zp}]+)",
    isValid: (text) => encode(text).length <= 255,
    values: ["task1", "작업-1", "😀", "i".repeat(255), "__proto__", "task\u0301", "{}"],
  },
  "<duration>": duration,
  "<seconds>": duration,
  "[seconds]": duration,
  "[payload]": {
    grammar: "([{[]\\P{Cc}*?)",
    isValid: isJson,
    values: [
      ...["{}", '[1, {"to":  "a b"}]', '{"작업": "\\u0000"}', "[ ]", "[1e400, -0.5]"],
      "[".repeat(100) + "]".repeat(100),
    ],
  },
  "<token>": {
    grammar: "[!-~]{16,1018}",
    values: ["0123456789abcdef", "{}[]<>,;.:-_#'+*~", "x".repeat(1018)],
  },
  "<n>": { grammar: "[0-9]{1,15}", values: ["0", "17", "000000000000017"] },
};

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** The field of a form; a new one must be described above, so that no verb goes untried. */
function fieldOf(name: string, verb: string): Field {
  if (verb === "RESERVE" && name === "[seconds]") return waitSeconds;
  const field = /^[<[]/.test(name) ? fields[name] : { grammar: name, values: [name] };
  assert(field !== undefined, `line_fuzzer.ts does not know the field ${name}`);
  return field;
}

/** The forms of a form: without and with its optional field. */
function formsOf(form: string): readonly (readonly [verb: string, ...names: string[]])[] {
  const names = form.split(" ") as [string, ...string[]];
  const [verb, ...rest] = names;
  return form.endsWith("]") ? [[verb, ...rest.slice(0, -1)], names] : [names];
}

/** A form of lines, to be matched. */
interface Form {
  readonly expression: RegExp;
  /** What must hold of each group. */
  readonly checks: readonly ((text: string) => boolean)[];
  readonly hasPayload: boolean;
}

function readForm([verb, ...names]: readonly [verb: string, ...names: string[]]): Form {
  const parts = [verb, ...names].map((name) => fieldOf(name, verb));
  return {
    expression: expression(parts.map(({ grammar }) => grammar).join(blanks)),
    checks: parts.flatMap(({ isValid }) => isValid ?? []),
    hasPayload: names.at(-1) === "[payload]",
  };
}

function expression(grammar: string): RegExp {
  return new RegExp(`^[ \\t]*(?:${grammar})[ \\t]*$`, "su");
}

function linesOf([verb, ...names]: readonly [verb: string, ...names: string[]]): string[] {
  const variants = Math.max(1, ...names.map((name) => fieldOf(name, verb).values.length));
  return Array.from({ length: variants }, (_, variant) => {
    const blank = [" ", "\t", " \t "][variant % 3] as string;
    const values = names.map((name) => fieldOf(name, verb).values);
    return [verb, ...values.map((some) => some[variant % some.length])].join(blank);
  });
}

const validLines = [
  ...Object.values(lineForms).flat().flatMap(formsOf).flatMap(linesOf),
  "ERROR priority must be 1, 2 or 3",
  "Consumer12",
];

/** Lines that hardly a mutation makes: just beyond what is valid. */
const nearMisses = ["RESERVE 0", "RESERVE 61", "RESERVE 1.0", "FAIL a 1 2", "FAIL a x", "SYNC 1"];
const startingLines = [...validLines, ...nearMisses];

/** What breaks parsers: controls, format characters, cousins of digits and blanks, long text. */
const splinters = [
  "\0",
  "\x1b[2J",
  "\x1b]52;c;QQ==\x07",
  "\r",
  "\v",
  "\f",
  "\x7f",
  "\u009b",
  "\u202e",
  "\u2028",
  "\u200b",
  "\u00a0",
  "\ufeff",
  "\u{e0001}",
  "١",
  "１",
  "5e309",
  "-1",
  "+",
  ".",
  "0x10",
  "7",
  " {}",
  ' {"a": [1, 2]}',
  "[",
  "}",
  '"',
  "\\",
  "%s",
  " ",
  "\t",
  "\n",
  "\n\n",
  "\r\n",
  "한",
  "👨‍👩‍👧",
  "x".repeat(70),
  "é".repeat(130),
  "z".repeat(1100),
].map(encode);
const badUtf8 = [[0xff], [0xc0, 0x8a], [0xed, 0xa0, 0x80], [0xe2, 0x82], [0xf0, 0x9f]]
  .map((bytes) => Uint8Array.from(bytes));

const cc = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u;
const lf = 0x0a;

/** Draws a line, with its LF, and mutates it up to three times. */
export function drawLine(random: Random): Uint8Array {
  if (random.chance(1)) return drawLongLine(random);
  let bytes = encode(random.pick(startingLines));
  for (let times = random.below(4); times > 0; times--) bytes = mutate(bytes, random);
  if (random.chance(10)) bytes = joined([bytes, encode(" \t")]);
  return joined([bytes, encode(random.chance(10) ? "\r\n" : "\n")]);
}

/** Draws a line about as long as a line may be, or much longer. */
function drawLongLine(random: Random): Uint8Array {
  const length = random.pick([maxLineBytes - 1 + random.below(3), 2000 + random.below(2000)]);
  const bytes = new Uint8Array(length).fill(0x6c);
  bytes[length - 1] = lf;
  return bytes;
}

function mutate(bytes: Uint8Array, random: Random): Uint8Array {
  const at = random.below(bytes.length + 1);
  const before = bytes.subarray(0, at);
  const after = bytes.subarray(at);
  switch (random.below(7)) {
    case 0: // a bit flips
      return bytes.map((byte, i) => i === at ? byte ^ (1 << random.below(8)) : byte);
    case 1: // a byte comes in
      return joined([before, Uint8Array.of(random.below(256)), after]);
    case 2:
      return joined([before, random.pick(badUtf8), after]);
    case 3: // some are lost
      return joined([before, after.subarray(1 + random.below(3))]);
    case 4: // some come twice
      return joined([before, before.subarray(-5), after]);
    case 5: // another line's end follows
      return joined([before, encode(random.pick(startingLines)).subarray(at)]);
    default:
      return joined([before, random.pick(splinters), after]);
  }
}

/** What {@linkcode LineSplitter} must give, in the simplest form: all bytes at once. */
export function referenceLines(bytes: Uint8Array): (string | undefined)[] {
  const lines: (string | undefined)[] = [];
  for (let start = 0;;) {
    const end = bytes.indexOf(lf, start);
    if (end === -1) return lines;
    const hasCr = end > start && bytes[end - 1] === 0x0d;
    const line = bytes.subarray(start, hasCr ? end - 1 : end);
    lines.push(end + 1 - start > maxLineBytes ? undefined : decode(line));
    start = end + 1;
  }
}

/** Checks that the splitter agrees with the reference, however the bytes are cut. */
export async function checkFraming(bytes: Uint8Array, random: Random): Promise<Line[]> {
  const splitter = new LineSplitter(new LineCutter(), maxLineBytes);
  const lines: Line[] = [];
  const most = random.pick([1, 3, 50, 1024, 1025, 20_000]);
  for (let start = 0; start < bytes.length;) {
    const end = Math.min(bytes.length, start + 1 + random.below(most));
    // A copy that is spoilt afterwards, as a read buffer is.
    const piece = bytes.slice(start, end);
    lines.push(...await splitter.split(piece));
    piece.fill(0x41);
    start = end;
  }
  const texts = lines.map((line) => line instanceof UnreadableLine ? undefined : line);
  const expected = referenceLines(bytes);
  // assertEquals only where they differ: it costs more than all the rest.
  if (texts.length !== expected.length || texts.some((text, i) => text !== expected[i])) {
    assertEquals(texts, expected);
  }
  const tail = bytes.subarray(bytes.lastIndexOf(lf) + 1);
  const expectedTail = tail.length === 0 || tail.length >= maxLineBytes ? undefined : decode(tail);
  assertEquals(splitter.unendedText, expectedTail);
  return lines;
}

/** Checks that each parser takes the line and gives its fields back, or refuses it printably. */
export function checkCodec(line: Line): void {
  if (line instanceof UnreadableLine) return checkReason(line.reason);
  for (const { parse, format, forms } of codecs) {
    const fit = fitOf(line, forms);
    const isValid = fit !== undefined;
    let parsed;
    try {
      parsed = parse(line);
    } catch (error) {
      assert(error instanceof ProtocolError, `${JSON.stringify(line)} made ${error}`);
      assert(!isValid, `${JSON.stringify(line)} was refused: ${error.message}`);
      checkReason(error.message);
      continue;
    }
    assert(isValid, `${JSON.stringify(line)} was taken`);
    const text = format(parsed as never);
    // Payloads are never printed.
    checkPrintable(
      fit?.payload === undefined ? text : text.slice(0, text.lastIndexOf(fit.payload)),
    );
    // JSON, because assertEquals costs ten times as much.
    const again = JSON.stringify(parse(text));
    assert(again === JSON.stringify(parsed), `${JSON.stringify(line)} gave ${again}`);
    if (parsed.kind !== "error" && parsed.kind !== "greeting") {
      checkSameFields(line, text, fit?.payload);
    }
  }
}

type Parsed = ReturnType<
  typeof parseProducerCommand | typeof parseConsumerCommand | typeof parseReply
>;

const codecs: readonly {
  readonly parse: (line: string) => Parsed;
  readonly format: (parsed: never) => string;
  readonly forms: readonly Form[];
}[] = [
  {
    parse: parseProducerCommand,
    format: formatCommand,
    forms: lineForms.producer.flatMap(formsOf).map(readForm),
  },
  {
    parse: parseConsumerCommand,
    format: formatCommand,
    forms: lineForms.consumer.flatMap(formsOf).map(readForm),
  },
  {
    parse: parseReply,
    format: formatReply,
    forms: [
      ...lineForms.server.flatMap(formsOf).map(readForm),
      ...["ERROR(?:[ \\t].*)?", "Consumer[0-9]{1,15}"].map((grammar) => ({
        ...{ expression: expression(grammar), checks: [], hasPayload: false },
      })),
    ],
  },
];

/** Finds the form of a line; with the payload, if it has one. */
function fitOf(
  line: string,
  forms: readonly Form[],
): { readonly payload: string | undefined } | undefined {
  for (const { expression, checks, hasPayload } of forms) {
    const groups = expression.exec(line)?.slice(1);
    if (groups === undefined) continue;
    if (groups.some((text, i) => checks[i]?.(text) === false)) continue;
    return { payload: hasPayload ? groups.at(-1) : undefined };
  }
  return undefined;
}

/**
 * Nothing of an accepted line may be changed but its blanks, and a number's leading zeros; and
 * nothing at all of a payload.
 */
function checkSameFields(line: string, text: string, payload: string | undefined): void {
  const head = payload === undefined ? line : line.slice(0, line.lastIndexOf(payload));
  const fields = head.replace(/[ \t]+/g, " ").replace(/^ | $/g, "")
    .replace(/^(OK|RESERVE) 0*(?=\d)/, "$1 ");
  const expected = payload === undefined ? fields : `${fields} ${payload}`;
  assert(expected === text, `${JSON.stringify(line)} was taken for ${JSON.stringify(text)}`);
}

function checkReason(reason: string): void {
  checkPrintable(reason);
  const bytes = encode(`ERROR ${reason}\n`).length;
  assert(bytes <= maxLineBytes, `an ERROR of ${bytes} bytes: ${reason}`);
}

function checkPrintable(text: string): void {
  assert(!cc.test(text), `not printable: ${JSON.stringify(text)}`);
}

/** Fuzzes batches of lines until so many have been tried. */
export async function fuzz(random: Random, count: number): Promise<void> {
  for (let done = 0; done < count;) {
    const drawn = Array.from({ length: 1 + random.below(100) }, () => drawLine(random));
    const unended = random.chance(50) ? drawLine(random).subarray(0, -1) : new Uint8Array();
    const bytes = joined([...drawn, unended]);
    for (const line of await checkFraming(bytes, random)) checkCodec(line);
    done += drawn.length;
  }
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

function encode(text: string): Uint8Array {
  return encoder.encode(text);
}

function decode(bytes: Uint8Array): string | undefined {
  try {
    return decoder.decode(bytes);
  } catch {
    return undefined; // not UTF-8
  }
}
