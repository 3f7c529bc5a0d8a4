/**
 * Makes what a release has, from the last commit: executables per system, a Debian package, the npm
 * tarball of the client library, a bill of materials, and the SHA-256 of all.
 *
 * The same commit gives the same bytes. To that end nothing is made in the project's folder: the
 * commit's files and the npm packages are laid into a new one, and have the commit's time, because
 * `deno compile` embeds times.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { basename, join, resolve } from "node:path";
import { UsageError, UserError } from "../../lib/user_error.ts";
import { ScratchFolder } from "../../tests/lab/processes.ts";
import { requireCommands, runCommand, runTool } from "../tool.ts";
import { billOfMaterials, type EmbeddedDenort, type NpmPackage } from "./bill_of_materials.ts";
import { executableName, programs, targets } from "./compile.ts";
import {
  installedName,
  type Maintainer,
  maintainerIn,
  makeDebianPackage,
  packageName,
  serviceFiles,
} from "./debian_package.ts";
import {
  type Denort,
  findDenort,
  makeFolder,
  NoDenortError,
  runDeno,
  sha256,
  withProgress,
} from "./denort.ts";
import { manPage } from "./man_page.ts";

const project = fileURLToPath(new URL("../../", import.meta.url));

/** Debian's names of the systems that it has. */
const architectures: Readonly<Record<string, string>> = {
  "x86_64-unknown-linux-gnu": "amd64",
  "aarch64-unknown-linux-gnu": "arm64",
};

/** Compiling four programs, or packing them, takes half a minute; on a busy machine longer. */
const stepLimitMs = 900_000;

/**
 * xz with little effort, but a window that reaches back over one executable: the four have the same
 * denort, which is then packed once. 28 MB and 25 s; with gzip it is 134 MB. One thread, since
 * the bytes depend on how many there are.
 */
const packer = "xz -T1 --lzma2=preset=0,dict=96MiB";

/** Where a release is made, and of what. */
interface Workshop {
  /** The folder of everything that is made on the way. */
  readonly work: string;
  /** The commit's files. */
  readonly source: string;
  /** The environment of each Deno: a DENO_DIR of its own. */
  readonly env: Readonly<Record<string, string>>;
  /** The commit, in hex. */
  readonly commit: string;
  /** The commit's time. */
  readonly date: Date;
  /** The project's version. */
  readonly version: string;
  /** The SPDX id of the project's licence. */
  readonly license: string;
  /** Who answers for the Debian package. */
  readonly maintainer: Maintainer;
}

/** Lays out the commit's files and the npm packages that the programs need. */
async function openWorkshop(work: string): Promise<Workshop> {
  const git = (...args: string[]) => runCommand("git", { args, cwd: project });
  const [commit = "", seconds] = (await git("log", "-1", "--format=%H %ct")).trim().split(" ");
  const date = new Date(Number(seconds) * 1000);
  const source = join(work, packageName);
  await makeFolder(source);
  const archive = join(work, "commit.tar");
  await git("archive", "--output", archive, commit);
  await runCommand("tar", { args: ["-xf", archive, "-C", source] });
  const { version, license } = JSON.parse(await Deno.readTextFile(join(source, "deno.json")));
  const maintainer = maintainerIn(await Deno.readTextFile(join(source, "MAINTAINERS")));

  const env = { DENO_DIR: join(work, "deno"), DENO_NO_UPDATE_CHECK: "1" };
  await makeFolder(env.DENO_DIR);
  // What Deno has downloaded of denort serves here, too.
  const { denoDir } = JSON.parse(await runDeno(["info", "--json"], { cwd: project }));
  await Deno.symlink(join(denoDir, "dl"), join(env.DENO_DIR, "dl"));
  const scripts = programs.map((program) => `${program}.ts`);
  await runDeno(["cache", "--quiet", ...scripts], {
    ...{ cwd: source, env, limitMs: stepLimitMs, purpose: "fetch Deno std" },
  });
  await setTimes(join(env.DENO_DIR, "npm"), date);
  return { work, source, env, commit, date, version, license, maintainer };
}

async function setTimes(folder: string, date: Date): Promise<void> {
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    const path = join(folder, name);
    if (isDirectory) await setTimes(path, date);
    await Deno.utime(path, date, date);
  }
}

/** Compiles the commit's programs; their paths, by program. */
async function compile(
  { source, work, env }: Workshop,
  target: string,
  denort: Denort,
): Promise<Map<string, string>> {
  const output = join(work, target);
  const embedded = denort.path === undefined ? {} : { DENORT_BIN: denort.path };
  const args = ["run", "--quiet", "--allow-read", "--allow-write", "--allow-run", "--allow-env"];
  args.push("tools/build/compile.ts", "--target", target, "--output", output);
  await withProgress(`compiling for ${target}`, () =>
    runDeno(args, {
      ...{ cwd: source, env: { ...env, ...embedded }, limitMs: stepLimitMs },
      purpose: `compile for ${target}`,
    }));
  return new Map(
    programs.map((program) => [program, join(output, executableName(program, target))]),
  );
}

