/**
 * The server as a library: accepts peers, has a session converse with each, and ends in order.
 *
 * It owns the connections, who waits for room, the leases' timer and the shutdown. What is said on a
 * connection is core/session.ts; what becomes of the tasks is behind {@linkcode Tasks}.
 *
 * @module
 */

import { type Clock, sleep, systemClock, untilAborted } from "../clock.ts";
import { counted } from "../counted.ts";
import { formatServerEvent, type ServerEvent } from "../core/events.ts";
import {
  formatReason,
  formatReply,
  maxLineBytes as defaultMaxLineBytes,
  type Port,
  type Reason,
} from "../core/protocol.ts";
import {
  ConsumerSession,
  endEvent,
  ProducerSession,
  type Session,
  type SessionOutput,
} from "../core/session.ts";
import type { Fullness } from "../core/task_queue.ts";
import type { Tasks } from "../core/tasks.ts";
import {
  Connection,
  ConnectionGroup,
  isDisconnect,
  isOutOfDescriptors,
  lingerMs,
} from "../net/connection.ts";
import type { Listener, SecureStream, Stream } from "../net/stream.ts";
import { quote } from "../quote.ts";
import type { Access } from "./access.ts";
import { Complaints } from "./complaints.ts";
import { Gate } from "./gate.ts";
import { RoomQueue } from "./room_queue.ts";
import { SlicedWork } from "./sliced_work.ts";
import type { ServerStatus, WatchedConsumer } from "./status.ts";
import { UnendedTexts } from "./unended_text.ts";

/** Default limit of connections, both ports together: 180 MB idle, twice that if all poll. */
export const defaultMaxConnections = 10_000;

/** Most connections over the limit that get an `ERROR` at the same time; the rest are just closed. */
const maxTurnedAway = 100;

/** Pauses of the accept loops while the process is out of descriptors, in milliseconds. */
const acceptPauseMs = { first: 10, most: { producer: 1000, consumer: 100 } };

/** How often leases are looked at, in milliseconds: their ends show well within a second. */
const leaseCheckMs = 200;

/** How late that look may be, in milliseconds, before waiting input is read first. */
const leaseCheckSlackMs = 100;

/** How many looks in a row may be left out because they are late. */
const maxLateLooks = 5;

/** Leases, delays or waits ended at a time; others are served before the next ones. */
const endsPerSlice = 200;

/** How often connections are looked at that have nothing to read, in milliseconds. */
const quietCheckMs = 1000;

/**
 * Connections kept for the consumer port alone, as a part of all: however many producers come, a
 * full queue can be drained.
 */
const consumersShare = 1 / 10;

/** Where a server listens. */
export interface Listeners {
  /** For producers. */
  readonly producers: Listener;
  /** For consumers. */
  readonly consumers: Listener;
}

/** Takes lines of text. */
export interface LineOutput {
  /** Takes a line, without its LF. */
  write(line: string): void;
}

/** How a server serves. */
export interface ServeOptions {
  /** Ends the serving: peers are told, and get a second to go. */
  readonly signal: AbortSignal;
  /** Takes the event lines; left out if nobody wants them. */
  readonly log?: LineOutput | undefined;
  /** Takes what the operator should know. */
  readonly errors: LineOutput;
  /** Most connections, both ports together. */
  readonly maxConnections?: number;
  /** Longest line of a peer, in bytes, LF included. */
  readonly maxLineBytes?: number;
  /** Whose token each peer must say first; if left out, nobody is asked for one. */
  readonly access?: Access | undefined;
  /** Begins TLS with each peer; if left out, peers speak without. */
  readonly secure?: SecureStream | undefined;
  /** Rejects when what keeps the tasks has failed. */
  readonly failure?: Promise<never>;
  /** Is given what closes the newest connection, for who keeps the tasks and needs its descriptor. */
  readonly offerWay?: (makeWay: () => void) => void;
  /** Takes note of what happens, if an operator may look at it. */
  readonly status?: ServerStatus | undefined;
  /** Tells the time: the system's, if left out. */
  readonly clock?: Clock;
}

/**
 * Serves tasks until the signal; resolves when every connection has been closed.
 *
 * @throws what `failure` rejects with; then connections and listeners are closed at once.
 */
export async function serve(
  listeners: Listeners,
  tasks: Tasks,
  options: ServeOptions,
): Promise<void> {
  await new Server(tasks, options).run(listeners);
}

