/**
 * How the server's costs grow: with waiting tasks, with connected consumers, and its latency at a
 * steady rate.
 *
 * `deno task prove growth` writes the tables and the numbers. The largest run holds 10,000,000
 * tasks in 2 GB of memory or more.
 *
 * @module
 */

import type { Arguments } from "../../lib/cli/arguments.ts";
import { decimalOption, wholeOption } from "../../tests/lab/options.ts";
import { denoRun, type Launcher, ScratchFolder, startServer } from "../../tests/lab/processes.ts";
import { Progress } from "../../tests/lab/progress.ts";
import {
  contestants,
  executable,
  isPinned,
  LoadProgram,
  type RunningServer,
  startQueue,
} from "./contestants.ts";
import { rssBytes } from "../../tests/lab/proc.ts";
import { describeMachine, median, runBench, table } from "./report.ts";

const help = `Usage: deno task prove growth [options]

Measures what waiting tasks and connected consumers cost, and writes growth.md and growth.json.

Options:
  --tasks <n>      most waiting tasks (10000000)
  --seconds <s>    time for each measurement (3)
  --output <dir>   folder for the files (docs/performance)
  -h, --help       print this help
  -V, --version    print the version

Exit codes: 0 measured, 1 failed, 2 wrong arguments`;

const sizes = [1_000, 100_000, 1_000_000, 10_000_000];
const oneMillion = 1_000_000;
const pollingConsumers = 10_000;
const tasksPerSecond = 1000;
const starts = 20;
/** The ways to start this project's server; an executable that is absent is left out. */
const ways: readonly string[] = ["server", "executable"];
/** Whose memory is measured. */
const memoryContestants: readonly string[] = [...ways, "beanstalkd", "Redis"];

/** A task's cost at one number of waiting tasks. */
interface AtSize {
  readonly waiting: number;
  readonly cpuUs: number;
  readonly p99Us: number;
  readonly rssBytes: number;
}

/** What many consumers cost that each ask once a second. */
interface Polling {
  readonly cpuPercent: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly rssBytes: number;
}

/** A whole run. */
interface Growth {
  readonly machine: string;
  readonly date: string;
  readonly seconds: number;
  readonly sizes: readonly AtSize[];
  /** RSS of a waiting task at a million of them, in bytes, by server. */
  readonly bytesATask: Readonly<Record<string, number>>;
  /** What consumers that find nothing cost, by command. */
  readonly polling: Readonly<Record<string, Polling>>;
  readonly paced: { readonly p50Us: number; readonly p99Us: number };
  /** From the start of the process to its listening line, medians, in milliseconds, by command. */
  readonly startMs: Readonly<Record<string, number>>;
}

class Run {
  readonly #folder: string;
  readonly #seconds: number;
  readonly #progress = new Progress(sizes.length + memoryContestants.length + ways.length + 2);

  constructor(folder: string, seconds: number) {
    this.#folder = folder;
    this.#seconds = seconds;
  }

  async measure(mostTasks: number): Promise<Growth> {
    const growth = {
      machine: describeMachine(),
      date: new Date().toISOString().slice(0, 10),
      seconds: this.#seconds,
      sizes: await this.#sizes(sizes.filter((size) => size <= mostTasks)),
      bytesATask: await this.#bytesATask(),
      polling: await this.#polling(),
      paced: await this.#paced(),
      startMs: await this.#starts(),
    };
    this.#progress.end();
    return growth;
  }

