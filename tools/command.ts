/**
 * Programs of other people that the tools use: run to their end, or an error that says how to
 * install them.
 *
 * @module
 */

/** A failure that the user can mend; its message says what failed, and is all there is to say. */
export class ToolError extends Error {
  /** Always the class's name. */
  override readonly name = "ToolError";
}

/** The Debian package of each program. */
const packages: Readonly<Record<string, string>> = {
  bash: "bash",
  dot: "graphviz",
  "fc-list": "fontconfig",
  netstat: "net-tools",
  pandoc: "pandoc",
  strace: "strace",
  tmux: "tmux",
  weasyprint: "weasyprint",
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
  /** What it reads on standard input; nothing where left out. */
  readonly input?: string;
  /** Its folder; the current one where left out. */
  readonly cwd?: string;
  /** Environment variables beside those that are there. */
  readonly env?: Readonly<Record<string, string>>;
  /** How long it may take, in milliseconds: a minute where left out. */
  readonly limitMs?: number;
}

/**
 * Runs a program to its end and returns its standard output.
 *
 * @throws {ToolError} it is not there, fails, or takes too long.
 */
export async function runCommand(name: string, options: CommandOptions = {}): Promise<string> {
  const signal = AbortSignal.timeout(options.limitMs ?? 60_000);
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
    if (options.input !== undefined) {
      const writer = child.stdin.getWriter();
      await writer.write(new TextEncoder().encode(options.input));
      await writer.close();
    }
    output = await child.output();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new ToolError(`Cannot run ${name}: it is not installed${installHint([name])}`);
  }
  const text = new TextDecoder();
  if (output.success) return text.decode(output.stdout);
  const reason = signal.aborted
    ? "it took too long"
    : text.decode(output.stderr).trim() || `exit code ${output.code}`;
  throw new ToolError(`${name} ${options.args?.join(" ") ?? ""}: ${reason}`);
}

/**
 * Checks that programs and the report's fonts are installed, before minutes are spent.
 *
 * @throws {ToolError} that lists all that is missing, and the command that installs it.
 */
export async function requireCommands(names: readonly string[]): Promise<void> {
  const path = (Deno.env.get("PATH") ?? "").split(":");
  const missing: string[] = [];
  for (const name of names) {
    const found = await Promise.all(path.map((folder) => exists(`${folder}/${name}`)));
    if (!found.includes(true)) missing.push(name);
  }
  if (missing.length === 0) return;
  throw new ToolError(`Not installed: ${missing.join(", ")}${installHint(missing)}`);
}

/**
 * Checks that the fonts of the report are installed: others would change where pages break.
 *
 * @throws {ToolError} that lists those that are missing, and the command that installs them.
 */
export async function requireFonts(): Promise<void> {
  const installed = await runCommand("fc-list", { args: ["--format", "%{family}\n"] });
  const missing = Object.keys(fonts).filter((font) => !installed.includes(font));
  if (missing.length === 0) return;
  const needed = missing.map((font) => fonts[font]).join(" ");
  throw new ToolError(`Fonts are missing: ${missing.join(", ")}\n  apt-get install ${needed}`);
}

function installHint(names: readonly string[]): string {
  const needed = names.flatMap((name) => packages[name] ?? []);
  return needed.length === 0
    ? ""
    : `\n  apt-get install --no-install-recommends ${needed.join(" ")}`;
}

async function exists(path: string): Promise<boolean> {
  try {
    return (await Deno.stat(path)).isFile;
  } catch {
    return false; // not there, or not ours to see: either way it cannot be run
  }
}
