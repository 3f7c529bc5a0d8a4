/**
 * The server: keeps tasks in a priority queue, takes them from producers on one port, hands them
 * out to consumers on another.
 *
 * It owns the sockets and the shutdown. What is said on a connection is lib/session.ts, what
 * becomes of the tasks is lib/task_queue.ts.
 *
 * @module
 */

import { formatAddress, listen, parsePort, resolveHost } from "./lib/address.ts";
import { exitCode, parseWholeNumber, UserError } from "./lib/cli.ts";
import { nowMs, sleep, untilAborted } from "./lib/clock.ts";
import { Connection, isDisconnect, lingerMs } from "./lib/connection.ts";
import type { EventLog } from "./lib/event_log.ts";
import { type Program, runProgram } from "./lib/program.ts";
import { type CommittableStore, GroupCommit } from "./lib/group_commit.ts";
import {
  type AfterCommit,
  ConsumerSession,
  formatEnd,
  immediately,
  ProducerSession,
  type Session,
  type SessionOutput,
} from "./lib/session.ts";
import type { SqliteStore } from "./lib/sqlite_store.ts";
import { defaultMaxTasks, TaskQueue } from "./lib/task_queue.ts";

/** Default limit of connections, both ports together: 150 MB idle, twice that where all poll. */
const defaultMaxConnections = 10_000;

/** Connections over the limit that are told so at one time; further ones are just closed. */
const maxTurnedAway = 100;

/** Pauses of the accept loop while the process is out of descriptors, in milliseconds. */
const acceptPauseMs = { first: 10, most: 1000 };

/** How often leases are looked at, in milliseconds: their ends show well within a second. */
const leaseCheckMs = 200;

/** How late that look may be, in milliseconds, before waiting input is read first. */
const leaseCheckSlackMs = 100;

const help = `Usage: server <ip> <producer_port> <consumer_port> [options]

Keeps tasks in a priority queue: producers send them, consumers pull them.
Ctrl+C ends it.

  <ip>             IPv4 address or name to listen on; 0.0.0.0 is every address
  <producer_port>  port for producers; 0 lets the system choose
  <consumer_port>  port for consumers; 0 lets the system choose

Options:
  --quiet                print no event lines
  --max-connections <n>  most connections, both ports together (${defaultMaxConnections})
  --max-tasks <n>        most tasks in the queue; producers wait beyond (${defaultMaxTasks})
  --store <file>         keep the tasks in a file: they survive crash and power loss
  -h, --help             print this help
  -V, --version          print the version

Exit codes: 0 ended by Ctrl+C, 1 failed, 2 wrong arguments, 130 by a second Ctrl+C`;

/** Where a server listens. */
export interface Listeners {
  /** For producers. */
  readonly producers: Deno.TcpListener;
  /** For consumers. */
  readonly consumers: Deno.TcpListener;
}

/** How a server serves. */
export interface ServeOptions {
  /** Ends the serving: consumers are told, and get a second to go. */
  readonly signal: AbortSignal;
  /** Takes the event lines. */
  readonly log: Pick<EventLog, "write">;
  /** Takes what the operator should know. */
  readonly errors: Pick<EventLog, "write">;
  /** Most connections, both ports together. */
  readonly maxConnections?: number;
  /** What the queue writes to, if anything: no effect leaves before its commit. */
  readonly store?: CommittableStore | undefined;
}

/**
 * Serves a queue until the signal; resolves when every connection has been closed.
 *
 * @throws what the store throws when it fails.
 */
export async function serve(
  listeners: Listeners,
  queue: TaskQueue,
  options: ServeOptions,
): Promise<void> {
  await new Server(queue, options).run(listeners);
}

/** The state that connections share. */
class Server {
  readonly #queue: TaskQueue;
  readonly #signal: AbortSignal;
  readonly #log: Pick<EventLog, "write">;
  readonly #errors: Pick<EventLog, "write">;
  readonly #maxConnections: number;
  readonly #groupCommit: GroupCommit | undefined;
  readonly #afterCommit: AfterCommit;
  readonly #storeFailure = Promise.withResolvers<never>();
  /** Every connection that is served, until it is closed. */
  readonly #serving = new Set<Promise<void>>();
  readonly #producers = new Set<Connection>();
  readonly #consumers = new Map<ConsumerSession, Connection>();
  #turnedAway = 0;
  #consumersSoFar = 0;
  /** Wakes the producers that wait for room in the queue, first come, first served. */
  readonly #waitingForRoom: (() => void)[] = [];
  #hasSaidFull = false;
  /** What kept connections from being accepted: at the limit of descriptors it may come and go. */
  readonly #said = new Set<string>();

  constructor(queue: TaskQueue, options: ServeOptions) {
    this.#queue = queue;
    this.#signal = options.signal;
    this.#log = options.log;
    this.#errors = options.errors;
    this.#maxConnections = options.maxConnections ?? defaultMaxConnections;
    if (options.store !== undefined) {
      this.#groupCommit = new GroupCommit(options.store, this.#storeFailure.reject);
    }
    this.#afterCommit = this.#groupCommit?.afterCommit ?? immediately;
  }

