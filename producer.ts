/**
 * The producer: sends each task of a file to the server at its time.
 *
 * @module
 */

import { connect, formatAddress, parsePort, resolveHost } from "./lib/address.ts";
import { exitCode, parseWholeNumber, UserError } from "./lib/cli.ts";
import { nowMs, sleepUntil, untilAborted } from "./lib/clock.ts";
import { Connection } from "./lib/connection.ts";
import type { EventLog } from "./lib/event_log.ts";
import { type Program, runProgram } from "./lib/program.ts";
import { formatCreate, parseReply, ProtocolError, type Reply } from "./lib/protocol.ts";
import { parseTaskFile, type TimedTask } from "./lib/task_file.ts";

/** Tasks sent before their lines are printed: few enough to fit the kernel's buffers. */
const maxTasksPerBatch = 500;

/** After how long the wait for the server's close is mentioned, in milliseconds. */
const closeHintMs = 2_000;

/** After how long it is given up. */
const maxCloseWaitMs = 10_000;

/** Where the assignment's task file is looked for, when none is named. */
const defaultTaskFiles = ["tasks.txt", "task.txt"];

const help = `Usage: producer <ip> <port> [task_file] [options]

Sends each task of a file to the server at its time.
Ctrl+C ends it.

  <ip>         IPv4 address or name of the server
  <port>       the server's port for producers
  [task_file]  a line each: timestamp priority task_id duration; - is stdin
               (default: tasks.txt, then task.txt)

Options:
  --sync         have the server confirm the tasks; exit 0 only if all are
  --from <n>     leave out the tasks before the n-th, in the order of sending
  -h, --help     print this help
  -V, --version  print the version

Exit codes: 0 all sent, 1 failed or tasks refused, 2 wrong arguments or task file,
130 ended by Ctrl+C before all was sent`;

async function main({ args, log, errors, stopped }: Program): Promise<number> {
  const [ip, portText, taskFile] = args.positionals as [string, string, string | undefined];
  const port = parsePort(portText, "port");
  const from = parseWholeNumber(args.options.get("from") ?? "1", {
    name: "--from",
    least: 1,
    most: Number.MAX_SAFE_INTEGER,
  });
  const allTasks = await readTasks(taskFile, stopped);
  if (allTasks === undefined) {
    errors.write("interrupted: nothing was sent");
    return exitCode.interrupted;
  }
  if (allTasks.length === 0) errors.write("the task file holds no tasks");
  if (from > Math.max(1, allTasks.length)) {
    throw new UserError(
      `--from must be at most ${allTasks.length}, the number of tasks, got ${from}`,
      exitCode.usage,
    );
  }
  const tasks = allTasks.slice(from - 1);
  const address = { hostname: await resolveHost(ip), port };
  const conn = await connect(address, stopped);
  if (conn === undefined) return explainInterrupted(tasks, 0, errors);

  const delivery = new Delivery(new Connection(conn), {
    log,
    errors,
    stopped,
    isSync: args.flags.has("sync"),
  });
  try {
    await delivery.sendAll(tasks);
    await delivery.finish(tasks.length);
  } finally {
    await delivery.close();
  }
  const { sent, confirmed, refusals } = delivery;
  const isSync = args.flags.has("sync");
  const rest = `the first ${from - 1 + confirmed} tasks are confirmed: ` +
    `send the rest with --from ${from + confirmed}`;
  if (stopped.aborted && sent < tasks.length) {
    if (isSync) errors.write(rest);
    return explainInterrupted(tasks, sent, errors);
  }
  if (isSync) {
    if (confirmed === tasks.length) return exitCode.ok;
    throw new UserError(rest);
  }
  if (!delivery.isFinished && !stopped.aborted) {
    const next = tasks[sent];
    throw new UserError(
      `the server at ${formatAddress(address)} closed the connection: ${sent} tasks were sent, ` +
        `none is confirmed, ` +
        (next === undefined ? "none was left" : `the first not sent is ${next.taskId}`),
    );
  }
  if (refusals > 0) errors.write(`the server answered with ${refusals} errors`);
  return refusals > 0 ? exitCode.failed : exitCode.ok;
}

/** What a delivery works with. */
interface DeliveryOptions {
  readonly log: EventLog;
  readonly errors: EventLog;
  readonly stopped: AbortSignal;
  /** Whether the server is asked to confirm. */
  readonly isSync: boolean;
}

/** Tasks on their way over one connection, and what the server says of them. */
class Delivery {
  /** Tasks that the kernel has taken. */
  sent = 0;
  /** Leading tasks that the server has confirmed. */
  confirmed = 0;
  /** `ERROR` lines of the server. */
  refusals = 0;
  /** Whether the server took the half-close for the end, and not the other way round. */
  isFinished = false;

  readonly #connection: Connection;
  readonly #options: DeliveryOptions;
  readonly #reading: Promise<void>;
  /** Aborts where nothing more will come of this delivery: the server is gone, or refuses. */
  readonly #over = new AbortController();
  /** Aborts at {@linkcode #over}, or when the user ends the program. */
  readonly #ending: AbortSignal;
  /** Resolves when all is confirmed. */
  readonly #allConfirmed = Promise.withResolvers<void>();
  #taskCount = Infinity;

  constructor(connection: Connection, options: DeliveryOptions) {
    this.#connection = connection;
    this.#options = options;
    this.#ending = AbortSignal.any([options.stopped, this.#over.signal]);
    this.#reading = this.#readAnswers();
  }

