/**
 * Makes the standalone executables `server`, `producer` and `consumer` with `deno compile`.
 *
 * This module owns where denort comes from (the runtime that `deno compile` embeds), and whether
 * executables made earlier still match the sources. It holds no permissions: an executable gets
 * the flags of its program's task in deno.json. It refuses a denort from npm whose SHA-256 is not
 * the one written here.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { join, relative, resolve } from "node:path";
import { parseArgs } from "@std/cli/parse-args";
import config from "../../deno.json" with { type: "json" };

/** A program of this project: its script is `<program>.ts`, its flags are in its task. */
export type Program = "server" | "producer" | "consumer";

const PROGRAMS: readonly Program[] = ["server", "producer", "consumer"];

/** The systems that `deno compile` of Deno 2.9 knows. */
const TARGETS = [
  "x86_64-unknown-linux-gnu",
  "aarch64-unknown-linux-gnu",
  "x86_64-apple-darwin",
  "aarch64-apple-darwin",
  "x86_64-pc-windows-msvc",
  "aarch64-pc-windows-msvc",
] as const;

/** Where denort comes from. */
export interface Denort {
  /** The file for `DENORT_BIN`; undefined where `deno compile` uses its own download. */
  readonly path: string | undefined;
  /** What it is and where it came from, for people. */
  readonly origin: string;
}

/** What {@linkcode compileAll} needs to know beside the folder. */
export interface CompileOptions {
  /** The denort to embed, made for `target`. */
  readonly denort: Denort;
  /** A target triple; this machine's own where it is left out. */
  readonly target?: string;
}

/** A failure that the user can mend; its message says what failed, and is all there is to say. */
export class CompileError extends Error {
  /** Always the class's name. */
  override readonly name: string = "CompileError";
}

/** No denort can be had: the message lists what was tried, and what to do. */
export class NoDenortError extends CompileError {
  /** Always the class's name. */
  override readonly name = "NoDenortError";
}

const PROJECT = fileURLToPath(new URL("../../", import.meta.url));
const CACHE = join(PROJECT, ".cache");

/**
 * Deno's own download is about 40 MB: this takes a line of 10 Mbit/s. No longer, because `deno
 * compile` waits minutes for a host that a firewall hides.
 */
const OWN_DOWNLOAD_LIMIT_MS = 30_000;

/** The npm package has about the same size, and is the last resort: a line of 3 Mbit/s will do. */
const NPM_DOWNLOAD_LIMIT_MS = 120_000;

/** A program answers `--version` in 20 ms, on a busy machine in 1 s. */
const START_LIMIT_MS = 10_000;

/**
 * A program on npm that embeds denort, unmodified: `deno compile` appended a note and changed four
 * fields of the ELF header, which `restoreDenort` undoes. Any mistake shows in the SHA-256.
 */
const NPM = {
  package: "@chelonia/cli-x64-linux",
  version: "3.4.0",
  program: "chel",
  target: "x86_64-unknown-linux-gnu",
  denort: "2.9.4",
  bytes: 107_594_120,
  sectionHeaders: { offset: 107_591_688, count: 38 },
  programHeaders: { offset: 64, count: 12 },
  // Of the restored file. Deno's own denort 2.9.4 should have the same: the same way of restoring
  // gave the published hash of 2.4.2. Compare it where Deno's host can be reached.
  sha256: "723d45cca4f68bd66652da1e0d45562b0700317c1535981035f50f078785a131",
  // Sections 35 and 36, and the bytes they take. Only debuggers read them, and they are a fifth
  // of the file. The end is rounded down to 8, for the alignment of what follows.
  symbols: { start: 0x5006560, end: 0x669b680, sections: [35, 36], nextSection: 37 },
  // Of the same without symbols, which is what the cache holds.
  strippedSha256: "cfcc6c63a4a45e17ae3675706d0a563e31195b53b31ecf50cb44f16a5c1fa00c",
} as const;

/** Before each `deno run` in deno.json: it would ask Deno's host for a newer version once a day. */
const noUpdateCheck = "DENO_NO_UPDATE_CHECK=1";

/** Fields of a 64-bit ELF header, and of a section header, by their offsets. */
const ELF = {
  phoff: 0x20,
  shoff: 0x28,
  phnum: 0x38,
  shnum: 0x3c,
  sectionBytes: 64,
  shOffset: 0x18,
};

