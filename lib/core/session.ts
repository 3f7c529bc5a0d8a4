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
  parseConsumerCommand,
  parseProducerCommand,
  ProtocolError,
  type Reply,
} from "./protocol.ts";
import {
  type EndedReservation,
  maxReservationsPerConsumer,
  type Reservation,
} from "./reservations.ts";
import type { Task, TaskDescription } from "./task.ts";
import type { Tasks } from "./tasks.ts";

/** Malformed lines after which a connection is closed: its peer does not speak this protocol. */
export const maxMalformedLines = 100;

/** Where a session's effects go. */
export interface SessionOutput {
  /** Takes a reply to the peer. */
  reply(reply: Reply): void;
  /** Takes an event for the server's console. */
  event(event: ServerEvent): void;
  /**
   * Takes a line for the server's operator: what the peer did wrong.
   *
   * @param topic what it is about: a peer that does the same a million times is counted by it.
   */
  complain(topic: string, reason: string): void;
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

  /**
   * Called when the peer can no longer be reached. Its earlier commands still run, but nothing more
   * is handed out: a megabyte of requests would take tasks out and put them back, one by one.
   */
  stopHandingOut(): void {}

  /**
   * Answers a peer that speaks something else. Nothing that it sends may be executed: in HTTP and in
   * TLS a web page can hide commands, and have a browser send them.
   */
  refuseProtocol(name: string): void {
    this.tasks.afterAll(() => {
      this.refuse({ topic: name, reason: `this port does not speak ${name}` });
    });
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
    this.tasks.afterAll(() => {
      this.refuse({ topic: "malformed lines", reason });
      if (isLast) this.refuse({ topic: "too many errors", reason: "too many errors" });
    });
    return isLast ? "close" : "next";
  }
}

/** The dialogue with one producer. */
export class ProducerSession extends Session {
  #createdTasks = 0;

  /** See {@linkcode Session.execute}. */
  protected override execute(line: string): Step {
    const command = parseProducerCommand(line);
    switch (command.kind) {
      case "create":
        if (this.tasks.room === 0) return "wait";
        this.#create(command.task);
        return "next";
      case "sync":
        this.tasks.afterAll(() => this.reply({ kind: "ok", count: this.#createdTasks }));
        return "next";
      case "kick":
        this.#kick(command.taskId);
        return "next";
      default:
        return command satisfies never;
    }
  }

  /** See {@linkcode Session.reply}. */
  protected override reply(reply: Reply): void {
    this.output.reply(reply);
  }

  #create(task: TaskDescription): void {
    this.tasks.create(task, (isKept) => {
      if (isKept) {
        this.#createdTasks++;
        this.output.event({ kind: "created", task });
      } else {
        this.refuse(storeFull);
      }
    });
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
  #hasReserved = false;
  #hasSaidTooMany = false;
  #mayHandOut = true;
  #isShuttingDown = false;
  #hasEnded = false;

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
    super.announceShutdown();
  }

  /** See {@linkcode Session.noteUnsent}. */
  override noteUnsent(unsentReplies: number): void {
    if (unsentReplies === 0) this.#handOuts.length = 0;
    else this.#handOuts = this.#handOuts.slice(-unsentReplies);
  }

  /** See {@linkcode Session.stopHandingOut}. */
  override stopHandingOut(): void {
    this.#mayHandOut = false;
  }

  /**
   * Ends the dialogue: what its consumer did not get or holds is ready again.
   *
   * @param options.unsentReplies how many of the last replies the kernel did not take wholly.
   */
  end(consumersOnline: number, options: { readonly unsentReplies: number }): void {
    this.#hasEnded = true;
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
        if (this.#mayHandOut) this.tasks.request((task) => this.#answer(task, task));
        return "next";
      case "reserve":
        if (this.#mayHandOut) this.#reserve(nowMs());
        return "next";
      case "complete":
        // Consumers that never reserve may say what they completed; their task is gone already.
        if (this.#hasReserved) this.#complete(command.taskId);
        return "next";
      case "release":
        this.#release(command.taskId);
        return "next";
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

  #reserve(nowMs: number): void {
    this.#hasReserved = true;
    if (this.tasks.reservedBy(this.number) >= maxReservationsPerConsumer) this.#sayTooMany();
    this.tasks.reserve(this.number, nowMs, (reservation) => {
      this.#answer(reservation?.task, reservation);
    });
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
      this.reply({ kind: "no task" });
    } else if (this.#hasEnded) {
      this.#giveBack(handOut);
    } else {
      const { taskId, duration } = task;
      this.output.event({ kind: "assigned", taskId, consumer: this.number });
      this.#reply({ kind: "assign", taskId, duration }, handOut);
    }
  }

  #giveBack(handOut: Task | Reservation): void {
    const { taskId } = "task" in handOut ? handOut.task : handOut;
    this.tasks.giveBack(handOut, (isBack) => {
      // If its lease has ended meanwhile, it is back already.
      if (isBack) this.#sayRequeued(taskId);
    });
  }

  #complete(taskId: string): void {
    this.tasks.complete(this.number, taskId, (answer) => {
      switch (answer) {
        case "completed":
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

  #release(taskId: string): void {
    this.tasks.release(this.number, taskId, (reservation) => {
      if (reservation === undefined) this.#refuseNotHeld(taskId);
      else this.#sayRequeued(taskId);
    });
  }

  #sayRequeued(taskId: string): void {
    this.output.event({ kind: "requeued", taskId, consumer: this.number });
  }

  #refuseNotHeld(taskId: string): void {
    this.refuse({
      topic: "not held",
      reason: `this consumer does not hold task ${quote(taskId)}`,
    });
  }
}

/** What the console shows of a task that came back, or was buried. */
export function endEvent({ task, consumer, isBuried }: EndedReservation): ServerEvent {
  return { kind: isBuried ? "buried" : "requeued", taskId: task.taskId, consumer };
}
