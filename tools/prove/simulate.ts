/**
 * Runs simulated schedules of sessions and queue, and shows the shortest one that fails.
 *
 * @module
 */

import {
  exitCode,
  exitCodeOf,
  parseCommandLine,
  parseWholeNumber,
} from "../../lib/cli/arguments.ts";
import { UserError } from "../../lib/user_error.ts";
import { simulate } from "../../tests/lab/simulation/search.ts";

const help = `Usage: simulate [options]

Runs sessions and queue under random schedules, against a simple model.

Options:
  --seed <n>       seed of the first schedule; the next ones count up (1)
  --schedules <n>  how many schedules to run (10000)
  -h, --help       print this help
  -V, --version    print the version

Exit codes: 0 all schedules held, 1 one did not, 2 wrong arguments`;

async function main(): Promise<number> {
  const args = parseCommandLine(Deno.args, {
    program: "simulate",
    help,
    positionals: { least: 0, most: 0 },
    options: ["seed", "schedules"],
  });
  if (typeof args === "string") {
    console.log(args);
    return exitCode.ok;
  }
  const number = (name: string, standard: number, least: number) =>
    parseWholeNumber(args.options.get(name) ?? String(standard), {
      name: `--${name}`,
      least,
      most: 1_000_000_000,
    });
  const seed = number("seed", 1, 0);
  const schedules = number("schedules", 10_000, 1);
  const startMs = performance.now();
  const progress = (done: number) => show(`${done} of ${schedules} schedules`);
  const fault = await simulate({ seed, schedules, progress });
  show("");
  if (fault !== undefined) {
    console.log(fault);
    return exitCode.failed;
  }
  const seconds = (performance.now() - startMs) / 1000;
  const rate = Math.round(schedules / seconds);
  console.log(`${schedules} schedules from seed ${seed} held: ${rate} schedules/s`);
  return exitCode.ok;
}

function show(progress: string): void {
  if (!Deno.stdout.isTerminal()) return;
  Deno.stdout.writeSync(new TextEncoder().encode(`\r\x1b[K${progress}`));
}

if (import.meta.main) {
  try {
    Deno.exit(await main());
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    console.error(error.message);
    Deno.exit(exitCodeOf(error));
  }
}