  /** One server that is filled further and further. */
  async #sizes(sizes: readonly number[]): Promise<AtSize[]> {
    const results: AtSize[] = [];
    await this.#withQueue(["--max-tasks", "20000000"], async (target, load) => {
      let waiting = 0;
      for (const size of sizes) {
        this.#progress.step(`${size} waiting tasks`);
        await load.run({ kind: "fill", target, tasks: size - waiting });
        await target.clearLog();
        waiting = size;
        const { tasks, serverSeconds, p99Us } = await load.run({
          ...{ kind: "drive", target, clients: 16, inFlight: 16 },
          ...{ warmUpSeconds: 2, seconds: this.#seconds },
        });
        await target.clearLog();
        const cpuUs = 1e6 * serverSeconds / tasks;
        results.push({ waiting, cpuUs, p99Us, rssBytes: rssBytes(target.pid) });
      }
    });
    return results;
  }

  async #bytesATask(): Promise<Record<string, number>> {
    const results: Record<string, number> = {};
    await this.#withEach(memoryContestants, "memory of", async (target, load) => {
      await load.run({ kind: "fill", target, tasks: 1000 });
      const before = rssBytes(target.pid);
      // One below the default limit of this project's server.
      await load.run({ kind: "fill", target, tasks: oneMillion - 1000 });
      results[target.name] = (rssBytes(target.pid) - before) / (oneMillion - 1000);
    });
    return results;
  }

  /** Consumers that each ask once a second, and find nothing. */
  async #polling(): Promise<Growth["polling"]> {
    const results: Record<string, Polling> = {};
    await this.#withEach(ways, `${pollingConsumers} consumers of`, async (target, load) => {
      const { seconds, serverSeconds, p50Us, p99Us } = await load.run({
        ...{ kind: "pace", target, clients: pollingConsumers, perSecond: pollingConsumers },
        ...{ creates: false, warmUpSeconds: 5, seconds: 2 * this.#seconds },
      });
      const cpuPercent = 100 * serverSeconds / seconds;
      results[target.name] = { cpuPercent, p50Us, p99Us, rssBytes: rssBytes(target.pid) };
    });
    return results;
  }

  /** CREATE on one connection, REQUEST on another, at a steady rate. */
  async #paced(): Promise<Growth["paced"]> {
    this.#progress.step(`${tasksPerSecond} tasks a second`);
    return await this.#withQueue([], async (target, load) => {
      const { p50Us, p99Us } = await load.run({
        ...{ kind: "pace", target, clients: 1, perSecond: tasksPerSecond, creates: true },
        ...{ warmUpSeconds: 2, seconds: 3 * this.#seconds },
      });
      return { p50Us, p99Us };
    });
  }

  async #starts(): Promise<Record<string, number>> {
    this.#progress.step("start-up");
    const results: Record<string, number> = {};
    for (const { name, version } of contestants) {
      if (!ways.includes(name) || await version() === undefined) continue;
      const launcher = name === "executable" ? executable : denoRun;
      const times: number[] = [];
      for (let i = 0; i < starts; i++) times.push(await startMs(launcher));
      results[name] = median(times);
    }
    return results;
  }

  /** Measures each of some contestants that is installed. */
  async #withEach(
    names: readonly string[],
    what: string,
    use: (target: RunningServer, load: LoadProgram) => Promise<void>,
  ): Promise<void> {
    for (const contestant of contestants) {
      if (!names.includes(contestant.name) || await contestant.version() === undefined) continue;
      this.#progress.step(`${what} ${contestant.name}`);
      await this.#with(contestant.start(this.#folder), use);
    }
  }

  async #withQueue<T>(
    options: readonly string[],
    use: (target: RunningServer, load: LoadProgram) => Promise<T>,
  ): Promise<T> {
    return await this.#with(startQueue("server", denoRun, options, this.#folder), use);
  }

  async #with<T>(
    starting: Promise<RunningServer>,
    use: (target: RunningServer, load: LoadProgram) => Promise<T>,
  ): Promise<T> {
    await using target = await starting;
    await using load = new LoadProgram();
    return await use(target, load);
  }
}

/** The time from the start of a server's process to its listening line, in milliseconds. */
async function startMs(launcher: Launcher): Promise<number> {
  const beginMs = performance.now();
  await using _server = await startServer(launcher);
  return performance.now() - beginMs;
}

/** The tables of a run, in Markdown. */
function toMarkdown(growth: Growth): string {
  const number = (value: number) => Math.round(value).toLocaleString("en");
  const first = growth.sizes[0]?.cpuUs ?? NaN;
  const bySize = growth.sizes.map(({ waiting, cpuUs, p99Us, rssBytes }) => [
    number(waiting),
    cpuUs.toFixed(2),
    (cpuUs / first).toFixed(2),
    number(p99Us),
    number(rssBytes / 1e6),
  ]);
  const { polling, paced } = growth;
  return `${growth.machine}, ${growth.date}.${
    isPinned ? " Server on one core, load program on another." : " Not pinned to cores."
  }

A task's cost by waiting tasks, 16 clients with 16 in flight each:

${table(["waiting tasks", "CPU µs a task", "times the first", "p99 µs", "RSS MB"], bySize)}
Memory of a waiting task, at a million, in bytes of RSS:

${
    table(
      ["server", "bytes"],
      Object.entries(growth.bytesATask).map(([name, bytes]) => [name, number(bytes)]),
    )
  }
${number(pollingConsumers)} consumers that each ask once a second:

${
    table(
      ["server", "% of a core", "median µs", "p99 µs", "RSS MB"],
      Object.entries(polling).map(([name, { cpuPercent, p50Us, p99Us, rssBytes }]) => [
        ...[name, cpuPercent.toFixed(1), number(p50Us), number(p99Us), number(rssBytes / 1e6)],
      ]),
    )
  }
CREATE to ASSIGN at ${number(tasksPerSecond)} tasks a second: ${paced.p50Us} µs (median), ` +
    `${paced.p99Us} µs (99th percentile).

From the start to \`listening:\`, median of ${starts}: ${
      Object.entries(growth.startMs).map(([name, ms]) => `${name} ${ms.toFixed(0)} ms`).join(", ")
    }.
`;
}

async function run(args: Arguments): Promise<void> {
  const seconds = decimalOption(args, "seconds", { standard: 3 });
  const tasks = wholeOption(args, "tasks", { standard: sizes.at(-1) ?? 0, least: 1000 });
  const output = args.options.get("output") ?? "docs/performance";
  await using folder = new ScratchFolder();
  const growth = await new Run(folder.path, seconds).measure(tasks);
  console.log(toMarkdown(growth));
  await Deno.mkdir(output, { recursive: true });
  await Deno.writeTextFile(`${output}/growth.md`, toMarkdown(growth));
  await Deno.writeTextFile(`${output}/growth.json`, JSON.stringify(growth, undefined, 2) + "\n");
}

if (import.meta.main) {
  const options = ["tasks", "seconds", "output"];
  await runBench({ program: "deno task prove growth", help, options }, run);
}
