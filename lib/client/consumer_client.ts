/**
 * The client that takes tasks.
 *
 * It holds each task by a connection of its own. So a wait for the next task delays no confirmation
 * (the server answers in order), two held tasks of one name are not mixed up (the protocol would
 * take the first), and a connection that is lost costs one task.
 *
 * @module
 */

import { sleep } from "../clock.ts";
import { maxWaitSeconds } from "../core/protocol.ts";
import { checkNumber, type ConnectOptions } from "./connect_options.ts";
import { Connector } from "./connector.ts";
import { type Assignment, ConsumerLink } from "./consumer_link.ts";
import { HeldTask, type Task } from "./held_task.ts";
import { DisconnectedError, QueueError } from "./queue_error.ts";
import { after, onAbort } from "./timer.ts";

/** Pause after an answer that there is no task which came before its time, in milliseconds. */
const defaultPollMs = 1000;

/** The least time that a call gets, in milliseconds: whoever does not wait gets an answer, too. */
const leastWaitMs = 5000;

/** Takes tasks: `for await (const task of consumer)`, or one by one. */
export interface Consumer extends AsyncDisposable, AsyncIterable<Task> {
  /** The number that the server gave the connection that was opened last: `Consumer<N>`. */
  readonly number: number;
  /**
   * Reserves the first task in order. Waits for one, and for a connection if there is none: the
   * server is not polled, it answers when there is a task.
   *
   * @param options.signal gives up waiting; rejects with its reason. A task that comes nevertheless
   * goes back to its place.
   * @param options.waitMs how long to wait, in milliseconds; for ever if left out. With 0 the server
   * is asked once, and has 5 s to answer. A task that comes less than 1 s too late goes back to its
   * place.
   * @returns undefined if none came in time, or the consumer was closed meanwhile.
   * @throws {QueueError} the consumer is closed.
   * @throws {DisconnectedError} `retry` is false, and it could not connect.
   */
  next(
    options?: { readonly signal?: AbortSignal; readonly waitMs?: number },
  ): Promise<Task | undefined>;
  /** Gives back what is held, and closes the connections; also done by `await using`. */
  close(): Promise<void>;
}

/** How a consumer connects. */
export interface ConsumerOptions extends ConnectOptions {
  /**
   * How long it waits before it asks again if the server says at once that there is no task,
   * although it was to wait for one (its disk is full, say), in milliseconds; 1000 if left out.
   */
  readonly pollMs?: number;
}

/**
 * Connects to a consumer port, of a server that knows `SYNC` there (1.1 or newer). The connection is
 * made again when it is lost, for ever.
 *
 * @throws {DisconnectedError} `retry` is false, and it could not connect; else it tries for ever.
 * @throws {QueueError} what listens there is no consumer port, or of an older server.
 * @throws {RangeError} an option is out of range.
 * @throws the signal's reason.
 */
export function connectConsumer(options: ConsumerOptions): Promise<Consumer> {
  return QueueConsumer.connect(options);
}

/**
 * Why there is no task.
 *
 * - `none`: the server says that there is none.
 * - `no answer`: it could not be asked, or has not answered in time.
 * - `closed`: the consumer takes no more.
 */
export type NoTask = "none" | "no answer" | "closed";

/** Somebody who waits for a task. */
interface Waiter {
  readonly isWaiting: boolean;
  /** Until when, on the clock of `performance.now()`. */
  readonly untilMs: number;
  settle(found: HeldTask | NoTask): void;
  fail(error: unknown): void;
}

/** A consumer: who waits for tasks, who holds which, and the connections. */
export class QueueConsumer implements Consumer {
  readonly #connector: Connector<ConsumerLink>;
  readonly #pollMs: number;
  readonly #ending = new AbortController();
  /** Ends the asking; what is held stays. */
  readonly #stopping = new AbortController();
  #forgetSignal: () => void = () => {};
  readonly #links = new Set<ConsumerLink>();
  /** The connections that hold nothing and ask nothing. */
  readonly #free: ConsumerLink[] = [];
  readonly #tasks = new Map<ConsumerLink, HeldTask>();
  readonly #waiters = new Set<Waiter>();
  /** Those that ask once. */
  readonly #lookers = new Set<Waiter>();
  /** Those of them for whom nobody has asked yet. */
  readonly #unasked = new Set<Waiter>();
  /** How many connections are being made for them. */
  #connectingCount = 0;
  /** How many connections ask, or are being made in order to ask. */
  #seekers = 0;
  #number = 0;
  #closing: Promise<void> | undefined;

