/**
 * Kills a server that keeps a store, again and again, and checks what comes back.
 *
 * @module
 */

import { UserError } from "../../lib/user_error.ts";
import { type CrashOptions, crashRounds } from "../../tests/lab/load/crash_rounds.ts";
import { inFlight, type KillOptions, killRounds } from "../../tests/lab/load/kill_rounds.ts";
import { wholeOption } from "../../tests/lab/options.ts";
import { Progress } from "../../tests/lab/progress.ts";
import { runTool } from "../tool.ts";

const help = `Usage: deno task prove crash [options]

Kills a server with a store at random moments under load, starts it again on the same file, and
fails on any confirmed task that is lost, comes back or is out of order. With --work a program on
the client library works on ${inFlight} tasks at a time; fails if a confirmed task is not done, more
than ${inFlight} per kill are handed out again, or a process does not end.

Options:
  --work         one program on the client library, not clients of every kind
  --rounds <n>   how many kills (200)
  --seed <n>     seed of the random choices (drawn from the clock)
  -h, --help     print this help
  -V, --version  print the version

Exit codes: 0 all held, 1 something did not, 2 wrong arguments`;

const options = ["rounds", "seed"];
const flags = ["work"];

if (import.meta.main) {
  await runTool({ program: "deno task prove crash", help, options, flags }, async (args) => {
    const rounds = wholeOption(args, "rounds", { standard: 200, least: 1 });
    const seed = wholeOption(args, "seed", { standard: 1 + Date.now() % 1e9 });
    console.log(`seed ${seed}`);
    const progress = new Progress(rounds);
    const startMs = performance.now();
    const run = args.flags.has("work") ? work : crash;
    const done = await run({ rounds, seed, onRound: () => progress.step("kills") })
      .catch((error) => {
        throw new UserError(error.message);
      });
    progress.end();
    const ms = (performance.now() - startMs) / rounds;
    console.log(`${rounds} kills, ${ms.toFixed(0)} ms each: ${done}`);
  });
}

async function crash(order: CrashOptions): Promise<string> {
  const report = await crashRounds(order);
  return `${report.confirmed} tasks confirmed, ${report.survived} found after a kill, ` +
    `${report.handedOut} handed out, ${report.completed} completed, ` +
    `${report.unanswered} requests unanswered; 0 lost, 0 invented, 0 back`;
}

async function work(order: KillOptions): Promise<string> {
  const { confirmed, repeated, mostPerRound } = await killRounds(order);
  return `${confirmed} tasks confirmed, and all done; ${repeated} handed out again, ` +
    `${mostPerRound} of them per kill at most; every process ended`;
}
