/**
 * Builds docs/report.pdf from docs/report.md, with everything in it that can be taken from the
 * machine and the sources: code, versions, figures, snapshots of real runs, system calls.
 *
 * ```sh
 * deno task report [--name NAME] [--id ID] [--text]
 * ```
 *
 * Between `{{` and `}}` the document may hold `code <file> <symbol>`, `file <path>`,
 * `environment`, `call <program> <call>`, `calls <program>`, `figure <name>`: an unknown one, or
 * one whose source is gone, ends the build. After `code`, `from "..." to "..."` takes a part, and
 * `without "..."` and `skip "..."` leave statements out; see {@linkcode parseCut}. All is made in a
 * copy of docs/, so a build that fails leaves docs/ as it was.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { join } from "node:path";
import { copyFile, cp } from "node:fs/promises";
import config from "../../deno.json" with { type: "json" };
import { UserError } from "../../lib/user_error.ts";
import { requireCommands, requireFonts, requireGlyphs, runCommand, runTool } from "../tool.ts";
import { ensureExecutables } from "../build/compile.ts";
import { excerpt, parseCut } from "./excerpt.ts";
import { replaceTogether } from "./replace_together.ts";
import { drawSequence } from "./sequence.ts";
import { takeSnapshots } from "./snapshots.ts";
import { parseStudent, type Student } from "../build/student.ts";
import { type SystemCalls, traceSystemCalls } from "./system_calls.ts";
import { ScratchFolder } from "../../tests/lab/processes.ts";

const project = fileURLToPath(new URL("../../", import.meta.url));
const docsFolder = join(project, "docs");

/** The programs' sources and the protocol, attached to the report for who wants to read on. */
const attachedSources = ["server.ts", "producer.ts", "consumer.ts", "lib", "docs/protocol.md"];

/** Programs that a build runs. */
const commands = [
  "dot",
  "fc-list",
  "netstat",
  "pandoc",
  "pdfdetach",
  "strace",
  "tmux",
  "weasyprint",
];

/** Longest code that is moved to the next page as a whole, in lines. */
const maxUnbrokenLines = 14;

const help = `Usage: deno task report [--name NAME] [--id ID] [--text]

Builds docs/report.pdf from docs/report.md, the sources, and real runs of the executables (30 s;
up to some minutes on a busy machine). If it fails, docs/ stays as it was.

  --name NAME  the student's name, for the title page
  --id ID      the student's id, ten digits, for the title page
  --text       keep the figures, snapshots and system calls that are there: 5 s`;

/**
 * Replaces every `{{...}}` of a document.
 *
 * @param fill gives the text for what stands between the braces; throws where it cannot.
 */
export async function expand(
  document: string,
  fill: (words: readonly string[]) => Promise<string>,
): Promise<string> {
  const parts = document.split(/\{\{((?:"[^"]*"|[^{}"])+)\}\}/);
  for (let i = 1; i < parts.length; i += 2) {
    const directive = (parts[i] as string).trim();
    try {
      parts[i] = await fill(splitWords(directive));
    } catch (error) {
      if (!(error instanceof RangeError) && !(error instanceof Deno.errors.NotFound)) throw error;
      throw new UserError(`docs/report.md: {{${directive}}}: ${error.message}`);
    }
  }
  return parts.join("");
}

/** Splits at blanks, except between quotes, which are left out. The document's lines are wrapped. */
function splitWords(directive: string): string[] {
  return [...directive.replaceAll(/\s+/g, " ").matchAll(/"([^"]*)"|\S+/g)]
    .map(([word, quoted]) => quoted ?? word);
}

/**
 * The text for each directive.
 *
 * @param document where figures are counted.
 * @param docs the folder whose figures/ has the system calls.
 */
export function directives(
  document: string,
  docs: string = docsFolder,
): (words: readonly string[]) => Promise<string> {
  const names = [...document.matchAll(/\]\(figures\/(\w+)\.svg\)/g)].map((match) => match[1]);
  return async ([kind, ...rest]) => {
    const [first = "", second = ""] = rest;
    switch (kind) {
      case "code": {
        const source = await Deno.readTextFile(join(project, first));
        const { text, firstLine, lastLine } = excerpt(source, second, parseCut(rest.slice(2)));
        return codeBlock(`${first}, lines ${firstLine} to ${lastLine}: ${second}`, {
          language: "typescript",
          text,
        });
      }
      case "file":
        return codeBlock(first, {
          language: "text",
          text: await Deno.readTextFile(join(project, first)),
        });
      case "figure":
      case "Figure": {
        const index = names.indexOf(first);
        if (index === -1) throw new RangeError("no such figure in the document");
        return `${kind} ${index + 1}`;
      }
      case "environment":
        return await environment();
      case "calls":
        return codeBlock(`strace of ./${first}`, {
          language: "text",
          text: (await callsOf(docs, first)).join("\n"),
        });
      case "call": {
        const line = (await callsOf(docs, first)).find((line) => line.startsWith(`${second}(`));
        if (line === undefined) throw new RangeError("there is no such call in the trace");
        return "`" + line.replace(/ {2,}=/, " =") + "`";
      }
      default:
        throw new RangeError("unknown directive");
    }
  };
}

