/**
 * The field, side by side: this project's server, the servers that others use, and a bare echo.
 *
 * `deno task prove field` measures them one after the other, in turns, with the load program of
 * load.ts, and writes a table, the numbers and a plot. All servers run at the same time, with 1,000
 * tasks waiting in each; a round measures each in each cell. A cell of the grid is (clients, tasks in
 * flight on each); dialects.ts says what a task is for each server.
 *
 * One program started twice can differ from itself by 4 %: to see smaller differences, start each
 * server several times.
 *
 * @module
 */

import type { Arguments } from "../../lib/cli/arguments.ts";
import { counted } from "../../lib/counted.ts";
import { quote } from "../../lib/quote.ts";
import { UsageError } from "../../lib/user_error.ts";
import { decimalOption, wholeOption } from "../../tests/lab/options.ts";
import { ScratchFolder } from "../../tests/lab/processes.ts";
import { Progress } from "../../tests/lab/progress.ts";
import {
  type Contestant,
  contestants,
  isPinned,
  LoadProgram,
  otherCheckout,
  type RunningServer,
} from "./contestants.ts";
import type { Measurement } from "./load.ts";
import { plot } from "./plot.ts";
import { describeMachine, median, medianRatio, runBench, table } from "./report.ts";

/** Clients, and tasks in flight on each. */
export type Cell = readonly [clients: number, inFlight: number];

const grid: readonly Cell[] = [[1, 1], [16, 1], [16, 16], [200, 1]];

/** Tasks that wait in each queue all the time. */
const waitingTasks = 1000;

const warmUpSeconds = 0.25;

const help = `Usage: deno task prove field [options]

Measures this project's server beside others, and writes field.md, field.json and field.svg.

Options:
  --seconds <s>    time for each cell of each server in each round (1)
  --rounds <n>     rounds of each start (5)
  --warm-up <n>    rounds of each start that come first and are not counted: V8 compiles for
                   some 10 s (1)
  --starts <n>     how often each server is started; medians of all are shown (1)
  --only <names>   servers, separated by commas
  --beside <dir>   also the server of another checkout, as "beside"
  --output <dir>   folder for the files (docs/performance)
  -h, --help       print this help
  -V, --version    print the version

Exit codes: 0 measured, 1 failed, 2 wrong arguments`;

/** One server's numbers in one cell: medians of the rounds. */
export interface Result {
  readonly name: string;
  readonly cell: Cell;
  readonly tasksPerSecond: number;
  /** CPU time of the server per task, in microseconds. */
  readonly cpuUs: number;
  readonly p50Us: number;
  readonly p99Us: number;
  /** CPU time of the server and of the load program, in percent of one core. */
  readonly serverPercent: number;
  readonly loadPercent: number;
  /** Requests that met an empty queue and were sent again, in percent of the tasks. */
  readonly repeatPercent: number;
  /** CPU time per task in each round of each start. */
  readonly cpuUsOfRounds: readonly number[];
}

/** A whole run. */
export interface Field {
  readonly machine: string;
  readonly date: string;
  readonly seconds: number;
  readonly rounds: number;
  /** Rounds of each start before these, which are not counted. */
  readonly warmUp: number;
  /** Times that each server was started, for so many rounds. */
  readonly starts: number;
  readonly versions: Readonly<Record<string, string>>;
  readonly absent: readonly string[];
  /** Load average of the machine before the run: above 0.5 others were at work. */
  readonly loadAverage: number;
  readonly results: readonly Result[];
}

function summarize(name: string, cell: Cell, rounds: readonly Measurement[]): Result {
  const of = (value: (round: Measurement) => number) => median(rounds.map(value));
  const cpuUs = (round: Measurement) => 1e6 * round.serverSeconds / round.tasks;
  return {
    name,
    cell,
    tasksPerSecond: of((round) => round.tasks / round.seconds),
    cpuUs: of(cpuUs),
    p50Us: of((round) => round.p50Us),
    p99Us: of((round) => round.p99Us),
    serverPercent: of((round) => 100 * round.serverSeconds / round.seconds),
    loadPercent: of((round) => 100 * round.loadSeconds / round.seconds),
    repeatPercent: of((round) => 100 * round.repeats / round.tasks),
    cpuUsOfRounds: rounds.map(cpuUs),
  };
}