/** The state that connections share. */
class Server {
  readonly #tasks: Tasks;
  readonly #signal: AbortSignal;
  readonly #log: LineOutput | undefined;
  readonly #status: ServerStatus | undefined;
  readonly #errors: LineOutput;
  readonly #clock: Clock;
  readonly #failure: Promise<never>;
  readonly #complaints: Complaints;
  readonly #maxConnections: number;
  /** What the consumers' share leaves; a server of a single connection keeps none. */
  readonly #maxProducers: number;
  readonly #group: ConnectionGroup;
  /** What peers pass first; undefined if nothing is asked of them. */
  readonly #gate: Gate | undefined;
  /** Every connection that is served, until it is closed. */
  readonly #serving = new Set<Promise<void>>();
  /** The oldest first. */
  readonly #open = new Set<Connection>();
  readonly #producers = new Map<ProducerSession, Connection>();
  readonly #consumers = new Map<ConsumerSession, Connection>();
  readonly #failed = new AbortController();
  #turnedAway = 0;
  #isMakingWay = false;
  /** Producers that wait for room in the queue. */
  readonly #roomQueue: RoomQueue;
  /** Of what the queue was said to be full. */
  readonly #saidFullOf = new Set<Fullness>();
  readonly #endings: SlicedWork;
  readonly #unendedTexts = new UnendedTexts();
  /** Accept errors already reported: at the descriptor limit the same one recurs. */
  readonly #said = new Set<string>();

  constructor(tasks: Tasks, options: ServeOptions) {
    this.#tasks = tasks;
    this.#signal = AbortSignal.any([options.signal, this.#failed.signal]);
    this.#log = options.log;
    this.#status = options.status;
    this.#errors = options.errors;
    this.#clock = options.clock ?? systemClock;
    this.#failure = options.failure ?? new Promise<never>(() => {});
    const { maxLineBytes = defaultMaxLineBytes } = options;
    this.#group = new ConnectionGroup({ maxLineBytes, clock: this.#clock });
    const { access, secure } = options;
    this.#gate = access === undefined && secure === undefined ? undefined : new Gate({
      ...{ access, secure, group: this.#group, clock: this.#clock },
      complain: (peer, topic, reason) => {
        this.#complaints.add(peer, topic, reason);
        this.#complaints.end(peer);
      },
    });
    this.#endings = new SlicedWork(this.#clock);
    this.#roomQueue = new RoomQueue(() => this.#signal.aborted ? Infinity : this.#tasks.room);
    this.#complaints = new Complaints((line) => this.#errors.write(line), this.#nowMs);
    options.offerWay?.(() => this.#closeNewest());
    this.#maxConnections = options.maxConnections ?? defaultMaxConnections;
    this.#maxProducers = Math.max(1, Math.floor(this.#maxConnections * (1 - consumersShare)));
  }

  readonly #nowMs = (): number => this.#clock.nowMs();

  /** Sleeps; false if the server is to end. */
  #sleep(ms: number): Promise<boolean> {
    return sleep(ms, this.#signal, this.#clock);
  }

  #say(event: ServerEvent, options?: { readonly isLease?: boolean }): void {
    this.#status?.noteEvent(event, options);
    if (!this.#failed.signal.aborted) this.#log?.write(formatServerEvent(event));
  }

