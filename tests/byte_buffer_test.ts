import { assertEquals, assertStrictEquals } from "@std/assert";
import fc from "fast-check";
import { ByteBuffer } from "../lib/byte_buffer.ts";

const encoder = new TextEncoder();

function test(name: string, fn: () => void): void {
  Deno.test({ name, permissions: "none", fn });
}

test("ByteBuffer holds what was added, texts as UTF-8, in order, however small it began", () => {
  const piece = fc.oneof(fc.string({ unit: "binary" }), fc.uint8Array());
  fc.assert(fc.property(fc.nat(20), fc.array(piece), (size, pieces) => {
    const buffer = new ByteBuffer(size + 1);
    for (const piece of pieces) {
      if (typeof piece === "string") buffer.addText(piece);
      else buffer.add(piece);
    }
    const expected = pieces.flatMap((piece) => [
      ...(typeof piece === "string" ? encoder.encode(piece) : piece),
    ]);
    assertEquals([...buffer.bytes], expected);
  }));
});

test("ByteBuffer.addText() takes texts of 1, 2, 3 and 4 bytes a character beyond its room", () => {
  for (const character of ["a", "é", "작", "👩"]) {
    const buffer = new ByteBuffer(1);
    for (let i = 0; i < 100; i++) buffer.addText(character.repeat(i));
    assertEquals(new TextDecoder().decode(buffer.bytes), character.repeat(99 * 100 / 2));
  }
});

test("ByteBuffer.clear() empties it, and keeps its room for the next bytes", () => {
  const buffer = new ByteBuffer(10);
  buffer.addText("first");
  const room = buffer.bytes.buffer;
  buffer.clear();
  assertEquals(buffer.bytes.length, 0);
  buffer.addText("second");
  assertEquals(new TextDecoder().decode(buffer.bytes), "second");
  assertStrictEquals(buffer.bytes.buffer, room);
});

test("ByteBuffer.clear() gives up room beyond 16 times its first size", () => {
  const buffer = new ByteBuffer(10);
  buffer.addText("x".repeat(1000));
  buffer.clear();
  assertEquals(buffer.bytes.buffer.byteLength, 10);
});
