/**
 * What keeping costs: durable tasks a second beside beanstalkd, the time of a restart, memory.
 *
 * Linux only.
 *
 * @module
 */

import type { Arguments } from "../../lib/cli/arguments.ts";
import { SqliteStore } from "../../lib/store/sqlite_store.ts";
import { writeAll } from "../../tests/lab/peers.ts";
import { rssBytes } from "../../tests/lab/proc.ts";
import {
  canRun,
  denoRunWithFiles,
  Program,
  ScratchFolder,
  type ServerProgram,
  startServer,
} from "../../tests/lab/processes.ts";
import { Progress } from "../../tests/lab/progress.ts";
import { freePort, untilListens } from "./contestants.ts";
import { describeMachine, median, runBench, table } from "./report.ts";

const help = `Usage: deno task prove store [options]

Measures what keeping tasks costs, beside beanstalkd, and prints Markdown; takes about 4 minutes.

Options:
  --json <file>  write the numbers there, too
  -h, --help     print this help
  -V, --version  print the version

Exit codes: 0 measured, 1 failed, 2 wrong arguments`;

const runSeconds = 3;
const rounds = 5;
const waitingTasks = 1_000_000;

/** What the goals are (see the issue that asked for the store). */
const goals = { oneAtATime: 1, pipelined: 10, restartSeconds: 2, memory: 1.3 } as const;

/** A way to send tasks: blocks, each answered by some lines. */
interface Load {
  readonly name: string;
  readonly producers: number;
  readonly tasksPerBlock: number;
  /** Blocks on the way from one producer. */
  readonly window: number;
}

const oneAtATime: Load = {
  name: "1 producer, 1 task at a time",
  producers: 1,
  tasksPerBlock: 1,
  window: 1,
};
const pipelined: Load = {
  name: "16 producers that pipeline",
  producers: 16,
  tasksPerBlock: 100,
  window: 4,
};

/** A server that keeps what it takes. */
interface Contestant {
  readonly name: string;
  readonly block: (tasks: number) => string;
  /** Lines that answer a block. */
  readonly answers: (tasks: number) => number;
  readonly start: (folder: string) => Promise<Running>;
}

interface Running extends AsyncDisposable {
  readonly producerPort: number;
  readonly pid: number;
}

const queue: Contestant = {
  name: "this server, --store",
  block: (tasks) => createBlock(tasks),
  answers: () => 1,
  start: (folder) => startQueue(["--store", `${folder}/tasks.db`]),
};

const beanstalkd: Contestant = {
  name: "beanstalkd -b -f0",
  block: (tasks) =>
    Array.from({ length: tasks }, (_, i) => {
      const body = `task${i} 0.5`;
      return `put 2 0 60 ${body.length}\r\n${body}\r\n`;
    }).join(""),
  answers: (tasks) => tasks,
  start: async (folder) => {
    const port = freePort();
    const args = ["-l", "127.0.0.1", "-p", String(port), "-b", folder, "-f0"];
    const program = new Program({ file: "beanstalkd", args });
    await untilListens(beanstalkd.name, port);
    return Object.assign(program, { producerPort: port });
  },
};

function createBlock(tasks: number): string {
  const creates = Array.from({ length: tasks }, (_, i) => `CREATE 2 task${i} 0.5\n`);
  return creates.join("") + "SYNC\n";
}

function startQueue(args: readonly string[]): Promise<ServerProgram> {
  return startServer(denoRunWithFiles, {
    args: ["--quiet", "--max-tasks", "100000000", ...args],
  });
}

/** Sends until the end, and counts what is confirmed. */
async function produce(
  port: number,
  contestant: Contestant,
  load: Load,
  isOver: (confirmed: number) => boolean,
): Promise<number> {
  using conn = await Deno.connect({ hostname: "127.0.0.1", port });
  conn.setNoDelay(true);
  const block = new TextEncoder().encode(contestant.block(load.tasksPerBlock));
  const answers = contestant.answers(load.tasksPerBlock);
  const buffer = new Uint8Array(64 * 1024);
  let sentBlocks = 0;
  let lines = 0;
  for (;;) {
    const confirmedBlocks = Math.floor(lines / answers);
    if (isOver(confirmedBlocks * load.tasksPerBlock)) return confirmedBlocks * load.tasksPerBlock;
    for (; sentBlocks - confirmedBlocks < load.window; sentBlocks++) await writeAll(conn, block);
    const count = await conn.read(buffer);
    if (count === null) throw new Error(`${contestant.name} closed the connection`);
    for (let i = buffer.indexOf(10); i !== -1 && i < count; i = buffer.indexOf(10, i + 1)) lines++;
  }
}

/** Confirmed tasks a second. */
async function measureRate(contestant: Contestant, load: Load): Promise<number> {
  await using folder = new ScratchFolder();
  await using server = await contestant.start(folder.path);
  const startMs = performance.now();
  const endMs = startMs + runSeconds * 1000;
  const counts = await Promise.all(
    Array.from(
      { length: load.producers },
      () => produce(server.producerPort, contestant, load, () => performance.now() >= endMs),
    ),
  );
  const seconds = (performance.now() - startMs) / 1000;
  return counts.reduce((a, b) => a + b) / seconds;
}

