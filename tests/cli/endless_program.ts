/**
 * A program that ends in an unusual way, for tests of runProgram(). Its argument says how:
 * `never` goes on after it was told to stop, `slowly` takes a second to end, `by reason` throws the
 * signal's reason, `loudly` has both outputs gather lines at its end.
 *
 * @module
 */

import { sleep, untilAborted } from "../../lib/clock.ts";
import { runProgram } from "../../lib/cli/program.ts";

const never = new Promise<never>(() => {});

await runProgram({
  program: "endless",
  help: "Usage: endless <how>",
  positionals: { least: 1, most: 1 },
}, async ({ args, log, errors, stopped }) => {
  const [how] = args.positionals;
  if (how === "loudly") {
    for (const output of [errors, log]) output?.write("first");
    // The first lines are written; those of the next 20 ms are gathered.
    await sleep(5);
    for (const output of [errors, log]) output?.write("last");
    return 0;
  }
  // A process lives as long as something may happen.
  setInterval(() => {}, 1000);
  log?.write("ready");
  await untilAborted(never, stopped);
  log?.write("stopped");
  if (how === "never") await never;
  if (how === "slowly") await sleep(1000);
  if (how === "by reason") throw stopped.reason;
  return 0;
});
