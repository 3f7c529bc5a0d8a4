import { assertEquals } from "@std/assert";
import { cellsOf, cutToColumns } from "../../lib/http/cells.ts";
import { drawTimeline } from "../../lib/http/timeline.ts";

Deno.test({
  name: "Text is cut by the columns that it takes: wide characters take two, accents none",
  permissions: "none",
  fn() {
    const cases: readonly (readonly [string, number, string])[] = [
      ["abc", 3, "abc"],
      ["abcd", 3, "ab…"],
      ["\u{d55c}\u{ae00}", 4, "\u{d55c}\u{ae00}"],
      ["\u{d55c}\u{ae00}x", 4, "\u{d55c}…"],
      ["\u{d55c}\u{ae00}x", 5, "\u{d55c}\u{ae00}x"],
      ["a\u{d55c}\u{ae00}", 4, "a\u{d55c}…"],
      ["\u{1f600}\u{1f600}", 3, "\u{1f600}…"],
      ["a\u{301}b\u{301}c\u{301}", 3, "a\u{301}b\u{301}c\u{301}"],
      ["\u{d55c}\u{301}b", 3, "\u{d55c}\u{301}b"],
      ["\u{301}", 1, "\u{301}"],
      ["abc", 1, "…"],
    ];
    for (const [text, columns, cut] of cases) assertEquals(cutToColumns(text, columns), cut);
  },
});

Deno.test({
  name: "A timeline with wide names has the columns of one with narrow names",
  permissions: "none",
  fn() {
    const draw = (label: string) => {
      const bars = [0, 1].map((n) => (
        { label, priority: 1 as const, startMs: n * 1000, endMs: n * 1000 + 1000 }
      ));
      return drawTimeline([{ name: "one", bars }], { width: 80 }).split("\n")
        .map((line) => cellsOf(line).length);
    };
    assertEquals(draw("\u{d55c}\u{ae00}".repeat(5)), draw("x".repeat(20)));
  },
});
