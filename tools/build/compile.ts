/**
 * Makes the standalone executables `server`, `producer`, `consumer` and `worker` with `deno compile`.
 *
 * This module owns whether executables made earlier still match the sources. It holds no
 * permissions: an executable gets the flags of its program's task in deno.json.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { join, relative, resolve } from "node:path";
import config from "../../deno.json" with { type: "json" };
import { UsageError, UserError } from "../../lib/user_error.ts";
import { isFile, runCommand, runTool } from "../tool.ts";
import {
  cacheFolder,
  type Denort,
  findDenort,
  makeFolder,
  NoDenortError,
  runDeno,
  sha256,
  withProgress,
} from "./denort.ts";

/** A program of this project: its script is `<program>.ts`, its flags are in its task. */
export type Program = "server" | "producer" | "consumer" | "worker";

/** All of them. */
export const programs: readonly Program[] = ["server", "producer", "consumer", "worker"];

/** The systems that `deno compile` of Deno 2.9 knows. */
export const targets = [
  "x86_64-unknown-linux-gnu",
  "aarch64-unknown-linux-gnu",
  "x86_64-apple-darwin",
  "aarch64-apple-darwin",
  "x86_64-pc-windows-msvc",
  "aarch64-pc-windows-msvc",
] as const;

/** What {@linkcode compileAll} needs to know beside the folder. */
export interface CompileOptions {
  /** The denort to embed, made for `target`. */
  readonly denort: Denort;
  /** A target triple; this machine's own if it is left out. */
  readonly target?: string;
}

const project = fileURLToPath(new URL("../../", import.meta.url));

/** `deno compile` takes 2 s; on a busy machine that has to fetch Deno std first, a minute. */
const compileLimitMs = 600_000;

/** A program answers `--version` in 20 ms, on a busy machine in 1 s. */
const startLimitMs = 10_000;

/** Before each `deno run` in deno.json: it would ask Deno's host for a newer version once a day. */
const noUpdateCheck = "DENO_NO_UPDATE_CHECK=1";

/**
 * Options of every `deno compile` here, by measurement. Of npm packages only what is imported. No
 * code cache: it would save 6 ms until the server listens, but has a program that may
 * not write leave a file of a predictable name in the temporary folder. Not `--bundle`: it would
 * save 1.6 MB of 86 and 2 ms, but is experimental, downloads a bundler and writes into the project.
 */
const compileOptions = ["--quiet", "--exclude-unused-npm", "--no-code-cache"];

/**
 * The flags in a program's task, such as `--no-prompt` and `--allow-net`; `command` is its
 * command in deno.json.
 *
 * The server's bound V8's young generation, where new objects are made, at 4 MB a half. V8's own
 * choice, 16, took twice the memory for a million waiting tasks, and three times the pauses with
 * 10,000 polling consumers; with 1 or 2, objects that live for a moment are copied more often. They
 * also let V8 inline more functions into one: from a line to its replies there are more small ones
 * than its own limit lets in.
 *
 * @throws {UserError} the command is not
 * `DENO_NO_UPDATE_CHECK=1 deno run --no-prompt [flags] <program>.ts`.
 */
