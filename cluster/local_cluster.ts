/**
 * A cluster on this machine, to be tried out: three nodes of PostgreSQL in a temporary folder, of
 * which a commit needs two, and two fronts. With `--demo` it does the assignment's tasks, and the
 * primary is killed in the middle.
 *
 * ```sh
 * deno task cluster [--demo]
 * ```
 *
 * @module
 */

import { exitCode } from "../lib/cli/arguments.ts";
import { type Program as Frame, runProgram } from "../lib/cli/program.ts";
import { untilAborted } from "../lib/clock.ts";
import { parseConsumerEvent, parseServerEvent } from "../lib/core/events.ts";
import type { Priority } from "../lib/core/task.ts";
import { type Bar, drawTimeline, type Row } from "../lib/http/timeline.ts";
import {
  denoRun,
  projectFolder,
  type ServerProgram,
  startConsumer,
  startProducer,
} from "../tests/lab/processes.ts";
import { PostgresNodes } from "./lab/postgres.ts";
import { startFront } from "./lab/start_front.ts";

const help = `Usage: deno task cluster [--demo]

Starts three nodes of PostgreSQL in a temporary folder, with a queue that outlives the end of any
one, and two fronts. Ctrl+C ends them all, and removes the folder.

Options:
  --demo         do the assignment's tasks through both fronts, and kill the primary in the middle
  -h, --help     print this help
  -V, --version  print the version`;

/** The tasks of the demonstration. */
const taskFile = `${projectFolder}examples/tasks.txt`;

/** The primary is killed once so many tasks are done. */
const doneBeforeKill = 3;

/** The columns of the timeline if there is no terminal. */
const standardWidth = 80;

async function main(frame: Frame): Promise<number> {
  try {
    return await runCluster(frame);
  } catch (error) {
    // Ctrl+C also ends what has been started from the terminal, such as initdb, and that is no fault.
    if (frame.stopped.aborted) return exitCode.ok;
    throw error;
  }
}

async function runCluster({ args, log, errors, stopped }: Frame): Promise<number> {
  const say = (line: string) => log?.write(line);
  errors.write("starting three nodes of PostgreSQL: some five seconds");
  await using nodes = await PostgresNodes.start({ count: 3, fsync: true });
  await nodes.primary.createQueue("queue");
  stopped.throwIfAborted();
  const demo = args.flags.has("demo") ? new Demonstration(nodes, say) : undefined;
  const start = (name: string) =>
    startFront(nodes.hosts, "queue", [], {
      onLine: (line, end) => {
        say(`${name.padEnd(10)} ${line}`);
        if (end === "stdout") demo?.takeFrontEvent(line);
      },
    });
  await using one = await start("front1");
  await using other = await start("front2");
  const fronts = [one, other];
  const list = nodes.nodes.map(({ name, port }) => `${name} 127.0.0.1:${port}`).join(", ");
  say(`nodes      ${list}, in ${nodes.folder}`);
  if (demo === undefined) say("Ctrl+C ends them all");
  await untilAborted(demo?.run(fronts) ?? new Promise<never>(() => {}), stopped);
  await Promise.all(fronts.map((front) => front.isRunning ? front.stop() : undefined));
  if (stopped.aborted) return exitCode.ok;
  return demo?.tell() ?? true ? exitCode.ok : exitCode.failed;
}

/** The assignment's tasks, done through two fronts while the primary dies. */
class Demonstration {
  readonly #nodes: PostgresNodes;
  readonly #say: (line: string) => void;
  readonly #primaries: Bar[] = [];
  readonly #rows: (Row & { consumer: number })[] = [];
  readonly #priorities = new Map<string, Priority>();
  readonly #done: string[] = [];
  readonly #someDone = Promise.withResolvers<void>();
  readonly #allDone = Promise.withResolvers<void>();
  #tasks = Infinity;

