/**
 * What the runs share in telling of themselves.
 *
 * @module
 */

import {
  type Arguments,
  type CommandLine,
  exitCodeOf,
  parseCommandLine,
} from "../../lib/cli/arguments.ts";
import { UserError } from "../../lib/user_error.ts";

/** The median. */
export function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? NaN) + upper) / 2;
}

/**
 * The median of what each round's number is divided by the other one of that round.
 *
 * Medians that are divided compare different rounds, and a machine may be half as fast in some.
 */
export function medianRatio(numbers: readonly number[], others: readonly number[]): number {
  return median(numbers.map((number, round) => number / (others[round] ?? NaN)));
}

/** A table in Markdown; all columns but the first are numbers. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |\n`;
  const rule = line(head.map((_, i) => i === 0 ? "---" : "---:"));
  return line(head) + rule + rows.map(line).join("");
}

/** The processor and the system, in a line. */
export function describeMachine(): string {
  const model = /model name\s*: (.*)/.exec(Deno.readTextFileSync("/proc/cpuinfo"))?.[1];
  return `${model ?? Deno.build.arch}, ${navigator.hardwareConcurrency} cores, ${Deno.build.os} ${
    Deno.osRelease().split("-", 1)[0]
  }`;
}

/** Runs a bench: the work, the help, or one line for a user's mistake. */
export async function runBench(
  line: Omit<CommandLine, "positionals">,
  main: (args: Arguments) => Promise<void>,
): Promise<void> {
  try {
    const args = await parseCommandLine(Deno.args, { ...line, positionals: { least: 0, most: 0 } });
    if (typeof args === "string") console.log(args);
    else await main(args);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    console.error(error.message);
    Deno.exitCode = exitCodeOf(error);
  }
}
