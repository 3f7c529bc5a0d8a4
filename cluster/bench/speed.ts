/**
 * How fast the cluster is: three nodes of PostgreSQL on this machine, of which a commit waits for two
 * disks, and fronts before them.
 *
 * Linux only.
 *
 * @module
 */

import { LoadProgram } from "../../bench/field/contestants.ts";
import type { Measurement, Target } from "../../bench/field/load.ts";
import { describeMachine, median, table } from "../../bench/field/report.ts";
import { exitCode } from "../../lib/cli/arguments.ts";
import { type Program, runProgram } from "../../lib/cli/program.ts";
import { sleep, untilAborted } from "../../lib/clock.ts";
import { UserError } from "../../lib/user_error.ts";
import { decimalOption, wholeOption } from "../../tests/lab/options.ts";
import { cpuSeconds, rssBytes } from "../../tests/lab/proc.ts";
import { ScratchFolder, type ServerProgram, startStoreServer } from "../../tests/lab/processes.ts";
import { Progress } from "../../tests/lab/progress.ts";
import { type PostgresNode, PostgresNodes } from "../lab/postgres.ts";
import { startFront } from "../lab/start_front.ts";
import { BareFront, type LoopReport } from "./closed_loop.ts";
import { IdleConsumers } from "./idle_consumers.ts";

const help = `Usage: deno task prove cluster-speed [options]

Measures the cluster, with three nodes of PostgreSQL on this machine and each commit on two disks,
and prints Markdown; takes about 4 minutes, and 5 GB of the temporary folder.

Options:
  --seconds <s>      time for each measurement (2)
  --rounds <n>       measurements of each kind, interleaved; medians are printed (3)
  --waiting <n>      tasks that wait in the long queue (10000000)
  --connections <n>  consumers that wait at two fronts (10000)
  -h, --help         print this help
  -V, --version      print the version

Exit codes: 0 measured, 1 failed, 2 wrong arguments`;

/** The clients of a front without ports. */
const loopClients = 1000;

/** Clients, each with a connection for creating and one for asking, and tasks under way of each. */
const loads = [[64, 1], [250, 1], [64, 16]] as const;

/** How long each measurement runs before it counts at most, in seconds; else as long as it takes. */
const mostWarmUpSeconds = 1;

/** How long consumers ask to wait; they are measured for less. */
const waitSeconds = 60;

/** How long waiting consumers are measured, in measurements' lengths: what they cost is little. */
const idleLengths = 4;

/** Tasks created, one after the other, for consumers that wait. */
const wakes = 20;

/** What the goals are (see the issue that asked for the cluster). */
const goals = { perSecond: 50_000, withWaiting: 0.8 } as const;

/** The two queues: one that is short, and one in which tasks wait. */
const queues = ["short", "long"] as const;
type QueueName = typeof queues[number];

/** Settings that docs/cluster.md advises, of those that matter for speed. */
const settings = {
  ...{ shared_buffers: "512MB", max_wal_size: "4GB", wal_compression: "lz4" },
  maintenance_work_mem: "256MB",
};

/** The command line, read. */
interface Options {
  readonly seconds: number;
  readonly warmUpSeconds: number;
  readonly rounds: number;
  readonly waiting: number;
  readonly connections: number;
}

/** What clients in the process of a front did, and CPU time per task in microseconds. */
interface InProcess extends LoopReport {
  readonly frontUs: number;
  readonly primaryUs: number;
  readonly standbyUs: number;
}

/** What consumers that wait cost. */
interface Idle {
  readonly openSeconds: number;
  /** Of a front: percent of a core, and resident bytes with and without them. */
  readonly frontPercent: number;
  readonly frontBytes: number;
  readonly emptyBytes: number;
  readonly primaryPercent: number;
  /** The median from a create at one front to the answer, at whichever front, in milliseconds. */
  readonly wakeMs: number;
}