/** The man pages by their file names, each out of what the commit's program says. */
async function makeManPages({ source, env, version, date }: Workshop) {
  const pages = new Map<string, string>();
  const seeAlso = programs.map(installedName);
  for (const program of programs) {
    const help = await runDeno(["run", "--no-prompt", `${program}.ts`, "--help"], {
      ...{ cwd: source, env },
    });
    const installedAs = installedName(program);
    const page = manPage(help, { program, installedAs, version, date, seeAlso });
    pages.set(`${installedAs}.1`, page);
  }
  return pages;
}

/** Packs executables as README names them, man pages and what a service needs. */
async function packExecutables(
  { work, source, date, version }: Workshop,
  { files, manPages, target, output }: {
    readonly files: ReadonlyMap<string, string>;
    readonly manPages: ReadonlyMap<string, string>;
    readonly target: string;
    readonly output: string;
  },
): Promise<void> {
  const name = `${packageName}-${version}-${target}`;
  const folder = join(work, "archives", name);
  await makeFolder(join(folder, "man"));
  for (const path of files.values()) {
    await Deno.rename(path, join(folder, basename(path)));
    await Deno.chmod(join(folder, basename(path)), 0o755);
  }
  for (const [page, text] of manPages) await Deno.writeTextFile(join(folder, "man", page), text);
  await makeFolder(join(folder, "contrib"));
  const services = [...serviceFiles.map((file) => `contrib/${file}`), "LICENSE"];
  for (const file of services) await Deno.copyFile(join(source, file), join(folder, file));
  const args = ["--create", "--sort=name", "--format=ustar", "--mode=u+rw,go=rX"];
  args.push("--owner=0", "--group=0", "--numeric-owner", `--mtime=@${date.getTime() / 1000}`);
  args.push(`--use-compress-program=${packer}`, "--directory", join(work, "archives"));
  args.push("--file", join(output, `${name}.tar.xz`), name);
  await withProgress(
    `packing for ${target}`,
    () => runCommand("tar", { args, limitMs: stepLimitMs, purpose: `pack for ${target}` }),
  );
}

/** The client library as npm takes it. */
async function packLibrary({ source, env, version }: Workshop, output: string): Promise<void> {
  const file = join(output, `${packageName}-client-${version}.tgz`);
  // A source map would name the folder that the release is made in.
  const args = ["pack", "--quiet", "--allow-dirty", "--no-source-maps", "--output", file];
  const purpose = "pack the client library";
  await runDeno(args, { cwd: source, env, limitMs: stepLimitMs, purpose });
}

/** The npm packages that the programs reach, with what deno.lock and they themselves say. */
async function packagesOf({ source, env }: Workshop): Promise<NpmPackage[]> {
  const lock = JSON.parse(await Deno.readTextFile(join(source, "deno.lock")));
  const { npmCache } = JSON.parse(await runDeno(["info", "--json"], { cwd: source, env }));
  const ids = new Set<string>();
  for (const program of programs) {
    const graph: ModuleGraph = JSON.parse(
      await runDeno(["info", "--json", `${program}.ts`], { cwd: source, env }),
    );
    for (const { npmPackage } of graph.modules) if (npmPackage !== undefined) ids.add(npmPackage);
    // A set hands out what is added to it meanwhile, too.
    for (const id of ids) {
      for (const next of graph.npmPackages[id]?.dependencies ?? []) ids.add(next);
    }
  }
  return await Promise.all(
    [...ids].sort().map(async (id) => {
      const [name, version] = splitId(id);
      const license = await licenseOf(npmCache, join(name, version));
      return { name, version, license, integrity: lock.npm[id].integrity };
    }),
  );
}

/** What `deno info --json` says of npm packages; the whole lock file's are among `npmPackages`. */
interface ModuleGraph {
  readonly modules: readonly { readonly npmPackage?: string }[];
  readonly npmPackages: Readonly<Record<string, { readonly dependencies: readonly string[] }>>;
}

/** The name, which may begin with an @, and the version. */
function splitId(id: string): [name: string, version: string] {
  const at = id.indexOf("@", 1);
  return [id.slice(0, at), id.slice(at + 1)];
}