/** How much is measured. */
interface Extent {
  readonly seconds: number;
  readonly rounds: number;
  readonly warmUp: number;
  readonly starts: number;
}

async function measureAll(
  measured: readonly Contestant[],
  { seconds, rounds, warmUp, starts }: Extent,
): Promise<Result[]> {
  const progress = new Progress(starts * (warmUp + rounds) * grid.length * measured.length);
  const found = new Map<string, Measurement[]>();
  using scope = new DisposableStack();
  scope.defer(() => progress.end());
  await using load = new LoadProgram();
  for (let start = 0; start < starts; start++) {
    await using servers = new RunningServers();
    await servers.start(turned(measured, start), load);
    // The first ones are not counted: V8 has not compiled yet what it finds to be hot.
    for (let round = 0; round < warmUp + rounds; round++) {
      for (const [clients, inFlight] of grid) {
        // Turned with each round: none is always the one after a busy neighbour.
        for (const target of turned(servers.all, start + round)) {
          progress.step(`${target.name} (${clients}, ${inFlight})`);
          const measurement = await load.run({
            ...{ kind: "drive", target, clients, inFlight, warmUpSeconds, seconds },
          });
          await target.clearLog();
          if (round < warmUp) continue;
          const key = `${target.name} ${clients} ${inFlight}`;
          found.set(key, [...found.get(key) ?? [], measurement]);
        }
      }
    }
  }
  return measured.flatMap(({ name }) =>
    grid.map((cell) => summarize(name, cell, found.get(`${name} ${cell.join(" ")}`) ?? []))
  );
}

/** The same in another order: each turn begins with the next one. */
function turned<T>(items: readonly T[], turn: number): readonly T[] {
  const first = turn % items.length;
  return [...items.slice(first), ...items.slice(0, first)];
}

/** Servers that run side by side until the scope is left. */
class RunningServers implements AsyncDisposable {
  readonly #stack = new AsyncDisposableStack();
  readonly #folder = this.#stack.use(new ScratchFolder());
  /** Those that run. */
  readonly all: RunningServer[] = [];

