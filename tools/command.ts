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
  pdfdetach: "poppler-utils",
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
      const [ended] = await Promise.all([child.output(), feed(child.stdin, options.input)]);
      output = ended;
    } else output = await child.output();
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

/**
 * Checks that some installed font has each character of a text: without one, boxes are printed.
 *
 * @throws {ToolError} that names the characters, and a package that has the world's scripts.
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
  throw new ToolError(
    `No installed font has ${missing.join(" ")}\n  apt-get install fonts-noto-cjk, or unifont`,
  );
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
