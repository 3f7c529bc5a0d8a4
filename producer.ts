/**
 * The producer: sends each task of a file to the server at its time.
 *
 * @module
 */

import { formatAddress } from "./lib/address.ts";
import { connectPatiently } from "./lib/net/connect_patiently.ts";
import {
  accessFlags,
  accessHelp,
  accessOptions,
  adviceOn,
  readClientAccess,
} from "./lib/cli/access_options.ts";
import { exitCode, parsePort, parseWholeNumber } from "./lib/cli/arguments.ts";
import { explainUnreadable } from "./lib/cli/files.ts";
import { keepPermissions } from "./lib/cli/permissions.ts";
import { UsageError, UserError } from "./lib/user_error.ts";
import { nowMs, sleep, sleepUntil, untilAborted } from "./lib/clock.ts";
import { Connection, ConnectionGroup } from "./lib/net/connection.ts";
import type { EventLog } from "./lib/cli/event_log.ts";
import { type Program, runProgram } from "./lib/cli/program.ts";
import { counted } from "./lib/counted.ts";
import { formatServerEvent } from "./lib/core/events.ts";
import {
  formatCommand,
  formatReply,
  maxLineBytes,
  parseReason,
  parseReply,
  parseToken,
  ProtocolError,
  type Reply,
} from "./lib/core/protocol.ts";
import { TaskFileParser, type TimedTask } from "./lib/core/task_file.ts";

/**
 * Most tasks sent at once. `[CREATE]` is printed for a batch when the kernel has taken it. A batch
 * of this size fits into the kernel's buffers, so that the lines are not late.
 */
const maxTasksPerBatch = 500;

/** If the server has not closed after this many milliseconds, the user is told. */
const closeHintMs = 2_000;

/**
 * After this many milliseconds the producer stops waiting for the server's close. Waits that it
 * does not give up, such as for confirmations, are mentioned this often.
 */
const maxCloseWaitMs = 10_000;

/** How long closing waits for the reader of the answers to end, in milliseconds. */
const closeLimitMs = 100;

/** Most refusals that are shown. Others are only counted: a server may refuse a million tasks. */
const maxShownErrors = 10;

/** Longest task file, in bytes, and how much of it is read at a time. */
const maxFileBytes = 1024 ** 3;
const filePieceBytes = 64 * 1024;

/** The assignment's names for the task file, tried in this order if the user names none. */
const defaultTaskFiles = ["tasks.txt", "task.txt"];

const help = `Usage: producer <ip> <port> [task_file] [options]

Sends each task of a file to the server at its time.
Ctrl+C ends it.

  <ip>         IPv4 address or name of the server
  <port>       the server's port for producers
  [task_file]  one task per line: timestamp priority task_id duration; - is stdin
               (default: tasks.txt, then task.txt)

Options:
  --sync               have the server confirm the tasks; exit 0 only if all are confirmed
  --from <n>           begin with the n-th task, in the order of sending
  --retry              wait for a server that is not there, or is full; with --sync, also for one
                       that is not there any more, and go on with the first task not confirmed
${accessHelp}
  -q, --quiet          print no event lines
  -h, --help           print this help
  -V, --version        print the version

Exit codes: 0 all tasks sent; 1 failed, or some tasks were refused or perhaps not taken;
2 wrong arguments or task file; 130 ended by Ctrl+C before all tasks were sent
Example: producer 127.0.0.1 5000 tasks.txt`;

