/**
 * The dialogue of one connection: a line in, replies and events out. Pure.
 *
 * A session knows what each command means, what it answers and what the console shows of it. It
 * knows no socket, no clock and no store: it asks {@linkcode Tasks}, and goes on when it is told.
 *
 * @module
 */

import { type Line, UnreadableLine } from "../line.ts";
import { quote } from "../quote.ts";
import type { ServerEvent } from "./events.ts";
import {
  type ConsumerCommand,
  formatReason,
  parseConsumerCommand,
  parseProducerCommand,
  type ProducerCommand,
  ProtocolError,
  type Reply,
} from "./protocol.ts";
import {
  type EndedReservation,
  maxReservationsPerConsumer,
  type Reservation,
  taskOf,
} from "./reservations.ts";
import type { Task } from "./task.ts";
import type { GivingUp } from "./task_queue.ts";
import type { Tasks } from "./tasks.ts";

/**
 * Most commands behind a consumer's wait for a task; one more ends the wait. It must not end the
 * reading: the peer's end is behind what it has sent. More than a client has under way, and few enough
 * that 10,000 connections with so many take 190 MB more than idle ones.
 */
export const maxPendingCommands = 64;

/**
 * If a session remembers payloads of more characters than these, for replies that may not have left,
 * those must leave before the peer's next line. A consumer may ask for hundreds of tasks at once, and
 * then say nothing more.
 */
const maxKeptChars = 4 * 1024;

/** Malformed lines after which a connection is closed: its peer does not speak this protocol. */
export const maxMalformedLines = 100;

/** Where a session's effects go. */
export interface SessionOutput {
  /** Takes a reply to the peer. */
  reply(reply: Reply): void;
  /** Has the replies leave that no line of the peer has caused just now. */
  send(): void;
  /** Takes an event for the server's console. */
  event(event: ServerEvent): void;
  /** Takes note of what its consumer is handed; left out if nobody wants to know. */
  handOut?(handOut: Task | Reservation): void;
  /**
   * Takes a line for the server's operator: what the peer did wrong.
   *
   * @param topic what it is about: a peer that does the same a million times is counted by it.
   */
  complain(topic: string, reason: string): void;
}

/**
 * What to do after a line: take the next one; offer this one again when the queue has room; send what
 * is owed and close.
 */
export type Step = "next" | "wait" | "close";

/** A refusal: its topic for the operator's count, and what the peer is told. */
export interface Refusal {
  /** What it is about. */
  readonly topic: string;
  /** One line of printable text. */
  readonly reason: string;
}

const storeFull: Refusal = {
  topic: "the store is full",
  reason: formatReason({ kind: "store full" }),
};
const tooManyErrors: Refusal = {
  topic: "too many errors",
  reason: formatReason({ kind: "too many errors" }),
};

/**
 * The request line and the first header of HTTP. A web page can have any browser send them to any
 * port, followed by a body that may hold commands.
 */
const httpLine = /[ \t]HTTP\/\d(?:\.\d)?[ \t\r]*$|^[ \t]*Host[ \t]*:/i;

/** What both kinds of session share: malformed lines and their limit. */
export abstract class Session {
  /** Where commands go. */
  protected readonly tasks: Tasks;
  /** Where effects go. */
  protected readonly output: SessionOutput;
  #malformedLines = 0;
  #hasSpokenProtocol = false;

  /** Makes the session of a new connection. */
  constructor(tasks: Tasks, output: SessionOutput) {
    this.tasks = tasks;
    this.output = output;
  }

  /**
   * Takes the next line of the peer.
   *
   * @param nowMs tells the time, in milliseconds on any clock that only goes forward. It is asked
   * only if the time matters: for most commands it does not.
   */
  receive(line: Line, nowMs: () => number): Step {
    try {
      if (line instanceof UnreadableLine) throw new ProtocolError(line.reason);
      const step = this.execute(line, nowMs);
      this.#hasSpokenProtocol = true;
      return step;
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      if (!this.#hasSpokenProtocol && typeof line === "string" && httpLine.test(line)) {
        this.refuseProtocol("HTTP");
        return "close";
      }
      return this.#refuseMalformed(error.message);
    }
  }

