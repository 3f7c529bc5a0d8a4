/**
 * Runs the real server under mixed load and faults for minutes, and checks every line it prints.
 *
 * @module
 */

import { rssBytes } from "../../tests/lab/proc.ts";
import { exitCode } from "../../lib/cli/arguments.ts";
import { nowMs, sleep } from "../../lib/clock.ts";
import { openFiles, until } from "../../tests/lab/load/scenarios.ts";
import { Random } from "../../tests/lab/random.ts";
import { actors, type Stage, unendedName } from "./soak/actors.ts";
import { EventModel } from "../../tests/lab/judges/event_model.ts";
import { denoRun, type ServerProgram, start, startServer } from "../../tests/lab/processes.ts";
import { decimalOption, wholeOption } from "../../tests/lab/options.ts";
import { Progress } from "../../tests/lab/progress.ts";
import { runTool } from "../tool.ts";

/** How much the memory may grow from the second quarter of a run to the last, in bytes. */
const maxGrowthBytes = 30_000_000;

const mb = 1_000_000;

const help = `Usage: deno task prove soak [options]

Runs the server under mixed load and faults: kill -9 of clients, resets, half and malformed lines,
floods, slow readers, storms of connects. Fails on any task lost, repeated or out of order, on
growth of memory or descriptors, and on any error that the server does not expect.

Options:
  --minutes <n>  how long, more than 0, at most 1440 (5)
  --seed <n>     seed of what the clients do (drawn from the clock)
  -h, --help     print this help
  -V, --version  print the version

Exit codes: 0 all held, 1 something did not, 2 wrong arguments`;

/** What the server says in place of lines about peers if there are very many. */
const leftOut = /^(\d+) more lines about peers were left out$/;

/** What a server says, followed line by line. */
class Watch {
  readonly model = new EventModel();
  /** What it told its operator about its peers. */
  complaints = 0;

  readonly take = (line: string, end: "stdout" | "stderr"): void => {
    if (end === "stdout") {
      this.model.take(line);
      if (line.includes(` ${unendedName}`)) {
        this.model.fail(`a line without its LF counted: ${line}`);
      }
    } else if (/^127\.0\.0\.1:\d+: /.test(line)) this.complaints++;
    else if (leftOut.test(line)) this.complaints += Number(leftOut.exec(line)?.[1]);
    else if (!line.startsWith("listening: ")) this.model.fail(`the server says: ${line}`);
  };
}

/** Memory and descriptors at one time. */
interface Sample {
  readonly rss: number;
  readonly files: number;
}

async function soak(minutes: number, seed: number): Promise<boolean> {
  const watch = new Watch();
  const { model } = watch;
  await using server = await startServer(denoRun, { onLine: watch.take });
  server.stdout.forget();
  server.stderr.forget();
  const filesBefore = openFiles(server.pid);
  const stop = new AbortController();
  const signal = stop.signal;
  const startMs = nowMs();
  const totalMs = 60_000 * minutes;
  const samples: Sample[] = [];
  const rounds = new Map<string, number>();
  const progress = new Progress();

  const stage: Stage = {
    ...{ server, model, random: new Random(seed), signal },
    startProgram: (role) => startProgram(role, server),
  };
  const keepActing = async ({ name, act }: typeof actors[number]) => {
    while (!signal.aborted) {
      await act(stage);
      rounds.set(name, (rounds.get(name) ?? 0) + 1);
    }
  };
  const acting = actors.flatMap((actor) =>
    Array.from({ length: actor.count }, () => keepActing(actor))
  );
  const failed = Promise.all(acting).catch((error) => model.fail(`an actor failed: ${error}`));

  while (nowMs() - startMs < totalMs && model.faults.length === 0 && server.isRunning) {
    await sleep(1000);
    if (!server.isRunning) break;
    samples.push({ rss: rssBytes(server.pid), files: openFiles(server.pid) });
    progress.show(describe(samples, model, Math.ceil((totalMs - (nowMs() - startMs)) / 1000)));
  }
  stop.abort();
  await failed;
  progress.end();
  if (server.isRunning) {
    await drain(stage);
    await until(() => openFiles(server.pid) <= filesBefore, "the server to close all")
      .catch(() =>
        model.fail(`descriptors: ${filesBefore} before, ${openFiles(server.pid)} after`)
      );
  }
  const code = server.isRunning ? await server.stop() : await server.exitCode();
  if (code !== 0) model.fail(`the server ended with ${code}`);
  checkEnd(model);
  checkGrowth(model, samples);
  report({ watch, samples, rounds, seconds: (nowMs() - startMs) / 1000 });
  return model.faults.length === 0;
}