async function main({ args, log, errors, stopped }: Program): Promise<number> {
  const [ip, portText, taskFile] = args.positionals as [string, string, string | undefined];
  const port = parsePort(portText, "port");
  const from = parseWholeNumber(args.options.get("from") ?? "1", {
    name: "--from",
    least: 1,
    most: Number.MAX_SAFE_INTEGER,
  });
  const say = (line: string) => errors.write(line);
  const { token, tls } = await readClientAccess(args, { check: parseToken, say });
  const tasks = await readTasks(taskFile, { errors, stopped });
  if (tasks === undefined) {
    errors.write("interrupted: nothing was sent");
    return exitCode.interrupted;
  }
  if (from > Math.max(1, tasks.length)) {
    throw new UsageError(
      `--from must be at most ${tasks.length}, the number of tasks, got ${from}`,
    );
  }
  const isSync = args.flags.has("sync");
  const isPatient = args.flags.has("retry");
  // What it needs from here on is the network alone.
  keepPermissions("net");
  const connections = connectPatiently({ hostname: ip, port, tls }, {
    signal: stopped,
    isPatient,
    say,
  });
  let delivery: Delivery | undefined;
  for await (const connection of connections) {
    // Time 0 is when the server takes tasks.
    const wasServed = delivery?.end !== "turned away" || delivery.confirmed > from - 1;
    delivery = new Delivery(connection.conn, {
      ...{ log, errors, stopped, tasks, isSync, isPatient, token },
      first: delivery?.confirmed ?? from - 1,
      startMs: wasServed ? delivery?.startMs ?? nowMs() : nowMs(),
    });
    try {
      await delivery.sendAll();
      await delivery.finish();
    } finally {
      await delivery.close();
    }
    if (!isPatient || stopped.aborted) break;
    if (delivery.end === "turned away") {
      connection.problem = `the server at ${delivery.server} says: ${delivery.reason}`;
      continue;
    }
    // Without --sync nobody knows which tasks the server has, and so from which to go on.
    if (!isSync || !delivery.isCutOff) break;
  }
  if (delivery === undefined) return explainInterrupted(tasks, { from, sent: from - 1, errors });
  return conclude(delivery, { from, tasks, isSync, errors, stopped });
}

/** What {@linkcode conclude} is given. */
interface ConclusionOptions {
  /** The number of the first task that was to be sent, from 1. */
  readonly from: number;
  readonly tasks: readonly TimedTask[];
  readonly isSync: boolean;
  readonly errors: EventLog;
  readonly stopped: AbortSignal;
}

/**
 * Tells the user what became of the tasks.
 *
 * @returns the exit code.
 * @throws {UserError} if the server has ended the delivery.
 */
function conclude(delivery: Delivery, options: ConclusionOptions): number {
  const { confirmed, refusals, end, server } = delivery;
  const sent = end === "turned away" ? confirmed : delivery.sent;
  const { from, tasks, isSync, errors, stopped } = options;
  if (end === "not let in") throw new UserError(`the server at ${server} ${delivery.reason}`);
  if (end === "wrong port") {
    throw new UserError(`${server} is the server's port for consumers: use its port for producers`);
  }
  if (refusals > (isSync ? maxShownErrors : 0)) {
    errors.write(`the server answered with ${counted(refusals, "error")}`);
  }
  const rest = `the first ${confirmed === 1 ? "task is" : `${confirmed} tasks are`} confirmed: ` +
    `send the rest with --from ${confirmed + 1}`;
  if (stopped.aborted && sent < tasks.length) {
    if (isSync) errors.write(rest);
    return explainInterrupted(tasks, { from, sent, errors });
  }
  if (isSync) {
    if (confirmed === tasks.length) return exitCode.ok;
    if (!stopped.aborted) throw new UserError(rest);
    errors.write(rest);
    return exitCode.interrupted;
  }
  if (end === "closed" || end === "shut down") {
    const next = tasks[sent];
    throw new UserError(
      `the server at ${server} ${
        end === "closed" ? "closed the connection" : "is shutting down"
      }: ` +
        `${counted(sent - (from - 1), "task was", "tasks were")} sent, none is confirmed, ` +
        (next === undefined ? "none was left" : `the first not sent is ${next.taskId}`),
    );
  }
  return refusals > 0 || end === "silent" ? exitCode.failed : exitCode.ok;
}

/** What a {@linkcode Delivery} is given. */
interface DeliveryOptions {
  readonly log: EventLog | undefined;
  readonly errors: EventLog;
  readonly stopped: AbortSignal;
  /** All tasks, in the order of sending. */
  readonly tasks: readonly TimedTask[];
  /** The index of the first task to send; those before it need no sending. */
  readonly first: number;
  /** Time 0 of the tasks' timestamps, on the clock of {@linkcode nowMs}. */
  readonly startMs: number;
  /** Whether the server is asked to confirm the tasks, by `SYNC`. */
  readonly isSync: boolean;
  /** What the server asks for first; undefined if nothing is to be said. */
  readonly token: string | undefined;
  /** Whether there is another delivery if the server has no room for this one. */
  readonly isPatient: boolean;
}