  /** Starts them, and fills their queues. */
  async start(measured: readonly Contestant[], load: LoadProgram): Promise<void> {
    for (const contestant of measured) {
      const server = this.#stack.use(await contestant.start(this.#folder.path));
      this.all.push(server);
      if (server.dialect.startsWith("echo")) continue;
      await load.run({ kind: "fill", target: server, tasks: waitingTasks });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

/** The tables of a run, in Markdown. */
export function toMarkdown(field: Field): string {
  const names = [...new Set(field.results.map(({ name }) => name))];
  const show = (value: (result: Result) => string) =>
    table(
      ["(clients, in flight)", ...grid.map((cell) => `(${cell.join(", ")})`)],
      names.map((name) => [
        name,
        ...field.results.filter((result) => result.name === name).map(value),
      ]),
    );
  // What others run today; a run without it compares with what it measures first.
  const reference = names.find((name) => name === "beanstalkd") ?? names[0];
  const repeated = field.results.filter(({ repeatPercent }) => repeatPercent > 0.05)
    .map(({ name, cell, repeatPercent }) =>
      `${name} (${cell.join(", ")}) ${repeatPercent.toFixed(1)} %`
    );
  const withRatio = ({ cell, cpuUs, cpuUsOfRounds }: Result) => {
    const others = field.results.find((other) => other.name === reference && other.cell === cell);
    const ratio = medianRatio(cpuUsOfRounds, others?.cpuUsOfRounds ?? []);
    return `${cpuUs.toFixed(cpuUs < 10 ? 2 : 1)} (${ratio.toFixed(2)})`;
  };
  const starts = field.starts === 1 ? "" : `${field.starts} starts of each server, of `;
  return `${field.machine}, ${field.date}. Medians of ${starts}${
    counted(field.rounds, "round")
  } of ${field.seconds} s after ${counted(field.warmUp, "round")} not counted,
the servers in turns in each round, ${waitingTasks} tasks waiting.${
    isPinned ? " Server on one core, load program on another." : " Not pinned to cores."
  } Load average before: ${field.loadAverage.toFixed(1)}.

${Object.entries(field.versions).map(([name, version]) => `- ${name}: ${version}`).join("\n")}
- not measured: ${field.absent.join(", ")}

Server CPU a task, in microseconds (times those of ${reference}: medians of the
rounds' ratios):

${show(withRatio)}
Tasks a second:

${show(({ tasksPerSecond }) => Math.round(tasksPerSecond).toLocaleString("en"))}
Latency, in microseconds: median / 99th percentile:

${show(({ p50Us, p99Us }) => `${Math.round(p50Us)} / ${Math.round(p99Us)}`)}
${
    repeated.length === 0
      ? ""
      : `Requests sent again, as the server had not yet read the creates before: ${
        repeated.join(", ")
      }.

`
  }Is the load program the limit? CPU in percent of a core: server / load program. Where the server is
at 100 the tasks a second are its own limit; where the load program is, they are the load
program's, and only the CPU a task counts. At (1, 1) both wait for each other's wake-up. Where both
are far below 100 elsewhere, other programs had the cores: measure again.

${
    show(({ serverPercent, loadPercent }) =>
      `${serverPercent.toFixed(0)} / ${loadPercent.toFixed(0)}`
    )
  }`;
}

/** The servers that the option --only names; all if it was not given. */
function chosen(only: string | undefined): readonly Contestant[] {
  if (only === undefined) return contestants;
  const names = only.split(",");
  const unknown = names.find((name) => !contestants.some((known) => known.name === name));
  if (unknown === undefined) return contestants.filter(({ name }) => names.includes(name));
  const known = contestants.map(({ name }) => name).join(", ");
  throw new UsageError(`no server is called ${quote(unknown)}; there are: ${known}`);
}

async function run(args: Arguments): Promise<void> {
  const extent = {
    seconds: decimalOption(args, "seconds", { standard: 1 }),
    rounds: wholeOption(args, "rounds", { standard: 5, least: 1 }),
    warmUp: wholeOption(args, "warm-up", { standard: 1, least: 0 }),
    starts: wholeOption(args, "starts", { standard: 1, least: 1 }),
  };
  const output = args.options.get("output") ?? "docs/performance";
  const beside = args.options.get("beside");
  const wanted = [
    ...chosen(args.options.get("only")),
    ...beside === undefined ? [] : [otherCheckout(beside)],
  ];
  const loadAverage = Deno.loadavg()[0] ?? NaN;
  const versions: Record<string, string> = {};
  const measured: Contestant[] = [];
  const absent = ["RabbitMQ (its binary protocol is not spoken here)"];
  for (const contestant of wanted) {
    const version = await contestant.version();
    if (version === undefined) {
      absent.push(`${contestant.name} (not installed)`);
      continue;
    }
    versions[contestant.name] = version;
    measured.push(contestant);
  }
  const field: Field = {
    machine: describeMachine(),
    date: new Date().toISOString().slice(0, 10),
    ...{ ...extent, versions, absent, loadAverage },
    results: await measureAll(measured, extent),
  };
  const markdown = toMarkdown(field);
  console.log(markdown);
  await Deno.mkdir(output, { recursive: true });
  await Deno.writeTextFile(`${output}/field.md`, markdown);
  await Deno.writeTextFile(`${output}/field.json`, JSON.stringify(field, undefined, 2) + "\n");
  await Deno.writeTextFile(`${output}/field.svg`, plot(field));
}

if (import.meta.main) {
  const options = ["seconds", "rounds", "warm-up", "starts", "only", "beside", "output"];
  await runBench({ program: "deno task prove field", help, options }, run);
}