/** Kicks what is buried and takes all that is left: nothing may be missing then. */
async function drain({ server, model }: Stage): Promise<void> {
  // What the last peers held comes back within a moment; its lines with it.
  await sleep(1000);
  await using producer = await server.producer();
  for (const name of model.buriedTasks) {
    const answer = await producer.ask(`KICK ${name}`);
    if (answer === "OK 1") model.kick(name);
    else model.fail(`KICK ${name} got ${answer}`);
  }
  await server.drain();
}

function checkEnd(model: EventModel): void {
  if (model.readyTasks > 0) {
    model.fail(`${model.readyTasks} tasks are lost: ready, never handed out`);
  }
  if (model.buriedTasks.length > 0) model.fail(`${model.buriedTasks.length} tasks stay buried`);
}

function checkGrowth(model: EventModel, samples: readonly Sample[]): void {
  if (samples.length < 40) return;
  const quarter = Math.floor(samples.length / 4);
  const second = median(samples.slice(quarter, 2 * quarter));
  const last = median(samples.slice(-quarter));
  if (last - second > maxGrowthBytes) {
    model.fail(`memory grew from ${megabytes(second)} MB to ${megabytes(last)} MB`);
  }
}

function median(samples: readonly Sample[]): number {
  const sorted = samples.map(({ rss }) => rss).sort((a, b) => a - b);
  return sorted[sorted.length >> 1] as number;
}

/** Starts a client with some work to do; returns how to kill it. */
async function startProgram(
  role: "producer" | "consumer",
  server: ServerProgram,
): Promise<() => Promise<void>> {
  const isProducer = role === "producer";
  const port = isProducer ? server.producerPort : server.consumerPort;
  const args = ["127.0.0.1", port, ...(isProducer ? ["-"] : [])];
  const program = start(denoRun, role, args, { stdin: "piped" });
  if (isProducer) {
    const tasks = Array.from(
      { length: 200 },
      (_, index) => `${index / 100} 2 program${program.pid}-${nowMs()}-${index} 0.1\n`,
    );
    await program.type(tasks.join("")).catch(() => {});
  }
  await program.closeStdin().catch(() => {});
  return () => program[Symbol.asyncDispose]();
}

function describe(samples: readonly Sample[], model: EventModel, secondsLeft: number): string {
  const { rss, files } = samples.at(-1) as Sample;
  const { created, assigned, requeued } = model.counts;
  return `${secondsLeft} s left: RSS ${megabytes(rss)} MB, ${files} descriptors, ` +
    `${created} tasks, ${assigned} handed out, ${requeued} back, ${model.faults.length} errors`;
}

function report({ watch, samples, rounds, seconds }: {
  watch: Watch;
  samples: readonly Sample[];
  rounds: ReadonlyMap<string, number>;
  seconds: number;
}): void {
  const { counts, faults } = watch.model;
  const memory = samples.map(({ rss }) => rss);
  console.log(
    `ran ${Math.round(seconds)} s: ${[...rounds].map(([name, n]) => `${n} ${name}`).join(", ")}`,
  );
  console.log(
    `tasks: ${counts.created} created, ${counts.assigned} handed out, ${counts.requeued} came ` +
      `back, ${counts.completed} completed, ${counts.buried} buried`,
  );
  console.log(
    `server: RSS ${megabytes(Math.max(...memory))} MB at most, ${
      megabytes(memory.at(-1) ?? 0)
    } MB ` +
      `at the end; ${Math.max(...samples.map(({ files }) => files))} descriptors at most; ` +
      `${watch.complaints} lines of peers refused`,
  );
  console.log(
    faults.length === 0
      ? "all held: no task lost, repeated or out of order"
      : `FAILED:\n  ${faults.join("\n  ")}`,
  );
}

function megabytes(bytes: number): number {
  return Math.round(bytes / mb);
}

if (import.meta.main) {
  await runTool(
    { program: "deno task prove soak", help, options: ["minutes", "seed"] },
    async (args) => {
      const minutes = decimalOption(args, "minutes", { standard: 5, most: 1440 });
      const seed = wholeOption(args, "seed", { standard: Date.now() % 1e9 });
      console.log(`seed ${seed}`);
      return await soak(minutes, seed) ? exitCode.ok : exitCode.failed;
    },
  );
}