  #attachStatus(): void {
    const [producers, roomQueue] = [this.#producers, this.#roomQueue];
    this.#status?.attach({
      get producers() {
        return producers.size;
      },
      get waitingProducers() {
        return roomQueue.size;
      },
      offerRoom: () => roomQueue.offer(),
    });
  }

  async run({ producers, consumers }: Listeners): Promise<void> {
    this.#attachStatus();
    const loops = [
      this.#acceptAll(producers, "producer"),
      this.#acceptAll(consumers, "consumer"),
      this.#endLeases(),
      this.#endDelaysAndWaits(),
      this.#lookAtQuietPeers(),
    ];
    try {
      await untilAborted(this.#failure, this.#signal);
    } catch (error) {
      // Nothing is promised, said or executed any more.
      this.#failed.abort();
      this.#endings.finish();
      for (const connection of this.#connections()) connection.close();
      throw error;
    } finally {
      producers.close();
      consumers.close();
      await this.#gate?.close();
    }
    // A loop may wait for an answer that never comes.
    await Promise.race([this.#failure, Promise.all(loops)]);
    await Promise.race([this.#failure, this.#shutDown()]);
    this.#complaints.close();
  }

  /** Accepts connections until the listener is closed. */
  async #acceptAll(listener: Listener, port: Port): Promise<void> {
    let pauseMs = 0;
    while (!this.#signal.aborted) {
      try {
        const stream = await listener.accept();
        pauseMs = 0;
        if (this.#gate === undefined) this.#track(new Connection(stream, this.#group), port);
        else this.#letIn(this.#gate, stream, port);
      } catch (error) {
        // Closed at the shutdown, or because the store has failed.
        if (this.#signal.aborted || error instanceof Deno.errors.BadResource) return;
        // Reset while it waited to be accepted: no reason to have the next one wait.
        if (isDisconnect(error)) continue;
        // Descriptors come back when others close; connections meanwhile wait in the backlog.
        this.#sayOnce(explainAccept(error));
        if (port === "consumer" && isOutOfDescriptors(error)) this.#makeWayForConsumer();
        pauseMs = Math.min(Math.max(2 * pauseMs, acceptPauseMs.first), acceptPauseMs.most[port]);
        await this.#sleep(pauseMs);
      }
      // The freed descriptor is for the waiting consumer: accept no producer meanwhile.
      while (port === "producer" && this.#isMakingWay) {
        if (!await this.#sleep(acceptPauseMs.first)) return;
      }
    }
  }

  /** Serves a peer once it has passed the gate. */
  async #letIn(gate: Gate, stream: Stream, port: Port): Promise<void> {
    const connection = await gate.admit(stream);
    if (connection !== undefined) this.#track(connection, port);
  }

  #sayOnce(line: string): void {
    if (this.#said.has(line)) return;
    this.#said.add(line);
    this.#errors.write(line);
  }

  #track(connection: Connection, port: Port): void {
    if (this.#status !== undefined) this.#status.accepted[port]++;
    const isTooMany = this.#serving.size >= this.#maxConnections + this.#turnedAway ||
      (port === "producer" && this.#producers.size >= this.#maxProducers);
    if (isTooMany && this.#status !== undefined) this.#status.turnedAway++;
    if (isTooMany && this.#turnedAway >= maxTurnedAway) {
      connection.close();
      return;
    }
    const end = (error?: unknown) => {
      connection.close();
      this.#serving.delete(serving);
      this.#open.delete(connection);
      // It may have made room, or have been woken for room that it did not take.
      this.#roomQueue.offer();
      // Our own mistake, or one that nobody thought of: it costs this connection alone.
      if (error !== undefined) this.#complainOf(connection, "internal error", String(error));
      if (connection.unusualEnd !== undefined) {
        this.#complainOf(connection, "lost", `connection lost: ${connection.unusualEnd}`);
      }
      this.#complaints.end(connection.peer);
    };
    const serving = (isTooMany ? this.#turnAway(connection) : this.#serve(connection, port))
      .then(end, end);
    this.#serving.add(serving);
    this.#open.add(connection);
  }

  async #turnAway(connection: Connection): Promise<void> {
    this.#turnedAway++;
    this.#complainOf(connection, "refused", "too many connections (--max-connections)");
    this.#sendReason(connection, { kind: "too many connections" });
    await connection.closeGently();
    this.#turnedAway--;
  }

  #sendReason(connection: Connection, reason: Reason): void {
    connection.send(formatReply({ kind: "error", reason: formatReason(reason) }));
    connection.flush();
  }

  /**
   * Gives up a producer for a consumer that cannot be accepted: the queue is full, and only
   * consumers can drain it.
   */
  async #makeWayForConsumer(): Promise<void> {
    if (this.#isMakingWay || this.#tasks.room > 0) return;
    const producer = this.#roomQueue.connections.at(-1) ??
      [...this.#producers.values()].at(-1);
    if (producer === undefined) return;
    this.#isMakingWay = true;
    this.#complainOf(producer, "refused", "closed to make way for a consumer (ulimit -n)");
    this.#sendReason(producer, { kind: "made way" });
    await producer.closeWrite();
    this.#roomQueue.wake(producer);
    await this.#sleep(lingerMs);
    producer.close();
    await this.#sleep(2 * acceptPauseMs.most.consumer);
    this.#isMakingWay = false;
  }

  /** Gives up a peer for what keeps the tasks: without that nobody can be served. */
  #closeNewest(): void {
    const connection = [...this.#open].at(-1);
    if (connection === undefined) return;
    this.#open.delete(connection);
    this.#complainOf(connection, "refused", "closed to make way for the engine (ulimit -n)");
    connection.close();
  }

  #serve(connection: Connection, port: Port): Promise<void> {
    return port === "producer" ? this.#serveProducer(connection) : this.#serveConsumer(connection);
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
    const watched = this.#status?.openConsumer(number, connection.peer);
    const session = new ConsumerSession(number, this.#tasks, this.#outputOf(connection, watched));
    this.#consumers.set(session, connection);
    session.open(this.#consumers.size);
    connection.flush();
    try {
      await this.#converse(connection, session, watched);
    } finally {
      // A client that held a thousand connections of a thousand tasks each may just have died.
      await this.#endings.do(() => {
        this.#consumers.delete(session);
        if (watched !== undefined) this.#status?.closeConsumer(watched);
        session.end(this.#consumers.size, { unsentReplies: connection.unsentLines });
      });
    }
  }

  /** @param watched the consumer, if somebody may look. */
  #outputOf(connection: Connection, watched?: WatchedConsumer): SessionOutput {
    return {
      reply: (reply) => connection.send(formatReply(reply)),
      // Soon, not now: one commit may bring about many replies.
      send: () => queueMicrotask(() => this.#send(connection)),
      event: (event) => this.#say(event),
      handOut: (handOut) => {
        if (watched !== undefined) this.#status?.handOut(watched, handOut);
      },
      complain: (topic, reason) => this.#complainOf(connection, topic, reason),
    };
  }

  #complainOf(connection: Connection, topic: string, reason: string): void {
    this.#status?.noteComplaint(topic);
    this.#complaints.add(connection.peer, topic, reason);
  }

  /** Takes the peer's lines one by one until either side ends the connection. */
  async #converse(
    connection: Connection,
    session: Session,
    watched?: WatchedConsumer,
  ): Promise<void> {
    for (;;) {
      const lines = await connection.readLines();
      if (lines === undefined) break;
      if (connection.speaksTls) {
        session.refuseProtocol("TLS");
        await this.#flush(connection);
        await connection.closeGently();
        return;
      }
      session.noteUnsent(connection.unsentLines);
      if (connection.isBroken) session.stopHandingOut();
      if (lines.length > 0) this.#status?.beginInput(this.#group.lines.batches, watched);
      for (const line of lines) {
        let step = session.receive(line, this.#nowMs);
        if (step === "wait") {
          do {
            await this.#flush(connection);
            if (!await this.#mayHaveRoomFor(connection)) return;
            step = session.receive(line, this.#nowMs);
          } while (step === "wait");
          this.#roomQueue.leave(connection);
        }
        if (step === "close") {
          await this.#flushAll(connection, session);
          await connection.closeGently();
          return;
        }
        if (connection.isBacklogged || session.keepsMuch) {
          // A peer that does not read its replies is not read either.
          await this.#flush(connection);
          await this.#drain(connection, session);
        }
      }
      // A function that waits keeps its variables: with 10,000 connections that adds up.
      lines.length = 0;
      // Not awaited without a store: a turn of the event loop saved for each line.
      if (this.#tasks.isSettled) this.#send(connection);
      else await this.#flush(connection);
      if (session.keepsMuch) await this.#drain(connection, session);
    }
    // What a peer has asked for that is gone would only be handed out to come back.
    if (connection.isBroken) session.stopHandingOut();
    session.endInput();
    await this.#flushAll(connection, session);
    await connection.drained();
  }

  /** Has all that was flushed leave, and the session forget what it kept for it. */
  async #drain(connection: Connection, session: Session): Promise<void> {
    await connection.drained();
    session.noteUnsent(connection.unsentLines);
  }

  /** Starts to send the last replies: the peer waits for a task no longer. */
  async #flushAll(connection: Connection, session: Session): Promise<void> {
    const { isWaiting } = session;
    await this.#flush(connection);
    // What was said behind the wait was asked for when that ended: it is answered by a later commit.
    if (isWaiting) await this.#flush(connection);
  }

  /** Starts to send the replies, once what they tell is kept. */
  async #flush(connection: Connection): Promise<void> {
    await this.#settled();
    this.#send(connection);
  }

  /** Starts to send the replies; the commands before them may have made room. */
  #send(connection: Connection): void {
    connection.flush();
    this.#roomQueue.offer();
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
      await this.#roomQueue.wait(connection);
    }
    if (!this.#signal.aborted && connection.canSend) return true;
    this.#roomQueue.leave(connection);
    this.#roomQueue.offer();
    await connection.closeAfterPeer();
    return false;
  }

  #sayFull(): void {
    const { fullOf, size } = this.#tasks;
    if (fullOf === undefined || this.#saidFullOf.has(fullOf)) return;
    this.#saidFullOf.add(fullOf);
    const how = fullOf === "tasks" ? "full" : "full of payloads";
    this.#errors.write(`the queue is ${how} at ${counted(size, "task")}: producers wait`);
  }

  /**
   * Looks at the connections of which nothing is read: producers that wait for room may be gone, and
   * a peer that has stopped in the middle of a line may not know that lines must be ended.
   */
  async #lookAtQuietPeers(): Promise<void> {
    while (await this.#sleep(quietCheckMs)) {
      for (const connection of this.#roomQueue.connections) this.#wakeIfGone(connection);
      // In a cluster the consumers of another server may have made room.
      this.#roomQueue.offer();
      // Of a producer that waits for room the rest of the line may have come, and is not read.
      const read = this.#connections().filter((connection) => !this.#roomQueue.has(connection));
      for (const [connection, text] of this.#unendedTexts.look(read)) {
        this.#complainOf(connection, "unended", `${quote(text)} waits for the LF that ends a line`);
      }
    }
  }

  async #wakeIfGone(connection: Connection): Promise<void> {
    await connection.probe();
    if (!connection.canSend) this.#roomQueue.wake(connection);
  }

  #connections(): Connection[] {
    return [...this.#producers.values(), ...this.#consumers.values()];
  }

  /** Gives back reserved tasks whose consumers are too slow. */
  async #endLeases(): Promise<void> {
    let lateLooks = 0;
    for (;;) {
      const dueMs = this.#nowMs() + leaseCheckMs;
      if (!await this.#sleep(leaseCheckMs)) return;
      // After a pause of the whole process, timers run before input that has long been there: it may
      // say that a task is complete. But a server that is always late must end leases, too.
      const isLate = this.#nowMs() - dueMs > leaseCheckSlackMs;
      lateLooks = isLate ? lateLooks + 1 : 0;
      if (isLate && lateLooks <= maxLateLooks) continue;
      while (await this.#endSomeLeases() === endsPerSlice && !this.#signal.aborted);
    }
  }

  /** Makes delayed tasks ready, and ends the waits of consumers for which there was none. */
  async #endDelaysAndWaits(): Promise<void> {
    for (;;) {
      // Not later than the next look at leases: what is due may have become earlier meanwhile.
      const restMs = Math.ceil((this.#tasks.nextDueMs ?? Infinity) - this.#nowMs());
      if (!await this.#sleep(Math.min(Math.max(1, restMs), leaseCheckMs))) return;
      while (await this.#endSomeDelays() === endsPerSlice && !this.#signal.aborted);
      while (await this.#endSomeWaits() === endsPerSlice && !this.#signal.aborted);
    }
  }

  /** Ends a slice of the leases that are over, and tells how many. */
  #endSomeLeases(): Promise<number> {
    return this.#endSome((nowMs, options, ended) => {
      this.#tasks.endLeases(nowMs, options, (reservations) => {
        for (const one of reservations) this.#say(endEvent(one), { isLease: true });
        ended(reservations.length);
      });
    });
  }

  /** Ends a slice of the delays that are over, and tells how many. */
  #endSomeDelays(): Promise<number> {
    return this.#endSome((nowMs, options, ended) => {
      this.#tasks.endDelays(nowMs, options, (tasks) => {
        for (const { taskId } of tasks) this.#say({ kind: "ready", taskId });
        ended(tasks.length);
      });
    });
  }

  /** Ends a slice of the waits that are over, and tells how many. */
  #endSomeWaits(): Promise<number> {
    return this.#endSome((nowMs, options, ended) => this.#tasks.endWaits(nowMs, options, ended));
  }

  async #endSome(
    end: (nowMs: number, options: { most: number }, ended: (count: number) => void) => void,
  ): Promise<number> {
    const ended = Promise.withResolvers<number>();
    await this.#endings.do(() => {
      this.#status?.noteTime();
      end(this.#nowMs(), { most: endsPerSlice }, ended.resolve);
    });
    return await ended.promise;
  }

  /** Tells the peers, and closes after them: the side that closes first keeps TIME_WAIT. */
  async #shutDown(): Promise<void> {
    for (const [session, connection] of [...this.#producers, ...this.#consumers]) {
      session.announceShutdown();
      this.#serving.add(this.#flush(connection));
    }
    this.#roomQueue.offer();
    await this.#allClosed(lingerMs);
    // Close the peers that did not leave. Tasks whose lines they did not get go back to the queue.
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
    await Promise.race([closing, sleep(maxMs, allClosed.signal, this.#clock)]);
  }
}

function explainAccept(error: unknown): string {
  return isOutOfDescriptors(error)
    ? "out of file descriptors: raise ulimit -n"
    : `cannot accept a connection: ${error instanceof Error ? error.message : String(error)}`;
}