/** A whole run, and all that it has started: that ends with the stack. */
class Bench {
  readonly #options: Options;
  readonly #stack: AsyncDisposableStack;
  readonly #progress: Progress;
  readonly #inProcess = new Map<QueueName, InProcess[]>();
  readonly #overTcp = new Map<string, Measurement[]>();

  constructor(options: Options, stack: AsyncDisposableStack) {
    this.#options = options;
    this.#stack = stack;
    const measurements = queues.length + 2 * loads.length;
    this.#progress = new Progress(options.rounds * measurements + 3);
  }

  async run(): Promise<string> {
    this.#progress.step(`three nodes, and ${this.#options.waiting} waiting tasks`);
    const nodes = this.#stack.use(await this.#startNodes());
    for (const queue of queues) await nodes.primary.query("VACUUM ANALYZE queue.ready", queue);
    await this.#measureInProcess(nodes);
    await this.#measureOverTcp(nodes);
    const idle = await this.#measureIdle(nodes);
    this.#progress.end();
    return this.#describe(idle);
  }

  #startNodes(): Promise<PostgresNodes> {
    return PostgresNodes.start({
      ...{ count: 3, fsync: true, settings },
      prepare: async (primary) => {
        for (const queue of queues) await primary.createQueue(queue);
        await fill(primary, this.#options.waiting);
      },
    });
  }

  async #measureInProcess(nodes: PostgresNodes): Promise<void> {
    const fronts = await Promise.all(queues.map(async (queue) => {
      return { queue, front: this.#stack.use(await BareFront.open(nodes.hosts, queue)) };
    }));
    for (let round = 0; round < this.#options.rounds; round++) {
      for (const { queue, front } of inTurns(fronts, round)) {
        this.#progress.step(`${loopClients} clients in process, ${queue} queue`);
        note(this.#inProcess, queue, await this.#loop(front, nodes));
      }
    }
  }

  async #loop(front: BareFront, nodes: PostgresNodes): Promise<InProcess> {
    const { seconds, warmUpSeconds } = this.#options;
    const cpu = async () => ({
      front: cpuSeconds("self"),
      primary: await nodeSeconds(nodes.primary),
      standby: await nodeSeconds(nodes.standbys[0] as PostgresNode),
    });
    await front.run({ clients: loopClients, seconds: warmUpSeconds });
    const before = await cpu();
    const report = await front.run({ clients: loopClients, seconds });
    const after = await cpu();
    const us = (of: keyof typeof before) => 1e6 * (after[of] - before[of]) / report.tasks;
    return {
      ...report,
      ...{ frontUs: us("front"), primaryUs: us("primary"), standbyUs: us("standby") },
    };
  }