export function taskFlags(program: Program, command: string): string[] {
  const [setting, deno, run, ...rest] = command.split(" ");
  const script = rest.pop();
  const plain = rest.every((flag) => /^--[^"'$\\]+$/.test(flag));
  if (
    setting !== noUpdateCheck || deno !== "deno" || run !== "run" || script !== `${program}.ts` ||
    !plain ||
    !rest.includes("--no-prompt")
  ) {
    throw new UserError(
      `deno.json: task "${program}" must be "${noUpdateCheck} deno run --no-prompt [--flags] ` +
        `${program}.ts" ` +
        `(its executable takes the same flags), got "${command}"`,
    );
  }
  return rest;
}

/**
 * Compiles the programs into `outputDir`, which it makes, and returns the files' paths.
 * `deno compile` replaces each in one step, so one that runs goes on running. Those for this
 * machine are started once: a denort that does not fit must fail here, not at a user's.
 *
 * @throws {UserError} a program does not compile or does not start.
 */
export async function compileAll(outputDir: string, options: CompileOptions): Promise<string[]> {
  const { denort, target = Deno.build.target } = options;
  await makeFolder(outputDir);
  const files: string[] = [];
  for (const program of programs) {
    const file = resolve(outputDir, executableName(program, target));
    const flags = taskFlags(program, config.tasks[program].command);
    const embed = [...compileOptions, "--target", target, "--output", file];
    await withProgress(`compiling ${program}`, async () => {
      const args = ["compile", ...embed, ...flags, `${program}.ts`];
      const env = denort.path === undefined ? {} : { DENORT_BIN: denort.path };
      const purpose = `compile ${program}.ts`;
      await runDeno(args, { purpose, cwd: project, env, limitMs: compileLimitMs });
      if (target !== Deno.build.target) return;
      await runCommand(file, {
        ...{ args: ["--version"], purpose: `start the new ${file}`, limitMs: startLimitMs },
      });
    });
    files.push(file);
  }
  return files;
}

/**
 * Executables that match the sources: made anew only if a source, Deno or DENORT_BIN changed.
 * Processes that call it at the same time wait for each other. Returns the folder, or why there
 * can be no executables on this machine.
 *
 * @throws {UserError} the programs do not compile, or DENORT_BIN names no file.
 */
export async function ensureExecutables(): Promise<{ dir: string } | { missing: string }> {
  const dir = join(cacheFolder, "executables");
  const stamp = join(dir, "sources.sha256");
  await makeFolder(dir);
  using lock = await Deno.open(join(dir, "lock"), { create: true, write: true });
  await lock.lock(true);
  const wanted = await sourcesSha256();
  const files = [stamp, ...programs.map((program) => join(dir, executableName(program)))];
  const present = (await Promise.all(files.map(isFile))).every((there) => there);
  if (present && await Deno.readTextFile(stamp) === wanted) return { dir };
  try {
    const denort = await findDenort();
    // First: a run that is cut off must not leave a stamp beside executables that it replaced.
    if (await isFile(stamp)) await Deno.remove(stamp);
    await compileAll(dir, { denort });
  } catch (error) {
    if (error instanceof NoDenortError) return { missing: error.message };
    throw error;
  }
  await Deno.writeTextFile(stamp, wanted);
  return { dir };
}

/** The name of a program's file on a system; this one if no target triple is given. */
export function executableName(program: Program, target: string = Deno.build.target): string {
  return target.includes("windows") ? `${program}.exe` : program;
}

/** Of all that decides what the executables do, by content: a fresh clone's time stamps are new. */
async function sourcesSha256(): Promise<string> {
  const library: string[] = [];
  await listFiles("lib", library);
  const scripts = programs.map((program) => `${program}.ts`);
  const makers = ["tools/build/compile.ts", "tools/build/denort.ts"];
  const parts = [Deno.version.deno, Deno.build.target, Deno.env.get("DENORT_BIN") ?? ""];
  for (const file of [...scripts, "deno.json", "deno.lock", ...makers, ...library]) {
    parts.push(file, await Deno.readTextFile(join(project, file)));
  }
  return await sha256(new TextEncoder().encode(JSON.stringify(parts)));
}

async function listFiles(folder: string, into: string[]): Promise<void> {
  const entries = await Array.fromAsync(Deno.readDir(join(project, folder)));
  entries.sort((a, b) => a.name < b.name ? -1 : 1);
  for (const { name, isDirectory } of entries) {
    if (isDirectory) await listFiles(`${folder}/${name}`, into);
    else into.push(`${folder}/${name}`);
  }
}

const help = `Usage: deno task compile [--target TARGET] [--output DIR]

Makes the standalone executables ${programs.join(", ")}.

Options:
  --target TARGET  the system they are for (this one if left out):
                   ${targets.join("\n                   ")}
  --output DIR     where they go: the project's folder, or with --target TARGET in it
  -h, --help       print this help
  -V, --version    print the version

The environment variable DENORT_BIN names the runtime to embed (a denort of Deno
${Deno.version.deno} for TARGET). Without it Deno's own download is used; if that cannot be
reached, one from npm (x86_64-unknown-linux-gnu only).

Exit codes: 0 made, 1 failed, 2 wrong arguments`;

if (import.meta.main) {
  await runTool(
    { program: "deno task compile", help, options: ["target", "output"] },
    async (args) => {
      const target = args.options.get("target");
      if (target !== undefined && !targets.some((known) => known === target)) {
        throw new UsageError(`--target must be one of ${targets.join(", ")}, got "${target}"`);
      }
      const output = args.options.get("output") ?? join(project, target ?? "");
      const denort = await findDenort(target);
      console.log(`denort: ${denort.origin}`);
      const options = { denort, ...(target === undefined ? {} : { target }) };
      for (const file of await compileAll(output, options)) {
        const megabytes = ((await Deno.stat(file)).size / 1e6).toFixed(1);
        console.log(`compiled: ${relative(Deno.cwd(), file)} (${megabytes} MB)`);
      }
    },
  );
}
