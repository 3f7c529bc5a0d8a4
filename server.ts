/**
 * The server: keeps tasks in a priority queue, takes them from producers on one port, hands them
 * out to consumers on another.
 *
 * It owns the sockets and the shutdown. What is said on a connection is lib/core/session.ts, what
 * becomes of the tasks is lib/core/task_queue.ts.
 *
 * @module
 */

import { formatServerEvent } from "./lib/core/events.ts";
import { MemoryTasks } from "./lib/core/memory_tasks.ts";
import type { TaskStore } from "./lib/core/store.ts";
import { StoredTasks } from "./lib/core/stored_tasks.ts";
import type { Tasks } from "./lib/core/tasks.ts";
import { formatReply, maxLineBytes } from "./lib/core/protocol.ts";
import { formatAddress, listen, resolveHost } from "./lib/net/address.ts";
import { exitCode, parsePort, parseWholeNumber } from "./lib/cli/arguments.ts";
import { UsageError } from "./lib/user_error.ts";
import { nowMs, sleep, untilAborted } from "./lib/clock.ts";
import { Complaints } from "./lib/server/complaints.ts";
import { Connection, isDisconnect, lingerMs } from "./lib/net/connection.ts";
import type { EventLog } from "./lib/cli/event_log.ts";
import { type Program, runProgram } from "./lib/cli/program.ts";
import { GroupCommit } from "./lib/store/group_commit.ts";
import {
  ConsumerSession,
  endEvent,
  ProducerSession,
  type Session,
  type SessionOutput,
} from "./lib/core/session.ts";
import { SlicedWork } from "./lib/server/sliced_work.ts";
import type { SqliteStore } from "./lib/store/sqlite_store.ts";
import { quote } from "./lib/quote.ts";
import { defaultMaxTasks, TaskQueue } from "./lib/core/task_queue.ts";

/** Default limit of connections, both ports together: 165 MB idle, twice that if all poll. */
const defaultMaxConnections = 10_000;

/** Connections over the limit that are told so at one time; further ones are just closed. */
const maxTurnedAway = 100;

/** Pauses of the accept loops while the process is out of descriptors, in milliseconds. */
const acceptPauseMs = { first: 10, most: { producer: 1000, consumer: 100 } };

/** How long tasks are read from a store before signals are looked at, in milliseconds. */
const restoreSliceMs = 50;

/** How often leases are looked at, in milliseconds: their ends show well within a second. */
const leaseCheckMs = 200;

/** How late that look may be, in milliseconds, before waiting input is read first. */
const leaseCheckSlackMs = 100;

/** Leases ended at a time; others are served before the next ones. */
const leasesPerSlice = 200;

/** How often connections are looked at that have nothing to read, in milliseconds. */
const quietCheckMs = 1000;

/** Looks at which a peer's text is the same before its missing line end is mentioned: over 2 s. */
const unendedTextLooks = 3;

/**
 * Connections kept for the consumer port alone, as a part of all: however many producers come, a
 * full queue can be drained.
 */
const consumersShare = 1 / 10;

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
  --accept-damaged-store use a store up to the damage in its log; the rest is lost
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
  readonly store?: Pick<TaskStore, "commit" | "watch"> | undefined;
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

/** What a peer has sent after its last line end. */
interface UnendedText {
  readonly text: string;
  /** Looks in a row at which it was the same. */
  readonly looks: number;
}

/** Which port a peer came to. */
type PeerRole = "producer" | "consumer";

/** The state that connections share. */
class Server {
  readonly #tasks: Tasks;
  readonly #signal: AbortSignal;
  readonly #log: Pick<EventLog, "write">;
  readonly #errors: Pick<EventLog, "write">;
  readonly #complaints: Complaints;
  readonly #maxConnections: number;
  /** What the consumers' share leaves; a server of a single connection keeps none. */
  readonly #maxProducers: number;
  readonly #storeFailure = Promise.withResolvers<never>();
  /** Every connection that is served, until it is closed. */
  readonly #serving = new Set<Promise<void>>();
  readonly #producers = new Map<ProducerSession, Connection>();
  readonly #consumers = new Map<ConsumerSession, Connection>();
  #turnedAway = 0;
  #isMakingWay = false;
  /** Wakes each producer that waits for room in the queue, first come, first served. */
  readonly #waitingForRoom = new Map<Connection, () => void>();
  #hasSaidFull = false;
  readonly #endings = new SlicedWork();
  /** Texts without a line end, and the number of looks at which they were the same. */
  #unendedTexts = new Map<Connection, UnendedText>();
  /** Accept errors already reported: at the descriptor limit the same one recurs. */
  readonly #said = new Set<string>();

