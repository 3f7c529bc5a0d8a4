/**
 * Command lines: arguments, help, version, and what the programs say when they are wrong.
 *
 * @module
 */

import { parseArgs } from "@std/cli/parse-args";
import config from "../../deno.json" with { type: "json" };
import { quote } from "../quote.ts";
import { UsageError } from "../user_error.ts";

/** How a program ends. */
export const exitCode = {
  /** Done, or ended by Ctrl+C where that is the way to end it. */
  ok: 0,
  /** Failed while running. */
  failed: 1,
  /** Wrong arguments, or a task file with errors. */
  usage: 2,
  /** Ended by Ctrl+C before all was done: 128 + SIGINT, as shells report it. */
  interrupted: 130,
} as const;

/** The exit code that an error deserves. */
export function exitCodeOf(error: unknown): number {
  return error instanceof UsageError ? exitCode.usage : exitCode.failed;
}

/** What a program's command line may hold. */
export interface CommandLine {
  /** The program's name. */
  readonly program: string;
  /** The help text: its first line is the usage. */
  readonly help: string;
  /** How many positional arguments there may be. */
  readonly positionals: { readonly least: number; readonly most: number };
  /** Flags without a value. */
  readonly flags?: readonly string[];
  /** Options with a value. */
  readonly options?: readonly string[];
}

/** What a command line held. */
export interface Arguments {
  /** The arguments that are not options, in order. */
  readonly positionals: readonly string[];
  /** The flags that were given. */
  readonly flags: ReadonlySet<string>;
  /** The options that were given, as text. */
  readonly options: ReadonlyMap<string, string>;
}

/**
 * Reads a command line.
 *
 * @returns the arguments, or the text to print on stdout where help or the version is asked for,
 * whatever else is there.
 * @throws {UsageError} it is wrong; the message ends with the usage.
 */
export function parseCommandLine(args: readonly string[], line: CommandLine): Arguments | string {
  const unknown: string[] = [];
  const parsed = parseArgs([...args], {
    boolean: ["help", "version", ...line.flags ?? []],
    string: ["_", ...line.options ?? []],
    alias: { h: "help", V: "version" },
    // parseArgs takes unknown flags silently; without a key it is a positional argument.
    unknown: (arg, key) => {
      if (key !== undefined) unknown.push(arg);
      return key === undefined;
    },
  });
  if (parsed["help"] === true) return line.help;
  if (parsed["version"] === true) return `${line.program} ${version()}`;

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
        : `unknown option ${quote(firstUnknown)}`,
    );
  }
  const valued = args.find((arg) => line.flags?.some((flag) => arg.startsWith(`--${flag}=`)));
  if (valued !== undefined) {
    return refuse(`${valued.split("=")[0]} takes no value, got ${quote(valued)}`);
  }
  const empty = line.options?.find((option) => parsed[option] === "");
  if (empty !== undefined) return refuse(`--${empty} needs a value`);
  const positionals = parsed._.map(String);
  const { least, most } = line.positionals;
  if (positionals.length < least) return refuse("an argument is missing");
  if (positionals.length > most) {
    return refuse(`unexpected argument ${quote(positionals[most] as string)}`);
  }
  return {
    positionals,
    flags: new Set((line.flags ?? []).filter((flag) => parsed[flag] === true)),
    options: new Map(
      (line.options ?? []).flatMap((option) => {
        const value = parsed[option];
        return value === undefined ? [] : [[option, String(value)]];
      }),
    ),
  };
}

/**
 * Reads a port.
 *
 * @param name what to call it in the error.
 * @param options.least the lowest that makes sense: 0, the system's choice, only to listen on.
 * @throws {UsageError} it is none.
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
 * @param range.name what to call it in the error.
 * @throws {UsageError} it is none, or out of range.
 */
export function parseWholeNumber(
  text: string,
  range: { readonly name: string; readonly least: number; readonly most: number },
): number {
  // The grammar first: Number() takes "", "0x10" and "1e3".
  const number = /^\d{1,15}$/.test(text) ? Number(text) : NaN;
  if (number >= range.least && number <= range.most) return number;
  throw new UsageError(
    `${range.name} must be a whole number from ${range.least} to ${range.most}, got ${quote(text)}`,
  );
}

/** The project's version and that of the Deno it runs on. */
export function version(): string {
  return `${config.version} (Deno ${Deno.version.deno})`;
}
