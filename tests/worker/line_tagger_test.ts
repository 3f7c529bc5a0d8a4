import { assertEquals } from "@std/assert";
import { LineTagger } from "../../lib/worker/line_tagger.ts";

/** What becomes of bytes that come in pieces. */
function tagged(...pieces: string[]): string {
  const tagger = new LineTagger("a: ");
  const all = pieces.map((piece) => tagger.tag(new TextEncoder().encode(piece)));
  all.push(tagger.end() ?? new Uint8Array(0));
  return all.map((bytes) => new TextDecoder().decode(bytes)).join("");
}

const cases: readonly (readonly [what: string, pieces: readonly string[], result: string])[] = [
  ["each line", ["one\ntwo\n"], "a: one\na: two\n"],
  ["an empty line", ["\n\n"], "a: \na: \n"],
  ["a line once that comes in pieces", ["o", "n", "e\ntw", "o\n"], "a: one\na: two\n"],
  ["a last line without its end, which it adds", ["one\ntwo"], "a: one\na: two\n"],
  ["nothing in no output", [], ""],
  ["nothing in an empty piece", ["one", "", "\n"], "a: one\n"],
];

for (const [what, pieces, result] of cases) {
  Deno.test(`LineTagger tags ${what}`, { permissions: "none" }, () => {
    assertEquals(tagged(...pieces), result);
  });
}

Deno.test("LineTagger leaves bytes alone that are no text", { permissions: "none" }, () => {
  const tagger = new LineTagger("");
  const bytes = Uint8Array.from({ length: 256 }, (_, i) => i);
  assertEquals(tagger.tag(bytes), bytes);
});
