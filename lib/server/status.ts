/**
 * What a server does right now and did lately, for an operator who looks at it: who works on what
 * since when, how long tasks waited, how many there were each second, what was refused.
 *
 * It is kept only if somebody may look, since it takes time of each task: `serve` tells it, and whoever
 * serves the operator reads it. It knows no HTTP.
 *
 * @module
 */

import { Histogram } from "../histogram.ts";
import { ArrivalClock } from "../core/arrival_clock.ts";
import type { ServerEvent } from "../core/events.ts";
import type { QueueFigures } from "../core/inspection.ts";
import type { Port } from "../core/protocol.ts";
import { type Reservation, taskOf } from "../core/reservations.ts";
import { priorities, type Priority, type Task } from "../core/task.ts";

/** What is told of the server itself. */
export interface WatchedServer {
  /** How many producers are connected. */
  readonly producers: number;
  /** How many of these wait for room. */
  readonly waitingProducers: number;
  /** Lets producers go on for which there is room now: an operator may have made some. */
  offerRoom(): void;
}

/** How the work of a consumer on a task ended; `next`: by its next command, as it told nothing. */
export type WorkEnd = "next" | "completed" | "failed" | "buried" | "returned" | "lease" | "gone";

/** Work that has ended. */
export interface Bar {
  /** The consumer's number. */
  readonly consumer: number;
  /** The task's name. */
  readonly taskId: string;
  /** The task's priority. */
  readonly priority: Priority;
  /** When it was handed out, in milliseconds on the clock of the status. */
  readonly startMs: number;
  /** When the work ended. */
  readonly endMs: number;
  /** How it ended. */
  readonly how: WorkEnd;
}

/** One consumer. */
export interface ConsumerStatus {
  /** Its number. */
  readonly number: number;
  /** Its address. */
  readonly peer: string;
  /**
   * What is in its hands, in the order of the hand-outs: a reservation must be completed, a task is
   * gone from the queue.
   */
  readonly held: readonly (Task | Reservation)[];
  /** Since when it works on the first of these, or has none. */
  readonly sinceMs: number;
  /** How many tasks it was handed. */
  readonly handedOut: number;
  /** When it last said something. */
  readonly lastSeenMs: number;
  /** A counter of {@linkcode ServerStatus.changes}, at its last change. */
  readonly changed: number;
}

/** The state of the queue at one time. */
export interface HistoryPoint {
  /** When, on the clock of the status. */
  readonly timeMs: number;
  /** How many tasks waited, by priority. */
  readonly waiting: readonly number[];
  /** How many were created until then, by priority. */
  readonly created: readonly number[];
  /** How many were handed out until then, by priority. */
  readonly handedOut: readonly number[];
}

/** A line for the operator. */
export interface Problem {
  /** When, on the clock of the status. */
  readonly timeMs: number;
  /** The line. */
  readonly text: string;
}

/** What tells a status the time, in milliseconds since any moment; never goes back. */
export interface StatusClock {
  /** The time for each turn of input: it should cost little. */
  nowMs(): number;
  /** The time for somebody who looks at the server. */
  look(): number;
}

/** How long work must have lasted to be remembered, in milliseconds: shorter bars cannot be seen. */
const shortestBarMs = 50;

/** How many bars are remembered. */
const maxBars = 2000;

/** How many points the history has. */
export const historyPoints = 300;

/** How far these are apart, in milliseconds. */
export const historyStepMs = 1000;

/** How many lines are remembered. */
const maxProblems = 50;

/** Upper bounds of the histogram of waits, in seconds. */
export const waitBounds: readonly number[] = [
  0.001,
  0.005,
  0.025,
  0.1,
  0.5,
  1,
  5,
  15,
  60,
  300,
  1800,
  7200,
];

/** Why a line was refused, by the topic of the complaint. */
const refusals: Readonly<Record<string, Refusal>> = {
  "malformed lines": "malformed",
  "HTTP": "malformed",
  "TLS": "malformed",
  "not held": "state",
  "not buried": "state",
  "the store is full": "store_full",
};