  async run({ producers, consumers }: Listeners): Promise<void> {
    const loops = [
      this.#acceptAll(producers, (connection) => this.#serveProducer(connection)),
      this.#acceptAll(consumers, (connection) => this.#serveConsumer(connection)),
      this.#endLeases(),
    ];
    await untilAborted(this.#storeFailure.promise, this.#signal);
    producers.close();
    consumers.close();
    await Promise.all(loops);
    await Promise.race([this.#storeFailure.promise, this.#shutDown()]);
  }

  /** Accepts connections until the listener is closed. */
  async #acceptAll(
    listener: Deno.TcpListener,
    serve: (connection: Connection) => Promise<void>,
  ): Promise<void> {
    let pauseMs = 0;
    while (!this.#signal.aborted) {
      try {
        const connection = new Connection(await listener.accept());
        pauseMs = 0;
        this.#track(connection, serve);
      } catch (error) {
        // Closed at the shutdown, or because the store has failed.
        if (this.#signal.aborted || error instanceof Deno.errors.BadResource) return;
        // Reset while it waited to be accepted: no reason to have the next one wait.
        if (isDisconnect(error)) continue;
        // Descriptors come back when others close; connections meanwhile wait in the backlog.
        this.#sayOnce(explainAccept(error));
        pauseMs = Math.min(Math.max(2 * pauseMs, acceptPauseMs.first), acceptPauseMs.most);
        await sleep(pauseMs, this.#signal);
      }
    }
  }

  #sayOnce(line: string): void {
    if (this.#said.has(line)) return;
    this.#said.add(line);
    this.#errors.write(line);
  }

  #track(connection: Connection, serve: (connection: Connection) => Promise<void>): void {
    if (this.#serving.size >= this.#maxConnections + this.#turnedAway) {
      if (this.#turnedAway >= maxTurnedAway) {
        connection.close();
        return;
      }
      serve = (connection) => this.#turnAway(connection);
    }
    const serving = serve(connection).finally(() => {
      connection.close();
      this.#serving.delete(serving);
    });
    this.#serving.add(serving);
  }

  async #turnAway(connection: Connection): Promise<void> {
    this.#turnedAway++;
    this.#errors.write(`${connection.peer}: too many connections (--max-connections)`);
    connection.send("ERROR too many connections");
    connection.flush();
    await connection.closeGently();
    this.#turnedAway--;
  }

  async #serveProducer(connection: Connection): Promise<void> {
    const session = new ProducerSession(
      this.#queue,
      this.#outputOf(connection),
      this.#afterCommit,
    );
    this.#producers.add(connection);
    try {
      await this.#converse(connection, session);
    } finally {
      this.#producers.delete(connection);
    }
  }

  async #serveConsumer(connection: Connection): Promise<void> {
    const number = ++this.#consumersSoFar;
    const session = new ConsumerSession(
      number,
      this.#queue,
      this.#outputOf(connection),
      this.#afterCommit,
    );
    this.#consumers.set(session, connection);
    session.open(this.#consumers.size);
    connection.flush();
    try {
      await this.#converse(connection, session);
    } finally {
      this.#consumers.delete(session);
      session.end(this.#consumers.size, { unsentReplies: connection.unsentLines });
    }
  }

  #outputOf(connection: Connection): SessionOutput {
    return {
      reply: (line) => connection.send(line),
      event: (line) => this.#log.write(line),
      complain: (line) => this.#errors.write(`${connection.peer}: ${line}`),
    };
  }

  /** Takes the peer's lines one by one until either side ends the connection. */
  async #converse(connection: Connection, session: Session): Promise<void> {
    for (;;) {
      const lines = await connection.readLines();
      if (lines === undefined) break;
      session.repliesLeft(connection.unsentLines);
      if (connection.isBroken) session.handOutNoMore();
      for (const line of lines) {
        let step = session.receive(line, nowMs);
        while (step === "wait") {
          await this.#flush(connection);
          if (!await this.#roomInQueue()) return;
          step = session.receive(line, nowMs);
        }
        if (step === "close") {
          await this.#flush(connection);
          await connection.closeGently();
          return;
        }
        if (connection.isBacklogged) {
          // A peer that does not read its replies is not read either.
          this.#offerRoom();
          await this.#flush(connection);
          await connection.drained();
        }
      }
      // A function that waits keeps its variables: with 10,000 connections that adds up.
      lines.length = 0;
      // Not awaited without a store: a turn of the event loop saved for each line.
      if (this.#groupCommit === undefined) connection.flush();
      else await this.#flush(connection);
      this.#offerRoom();
    }
    await connection.drained();
  }

  /** Starts to send the replies, once what they tell is kept. */
  async #flush(connection: Connection): Promise<void> {
    await this.#groupCommit?.settled();
    connection.flush();
  }

  /** Waits until the queue may have room. Resolves to false at the shutdown. */
  async #roomInQueue(): Promise<boolean> {
    if (!this.#hasSaidFull) {
      this.#hasSaidFull = true;
      this.#errors.write(`the queue is full at ${this.#queue.size} tasks: producers wait`);
    }
    if (!this.#signal.aborted) {
      await new Promise<void>((resolve) => this.#waitingForRoom.push(resolve));
    }
    return !this.#signal.aborted;
  }

  #offerRoom(): void {
    if (this.#waitingForRoom.length === 0) return;
    const woken = this.#signal.aborted ? Infinity : this.#queue.room;
    for (const wake of this.#waitingForRoom.splice(0, woken)) wake();
  }

  /** Gives back reserved tasks whose consumers are too slow. */
  async #endLeases(): Promise<void> {
    let wasLate = false;
    for (;;) {
      const dueMs = nowMs() + leaseCheckMs;
      if (!await sleep(leaseCheckMs, this.#signal)) return;
      // After a pause of the whole process timers run before input that has long been there: a
      // COMPLETE may be in it. Once: a server that is always late must end leases, too.
      wasLate = !wasLate && nowMs() - dueMs > leaseCheckSlackMs;
      if (wasLate) continue;
      for (const ended of this.#queue.endLeases(nowMs())) {
        this.#afterCommit(() => this.#log.write(formatEnd(ended)));
      }
    }
  }

  /** Tells the consumers, and closes after them: the side that closes first keeps TIME_WAIT. */
  async #shutDown(): Promise<void> {
    this.#offerRoom();
    for (const connection of this.#producers) this.#serving.add(connection.closeWrite());
    for (const [session, connection] of this.#consumers) {
      session.announceShutdown();
      this.#serving.add(this.#flush(connection));
    }
    await this.#allClosed(lingerMs);
    // What those that stay have not been sent is kept, not lost.
    for (const connection of [...this.#producers, ...this.#consumers.values()]) connection.close();
    await this.#allClosed(lingerMs);
    await this.#groupCommit?.settled();
  }

  /** Waits until all connections are closed, for some time at most. */
  async #allClosed(maxMs: number): Promise<void> {
    const allClosed = new AbortController();
    const closing = Promise.all(this.#serving).then(() => allClosed.abort());
    await Promise.race([closing, sleep(maxMs, allClosed.signal)]);
  }
}

function explainAccept(error: unknown): string {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  return code === "EMFILE" || code === "ENFILE"
    ? "out of file descriptors: raise ulimit -n"
    : `cannot accept a connection: ${error instanceof Error ? error.message : String(error)}`;
}

async function openStore(
  path: string | undefined,
  errors: EventLog,
): Promise<SqliteStore | undefined> {
  if (path === undefined) return undefined;
  // Loaded where it is asked for: SQLite takes the others 2 ms of their start. By its literal name,
  // which is how `deno compile` knows to embed it.
  const { SqliteStore } = await import("./lib/sqlite_store.ts");
  return new SqliteStore(path, (line) => errors.write(line));
}

async function main({ args, log, errors, stopped }: Program): Promise<number> {
  const [ip, producerPort, consumerPort] = args.positionals as [string, string, string];
  const ports = {
    producers: parsePort(producerPort, "producer_port", { least: 0 }),
    consumers: parsePort(consumerPort, "consumer_port", { least: 0 }),
  };
  if (ports.producers === ports.consumers && ports.producers !== 0) {
    throw new UserError(
      `producer_port and consumer_port must differ, got ${ports.producers} twice`,
      exitCode.usage,
    );
  }
  const limit = (name: string, standard: number) =>
    parseWholeNumber(args.options.get(name) ?? String(standard), {
      name: `--${name}`,
      least: 1,
      most: 100_000_000,
    });
  const maxConnections = limit("max-connections", defaultMaxConnections);
  const maxTasks = limit("max-tasks", defaultMaxTasks);
  using store = await openStore(args.options.get("store"), errors);
  const queue = new TaskQueue({ maxTasks, store });
  if (store !== undefined) {
    for (const kept of store.keptTasks()) queue.restore(kept);
  }
  // What a server needs from here on is the network alone.
  for (const name of ["read", "write"] as const) Deno.permissions.revokeSync({ name });

  const hostname = await resolveHost(ip);
  using producers = listen({ hostname, port: ports.producers });
  using consumers = listen({ hostname, port: ports.consumers });
  const where = `producers ${formatAddress(producers.addr)}, consumers ${
    formatAddress(consumers.addr)
  }`;
  errors.write(`listening: ${where}`);
  if (store !== undefined) errors.write(`store: ${queue.size} tasks`);

  await serve({ producers, consumers }, queue, {
    signal: stopped,
    log: args.flags.has("quiet") ? { write: () => {} } : log,
    errors,
    maxConnections,
    store,
  });
  // On a terminal, after the events that it is the sum of.
  await log.flush();
  if (store === undefined && queue.size > 0) {
    errors.write(`${queue.size} waiting tasks were dropped`);
  }
  return exitCode.ok;
}

if (import.meta.main) {
  await runProgram({
    program: "server",
    help,
    positionals: { least: 3, most: 3 },
    flags: ["quiet"],
    options: ["max-connections", "max-tasks", "store"],
  }, main);
}