  /** Called when the kernel has taken all replies but so many of the last ones. */
  noteUnsent(_unsentReplies: number): void {}

  /** Whether the replies must leave, and {@linkcode noteUnsent} be called, before the next line. */
  get keepsMuch(): boolean {
    return false;
  }

  /**
   * Called when the peer can no longer be reached, or is to go. Its earlier commands still run, but
   * nothing more is handed out: a megabyte of requests would take tasks out and put them back, one by
   * one.
   */
  stopHandingOut(): void {}

  /** Called when the peer will send no more: nothing is waited for any longer. */
  endInput(): void {}

  /** Whether the peer waits for an answer that no line and no commit will bring about. */
  get isWaiting(): boolean {
    return false;
  }

  /**
   * Answers a peer that speaks something else. Nothing that it sends may be executed: in HTTP and in
   * TLS a web page can hide commands, and have a browser send them.
   */
  refuseProtocol(name: string): void {
    const reason = formatReason({ kind: "not spoken", protocol: name });
    this.tasks.afterAll(() => this.refuse({ topic: name, reason }));
  }

  /** Tells the peer that the server shuts down, after all replies that it is still owed. */
  announceShutdown(): void {
    this.tasks.afterAll(() => this.reply({ kind: "done" }));
  }

  /**
   * Does what a line says.
   *
   * @throws {ProtocolError} it is no command of this port.
   */
  protected abstract execute(line: string, nowMs: () => number): Step;

  /** Takes a reply, once its turn has come. */
  protected abstract reply(reply: Reply): void;

  /** Answers a well-formed command that cannot be done as things stand. */
  protected refuse({ topic, reason }: Refusal): void {
    this.output.complain(topic, reason);
    this.reply({ kind: "error", reason });
  }

  #refuseMalformed(reason: string): Step {
    this.#malformedLines++;
    const isLast = this.#malformedLines >= maxMalformedLines;
    if (isLast) this.stopHandingOut();
    this.tasks.afterAll(() => {
      this.refuse({ topic: "malformed lines", reason });
      if (isLast) this.refuse(tooManyErrors);
    });
    return isLast ? "close" : "next";
  }
}

/** A token is for the server's gate, which takes it before there is a session. */
function noTokenAskedFor(): ProtocolError {
  return new ProtocolError(formatReason({ kind: "no token asked for" }));
}

/** The dialogue with one producer. */
export class ProducerSession extends Session {
  #createdTasks = 0;