/**
 * How a delivery ended.
 *
 * - `taken`: it closed after all tasks were sent, which means that it took all of them.
 * - `closed`: it closed before that, or the connection broke off.
 * - `shut down`: it said `DONE`.
 * - `turned away`: it had no room for this producer, which is patient.
 * - `not let in`: it asks for a token or for TLS, or for none.
 * - `wrong port`: it greeted a consumer.
 * - `silent`: it did not close in time after all tasks were sent.
 * - `given up`: this producer ended it, because the server did not confirm what it was asked to.
 * - undefined: not yet, or by the user.
 */
type DeliveryEnd =
  | "taken"
  | "closed"
  | "shut down"
  | "turned away"
  | "not let in"
  | "wrong port"
  | "silent"
  | "given up"
  | undefined;

/** Sends tasks over one connection, and keeps account of what the server says about them. */
class Delivery {
  /** The server's address and port. */
  readonly server: string;
  /** Time 0 of the tasks' timestamps. */
  readonly startMs: number;
  /** How many tasks the kernel has taken, with those that needed no sending. */
  sent: number;
  /** How many tasks need no sending any more: those, and the next ones that the server confirmed. */
  confirmed: number;
  /** How many `ERROR` lines the server has sent. */
  refusals = 0;
  /** How the delivery ended. */
  end: DeliveryEnd;
  /** What the server said when it turned this producer away, or what to do to be let in. */
  reason = "";

  readonly #connection: Connection;
  readonly #options: DeliveryOptions;
  readonly #reading: Promise<void>;
  /** Aborts when going on has no use: the server is gone, or does not confirm. */
  readonly #over = new AbortController();
  /** Aborts with `#over`, or when the user ends the program. */
  readonly #ending: AbortSignal;
  /** Resolves when the server has confirmed all tasks. */
  readonly #allConfirmed = Promise.withResolvers<void>();
  /** How many tasks the connection was given, whether or not the kernel has taken them. */
  #given = 0;
  /** For each `SYNC` without an answer yet: how many tasks were sent before it. */
  readonly #asked: number[] = [];
  #hasHalfClosed = false;
  /** Whether the server has said anything yet. */
  #hasAnswered = false;

  constructor(conn: Deno.TcpConn | Deno.TlsConn, options: DeliveryOptions) {
    this.#connection = new Connection(conn, new ConnectionGroup({ maxLineBytes }));
    this.server = formatAddress(conn.remoteAddr);
    this.#options = options;
    this.startMs = options.startMs;
    this.sent = this.confirmed = options.first;
    this.#ending = AbortSignal.any([options.stopped, this.#over.signal]);
    if (options.token !== undefined) {
      this.#connection.send(formatCommand({ kind: "auth", token: options.token }));
    }
    this.#reading = this.#readAnswers();
  }

  /** Whether the server has gone before it confirmed all tasks. */
  get isCutOff(): boolean {
    const isGone = this.end === "closed" || this.end === "shut down";
    return isGone && this.confirmed < this.#options.tasks.length;
  }

