import {
  assertEquals,
  assertLessOrEqual,
  assertMatch,
  assertNotMatch,
  assertThrows,
} from "@std/assert";
import type { Priority } from "../../lib/core/task.ts";
import fc from "fast-check";
import { escape, quote } from "../../lib/quote.ts";
import {
  type ConsumerCommand,
  formatCommand,
  formatReason,
  formatReply,
  maxLineBytes,
  parseConsumerCommand,
  parseDuration,
  parsePriority,
  parseProducerCommand,
  parseReason,
  parseReply,
  parseTaskId,
  type Port,
  type ProducerCommand,
  ProtocolError,
  type Reason,
  type Reply,
  splitFields,
} from "../../lib/core/protocol.ts";

/** Registers one test a row; a pure module needs no permission. */
function testEach<Row>(
  rows: readonly Row[],
  name: (row: Row) => string,
  check: (row: Row) => void,
): void {
  for (const row of rows) {
    Deno.test({ name: name(row), permissions: "none", fn: () => check(row) });
  }
}

/** The message with which a line is refused. */
function refusal(parse: () => unknown): string {
  return assertThrows(parse, ProtocolError).message;
}

const utf8Length = (text: string) => new TextEncoder().encode(text).length;

testEach(
  [
    ["", []],
    [" \t ", []],
    ["REQUEST", ["REQUEST"]],
    ["  a\t\tb \t c  ", ["a", "b", "c"]],
    ["a\u00a0b \ufeffc d\ve f\fg h\ri", ["a\u00a0b", "\ufeffc", "d\ve", "f\fg", "h\ri"]],
  ] satisfies [string, string[]][],
  ([line]) => `splitFields() splits ${JSON.stringify(line)} at spaces and tabs alone`,
  ([line, fields]) => assertEquals(splitFields(line), fields),
);

testEach(
  ["1", "2", "3"],
  (text) => `parsePriority() takes ${text}`,
  (text) => assertEquals(String(parsePriority(text)), text),
);