/** Why lines are refused. */
export type Refusal = "malformed" | "state" | "store_full";

/** A consumer as the server tells of it: only the status looks into it, and changes it. */
export class WatchedConsumer implements ConsumerStatus {
  /** See {@linkcode ConsumerStatus.number}. */
  readonly number: number;
  /** See {@linkcode ConsumerStatus.peer}. */
  readonly peer: string;
  /** See {@linkcode ConsumerStatus.held}. */
  held: (Task | Reservation)[];
  /** How many of these are reservations. */
  reserved = 0;
  /** See {@linkcode ConsumerStatus.sinceMs}. */
  sinceMs: number;
  /** See {@linkcode ConsumerStatus.handedOut}. */
  handedOut = 0;
  /** See {@linkcode ConsumerStatus.lastSeenMs}. */
  lastSeenMs: number;
  /** See {@linkcode ConsumerStatus.changed}. */
  changed: number;

  /** Makes one that has just come. */
  constructor(init: Pick<WatchedConsumer, "number" | "peer" | "held" | "lastSeenMs" | "changed">) {
    this.number = init.number;
    this.peer = init.peer;
    this.held = init.held;
    this.sinceMs = this.lastSeenMs = init.lastSeenMs;
    this.changed = init.changed;
  }
}

/** The state of a server. */
export class ServerStatus {
  readonly #queue: QueueFigures;
  readonly #clock: StatusClock;
  readonly #arrivals: ArrivalClock;
  readonly #burials = new ArrivalClock();
  readonly #consumers = new Map<number, WatchedConsumer>();
  /** In the hands of all who have nothing: a list is made when there is something to put into it. */
  readonly #nothing: (Task | Reservation)[] = [];
  /** The turn of input that is served. */
  #turn: number | undefined;
  /** Its time. The clock is asked once per turn: that costs as much as all the rest. */
  #turnMs: number;
  #server: WatchedServer = { producers: 0, waitingProducers: 0, offerRoom() {} };
  /** When it was made. */
  readonly startMs: number;
  /** How long tasks waited from their arrival to each hand-out, in seconds. */
  readonly waits: Readonly<Record<Priority, Histogram>> = {
    1: new Histogram(waitBounds),
    2: new Histogram(waitBounds),
    3: new Histogram(waitBounds),
  };
  /** Connections that were accepted. */
  readonly accepted: Record<Port, number> = { producer: 0, consumer: 0 };
  /** Lines that were refused. */
  readonly refused: Record<Refusal, number> = { malformed: 0, state: 0, store_full: 0 };
  /** Connections that were too many. */
  turnedAway = 0;
  /** Counts what happens to consumers. */
  changes = 0;
  /** Consumers that have left, with their counter of changes; those that left last. */
  readonly gone: { readonly number: number; readonly changed: number }[] = [];
  /** Bars that were remembered so far, also those that are forgotten again. */
  barsSoFar = 0;
  readonly #bars: Bar[] = [];
  /** Lines that were remembered so far. */
  problemsSoFar = 0;
  readonly #problems: Problem[] = [];
  readonly #history: HistoryPoint[] = [];

  /**
   * Makes the state of a server that has not begun.
   *
   * @param options.arrivals when earlier tasks arrived, as far as it is known.
   */
  constructor(
    queue: QueueFigures,
    options: { readonly clock: StatusClock; readonly arrivals?: ArrivalClock },
  ) {
    this.#queue = queue;
    this.#clock = options.clock;
    this.#arrivals = options.arrivals ?? new ArrivalClock();
    this.#turnMs = this.startMs = options.clock.nowMs();
    this.#markArrivals();
  }

  /** The time now, in milliseconds on the clock of the status; notes that somebody looks. */
  look(): number {
    return this.#clock.look();
  }

  /** The server itself. */
  get server(): WatchedServer {
    return this.#server;
  }

  /** How many consumers are connected. */
  get consumerCount(): number {
    return this.#consumers.size;
  }