  /** See {@linkcode Session.execute}. */
  protected override execute(line: string, nowMs: () => number): Step {
    const command = parseProducerCommand(line);
    switch (command.kind) {
      case "create":
      case "schedule":
        if (this.tasks.room === 0) return "wait";
        this.#create(command, nowMs);
        return "next";
      case "sync":
        this.tasks.afterAll(() => this.reply({ kind: "ok", count: this.#createdTasks }));
        return "next";
      case "kick":
        this.#kick(command.taskId);
        return "next";
      case "auth":
        throw noTokenAskedFor();
      default:
        return command satisfies never;
    }
  }

  /** See {@linkcode Session.reply}. */
  protected override reply(reply: Reply): void {
    this.output.reply(reply);
  }

  #create(command: CreateCommand, nowMs: () => number): void {
    const { task } = command;
    const then = (isKept: boolean) => {
      if (isKept) {
        this.#createdTasks++;
        this.output.event({ kind: "created", task });
      } else {
        this.refuse(storeFull);
      }
    };
    if (command.kind === "create") this.tasks.create(task, then);
    else this.tasks.schedule(task, nowMs() + toMs(command.delay), then);
  }

  #kick(taskId: string): void {
    this.tasks.kick(taskId, (answer) => {
      if (answer === "kicked") this.reply({ kind: "ok", count: 1 });
      else if (answer === "not kept") this.refuse(storeFull);
      else this.refuse({ topic: answer, reason: `no task ${quote(taskId)} is buried` });
    });
  }
}

/** The dialogue with one consumer. */
export class ConsumerSession extends Session {
  /** Its number, from 1; never used twice while the server lives. */
  readonly number: number;
  /**
   * What was handed out with each reply that is not known to have left. A reply that hands out
   * nothing stands as undefined.
   */
  #handOuts: (Task | Reservation | undefined)[] = [];
  /** The length of their payloads. */
  #keptChars = 0;
  /** What the consumer has asked for while it waits for a task: to be done in this order. */
  readonly #pending: (() => void)[] = [];
  #isWaiting = false;
  #mayWait = true;
  #completedTasks = 0;
  /** Completions of tasks that were requested, which are gone already. */
  #needlessCompletions = 0;
  #hasReserved = false;
  #hasSaidTooMany = false;
  #mayHandOut = true;
  #isShuttingDown = false;
  #hasEnded = false;
  // Made once per session, not once per line: a consumer that polls says little else.
  readonly #request = () => this.tasks.request(this.#answerRequest);
  readonly #answerRequest = (task: Task | undefined) => this.#answer(task, task);

  /** Makes the session of a new consumer. */
  constructor(number: number, tasks: Tasks, output: SessionOutput) {
    super(tasks, output);
    this.number = number;
  }

  /** Greets the consumer. */
  open(consumersOnline: number): void {
    this.reply({ kind: "greeting", consumer: this.number });
    this.output.event({ kind: "connected", consumer: this.number });
    this.output.event({ kind: "online", consumers: consumersOnline });
  }

  /** See {@linkcode Session.announceShutdown}; nothing is handed out from now on. */
  override announceShutdown(): void {
    this.#isShuttingDown = true;
    // A consumer closes when it is told, and would lose the tasks that came after that.
    this.stopHandingOut();
    this.#inTurn(() => super.announceShutdown());
  }

