/**
 * The client that creates tasks.
 *
 * @module
 */

import { formatReason, maxLineBytes, parseReason } from "../core/protocol.ts";
import { checkNumber, type ConnectOptions } from "./connect_options.ts";
import { Connector } from "./connector.ts";
import { byteLength, formatNewTask, type NewTask } from "./new_task.ts";
import { ProducerLink } from "./producer_link.ts";
import { DisconnectedError, QueueError, RefusedError, UnreadError } from "./queue_error.ts";
import { after, onAbort } from "./timer.ts";

/** Most tasks that are sent and not confirmed: enough to fill any network, little to be lost. */
const maxUnconfirmed = 1000;

/** How long `close` waits for an answer if nothing else is said, in milliseconds. */
const closeWaitMs = 30_000;

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
   * created or not. What was not sent yet, or not read as the server has said, waits for the next
   * connection instead.
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
   *
   * @param options.waitMs gives up if the server answers nothing for so many milliseconds, such as
   * at a full queue: what is not confirmed then rejects with a DisconnectedError. 30,000 if left
   * out; Infinity waits for as long as it takes. Later calls change nothing.
   */
  close(options?: { readonly waitMs?: number }): Promise<void>;
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
  readonly lineBytes: number;
  readonly taskId: string;
  /** False when nobody waits for it any more. */
  isWanted: boolean;
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
  #waiting = new Set<Creation>();
  /** Sent, and not answered, even if nobody waits for the answer any more. */
  readonly #sent = new Set<Creation>();
  /** Sent over a connection that ended before they were read, in the order of the calls. */
  #unread: Creation[] = [];
  /** True between a connection that ended although the server is well, and the next one. */
  #isRenewing = false;
  /** The longest line that this server takes, in bytes with its LF, once it has said so. */
  #maxLineBytes = Infinity;
  /** The longest line that this server is known to take, in bytes with its LF. */
  #sureLineBytes = maxLineBytes;
  /** Whether a longer one was sent and not answered. */
  #isTryingLength = false;
  /** When the server answered last, on the clock of `performance.now()`. */
  #answeredAtMs = 0;
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
    return this.#waiting.size + this.#sent.size + this.#unread.length;
  }

  async create(task: NewTask, options: { readonly signal?: AbortSignal } = {}): Promise<void> {
    const line = formatNewTask(task);
    this.#throwIfClosed();
    options.signal?.throwIfAborted();
    await new Promise<void>((resolve, reject) => {
      const creation: Creation = {
        line,
        lineBytes: byteLength(line),
        taskId: task.id,
        isWanted: true,
        settle: (error) => {
          forgetSignal();
          if (error === undefined) resolve();
          else reject(error);
        },
      };
      const forgetSignal = onAbort(options.signal, () => {
        creation.isWanted = false;
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

  async close({ waitMs = closeWaitMs }: { readonly waitMs?: number } = {}): Promise<void> {
    checkNumber("waitMs", waitMs, { least: 0 });
    await (this.#closing ??= this.#close(waitMs));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #throwIfClosed(): void {
    this.#ending.signal.throwIfAborted();
    if (this.#closing !== undefined) throw closedError();
  }

  async #close(waitMs: number): Promise<void> {
    // After `#closing` is set: what is not sent then, and has no connection, is given up.
    await Promise.resolve();
    const idle = new Promise<void>((resolve) => this.#onIdle = resolve);
    this.#answeredAtMs = performance.now();
    const forgetTime = this.#watchSilence(waitMs);
    this.#pump();
    await idle;
    forgetTime();
    this.#forgetSignal();
    const link = this.#link;
    this.#ending.abort(closedError());
    await link?.end();
  }

  /** Gives up what is under way when the server has answered nothing for some time. */
  #watchSilence(waitMs: number): () => void {
    let forgetTime = () => {};
    const look = () => {
      const restMs = this.#answeredAtMs + waitMs - performance.now();
      if (restMs > 0) {
        forgetTime = after(restMs, look);
        return;
      }
      const cause = new Error(`no answer for ${waitMs} ms while closing`);
      this.#giveUp(new DisconnectedError([], cause));
      this.#link?.close(cause);
      this.#ending.abort(closedError());
    };
    look();
    return () => forgetTime();
  }

  /** Gives up at once, because the client's signal says so. */
  #abort(reason: unknown): void {
    this.#ending.abort(reason);
    for (const creation of [...this.#unread, ...this.#waiting, ...this.#sent]) {
      creation.settle(reason);
    }
    this.#waiting.clear();
    this.#unread = [];
    this.#link?.close();
    this.#onIdle?.();
  }

  /** Sends what may be sent now, and connects if something is to be sent. */
  #pump(): void {
    if (this.#unread.length > 0 && this.#sent.size === 0) {
      this.#waiting = new Set([
        ...this.#unread.filter(({ isWanted }) => isWanted),
        ...this.#waiting,
      ]);
      this.#unread = [];
    }
    for (const creation of this.#waiting) {
      if (this.#link === undefined || this.#sent.size >= maxUnconfirmed) break;
      if (this.#isTryingLength && creation.lineBytes > this.#sureLineBytes) break;
      this.#waiting.delete(creation);
      if (creation.lineBytes > this.#maxLineBytes) creation.settle(this.#tooLong(creation));
      else this.#send(creation, this.#link);
    }
    if (this.#link === undefined && this.#waiting.size > 0) {
      const isOver = this.#closing !== undefined && !this.#isRenewing;
      if (isOver) this.#giveUp(new DisconnectedError([], closedError()));
      else if (!this.#isConnecting) this.#connect();
    }
    if (this.unconfirmed === 0) this.#onIdle?.();
  }

  #send(creation: Creation, link: ProducerLink): void {
    this.#sent.add(creation);
    const triesLength = creation.lineBytes > this.#sureLineBytes;
    if (triesLength) this.#isTryingLength = true;
    const settle = (error?: unknown) => {
      this.#sent.delete(creation);
      this.#answeredAtMs = performance.now();
      if (triesLength) this.#isTryingLength = false;
      if (error instanceof UnreadError && !this.#ending.signal.aborted) {
        this.#unread.push(creation);
        this.#isRenewing = true;
      } else {
        if (error === undefined || error instanceof RefusedError) this.#learn(creation, error);
        creation.settle(error);
      }
      this.#pump();
    };
    link.create(creation.line, creation.taskId).then(() => settle(), settle);
  }

  /**
   * Learns from an answer how long a line may be. At the 100th that is too long the server would end
   * the connection for all tasks, so no more than one at a time is tried.
   */
  #learn({ lineBytes }: Creation, refusal: RefusedError | undefined): void {
    if (refusal === undefined) {
      this.#sureLineBytes = Math.max(this.#sureLineBytes, lineBytes);
      return;
    }
    const reason = parseReason(refusal.reason);
    if (reason?.kind !== "line too long") return;
    // No server of this protocol takes less.
    this.#maxLineBytes = this.#sureLineBytes = Math.max(reason.maxLineBytes, maxLineBytes);
  }

  #tooLong({ taskId }: Creation): RefusedError {
    const reason = { kind: "line too long", maxLineBytes: this.#maxLineBytes } as const;
    return new RefusedError(taskId, formatReason(reason));
  }

  /** Connects again. Never rejects. */
  async #connect(): Promise<void> {
    this.#isConnecting = true;
    try {
      this.#use(await this.#connector.connect(this.#ending.signal));
    } catch (error) {
      this.#giveUp(error);
    }
    this.#isRenewing = false;
    this.#isConnecting = false;
    this.#pump();
  }

  #use(link: ProducerLink): void {
    this.#link = link;
    link.closing.then((cause) => {
      this.#link = undefined;
      if (this.#ending.signal.aborted) return;
      this.#isRenewing = cause instanceof UnreadError;
      if (!this.#isRenewing) {
        // The next server may be another one.
        this.#maxLineBytes = Infinity;
        this.#sureLineBytes = maxLineBytes;
        this.#connector.noteLoss(cause, performance.now() - link.openedAtMs);
      }
      link.end();
      this.#pump();
    });
  }

  /** Rejects what was not sent. */
  #giveUp(error: unknown): void {
    const waiting = [...this.#unread, ...this.#waiting];
    this.#unread = [];
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