  /** All consumers, in the order of their numbers. */
  get consumers(): IteratorObject<ConsumerStatus> {
    return this.#consumers.values();
  }

  /** How many consumers have a task. Cost: O(n). */
  get working(): number {
    return this.#consumers.values().reduce((sum, { held }) => held.length > 0 ? sum + 1 : sum, 0);
  }

  /** The last points of the history, the oldest first. */
  get history(): readonly HistoryPoint[] {
    return this.#history;
  }

  /** The last lines for the operator, the oldest first. */
  get problems(): readonly Problem[] {
    return this.#problems;
  }

  /** Bars, the oldest first: those after so many of {@linkcode barsSoFar}. */
  barsSince(count: number): readonly Bar[] {
    return lastOf(this.#bars, this.barsSoFar - count);
  }

  /** Lines for the operator: those after so many of {@linkcode problemsSoFar}. */
  problemsSince(count: number): readonly Problem[] {
    return lastOf(this.#problems, this.problemsSoFar - count);
  }

  /** How long ago a task arrived, in seconds. Cost: O(log n). */
  ageSecondsOf(arrival: number, nowMs: number): number {
    this.#markArrivals();
    return Math.max(0, nowMs - (this.#arrivals.timeOf(arrival) ?? nowMs)) / 1000;
  }

  /** How long ago a task was buried, in seconds; undefined if it is not known. */
  burialAgeSecondsOf(burial: number, nowMs: number): number | undefined {
    if (burial === 0) return undefined;
    this.#markArrivals();
    return Math.max(0, nowMs - (this.#burials.timeOf(burial) ?? nowMs)) / 1000;
  }

  /** Adds a point to the history; to be called each {@linkcode historyStepMs}. */
  tick(): void {
    const { totals } = this.#queue;
    const of = (count: (priority: Priority) => number) => priorities.map(count);
    // What other servers do is noted, too, if they share the queue.
    this.noteTime();
    if (this.#history.length >= historyPoints) this.#history.shift();
    this.#history.push({
      timeMs: this.#turnMs,
      waiting: of((priority) => this.#queue.waitingCount(priority)),
      created: of((priority) => totals.created[priority]),
      handedOut: of((priority) => totals.requested[priority] + totals.reserved[priority]),
    });
  }

  /** Remembers a line for the operator. */
  noteProblem(text: string): void {
    this.problemsSoFar++;
    if (this.#problems.length >= maxProblems) this.#problems.shift();
    this.#problems.push({ timeMs: this.#clock.nowMs(), text });
  }

  /** Called by the server when it begins. */
  attach(server: WatchedServer): void {
    this.#server = server;
  }

  /** Called by the server before it changes anything of its own accord. */
  noteTime(): void {
    this.#markArrivals();
    this.#turnMs = this.#clock.nowMs();
  }

  /** Notes that what has come and was buried until now did so in the turn that is served. */
  #markArrivals(): void {
    this.#arrivals.mark(this.#queue.lastArrival, this.#turnMs);
    this.#burials.mark(this.#queue.lastBurial, this.#turnMs);
  }

  /**
   * Called by the server before it executes lines of a peer.
   *
   * @param turn the same for all lines that were read at the same time.
   * @param consumer the peer, if it is a consumer.
   */
  beginInput(turn: number, consumer: WatchedConsumer | undefined): void {
    if (turn !== this.#turn) {
      this.#turn = turn;
      this.noteTime();
    }
    if (consumer === undefined) return;
    consumer.lastSeenMs = this.#turnMs;
    if (consumer.held.length > consumer.reserved) this.#endRequested(consumer);
  }

  /** Called by the server when a consumer has its number; later calls name it by the result. */
  openConsumer(number: number, peer: string): WatchedConsumer {
    this.noteTime();
    const consumer = new WatchedConsumer({
      ...{ number, peer, held: this.#nothing },
      ...{ lastSeenMs: this.#turnMs, changed: ++this.changes },
    });
    this.#consumers.set(number, consumer);
    return consumer;
  }

  /** Called by the server when a consumer has left. */
  closeConsumer(consumer: WatchedConsumer): void {
    const { number } = consumer;
    this.noteTime();
    while (consumer.held.length > 0) this.#endWork(consumer, 0, "gone");
    this.#consumers.delete(number);
    this.gone.push({ number, changed: ++this.changes });
    if (this.gone.length > maxBars) this.gone.shift();
  }

  /** Called by the server when a consumer is handed a task. */
  handOut(consumer: WatchedConsumer, handOut: Task | Reservation): void {
    const isReserved = isReservation(handOut);
    const { priority, arrival } = isReserved ? handOut.task : handOut;
    const turnMs = this.#turnMs;
    // A kept time may lie ahead, if the time of day was set back: a sum of waits must not fall.
    const waitMs = Math.max(0, turnMs - (this.#arrivals.timeOf(arrival) ?? turnMs));
    this.waits[priority].add(waitMs / 1000);
    consumer.handedOut++;
    consumer.changed = ++this.changes;
    if (isReserved) consumer.reserved++;
    if (consumer.held.length > 0) {
      consumer.held.push(handOut);
    } else {
      consumer.sinceMs = turnMs;
      // A new array: one that is emptied and filled again gets room for 17 each time.
      consumer.held = [handOut];
    }
  }

  /**
   * Called by the server with each event.
   *
   * @param options.isLease whether it is the end of a lease.
   */
  noteEvent(event: ServerEvent, options?: { readonly isLease?: boolean }): void {
    // Compared first, since most events are of these two kinds.
    if (event.kind === "created" || event.kind === "assigned") return;
    if (!("consumer" in event) || !("taskId" in event)) return;
    const consumer = this.#consumers.get(event.consumer);
    const index = consumer?.held.findIndex((one) => taskOf(one).taskId === event.taskId) ?? -1;
    if (consumer === undefined || index === -1) return;
    const how = event.kind === "requeued" ? "returned" : event.kind;
    this.#endWork(consumer, index, options?.isLease === true ? "lease" : how);
  }

  /** Called by the server with the topic of each complaint. */
  noteComplaint(topic: string): void {
    const why = refusals[topic];
    if (why !== undefined) this.refused[why]++;
  }

  /** Ends all work on requested tasks: their consumer says no more of one than that it wants the next. */
  #endRequested(consumer: WatchedConsumer): void {
    const { held } = consumer;
    const first = held[0] as Task | Reservation;
    consumer.held = consumer.reserved === 0 ? this.#nothing : held.filter(isReservation);
    consumer.changed = ++this.changes;
    if (!isReservation(first)) this.#endFirst(consumer, first, "next");
  }

  #endWork(consumer: WatchedConsumer, index: number, how: WorkEnd): void {
    const ended = consumer.held.splice(index, 1)[0] as Task | Reservation;
    if (isReservation(ended)) consumer.reserved--;
    consumer.changed = ++this.changes;
    // It has not begun with a later one, as far as anybody can tell.
    if (index === 0) this.#endFirst(consumer, ended, how);
  }

  /** Notes the end of the work on what a consumer held first: it begins with the next one now. */
  #endFirst(consumer: WatchedConsumer, ended: Task | Reservation, how: WorkEnd): void {
    const startMs = consumer.sinceMs;
    const endMs = this.#turnMs;
    consumer.sinceMs = endMs;
    if (endMs - startMs < shortestBarMs) return;
    const { taskId, priority } = taskOf(ended);
    this.barsSoFar++;
    if (this.#bars.length >= maxBars) this.#bars.shift();
    this.#bars.push({ consumer: consumer.number, taskId, priority, startMs, endMs, how });
  }
}

function isReservation(handOut: Task | Reservation): handOut is Reservation {
  return "task" in handOut;
}

function lastOf<T>(items: readonly T[], count: number): readonly T[] {
  return count <= 0 ? [] : items.slice(-count);
}
