/**
 * Builds docs/report.pdf from docs/report.md, with everything in it that can be taken from the
 * machine and the sources: code, versions, figures, snapshots of real runs, system calls.
 *
 * ```sh
 * deno task report [--text]
 * ```
 *
 * Between `{{` and `}}` the document may hold `code <file> <symbol>`, `file <path>`,
 * `environment`, `call <program> <call>`, `calls <program>`, `figure <name>`: an unknown one, or
 * one whose source is gone, ends the build.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { join } from "node:path";
import config from "../deno.json" with { type: "json" };
import { exitCode, parseCommandLine, UserError } from "../lib/cli.ts";
import { requireCommands, requireFonts, runCommand, ToolError } from "./command.ts";
import { CompileError, ensureExecutables } from "./compile.ts";
import { excerpt } from "./excerpt.ts";
import { drawSequence } from "./sequence.ts";
import { takeSnapshots } from "./snapshots.ts";
import { type SystemCalls, traceSystemCalls } from "./system_calls.ts";

const project = fileURLToPath(new URL("..", import.meta.url));
const docs = join(project, "docs");
const figures = join(docs, "figures");
const systemCallsFile = join(figures, "system_calls.json");

/** Longest code that is moved to the next page as a whole, in lines. */
const maxUnbrokenLines = 14;

const help = `Usage: deno task report [--text]

Builds docs/report.pdf from docs/report.md, the sources, and real runs of the executables (30 s).

  --text  keep the figures, snapshots and system calls that are there: 5 s`;

/**
 * Replaces every `{{...}}` of a document.
 *
 * @param fill gives the text for what stands between the braces; throws where it cannot.
 */
export async function expand(
  document: string,
  fill: (words: readonly string[]) => Promise<string>,
): Promise<string> {
  const parts = document.split(/\{\{([^{}]+)\}\}/);
  for (let i = 1; i < parts.length; i += 2) {
    const directive = (parts[i] as string).trim();
    try {
      parts[i] = await fill(directive.split(/\s+/));
    } catch (error) {
      if (!(error instanceof RangeError) && !(error instanceof Deno.errors.NotFound)) throw error;
      throw new ToolError(`docs/report.md: {{${directive}}}: ${error.message}`);
    }
  }
  return parts.join("");
}

/** The text for each directive; `document` is where figures are counted. */
export function directives(document: string): (words: readonly string[]) => Promise<string> {
  const names = [...document.matchAll(/\]\(figures\/(\w+)\.svg\)/g)].map((match) => match[1]);
  return async ([kind, ...rest]) => {
    const [first = "", second = ""] = rest;
    switch (kind) {
      case "code":
        return codeBlock(`${first}: ${second}`, {
          language: "typescript",
          text: excerpt(await Deno.readTextFile(join(project, first)), second),
        });
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
          text: (await callsOf(first)).join("\n"),
        });
      case "call": {
        const line = (await callsOf(first)).find((line) => line.startsWith(`${second}(`));
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

async function callsOf(program: string): Promise<readonly string[]> {
  const calls = JSON.parse(await Deno.readTextFile(systemCallsFile)) as SystemCalls;
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
  if ("missing" in made) throw new ToolError(made.missing);
  return made.dir;
}

/** Finds code that is no more before time is spent on pictures; these may not be there yet. */
async function checkDocument(): Promise<void> {
  const document = await Deno.readTextFile(join(docs, "report.md"));
  const fill = directives(document);
  await expand(document, async (words) => words[0] === "code" ? await fill(words) : "");
}

/** Takes and draws everything that report.md shows beside its text. */
async function makeFigures(): Promise<void> {
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
  await Deno.writeTextFile(systemCallsFile, JSON.stringify(calls, undefined, 2) + "\n");
  await takeSnapshots({ executables: folder, taskFile, output: figures });
}

/** report.md -> report.pdf. */
async function render(): Promise<void> {
  const document = await Deno.readTextFile(join(docs, "report.md"));
  const markdown = await expand(document, directives(document));
  const html = await runCommand("pandoc", {
    args: [
      "--from=markdown",
      "--to=html5",
      "--standalone",
      "--toc",
      "--toc-depth=2",
      "--number-sections",
      "--highlight-style=tango",
      "--css=report.css",
      "--fail-if-warnings",
    ],
    input: markdown,
    cwd: docs,
  });
  const target = join(docs, "report.pdf");
  await runCommand("weasyprint", {
    args: ["--encoding", "utf-8", "--base-url", `${docs}/`, "-", target],
    // A paragraph that leads to code or a table stays with it.
    input: html.replaceAll(
      /<p>(?=(?:(?!<p>|<\/p>)[^])*<\/p>\n<(?:table|div class="))/g,
      '<p class="lead">',
    ),
    limitMs: 300_000,
  });
  const kilobytes = Math.round((await Deno.stat(target)).size / 1000);
  console.log(`made: docs/report.pdf (${kilobytes} kB)`);
}

async function main(): Promise<number> {
  const args = parseCommandLine(Deno.args, {
    program: "report",
    help,
    positionals: { least: 0, most: 0 },
    flags: ["text"],
  });
  if (typeof args === "string") {
    console.log(args);
    return exitCode.ok;
  }
  await requireCommands(["dot", "fc-list", "netstat", "pandoc", "strace", "tmux", "weasyprint"]);
  await requireFonts();
  if (!args.flags.has("text")) {
    await checkDocument();
    await makeFigures();
  }
  await render();
  return exitCode.ok;
}

if (import.meta.main) {
  try {
    Deno.exit(await main());
  } catch (error) {
    const isUsers = error instanceof UserError || error instanceof ToolError ||
      error instanceof CompileError;
    if (!isUsers) throw error;
    console.error(error.message);
    Deno.exit(error instanceof UserError ? error.code : exitCode.failed);
  }
}
