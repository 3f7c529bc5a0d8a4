/**
 * The frame of every tool: its arguments, its failures, the programs of other people that it runs,
 * its exit. What benches share is in tests/lab/: progress.ts, and options.ts for numbers.
 *
 * @module
 */

import {
  type Arguments,
  type CommandLine,
  exitCode,
  exitCodeOf,
  parseCommandLine,
} from "../lib/cli/arguments.ts";
import { UserError } from "../lib/user_error.ts";

/** What a tool's command line may hold; no positional argument unless it says so. */
export type ToolLine =
  & Omit<CommandLine, "positionals">
  & Partial<Pick<CommandLine, "positionals">>;

/**
 * Runs a tool from its command line to its exit.
 *
 * @param main does the work, and returns the exit code if it is not 0. A {@linkcode UserError}
 * that it throws has all there is to say in its message.
 * @param words the command line, if it is not all that the process was given.
 */
export async function runTool(
  line: ToolLine,
  main: (args: Arguments) => void | number | Promise<void | number>,
  words: readonly string[] = Deno.args,
): Promise<never> {
  try {
    const args = await parseCommandLine(words, { positionals: { least: 0, most: 0 }, ...line });
    if (typeof args !== "string") Deno.exit(await main(args) ?? exitCode.ok);
    console.log(args);
    Deno.exit(exitCode.ok);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    console.error(error.message);
    Deno.exit(exitCodeOf(error));
  }
}

/** The Debian package of each program. */
const packages: Readonly<Record<string, string>> = {
  bash: "bash",
  dot: "graphviz",
  "dpkg-deb": "dpkg",
  "fc-list": "fontconfig",
  git: "git",
  netstat: "net-tools",
  pandoc: "pandoc",
  pdfdetach: "poppler-utils",
  strace: "strace",
  tar: "tar",
  tmux: "tmux",
  weasyprint: "weasyprint",
  xz: "xz-utils",
};

/** Fonts of the report, each with the Debian package that has it. */
const fonts: Readonly<Record<string, string>> = {
  "Liberation Serif": "fonts-liberation2",
  "DejaVu Sans Mono": "fonts-dejavu-core",
};

/** How a program is run. */
export interface CommandOptions {
  /** Its arguments. */
  readonly args?: readonly string[];
  /** What it reads on standard input; nothing if left out. */
  readonly input?: string;
  /** Its folder; the current one if left out. */
  readonly cwd?: string;
  /** Environment variables beside those that are there. */
  readonly env?: Readonly<Record<string, string>>;
  /** How long it may take, in milliseconds: a minute if left out. */
  readonly limitMs?: number;
  /** Completes the error `Cannot …`; `run <name>` if left out. */
  readonly purpose?: string;
}

/**
 * Runs a program to its end and returns its standard output.
 *
 * @throws {UserError} it is not there, may not be run, fails, or takes too long.
 */
export async function runCommand(name: string, options: CommandOptions = {}): Promise<string> {
  const limitMs = options.limitMs ?? 60_000;
  const signal = AbortSignal.timeout(limitMs);
  const fail = (reason: string): never => {
    throw new UserError(`Cannot ${options.purpose ?? `run ${name}`}: ${reason}`);
  };
  let output: Deno.CommandOutput;
  try {
    const child = new Deno.Command(name, {
      args: [...options.args ?? []],
      env: { ...options.env },
      stdin: options.input === undefined ? "null" : "piped",
      stdout: "piped",
      stderr: "piped",
      signal,
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    }).spawn();
    const feeding = options.input === undefined ? undefined : feed(child.stdin, options.input);
    [output] = await Promise.all([child.output(), feeding]);
  } catch (error) {
    // Not found: also one whose loader (glibc's) is missing. Denied: a folder mounted noexec.
    if (error instanceof Deno.errors.NotFound && packages[name] !== undefined) {
      return fail(`it is not installed${installHint([name])}`);
    }
    const isRefused = error instanceof Deno.errors.NotFound ||
      error instanceof Deno.errors.PermissionDenied;
    if (!isRefused) throw error;
    return fail(error.message);
  }
  const text = new TextDecoder();
  if (output.success) return text.decode(output.stdout);
  return fail(
    signal.aborted
      ? `it took more than ${limitMs / 1000} s`
      : text.decode(output.stderr).trim() || `exit code ${output.code}`,
  );
}

/** Writes a program's input. One that ends before it has read all says by its exit code why. */
async function feed(stdin: WritableStream<Uint8Array>, input: string): Promise<void> {
  const writer = stdin.getWriter();
  try {
    await writer.write(new TextEncoder().encode(input));
    await writer.close();
  } catch (error) {
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
  }
}

/**
 * Checks that programs and the report's fonts are installed, before minutes are spent.
 *
 * @throws {UserError} that lists all that is missing, and the command that installs it.
 */
export async function requireCommands(names: readonly string[]): Promise<void> {
  const path = (Deno.env.get("PATH") ?? "").split(":");
  const missing: string[] = [];
  for (const name of names) {
    const found = await Promise.all(path.map((folder) => isFile(`${folder}/${name}`)));
    if (!found.includes(true)) missing.push(name);
  }
  if (missing.length === 0) return;
  throw new UserError(`Not installed: ${missing.join(", ")}${installHint(missing)}`);
}

/**
 * Checks that the fonts of the report are installed: others would change where pages break.
 *
 * @throws {UserError} that lists those that are missing, and the command that installs them.
 */
export async function requireFonts(): Promise<void> {
  const installed = await runCommand("fc-list", { args: ["--format", "%{family}\n"] });
  const missing = Object.keys(fonts).filter((font) => !installed.includes(font));
  if (missing.length === 0) return;
  const needed = missing.map((font) => fonts[font]).join(" ");
  throw new UserError(`Fonts are missing: ${missing.join(", ")}\n  apt-get install ${needed}`);
}

/**
 * Checks that some installed font has each character of a text: without one, boxes are printed.
 *
 * @throws {UserError} that names the characters, and a package that has the world's scripts.
 */
export async function requireGlyphs(text: string): Promise<void> {
  const characters = [...new Set(text.replaceAll(/\s/g, ""))];
  const missing: string[] = [];
  for (const character of characters) {
    const code = (character.codePointAt(0) as number).toString(16);
    const found = await runCommand("fc-list", { args: [`:charset=${code}`, "family"] });
    if (found.trim() === "") missing.push(character);
  }
  if (missing.length === 0) return;
  throw new UserError(
    `No installed font has ${missing.join(" ")}\n  apt-get install fonts-noto-cjk, or unifont`,
  );
}

function installHint(names: readonly string[]): string {
  const needed = names.flatMap((name) => packages[name] ?? []);
  return needed.length === 0
    ? ""
    : `\n  apt-get install --no-install-recommends ${needed.join(" ")}`;
}

/** Whether there is a file of that name, and it is ours to see. */
export async function isFile(path: string): Promise<boolean> {
  try {
    return (await Deno.stat(path)).isFile;
  } catch {
    return false;
  }
}