  /** A front beside the single server that keeps its tasks, each with the same load. */
  async #measureOverTcp(nodes: PostgresNodes): Promise<void> {
    const load = this.#stack.use(new LoadProgram());
    const folder = this.#stack.use(new ScratchFolder("speed"));
    // Neither has a core of its own.
    const single = this.#stack.use(
      await startStoreServer(`${folder.path}/tasks.db`, { args: ["--quiet"] }),
    );
    const front = this.#stack.use(await startFront(nodes.hosts, "short", ["--quiet"]));
    const { rounds, seconds, warmUpSeconds } = this.#options;
    const targets = [
      { ...targetOf(single), name: "single" },
      { ...targetOf(front), name: "front" },
    ];
    for (let round = 0; round < rounds; round++) {
      for (const [clients, inFlight] of loads) {
        for (const target of inTurns(targets, round)) {
          this.#progress.step(
            `${clients} clients over TCP, ${inFlight} tasks each, ${target.name}`,
          );
          // So many that no request finds the queue empty.
          if (round === 0) await load.run({ kind: "fill", target, tasks: clients * inFlight });
          const measurement = await load.run({
            ...{ kind: "drive", target, clients, inFlight, seconds, warmUpSeconds },
          });
          note(this.#overTcp, `${target.name} ${clients} ${inFlight}`, measurement);
        }
      }
    }
  }

  /** Consumers that wait at two fronts, and are then given some tasks. */
  async #measureIdle(nodes: PostgresNodes): Promise<Idle> {
    const { connections } = this.#options;
    await nodes.primary.createQueue("empty");
    const open = async () => this.#stack.use(await startFront(nodes.hosts, "empty", ["--quiet"]));
    const fronts = [await open(), await open()] as const;
    const rss = () => median(fronts.map(({ pid }) => rssBytes(pid)));
    const emptyBytes = rss();
    this.#progress.step(`${connections} consumers that wait`);
    const consumers = this.#stack.use(new IdleConsumers());
    const startMs = performance.now();
    for (const front of fronts) {
      const count = Math.ceil(connections / fronts.length);
      await consumers.add(front.consumerPort, { count, waitSeconds });
    }
    const openSeconds = (performance.now() - startMs) / 1000;
    const cpu = async () =>
      [
        median(fronts.map(({ pid }) => cpuSeconds(pid))),
        await nodeSeconds(nodes.primary),
      ] as const;
    const before = await cpu();
    const seconds = idleLengths * this.#options.seconds;
    await sleep(1000 * seconds);
    const after = await cpu();
    const frontBytes = rss();
    return {
      ...{ openSeconds, frontBytes, emptyBytes, wakeMs: await wake(consumers, fronts[1]) },
      frontPercent: 100 * (after[0] - before[0]) / seconds,
      primaryPercent: 100 * (after[1] - before[1]) / seconds,
    };
  }

  #describe(idle: Idle): string {
    const { rounds, seconds } = this.#options;
    return `${describeMachine()}, load average ${
      Deno.loadavg()[0]?.toFixed(1)
    }; three nodes on it, ` +
      `each commit on two disks; medians of ${rounds} runs of ${seconds} s, interleaved.\n\n` +
      this.#inProcessTable() + "\n" + this.#overTcpTable() + "\n" + this.#idleTable(idle);
  }

  #inProcessTable(): string {
    const value = (queue: QueueName, of: (report: InProcess) => number) =>
      median((this.#inProcess.get(queue) ?? []).map(of));
    const rate = (queue: QueueName) => value(queue, ({ perSecond }) => perSecond);
    const names = { short: "no tasks wait", long: `${count(this.#options.waiting)} wait` };
    const rows = queues.map((queue) => [
      names[queue],
      count(rate(queue)),
      `${value(queue, ({ p50Ms }) => p50Ms).toFixed(0)} / ${
        value(queue, ({ p99Ms }) => p99Ms).toFixed(0)
      }`,
      ...(["frontUs", "primaryUs", "standbyUs"] as const).map((us) =>
        value(queue, (report) => report[us]).toFixed(1)
      ),
      queue === "short" ? count(goals.perSecond) : "",
    ]);
    const ratio = rate("long") / rate("short");
    return table(
      [
        ...["in process, 1,000 clients", "tasks/s", "p50 / p99, ms"],
        ...["µs of CPU per task: front", "primary", "a standby", "goal"],
      ],
      [...rows, ["ratio", ratio.toFixed(2), "", "", "", "", String(goals.withWaiting)]],
    );
  }

  #overTcpTable(): string {
    const rows = loads.map(([clients, inFlight]) => {
      const value = (name: string, of: (measurement: Measurement) => number) =>
        median((this.#overTcp.get(`${name} ${clients} ${inFlight}`) ?? []).map(of));
      const rate = (name: string) => value(name, ({ tasks, seconds }) => tasks / seconds);
      const ms = (name: string) => (value(name, ({ p50Us }) => p50Us) / 1000).toFixed(1);
      return [
        ...[`(${clients}, ${inFlight})`, count(rate("single")), count(rate("front"))],
        ...[(rate("front") / rate("single")).toFixed(2), ms("single"), ms("front")],
      ];
    });
    return table([
      ...["(clients, tasks each)", "one server, --store: tasks/s", "one front: tasks/s"],
      ...["ratio", "p50, ms: server", "front"],
    ], rows);
  }

  #idleTable(idle: Idle): string {
    const mebibytes = (bytes: number) => (bytes / 2 ** 20).toFixed(0);
    return table([`${count(this.#options.connections)} consumers wait at two fronts`, "measured"], [
      ["all have connected and asked after, s", idle.openSeconds.toFixed(1)],
      ["CPU of each front, % of a core", idle.frontPercent.toFixed(1)],
      ["CPU of the primary, %", idle.primaryPercent.toFixed(1)],
      ["memory of each front, MiB", mebibytes(idle.frontBytes)],
      ["memory of a front without them, MiB", mebibytes(idle.emptyBytes)],
      ["a task created at one front is handed out after, ms (p50)", idle.wakeMs.toFixed(1)],
    ]);
  }
}

