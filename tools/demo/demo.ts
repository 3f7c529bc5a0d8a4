/**
 * The main job, to watch: a server, consumers and a producer as a user would start them, their own
 * lines as they come, and a timeline at the end.
 *
 * ```sh
 * deno task demo [task_file] [consumers]
 * ```
 *
 * @module
 */

import { exitCode, parseWholeNumber } from "../../lib/cli/arguments.ts";
import { UsageError, UserError } from "../../lib/user_error.ts";
import { parsePriority } from "../../lib/core/protocol.ts";
import { parseTaskFile, type TimedTask } from "../../lib/core/task_file.ts";
import config from "../../deno.json" with { type: "json" };
import { EventModel } from "../../tests/lab/judges/event_model.ts";
import {
  denoRunWith,
  type Program,
  startConsumer,
  type StartOptions,
  startProducer,
  startServer,
} from "../../tests/lab/processes.ts";
import { taskFlags } from "../build/compile.ts";
import { runTool } from "../tool.ts";
import { type Bar, drawTimeline, type Row } from "../../lib/http/timeline.ts";

const help = `Usage: deno task demo [task_file] [consumers]

Runs a server, consumers and a producer, and shows what they print and when tasks were worked on.

  [task_file]  (default: examples/tasks.txt)
  [consumers]  1 to 50 (default: 2)`;

const roleColors: Readonly<Record<string, string>> = {
  server: "\x1b[36m",
  consumer: "\x1b[32m",
  producer: "\x1b[33m",
};

/** The programs with the flags of their tasks. */
const launcher = denoRunWith((role) => [
  "--quiet",
  ...taskFlags(role, config.tasks[role].command),
]);

/** Shows a program's lines as they come, each behind the program's name. */
function shownAs(name: string, take: (line: string) => void = () => {}): StartOptions {
  const color = Deno.stdout.isTerminal() ? roleColors[name.replace(/\d+$/, "")] ?? "" : "";
  return {
    onLine: (line, end) => {
      console.log(`${color}${name.padEnd(10)}${color && "\x1b[0m"} ${line}`);
      if (end === "stdout") take(line);
    },
  };
}

/** Runs the programs and draws what was worked on; returns what was wrong. */
async function demonstrate(taskFile: string, consumerCount: number): Promise<readonly string[]> {
  const taskCount = readTasks(taskFile).length;
  const model = new EventModel({ mayRepeat: true });
  const rows = Array.from({ length: consumerCount }, (_, i) => ({
    ...{ name: `consumer${i + 1}`, bars: [] as Bar[] },
  }));
  const allDone = Promise.withResolvers<void>();
  let completed = 0;

  const takeServerLine = (line: string) => {
    const task = model.take(line);
    if (task === undefined) return;
    rows[task.consumer - 1]?.bars.push({
      ...{ label: task.name, priority: parsePriority(String(task.priority)) },
      ...{ startMs: performance.now(), endMs: undefined },
    });
  };
  const takeConsumerLine = ({ name, bars }: Row, line: string) => {
    const taskId = /^\[COMPLETE\] (.+)$/.exec(line)?.[1];
    if (taskId === undefined) return;
    const bar = bars.find((bar) => bar.label === taskId && bar.endMs === undefined);
    if (bar === undefined) model.fail(`${name} completed ${taskId}, which it had not been given`);
    else bar.endMs = performance.now();
    if (++completed === taskCount || model.faults.length > 0) allDone.resolve();
  };

  await using stack = new AsyncDisposableStack();
  const server = stack.use(await startServer(launcher, shownAs("server", takeServerLine)));
  const consumers: Program[] = [];
  for (const row of rows) {
    const shown = shownAs(row.name, (line) => takeConsumerLine(row, line));
    const consumer = stack.use(startConsumer(launcher, server.consumerPort, shown));
    consumers.push(consumer);
    await consumer.stdout.line(/^NOTASK$/);
  }
  const producer = stack.use(
    startProducer(launcher, server.producerPort, taskFile, shownAs("producer")),
  );
  const tooEarly = [server, ...consumers].map(async ({ name, stdout }) => {
    await stdout.ended;
    throw new UserError(`${name} ended too early`);
  });
  if (taskCount === 0) allDone.resolve();
  await Promise.race([allDone.promise, ...tooEarly]);
  if (model.faults.length > 0) return model.faults;
  expectEnd(producer, await producer.exitCode());
  for (const program of [...consumers, server]) expectEnd(program, await program.stop());
  console.log("\n" + drawTimeline(rows, { width: terminalWidth() }));
  return model.faults;
}

function expectEnd({ name }: Program, code: number): void {
  if (code !== 0) throw new UserError(`${name} ended with exit code ${code}`);
}

function readTasks(taskFile: string): readonly TimedTask[] {
  let bytes: Uint8Array;
  try {
    bytes = Deno.readFileSync(taskFile);
  } catch (error) {
    throw new UsageError(`Cannot read ${taskFile}: ${(error as Error).message}`);
  }
  const file = parseTaskFile(bytes, taskFile);
  if ("errors" in file) throw new UsageError(file.errors.join("\n"));
  return file.tasks;
}

function terminalWidth(): number {
  try {
    return Deno.consoleSize().columns;
  } catch {
    return 80; // no terminal
  }
}

if (import.meta.main) {
  const positionals = { least: 0, most: 2 };
  await runTool({ program: "deno task demo", help, positionals }, async (args) => {
    const [taskFile = "examples/tasks.txt", consumers = "2"] = args.positionals;
    const consumerCount = parseWholeNumber(consumers, { name: "consumers", least: 1, most: 50 });
    const problems = await demonstrate(taskFile, consumerCount);
    console.log(
      problems.length === 0
        ? "\nEvery task was done exactly once, in a correct order."
        : `\nWRONG:\n${problems.join("\n")}`,
    );
    return problems.length === 0 ? exitCode.ok : exitCode.failed;
  });
}
