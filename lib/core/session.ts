/**
 * The dialogue of one connection: a line in, replies and events out. Pure.
 *
 * A session knows the commands, their replies and what the console shows of them; it knows no
 * socket and no clock. Every effect goes through {@linkcode AfterCommit}, in the order of the lines
 * that caused it: at once where the server keeps no store, after the commit where it keeps one.
 *
 * @module
 */

import { type Line, UnreadableLine } from "../line.ts";
import {
  formatAssign,
  parseConsumerCommand,
  parseProducerCommand,
  ProtocolError,
} from "./protocol.ts";
import { quote } from "../quote.ts";
import type { AfterCommit, CommitOutcome } from "./store.ts";
import {
  type EndedReservation,
  maxReservationsPerConsumer,
  type Reservation,
  type TaskQueue,
} from "./task_queue.ts";
import type { Task } from "./task.ts";

/** Malformed lines after which a connection is closed: its peer does not speak this protocol. */
export const maxMalformedLines = 100;

/** Where a session's effects go. */
export interface SessionOutput {
  /** Takes a line for the peer, without its LF. */
  reply(line: string): void;
  /** Takes a line for the server's console. */
  event(line: string): void;
  /**
   * Takes a line for the server's operator: what the peer did wrong.
   *
   * @param topic what it is about: a peer that does the same a million times is counted by it.
   */
  complain(topic: string, reason: string): void;
}

/** For a queue without a store, where a change is kept as soon as it is made. */
export function immediately(effect: (outcome: CommitOutcome) => void): void {
  effect("kept");
}

/**
 * What to do after a line: take the next one; offer this one again when the queue has room; send
 * what is owed and close.
 */
export type Step = "next" | "wait" | "close";

/** A refusal: its topic for the operator's count, and what the peer is told. */
export interface Refusal {
  /** What it is about. */
  readonly topic: string;
  /** One line of printable text. */
  readonly reason: string;
}

const storeFull: Refusal = { topic: "the store is full", reason: "store full" };

/**
 * The request line and the first header of HTTP. A web page can have any browser send them to any
 * port, followed by a body that may hold commands.
 */
const httpLine = /[ \t]HTTP\/\d(?:\.\d)?[ \t\r]*$|^[ \t]*Host[ \t]*:/i;

/** What both kinds of session share: malformed lines and their limit. */
export abstract class Session {
  /** The tasks. */
  protected readonly queue: TaskQueue;
  /** Where effects go. */
  protected readonly output: SessionOutput;
  /** When effects go there. */
  protected readonly afterCommit: AfterCommit;
  #malformedLines = 0;
  #hasSpokenProtocol = false;

  /** Makes the session of a new connection. */
  constructor(queue: TaskQueue, output: SessionOutput, afterCommit: AfterCommit = immediately) {
    this.queue = queue;
    this.output = output;
    this.afterCommit = afterCommit;
  }

  /**
   * Takes the next line of the peer.
   *
   * @param nowMs tells the time, in milliseconds on any clock that only goes forward. It is asked
   * only where the time matters: for most commands it does not.
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

  /** Takes note that the kernel has taken all replies but the last few. */
  repliesLeft(_unsentReplies: number): void {}

  /**
   * Takes note that the peer gets no more replies. What it sent before it went is still done, but
   * tasks would be handed out and taken back at once, a megabyte of requests long.
   */
  handOutNoMore(): void {}

  /**
   * Answers a peer that speaks something else. Nothing that it sends may be executed: in HTTP and in
   * TLS a web page can hide commands, and have a browser send them.
   */
  refuseProtocol(name: string): void {
    this.afterCommit(() => {
      this.refuse({ topic: name, reason: `this port does not speak ${name}` });
    });
  }

  /** Tells the peer that the server shuts down, behind what it is owed. */
  announceShutdown(): void {
    this.afterCommit(() => this.reply("DONE"));
  }

  /**
   * Does what a line says.
   *
   * @throws {ProtocolError} where it is no command of this port.
   */
  protected abstract execute(line: string, nowMs: () => number): Step;

  /** Takes a reply, once its turn has come. */
  protected abstract reply(line: string): void;

