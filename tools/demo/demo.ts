/**
 * The main job, to watch: a server, consumers and a producer as a user would start them, their own
 * lines as they come, and a timeline at the end.
 *
 * ```sh
 * deno task demo [task_file] [consumers] [--page]
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

const help = `Usage: deno task demo [task_file] [consumers] [--page]

Runs a server, consumers and a producer, and shows what they print and when tasks were worked on.

  [task_file]  (default: examples/tasks.txt; with --page examples/lively.txt)
  [consumers]  1 to 50 (default: 2; with --page 4)
  --page       show the server's page in a browser instead of what the programs print`;

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

/** Takes a program's lines as they come, and shows none. */
function taken(_name: string, take: (line: string) => void = () => {}): StartOptions {
  return {
    onLine: (line, end) => {
      if (end === "stdout") take(line);
    },
  };
}

/** Shows a program's lines as they come, each behind the program's name. */
function shown(name: string, take: (line: string) => void = () => {}): StartOptions {
  const color = Deno.stdout.isTerminal() ? roleColors[name.replace(/\d+$/, "")] ?? "" : "";
  return {
    onLine: (line, end) => {
      console.log(`${color}${name.padEnd(10)}${color && "\x1b[0m"} ${line}`);
      if (end === "stdout") take(line);
    },
  };
}

/** What to demonstrate. */
interface Demonstration {
  readonly taskFile: string;
  readonly consumerCount: number;
  /** True if the server's page shows it, and not what the programs print. */
  readonly hasPage: boolean;
}

/** Runs the programs and draws what was worked on; returns what was wrong. */
async function demonstrate(
  { taskFile, consumerCount, hasPage }: Demonstration,
): Promise<readonly string[]> {
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
  const shownAs = hasPage ? taken : shown;
  const server = stack.use(
    await startServer(launcher, {
      ...shownAs("server", takeServerLine),
      args: hasPage ? ["--http", "127.0.0.1:0"] : [],
    }),
  );
  if (hasPage) {
    const { text } = await server.stderr.line(/^page: /);
    console.log(`Open ${text.slice("page: ".length)} in a browser. Ctrl+C ends it.`);
  }
  const consumers: Program[] = [];
  for (const row of rows) {
    const options = shownAs(row.name, (line) => takeConsumerLine(row, line));
    const consumer = stack.use(startConsumer(launcher, server.consumerPort, options));
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
  const line = { program: "deno task demo", help, positionals, flags: ["page"] };
  await runTool(line, async (args) => {
    const hasPage = args.flags.has("page");
    const standard = hasPage
      ? ["examples/lively.txt", "4"] as const
      : ["examples/tasks.txt", "2"] as const;
    const [taskFile = standard[0], consumers = standard[1]] = args.positionals;
    const consumerCount = parseWholeNumber(consumers, { name: "consumers", least: 1, most: 50 });
    const problems = await demonstrate({ taskFile, consumerCount, hasPage });
    console.log(
      problems.length === 0
        ? "\nEvery task was done exactly once, in a correct order."
        : `\nWRONG:\n${problems.join("\n")}`,
    );
    return problems.length === 0 ? exitCode.ok : exitCode.failed;
  });
}
