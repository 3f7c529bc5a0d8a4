/**
 * The client that creates tasks.
 *
 * @module
 */

import type { ConnectOptions } from "./connect_options.ts";
import { Connector } from "./connector.ts";
import { formatNewTask, type NewTask } from "./new_task.ts";
import { ProducerLink } from "./producer_link.ts";
import { DisconnectedError, QueueError } from "./queue_error.ts";
import { onAbort } from "./timer.ts";

/** Most tasks that are sent and not confirmed: enough to fill any network, little to be lost. */
const maxUnconfirmed = 1000;

/** Creates tasks. */
export interface Producer extends AsyncDisposable {
  /**
   * Creates a task; resolves when the server has confirmed that it is in the queue, and on disk if
   * the server keeps a store. Tasks are sent in the order of the calls, without waiting for each
   * other's confirmation. While 1,000 are unconfirmed, or the queue is full, it waits.
   *
   * @param options.signal gives up waiting. The task may still be created.
   * @throws {TypeError | RangeError} a field cannot be written; nothing was sent.
   * @throws {RefusedError} the server does not take it.
   * @throws {DisconnectedError} the connection was lost before the confirmation: it may have been
   * created or not. What was not sent yet waits for the next connection instead.
   * @throws {QueueError} the producer is closed.
   */
  create(task: NewTask, options?: { readonly signal?: AbortSignal }): Promise<void>;
  /**
   * Creates many tasks, and pulls them as the server confirms: at most 1,000 are unconfirmed.
   *
   * @returns how many were created, which is all of them.
   * @throws the first error of {@linkcode create}, or of the tasks themselves. No more tasks are
   * pulled then; those under way are waited for. The `taskIds` of a DisconnectedError are all that
   * were not confirmed.
   */
  createAll(tasks: Iterable<NewTask> | AsyncIterable<NewTask>): Promise<number>;
  /** How many tasks are under way: asked for, and neither confirmed nor refused. */
  readonly unconfirmed: number;
  /**
   * Waits until what is under way is confirmed, then closes the connection; also done by
   * `await using`. What was not sent yet when the connection is lost is not sent any more.
   */
  close(): Promise<void>;
}

/**
 * Connects to a producer port. The connection is made again when it is lost, as soon as there is
 * something to send.
 *
 * @throws {DisconnectedError} `retry` is false, and it could not connect; else it tries for ever.
 * @throws {QueueError} what listens there is no producer port.
 * @throws {RangeError} an option is out of range.
 * @throws the signal's reason.
 */
export async function connectProducer(options: ConnectOptions): Promise<Producer> {
  const producer = new QueueProducer(options);
  await producer.open();
  return producer;
}

/** A task that is under way. */
interface Creation {
  readonly line: string;
  readonly taskId: string;
  /** Called once, without an error if it was confirmed. */
  settle(error?: unknown): void;
}

/** A producer: what waits to be sent, what was sent, and the connection that there is, if any. */
class QueueProducer implements Producer {
  readonly #connector: Connector<ProducerLink>;
  readonly #ending = new AbortController();
  readonly #forgetSignal: () => void;
  #link: ProducerLink | undefined;
  #isConnecting = false;
  /** Not sent yet, in the order of the calls. */
  readonly #waiting = new Set<Creation>();
  /** Sent, and not answered, even if nobody waits for the answer any more. */
  readonly #sent = new Set<Creation>();
  #closing: Promise<void> | undefined;
  #onIdle: (() => void) | undefined;

  constructor(options: ConnectOptions) {
    this.#connector = new Connector(options, ProducerLink.open);
    this.#forgetSignal = onAbort(options.signal, () => this.#abort(options.signal?.reason));
  }

  /** Makes the first connection. */
  async open(): Promise<void> {
    try {
      this.#use(await this.#connector.connect(this.#ending.signal));
    } catch (error) {
      this.#forgetSignal();
      throw error;
    }
  }

  get unconfirmed(): number {
    return this.#waiting.size + this.#sent.size;
  }

