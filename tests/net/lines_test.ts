import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { type Line, UnreadableLine } from "../../lib/line.ts";
import { LineCutter, LineSplitter } from "../../lib/net/lines.ts";
import { referenceLines } from "../lab/load/line_fuzzer.ts";

const maxLineBytes = 1024;
const tooLong = new UnreadableLine("line must have at most 1024 bytes with its LF");
const notUtf8 = new UnreadableLine("line must be valid UTF-8");

function bytesOf(...parts: readonly (string | readonly number[])[]): Uint8Array<ArrayBuffer> {
  const encoder = new TextEncoder();
  return Uint8Array.from(
    parts.flatMap((part) => typeof part === "string" ? [...encoder.encode(part)] : part),
  );
}

/** The lines of some chunks, all read through one buffer, as a connection reads them. */
async function split(chunks: readonly Uint8Array[]): Promise<Line[]> {
  const splitter = new LineSplitter(new LineCutter(), maxLineBytes);
  const buffer = new Uint8Array(Math.max(0, ...chunks.map((chunk) => chunk.length)));
  const lines: Line[] = [];
  for (const chunk of chunks) {
    buffer.set(chunk);
    lines.push(...await splitter.split(buffer.subarray(0, chunk.length)));
  }
  return lines;
}

/** Cuts bytes at some positions. */
function cutAt(bytes: Uint8Array, positions: readonly number[]): Uint8Array[] {
  const cuts = [0, ...positions, bytes.length];
  return cuts.slice(1).map((end, index) => bytes.subarray(cuts[index], end));
}

function test(name: string, fn: () => Promise<void>): void {
  Deno.test({ name, permissions: "none", fn });
}

const whole: readonly (readonly [what: string, bytes: Uint8Array, lines: readonly Line[]])[] = [
  ["nothing of no bytes", bytesOf(), []],
  ["lines that end with LF", bytesOf("a\nb\n"), ["a", "b"]],
  ["lines that end with CRLF", bytesOf("a\r\nb\r\n"), ["a", "b"]],
  ["one CR dropped of several before the LF", bytesOf("a\r\r\n"), ["a\r"]],
  ["a lone CR kept inside a line", bytesOf("a\rb\n\rc\n"), ["a\rb", "\rc"]],
  ["empty lines", bytesOf("\n\r\n\n"), ["", "", ""]],
  ["a BOM kept, at the start and later", bytesOf("\ufeffa\n\ufeffb\n"), ["\ufeffa", "\ufeffb"]],
  ["NUL, VT, FF and line separators kept", bytesOf("\0\v\f\u0085\u2028\n"), ["\0\v\f\u0085\u2028"]],
  ["no tail without its LF", bytesOf("a\nREQUEST"), ["a"]],
  ["Korean and emoji intact", bytesOf("작업 ✅\n👩🏽\n"), ["작업 ✅", "👩🏽"]],
  ["a line of FF unread, alone", bytesOf("a\nb", [0xff], "\nc\n"), ["a", notUtf8, "c"]],
  ["an overlong LF (C0 8A) unread", bytesOf("a", [0xc0, 0x8a], "b\nc\n"), [notUtf8, "c"]],
  ["a surrogate (ED A0 80) unread", bytesOf([0xed, 0xa0, 0x80], "\nc\n"), [notUtf8, "c"]],
  ["a C1 byte (9B) unread", bytesOf("a", [0x9b], "2J\r\nc\r\n"), [notUtf8, "c"]],
  ["a character cut by LF unread", bytesOf([0xea, 0xb0], "\n", [0x80], "\nc\n"), [
    notUtf8,
    notUtf8,
    "c",
  ]],
  ["a replacement character that was sent", bytesOf("\ufffd\n", [0xff], "\n\ufffd\n"), [
    "\ufffd",
    notUtf8,
    "\ufffd",
  ]],
  ["a line of 1024 bytes with LF", bytesOf("x".repeat(1023), "\n"), ["x".repeat(1023)]],
  ["a line of 1025 bytes unread", bytesOf("x".repeat(1024), "\ny\n"), [tooLong, "y"]],
  ["1024 bytes counted with their CR", bytesOf("x".repeat(1023), "\r\ny\n"), [tooLong, "y"]],
  ["bytes counted, not characters", bytesOf("가".repeat(341), "\n", "가".repeat(342), "\n"), [
    "가".repeat(341),
    tooLong,
  ]],
  [
    "long, bad and good lines each for itself",
    bytesOf("a\n", "x".repeat(5000), "\n", [0xff], "\n\r\nb\n", "y".repeat(1024), "\nc\n"),
    ["a", tooLong, notUtf8, "", "b", tooLong, "c"],
  ],
];

for (const [what, bytes, lines] of whole) {
  test(`LineSplitter reads ${what}`, async () => {
    assertEquals(await split([bytes]), lines);
  });

  test(`LineSplitter reads ${what}, one byte a chunk`, async () => {
    assertEquals(await split([...bytes].map((byte) => Uint8Array.of(byte))), lines);
  });
}

const dialogueBytes = bytesOf(
  "CREATE 3 task1 3.0\r\n\nCREATE 1 작업👩🏽 2\n",
  [0xff, 0x20, 0xea],
  "\n\ufeffSYNC\n",
  "z".repeat(1100),
  "\r\nSYNC\nCREATE 1 tail 1",
);
const dialogueLines = [
  "CREATE 3 task1 3.0",
  "",
  "CREATE 1 작업👩🏽 2",
  notUtf8,
  "\ufeffSYNC",
  tooLong,
  "SYNC",
];