/** The licence that a package names; Deno keeps packages by registry. */
async function licenseOf(npmCache: string, folder: string): Promise<string> {
  for await (const { name: registry } of Deno.readDir(npmCache)) {
    try {
      const path = join(npmCache, registry, folder, "package.json");
      return JSON.parse(await Deno.readTextFile(path)).license;
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  throw new UserError(`Cannot tell the licence of ${folder}: it is not in ${npmCache}`);
}

/** The denort of each target that has one; says which have none. */
async function findDenorts(wanted: readonly string[]): Promise<Map<string, Denort>> {
  const found = new Map<string, Denort>();
  for (const target of wanted) {
    try {
      found.set(target, await findDenort(target));
    } catch (error) {
      if (!(error instanceof NoDenortError)) throw error;
      console.error(`left out: ${target}: no denort for it can be had`);
    }
  }
  if (found.size > 0) return found;
  throw new UserError("No executable can be made: deno task compile says why");
}

async function describe(denorts: ReadonlyMap<string, Denort>): Promise<EmbeddedDenort[]> {
  return await Promise.all([...denorts].map(async ([target, { path, origin, version }]) => ({
    target,
    version,
    origin,
    sha256: path === undefined ? undefined : await sha256(await Deno.readFile(path)),
  })));
}

/** Writes SHA256SUMS, which `sha256sum --check` reads, and says what there is. */
async function sumUp(output: string): Promise<void> {
  const names = (await Array.fromAsync(Deno.readDir(output))).map(({ name }) => name).sort();
  const sums: string[] = [];
  for (const name of names) {
    const bytes = await Deno.readFile(join(output, name));
    sums.push(`${await sha256(bytes)}  ${name}\n`);
    console.log(`made: ${name} (${(bytes.length / 1e6).toFixed(1)} MB)`);
  }
  await Deno.writeTextFile(join(output, "SHA256SUMS"), sums.join(""));
  console.log(`made: SHA256SUMS, in ${output}`);
}

/** Makes a release in a folder that is not there or empty. */
async function makeRelease(output: string, wanted: readonly string[]): Promise<void> {
  await requireCommands(["git", "tar", "xz", "dpkg-deb"]);
  await requireEmpty(output);
  const denorts = await findDenorts(wanted);
  await using scratch = new ScratchFolder("release-");
  const workshop = await openWorkshop(scratch.path);
  const { source, version, date, commit, license, work, maintainer } = workshop;
  if (!maintainer.canBeReached) {
    console.error(`Nobody can write to ${maintainer.line}: MAINTAINERS says how to change that`);
  }
  const manPages = await makeManPages(workshop);
  for (const [target, denort] of denorts) {
    const files = await compile(workshop, target, denort);
    const architecture = architectures[target];
    if (architecture !== undefined) {
      const deb = join(output, `${packageName}_${version}_${architecture}.deb`);
      await withProgress(`packing for ${architecture}`, () =>
        makeDebianPackage(files, {
          ...{ source, manPages, version, architecture, date, output: deb },
          maintainer: maintainer.line,
          work: join(work, `debian-${architecture}`),
        }));
    }
    await packExecutables(workshop, { files, manPages, target, output });
  }
  await packLibrary(workshop, output);
  const bill = billOfMaterials({
    ...{ name: packageName, version, license, commit, date, deno: Deno.version.deno },
    packages: await packagesOf(workshop),
    denorts: await describe(denorts),
  });
  await Deno.writeTextFile(join(output, `${packageName}-${version}.cdx.json`), bill);
  await sumUp(output);
}

async function requireEmpty(folder: string): Promise<void> {
  await makeFolder(folder);
  const [entry] = await Array.fromAsync(Deno.readDir(folder));
  if (entry === undefined) return;
  throw new UserError(`${folder} must be empty, has ${entry.name}: remove it, or use --output`);
}

/** Reads `--targets`. */
function parseTargets(text: string | undefined): readonly string[] {
  if (text === undefined) {
    if (Deno.env.get("DENORT_BIN") === undefined) return targets;
    throw new UsageError("DENORT_BIN names the denort of one system: say which, by --targets");
  }
  const wanted = text.split(",");
  const unknown = wanted.find((name) => !targets.some((known) => known === name));
  if (unknown === undefined) return wanted;
  throw new UsageError(`--targets must be of ${targets.join(", ")}, got "${unknown}"`);
}

const help = `Usage: deno task release [--targets LIST] [--output DIR]

Makes what a release has, from the last commit; what is not committed is left out. Made again, from
the same commit by the same Deno, it is the same to the byte.

Options:
  --targets LIST  the systems, separated by commas (all for which denort can be had):
                  ${targets.join("\n                  ")}
  --output DIR    where the files go, an empty folder: release in the project's if left out
  -h, --help      print this help
  -V, --version   print the version

Exit codes: 0 made, 1 failed, 2 wrong arguments`;

if (import.meta.main) {
  await runTool(
    { program: "deno task release", help, options: ["targets", "output"] },
    async ({ options }) => {
      const output = resolve(options.get("output") ?? join(project, "release"));
      await makeRelease(output, parseTargets(options.get("targets")));
    },
  );
}
