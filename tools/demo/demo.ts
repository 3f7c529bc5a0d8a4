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

import { fileURLToPath } from "node:url";
import { TextLineStream } from "@std/streams/text-line-stream";
import { exitCode, parseCommandLine, parseWholeNumber } from "../../lib/cli/arguments.ts";
import { UsageError, UserError } from "../../lib/user_error.ts";
import { comesBefore, type Task } from "../../lib/core/task.ts";
import { parsePriority } from "../../lib/core/protocol.ts";
import { parseTaskFile, type TimedTask } from "../../lib/core/task_file.ts";
import config from "../../deno.json" with { type: "json" };
import { type Program, taskFlags } from "../build/compile.ts";
import { type Bar, drawTimeline } from "./timeline.ts";
import { runTool } from "../run_tool.ts";

const help = `Usage: deno task demo [task_file] [consumers]

Runs a server, consumers and a producer, and shows what they print and when tasks were worked on.

  [task_file]  (default: examples/tasks.txt)
  [consumers]  1 to 50 (default: 2)`;

const roleColors: Readonly<Record<string, string>> = {
  server: "\x1b[36m",
  consumer: "\x1b[32m",
  producer: "\x1b[33m",
};

/** One program of the demonstration. */
class Role {
  readonly name: string;
  readonly #child: Deno.ChildProcess;
  readonly #output: Promise<unknown>;
  readonly #waiting: { pattern: RegExp; resolve: (line: string) => void }[] = [];

  constructor(program: Program, args: readonly string[], options: {
    readonly name: string;
    readonly onLine: (line: string) => void;
  }) {
    const { name, onLine } = options;
    this.name = name;
    const script = fileURLToPath(new URL(`../../${program}.ts`, import.meta.url));
    const flags = taskFlags(program, config.tasks[program].command);
    this.#child = new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", ...flags, script, ...args],
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const take = (line: string) => {
      show(name, line);
      onLine(line);
      for (const waiter of this.#waiting) {
        if (waiter.pattern.test(line)) waiter.resolve(line);
      }
    };
    this.#output = Promise.all([
      eachLine(this.#child.stdout, take),
      eachLine(this.#child.stderr, take),
    ]);
  }

  /** Awaits a line; fails where the program ends without it. */
  line(pattern: RegExp): Promise<string> {
    const found = new Promise<string>((resolve) => this.#waiting.push({ pattern, resolve }));
    return Promise.race([found, this.tooEarlyEnd()]);
  }

  /** Fails when the program ends. */
  async tooEarlyEnd(): Promise<never> {
    await this.#output;
    throw new UserError(`${this.name} ended too early`);
  }

  /** Awaits the end. */
  async end(signal?: Deno.Signal): Promise<void> {
    if (signal !== undefined) this.#child.kill(signal);
    const { code } = await this.#child.status;
    await this.#output;
    if (code !== 0) throw new UserError(`${this.name} ended with exit code ${code}`);
  }

  /** Ends the program, whatever it is doing. */
  kill(): void {
    try {
      this.#child.kill("SIGKILL");
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // it has ended
    }
  }
}

/** Follows the server's lines: what they say must be the work of a priority queue. */
class Referee {
  /** Tasks worked on so far, also those under way. */
  readonly bars: (Bar & { readonly consumer: string })[] = [];
  readonly problems: string[] = [];
  completed = 0;
  readonly #waiting: Task[] = [];
  #arrivals = 0;

  takeServerLine(line: string): void {
    const [verb, ...fields] = line.split(" ");
    if (verb === "[CREATE]") {
      const [priority, taskId, duration] = fields as [string, string, string];
      this.#waiting.push({
        priority: parsePriority(priority),
        taskId,
        duration,
        arrival: ++this.#arrivals,
      });
    } else if (verb === "[ASSIGN]") {
      const [taskId, , consumer] = fields as [string, string, string];
      this.#assign(taskId, consumer);
    }
  }

  takeConsumerLine(consumer: string, line: string): void {
    const taskId = /^\[COMPLETE\] (.+)$/.exec(line)?.[1];
    if (taskId === undefined) return;
    const bar = this.bars.find((bar) =>
      bar.consumer === consumer && bar.label === taskId && bar.endMs === undefined
    );
    if (bar === undefined) {
      this.problems.push(`${consumer} completed ${taskId}, which it had not been given`);
    } else {
      bar.endMs = performance.now();
      this.completed++;
    }
  }

  #assign(taskId: string, consumer: string): void {
    const first = this.#waiting.toSorted((a, b) => comesBefore(a, b) ? -1 : 1)[0];
    if (first?.taskId !== taskId) {
      const expected = first === undefined ? "nothing was waiting" : `${first.taskId} was first`;
      this.problems.push(`${taskId} was handed out when ${expected}`);
      return;
    }
    this.#waiting.splice(this.#waiting.indexOf(first), 1);
    this.bars.push({
      consumer,
      label: taskId,
      priority: first.priority,
      startMs: performance.now(),
      endMs: undefined,
    });
  }
}