/**
 * Options of every `deno compile` here, by measurement. Of npm packages only what is imported. No
 * code cache: it would save 6 ms until the server listens, but has a program that may
 * not write leave a file of a predictable name in the temporary folder. Not `--bundle`: it would
 * save 1.6 MB of 86 and 2 ms, but is experimental, downloads a bundler and writes into the project.
 */
const COMPILE_OPTIONS = ["--quiet", "--exclude-unused-npm", "--no-code-cache"];

/**
 * The flags in a program's task, such as `--no-prompt` and `--allow-net`; `command` is its
 * command in deno.json.
 *
 * The server's bound V8's young generation, where new objects are made, at 4 MB a half. V8's own
 * choice, 16, took twice the memory for a million waiting tasks, and three times the pauses with
 * 10,000 polling consumers; with 1 or 2, objects that live for a moment are copied more often.
 *
 * @throws {CompileError} the command is not
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
    throw new CompileError(
      `deno.json: task "${program}" must be "${noUpdateCheck} deno run --no-prompt [--flags] ` +
        `${program}.ts" ` +
        `(its executable takes the same flags), got "${command}"`,
    );
  }
  return rest;
}

/**
 * Finds the denort to embed for `target`: DENORT_BIN, then Deno's own download, then the one in
 * an npm package, restored, checked and cached. Takes up to 30 s where Deno's host is silent, and
 * as long as the download where there is one.
 *
 * @throws {NoDenortError} none of them works.
 * @throws {CompileError} DENORT_BIN is set but names no file.
 */
export async function findDenort(target: string = Deno.build.target): Promise<Denort> {
  const named = Deno.env.get("DENORT_BIN");
  if (named !== undefined) {
    if (!await isFile(named)) {
      throw new CompileError(
        `DENORT_BIN names "${named}", which is not a file: unset it, or name a denort`,
      );
    }
    return { path: resolve(named), origin: `DENORT_BIN (${named})` };
  }
  const failures: string[] = [];
  try {
    await downloadOwnDenort(target);
    return { path: undefined, origin: `Deno's own download (${Deno.version.deno})` };
  } catch (error) {
    if (!(error instanceof CompileError)) throw error;
    failures.push(oneLine(error.message));
  }
  try {
    const path = await denortFromNpm(target);
    const origin = `${NPM.denort} out of npm's ${NPM.package} ${NPM.version}, ` +
      `SHA-256 checked (Deno's own download failed)`;
    return { path, origin };
  } catch (error) {
    if (!(error instanceof CompileError)) throw error;
    failures.push(oneLine(error.message));
  }
  throw new NoDenortError(
    `No denort, the runtime that \`deno compile\` embeds, can be had for ${target}:\n` +
      failures.map((failure) => `- ${failure}\n`).join("") +
      `Compile once where Deno's download host${target === NPM.target ? " or npm" : ""} ` +
      `can be reached (the download is kept), ` +
      `or set DENORT_BIN to a denort ${Deno.version.deno} for ${target}`,
  );
}

/**
 * Compiles the three programs into `outputDir`, which it makes, and returns the files' paths.
 * `deno compile` replaces each in one step, so one that runs goes on running. Those for this
 * machine are started once: a denort that does not fit must fail here, not at a user's.
 *
 * @throws {CompileError} a program does not compile or does not start.
 */
export async function compileAll(outputDir: string, options: CompileOptions): Promise<string[]> {
  const { denort, target = Deno.build.target } = options;
  await makeFolder(outputDir);
  const files: string[] = [];
  for (const program of PROGRAMS) {
    const file = resolve(outputDir, executableName(program, target));
    const flags = taskFlags(program, config.tasks[program].command);
    const embed = [...COMPILE_OPTIONS, "--target", target, "--output", file];
    await withProgress(`compiling ${program}`, async () => {
      const args = ["compile", ...embed, ...flags, `${program}.ts`];
      const env = denort.path === undefined ? {} : { DENORT_BIN: denort.path };
      await run(Deno.execPath(), args, { what: `compile ${program}.ts`, cwd: PROJECT, env });
      if (target !== Deno.build.target) return;
      await run(file, ["--version"], { what: `start the new ${file}`, limitMs: START_LIMIT_MS });
    });
    files.push(file);
  }
  return files;
}

