/**
 * Reads command lines: arguments, options, --help and --version, and the errors in them.
 *
 * @module
 */

import { parseArgs } from "@std/cli/parse-args";
import config from "../../deno.json" with { type: "json" };
import { quote } from "../quote.ts";
import { UsageError } from "../user_error.ts";

/** The exit codes of the programs. */
export const exitCode = {
  /** Done, or ended by Ctrl+C if it has no other end, such as a server. */
  ok: 0,
  /** Failed while running. */
  failed: 1,
  /** Wrong arguments, or a task file with errors. */
  usage: 2,
  /** Ended by Ctrl+C before all was done: 128 + SIGINT, as shells report it. */
  interrupted: 130,
} as const;

/** The exit code for an error. */
export function exitCodeOf(error: unknown): number {
  return error instanceof UsageError ? exitCode.usage : exitCode.failed;
}

/** What a program accepts on its command line. */
export interface CommandLine {
  /** The program's name. */
  readonly program: string;
  /** The help text. Its first line is the usage, which errors repeat. */
  readonly help: string;
  /** How many positional arguments there may be. */
  readonly positionals: { readonly least: number; readonly most: number };
  /** Flags without a value. */
  readonly flags?: readonly string[];
  /** Options with a value. */
  readonly options?: readonly string[];
  /** Flags and options that a single letter stands for, by that letter. */
  readonly letters?: Readonly<Record<string, string>>;
  /** What to say to a command line with a command behind `--`, if the program runs none. */
  readonly commandRefusal?: string;
  /** True if the program runs a command, which stands behind `--`. */
  readonly takesCommand?: boolean;
}

/** What the user gave on the command line. */
export interface Arguments {
  /** The arguments that are not options, in order. */
  readonly positionals: readonly string[];
  /** The flags that were given. */
  readonly flags: ReadonlySet<string>;
  /** The values of the options that were given, as text, by option. */
  readonly options: ReadonlyMap<string, string>;
  /** The command behind `--` and its arguments, as they stand; empty if the program takes none. */
  readonly command: readonly string[];
}

/** Most letters that a mistyped option may differ by from the one that is suggested. */
const maxTypos = 2;

/**
 * Reads a command line.
 *
 * @returns the arguments; or, if --help or --version is among them, the text to print on stdout,
 * even if the rest is wrong.
 * @throws {UsageError} if the command line is wrong; the message ends with the usage.
 */
export async function parseCommandLine(
  given: readonly string[],
  line: CommandLine,
): Promise<Arguments | string> {
  const { flags = [], options = [], letters = {}, takesCommand = false } = line;
  const split = takesCommand ? given.indexOf("--") : -1;
  const args = split === -1 ? given : given.slice(0, split);
  const command = split === -1 ? [] : given.slice(split + 1);
  const unknown: string[] = [];
  const parsed = parseArgs([...args], {
    boolean: ["help", "version", ...flags],
    string: ["_", ...options],
    collect: options,
    alias: { h: "help", V: "version", ...letters },
    // parseArgs accepts unknown options silently. It also calls this for positional arguments, then
    // without a key.
    unknown: (arg, key) => {
      if (key !== undefined) unknown.push(arg);
      return key === undefined;
    },
  });
  if (parsed["help"] === true) return line.help;
  if (parsed["version"] === true) return `${line.program} ${version()}`;

  if (line.commandRefusal !== undefined && args.includes("--")) {
    throw new UsageError(`${line.program} ${line.commandRefusal}`);
  }
  const usage = line.help.split("\n", 1)[0] ?? "";
  const refuse = (problem: string): never => {
    const hint = `${usage}\nTry ${line.program} --help.`;
    throw new UsageError(`${line.program}: ${problem}\n${hint}`);
  };
  const [firstUnknown] = unknown;
  if (firstUnknown !== undefined) {
    return refuse(
      /^-\d/.test(firstUnknown)
        ? `a number must not be negative, got ${quote(firstUnknown)}`
        : `unknown option ${quote(firstUnknown)}` +
          await suggest(firstUnknown, ["help", "version", ...flags, ...options]),
    );
  }
  const valued = flags.find((flag) => typeof parsed[flag] !== "boolean") ??
    flags.find((flag) => args.some((arg) => arg.startsWith(`--${flag}=`)));
  if (valued !== undefined) {
    const culprit = args.find((arg) => arg.startsWith(`--${valued}=`));
    return refuse(
      `--${valued} takes no value${culprit === undefined ? "" : `, got ${quote(culprit)}`}`,
    );
  }
  for (const option of options) {
    const values = valuesOf(parsed[option]);
    if (values.length > 1) return refuse(`--${option} was given twice`);
    if (values[0] === "") return refuse(`--${option} needs a value`);
  }
  const positionals = parsed._.map(String);
  const { least, most } = line.positionals;
  if (positionals.length < least) {
    const names = usage.match(/<[^<>]+>/g) ?? [];
    return refuse(`${names[positionals.length] ?? "an argument"} is missing`);
  }
  if (takesCommand && (command[0] ?? "") === "") {
    return refuse("<command> is missing: it stands behind --");
  }
  if (positionals.length > most) {
    return refuse(`unexpected argument ${quote(positionals[most] as string)}`);
  }
  return {
    positionals,
    flags: new Set(flags.filter((flag) => parsed[flag] === true)),
    options: new Map(
      options.flatMap((option) => valuesOf(parsed[option]).map((value) => [option, value])),
    ),
    command,
  };
}

/** The values that parseArgs has collected of an option, as text. */
function valuesOf(collected: unknown): string[] {
  return Array.isArray(collected) ? collected.map(String) : [];
}

/** Says which option may have been meant by an unknown one; nothing if none is like it. */
async function suggest(unknown: string, names: readonly string[]): Promise<string> {
  const given = unknown.replace(/^-+|=.*$/gs, "");
  // Loaded only for mistakes: the programs start sooner without it.
  const { levenshteinDistance } = await import("@std/text/levenshtein-distance");
  const [nearest] = names
    .map((name) => ({ name, typos: levenshteinDistance(given, name) }))
    .filter(({ typos }) => typos <= Math.min(maxTypos, given.length / 2))
    .sort((a, b) => a.typos - b.typos);
  return nearest === undefined ? "" : ` (did you mean --${nearest.name}?)`;
}

/**
 * Reads a port number.
 *
 * @param name what the error calls it.
 * @param options.least the lowest accepted: 0, which lets the system choose, makes sense only for
 * listening.
 * @throws {UsageError} if the text is no such number.
 */
export function parsePort(
  text: string,
  name: string,
  { least = 1 }: { readonly least?: 0 | 1 } = {},
): number {
  return parseWholeNumber(text, { name, least, most: 65535 });
}

/**
 * Reads a whole number.
 *
 * @param range.name what the error calls it.
 * @throws {UsageError} if the text is no whole number, or the number is out of range.
 */
export function parseWholeNumber(
  text: string,
  range: { readonly name: string; readonly least: number; readonly most: number },
): number {
  // The pattern is needed because Number() also accepts "", "0x10" and "1e3".
  const number = /^\d{1,15}$/.test(text) ? Number(text) : NaN;
  if (number >= range.least && number <= range.most) return number;
  throw new UsageError(
    `${range.name} must be a whole number from ${range.least} to ${range.most}, got ${quote(text)}`,
  );
}

/** The version of this project, and of the Deno that runs it. */
export function version(): string {
  return `${config.version} (Deno ${Deno.version.deno})`;
}