async function demonstrate(taskFile: string, consumerCount: number): Promise<string[]> {
  const tasks = readTasks(taskFile);
  const referee = new Referee();
  const allDone = Promise.withResolvers<void>();
  const roles: Role[] = [];
  const start = (
    program: Program,
    args: string[],
    { name = program as string, onLine = (_line: string): void => {} } = {},
  ) => {
    const role = new Role(program, args, { name, onLine });
    roles.push(role);
    return role;
  };
  try {
    const server = start("server", ["127.0.0.1", "0", "0"], {
      onLine: (line) => referee.takeServerLine(line),
    });
    const listening = await server.line(/^listening: /);
    const [producerPort, consumerPort] = [...listening.matchAll(/:(\d+)/g)].map((m) =>
      String(m[1])
    );

    const consumers: Role[] = [];
    for (let n = 1; n <= consumerCount; n++) {
      const name = `consumer${n}`;
      const onLine = (line: string) => {
        referee.takeConsumerLine(name, line);
        if (referee.completed === tasks.length || referee.problems.length > 0) allDone.resolve();
      };
      const consumer = start("consumer", ["127.0.0.1", consumerPort as string], { name, onLine });
      consumers.push(consumer);
      await consumer.line(/^NOTASK$/);
    }
    const producer = start("producer", ["127.0.0.1", producerPort as string, taskFile]);
    if (tasks.length > 0) {
      const failures = [server, ...consumers].map((role) => role.tooEarlyEnd());
      await Promise.race([allDone.promise, ...failures]);
    }
    await producer.end();
    for (const consumer of consumers) await consumer.end("SIGINT");
    await server.end("SIGINT");
  } finally {
    for (const role of roles) role.kill();
  }
  const names = Array.from({ length: consumerCount }, (_, index) => `consumer${index + 1}`);
  console.log(
    "\n" + drawTimeline(
      names.map((name) => ({ name, bars: referee.bars.filter((bar) => bar.consumer === name) })),
      { width: terminalWidth() },
    ),
  );
  return referee.problems;
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

async function eachLine(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
  take: (line: string) => void,
): Promise<void> {
  const lines = stream.pipeThrough(new TextDecoderStream()).pipeThrough(new TextLineStream());
  for await (const line of lines) take(line);
}

function show(name: string, line: string): void {
  const color = Deno.stdout.isTerminal() ? roleColors[name.replace(/\d+$/, "")] ?? "" : "";
  console.log(`${color}${name.padEnd(10)}${color && "\x1b[0m"} ${line}`);
}

function terminalWidth(): number {
  try {
    return Deno.consoleSize().columns;
  } catch {
    return 80; // no terminal
  }
}

async function main(): Promise<number> {
  const args = parseCommandLine(Deno.args, {
    program: "demo",
    help,
    positionals: { least: 0, most: 2 },
  });
  if (typeof args === "string") {
    console.log(args);
    return exitCode.ok;
  }
  const [taskFile = "examples/tasks.txt", consumers = "2"] = args.positionals;
  const consumerCount = parseWholeNumber(consumers, { name: "consumers", least: 1, most: 50 });
  const problems = await demonstrate(taskFile, consumerCount);
  console.log(
    problems.length === 0
      ? "\nEvery task was done exactly once, in a correct order."
      : `\nWRONG:\n${problems.join("\n")}`,
  );
  return problems.length === 0 ? exitCode.ok : exitCode.failed;
}

if (import.meta.main) await runTool(main);