test("LineSplitter reads a dialogue the same, wherever it is cut in two", async () => {
  for (let position = 0; position <= dialogueBytes.length; position++) {
    const lines = await split(cutAt(dialogueBytes, [position]));
    assertEquals(lines, dialogueLines, `cut at ${position}`);
  }
});

test("LineSplitter reads a dialogue the same, wherever it is cut into many", async () => {
  const positions = fc.array(fc.nat(dialogueBytes.length), { maxLength: 40 })
    .map((positions) => positions.sort((a, b) => a - b));
  await fc.assert(fc.asyncProperty(positions, async (positions) => {
    assertEquals(await split(cutAt(dialogueBytes, positions)), dialogueLines);
  }));
});

test("LineSplitter reads any bytes the same, wherever they are cut", async () => {
  const piece = fc.oneof(
    fc.constantFrom("\n", "\r\n", "\r", "REQUEST\n", "é", "😀", "x".repeat(700)),
    fc.uint8Array({ maxLength: 4 }).map((bytes) => [...bytes]),
  );
  const pieces = fc.array(piece, { maxLength: 30 });
  const positions = fc.array(fc.nat(10_000), { maxLength: 10 });
  await fc.assert(fc.asyncProperty(pieces, positions, async (pieces, positions) => {
    const bytes = bytesOf(...pieces);
    const cuts = positions.map((position) => position % (bytes.length + 1)).sort((a, b) => a - b);
    const lines = await split(cutAt(bytes, cuts));
    assertEquals(lines, await split([bytes]));
    assertEquals(lines.length, bytes.filter((byte) => byte === 0x0a).length);
  }));
});

test("LineSplitters that get bytes in the same turn each give their own lines", async () => {
  const piece = fc.oneof(
    fc.constantFrom("\n", "REQUEST\n", "a\r\n", "tail", "\ufffd\n", "x".repeat(600)),
    fc.constantFrom([0xff], [0xff, 0x0a], [0xea, 0xb0]),
  );
  // For each connection, what it gets in each turn.
  const connections = fc.array(fc.array(fc.array(piece, { maxLength: 4 }), { maxLength: 6 }), {
    minLength: 2,
    maxLength: 5,
  });
  await fc.assert(fc.asyncProperty(connections, async (connections) => {
    const stream = new LineCutter();
    const splitters = connections.map(() => new LineSplitter(stream, maxLineBytes));
    const lines = connections.map((): Line[] => []);
    const turns = Math.max(...connections.map((turns) => turns.length));
    for (let turn = 0; turn < turns; turn++) {
      await Promise.all(splitters.map(async (splitter, i) => {
        // Some begin later: their bytes come while the others' are being cut.
        for (let hops = i % 3; hops > 0; hops--) await undefined;
        const bytes = bytesOf(...connections[i]?.[turn] ?? []);
        lines[i]?.push(...await splitter.split(bytes));
      }));
    }
    for (const [i, turns] of connections.entries()) {
      const texts = lines[i]?.map((line) => line instanceof UnreadableLine ? undefined : line);
      assertEquals(texts, referenceLines(bytesOf(...turns.flat())));
    }
  }));
});

test("LineSplitter gives one error for a line of 100 MB, then reads the next", async () => {
  const splitter = new LineSplitter(new LineCutter(), maxLineBytes);
  const chunk = new Uint8Array(1024 * 1024).fill(0x78);
  for (let i = 0; i < 100; i++) assertEquals(await splitter.split(chunk), []);
  assertEquals(splitter.unendedText, undefined);
  assertEquals(await splitter.split(bytesOf("\nREQUEST\n")), [tooLong, "REQUEST"]);
});

test("LineSplitter takes 100,000 lines of one chunk", async () => {
  const lines = Array.from({ length: 100_000 }, (_, index) => `COMPLETE task${index}`);
  assertEquals(await split([bytesOf(lines.join("\n") + "\n")]), lines);
});

test("LineSplitter.unendedText is the text after the last LF, once it is readable", async () => {
  const splitter = new LineSplitter(new LineCutter(), maxLineBytes);
  assertEquals(splitter.unendedText, undefined);
  await splitter.split(bytesOf("a\nNOTA"));
  assertEquals(splitter.unendedText, "NOTA");
  await splitter.split(bytesOf("SK", [0xea, 0xb0]));
  assertEquals(splitter.unendedText, undefined);
  await splitter.split(bytesOf([0x80]));
  assertEquals(splitter.unendedText, "NOTASK가");
  assertEquals(await splitter.split(bytesOf("\n")), ["NOTASK가"]);
  assertEquals(splitter.unendedText, undefined);
});

test("LineSplitter.dropUnended() forgets that text: what follows is a line by itself", async () => {
  const splitter = new LineSplitter(new LineCutter(), maxLineBytes);
  await splitter.split(bytesOf("NOTASK"));
  splitter.dropUnended();
  assertEquals(splitter.unendedText, undefined);
  assertEquals(await splitter.split(bytesOf("DONE\n")), ["DONE"]);
});

test("What connections read in one turn is one batch, and what they read later another", async () => {
  const cutter = new LineCutter();
  const [a, b] = [new LineSplitter(cutter, 1024), new LineSplitter(cutter, 1024)];
  const read = async (splitter: LineSplitter) => {
    await splitter.split(new TextEncoder().encode("line\n"));
    return cutter.batches;
  };
  const first = await Promise.all([read(a), read(b)]);
  const later = await Promise.all([read(b), read(a)]);
  assertEquals([...first, ...later], [1, 1, 2, 2]);
});
