/**
 * The runtimes that the client library promises, and the package as it is installed for them.
 *
 * @module
 */

import { projectFolder } from "./processes.ts";

/** The name of the package. */
export const packageName = "@priority-task-queue/priority-task-queue";

/** The first words of a command line, and why it cannot be had, if so. */
export interface Runtime {
  /** What tests call it. */
  readonly name: string;
  /** The program and its first arguments. */
  readonly words: readonly string[];
  /** Why it cannot be run here; undefined if it can. */
  readonly missing: string | undefined;
}

/** How long a package may take to be fetched, in milliseconds. */
const fetchLimitMs = 120_000;

/** Runs a command; its output and exit code. A program that is not there ends with 127. */
export async function run(
  [file = "", ...args]: readonly string[],
  cwd: string = projectFolder,
): Promise<{ code: number; output: string }> {
  try {
    const { code, stdout, stderr } = await new Deno.Command(file, {
      args,
      cwd,
      env: { NO_COLOR: "1" },
      stdin: "null",
      signal: AbortSignal.timeout(fetchLimitMs),
    }).output();
    const decoder = new TextDecoder();
    return { code, output: decoder.decode(stdout) + decoder.decode(stderr) };
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return { code: 127, output: `${file} is not installed` };
  }
}

/** A program of npm: the one that is installed if it is new enough, else as npx fetches it. */
export async function findRuntime(
  name: string,
  npm: { readonly spec: string; readonly accepts: RegExp },
): Promise<Runtime> {
  const tried: string[] = [];
  for (const words of [[name], ["npx", "--yes", "--package", npm.spec, "--", name]]) {
    const { code, output } = await run([...words, "--version"]);
    if (code === 0 && npm.accepts.test(output)) return { name, words, missing: undefined };
    tried.push(`${words[0]}: ${output.trim().split("\n")[0]}`);
  }
  return { name, words: [], missing: `no ${name} to be had: ${tried.join("; ")}` };
}

/** Node 22 or newer. */
export function findNode(): Promise<Runtime> {
  return findRuntime("node", { spec: "node@22", accepts: /^v(?:2[2-9]|[3-9]\d)\./m });
}

/** Bun. */
export function findBun(): Promise<Runtime> {
  return findRuntime("bun", { spec: "bun@1", accepts: /^1\./m });
}

/** The compiler of TypeScript for npm's users. */
export function findTsc(): Promise<Runtime> {
  return findRuntime("tsc", { spec: "typescript@5", accepts: /Version [5-9]/ });
}

/** Packs the package, and installs it with npm into an empty folder. */
export async function installPackage(folder: string): Promise<void> {
  const tarball = `${folder}/package.tgz`;
  const pack = [Deno.execPath(), "pack", "--allow-dirty", "--output", tarball];
  await Deno.writeTextFile(`${folder}/package.json`, '{ "private": true, "type": "module" }\n');
  for (const words of [pack, ["npm", "install", "--no-audit", "--no-fund", "--offline", tarball]]) {
    const { code, output } = await run(words, words === pack ? projectFolder : folder);
    if (code !== 0) throw new Error(`${words.join(" ")}: ${output}`);
  }
}