/**
 * Executables that match the sources: made anew only where a source, Deno or DENORT_BIN changed.
 * Processes that call it at the same time wait for each other. Returns the folder, or why there
 * can be no executables on this machine.
 *
 * @throws {CompileError} the programs do not compile, or DENORT_BIN names no file.
 */
export async function ensureExecutables(): Promise<{ dir: string } | { missing: string }> {
  const dir = join(CACHE, "executables");
  const stamp = join(dir, "sources.sha256");
  await makeFolder(dir);
  using lock = await Deno.open(join(dir, "lock"), { create: true, write: true });
  await lock.lock(true);
  const wanted = await sourcesSha256();
  const files = [stamp, ...PROGRAMS.map((program) => join(dir, executableName(program)))];
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

/**
 * Throws unless `bytes` have the SHA-256 `expected` (lower-case hex); `name` says in the error
 * what they are. 0.15 s for 100 MB.
 *
 * @throws {CompileError} they have another.
 */
export async function requireSha256(
  bytes: Uint8Array<ArrayBuffer>,
  { expected, name }: { expected: string; name: string },
): Promise<void> {
  const actual = await sha256(bytes);
  if (actual === expected) return;
  throw new CompileError(`${name} must have the SHA-256 ${expected}, has ${actual}: not used`);
}

/** Sees to it that `deno compile` finds its denort in DENO_DIR, downloading it where it can. */
async function downloadOwnDenort(target: string): Promise<void> {
  const archive = `release/v${Deno.version.deno}/denort-${target}.zip`;
  const info = await run(Deno.execPath(), ["info", "--json"], {
    what: "ask Deno for its folders",
    cwd: PROJECT,
  });
  const { denoDir }: { denoDir: string } = JSON.parse(info);
  if (await isFile(join(denoDir, "dl", archive))) return;
  const folder = await makeCacheFolder();
  try {
    await Deno.writeTextFile(join(folder, "empty.ts"), "");
    const args = ["compile", "--quiet", "--no-config", "--no-lock", "--no-check"];
    args.push("--target", target, "--output", join(folder, "empty"), "empty.ts");
    const what = "download Deno's own denort";
    await withProgress(
      "downloading denort",
      () => run(Deno.execPath(), args, { what, cwd: folder, limitMs: OWN_DOWNLOAD_LIMIT_MS }),
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** The cached denort from npm, fetched and restored where the cache has none with its SHA-256. */
async function denortFromNpm(target: string): Promise<string> {
  if (target !== NPM.target) {
    throw new CompileError(`npm has a denort for ${NPM.target} only`);
  }
  const cached = join(CACHE, `denort-${NPM.denort}`);
  if (await isFile(cached) && await sha256(await Deno.readFile(cached)) === NPM.strippedSha256) {
    return cached;
  }
  const folder = await makeCacheFolder();
  try {
    const file = await withProgress("downloading denort from npm", () => fetchFromNpm(folder));
    const denort = restoreDenort(await Deno.readFile(file));
    const name = `denort ${NPM.denort} out of npm's ${NPM.package} ${NPM.version}`;
    await requireSha256(denort, { expected: NPM.sha256, name });
    const stripped = withoutSymbols(denort);
    await requireSha256(stripped, { expected: NPM.strippedSha256, name: `${name}, stripped,` });
    const ready = join(folder, "denort");
    await Deno.writeFile(ready, stripped, { mode: 0o755 });
    await Deno.rename(ready, cached);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
  return cached;
}

/** Has Deno itself put the npm package below `folder`; returns the path of its program. */
async function fetchFromNpm(folder: string): Promise<string> {
  // Without the project's configuration, so that its frozen lock need not know the package.
  const args = ["cache", "--quiet", "--no-config", "--no-lock", "--node-modules-dir=auto"];
  args.push(`npm:${NPM.package}@${NPM.version}`);
  const what = `fetch npm's ${NPM.package}`;
  await run(Deno.execPath(), args, { what, cwd: folder, limitMs: NPM_DOWNLOAD_LIMIT_MS });
  return join(folder, "node_modules", NPM.package, NPM.program);
}

/** Undoes what `deno compile` did to denort. A wrong file gives a wrong result, not an error. */
function restoreDenort(program: Uint8Array): Uint8Array<ArrayBuffer> {
  const denort = new Uint8Array(NPM.bytes);
  denort.set(program.subarray(0, NPM.bytes));
  const header = new DataView(denort.buffer);
  header.setBigUint64(ELF.phoff, BigInt(NPM.programHeaders.offset), true);
  header.setUint16(ELF.phnum, NPM.programHeaders.count, true);
  header.setBigUint64(ELF.shoff, BigInt(NPM.sectionHeaders.offset), true);
  header.setUint16(ELF.shnum, NPM.sectionHeaders.count, true);
  return denort;
}

/**
 * What binutils' `strip` does, which not every machine has and whose versions differ: cuts the
 * symbols out and makes their section headers empty ones, so that no section's number changes.
 */
function withoutSymbols(denort: Uint8Array): Uint8Array<ArrayBuffer> {
  const { start, end, sections, nextSection } = NPM.symbols;
  const cut = end - start;
  const stripped = new Uint8Array(denort.length - cut);
  stripped.set(denort.subarray(0, start));
  stripped.set(denort.subarray(end), start);
  const view = new DataView(stripped.buffer);
  const headers = NPM.sectionHeaders.offset - cut;
  view.setBigUint64(ELF.shoff, BigInt(headers), true);
  for (const section of sections) {
    const at = headers + section * ELF.sectionBytes;
    stripped.fill(0, at, at + ELF.sectionBytes);
  }
  const next = headers + nextSection * ELF.sectionBytes + ELF.shOffset;
  view.setBigUint64(next, view.getBigUint64(next, true) - BigInt(cut), true);
  return stripped;
}

function executableName(program: Program, target: string = Deno.build.target): string {
  return target.includes("windows") ? `${program}.exe` : program;
}

/** Of all that decides what the executables do, by content: a fresh clone's time stamps are new. */
async function sourcesSha256(): Promise<string> {
  const library: string[] = [];
  await listFiles("lib", library);
  const scripts = PROGRAMS.map((program) => `${program}.ts`);
  const parts = [Deno.version.deno, Deno.build.target, Deno.env.get("DENORT_BIN") ?? ""];
  for (const file of [...scripts, "deno.json", "deno.lock", "tools/build/compile.ts", ...library]) {
    parts.push(file, await Deno.readTextFile(join(PROJECT, file)));
  }
  return await sha256(new TextEncoder().encode(JSON.stringify(parts)));
}

async function listFiles(folder: string, into: string[]): Promise<void> {
  const entries = await Array.fromAsync(Deno.readDir(join(PROJECT, folder)));
  entries.sort((a, b) => a.name < b.name ? -1 : 1);
  for (const { name, isDirectory } of entries) {
    if (isDirectory) await listFiles(`${folder}/${name}`, into);
    else into.push(`${folder}/${name}`);
  }
}

interface RunOptions {
  /** Completes the error `Cannot …`. */
  readonly what: string;
  readonly cwd?: string;
  readonly env?: Record<string, string>;
  readonly limitMs?: number;
}

/** Runs `command` to its end and returns its stdout; its stderr is the error's message. */
async function run(
  command: string,
  args: string[],
  { what, cwd, env = {}, limitMs }: RunOptions,
): Promise<string> {
  const signal = limitMs === undefined ? undefined : AbortSignal.timeout(limitMs);
  const child = new Deno.Command(command, {
    args,
    env: { ...env, NO_COLOR: "1", RUST_BACKTRACE: "0" },
    stdin: "null",
    ...(cwd === undefined ? {} : { cwd }),
    ...(signal === undefined ? {} : { signal }),
  });
  let output: Deno.CommandOutput;
  try {
    output = await child.output();
  } catch (error) {
    // Not found: also one whose loader (glibc's) is missing. Denied: a folder mounted noexec.
    const expected = error instanceof Deno.errors.NotFound ||
      error instanceof Deno.errors.PermissionDenied;
    if (!expected) throw error;
    throw new CompileError(`Cannot ${what}: ${error.message}`);
  }
  const text = new TextDecoder();
  if (output.success) return text.decode(output.stdout);
  const reason = text.decode(output.stderr).trim() || `exit code ${output.code}`;
  const tooLong = `it took more than ${(limitMs ?? 0) / 1000} s`;
  throw new CompileError(`Cannot ${what}: ${signal?.aborted ? tooLong : reason}`);
}

/** Shows `label` while `work` runs, on a terminal only. */
async function withProgress<T>(label: string, work: () => Promise<T>): Promise<T> {
  const show = (text: string): void => {
    if (Deno.stderr.isTerminal()) Deno.stderr.writeSync(new TextEncoder().encode(text));
  };
  show(`${label} ...`);
  try {
    return await work();
  } finally {
    show("\r\x1b[K");
  }
}

/** Deno's messages have several lines; a list of causes has one for each. */
function oneLine(message: string): string {
  return message.replaceAll(/\s+/g, " ");
}

async function makeCacheFolder(): Promise<string> {
  await makeFolder(CACHE);
  return await Deno.makeTempDir({ dir: CACHE, prefix: "denort-" });
}

async function makeFolder(path: string): Promise<void> {
  try {
    await Deno.mkdir(path, { recursive: true });
  } catch (error) {
    // Whatever the system objects to is the user's to mend: a file in the way, no right, no room.
    if (!(error instanceof Error)) throw error;
    throw new CompileError(`Cannot make the folder ${path}: ${error.message}`);
  }
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await Deno.stat(path)).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) {
      return false;
    }
    throw error;
  }
}

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}

const HELP = `Makes the standalone executables ${PROGRAMS.join(", ")}.

Usage: deno task compile [--target TARGET] [--output DIR]

Options:
  --target TARGET  the system they are for (this one where left out):
                   ${TARGETS.join("\n                   ")}
  --output DIR     where they go: the project's folder, or with --target TARGET in it
  -h, --help       print this

The environment variable DENORT_BIN names the runtime to embed (a denort of Deno
${Deno.version.deno} for TARGET). Without it Deno's own download is used; where that cannot be
reached, one from npm (${NPM.target} only).`;

type Request = { kind: "help" } | { kind: "compile"; target?: string; outputDir: string };

/** Returns a message where the arguments are wrong. */
function parseRequest(args: string[]): Request | string {
  const unknown: string[] = [];
  const flags = parseArgs(args, {
    boolean: ["help"],
    string: ["target", "output"],
    alias: { help: "h" },
    unknown: (argument: string): boolean => {
      unknown.push(argument);
      return false;
    },
  });
  if (flags["help"] === true) return { kind: "help" };
  // What follows a bare "--" is in `_` alone.
  unknown.push(...flags._.map(String));
  if (unknown.length > 0) return `unknown argument "${unknown[0]}"`;
  const { target, output } = flags;
  if (output !== undefined && (typeof output !== "string" || output === "")) {
    return "--output needs a folder";
  }
  if (target === undefined) return { kind: "compile", outputDir: output ?? PROJECT };
  const known = TARGETS.find((name) => name === target);
  if (known === undefined) {
    return `--target must be one of ${TARGETS.join(", ")}, got "${target}"`;
  }
  return { kind: "compile", target: known, outputDir: output ?? join(PROJECT, known) };
}

/** Exit codes: 0 done, 1 failed, 2 wrong arguments. */
async function main(args: string[]): Promise<number> {
  const request = parseRequest(args);
  if (typeof request === "string") {
    console.error(`compile: ${request}\n\n${HELP}`);
    return 2;
  }
  if (request.kind === "help") {
    console.log(HELP);
    return 0;
  }
  const { kind: _, outputDir, ...options } = request;
  try {
    const denort = await findDenort(options.target);
    console.log(`denort: ${denort.origin}`);
    for (const file of await compileAll(outputDir, { denort, ...options })) {
      const megabytes = ((await Deno.stat(file)).size / 1e6).toFixed(1);
      console.log(`compiled: ${relative(Deno.cwd(), file)} (${megabytes} MB)`);
    }
    return 0;
  } catch (error) {
    if (!(error instanceof CompileError)) throw error;
    console.error(`compile: ${error.message}`);
    return 1;
  }
}

if (import.meta.main) Deno.exit(await main(Deno.args));