  /** Sends each task at its timestamp; stops early if the delivery ends. */
  async sendAll(): Promise<void> {
    const { tasks } = this.#options;
    const dueMs = (task: TimedTask) => this.startMs + task.timestampSeconds * 1000;
    while (this.sent < tasks.length) {
      const first = tasks[this.sent] as TimedTask;
      if (!await sleepUntil(dueMs(first), this.#ending)) return;
      const batch = tasks.slice(this.sent, this.sent + maxTasksPerBatch);
      const now = nowMs();
      const later = batch.findIndex((task) => dueMs(task) > now);
      if (!await this.#sendBatch(later === -1 ? batch : batch.slice(0, later))) return;
    }
  }

  /**
   * If all tasks are sent (and, with `--sync`, confirmed): half-closes, and waits for the server to
   * close, too.
   */
  async finish(): Promise<void> {
    const { tasks, errors, isSync } = this.#options;
    if (this.sent < tasks.length || this.#ending.aborted) return;
    if (isSync && this.confirmed < tasks.length) {
      await this.#await(
        this.#allConfirmed.promise,
        () =>
          `waiting for the server: it has confirmed ${this.confirmed} of ${
            counted(tasks.length, "task")
          }`,
      );
      if (this.#ending.aborted) return;
    }
    this.#hasHalfClosed = true;
    await untilAborted(this.#connection.closeWrite(), this.#ending);
    const startMs = nowMs();
    if (!await sleepUntil(startMs + closeHintMs, this.#ending)) return;
    errors.write("all tasks are sent: waiting for the server to close");
    if (!await sleepUntil(startMs + maxCloseWaitMs, this.#ending)) return;
    this.end = "silent";
    errors.write(
      `the server did not close within ${maxCloseWaitMs / 1000} s` +
        (isSync ? "" : ": it may not have taken all tasks"),
    );
  }

  /** Closes the connection. */
  async close(): Promise<void> {
    this.#connection.close();
    await Promise.race([this.#reading, sleep(closeLimitMs)]);
  }

  /** Sends tasks, and prints those that the kernel takes; true if it took all of them. */
  async #sendBatch(batch: readonly TimedTask[]): Promise<boolean> {
    const connection = this.#connection;
    const { log, first, isSync } = this.#options;
    for (const task of batch) connection.send(formatCommand({ kind: "create", task }));
    this.#given += batch.length;
    if (isSync) {
      connection.send(formatCommand({ kind: "sync" }));
      this.#asked.push(this.#given);
    }
    connection.flush();
    await this.#await(
      connection.drained(),
      () => `waiting for the server: it takes no more after ${counted(this.sent - first, "task")}`,
    );
    const lines = batch.length + (isSync ? 1 : 0);
    // Of the first batch the token may be unsent, too.
    const taken = batch.slice(0, Math.max(0, lines - connection.unsentLines));
    for (const task of taken) log?.write(formatServerEvent({ kind: "created", task }));
    this.sent += taken.length;
    return taken.length === batch.length;
  }

  /** Waits as long as the server lives, and tells the user every 10 s what for. */
  async #await(promise: Promise<void>, describe: () => string): Promise<void> {
    const hints = setInterval(() => this.#options.errors.write(describe()), maxCloseWaitMs);
    await untilAborted(promise, this.#ending);
    clearInterval(hints);
  }

  async #readAnswers(): Promise<void> {
    while (this.end === undefined) {
      const lines = await this.#connection.readLines();
      if (lines === undefined) {
        // If the connection breaks off after the half-close, the server may not have taken all.
        this.end ??= this.#hasHalfClosed && !this.#connection.isBroken ? "taken" : "closed";
        break;
      }
      for (const line of lines) {
        if (this.end !== undefined) break;
        if (typeof line === "string") this.#takeAnswer(line);
      }
    }
    this.#over.abort();
  }

  #takeAnswer(line: string): void {
    const reply = parseReplyOrIgnore(line);
    // Its first line alone: what a server written by others says later may be anything.
    const isGreeted = reply?.kind === "greeting" && !this.#hasAnswered;
    this.#hasAnswered = true;
    if (isGreeted) this.end ??= "wrong port";
    else if (reply?.kind === "error") this.#takeRefusal(reply.reason);
    else if (reply?.kind === "ok" && this.#options.isSync) this.#takeConfirmation(reply.count);
    else if (reply?.kind === "done") {
      this.end ??= "shut down";
      // Close at once. The side that closes first keeps its port in TIME_WAIT, and the server's
      // port must be free for its next start.
      this.#connection.close();
    }
  }

  #takeRefusal(reason: string): void {
    const advice = adviceOn(parseReason(reason)?.kind, this.#options.token !== undefined);
    if (advice !== undefined) {
      this.end ??= "not let in";
      this.reason = advice;
      this.#over.abort();
      return;
    }
    if (this.#isTurnedAway(reason)) {
      this.end ??= "turned away";
      this.reason = formatReply({ kind: "error", reason });
      this.#over.abort();
      return;
    }
    if (++this.refusals <= maxShownErrors) {
      this.#options.errors.write(`the server says: ${formatReply({ kind: "error", reason })}`);
    }
    // Stop at the first refusal: the confirmed tasks must be the first ones, without a gap.
    if (this.#options.isSync) this.#giveUp();
  }

  /**
   * Whether the server may take the tasks later. If it has made way for a consumer, it may have
   * taken some: only with `--sync` it is known which.
   */
  #isTurnedAway(reason: string): boolean {
    const { isPatient, isSync } = this.#options;
    const kind = parseReason(reason)?.kind;
    return isPatient && (kind === "too many connections" || (kind === "made way" && isSync));
  }

  #takeConfirmation(count: number): void {
    const { tasks, first } = this.#options;
    const asked = this.#asked.shift();
    if (asked === undefined || count > asked || first + count < this.confirmed) {
      this.#options.errors.write(
        `the server confirms ${counted(count, "task")} after ` +
          `${counted(asked ?? this.#given, "was", "were")} sent: not believed`,
      );
      this.#giveUp();
      return;
    }
    this.confirmed = first + count;
    if (this.confirmed === tasks.length) this.#allConfirmed.resolve();
    // The server has left out some of these tasks, so it could confirm later ones only with a gap.
    else if (count < asked) this.#giveUp();
  }

  #giveUp(): void {
    this.end ??= "given up";
    this.#over.abort();
  }
}

/** Parses a reply; undefined if the line is none: other servers may say more than the protocol. */
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
  { from, sent, errors }: { from: number; sent: number; errors: EventLog },
): number {
  const first = tasks[sent];
  if (first === undefined) return exitCode.ok;
  const said = counted(sent - (from - 1), "task was sent", "tasks were sent");
  errors.write(`interrupted: ${said}, the first left out is ${first.taskId}`);
  return exitCode.interrupted;
}

/** What reading a task file needs beside its name. */
interface ReadingOptions {
  readonly errors: EventLog;
  readonly stopped: AbortSignal;
}

/**
 * Reads the named task file; or stdin, if the name is `-`; or the first default file that exists.
 *
 * @returns undefined if the user ended the program meanwhile.
 * @throws {UsageError} if the file cannot be read, or has errors.
 */
async function readTasks(
  named: string | undefined,
  options: ReadingOptions,
): Promise<readonly TimedTask[] | undefined> {
  if (named === "-") {
    if (Deno.stdin.isTerminal()) {
      options.errors.write("reading tasks from the terminal: end with Ctrl+D");
    }
    return await checkTasks(Deno.stdin, "stdin", options);
  }
  const names = named === undefined ? defaultTaskFiles : [named];
  for (const name of names) {
    try {
      // Opening a FIFO waits until a writer opens it, so Ctrl+C must be able to end the wait.
      const file = await untilAborted(Deno.open(name), options.stopped);
      return file && await checkTasks(file, name, options);
    } catch (error) {
      if (error instanceof UserError) throw error;
      const isMissing = error instanceof Deno.errors.NotFound;
      if (isMissing && name !== names.at(-1)) continue;
      throw explainUnreadable(error, isMissing ? names.join(" or ") : name);
    }
  }
  return [];
}

/**
 * Reads a file piece by piece, and checks it. It may be a FIFO, which may pause, or have no end.
 *
 * The file is not closed here: closing would wait for a read that is under way. The program's exit
 * closes it.
 */
async function checkTasks(
  file: { read(buffer: Uint8Array): Promise<number | null> },
  name: string,
  { errors, stopped }: ReadingOptions,
): Promise<readonly TimedTask[] | undefined> {
  const parser = new TaskFileParser(name);
  const buffer = new Uint8Array(filePieceBytes);
  for (let rest = maxFileBytes;;) {
    const count = await untilAborted(file.read(buffer), stopped);
    if (count === undefined) return undefined;
    if (count === null) break;
    if ((rest -= count) < 0) {
      throw new UsageError(`${name}: a task file must have at most 1 GiB`);
    }
    parser.add(buffer.subarray(0, count));
  }
  const content = parser.finish();
  if ("errors" in content) throw new UsageError(content.errors.join("\n"));
  if (content.tasks.length === 0) errors.write(`${name} holds no tasks`);
  return content.tasks;
}

if (import.meta.main) {
  await runProgram({
    program: "producer",
    help,
    positionals: { least: 2, most: 3 },
    flags: ["sync", "retry", ...accessFlags],
    options: ["from", ...accessOptions],
  }, main);
}