function codeBlock(
  title: string,
  { language, text }: { readonly language: string; readonly text: string },
): string {
  const length = text.split("\n").length <= maxUnbrokenLines ? " .short" : "";
  return `::: {.excerpt${length}}\n[${title.replaceAll("#", "\\#")}]{.where}\n\n` +
    `~~~~~~ ${language}\n${text.trimEnd()}\n~~~~~~\n:::`;
}

async function callsOf(docs: string, program: string): Promise<readonly string[]> {
  const file = join(docs, "figures/system_calls.json");
  const calls = JSON.parse(await Deno.readTextFile(file)) as SystemCalls;
  const lines = calls[program as keyof SystemCalls];
  if (lines === undefined) throw new RangeError(`no such program`);
  return lines;
}

/** A table of what this machine has. */
async function environment(): Promise<string> {
  const release = await Deno.readTextFile("/etc/os-release");
  const system = /^PRETTY_NAME="?(.*?)"?$/m.exec(release)?.[1] ?? "unknown";
  const firstLine = async (command: string, ...args: string[]) =>
    (await runCommand(command, { args })).split("\n")[0] as string;
  const executable = join(await executables(), "server");
  const std = config.imports["@std/streams/text-line-stream"].replace(/^npm:|\/.*$/g, "");
  const rows = [
    ["Programming language", `TypeScript ${Deno.version.typescript}`],
    ["Runtime", `Deno ${Deno.version.deno}, JavaScript engine V8 ${Deno.version.v8}`],
    [
      "Runtime in the executables",
      /\((Deno [\d.]+)\)/.exec(await firstLine(executable, "-V"))?.[1],
    ],
    ["Library", `Deno std, as the npm package \`${std}\``],
    ["Operating system", system],
    ["Kernel", `Linux ${Deno.osRelease()}, ${Deno.build.arch}`],
    ["C library", await firstLine("getconf", "GNU_LIBC_VERSION")],
    ["strace", (await firstLine("strace", "-V")).replace(/^.*version /, "")],
    ["netstat", (await firstLine("dpkg-query", "-W", "net-tools")).replace(/\s+/, " ")],
    ["Terminal of the snapshots", await firstLine("tmux", "-V")],
    [
      "This report",
      `${await firstLine("pandoc", "-v")}, ${await firstLine("weasyprint", "--version")}`,
    ],
  ];
  return ["| part | version |", "| --- | --- |", ...rows.map((row) => `| ${row.join(" | ")} |`)]
    .join("\n");
}

async function executables(): Promise<string> {
  const made = await ensureExecutables();
  if ("missing" in made) throw new UserError(made.missing);
  return made.dir;
}

/** Finds code that is no more before time is spent on pictures; these may not be there yet. */
async function checkDocument(docs: string): Promise<void> {
  const document = await Deno.readTextFile(join(docs, "report.md"));
  const fill = directives(document, docs);
  await expand(document, async (words) => words[0] === "code" ? await fill(words) : "");
}

/** Takes and draws everything that report.md shows beside its text. */
async function makeFigures(docs: string): Promise<void> {
  const figures = join(docs, "figures");
  for await (const { name } of Deno.readDir(figures)) {
    const [base, kind] = name.split(".") as [string, string];
    const source = join(figures, name);
    const target = join(figures, `${base}.svg`);
    if (kind === "dot") await runCommand("dot", { args: ["-Tsvg", "-o", target, source] });
    if (kind === "sequence") {
      await Deno.writeTextFile(target, drawSequence(await Deno.readTextFile(source)));
    }
  }
  const folder = await executables();
  const taskFile = join(project, "examples/tasks.txt");
  // One after the other: strace would slow the snapshots down.
  const calls = await traceSystemCalls(folder);
  await Deno.writeTextFile(
    join(figures, "system_calls.json"),
    JSON.stringify(calls, undefined, 2) + "\n",
  );
  await takeSnapshots({ executables: folder, taskFile, output: figures });
}

