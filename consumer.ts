/**
 * The consumer: asks the server for a task, works for its duration, and asks again.
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
import { exitCode, parsePort } from "./lib/cli/arguments.ts";
import { keepPermissions } from "./lib/cli/permissions.ts";
import { UserError } from "./lib/user_error.ts";
import { nowMs, sleep, sleepUntil, untilAborted } from "./lib/clock.ts";
import { Connection, ConnectionGroup } from "./lib/net/connection.ts";
import type { EventLog } from "./lib/cli/event_log.ts";
import { type Program, runProgram } from "./lib/cli/program.ts";
import { formatConsumerEvent } from "./lib/core/events.ts";
import {
  type ConsumerCommand,
  formatCommand,
  formatReply,
  highestMaxLineBytes,
  parseReason,
  parseToken,
  ProtocolError,
  type Reply,
} from "./lib/core/protocol.ts";
import { escape, quote } from "./lib/quote.ts";
import { parseGreeting, parseLenientReply, readMessages } from "./lib/consumer/reply_reader.ts";
import { type Line, UnreadableLine } from "./lib/line.ts";

/** The pause before asking again when there was no task, in milliseconds. */
const pollMs = 1000;

/** If no greeting or no answer comes within this many milliseconds, the user is told. */
const hintMs = 2_000;

/**
 * How long the consumer waits for a greeting before it asks all the same, in milliseconds: a server
 * greets nobody on its port for producers, but answers there whose port it is.
 */
const greetingLimitMs = 5_000;

/**
 * Most lines kept that the consumer has not looked at yet: a megabyte at most. A server of this
 * protocol owes one answer and a few refusals at a time.
 */
const maxUnreadLines = 1_000;

/** Most of the server's refusals that are shown. */
const maxShownErrors = 10;

/** How long sending the last lines may take, in milliseconds: a server may read nothing. */
const closeLimitMs = 200;

const help = `Usage: consumer <ip> <port> [worker_name] [options]

Pulls tasks from the server and works on them, one at a time.
Ctrl+C ends it.

  <ip>           IPv4 address or name of the server
  <port>         the server's port for consumers
  [worker_name]  a name to show in the first line

Options:
  --reserve            have the server keep each task until it is completed
  --retry              wait for a server that is not there, or not any more, or is full
${accessHelp}
  -q, --quiet          print no event lines
  -h, --help           print this help
  -V, --version        print the version

Exit codes: 0 ended by Ctrl+C or by the server's shutdown; 1 failed; 2 wrong arguments;
130 ended at once by a second Ctrl+C
Example: consumer 127.0.0.1 5001`;

async function main({ args, log, errors, stopped }: Program): Promise<number> {
  const [ip, portText, workerName] = args.positionals as [string, string, string | undefined];
  const port = parsePort(portText, "port");
  const name = workerName ? { workerName: escape(workerName) } : {};
  const greeted = (consumer: number) =>
    log?.write(formatConsumerEvent({ kind: "greeted", consumer, ...name }));
  const isReserving = args.flags.has("reserve");
  const isPatient = args.flags.has("retry");
  const say = (line: string) => errors.write(line);
  const { token, tls } = await readClientAccess(args, { check: parseToken, say });
  // What it needs from here on is the network alone.
  keepPermissions("net");
  const connections = connectPatiently({ hostname: ip, port, tls }, {
    signal: stopped,
    isPatient,
    say,
  });
  for await (const connection of connections) {
    const server = new ServerLink(connection.conn, { errors, greeted, token });
    try {
      await server.awaitGreeting(stopped);
      await work(server, { log, errors, stopped, isReserving });
    } catch (error) {
      if (!isPatient || !(error instanceof TurnedAwayError)) throw error;
      connection.problem = `the server at ${server.address} says: ${error.said}`;
    } finally {
      await server.close();
    }
    if (stopped.aborted) break;
    const who = `the server at ${server.address}`;
    if (server.isFlooding) {
      throw new UserError(`${who} sends more than was asked for: is it one of this protocol?`);
    }
    if (isPatient) continue;
    if (server.isDone) break;
    throw new UserError(
      `${who} closed the connection: start it again, then this consumer; or use --retry`,
    );
  }
  return exitCode.ok;
}

/** The server has no room for this consumer at the moment. */
class TurnedAwayError extends UserError {
  /** Names the class in messages. */
  override readonly name = "TurnedAwayError";
  /** What the server said, fit for a terminal. */
  readonly said: string;

  constructor(text: string) {
    const said = escape(text);
    super(`the server says: ${said}`);
    this.said = said;
  }
}

/** What {@linkcode work} is given. */
interface WorkOptions {
  readonly log: EventLog | undefined;
  readonly errors: EventLog;
  readonly stopped: AbortSignal;
  /** Whether the consumer reserves its tasks and completes them, or simply takes them. */
  readonly isReserving: boolean;
}