  /** Answers a well-formed command that cannot be done as things stand. */
  protected refuse({ topic, reason }: Refusal): void {
    this.output.complain(topic, reason);
    this.reply(`ERROR ${reason}`);
  }

  #refuseMalformed(reason: string): Step {
    this.#malformedLines++;
    const isLast = this.#malformedLines >= maxMalformedLines;
    this.afterCommit(() => {
      this.refuse({ topic: "malformed lines", reason });
      if (isLast) this.refuse({ topic: "too many errors", reason: "too many errors" });
    });
    return isLast ? "close" : "next";
  }
}

/** The dialogue with one producer. */
export class ProducerSession extends Session {
  #acceptedTasks = 0;

  /** See {@linkcode Session.execute}. */
  protected override execute(line: string): Step {
    const command = parseProducerCommand(line);
    switch (command.verb) {
      case "CREATE": {
        if (this.queue.room === 0) return "wait";
        const task = this.queue.accept(command.task);
        this.afterCommit((outcome) => {
          if (outcome === "kept") this.#admit(task);
          else this.#withdraw(task);
        });
        return "next";
      }
      case "SYNC":
        this.afterCommit(() => this.reply(`OK ${this.#acceptedTasks}`));
        return "next";
      case "KICK":
        this.#kick(command.taskId);
        return "next";
      default:
        return command satisfies never;
    }
  }

  /** See {@linkcode Session.reply}. */
  protected override reply(line: string): void {
    this.output.reply(line);
  }