  constructor(queue: TaskQueue, options: ServeOptions) {
    this.#signal = options.signal;
    this.#log = options.log;
    this.#errors = options.errors;
    this.#complaints = new Complaints((line) => this.#errors.write(line), nowMs);
    this.#maxConnections = options.maxConnections ?? defaultMaxConnections;
    this.#maxProducers = Math.max(1, Math.floor(this.#maxConnections * (1 - consumersShare)));
    this.#tasks = options.store === undefined
      ? new MemoryTasks(queue)
      : new StoredTasks(queue, new GroupCommit(options.store, this.#storeFailure.reject));
  }

  async run({ producers, consumers }: Listeners): Promise<void> {
    const loops = [
      this.#acceptAll(producers, "producer"),
      this.#acceptAll(consumers, "consumer"),
      this.#endLeases(),
      this.#lookAtQuietPeers(),
    ];
    await untilAborted(this.#storeFailure.promise, this.#signal);
    producers.close();
    consumers.close();
    await Promise.all(loops);
    await Promise.race([this.#storeFailure.promise, this.#shutDown()]);
    this.#complaints.close();
  }

  /** Accepts connections until the listener is closed. */
  async #acceptAll(listener: Deno.TcpListener, role: PeerRole): Promise<void> {
    let pauseMs = 0;
    while (!this.#signal.aborted) {
      try {
        const connection = new Connection(await listener.accept(), { maxLineBytes });
        pauseMs = 0;
        this.#track(connection, role);
      } catch (error) {
        // Closed at the shutdown, or because the store has failed.
        if (this.#signal.aborted || error instanceof Deno.errors.BadResource) return;
        // Reset while it waited to be accepted: no reason to have the next one wait.
        if (isDisconnect(error)) continue;
        // Descriptors come back when others close; connections meanwhile wait in the backlog.
        this.#sayOnce(explainAccept(error));
        if (role === "consumer" && isOutOfDescriptors(error)) this.#makeWayForConsumer();
        pauseMs = Math.min(Math.max(2 * pauseMs, acceptPauseMs.first), acceptPauseMs.most[role]);
        await sleep(pauseMs, this.#signal);
      }
      // What a producer has given up is for the consumer that waits.
      while (role === "producer" && this.#isMakingWay) {
        if (!await sleep(acceptPauseMs.first, this.#signal)) return;
      }
    }
  }

  #sayOnce(line: string): void {
    if (this.#said.has(line)) return;
    this.#said.add(line);
    this.#errors.write(line);
  }

  #track(connection: Connection, role: PeerRole): void {
    const isTooMany = this.#serving.size >= this.#maxConnections + this.#turnedAway ||
      (role === "producer" && this.#producers.size >= this.#maxProducers);
    if (isTooMany && this.#turnedAway >= maxTurnedAway) {
      connection.close();
      return;
    }
    const end = (error?: unknown) => {
      connection.close();
      this.#serving.delete(serving);
      // It may have made room, or have been woken for room that it did not take.
      this.#offerRoom();
      // Our own mistake, or one that nobody thought of: it costs this connection alone.
      if (error !== undefined) this.#complainOf(connection, "internal error", String(error));
      if (connection.unusualEnd !== undefined) {
        this.#complainOf(connection, "lost", `connection lost: ${connection.unusualEnd}`);
      }
      this.#complaints.end(connection.peer);
    };
    const serving = (isTooMany ? this.#turnAway(connection) : this.#serve(connection, role))
      .then(end, end);
    this.#serving.add(serving);
  }

  async #turnAway(connection: Connection): Promise<void> {
    this.#turnedAway++;
    this.#complainOf(connection, "refused", "too many connections (--max-connections)");
    this.#sendTooMany(connection);
    await connection.closeGently();
    this.#turnedAway--;
  }

  #sendTooMany(connection: Connection): void {
    connection.send(formatReply({ kind: "error", reason: "too many connections" }));
    connection.flush();
  }

  /**
   * Gives up a producer for a consumer that cannot be accepted: the queue is full, and only
   * consumers can drain it.
   */
  async #makeWayForConsumer(): Promise<void> {
    if (this.#isMakingWay || this.#tasks.room > 0) return;
    const producer = [...this.#waitingForRoom.keys()].at(-1) ??
      [...this.#producers.values()].at(-1);
    if (producer === undefined) return;
    this.#isMakingWay = true;
    this.#complainOf(producer, "refused", "closed to make way for a consumer (ulimit -n)");
    this.#sendTooMany(producer);
    await producer.closeWrite();
    this.#wake(producer);
    await sleep(lingerMs, this.#signal);
    producer.close();
    await sleep(2 * acceptPauseMs.most.consumer, this.#signal);
    this.#isMakingWay = false;
  }

  #serve(connection: Connection, role: PeerRole): Promise<void> {
    return role === "producer" ? this.#serveProducer(connection) : this.#serveConsumer(connection);
  }

  async #serveProducer(connection: Connection): Promise<void> {
    const session = new ProducerSession(this.#tasks, this.#outputOf(connection));
    this.#producers.set(session, connection);
    try {
      await this.#converse(connection, session);
    } finally {
      this.#producers.delete(session);
    }
  }

  async #serveConsumer(connection: Connection): Promise<void> {
    const number = await new Promise<number>((resolve) => this.#tasks.openConsumer(resolve));
    const session = new ConsumerSession(number, this.#tasks, this.#outputOf(connection));
    this.#consumers.set(session, connection);
    session.open(this.#consumers.size);
    connection.flush();
    try {
      await this.#converse(connection, session);
    } finally {
      // A client that held a thousand connections of a thousand tasks each may just have died.
      await this.#endings.do(() => {
        this.#consumers.delete(session);
        session.end(this.#consumers.size, { unsentReplies: connection.unsentLines });
      });
    }
  }

  #outputOf(connection: Connection): SessionOutput {
    return {
      reply: (reply) => connection.send(formatReply(reply)),
      event: (event) => this.#log.write(formatServerEvent(event)),
      complain: (topic, reason) => this.#complainOf(connection, topic, reason),
    };
  }

  #complainOf(connection: Connection, topic: string, reason: string): void {
    this.#complaints.add(connection.peer, topic, reason);
  }

  /** Takes the peer's lines one by one until either side ends the connection. */
  async #converse(connection: Connection, session: Session): Promise<void> {
    for (;;) {
      const lines = await connection.readLines();
      if (lines === undefined) break;
      if (connection.speaksTls) {
        session.refuseProtocol("TLS");
        await this.#flush(connection);
        await connection.closeGently();
        return;
      }
      session.repliesLeft(connection.unsentLines);
      if (connection.isBroken) session.stopHandingOut();
      for (const line of lines) {
        let step = session.receive(line, nowMs);
        if (step === "wait") {
          do {
            await this.#flush(connection);
            if (!await this.#mayHaveRoomFor(connection)) return;
            step = session.receive(line, nowMs);
          } while (step === "wait");
          this.#waitingForRoom.delete(connection);
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
      if (this.#tasks.isSettled) connection.flush();
      else await this.#flush(connection);
      this.#offerRoom();
    }
    await connection.drained();
  }

  /** Starts to send the replies, once what they tell is kept. */
  async #flush(connection: Connection): Promise<void> {
    await this.#settled();
    connection.flush();
  }

  /**
   * Waits until the queue may have room for a producer. One that has to wait again keeps its place.
   *
   * @returns false if the producer is gone, or the server shuts down.
   */
  async #mayHaveRoomFor(connection: Connection): Promise<boolean> {
    // Looked at again: while the replies before were kept, consumers may have made room.
    if (this.#tasks.room === 0 && !this.#signal.aborted && connection.canSend) {
      this.#sayFull();
      await new Promise<void>((resolve) => this.#waitingForRoom.set(connection, resolve));
    }
    if (!this.#signal.aborted && connection.canSend) return true;
    this.#waitingForRoom.delete(connection);
    this.#offerRoom();
    await connection.closeAfterPeer();
    return false;
  }

  #sayFull(): void {
    if (this.#hasSaidFull) return;
    this.#hasSaidFull = true;
    this.#errors.write(`the queue is full at ${this.#tasks.size} tasks: producers wait`);
  }

  #offerRoom(): void {
    if (this.#waitingForRoom.size === 0) return;
    let rest = this.#signal.aborted ? Infinity : this.#tasks.room;
    for (const wake of this.#waitingForRoom.values()) {
      if (rest-- <= 0) return;
      wake();
    }
  }

  #wake(connection: Connection): void {
    this.#waitingForRoom.get(connection)?.();
  }

  /**
   * Looks at the connections of which nothing is read: producers that wait for room may be gone, and
   * a peer that has stopped in the middle of a line may not know that lines must be ended.
   */
  async #lookAtQuietPeers(): Promise<void> {
    while (await sleep(quietCheckMs, this.#signal)) {
      for (const connection of this.#waitingForRoom.keys()) this.#wakeIfGone(connection);
      const texts = new Map<Connection, UnendedText>();
      for (const connection of this.#connections()) {
        const text = connection.unendedText;
        // Of a producer that waits for room the rest of the line may have come, and is not read.
        if (text === undefined || this.#waitingForRoom.has(connection)) continue;
        const before = this.#unendedTexts.get(connection);
        const looks = before?.text === text ? before.looks + 1 : 1;
        if (looks === unendedTextLooks) {
          this.#complainOf(
            connection,
            "unended",
            `${quote(text)} waits for the LF that ends a line`,
          );
        }
        texts.set(connection, { text, looks });
      }
      this.#unendedTexts = texts;
    }
  }

  async #wakeIfGone(connection: Connection): Promise<void> {
    await connection.probe();
    if (!connection.canSend) this.#wake(connection);
  }

  #connections(): Connection[] {
    return [...this.#producers.values(), ...this.#consumers.values()];
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
      while (await this.#endSomeLeases() === leasesPerSlice && !this.#signal.aborted);
    }
  }

  /** Ends a slice of the leases that are over, and tells how many. */
  async #endSomeLeases(): Promise<number> {
    const ended = Promise.withResolvers<number>();
    await this.#endings.do(() => {
      this.#tasks.endLeases(nowMs(), { most: leasesPerSlice }, (reservations) => {
        for (const one of reservations) this.#log.write(formatServerEvent(endEvent(one)));
        ended.resolve(reservations.length);
      });
    });
    return await ended.promise;
  }

  /** Tells the peers, and closes after them: the side that closes first keeps TIME_WAIT. */
  async #shutDown(): Promise<void> {
    for (const [session, connection] of [...this.#producers, ...this.#consumers]) {
      session.announceShutdown();
      this.#serving.add(this.#flush(connection));
    }
    this.#offerRoom();
    await this.#allClosed(lingerMs);
    // What those that stay have not been sent is kept, not lost.
    for (const connection of this.#connections()) connection.close();
    await this.#allClosed(lingerMs);
    this.#endings.finish();
    await this.#settled();
  }

  /** Resolves when all that was asked so far is answered. */
  async #settled(): Promise<void> {
    if (this.#tasks.isSettled) return;
    await new Promise<void>((resolve) => this.#tasks.afterAll(resolve));
  }

  /** Waits until all connections are closed, for some time at most. */
  async #allClosed(maxMs: number): Promise<void> {
    const allClosed = new AbortController();
    const closing = Promise.all(this.#serving).then(() => allClosed.abort());
    await Promise.race([closing, sleep(maxMs, allClosed.signal)]);
  }
}

function isOutOfDescriptors(error: unknown): boolean {
  return error instanceof Error && "code" in error &&
    ["EMFILE", "ENFILE"].includes(String(error.code));
}

function explainAccept(error: unknown): string {
  return isOutOfDescriptors(error)
    ? "out of file descriptors: raise ulimit -n"
    : `cannot accept a connection: ${error instanceof Error ? error.message : String(error)}`;
}

async function openStore({ args, errors }: Program): Promise<SqliteStore | undefined> {
  const path = args.options.get("store");
  if (path === undefined) return undefined;
  // At a limit of file sizes a write fails; without a listener it would end the process.
  if (Deno.build.os !== "windows") Deno.addSignalListener("SIGXFSZ", () => {});
  // Loaded where it is asked for: SQLite takes the others 2 ms of their start. By its literal name,
  // which is how `deno compile` knows to embed it.
  const { SqliteStore } = await import("./lib/store/sqlite_store.ts");
  return new SqliteStore(path, (line) => errors.write(line), {
    acceptsDamage: args.flags.has("accept-damaged-store"),
  });
}

/** Puts back what a store kept; looks up now and then, so that a signal ends it. */
async function restoreTasks(
  store: SqliteStore,
  queue: TaskQueue,
  signal: AbortSignal,
): Promise<void> {
  let pauseMs = nowMs();
  for (const kept of store.keptTasks()) {
    queue.restore(kept);
    if (nowMs() - pauseMs < restoreSliceMs) continue;
    await new Promise((resolve) => setTimeout(resolve));
    if (signal.aborted) return;
    pauseMs = nowMs();
  }
}

async function main(program: Program): Promise<number> {
  const { args, log, errors, stopped } = program;
  const [ip, producerPort, consumerPort] = args.positionals as [string, string, string];
  const ports = {
    producers: parsePort(producerPort, "producer_port", { least: 0 }),
    consumers: parsePort(consumerPort, "consumer_port", { least: 0 }),
  };
  if (ports.producers === ports.consumers && ports.producers !== 0) {
    throw new UsageError(
      `producer_port and consumer_port must differ, got ${ports.producers} twice`,
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
  using store = await openStore(program);
  const queue = new TaskQueue({ maxTasks, store });
  if (store !== undefined) await restoreTasks(store, queue, stopped);
  if (stopped.aborted) return exitCode.ok;
  // What a server needs from here on is the network alone.
  for (const name of ["read", "write"] as const) Deno.permissions.revokeSync({ name });

  const hostname = await resolveHost(ip, stopped);
  using producers = listen({ hostname, port: ports.producers });
  using consumers = listen({ hostname, port: ports.consumers });
  // Neither accepting connections nor serving them needs a permission.
  Deno.permissions.revokeSync({ name: "net" });
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
    flags: ["quiet", "accept-damaged-store"],
    options: ["max-connections", "max-tasks", "store"],
  }, main);
}