/** Has tasks wait in the long queue; without the key meanwhile, which is quicker. */
async function fill(node: PostgresNode, tasks: number): Promise<void> {
  await node.query(
    "ALTER TABLE queue.ready DROP CONSTRAINT ready_pkey; " +
      "INSERT INTO queue.ready (priority, arrival, ends, task_id, duration) " +
      "SELECT 1 + i % 3, nextval('queue.arrival'), 0, 'w' || i, '3.0' " +
      `FROM generate_series(1, ${tasks}) i; ` +
      "ALTER TABLE queue.ready ADD PRIMARY KEY (priority, arrival); " +
      `UPDATE queue.front SET ready = ready + ${tasks} WHERE front = 0`,
    "long",
  );
}

/** CPU time of all processes of a node, in seconds. */
async function nodeSeconds(node: PostgresNode): Promise<number> {
  let sum = 0;
  for (const pid of await node.processes()) {
    try {
      sum += cpuSeconds(pid);
    } catch (error) {
      // A worker that has ended meanwhile.
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  return sum;
}

function targetOf({ producerPort, consumerPort, pid }: ServerProgram): Target {
  return { dialect: "queue", ports: [producerPort, consumerPort], connections: 2, pid };
}

/** Creates tasks, one after the other; the median until one of those that wait has it, in ms. */
async function wake(consumers: IdleConsumers, front: ServerProgram): Promise<number> {
  await using producer = await front.producer();
  const times: number[] = [];
  for (let i = 0; i < Math.min(wakes, consumers.size); i++) {
    const answer = consumers.next();
    const startMs = performance.now();
    await producer.send(`CREATE 1 wake${i} 3.0\n`);
    const line = await answer;
    if (!line.startsWith(`ASSIGN wake${i} `)) throw new UserError(`a front answers ${line}`);
    times.push(performance.now() - startMs);
  }
  return median(times);
}

/** The one that is first is another one in each round. */
function inTurns<T>(items: readonly T[], round: number): readonly T[] {
  return round % 2 === 0 ? items : items.toReversed();
}

function note<K, V>(map: Map<K, V[]>, key: K, value: V): void {
  map.set(key, [...map.get(key) ?? [], value]);
}

function count(value: number): string {
  return Math.round(value).toLocaleString("en");
}

async function main({ args, log, stopped }: Program): Promise<number> {
  const seconds = decimalOption(args, "seconds", { standard: 2 });
  const options = {
    ...{ seconds, warmUpSeconds: Math.min(seconds, mostWarmUpSeconds) },
    rounds: wholeOption(args, "rounds", { standard: 3, least: 1, most: 100 }),
    waiting: wholeOption(args, "waiting", { standard: 10_000_000, most: 100_000_000 }),
    connections: wholeOption(args, "connections", { standard: 10_000, least: 2, most: 19_000 }),
  };
  await using stack = new AsyncDisposableStack();
  const text = await untilAborted(new Bench(options, stack).run(), stopped);
  if (text === undefined) return exitCode.interrupted;
  log?.write(text.trimEnd());
  return exitCode.ok;
}

if (import.meta.main) {
  await runProgram(
    {
      ...{ program: "deno task prove cluster-speed", help, positionals: { least: 0, most: 0 } },
      options: ["seconds", "rounds", "waiting", "connections"],
    },
    main,
    { saysExit: false },
  );
}
