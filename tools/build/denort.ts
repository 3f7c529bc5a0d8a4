/**
 * Where denort comes from, the runtime that `deno compile` embeds in an executable: found, checked,
 * stripped and cached. Refuses a denort from npm whose SHA-256 is not the one written here.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { join, resolve } from "node:path";
import { UserError } from "../../lib/user_error.ts";
import { Progress } from "../../tests/lab/progress.ts";
import { type CommandOptions, isFile, runCommand } from "../tool.ts";

/** Where denort comes from. */
export interface Denort {
  /** The file for `DENORT_BIN`; undefined if `deno compile` uses its own download. */
  readonly path: string | undefined;
  /** What it is and where it came from, for people. */
  readonly origin: string;
  /** Its version; undefined if that is known only to who named it by `DENORT_BIN`. */
  readonly version: string | undefined;
}

/** No denort can be had: the message lists what was tried, and what to do. */
export class NoDenortError extends UserError {
  /** Always the class's name. */
  override readonly name = "NoDenortError";
}

const project = fileURLToPath(new URL("../../", import.meta.url));

/** What is made once and kept: denort, and the executables that tests run. */
export const cacheFolder: string = join(project, ".cache");

/**
 * Deno's own download is about 40 MB: this takes a line of 10 Mbit/s. No longer, because `deno
 * compile` waits minutes for a host that a firewall hides.
 */
const ownDownloadLimitMs = 30_000;

/** The npm package has about the same size, and is the last resort: a line of 3 Mbit/s will do. */
const npmDownloadLimitMs = 120_000;

/**
 * A program on npm that embeds denort, unmodified: `deno compile` appended a note and changed four
 * fields of the ELF header, which `restoreDenort` undoes. Any mistake shows in the SHA-256.
 */
const npm = {
  package: "@chelonia/cli-x64-linux",
  version: "3.4.0",
  program: "chel",
  target: "x86_64-unknown-linux-gnu",
  denort: "2.9.4",
  bytes: 107_594_120,
  sectionHeaders: { offset: 107_591_688, count: 38 },
  programHeaders: { offset: 64, count: 12 },
  // Of the restored file. Deno's own denort 2.9.4 should have the same: the same way of restoring
  // gave the published hash of 2.4.2. Compare it when Deno's host can be reached.
  sha256: "723d45cca4f68bd66652da1e0d45562b0700317c1535981035f50f078785a131",
  // Sections 35 and 36, and the bytes they take. Only debuggers read them, and they are a fifth
  // of the file. The end is rounded down to 8, for the alignment of what follows.
  symbols: { start: 0x5006560, end: 0x669b680, sections: [35, 36], nextSection: 37 },
  // Of the same without symbols, which is what the cache holds.
  strippedSha256: "cfcc6c63a4a45e17ae3675706d0a563e31195b53b31ecf50cb44f16a5c1fa00c",
} as const;

/** Fields of a 64-bit ELF header, and of a section header, by their offsets. */
const elf = {
  phoff: 0x20,
  shoff: 0x28,
  phnum: 0x38,
  shnum: 0x3c,
  sectionBytes: 64,
  shOffset: 0x18,
};

/**
 * Finds the denort to embed for `target`: DENORT_BIN, then Deno's own download, then the one in
 * an npm package, restored, checked and cached. Takes up to 30 s if Deno's host is silent, and
 * as long as the download if there is one.
 *
 * @throws {NoDenortError} none of them works.
 * @throws {UserError} DENORT_BIN is set but names no file.
 */
export async function findDenort(target: string = Deno.build.target): Promise<Denort> {
  const named = Deno.env.get("DENORT_BIN");
  if (named !== undefined) {
    if (!await isFile(named)) {
      throw new UserError(
        `DENORT_BIN names "${named}", which is not a file: unset it, or name a denort`,
      );
    }
    return { path: resolve(named), origin: `DENORT_BIN (${named})`, version: undefined };
  }
  const failures: string[] = [];
  try {
    await downloadOwnDenort(target);
    const version = Deno.version.deno;
    return { path: undefined, origin: `Deno's own download (${version})`, version };
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    failures.push(oneLine(error.message));
  }
  try {
    const path = await denortFromNpm(target);
    const origin = `${npm.denort} out of npm's ${npm.package} ${npm.version}, ` +
      `SHA-256 checked (Deno's own download failed)`;
    return { path, origin, version: npm.denort };
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    failures.push(oneLine(error.message));
  }
  throw new NoDenortError(
    `No denort, the runtime that \`deno compile\` embeds, can be had for ${target}:\n` +
      failures.map((failure) => `- ${failure}\n`).join("") +
      `Compile once where Deno's download host${target === npm.target ? " or npm" : ""} ` +
      `can be reached (the download is kept), ` +
      `or set DENORT_BIN to a denort ${Deno.version.deno} for ${target}`,
  );
}

/**
 * Throws unless `bytes` have the SHA-256 `expected` (lower-case hex); `name` says in the error
 * what they are. 0.15 s for 100 MB.
 *
 * @throws {UserError} they have another.
 */
export async function requireSha256(
  bytes: Uint8Array<ArrayBuffer>,
  { expected, name }: { expected: string; name: string },
): Promise<void> {
  const actual = await sha256(bytes);
  if (actual === expected) return;
  throw new UserError(`${name} must have the SHA-256 ${expected}, has ${actual}: not used`);
}