  constructor(nodes: PostgresNodes, say: (line: string) => void) {
    this.#nodes = nodes;
    this.#say = say;
  }

  /** Takes a line of a front's standard output. */
  takeFrontEvent(line: string): void {
    const event = parseServerEvent(line);
    if (event?.kind === "created") this.#priorities.set(event.task.taskId, event.task.priority);
    if (event?.kind !== "assigned") return;
    this.#rows.find(({ consumer }) => consumer === event.consumer)?.bars.push({
      label: event.taskId,
      priority: this.#priorities.get(event.taskId) ?? 3,
      ...{ startMs: performance.now(), endMs: undefined },
    });
  }

  /** Runs it. */
  async run(fronts: readonly ServerProgram[]): Promise<void> {
    const text = await Deno.readTextFile(taskFile);
    this.#tasks = text.trim().split("\n").length;
    await using stack = new AsyncDisposableStack();
    for (const [i, front] of fronts.entries()) {
      const row = { name: `consumer${i + 1}`, bars: [], consumer: 0 };
      this.#rows.push(row);
      const consumer = stack.use(startConsumer(denoRun, front.consumerPort, {
        onLine: (line, end) => end === "stdout" && this.#takeConsumerLine(row, line),
      }));
      await consumer.stdout.line(/^NOTASK$/);
    }
    this.#beginPrimary();
    const producer = stack.use(
      startProducer(denoRun, (fronts[0] as ServerProgram).producerPort, taskFile),
    );
    await this.#someDone.promise;
    await this.#killPrimary();
    await this.#allDone.promise;
    await producer.exitCode();
    this.#endPrimary();
  }

  #takeConsumerLine(row: Row & { consumer: number }, line: string): void {
    const event = parseConsumerEvent(line);
    if (event?.kind === "greeted") row.consumer = event.consumer;
    if (event?.kind !== "worked") return;
    this.#say(`${row.name.padEnd(10)} ${line}`);
    const bar = row.bars.find(({ label, endMs }) => label === event.taskId && endMs === undefined);
    if (bar !== undefined) bar.endMs = performance.now();
    this.#done.push(event.taskId);
    if (this.#done.length === doneBeforeKill) this.#someDone.resolve();
    if (this.#done.length === this.#tasks) this.#allDone.resolve();
  }

  async #killPrimary(): Promise<void> {
    this.#say(`--- kill -9 of ${this.#nodes.primary.name}, the primary ---`);
    this.#endPrimary();
    await this.#nodes.killPrimary();
    const { name } = await this.#nodes.promote();
    this.#beginPrimary();
    this.#say(`--- ${name} is promoted: it had received most ---`);
  }

  #beginPrimary(): void {
    const { name } = this.#nodes.primary;
    this.#primaries.push({
      ...{ label: name, priority: 2, startMs: performance.now(), endMs: undefined },
    });
  }

  #endPrimary(): void {
    const last = this.#primaries.at(-1);
    if (last !== undefined) last.endMs = performance.now();
  }

  /** Shows who did what, and when; false if a task was lost, or done twice. */
  tell(): boolean {
    const width = Deno.stdout.isTerminal() ? Deno.consoleSize().columns : standardWidth;
    const rows = [{ name: "primary", bars: this.#primaries }, ...this.#rows];
    this.#say("\n" + drawTimeline(rows, { width }));
    const isRight = new Set(this.#done).size === this.#tasks && this.#done.length === this.#tasks;
    this.#say(
      isRight
        ? "\nEvery task was done exactly once, though the primary was killed."
        : `\nWRONG: ${this.#tasks} tasks, done: ${this.#done.join(" ")}`,
    );
    return isRight;
  }
}

if (import.meta.main) {
  await runProgram(
    { program: "deno task cluster", help, positionals: { least: 0, most: 0 }, flags: ["demo"] },
    main,
    // The second Ctrl+C of somebody impatient would leave 200 MB behind.
    { saysExit: false, endsAtOnce: false },
  );
}
