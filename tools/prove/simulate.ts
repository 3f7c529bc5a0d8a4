/**
 * Runs simulated schedules of the server, and shows the shortest one that fails.
 *
 * @module
 */

import { exitCode } from "../../lib/cli/arguments.ts";
import { wholeOption } from "../../tests/lab/options.ts";
import { Progress } from "../../tests/lab/progress.ts";
import { simulate } from "../../tests/lab/simulation/search.ts";
import { runTool } from "../tool.ts";

const help = `Usage: deno task prove simulate [options]

Runs the server under random schedules, against a simple model.

Options:
  --seed <n>       seed of the first schedule; the next ones count up (1)
  --schedules <n>  how many schedules to run (10000)
  -h, --help       print this help
  -V, --version    print the version

Exit codes: 0 all schedules held, 1 one did not, 2 wrong arguments`;

const options = ["seed", "schedules"];

if (import.meta.main) {
  await runTool({ program: "deno task prove simulate", help, options }, async (args) => {
    const seed = wholeOption(args, "seed", { standard: 1 });
    const schedules = wholeOption(args, "schedules", { standard: 10_000, least: 1 });
    const line = new Progress();
    const startMs = performance.now();
    const progress = (done: number) => line.show(`${done} of ${schedules} schedules`);
    const fault = await simulate({ seed, schedules, progress });
    line.end();
    if (fault !== undefined) {
      console.log(fault);
      return exitCode.failed;
    }
    const rate = Math.round(1000 * schedules / (performance.now() - startMs));
    console.log(`${schedules} schedules from seed ${seed} held: ${rate} schedules/s`);
    return exitCode.ok;
  });
}