/** Sees to it that `deno compile` finds its denort in DENO_DIR, downloading it if it can. */
async function downloadOwnDenort(target: string): Promise<void> {
  const archive = `release/v${Deno.version.deno}/denort-${target}.zip`;
  const info = await runDeno(["info", "--json"], {
    purpose: "ask Deno for its folders",
    cwd: project,
  });
  const { denoDir }: { denoDir: string } = JSON.parse(info);
  if (await isFile(join(denoDir, "dl", archive))) return;
  const folder = await makeCacheFolder();
  try {
    await Deno.writeTextFile(join(folder, "empty.ts"), "");
    const args = ["compile", "--quiet", "--no-config", "--no-lock", "--no-check"];
    args.push("--target", target, "--output", join(folder, "empty"), "empty.ts");
    const purpose = "download Deno's own denort";
    await withProgress(
      "downloading denort",
      () => runDeno(args, { purpose, cwd: folder, limitMs: ownDownloadLimitMs }),
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** The cached denort from npm, fetched and restored if the cache has none with its SHA-256. */
async function denortFromNpm(target: string): Promise<string> {
  if (target !== npm.target) {
    throw new UserError(`npm has a denort for ${npm.target} only`);
  }
  const cached = join(cacheFolder, `denort-${npm.denort}`);
  if (await isFile(cached) && await sha256(await Deno.readFile(cached)) === npm.strippedSha256) {
    return cached;
  }
  const folder = await makeCacheFolder();
  try {
    const file = await withProgress("downloading denort from npm", () => fetchFromNpm(folder));
    const denort = restoreDenort(await Deno.readFile(file));
    const name = `denort ${npm.denort} out of npm's ${npm.package} ${npm.version}`;
    await requireSha256(denort, { expected: npm.sha256, name });
    const stripped = withoutSymbols(denort);
    await requireSha256(stripped, { expected: npm.strippedSha256, name: `${name}, stripped,` });
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
  args.push(`npm:${npm.package}@${npm.version}`);
  const purpose = `fetch npm's ${npm.package}`;
  await runDeno(args, { purpose, cwd: folder, limitMs: npmDownloadLimitMs });
  return join(folder, "node_modules", npm.package, npm.program);
}

/** Undoes what `deno compile` did to denort. A wrong file gives a wrong result, not an error. */
function restoreDenort(program: Uint8Array): Uint8Array<ArrayBuffer> {
  const denort = new Uint8Array(npm.bytes);
  denort.set(program.subarray(0, npm.bytes));
  const header = new DataView(denort.buffer);
  header.setBigUint64(elf.phoff, BigInt(npm.programHeaders.offset), true);
  header.setUint16(elf.phnum, npm.programHeaders.count, true);
  header.setBigUint64(elf.shoff, BigInt(npm.sectionHeaders.offset), true);
  header.setUint16(elf.shnum, npm.sectionHeaders.count, true);
  return denort;
}

/**
 * What binutils' `strip` does, which not every machine has and whose versions differ: cuts the
 * symbols out and makes their section headers empty ones, so that no section's number changes.
 */
function withoutSymbols(denort: Uint8Array): Uint8Array<ArrayBuffer> {
  const { start, end, sections, nextSection } = npm.symbols;
  const cut = end - start;
  const stripped = new Uint8Array(denort.length - cut);
  stripped.set(denort.subarray(0, start));
  stripped.set(denort.subarray(end), start);
  const view = new DataView(stripped.buffer);
  const headers = npm.sectionHeaders.offset - cut;
  view.setBigUint64(elf.shoff, BigInt(headers), true);
  for (const section of sections) {
    const at = headers + section * elf.sectionBytes;
    stripped.fill(0, at, at + elf.sectionBytes);
  }
  const next = headers + nextSection * elf.sectionBytes + elf.shOffset;
  view.setBigUint64(next, view.getBigUint64(next, true) - BigInt(cut), true);
  return stripped;
}

/** Deno's messages have several lines; a list of causes has one for each. */
function oneLine(message: string): string {
  return message.replaceAll(/\s+/g, " ");
}

async function makeCacheFolder(): Promise<string> {
  await makeFolder(cacheFolder);
  return await Deno.makeTempDir({ dir: cacheFolder, prefix: "denort-" });
}

/**
 * Makes a folder, and those above it.
 *
 * @throws {UserError} it cannot be made.
 */
export async function makeFolder(path: string): Promise<void> {
  try {
    await Deno.mkdir(path, { recursive: true });
  } catch (error) {
    // Whatever the system objects to is the user's to mend: a file in the way, no right, no room.
    if (!(error instanceof Error)) throw error;
    throw new UserError(`Cannot make the folder ${path}: ${error.message}`);
  }
}

/** The SHA-256 of bytes, in lower-case hex. */
export async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}

/** Runs this Deno to its end and returns its standard output; its messages are plain text. */
export function runDeno(
  args: readonly string[],
  options: Omit<CommandOptions, "args" | "input">,
): Promise<string> {
  const env = { NO_COLOR: "1", RUST_BACKTRACE: "0", ...options.env };
  return runCommand(Deno.execPath(), { ...options, args, env });
}

/** Shows a label while something goes on, on a terminal only. */
export async function withProgress<T>(label: string, work: () => Promise<T>): Promise<T> {
  const progress = new Progress();
  progress.show(`${label} ...`);
  try {
    return await work();
  } finally {
    progress.end();
  }
}