/** Asks, works and asks again until the user, the server or the connection ends it. */
async function work(server: ServerLink, options: WorkOptions): Promise<void> {
  const { log, errors, stopped, isReserving } = options;
  const ending = AbortSignal.any([stopped, server.gone]);
  while (!ending.aborted) {
    log?.write(formatConsumerEvent({ kind: "asked" }));
    server.send({ kind: isReserving ? "reserve" : "request" });
    const reply = await server.answer(stopped);
    if (reply === undefined) return;
    if (reply.kind === "assign") {
      const { taskId } = reply;
      const endMs = nowMs() + Number(reply.duration) * 1000;
      let isDone = await sleepUntil(endMs, ending);
      // The server has deleted a requested task, so the consumer finishes it even if the server goes
      // away. A reserved task it gives back.
      if (!isDone && !isReserving && !stopped.aborted) {
        errors.write(`the connection has ended: finishing ${taskId} first`);
        isDone = await sleepUntil(endMs, stopped);
      }
      if (!isDone) {
        if (isReserving) server.send({ kind: "release", taskId });
        return;
      }
      log?.write(formatConsumerEvent({ kind: "worked", taskId }));
      if (isReserving) server.send({ kind: "complete", taskId });
    } else {
      if (reply.kind === "no task") log?.write(formatConsumerEvent({ kind: "no task" }));
      else errors.write(`unexpected answer ${quote(reply.text)}: asking again`);
      if (!await sleep(pollMs, ending)) return;
    }
  }
}

const doneLine = formatReply({ kind: "done" });

/** The server's answer to a request. `other` is any line that it should not have sent. */
type Answer =
  | Extract<Reply, { kind: "assign" | "no task" }>
  | { readonly kind: "other"; readonly text: string };

/** What a {@linkcode ServerLink} is given. */
interface LinkOptions {
  readonly errors: EventLog;
  /** Called with this consumer's number when the greeting comes. */
  readonly greeted: (consumer: number) => void;
  /** What the server asks for first; undefined if nothing is to be said. */
  readonly token: string | undefined;
}

/**
 * The connection to the server. It is read all the time, not only when an answer is due, because
 * `DONE` and the connection's end may come at any moment.
 */
class ServerLink {
  /** Whether the server has said `DONE`. */
  isDone = false;
  /** Whether this consumer left the server because it sends lines without end. */
  isFlooding = false;

  /** The server's address and port. */
  readonly address: string;

  readonly #connection: Connection;
  readonly #errors: EventLog;
  readonly #greeted: (consumer: number) => void;
  readonly #hasToken: boolean;
  readonly #gone = new AbortController();
  readonly #reading: Promise<void>;
  readonly #unread: Line[] = [];
  #arrival = Promise.withResolvers<void>();
  /** True until the first line has come. */
  #isGreetingDue = true;
  #hasSaidSilence = false;
  #refusals = 0;
  /**
   * `COMPLETE` commands that the server may still refuse. As long as there are any, a line that is
   * neither `ASSIGN` nor `NOTASK` is taken for such a refusal, not for the answer to a request.
   */
  #unconfirmed = 0;

  constructor(conn: Deno.TcpConn | Deno.TlsConn, { errors, greeted, token }: LinkOptions) {
    // The server may allow longer lines than usual: a task whose line is not understood is lost.
    const group = new ConnectionGroup({ maxLineBytes: highestMaxLineBytes });
    this.#connection = new Connection(conn, group);
    this.address = formatAddress(conn.remoteAddr);
    this.#errors = errors;
    this.#greeted = greeted;
    this.#hasToken = token !== undefined;
    if (token !== undefined) {
      this.#connection.send(formatCommand({ kind: "auth", token }));
      this.#connection.flush();
    }
    this.#reading = this.#read();
  }

  /** Aborts when the server has said `DONE` or is gone. */
  get gone(): AbortSignal {
    return this.#gone.signal;
  }