  #admit(task: Task): void {
    this.#acceptedTasks++;
    this.queue.admit(task);
    this.output.event(`[CREATE] ${task.priority} ${task.taskId} ${task.duration}`);
  }

  #withdraw(task: Task): void {
    this.queue.withdraw(task);
    this.refuse(storeFull);
  }

  #kick(taskId: string): void {
    const kicked = this.queue.kick(taskId);
    this.afterCommit((outcome) => {
      if (kicked === undefined) {
        this.refuse({ topic: "not buried", reason: `no task ${quote(taskId)} is buried` });
      } else if (outcome === "not kept") {
        this.queue.undoKick(kicked);
        this.refuse(storeFull);
      } else {
        this.queue.admit(kicked.task);
        this.reply("OK 1");
      }
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
  #hasReserved = false;
  #hasSaidTooMany = false;
  #handsOut = true;
  #isShuttingDown = false;
  #hasEnded = false;

  /** Makes the session of a new consumer. */
  constructor(
    number: number,
    queue: TaskQueue,
    output: SessionOutput,
    afterCommit: AfterCommit = immediately,
  ) {
    super(queue, output, afterCommit);
    this.number = number;
  }

  /** Greets the consumer. */
  open(consumersOnline: number): void {
    this.reply(`Consumer${this.number}`);
    this.output.event(`[Consumer${this.number} connected]`);
    this.output.event(`[${consumersOnline} consumers online]`);
  }

  /** See {@linkcode Session.announceShutdown}; nothing is handed out from now on. */
  override announceShutdown(): void {
    this.#isShuttingDown = true;
    // A consumer closes at DONE, and would lose the tasks that came after it.
    this.handOutNoMore();
    super.announceShutdown();
  }

  /** See {@linkcode Session.repliesLeft}. */
  override repliesLeft(unsentReplies: number): void {
    if (unsentReplies === 0) this.#handOuts.length = 0;
    else this.#handOuts = this.#handOuts.slice(-unsentReplies);
  }

  /** See {@linkcode Session.handOutNoMore}. */
  override handOutNoMore(): void {
    this.#handsOut = false;
  }

  /**
   * Ends the dialogue: what its consumer did not get or holds is ready again.
   *
   * @param options.unsentReplies how many of the last replies the kernel did not take wholly.
   */
  end(consumersOnline: number, options: { readonly unsentReplies: number }): void {
    this.#hasEnded = true;
    this.output.event(`[Consumer ${this.number} disconnected]`);
    this.output.event(`[${consumersOnline} consumers online]`);
    this.repliesLeft(options.unsentReplies);
    for (const handOut of this.#handOuts) {
      if (handOut !== undefined) this.#takeBack(handOut);
    }
    this.#handOuts = [];
    const ended = this.queue.endConsumer(this.number, { counts: !this.#isShuttingDown });
    this.afterCommit(() => {
      for (const reservation of ended) this.output.event(formatEnd(reservation));
    });
  }

  /** See {@linkcode Session.execute}. */
  protected override execute(line: string, nowMs: () => number): Step {
    const command = parseConsumerCommand(line);
    switch (command.verb) {
      case "REQUEST":
        if (this.#handsOut) this.#request();
        return "next";
      case "RESERVE":
        if (this.#handsOut) this.#reserve(nowMs());
        return "next";
      case "COMPLETE":
        // Consumers that never reserve may say what they completed; their task is gone already.
        if (this.#hasReserved) this.#complete(command.taskId);
        return "next";
      case "RELEASE":
        this.#release(command.taskId);
        return "next";
      default:
        return command satisfies never;
    }
  }

  /** See {@linkcode Session.reply}. */
  protected override reply(line: string): void {
    this.#reply(line, undefined);
  }

  #reply(line: string, handOut: Task | Reservation | undefined): void {
    this.#handOuts.push(handOut);
    this.output.reply(line);
  }

  #request(): void {
    const task = this.queue.request();
    this.afterCommit((outcome) => {
      if (task === undefined) {
        this.reply("NOTASK");
      } else if (outcome === "not kept") {
        this.queue.giveBack(task);
        this.reply("NOTASK");
      } else {
        this.#assign(task, task);
      }
    });
  }

  #reserve(nowMs: number): void {
    this.#hasReserved = true;
    if (this.queue.reservedBy(this.number) >= maxReservationsPerConsumer) this.#sayTooMany();
    const reservation = this.queue.reserve(this.number, nowMs);
    this.afterCommit(() => {
      if (reservation === undefined) this.reply("NOTASK");
      else this.#assign(reservation.task, reservation);
    });
  }

  /** `RESERVE` is answered by `NOTASK` alone, so the reason is for the operator. */
  #sayTooMany(): void {
    if (this.#hasSaidTooMany) return;
    this.#hasSaidTooMany = true;
    this.output.complain(
      "too many reserved tasks",
      `consumer${this.number} holds ${maxReservationsPerConsumer} tasks: ` +
        "it gets NOTASK until it completes some",
    );
  }

  #assign(task: Task, handOut: Task | Reservation): void {
    if (this.#hasEnded) {
      this.#takeBack(handOut);
      return;
    }
    this.output.event(`[ASSIGN] ${task.taskId} - consumer${this.number}`);
    this.#reply(formatAssign(task), handOut);
  }

  #takeBack(handOut: Task | Reservation): void {
    const isReservation = "task" in handOut;
    const task = isReservation ? handOut.task : handOut;
    if (isReservation) {
      // Its lease may have ended meanwhile: then it is back already.
      if (!this.queue.takeBack(handOut)) return;
    } else {
      this.queue.giveBack(task);
    }
    this.afterCommit(() => {
      this.output.event(formatEnd({ task, consumer: this.number, isBuried: false }));
    });
  }

  #complete(taskId: string): void {
    const reservation = this.queue.complete(this.number, taskId);
    this.afterCommit((outcome) => {
      if (reservation === undefined) {
        this.#refuseNotHeld(taskId);
      } else if (outcome === "not kept") {
        this.queue.undoComplete(reservation, { isConnected: !this.#hasEnded });
        if (this.#hasEnded) this.output.event(formatEnd({ ...reservation, isBuried: false }));
        else this.refuse(storeFull);
      } else {
        this.output.event(`[COMPLETE] ${taskId} - consumer${this.number}`);
      }
    });
  }

  #release(taskId: string): void {
    const reservation = this.queue.release(this.number, taskId);
    this.afterCommit(() => {
      if (reservation === undefined) this.#refuseNotHeld(taskId);
      else this.output.event(formatEnd({ ...reservation, isBuried: false }));
    });
  }

  #refuseNotHeld(taskId: string): void {
    this.refuse({
      topic: "not held",
      reason: `this consumer does not hold task ${quote(taskId)}`,
    });
  }
}

/** The console's line for a task that came back, or was buried. */
export function formatEnd({ task, consumer, isBuried }: EndedReservation): string {
  return `[${isBuried ? "BURY" : "REQUEUE"}] ${task.taskId} - consumer${consumer}`;
}
