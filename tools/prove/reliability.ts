/**
 * Measures what faults cost a server, and prints the table of docs/reliability.md.
 *
 * @module
 */

import { quote } from "../../lib/quote.ts";
import { UserError } from "../../lib/user_error.ts";
import { denoRunWithFiles, executables, type Launcher } from "../../tests/lab/processes.ts";
import { fuzz } from "../../tests/lab/load/line_fuzzer.ts";
import { ensureExecutables } from "../build/compile.ts";
import {
  comeAndGo,
  floods,
  hardFileLimit,
  idleConnections,
  longLines,
  manyFiles,
  slowPeers,
  strangers,
  type StrangersCost,
  waitingConsumers,
  type Waits,
} from "../../tests/lab/load/scenarios.ts";
import { watchedQueue } from "../../tests/lab/load/watched_queue.ts";
import { Random } from "../../tests/lab/random.ts";
import { simulate } from "../../tests/lab/simulation/search.ts";
import { runTool } from "../tool.ts";

const help = `Usage: deno task prove reliability [options]

Measures memory, waiting and descriptors of a server under faults, and the speed of simulation and
fuzzer; takes about 6 minutes.

Options:
  --executable   measure the executable in place of deno run
  --only <text>  measure only the rows with this text in their names
  -h, --help     print this help
  -V, --version  print the version

Exit codes: 0 measured, 1 failed, 2 wrong arguments`;

/** What is measured, and how; each gives the row's figure. */
const figures: readonly (readonly [string, (launcher: Launcher) => Promise<string>])[] = [
  ["a line of 1 GiB and 20 of 100 MB at once", async (launcher) => {
    const { rss } = await longLines(launcher);
    return `RSS ${megabytes(rss)} at most`;
  }],
  ["100 connections that pipeline REQUESTs, read nothing, 60 s", async (launcher) => {
    const { rss, polite } = await floods(launcher, { connections: 100, seconds: 60 });
    return `RSS ${megabytes(rss)} at most; polite client ${waits(polite)}`;
  }],
  ["4 such floods, 5 s", async (launcher) => {
    const { rss, polite } = await floods(launcher, { connections: 4, seconds: 5 });
    return `RSS ${megabytes(rss)} at most; polite client ${waits(polite)}`;
  }],
  ["1,000 peers that send or read a byte a second, 10 s", async (launcher) => {
    const { rss, polite } = await slowPeers(launcher, { connections: 1000, seconds: 10 });
    return `RSS ${megabytes(rss)} at most; polite client ${waits(polite)}`;
  }],
  ["10,000 idle connections", async (launcher) => {
    if (await hardFileLimit() < manyFiles) return `not measured: ulimit -Hn is below ${manyFiles}`;
    const { rss, rssWithout } = await idleConnections(launcher, 10_000);
    return `RSS ${megabytes(rss)}; ${megabytes(rssWithout)} without them`;
  }],
  ["10,000 consumers that wait in RESERVE 60, then 1,000 tasks per second, 25 s each", async (
    launcher,
  ) => {
    if (await hardFileLimit() < manyFiles) return `not measured: ulimit -Hn is below ${manyFiles}`;
    const load = { consumers: 10_000, seconds: 25, perSecond: 1000 };
    const { idlePercent, handOuts } = await waitingConsumers(launcher, load);
    return `${idlePercent.toFixed(2)} % of a core; CREATE to ASSIGN ${waits(handOuts)}`;
  }],
  [
    "with `--http`: 1,000,000 tasks, 1,000 consumers at work, 32 viewers, searches one after the other, 20 s",
    async (
      launcher,
    ) => {
      if (await hardFileLimit() < manyFiles) {
        return `not measured: ulimit -Hn is below ${manyFiles}`;
      }
      const load = { tasks: 1_000_000, consumers: 1000, viewers: 32, seconds: 20 };
      const { searches, polite, politeBefore, rss, rssWithout } = await watchedQueue(
        launcher,
        load,
      );
      return `search ${waits(searches)}; polite client ${waits(polite)}, ` +
        `without searches ${waits(politeBefore)}; ` +
        `RSS ${megabytes(rss)} at most, ${megabytes(rssWithout)} before`;
    },
  ],
  ["100,000 connects and disconnects, after 50,000", async (launcher) => {
    const { rss, files, seconds } = await comeAndGo(launcher, 100_000);
    return `RSS ${megabytes(rss[0])} before, ${megabytes(rss[1])} after; descriptors ${files[0]} ` +
      `and ${files[1]}; ${Math.round(100_000 / seconds)} a second`;
  }],
  ["with TLS: 1,000 connections that never finish their handshake", async (launcher) => {
    return costOf(await strangers(launcher, { kind: "handshakes", connections: 1000 }));
  }],
  ["with a token: 1,000 connections that never say it", async (launcher) => {
    return costOf(await strangers(launcher, { kind: "silence", connections: 1000 }));
  }],
  ["with a token: 100,000 guesses from one address, 50 at a time", async (launcher) => {
    const cost = await strangers(launcher, { kind: "guesses", connections: 100_000 });
    return `${costOf(cost)}; ${Math.round(100_000 / cost.seconds)} a second`;
  }],
  ["simulation of the server, 10,000 schedules", async () => {
    const startMs = performance.now();
    const fault = await simulate({ seed: 1, schedules: 10_000 });
    if (fault !== undefined) throw new Error(fault);
    const seconds = (performance.now() - startMs) / 1000;
    return `${Math.round(10_000 / seconds)} schedules per second`;
  }],
  ["fuzzer of codec and framing, 200,000 lines", async () => {
    const startMs = performance.now();
    await fuzz(new Random(1), 200_000);
    const seconds = (performance.now() - startMs) / 1000;
    return `${Math.round(200_000 / seconds)} lines a second`;
  }],
];

function megabytes(bytes: number): string {
  return `${Math.round(bytes / 1_000_000)} MB`;
}

function waits({ p50Ms, p99Ms }: Waits): string {
  return `p50 ${p50Ms.toFixed(1)} ms, p99 ${p99Ms.toFixed(1)} ms`;
}

function costOf({ rss, files, polite }: StrangersCost): string {
  return `polite client ${waits(polite)}; RSS ${megabytes(rss)} at most; descriptors ${files[0]} ` +
    `before, ${files[1]} after`;
}

async function chooseLauncher(isExecutable: boolean): Promise<Launcher> {
  if (!isExecutable) return denoRunWithFiles;
  const made = await ensureExecutables();
  if ("missing" in made) throw new UserError(made.missing);
  return executables(made.dir, "/");
}

if (import.meta.main) {
  await runTool(
    { program: "deno task prove reliability", help, flags: ["executable"], options: ["only"] },
    async (args) => {
      const only = args.options.get("only") ?? "";
      const chosen = figures.filter(([what]) => what.includes(only));
      if (chosen.length === 0) throw new UserError(`no row has ${quote(only)} in its name`);
      const launcher = await chooseLauncher(args.flags.has("executable"));
      console.log(`| ${launcher.name} | measured |\n| --- | --- |`);
      for (const [what, measure] of chosen) {
        console.log(`| ${what} | ${await measure(launcher)} |`);
      }
    },
  );
}