  /**
   * Waits for the greeting, but no longer than 5 s: then the first answer shows what server it is.
   *
   * @throws {UserError} if the server turns this consumer away; a {@linkcode TurnedAwayError} if it
   * may take it later.
   */
  async awaitGreeting(stopped: AbortSignal): Promise<void> {
    const ending = AbortSignal.any([stopped, AbortSignal.timeout(greetingLimitMs)]);
    const line = await this.#nextOrSay(ending, () => {
      this.#errors.write("no greeting yet: is this the server's port for consumers?");
    });
    if (line !== undefined) this.#takeGreeting(textOf(line));
  }

  /** Adds a command, which the next `answer()` sends, or `close()`. */
  send(command: ConsumerCommand): void {
    if (command.kind === "complete") this.#unconfirmed++;
    this.#connection.send(formatCommand(command));
  }

  /**
   * Sends the commands, and waits for the answer to the request; undefined if none will come.
   *
   * @throws {UserError} if the server turns this consumer away by its first line.
   */
  async answer(stopped: AbortSignal): Promise<Answer | undefined> {
    this.#connection.flush();
    // Otherwise the requests to a server that answers without reading would fill the memory.
    if (this.#connection.isBacklogged) {
      await untilAborted(this.#connection.drained(), AbortSignal.any([stopped, this.gone]));
    }
    for (;;) {
      const line = await this.#nextOrSay(stopped, () => this.#saySilence());
      if (line === undefined) return undefined;
      const answer = parseAnswer(line);
      if (this.#isGreetingDue && answer.kind === "other") {
        this.#takeGreeting(answer.text);
        continue;
      }
      this.#isGreetingDue = false;
      if (answer.kind !== "other" || this.#unconfirmed === 0) {
        this.#unconfirmed = 0;
        return answer;
      }
      this.#unconfirmed--;
      this.#sayRefusal(answer.text);
    }
  }

  /** Sends the commands that were added, and closes the connection; takes 200 ms at most. */
  async close(): Promise<void> {
    const timeUp = sleep(closeLimitMs);
    if (!this.#gone.signal.aborted) {
      this.#connection.flush();
      await Promise.race([this.#connection.drained(), timeUp]);
    }
    this.#connection.close();
    await Promise.race([this.#reading, timeUp]);
  }

  #takeGreeting(text: string): void {
    this.#isGreetingDue = false;
    const refusal = refusalIn(text);
    const reason = parseReason(refusal ?? "");
    if (reason?.kind === "wrong port" && reason.port === "consumer") {
      throw new UserError(
        `${this.address} is the server's port for producers: use its port for consumers`,
      );
    }
    const advice = adviceOn(reason?.kind, this.#hasToken);
    if (advice !== undefined) throw new UserError(`the server at ${this.address} ${advice}`);
    if (refusal !== undefined) {
      const isFull = reason?.kind === "too many connections";
      throw isFull ? new TurnedAwayError(text) : new UserError(`the server says: ${escape(text)}`);
    }
    const number = parseGreeting(text);
    if (number === undefined) this.#errors.write(`unexpected greeting ${quote(text)}`);
    else this.#greeted(number);
  }

  async #read(): Promise<void> {
    for await (const line of readMessages(this.#connection)) {
      if (line === doneLine) {
        this.isDone = true;
        break;
      }
      if (this.#unread.push(line) > maxUnreadLines) {
        this.isFlooding = true;
        break;
      }
      this.#arrival.resolve();
    }
    this.#connection.close();
    this.#gone.abort();
    this.#arrival.resolve();
  }

  /** Waits for the next line; calls `say` if none comes within 2 s. */
  async #nextOrSay(stopped: AbortSignal, say: () => void): Promise<Line | undefined> {
    const hint = setTimeout(say, hintMs);
    const line = await this.#next(stopped);
    clearTimeout(hint);
    return line;
  }

  /** Shows a refusal, but no more than the first few: a server may refuse without end. */
  #sayRefusal(text: string): void {
    if (++this.#refusals <= maxShownErrors) this.#errors.write(`the server says: ${escape(text)}`);
    else if (this.#refusals === maxShownErrors + 1) {
      this.#errors.write("the server says more like this: not shown any more");
    }
  }

  /** Says, once per connection, why the answer may be missing. */
  #saySilence(): void {
    if (this.#hasSaidSilence) return;
    this.#hasSaidSilence = true;
    const text = this.#connection.unendedText ?? "";
    this.#errors.write(
      text === ""
        ? "no answer for 2 s: the server is busy, or is none for consumers"
        : `no answer for 2 s: the server has sent ${quote(text)} without a line end`,
    );
  }

  /** Waits for the next line; undefined if the server is gone or the user ends the program. */
  async #next(stopped: AbortSignal): Promise<Line | undefined> {
    while (this.#unread.length === 0) {
      if (this.#gone.signal.aborted) return undefined;
      this.#arrival = Promise.withResolvers();
      await untilAborted(this.#arrival.promise, stopped);
      if (stopped.aborted) return undefined;
    }
    return this.#unread.shift();
  }
}

const errorWord = formatReply({ kind: "error", reason: "" }).trim();

/** What stands behind `ERROR`; undefined if the text does not begin with it. */
function refusalIn(text: string): string | undefined {
  return text.startsWith(errorWord) ? text.slice(errorWord.length).trim() : undefined;
}

function textOf(line: Line): string {
  return line instanceof UnreadableLine ? line.reason : line;
}

function parseAnswer(line: Line): Answer {
  const text = textOf(line);
  try {
    const reply = parseLenientReply(text);
    return reply.kind === "assign" || reply.kind === "no task" ? reply : { kind: "other", text };
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    return { kind: "other", text };
  }
}

if (import.meta.main) {
  await runProgram({
    program: "consumer",
    help,
    positionals: { least: 2, most: 3 },
    flags: ["reserve", "retry", ...accessFlags],
    options: accessOptions,
    commandRefusal: "runs no commands: see worker --help",
  }, main);
}
