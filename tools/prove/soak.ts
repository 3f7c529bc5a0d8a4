/**
 * Runs the real server under mixed load and faults for minutes, and checks every line it prints.
 *
 * @module
 */

import { rssBytes } from "../../tests/lab/proc.ts";
import { exitCode, parseCommandLine, parseWholeNumber } from "../../lib/cli/arguments.ts";
import { nowMs, sleep } from "../../lib/clock.ts";
import { openFiles, until } from "../../tests/lab/load/scenarios.ts";
import { Random } from "../../tests/lab/random.ts";
import { actors, Link, type Stage, unendedName } from "./soak/actors.ts";
import { EventModel } from "../../tests/lab/judges/event_model.ts";
import { runTool } from "../run_tool.ts";

/** How much the memory may grow from the second quarter of a run to the last, in bytes. */
const maxGrowthBytes = 30_000_000;

const mb = 1_000_000;
const projectFolder = new URL("../../", import.meta.url).pathname;

const help = `Usage: soak [options]

Runs the server under mixed load and faults: kill -9 of clients, resets, half and malformed lines,
floods, slow readers, storms of connects. Fails on any task lost, repeated or out of order, on
growth of memory or descriptors, and on any error that the server does not expect.

Options:
  --minutes <n>  how long, 1 to 1440 (5)
  --seed <n>     seed of what the clients do (drawn from the clock)
  -h, --help     print this help
  -V, --version  print the version

Exit codes: 0 all held, 1 something did not, 2 wrong arguments`;

/** The server as a process, followed line by line. */
class SoakedServer {
  readonly model = new EventModel();
  readonly listening = Promise.withResolvers<[number, number]>();
  /** What it told its operator about its peers. */
  complaints = 0;
  readonly #child: Deno.ChildProcess;
  readonly #reading: Promise<unknown>;
  #hasExited = false;

  constructor() {
    this.#child = new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "--no-prompt",
        "--allow-net",
        `${projectFolder}server.ts`,
        "127.0.0.1",
        "0",
        "0",
      ],
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#reading = Promise.all([
      eachLine(this.#child.stdout, (line) => this.#takeEvent(line)),
      eachLine(this.#child.stderr, (line) => this.#takeError(line)),
    ]);
    this.#child.status.then(() => {
      this.#hasExited = true;
      this.listening.reject(new Error("the server ended"));
    });
  }

  get pid(): number {
    return this.#child.pid;
  }

  get hasExited(): boolean {
    return this.#hasExited;
  }

  async stop(): Promise<void> {
    if (!this.#hasExited) this.#child.kill("SIGINT");
    const { code } = await this.#child.status;
    await this.#reading;
    if (code !== 0) this.model.fail(`the server ended with ${code}`);
  }

  #takeEvent(line: string): void {
    this.model.take(line);
    if (line.includes(` ${unendedName}`)) this.model.fail(`a line without its LF counted: ${line}`);
  }

  #takeError(line: string): void {
    const ports = /^listening: producers \S+:(\d+), consumers \S+:(\d+)$/.exec(line);
    if (ports !== null) this.listening.resolve([Number(ports[1]), Number(ports[2])]);
    else if (/^127\.0\.0\.1:\d+: /.test(line)) this.complaints++;
    else this.model.fail(`the server says: ${line}`);
  }
}

/** Memory and descriptors at one time. */
interface Sample {
  readonly rss: number;
  readonly files: number;
}