  /** See {@linkcode Session.noteUnsent}. */
  override noteUnsent(unsentReplies: number): void {
    if (unsentReplies === 0) this.#handOuts.length = 0;
    else this.#handOuts = this.#handOuts.slice(-unsentReplies);
    if (this.#keptChars === 0) return;
    this.#keptChars = this.#handOuts.reduce((sum, handOut) => sum + payloadChars(handOut), 0);
  }

  /** See {@linkcode Session.keepsMuch}. */
  override get keepsMuch(): boolean {
    return this.#keptChars > maxKeptChars;
  }

  /** See {@linkcode Session.stopHandingOut}. */
  override stopHandingOut(): void {
    this.#mayHandOut = false;
    this.tasks.stopWaiting(this.number);
  }

  /** See {@linkcode Session.endInput}. */
  override endInput(): void {
    this.#mayWait = false;
    this.tasks.stopWaiting(this.number);
  }

  /** See {@linkcode Session.isWaiting}. */
  override get isWaiting(): boolean {
    return this.#isWaiting;
  }

  /**
   * Ends the dialogue: what its consumer did not get or holds is ready again.
   *
   * @param options.unsentReplies how many of the last replies the kernel did not take wholly.
   */
  end(consumersOnline: number, options: { readonly unsentReplies: number }): void {
    this.#hasEnded = true;
    this.#pending.length = 0;
    this.tasks.stopWaiting(this.number);
    this.output.event({ kind: "disconnected", consumer: this.number });
    this.output.event({ kind: "online", consumers: consumersOnline });
    this.noteUnsent(options.unsentReplies);
    for (const handOut of this.#handOuts) {
      if (handOut !== undefined) this.#giveBack(handOut);
    }
    this.#handOuts = [];
    this.tasks.endConsumer(this.number, { counts: !this.#isShuttingDown }, (ended) => {
      for (const reservation of ended) this.output.event(endEvent(reservation));
    });
  }

  /** See {@linkcode Session.execute}. */
  protected override execute(line: string, nowMs: () => number): Step {
    const command = parseConsumerCommand(line);
    switch (command.kind) {
      case "request":
        this.#handOutInTurn(this.#request);
        return "next";
      case "reserve":
        this.#handOutInTurn(() => this.#reserve(command.waitSeconds, nowMs));
        return "next";
      case "sync":
        this.#sync();
        return "next";
      case "complete":
        // Consumers that never reserve may say what they completed; their task is gone already.
        if (this.#hasReserved) this.#complete(command.taskId);
        else this.#needlessCompletions++;
        return "next";
      case "release":
      case "fail":
      case "bury":
        this.#giveUp(command.taskId, givingUpOf(command, nowMs));
        return "next";
      case "touch":
        this.#touch(command.taskId, nowMs());
        return "next";
      case "auth":
        throw noTokenAskedFor();
      default:
        return command satisfies never;
    }
  }

  /** See {@linkcode Session.reply}. */
  protected override reply(reply: Reply): void {
    this.#reply(reply, undefined);
  }

  #reply(reply: Reply, handOut: Task | Reservation | undefined): void {
    this.#handOuts.push(handOut);
    this.output.reply(reply);
  }

  /** Does a step at once; or, if the consumer waits for a task, when that wait has ended. */
  #inTurn(step: () => void): void {
    if (this.#hasManyPending) this.tasks.stopWaiting(this.number);
    if (this.#isWaiting) this.#pending.push(step);
    else step();
  }

  /** Hands out in turn, if anything may be handed out; who has waited until then gets NOTASK. */
  #handOutInTurn(handOut: () => void): void {
    if (!this.#mayHandOut) return;
    if (!this.#isWaiting) return handOut();
    this.#inTurn(() => this.#mayHandOut ? handOut() : this.reply({ kind: "no task" }));
  }

  /** Whether so much is to be done after a wait that there must be none. */
  get #hasManyPending(): boolean {
    return this.#pending.length >= maxPendingCommands;
  }

  #reserve(waitSeconds: number | undefined, nowMs: () => number): void {
    this.#hasReserved = true;
    if (this.tasks.reservedBy(this.number) >= maxReservationsPerConsumer) this.#sayTooMany();
    if (waitSeconds !== undefined && this.#mayWait && !this.#hasManyPending) {
      this.#awaitTask({ nowMs, waitMs: waitSeconds * 1000 });
    } else {
      this.tasks.reserve(this.number, nowMs(), (reservation) => {
        this.#answer(reservation?.task, reservation);
      });
    }
  }

  #awaitTask(wait: { readonly nowMs: () => number; readonly waitMs: number }): void {
    this.#isWaiting = true;
    let isLater = false;
    this.tasks.awaitTask(this.number, wait, (reservation) => {
      this.#isWaiting = false;
      this.#answer(reservation?.task, reservation);
      while (!this.#isWaiting) {
        const step = this.#pending.shift();
        if (step === undefined) break;
        step();
      }
      if (!isLater) return;
      this.output.send();
      // What was done just now may be answered later, and no line of the peer has that sent.
      if (!this.tasks.isSettled) this.tasks.afterAll(() => this.output.send());
    });
    isLater = true;
  }

  #sync(): void {
    const needless = this.#needlessCompletions;
    let count = 0;
    // Counted now: what stands behind it may be done before its turn comes.
    this.tasks.afterAll(() => count = needless + this.#completedTasks);
    this.#inTurn(() => this.tasks.afterAll(() => this.reply({ kind: "ok", count })));
  }

  /** A consumer is only told that there is no task for it, so the reason is for the operator. */
  #sayTooMany(): void {
    if (this.#hasSaidTooMany) return;
    this.#hasSaidTooMany = true;
    this.output.complain(
      "too many reserved tasks",
      `consumer${this.number} holds ${maxReservationsPerConsumer} tasks: ` +
        "it gets NOTASK until it completes some",
    );
  }