  private constructor(options: ConsumerOptions) {
    this.#connector = new Connector(options, ConsumerLink.open);
    this.#pollMs = options.pollMs ?? defaultPollMs;
    checkNumber("pollMs", this.#pollMs, { least: 0 });
  }

  /** See {@linkcode connectConsumer}. */
  static async connect(options: ConsumerOptions): Promise<QueueConsumer> {
    options.signal?.throwIfAborted();
    const consumer = new QueueConsumer(options);
    consumer.#forgetSignal = onAbort(
      options.signal,
      () => consumer.#abort(options.signal?.reason),
    );
    try {
      consumer.#free.push(await consumer.#connect());
    } catch (error) {
      consumer.#forgetSignal();
      throw error;
    }
    return consumer;
  }

  /** See {@linkcode Consumer.number}. */
  get number(): number {
    return this.#number;
  }

  /** See {@linkcode Consumer.next}. */
  async next(
    options: { readonly signal?: AbortSignal; readonly waitMs?: number } = {},
  ): Promise<HeldTask | undefined> {
    const { signal, waitMs = Infinity } = options;
    checkNumber("waitMs", waitMs, { least: 0 });
    const found = waitMs === 0
      ? await this.look({ signal })
      : await this.#wait({ signal, waitMs, among: this.#waiters }, () => {
        if (this.#seekers < this.#waiters.size) this.#seek();
      });
    return typeof found === "string" ? undefined : found;
  }

  /** Asks the server once for the first task in order, and gives it 5 s; see `next`. */
  look(options: { readonly signal?: AbortSignal | undefined } = {}): Promise<HeldTask | NoTask> {
    const { signal } = options;
    return this.#wait({ signal, waitMs: leastWaitMs, among: this.#lookers }, (waiter) => {
      this.#unasked.add(waiter);
      const isServed = this.#free.length === 0 && this.#connectingCount >= this.#unasked.size;
      if (!isServed) this.#look();
    });
  }

  /** Has somebody wait for a task, among others, and starts what is to bring it. */
  async #wait(
    { signal, waitMs, among }: {
      readonly signal: AbortSignal | undefined;
      readonly waitMs: number;
      readonly among: Set<Waiter>;
    },
    start: (waiter: Waiter) => void,
  ): Promise<HeldTask | NoTask> {
    signal?.throwIfAborted();
    this.#ending.signal.throwIfAborted();
    if (this.#stopping.signal.aborted) throw closedError();
    return await new Promise<HeldTask | NoTask>((resolve, reject) => {
      let isWaiting = true;
      const leave = () => {
        isWaiting = false;
        among.delete(waiter);
        this.#unasked.delete(waiter);
        forgetSignal();
        forgetTime();
      };
      const waiter: Waiter = {
        get isWaiting() {
          return isWaiting;
        },
        untilMs: performance.now() + waitMs,
        settle: (found) => {
          leave();
          resolve(found);
        },
        fail: (error) => {
          leave();
          reject(error);
        },
      };
      const forgetSignal = onAbort(signal, () => waiter.fail(signal?.reason));
      const forgetTime = after(waitMs, () => waiter.settle("no answer"));
      among.add(waiter);
      start(waiter);
    });
  }

  /** Yields tasks until it is closed. */
  async *[Symbol.asyncIterator](): AsyncGenerator<HeldTask, void> {
    while (!this.#stopping.signal.aborted) {
      const task = await this.next();
      if (task !== undefined) yield task;
    }
  }

  /** Asks for no more tasks: calls of `next` return, and later ones reject. What is held stays. */
  stop(): void {
    this.#stopping.abort(closedError());
    for (const waiter of [...this.#waiters, ...this.#lookers]) waiter.settle("closed");
    // The server ends a wait when our side is closed.
    for (const link of this.#links) if (!this.#tasks.has(link)) link.end();
  }

  /** See {@linkcode Consumer.close}. */
  close(): Promise<void> {
    return this.#closing ??= this.#close();
  }

  /** See {@linkcode Consumer.close}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.stop();
    this.#forgetSignal();
    this.#ending.abort(closedError());
    for (const task of this.#tasks.values()) task.giveBack(closedError());
    await Promise.all([...this.#links].map((link) => link.end()));
  }

  /** Ends the client because its signal says so. */
  #abort(reason: unknown): void {
    this.#ending.abort(reason);
    for (const waiter of [...this.#waiters, ...this.#lookers]) waiter.fail(reason);
    this.close();
  }

  /** Makes a connection, that is not free yet. */
  async #connect(): Promise<ConsumerLink> {
    const link = await this.#connector.connect(this.#ending.signal);
    this.#links.add(link);
    this.#number = link.number;
    link.closing.then(async (cause) => {
      if (this.#free.includes(link)) this.#free.splice(this.#free.indexOf(link), 1);
      this.#tasks.get(link)?.lose(cause);
      this.#tasks.delete(link);
      if (!this.#stopping.signal.aborted) {
        this.#connector.noteLoss(cause, performance.now() - link.openedAtMs);
      }
      await link.end();
      this.#links.delete(link);
    });
    if (this.#stopping.signal.aborted) {
      link.end();
      throw closedError();
    }
    return link;
  }

  /** Asks, again and again, as long as no fewer callers wait than connections ask. Never rejects. */
  async #seek(): Promise<void> {
    this.#seekers++;
    let link: ConsumerLink | undefined;
    try {
      while (this.#waiters.size >= this.#seekers && !this.#stopping.signal.aborted) {
        if (!link?.isOpen) {
          link = this.#free.pop() ?? await this.#connect();
          // Whoever waited may have stopped meanwhile.
          continue;
        }
        const askedAtMs = performance.now();
        const waitSeconds = this.#waitSeconds();
        const assignment = await reserve(link, waitSeconds);
        if (typeof assignment !== "string" && link.isOpen) {
          const [first] = this.#waiters;
          this.#take(assignment, link, first);
          link = undefined;
          break;
        }
        // Half of what was asked for: then the server did not wait.
        if (link.isOpen && performance.now() - askedAtMs < waitSeconds * 500) {
          await sleep(this.#pollMs, this.#stopping.signal);
        }
      }
      if (link !== undefined) this.#setFree(link);
    } catch (error) {
      // It could not connect, and will not.
      for (const waiter of [...this.#waiters]) waiter.fail(error);
    }
    this.#seekers--;
    if (this.#seekers < this.#waiters.size) this.#seek();
  }

  /** How long the server is to wait: no longer than somebody waits here. */
  #waitSeconds(): number {
    const untilMs = Math.max(...[...this.#waiters].map((waiter) => waiter.untilMs));
    const seconds = Math.ceil((untilMs - performance.now()) / 1000);
    return Math.min(Math.max(1, seconds), maxWaitSeconds);
  }

  /**
   * Asks once, for the first for whom nobody has asked yet. A connection that comes too late for its
   * caller is for the next one: else an outage would pile up connections. Never rejects.
   */
  async #look(): Promise<void> {
    try {
      const link = await this.#takeFree();
      const [waiter] = this.#unasked;
      if (waiter === undefined) return this.#setFree(link);
      this.#unasked.delete(waiter);
      const assignment = await reserve(link);
      if (typeof assignment === "string") {
        this.#setFree(link);
        waiter.settle(assignment);
      } else if (link.isOpen) {
        this.#take(assignment, link, waiter);
      } else {
        waiter.settle("no answer");
      }
    } catch (error) {
      // It could not connect, and will not.
      for (const waiter of [...this.#unasked]) waiter.fail(error);
    }
  }

  /** Takes a free connection, or makes one. */
  async #takeFree(): Promise<ConsumerLink> {
    this.#connectingCount++;
    try {
      return this.#free.pop() ?? await this.#connect();
    } finally {
      this.#connectingCount--;
    }
  }

  /** Takes what was handed out, for somebody who may have stopped waiting. */
  #take(assignment: Assignment, link: ConsumerLink, waiter: Waiter | undefined): void {
    const task = new HeldTask(assignment, link, () => {
      // Its connection may hold the next one already, if its lease was over.
      if (this.#tasks.get(link) !== task) return;
      this.#tasks.delete(link);
      this.#setFree(link);
    });
    this.#tasks.set(link, task);
    const [another] = [...this.#waiters, ...this.#lookers];
    const taker = waiter?.isWaiting ? waiter : another;
    if (taker === undefined) task.giveBack(new QueueError("nobody waits for it any more"));
    else taker.settle(task);
  }

  #setFree(link: ConsumerLink): void {
    if (this.#stopping.signal.aborted) link.end();
    else if (link.isOpen) this.#free.push(link);
  }
}

/** Asks for a task; it is no answer if the connection was lost. */
async function reserve(
  link: ConsumerLink,
  waitSeconds?: number,
): Promise<Assignment | "none" | "no answer"> {
  try {
    return await link.reserve(waitSeconds) ?? "none";
  } catch (error) {
    if (error instanceof DisconnectedError) return "no answer";
    throw error;
  }
}

function closedError(): QueueError {
  return new QueueError("the consumer is closed");
}
