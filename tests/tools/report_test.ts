import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { UserError } from "../../lib/user_error.ts";
import { denoScript, Program } from "../lab/processes.ts";
import { directives, expand } from "../../tools/report/report.ts";
import { replaceTogether } from "../../tools/report/replace_together.ts";
import { drawSequence } from "../../tools/report/sequence.ts";
import { drawWindow } from "../../tools/report/terminal_svg.ts";
import { ScratchFolder } from "../lab/processes.ts";

const docs = new URL("../../docs/", import.meta.url);

Deno.test("docs/report.md shows no code and no figure that is no more", async () => {
  const document = await Deno.readTextFile(new URL("report.md", docs));
  const fill = directives(document);
  // The environment is read from the machine that builds the report; the rest is in the project.
  const text = await expand(document, (words) => {
    return words[0] === "environment" ? Promise.resolve("") : fill(words);
  });
  assert(!text.includes("{{"));
  const figures = [...text.matchAll(/\]\((figures\/\w+\.svg)\)/g)].map((match) => match[1]);
  assertEquals(figures.length, 12);
  for (const figure of figures) {
    assert((await Deno.stat(new URL(figure as string, docs))).isFile);
  }
});

Deno.test("expand() takes what is in quotes for one word, as the document's lines are wrapped", async () => {
  const words = await expand(
    'a {{b "c\n  { d" e\nf}} g',
    (words) => Promise.resolve(words.join("|")),
  );
  assertEquals(words, "a b|c { d|e|f g");
});

Deno.test("expand() refuses a directive that it cannot fill, and names it", async () => {
  const cases = [
    "code lib/heap.ts Heap.shove",
    'code lib/heap.ts Heap.push from "no such line"',
    'code lib/heap.ts Heap.push unless "key"',
    "code lib/heep.ts Heap",
    "figure snapshot_none",
    "call server connect",
    "nonsense",
  ];
  for (const directive of cases) {
    const document = `{{${directive}}}`;
    await assertRejects(() => expand(document, directives(document)), UserError, directive);
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

/** How much light a colour such as `#1f2328` gives (WCAG 2.2, relative luminance). */
function luminance(color: string): number {
  const [red, green, blue] = [1, 3, 5].map((at) => {
    const part = parseInt(color.slice(at, at + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  }) as [number, number, number];
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

Deno.test("docs/report.css has no colour of text with a contrast below 4.5 on its grounds", async () => {
  const css = await Deno.readTextFile(new URL("report.css", docs));
  const colors = (property: string) =>
    [...css.matchAll(new RegExp(`(?<![-\\w])${property}: (#[\\da-f]{6});`, "g"))]
      .map((match) => match[1] as string);
  const inks = colors("color");
  const grounds = ["#ffffff", ...colors("background")];
  assert(inks.length > 8 && grounds.length > 2);
  for (const ink of inks) {
    for (const ground of grounds) {
      const contrast = (luminance(ground) + 0.05) / (luminance(ink) + 0.05);
      assert(contrast >= 4.5, `${ink} on ${ground}: ${contrast.toFixed(2)}`);
    }
  }
});

/** The files of a folder and what is in them. */
async function contents(folder: string): Promise<Record<string, string>> {
  const files: Record<string, string> = {};
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    if (isDirectory) Object.assign(files, await contents(`${folder}/${name}`));
    else files[`${folder}/${name}`] = await Deno.readTextFile(`${folder}/${name}`);
  }
  return files;
}

Deno.test("replaceTogether() changes a folder when all is made, and else not at all", async () => {
  await using scratch = new ScratchFolder();
  const parent = scratch.path;
  const folder = `${parent}/docs`;
  await Deno.mkdir(`${folder}/figures`, { recursive: true });
  await Deno.writeTextFile(`${folder}/report.pdf`, "old");
  await Deno.writeTextFile(`${folder}/figures/a.svg`, "old");
  const before = await contents(parent);
  const make = (fails: boolean) => async (copy: string) => {
    assertEquals(await Deno.readTextFile(`${copy}/figures/a.svg`), "old");
    await Deno.writeTextFile(`${copy}/figures/a.svg`, "new");
    await Deno.writeTextFile(`${copy}/figures/b.svg`, "new");
    if (fails) throw new UserError("a scene failed");
    await Deno.writeTextFile(`${copy}/report.pdf`, "new");
  };
  await assertRejects(() => replaceTogether(folder, make(true)), UserError, "a scene failed");
  assertEquals(await contents(parent), before);
  await replaceTogether(folder, make(false));
  assertEquals(await contents(parent), {
    [`${folder}/figures/a.svg`]: "new",
    [`${folder}/figures/b.svg`]: "new",
    [`${folder}/report.pdf`]: "new",
  });
});

/** A folder of programs that do nothing, except that weasyprint spoils its target and fails. */
async function fakeTools(folder: string): Promise<void> {
  const names = [
    "dot",
    "netstat",
    "pandoc",
    "pdfdetach",
    "strace",
    "tmux",
    "getconf",
    "dpkg-query",
  ];
  const scripts: Record<string, string> = {
    "fc-list": 'echo "Liberation Serif"; echo "DejaVu Sans Mono"',
    // `--version` asks for the environment's table; with files, the target is the last word.
    weasyprint:
      'for last; do :; done; [ "$last" = --version ] || { echo spoilt >"$last"; echo no memory >&2; exit 1; }',
  };
  for (const name of names) scripts[name] = "exit 0";
  for (const [name, script] of Object.entries(scripts)) {
    await Deno.writeTextFile(`${folder}/${name}`, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  }
}

Deno.test("report.ts leaves docs/ as it was if the last of its tools fails", async () => {
  await using scratch = new ScratchFolder();
  const folder = scratch.path;
  await fakeTools(folder);
  const pdf = new URL("report.pdf", docs);
  const before = await Deno.readFile(pdf);
  const tool = new URL("../../tools/report/report.ts", import.meta.url).href;
  const command = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "--allow-all", tool, "--text"],
    env: { PATH: `${folder}:${Deno.env.get("PATH")}`, NO_COLOR: "1" },
  });
  const { code, stderr } = await command.output();
  assertEquals(code, 1);
  const error = new TextDecoder().decode(stderr);
  assertEquals(error, "Cannot run weasyprint: no memory\n");
  assertEquals(await Deno.readFile(pdf), before);
  const left = [...Deno.readDirSync(new URL("..", docs))].map(({ name }) => name);
  assertEquals(left.filter((name) => name.startsWith(".docs-")), []);
});

Deno.test("report.ts ends with 2 on a wrong id or name, before it makes anything", async () => {
  for (const args of [["--id", "123"], ["--name", "a\nb"], ["--name"], ["more"]]) {
    const flags = ["--no-prompt", "--allow-env"];
    await using tool = new Program(denoScript("tools/report/report.ts", flags, args));
    assertEquals([await tool.exitCode(), tool.stdout.text], [2, ""], tool.stderr.text);
  }
});