async function soak(minutes: number, seed: number): Promise<boolean> {
  const server = new SoakedServer();
  const [producerPort, consumerPort] = await server.listening.promise;
  const { model } = server;
  const filesBefore = openFiles(server.pid);
  const random = new Random(seed);
  const stop = new AbortController();
  const signal = stop.signal;
  const startMs = nowMs();
  const totalMs = 60_000 * minutes;
  const samples: Sample[] = [];
  const rounds = new Map<string, number>();

  const stage: Stage = {
    ...{ producerPort, consumerPort, model, random, signal },
    startProgram: (role) => startProgram(role, role === "producer" ? producerPort : consumerPort),
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

  while (nowMs() - startMs < totalMs && model.faults.length === 0 && !server.hasExited) {
    await sleep(1000);
    if (server.hasExited) break;
    samples.push({ rss: rssBytes(server.pid), files: openFiles(server.pid) });
    showProgress(samples, model, Math.ceil((totalMs - (nowMs() - startMs)) / 1000));
  }
  stop.abort();
  await failed;
  if (!server.hasExited) {
    await drain(stage);
    await until(() => openFiles(server.pid) <= filesBefore, "the server to close all")
      .catch(() =>
        model.fail(`descriptors: ${filesBefore} before, ${openFiles(server.pid)} after`)
      );
  }
  await server.stop();
  checkEnd(model);
  checkGrowth(model, samples);
  report({ server, samples, rounds, seconds: (nowMs() - startMs) / 1000 });
  return model.faults.length === 0;
}

/** Kicks what is buried and takes all that is left: nothing may be missing then. */
async function drain({ producerPort, consumerPort, model }: Stage): Promise<void> {
  // What the last peers held comes back within a moment; its lines with it.
  await sleep(1000);
  using producer = await Link.connect(producerPort);
  for (const name of model.buriedTasks) {
    await producer.send(`KICK ${name}\n`);
    const answer = await producer.read();
    if (answer === "OK 1") model.kick(name);
    else model.fail(`KICK ${name} got ${answer}`);
  }
  using consumer = await Link.connect(consumerPort);
  await consumer.read();
  for (let answer = "ASSIGN"; answer.startsWith("ASSIGN");) {
    await consumer.send("REQUEST\n");
    answer = await consumer.read() ?? "";
  }
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

async function startProgram(
  role: "producer" | "consumer",
  port: number,
): Promise<() => Promise<void>> {
  const args = ["run", "--no-prompt", "--allow-net", "--allow-read", `${projectFolder}${role}.ts`];
  const child = new Deno.Command(Deno.execPath(), {
    args: [...args, "127.0.0.1", String(port), ...(role === "producer" ? ["-"] : [])],
    stdin: "piped",
    stdout: "null",
    stderr: "null",
  }).spawn();
  const writer = child.stdin.getWriter();
  const tasks = Array.from(
    { length: 200 },
    (_, index) => `${index / 100} 2 program${child.pid}-${nowMs()}-${index} 0.1\n`,
  );
  if (role === "producer") {
    await writer.write(new TextEncoder().encode(tasks.join(""))).catch(() => {});
  }
  await writer.close().catch(() => {});
  return async () => {
    try {
      child.kill("SIGKILL");
    } catch {
      // It had come to its end.
    }
    await child.status;
  };
}

async function eachLine(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
  take: (line: string) => void,
): Promise<void> {
  let unended = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (unended + text).split("\n");
    unended = lines.pop() as string;
    for (const line of lines) take(line);
  }
}

function showProgress(samples: readonly Sample[], model: EventModel, secondsLeft: number): void {
  if (!Deno.stdout.isTerminal()) return;
  const { rss, files } = samples.at(-1) as Sample;
  const { created, assigned, requeued } = model.counts;
  const line = `${secondsLeft} s left: RSS ${megabytes(rss)} MB, ${files} descriptors, ` +
    `${created} tasks, ${assigned} handed out, ${requeued} back, ${model.faults.length} errors`;
  Deno.stdout.writeSync(new TextEncoder().encode(`\r\x1b[K${line}`));
}

function report({ server, samples, rounds, seconds }: {
  server: SoakedServer;
  samples: readonly Sample[];
  rounds: ReadonlyMap<string, number>;
  seconds: number;
}): void {
  if (Deno.stdout.isTerminal()) console.log();
  const { counts, faults } = server.model;
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
      `${server.complaints} lines of peers refused`,
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

async function main(): Promise<number> {
  const args = parseCommandLine(Deno.args, {
    program: "soak",
    help,
    positionals: { least: 0, most: 0 },
    options: ["minutes", "seed"],
  });
  if (typeof args === "string") {
    console.log(args);
    return exitCode.ok;
  }
  const number = (name: string, standard: number, range: { least: number; most: number }) =>
    parseWholeNumber(args.options.get(name) ?? String(standard), { name: `--${name}`, ...range });
  const minutes = number("minutes", 5, { least: 1, most: 1440 });
  const seed = number("seed", Date.now() % 1_000_000_000, { least: 0, most: 1_000_000_000 });
  console.log(`seed ${seed}`);
  return await soak(minutes, seed) ? exitCode.ok : exitCode.failed;
}

if (import.meta.main) await runTool(main);