  /** Sends each task at its timestamp; stops early where the delivery ends. */
  async sendAll(tasks: readonly TimedTask[]): Promise<void> {
    this.#taskCount = tasks.length;
    const startMs = nowMs();
    const dueMs = (task: TimedTask) => startMs + task.timestampSeconds * 1000;
    while (this.sent < tasks.length) {
      const first = tasks[this.sent] as TimedTask;
      if (!await sleepUntil(dueMs(first), this.#ending)) return;
      const batch = tasks.slice(this.sent, this.sent + maxTasksPerBatch);
      const now = nowMs();
      const later = batch.findIndex((task) => dueMs(task) > now);
      if (!await this.#sendBatch(later === -1 ? batch : batch.slice(0, later))) return;
    }
  }

  /** Half-closes once all is sent (and confirmed, where asked for), and awaits the server's close. */
  async finish(taskCount: number): Promise<void> {
    if (this.sent < taskCount || this.#ending.aborted) return;
    if (this.#options.isSync && this.confirmed < taskCount) {
      await untilAborted(this.#allConfirmed.promise, this.#ending);
      if (this.#ending.aborted) return;
    }
    this.isFinished = true;
    await this.#connection.closeWrite();
    const startMs = nowMs();
    if (!await sleepUntil(startMs + closeHintMs, this.#ending)) return;
    this.#options.errors.write("all tasks are sent: waiting for the server to close");
    if (!await sleepUntil(startMs + maxCloseWaitMs, this.#ending)) return;
    this.#options.errors.write(`the server did not close within ${maxCloseWaitMs / 1000} s`);
  }

  /** Closes the connection. */
  async close(): Promise<void> {
    this.#connection.close();
    await this.#reading;
  }

  async #sendBatch(batch: readonly TimedTask[]): Promise<boolean> {
    const connection = this.#connection;
    for (const task of batch) connection.send(formatCreate(task));
    if (this.#options.isSync) connection.send("SYNC");
    connection.flush();
    await untilAborted(connection.drained(), this.#ending);
    const lines = batch.length + (this.#options.isSync ? 1 : 0);
    const taken = batch.slice(0, lines - connection.unsentLines);
    for (const { priority, taskId, duration } of taken) {
      this.#options.log.write(`[CREATE] ${priority} ${taskId} ${duration}`);
    }
    this.sent += taken.length;
    return taken.length === batch.length;
  }

  async #readAnswers(): Promise<void> {
    for (;;) {
      const lines = await this.#connection.readLines();
      if (lines === undefined) break;
      for (const line of lines) {
        if (typeof line === "string") this.#takeAnswer(line);
      }
    }
    this.#over.abort();
  }

  #takeAnswer(line: string): void {
    const reply = parseReplyOrIgnore(line);
    if (reply?.kind === "ERROR") {
      this.refusals++;
      this.#options.errors.write(`the server says: ERROR ${reply.reason}`);
      // What is confirmed must stay a number of leading tasks.
      if (this.#options.isSync) this.#over.abort();
    } else if (reply?.kind === "OK" && this.refusals === 0) {
      this.confirmed = reply.count;
      if (this.confirmed === this.#taskCount) this.#allConfirmed.resolve();
    }
  }
}

/** Reads a reply; what a server says beyond the protocol is ignored here. */
function parseReplyOrIgnore(line: string): Reply | undefined {
  try {
    return parseReply(line);
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    return undefined;
  }
}

function explainInterrupted(
  tasks: readonly TimedTask[],
  sent: number,
  errors: EventLog,
): number {
  const first = tasks[sent];
  if (first === undefined) return exitCode.ok;
  errors.write(`interrupted: ${sent} tasks were sent, the first left out is ${first.taskId}`);
  return exitCode.interrupted;
}

/**
 * Reads the named task file, stdin, or the first default one that exists.
 *
 * @returns undefined where the signal came first.
 * @throws {UserError} with exit code 2 where it cannot be read or has errors.
 */
async function readTasks(
  named: string | undefined,
  stopped: AbortSignal,
): Promise<readonly TimedTask[] | undefined> {
  if (named === "-") {
    const input = new Response(Deno.stdin.readable).bytes();
    const bytes = await untilAborted(input, stopped);
    return bytes === undefined ? undefined : checkTasks(bytes, "stdin");
  }
  const names = named === undefined ? defaultTaskFiles : [named];
  for (const name of names) {
    try {
      return checkTasks(await Deno.readFile(name), name);
    } catch (error) {
      if (error instanceof UserError) throw error;
      const isMissing = error instanceof Deno.errors.NotFound;
      if (isMissing && name !== names.at(-1)) continue;
      throw explainUnreadable(error, isMissing ? names.join(" or ") : name);
    }
  }
  return [];
}

function checkTasks(bytes: Uint8Array, name: string): readonly TimedTask[] {
  const file = parseTaskFile(bytes, name);
  if ("errors" in file) throw new UserError(file.errors.join("\n"), exitCode.usage);
  return file.tasks;
}

function explainUnreadable(error: unknown, name: string): UserError {
  const reason = error instanceof Deno.errors.NotCapable
    ? "reading files is not allowed (run with --allow-read)"
    : error instanceof Deno.errors.NotFound
    ? "no such file"
    : error instanceof Deno.errors.IsADirectory
    ? "it is a directory"
    : error instanceof Deno.errors.PermissionDenied
    ? "permission denied"
    : error instanceof Error
    ? error.message
    : String(error);
  return new UserError(`Cannot read ${name}: ${reason}`, exitCode.usage);
}

if (import.meta.main) {
  await runProgram({
    program: "producer",
    help,
    positionals: { least: 2, most: 3 },
    flags: ["sync"],
    options: ["from"],
  }, main);
}