/** What pandoc puts below the title. */
function titleLines({ name, id }: Student): string[] {
  return [
    ...(name === undefined ? [] : [`Name: ${name}`]),
    ...(id === undefined ? [] : [`Student ID: ${id}`]),
  ];
}

/**
 * Copies the sources that are attached into a folder, under names that say where they are from.
 * They end in .txt: many systems take a file that ends in .ts for a film.
 */
async function copySources(folder: string): Promise<string[]> {
  const names: string[] = [];
  const copy = async (path: string): Promise<void> => {
    if ((await Deno.stat(join(project, path))).isDirectory) {
      for await (const { name } of Deno.readDir(join(project, path))) await copy(`${path}/${name}`);
      return;
    }
    const name = `${path.replaceAll("/", "_")}.txt`;
    await copyFile(join(project, path), join(folder, name));
    names.push(name);
  };
  for (const path of attachedSources) await copy(path);
  return names.sort();
}

/**
 * Checks that a PDF has these attachments.
 *
 * @throws {UserError} with what it has instead.
 */
async function requireAttachments(pdf: string, names: readonly string[]): Promise<void> {
  const list = await runCommand("pdfdetach", { args: ["-list", pdf] });
  const attached = [...list.matchAll(/^\d+: (.*)$/gm)].map((match) => match[1] as string).sort();
  if (attached.join() === names.join()) return;
  throw new UserError(
    `The report should have these files attached: ${names.join(", ")}\n` +
      `  and has: ${attached.join(", ") || "none"}`,
  );
}

/** report.md -> report.pdf, in a folder that has the figures and report.css. */
async function render(docs: string, student: Student): Promise<void> {
  const document = await Deno.readTextFile(join(docs, "report.md"));
  const markdown = await expand(document, directives(document, docs));
  const html = await runCommand("pandoc", {
    args: [
      "--from=markdown",
      "--to=html5",
      "--standalone",
      "--toc",
      "--toc-depth=2",
      "--number-sections",
      "--highlight-style=monochrome",
      "--css=report.css",
      "--fail-if-warnings",
      ...titleLines(student).map((line) => `--metadata=author=${line}`),
    ],
    input: markdown,
    cwd: docs,
  });
  const target = join(docs, "report.pdf");
  await using sources = new ScratchFolder("report-");
  const attached = await copySources(sources.path);
  const attachments = attached.flatMap((name) => ["--attachment", join(sources.path, name)]);
  await runCommand("weasyprint", {
    args: ["--encoding", "utf-8", "--base-url", `${docs}/`, ...attachments, "-", target],
    // A paragraph that leads to code, a table or a figure stays with it.
    input: html.replaceAll(
      /<p>(?=(?:(?!<p>|<\/p>)[^])*<\/p>\n<(?:table|figure|div class="))/g,
      '<p class="lead">',
    ),
    limitMs: 300_000,
  });
  await requireAttachments(target, attached);
}

/**
 * Checks that all is installed that a build needs.
 *
 * @throws {UserError} that lists what is missing, and the command that installs it.
 */
export async function requireReportTools(student: Student): Promise<void> {
  await requireCommands(commands);
  await requireFonts();
  await requireGlyphs(student.name ?? "");
}

/**
 * Renders the report with a title page of its own from the figures that docs/ has, and leaves
 * docs/ as it is.
 *
 * @param target where the PDF goes.
 */
export async function renderCopy(target: string, student: Student): Promise<void> {
  await using docs = new ScratchFolder("report-");
  await cp(docsFolder, docs.path, { recursive: true });
  await render(docs.path, student);
  await copyFile(join(docs.path, "report.pdf"), target);
}

if (import.meta.main) {
  const options = ["name", "id"];
  await runTool({ program: "deno task report", help, flags: ["text"], options }, async (args) => {
    const student = parseStudent(args.options);
    await requireReportTools(student);
    await replaceTogether(docsFolder, async (docs) => {
      if (!args.flags.has("text")) {
        await checkDocument(docs);
        await makeFigures(docs);
      }
      await render(docs, student);
    });
    const kilobytes = Math.round((await Deno.stat(join(docsFolder, "report.pdf"))).size / 1000);
    console.log(`made: docs/report.pdf (${kilobytes} kB)`);
  });
}