  async create(task: NewTask, options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    const line = formatNewTask(task);
    this.#throwIfClosed();
    options.signal?.throwIfAborted();
    await new Promise<void>((resolve, reject) => {
      const creation: Creation = {
        line,
        taskId: task.id,
        settle: (error) => {
          forgetSignal();
          if (error === undefined) resolve();
          else reject(error);
        },
      };
      const forgetSignal = onAbort(options.signal, () => {
        this.#waiting.delete(creation);
        reject(options.signal?.reason);
        this.#pump();
      });
      this.#waiting.add(creation);
      this.#pump();
    });
  }

  async createAll(tasks: Iterable<NewTask> | AsyncIterable<NewTask>): Promise<number> {
    const failures: unknown[] = [];
    let created = 0;
    let underWay = 0;
    let wake = () => {};
    const fewerThan = async (count: number) => {
      while (underWay >= count) await new Promise<void>((resolve) => wake = resolve);
    };
    try {
      for await (const task of tasks) {
        underWay++;
        this.create(task)
          .then(() => created++, (error) => failures.push(error))
          .then(() => {
            underWay--;
            wake();
          });
        await fewerThan(maxUnconfirmed);
        if (failures.length > 0) break;
      }
    } catch (error) {
      failures.push(error);
    }
    await fewerThan(1);
    if (failures.length > 0) throw firstOf(failures);
    return created;
  }

  close(): Promise<void> {
    return this.#closing ??= this.#close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #throwIfClosed(): void {
    this.#ending.signal.throwIfAborted();
    if (this.#closing !== undefined) throw closedError();
  }

  async #close(): Promise<void> {
    // After `#closing` is set: what is not sent then, and has no connection, is given up.
    await Promise.resolve();
    const idle = new Promise<void>((resolve) => this.#onIdle = resolve);
    this.#pump();
    await idle;
    this.#forgetSignal();
    const link = this.#link;
    this.#ending.abort(closedError());
    await link?.end();
  }

  /** Gives up at once, because the client's signal says so. */
  #abort(reason: unknown): void {
    this.#ending.abort(reason);
    for (const creation of [...this.#waiting, ...this.#sent]) creation.settle(reason);
    this.#waiting.clear();
    this.#link?.close();
    this.#onIdle?.();
  }

  /** Sends what may be sent now, and connects if something is to be sent. */
  #pump(): void {
    for (const creation of this.#waiting) {
      if (this.#link === undefined || this.#sent.size >= maxUnconfirmed) break;
      this.#waiting.delete(creation);
      this.#send(creation, this.#link);
    }
    if (this.#link === undefined && this.#waiting.size > 0) {
      if (this.#closing !== undefined) this.#giveUp(new DisconnectedError([], closedError()));
      else if (!this.#isConnecting) this.#connect();
    }
    if (this.unconfirmed === 0) this.#onIdle?.();
  }

  #send(creation: Creation, link: ProducerLink): void {
    this.#sent.add(creation);
    const settle = (error?: unknown) => {
      this.#sent.delete(creation);
      creation.settle(error);
      this.#pump();
    };
    link.create(creation.line, creation.taskId).then(() => settle(), settle);
  }

  /** Connects again. Never rejects. */
  async #connect(): Promise<void> {
    this.#isConnecting = true;
    try {
      this.#use(await this.#connector.connect(this.#ending.signal));
    } catch (error) {
      this.#giveUp(error);
    }
    this.#isConnecting = false;
    this.#pump();
  }

  #use(link: ProducerLink): void {
    this.#link = link;
    link.closing.then((cause) => {
      this.#link = undefined;
      if (this.#ending.signal.aborted) return;
      this.#connector.noteLoss(cause, performance.now() - link.openedAtMs);
      link.end();
      this.#pump();
    });
  }

  /** Rejects what was not sent. */
  #giveUp(error: unknown): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const creation of waiting) {
      const { taskId } = creation;
      const isLoss = error instanceof DisconnectedError;
      creation.settle(isLoss ? new DisconnectedError([taskId], error.cause as Error) : error);
    }
  }
}

function closedError(): QueueError {
  return new QueueError("the producer is closed");
}

/** The first of many errors; if connections were lost, with all tasks that were. */
function firstOf(failures: readonly unknown[]): unknown {
  const [first] = failures;
  if (!(first instanceof DisconnectedError)) return first;
  const taskIds = failures.flatMap((one) => one instanceof DisconnectedError ? one.taskIds : []);
  return new DisconnectedError(taskIds, first.cause as Error);
}
