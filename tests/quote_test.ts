import { assertEquals, assertLessOrEqual, assertNotMatch } from "@std/assert";
import fc from "fast-check";
import { escape, quote } from "../lib/quote.ts";

const escapes: readonly (readonly [text: string, escaped: string])[] = [
  ["plain text, with blanks", "plain text, with blanks"],
  ["한국어 ✅ é", "한국어 ✅ é"],
  ["%s %d %c", "%s %d %c"],
  ["\x1b[2J", "\\u{1b}[2J"],
  ["\x1b]52;c;aGk=\x07", "\\u{1b}]52;c;aGk=\\u{7}"],
  ["\0", "\\u{0}"],
  ["\x7f", "\\u{7f}"],
  ["\x9b", "\\u{9b}"],
  ["a\r\nb\tc", "a\\u{d}\\u{a}b\\u{9}c"],
  ["\u202e", "\\u{202e}"],
  ["\u2028\u2029", "\\u{2028}\\u{2029}"],
  ["\ufeff", "\\u{feff}"],
  ["\u200b\u200d", "\\u{200b}\\u{200d}"],
  ["\u{e0041}", "\\u{e0041}"],
  ["\ud800", "\\u{d800}"],
];

for (const [text, escaped] of escapes) {
  Deno.test({
    name: `escape() shows ${JSON.stringify(text)} as ${escaped}`,
    permissions: "none",
    fn() {
      assertEquals(escape(text), escaped);
    },
  });
}

const quotes: readonly (readonly [text: string, quoted: string])[] = [
  ["", '""'],
  ["9", '"9"'],
  ['say "hi"', '"say \\"hi\\""'],
  ["back\\slash", '"back\\\\slash"'],
  ["\x07", '"\\u{7}"'],
  ["x".repeat(64), `"${"x".repeat(64)}"`],
  ["x".repeat(65), `"${"x".repeat(64)}..."`],
  ["😀".repeat(64), `"${"😀".repeat(64)}"`],
  ["😀".repeat(65), `"${"😀".repeat(64)}..."`],
];

for (const [text, quoted] of quotes) {
  Deno.test({
    name: `quote() shows ${JSON.stringify(text)} as ${quoted}`,
    permissions: "none",
    fn() {
      assertEquals(quote(text), quoted);
    },
  });
}

Deno.test({
  name: "quote() cuts a value of megabytes as it cuts a small one",
  permissions: "none",
  fn() {
    assertEquals(quote("y".repeat(10_000_000)), `"${"y".repeat(64)}..."`);
  },
});

Deno.test({
  name: "quote() lets no control, format or separator character through, and stays short",
  permissions: "none",
  fn() {
    fc.assert(fc.property(fc.string({ unit: "binary", maxLength: 200, size: "max" }), (text) => {
      const quoted = quote(text);
      assertNotMatch(quoted, /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u);
      assertLessOrEqual([...quoted].length, 64 + '""...'.length);
    }));
  },
});
