/**
 * Kills the primary of a cluster under load, again and again, and checks what comes back.
 *
 * @module
 */

import { median, runBench } from "../../bench/field/report.ts";
import { UserError } from "../../lib/user_error.ts";
import { wholeOption } from "../../tests/lab/options.ts";
import { Progress } from "../../tests/lab/progress.ts";
import { killRounds } from "../lab/kill_rounds.ts";

const program = "deno task prove cluster";

const help = `Usage: ${program} [options]

Kills the primary of three PostgreSQL nodes at random moments while 32 clients are busy at each of
two fronts, promotes the standby that has most, and fails on any confirmed task that is lost, comes
back or is out of order, and on NOTASK while tasks wait. Needs PostgreSQL.

Options:
  --kills <n>    how many kills (50)
  --seed <n>     seed of the random choices (drawn from the clock)
  -h, --help     print this help
  -V, --version  print the version

Exit codes: 0 all held, 1 something did not, 2 wrong arguments`;

if (import.meta.main) {
  await runBench({ program, help, options: ["kills", "seed"] }, async (args) => {
    const rounds = wholeOption(args, "kills", { standard: 50, least: 1 });
    const seed = wholeOption(args, "seed", { standard: 1 + Date.now() % 1e9 });
    console.log(`seed ${seed}`);
    const progress = new Progress(rounds);
    const report = await killRounds({ rounds, seed, onRound: () => progress.step("kills") })
      .catch((error) => {
        throw new UserError(error.message);
      });
    progress.end();
    const { confirmed, handedOut, left, silencesMs } = report;
    const seconds = (ms: number) => `${(ms / 1000).toFixed(2)} s`;
    console.log(
      `${rounds} kills: ${confirmed} tasks confirmed, ${handedOut} handed out, ${left} left at the ` +
        "checks; 0 lost, 0 twice, in order, no wrong NOTASK; nothing was answered for " +
        `${seconds(median(silencesMs))} after a kill (median), ` +
        `${seconds(Math.max(...silencesMs))} at most`,
    );
  });
}