testEach(
  ["0", "4", "-1", "+1", "01", "1.0", "1e0", "0x1", "１", "١", "1\0", "", "NaN", " 1", "high"],
  (text) => `parsePriority() refuses ${JSON.stringify(text)}`,
  (text) => assertMatch(refusal(() => parsePriority(text)), /^priority must be 1, 2 or 3, got "/),
);

testEach(
  ["0", "0.0", "3", "3.0", "007.5", "0.25", "999999999", "999999999.999999999"],
  (text) => `parseDuration() takes ${text} and keeps its text`,
  (text) => assertEquals(parseDuration(text), text),
);

testEach(
  [
    ...["-1", "+1", ".5", "5.", "1e3", "1e309", "0x10", "Infinity", "NaN", "1_000", "５", "5,0"],
    ...["", " ", "1 ", "1\n", "1\r", "1.2.3", "1234567890", "1.1234567890", "1s"],
  ],
  (text) => `parseDuration() refuses ${JSON.stringify(text)}`,
  (text) => assertMatch(refusal(() => parseDuration(text)), /^duration must be seconds /),
);

testEach(
  [
    ...["task1", "__proto__", "constructor", "NOTASK", "DONE", "%s", "%d", "%c", "-1", "a/../b"],
    ...["작업", "✅", "👩🏽", "é", "a\u00a0b", "\u3000", "x".repeat(255), "가".repeat(85)],
  ],
  (text) => `parseTaskId() takes ${JSON.stringify(text)}`,
  (text) => assertEquals(parseTaskId(text), text),
);

testEach(
  [
    ...["\x1b[2J", "\x1b]52;c;aGk=\x07", "\x07", "\x7f", "\x9b", "\0", "\v", "\f", "\r", "a\rb"],
    ...["\u202e", "\u2028", "\u2029", "\ufeff", "\ufeffa", "\u200b", "\u00ad", "\u{e0041}"],
  ],
  (text) => `parseTaskId() refuses ${JSON.stringify(text)}`,
  (text) =>
    assertMatch(
      refusal(() => parseTaskId(text)),
      /^task_id must have no control or format characters, got "/,
    ),
);

testEach(
  ["x".repeat(256), "가".repeat(85) + "x", "😀".repeat(64)],
  (text) => `parseTaskId() refuses the ${utf8Length(text)} bytes of ${text.slice(0, 4)}...`,
  (text) =>
    assertMatch(
      refusal(() => parseTaskId(text)),
      /^task_id must have at most 255 bytes, got 256 in "/,
    ),
);

testEach(
  [
    [
      "CREATE 3 task1 3.0",
      { kind: "create", task: { priority: 3, taskId: "task1", duration: "3.0" } },
    ],
    [
      "\t CREATE  1\t작업 007.5 ",
      { kind: "create", task: { priority: 1, taskId: "작업", duration: "007.5" } },
    ],
    ["SYNC", { kind: "sync" }],
    ["AUTH 0123456789{abcde", { kind: "auth", token: "0123456789{abcde" }],
    ["KICK __proto__", { kind: "kick", taskId: "__proto__" }],
    [
      'CREATE 1 {a} 3  {"k": "v  w"} \t',
      {
        kind: "create",
        task: { priority: 1, taskId: "{a}", duration: "3", payload: '{"k": "v  w"}' },
      },
    ],
    [
      "SCHEDULE 0.5 1 [b] 3 []",
      {
        kind: "schedule",
        delay: "0.5",
        task: { priority: 1, taskId: "[b]", duration: "3", payload: "[]" },
      },
    ],
  ] as const,
  ([line]) => `parseProducerCommand() reads ${JSON.stringify(line)}`,
  ([line, command]) => assertEquals<unknown>(parseProducerCommand(line), command),
);

testEach(
  [
    ["REQUEST", { kind: "request" }],
    [" REQUEST\t", { kind: "request" }],
    ["RESERVE", { kind: "reserve" }],
    ["COMPLETE constructor", { kind: "complete", taskId: "constructor" }],
    ["RELEASE NOTASK", { kind: "release", taskId: "NOTASK" }],
    ["RELEASE a 007.5", { kind: "release", taskId: "a", delay: "007.5" }],
    ["RESERVE  60", { kind: "reserve", waitSeconds: 60 }],
    ["FAIL a", { kind: "fail", taskId: "a" }],
    ["FAIL a 0", { kind: "fail", taskId: "a", delay: "0" }],
    ["SYNC", { kind: "sync" }],
  ] as const,
  ([line]) => `parseConsumerCommand() reads ${JSON.stringify(line)}`,
  ([line, command]) => assertEquals<unknown>(parseConsumerCommand(line), command),
);

// In full: these texts are what a user who sends a wrong line has to go by.
testEach(
  [
    ["CREATE 9 task1 3.0", 'priority must be 1, 2 or 3, got "9"'],
    [
      "CREATE 3 task1 -1",
      'duration must be seconds as digits with an optional fraction, at most 9 digits each, such as 3 or 0.25, got "-1"',
    ],
    [
      "CREATE 3 \x1b[2J 1",
      'task_id must have no control or format characters, got "\\u{1b}[2J"',
    ],
    [
      "CREATE 3 task1",
      'a field is missing: expected "CREATE <priority> <task_id> <duration>", got "CREATE 3 task1"',
    ],
    [
      "CREATE 3 a b 1",
      'there is a field too many: expected "CREATE <priority> <task_id> <duration>", ' +
      'got "CREATE 3 a b 1"',
    ],
    ["CREATE 3 a 1 {", 'payload must be one JSON object or array, got "{"'],
    ["CREATE 3 a 1 {} x", 'payload must be one JSON object or array, got "{} x"'],
    ["CREATE 3 a 1 [\t1]", 'payload must have no control characters, got "[\\u{9}1]"'],
    [
      'CREATE 3 a 1 "text"  y',
      'there is a field too many: expected "CREATE <priority> <task_id> <duration>", ' +
      'got "CREATE 3 a 1 \\"text\\" y"',
    ],
    [
      "SCHEDULE 1 2 a",
      "a field is missing: expected " +
      '"SCHEDULE <seconds> <priority> <task_id> <duration> [payload]", got "SCHEDULE 1 2 a"',
    ],
    [
      "SCHEDULE -1 2 a 1",
      "delay must be seconds as digits with an optional fraction, at most 9 digits each, " +
      'such as 3 or 0.25, got "-1"',
    ],
    ["FAIL a", "FAIL belongs on the consumer port: expected CREATE, SYNC or KICK"],
    // Not even a wrong token is repeated: it may be the right one but for a slip.
    ...[`${"x".repeat(15)}`, "x".repeat(1019), "0123456789abcdé0"].map((token) =>
      [
        `AUTH ${token}`,
        "token must have 16 to 1018 visible ASCII characters and no blanks",
      ] as [string, string]
    ),
    ["", "empty line: expected CREATE, SYNC or KICK"],
    [" \t", "empty line: expected CREATE, SYNC or KICK"],
    ["create 3 a 1", 'unknown command "create": expected CREATE, SYNC or KICK'],
    ["\ufeffSYNC", 'unknown command "\\u{feff}SYNC": expected CREATE, SYNC or KICK'],
    ["REQUEST", "REQUEST belongs on the consumer port: expected CREATE, SYNC or KICK"],
    ["COMPLETE a", "COMPLETE belongs on the consumer port: expected CREATE, SYNC or KICK"],
    ["SYNC now", 'there is a field too many: expected "SYNC", got "SYNC now"'],
    ["KICK", 'a field is missing: expected "KICK <task_id>", got "KICK"'],
  ] as const,
  ([line]) => `parseProducerCommand() says what is wrong with ${JSON.stringify(line)}`,
  ([line, reason]) => assertEquals(refusal(() => parseProducerCommand(line)), reason),
);

testEach(
  [
    ["", "empty line: expected REQUEST, RESERVE, COMPLETE or RELEASE"],
    ["request", 'unknown command "request": expected REQUEST, RESERVE, COMPLETE or RELEASE'],
    ["REQUEST 2", 'there is a field too many: expected "REQUEST", got "REQUEST 2"'],
    [
      "REQUEST\v",
      'unknown command "REQUEST\\u{b}": expected REQUEST, RESERVE, COMPLETE or RELEASE',
    ],
    ["RESERVE a", 'seconds must be a whole number from 1 to 60, got "a"'],
    ["RESERVE 01", 'seconds must be a whole number from 1 to 60, got "01"'],
    ["RESERVE 0", 'seconds must be a whole number from 1 to 60, got "0"'],
    ["RESERVE 61", 'seconds must be a whole number from 1 to 60, got "61"'],
    ["RESERVE 1.5", 'seconds must be a whole number from 1 to 60, got "1.5"'],
    ["RESERVE 1 2", 'there is a field too many: expected "RESERVE", got "RESERVE 1 2"'],
    ["FAIL", 'a field is missing: expected "FAIL <task_id> [seconds]", got "FAIL"'],
    [
      "SCHEDULE",
      "SCHEDULE belongs on the producer port: expected REQUEST, RESERVE, COMPLETE or RELEASE",
    ],
    ["COMPLETE", 'a field is missing: expected "COMPLETE <task_id>", got "COMPLETE"'],
    [
      "RELEASE a b",
      'delay must be seconds as digits with an optional fraction, at most 9 digits each, such as 3 or 0.25, got "b"',
    ],
    [
      "RELEASE a 1 c",
      'there is a field too many: expected "RELEASE <task_id>", got "RELEASE a 1 c"',
    ],
    [
      "CREATE 1 a 1",
      "CREATE belongs on the producer port: expected REQUEST, RESERVE, COMPLETE or RELEASE",
    ],
    [
      "GET / HTTP/1.1\r",
      'unknown command "GET": expected REQUEST, RESERVE, COMPLETE or RELEASE',
    ],
  ] as const,
  ([line]) => `parseConsumerCommand() says what is wrong with ${JSON.stringify(line)}`,
  ([line, reason]) => assertEquals(refusal(() => parseConsumerCommand(line)), reason),
);

testEach(
  [
    ["Consumer1", { kind: "greeting", consumer: 1 }],
    ["Consumer999999999999999", { kind: "greeting", consumer: 999999999999999 }],
    ["ASSIGN task1 3.0", { kind: "assign", taskId: "task1", duration: "3.0" }],
    ["ASSIGN NOTASK 0", { kind: "assign", taskId: "NOTASK", duration: "0" }],
    ["NOTASK", { kind: "no task" }],
    ["DONE ", { kind: "done" }],
    ["OK 0", { kind: "ok", count: 0 }],
    ["OK 1000000", { kind: "ok", count: 1000000 }],
    ["ERROR store full", { kind: "error", reason: "store full" }],
    ["ERROR", { kind: "error", reason: "" }],
    ["ERROR \x1b[2J", { kind: "error", reason: "\\u{1b}[2J" }],
  ] as const,
  ([line]) => `parseReply() reads ${JSON.stringify(line)}`,
  ([line, reply]) => assertEquals<unknown>(parseReply(line), reply),
);

testEach(
  [
    ["", 'unknown reply ""'],
    ["consumer1", 'unknown reply "consumer1"'],
    ["Consumer", 'unknown reply "Consumer"'],
    ["Consumer1 hi", 'unknown reply "Consumer1 hi"'],
    ["Consumer１", 'unknown reply "Consumer１"'],
    ["OK", 'a field is missing: expected "OK <n>", got "OK"'],
    ["OK -1", 'n must be a whole number, got "-1"'],
    ["OK 1e3", 'n must be a whole number, got "1e3"'],
    ["NOTASK now", 'there is a field too many: expected "NOTASK", got "NOTASK now"'],
    [
      "ASSIGN task1",
      'a field is missing: expected "ASSIGN <task_id> <duration>", got "ASSIGN task1"',
    ],
  ] as const,
  ([line]) => `parseReply() refuses ${JSON.stringify(line)}`,
  ([line, reason]) => assertEquals(refusal(() => parseReply(line)), reason),
);

/** Any valid task_id of a few characters. */
const taskIds = fc.string({ unit: "grapheme", minLength: 1, maxLength: 20 })
  .filter((text) => !/[ \t\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(text) && utf8Length(text) <= 255);
const digits = fc.string({ unit: fc.constantFrom(..."0123456789"), minLength: 1, maxLength: 9 });
const durations = fc.tuple(digits, fc.option(digits))
  .map(([whole, fraction]) => fraction === null ? whole : `${whole}.${fraction}`);
const payloads = fc.oneof(fc.array(fc.jsonValue()), fc.dictionary(fc.string(), fc.jsonValue()))
  .map((value) => JSON.stringify(value))
  .filter((text) => !/\p{Cc}/u.test(text));
const visible = fc.integer({ min: 0x21, max: 0x7e }).map((code) => String.fromCharCode(code));
const tokens = fc.string({ unit: visible, minLength: 16, maxLength: 1018, size: "max" });
const tasks = fc.record(
  {
    priority: fc.constantFrom<Priority>(1, 2, 3),
    taskId: taskIds,
    duration: durations,
    payload: payloads,
  },
  { requiredKeys: ["priority", "taskId", "duration"] },
);

const counts = fc.integer({ min: 0, max: 999_999_999_999_999 });
const reasons = fc.string({ unit: "grapheme" }).map(escape);

/** What may stand in the members of a value, by their names. */
type Members<T> = { readonly [K in Exclude<keyof T, "kind">]-?: fc.Arbitrary<T[K]> };

/** Members that a value may have or not. */
const optional = ["delay", "waitSeconds", "payload"];

/** Any value of a union. Its type demands every kind: a new one cannot be forgotten. */
function anyOf<T extends { readonly kind: string }>(
  kinds: { readonly [K in T["kind"]]: Members<Extract<T, { readonly kind: K }>> },
): fc.Arbitrary<T> {
  return fc.oneof(
    ...Object.entries<object>(kinds).map(([kind, members]) =>
      anyRecord({ kind: fc.constant(kind), ...members }) as unknown as fc.Arbitrary<T>
    ),
  );
}

function anyRecord(members: Record<string, fc.Arbitrary<unknown>>): fc.Arbitrary<unknown> {
  // The delay of what is scheduled is there always.
  const always = "task" in members ? ["delay"] : [];
  const requiredKeys = Object.keys(members)
    .filter((key) => !optional.includes(key) || always.includes(key));
  return fc.record(members, { requiredKeys });
}

Deno.test({
  name: "parseProducerCommand() reads back every command that formatCommand() writes",
  permissions: "none",
  fn() {
    const commands = anyOf<ProducerCommand>({
      create: { task: tasks },
      schedule: { delay: durations, task: tasks },
      sync: {},
      kick: { taskId: taskIds },
      auth: { token: tokens },
    });
    fc.assert(fc.property(commands, (command) => {
      assertEquals(parseProducerCommand(formatCommand(command)), command);
    }));
  },
});

Deno.test({
  name: "parseConsumerCommand() reads back every command that formatCommand() writes",
  permissions: "none",
  fn() {
    const commands = anyOf<ConsumerCommand>({
      request: {},
      reserve: { waitSeconds: fc.integer({ min: 1, max: 60 }) },
      complete: { taskId: taskIds },
      release: { taskId: taskIds, delay: durations },
      fail: { taskId: taskIds, delay: durations },
      bury: { taskId: taskIds },
      touch: { taskId: taskIds },
      sync: {},
      auth: { token: tokens },
    });
    fc.assert(fc.property(commands, (command) => {
      assertEquals(parseConsumerCommand(formatCommand(command)), command);
    }));
  },
});

Deno.test({
  name: "parseReply() reads back every reply that formatReply() writes",
  permissions: "none",
  fn() {
    const replies = anyOf<Reply>({
      "greeting": { consumer: counts },
      "assign": { taskId: taskIds, duration: durations, payload: payloads },
      "no task": {},
      "done": {},
      "ok": { count: counts },
      "error": { reason: reasons },
    });
    fc.assert(fc.property(replies, (reply) => {
      assertEquals(parseReply(formatReply(reply)), reply);
    }));
  },
});

Deno.test({
  name: "parseReason() reads back every reason that formatReason() writes, and no other",
  permissions: "none",
  fn() {
    const known = anyOf<Reason>({
      "authentication required": {},
      "no token asked for": {},
      "TLS required": {},
      "not spoken": { protocol: fc.constantFrom("HTTP", "TLS") },
      "too many connections": {},
      "made way": {},
      "too many errors": {},
      "store full": {},
      "not held": { task: taskIds.map(quote) },
      "line too long": { maxLineBytes: fc.integer({ min: 1, max: 65_536 }) },
      "wrong port": {
        word: fc.constantFrom("REQUEST", "CREATE"),
        port: fc.constantFrom<Port>("producer", "consumer"),
      },
    });
    fc.assert(fc.property(known, (reason) => {
      const reply = formatReply({ kind: "error", reason: formatReason(reason) });
      assertEquals(reply, `ERROR ${formatReason(reason)}`);
      assertEquals(parseReason(formatReason(reason)), reason);
    }));
    for (const text of ["", 'no task "a" is buried', "too many", "line must be valid UTF-8"]) {
      assertEquals(parseReason(text), undefined);
    }
  },
});

Deno.test({
  name: "Refusals of any line are one printable line that fits the limit, never another error",
  permissions: "none",
  fn() {
    const text = fc.string({ unit: "binary", maxLength: 300, size: "max" });
    const verb = fc.constantFrom(
      "",
      "CREATE ",
      "CREATE 1 ",
      "COMPLETE ",
      "OK ",
      "ASSIGN ",
      "KICK ",
      "CREATE 1 a 3 {",
      "SCHEDULE ",
      "SCHEDULE 1 1 a 2 [",
      "RESERVE ",
      "FAIL a ",
      "AUTH ",
    );
    fc.assert(fc.property(verb, text, (verb, text) => {
      for (const parse of [parseProducerCommand, parseConsumerCommand, parseReply]) {
        try {
          parse(verb + text);
        } catch (error) {
          if (!(error instanceof ProtocolError)) throw error;
          assertNotMatch(error.message, /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u);
          assertLessOrEqual(utf8Length(`ERROR ${error.message}\n`), maxLineBytes);
        }
      }
    }));
  },
});
