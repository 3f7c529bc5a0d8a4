import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { ToolError } from "../tools/command.ts";
import { directives, expand } from "../tools/report.ts";
import { drawSequence } from "../tools/sequence.ts";
import { drawWindow } from "../tools/terminal_svg.ts";

const docs = new URL("../docs/", import.meta.url);

Deno.test("docs/report.md shows no code and no figure that is no more", async () => {
  const document = await Deno.readTextFile(new URL("report.md", docs));
  const fill = directives(document);
  // The environment is read from the machine that builds the report; the rest is in the project.
  const text = await expand(document, (words) => {
    return words[0] === "environment" ? Promise.resolve("") : fill(words);
  });
  assert(!text.includes("{{"));
  const figures = [...text.matchAll(/\]\((figures\/\w+\.svg)\)/g)].map((match) => match[1]);
  assertEquals(figures.length, 13);
  for (const figure of figures) {
    assert((await Deno.stat(new URL(figure as string, docs))).isFile);
  }
});

Deno.test("expand() refuses a directive that it cannot fill, and names it", async () => {
  const cases = [
    "code lib/heap.ts Heap.shove",
    "code lib/heep.ts Heap",
    "figure snapshot_none",
    "call server connect",
    "nonsense",
  ];
  for (const directive of cases) {
    const document = `{{${directive}}}`;
    await assertRejects(() => expand(document, directives(document)), ToolError, directive);
  }
});

Deno.test({
  name: "drawSequence() refuses a lifeline that it was not told of",
  permissions: "none",
  fn() {
    assertThrows(() => drawSequence("lifelines: a, b\na -> c: x"), RangeError, `no lifeline "c"`);
    assertThrows(() => drawSequence("a -> b: x"), RangeError, "expected lifelines");
  },
});

Deno.test({
  name: "drawWindow() keeps blanks, shows XML's own characters, and leaves no escape sequence",
  permissions: "none",
  fn() {
    const lines = ["\x1b[1;32m$\x1b[0m a  <b> & c", "", "\x1b[7mx\x1b[27m"];
    const svg = drawWindow([{ title: "shell", left: 0, top: 0, width: 20, height: 3, lines }]);
    assert(svg.includes("\u00a0a\u00a0\u00a0&lt;b>\u00a0&amp;\u00a0c</text>"));
    assert(/fill="#1b7f37" font-weight="bold">\$<\/text>/.test(svg));
    assert(!svg.includes("\x1b"));
  },
});