/** How often the disk under the temporary folder syncs 4 KiB a second. */
function measureSyncs(): number {
  const path = Deno.makeTempFileSync();
  try {
    using file = Deno.openSync(path, { write: true });
    // Written over in place: as a log that is used again.
    file.writeSync(new Uint8Array(4096));
    const startMs = performance.now();
    let syncs = 0;
    for (; performance.now() < startMs + 1000; syncs++) {
      file.seekSync(0, Deno.SeekMode.Start);
      file.writeSync(new Uint8Array(4096).fill(syncs));
      file.syncDataSync();
    }
    return syncs;
  } finally {
    Deno.removeSync(path);
  }
}

/** Seconds from the start of the process until it listens, with a million waiting tasks. */
async function measureRestart(): Promise<{ seconds: number; mebibytes: number }> {
  await using folder = new ScratchFolder();
  const path = `${folder.path}/tasks.db`;
  {
    using store = new SqliteStore(path, () => {});
    for (let arrival = 1; arrival <= waitingTasks; arrival++) {
      store.add({ priority: 2, taskId: `task${arrival}`, duration: "0.5", arrival });
      if (arrival % 10_000 === 0) store.commit();
    }
  }
  const mebibytes = Deno.statSync(path).size / 2 ** 20;
  const seconds: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const startMs = performance.now();
    await using _server = await startQueue(["--store", path]);
    seconds.push((performance.now() - startMs) / 1000);
  }
  return { seconds: median(seconds), mebibytes };
}

/** Resident bytes that a waiting task costs. */
async function measureMemory(isStored: boolean): Promise<number> {
  await using folder = new ScratchFolder();
  await using server = await startQueue(isStored ? ["--store", `${folder.path}/tasks.db`] : []);
  const before = rssBytes(server.pid);
  const each = waitingTasks / pipelined.producers;
  const load = { ...pipelined, window: 1 };
  await Promise.all(
    Array.from(
      { length: pipelined.producers },
      () => produce(server.producerPort, queue, load, (confirmed) => confirmed >= each),
    ),
  );
  return (rssBytes(server.pid) - before) / waitingTasks;
}

async function run(args: Arguments): Promise<void> {
  const json = args.options.get("json");
  const contestants = await canRun("beanstalkd", "-v") ? [queue, beanstalkd] : [queue];
  const loads = [oneAtATime, pipelined];
  const progress = new Progress(rounds * (loads.length * contestants.length + 2) + 1);
  const rates = new Map<string, number[]>();
  const note = (key: string, value: number) => rates.set(key, [...rates.get(key) ?? [], value]);
  for (let round = 0; round < rounds; round++) {
    note("syncs", measureSyncs());
    for (const load of loads) {
      for (const contestant of round % 2 === 0 ? contestants : contestants.toReversed()) {
        progress.step(`${contestant.name}: ${load.name}`);
        note(`${contestant.name}: ${load.name}`, await measureRate(contestant, load));
      }
    }
    for (const isStored of [true, false]) {
      progress.step(`memory ${isStored ? "with" : "without"} a store`);
      note(`memory ${isStored}`, await measureMemory(isStored));
    }
  }
  progress.step("restart");
  const restart = await measureRestart();
  progress.end();

  const result = (key: string) => median(rates.get(key) ?? []);
  const count = (value: number) => Math.round(value).toLocaleString("en");
  const rows = loads.map((load) => {
    const [ours, theirs] = [queue, beanstalkd].map(({ name }) => result(`${name}: ${load.name}`));
    const ratio = Number(ours) / Number(theirs);
    const goal = load === oneAtATime ? goals.oneAtATime : goals.pipelined;
    return [load.name, count(Number(ours)), count(Number(theirs)), ratio.toFixed(2), `${goal}`];
  });
  const [stored, plain] = [result("memory true"), result("memory false")];
  console.log(
    `${describeMachine()}; the disk syncs 4 KiB ${count(result("syncs"))} times a second; ` +
      `medians of ${rounds} runs of ${runSeconds} s, interleaved.\n\n` +
      table(["durable tasks a second", queue.name, beanstalkd.name, "ratio", "goal"], rows) + "\n" +
      table(["with 1,000,000 waiting tasks", "measured", "goal"], [
        ["restart, s", restart.seconds.toFixed(2), `${goals.restartSeconds}`],
        ["file, MiB", restart.mebibytes.toFixed(0), ""],
        ["memory of a task with a store, bytes", count(stored), ""],
        ["without, bytes", count(plain), ""],
        ["ratio", (stored / plain).toFixed(2), `${goals.memory}`],
      ]),
  );
  if (json !== undefined) {
    const machine = describeMachine();
    const figures = { machine, goals, restart, runs: Object.fromEntries(rates) };
    Deno.writeTextFileSync(json, JSON.stringify(figures, null, 2) + "\n");
  }
}

if (import.meta.main) {
  await runBench({ program: "deno task prove store", help, options: ["json"] }, run);
}