  #answer(task: Task | undefined, handOut: Task | Reservation | undefined): void {
    if (task === undefined || handOut === undefined) {
      if (!this.#hasEnded) this.reply({ kind: "no task" });
    } else if (this.#hasEnded) {
      this.#giveBack(handOut);
    } else {
      const { taskId, duration, payload } = task;
      if (payload !== undefined) this.#keptChars += payload.length;
      this.output.event({ kind: "assigned", taskId, consumer: this.number });
      this.output.handOut?.(handOut);
      // Who only requests was never told of payloads.
      const isTold = payload !== undefined && "task" in handOut;
      const reply: Reply = { kind: "assign", taskId, duration };
      this.#reply(isTold ? { ...reply, payload } : reply, handOut);
    }
  }

  #giveBack(handOut: Task | Reservation): void {
    const { taskId } = taskOf(handOut);
    this.tasks.giveBack(handOut, (isBack) => {
      // If its lease has ended meanwhile, it is back already.
      if (isBack) this.#sayRequeued(taskId);
    });
  }

  #complete(taskId: string): void {
    this.tasks.complete(this.number, taskId, (answer) => {
      switch (answer) {
        case "completed":
          this.#completedTasks++;
          return this.output.event({ kind: "completed", taskId, consumer: this.number });
        case "not held":
          return this.#refuseNotHeld(taskId);
        case "not kept":
          return this.refuse(storeFull);
        case "ready again":
          return this.#sayRequeued(taskId);
        default:
          return answer satisfies never;
      }
    });
  }

  #giveUp(taskId: string, how: GivingUp): void {
    this.tasks.giveUp(this.number, { taskId, how }, (ended) => {
      if (ended === undefined) return this.#refuseNotHeld(taskId);
      if (how.kind === "fail") {
        this.output.event({ kind: "failed", taskId, consumer: this.number });
      }
      if (how.kind !== "fail" || ended.isBuried) this.output.event(endEvent(ended));
    });
  }

  #touch(taskId: string, nowMs: number): void {
    this.tasks.touch(this.number, { taskId, nowMs }, (isHeld) => {
      if (!isHeld) this.#refuseNotHeld(taskId);
    });
  }

  #sayRequeued(taskId: string): void {
    this.output.event({ kind: "requeued", taskId, consumer: this.number });
  }

  #refuseNotHeld(taskId: string): void {
    this.refuse({
      topic: "not held",
      reason: formatReason({ kind: "not held", task: quote(taskId) }),
    });
  }
}

/** What the console shows of a task that came back, or was buried. */
export function endEvent({ task, consumer, isBuried }: EndedReservation): ServerEvent {
  return { kind: isBuried ? "buried" : "requeued", taskId: task.taskId, consumer };
}

function payloadChars(handOut: Task | Reservation | undefined): number {
  if (handOut === undefined) return 0;
  const { payload } = taskOf(handOut);
  return payload?.length ?? 0;
}

type CreateCommand = Extract<ProducerCommand, { kind: "create" | "schedule" }>;
type GivingUpCommand = Extract<ConsumerCommand, { kind: "release" | "fail" | "bury" }>;

function givingUpOf(command: GivingUpCommand, nowMs: () => number): GivingUp {
  switch (command.kind) {
    case "release":
      return command.delay === undefined
        ? { kind: "release" }
        : { kind: "release", dueMs: nowMs() + toMs(command.delay) };
    case "fail": {
      const delayMs = command.delay === undefined ? undefined : toMs(command.delay);
      return { kind: "fail", nowMs: nowMs(), delayMs };
    }
    case "bury":
      return { kind: "bury" };
    default:
      return command satisfies never;
  }
}

function toMs(seconds: string): number {
  return Number(seconds) * 1000;
}
