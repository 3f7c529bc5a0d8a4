/**
 * Works on tasks: one function, called for each.
 *
 * @module
 */

import { checkNumber, type ConnectOptions } from "./connect_options.ts";
import { QueueConsumer } from "./consumer_client.ts";
import type { HeldTask, Task } from "./held_task.ts";
import { QueueError } from "./queue_error.ts";
import { after, onAbort } from "./timer.ts";

/** How long running handlers have at the end, in milliseconds. */
const defaultGraceMs = 10_000;

/** How long a handler has after its task's signal, in milliseconds. */
const abortedMs = 1000;

/** How a worker works. */
export interface WorkOptions extends ConnectOptions {
  /** How many tasks it works on at a time, 1 if left out; it has a connection for each. */
  readonly concurrency?: number;
  /**
   * How long it waits for running handlers after `signal`, in milliseconds; 10,000 if left out. Then
   * `task.signal` is aborted, and 1 s later what is still held is released.
   */
  readonly graceMs?: number;
  /**
   * Is told what a handler has thrown, and why a task could not be ended as it should;
   * `console.error` if left out.
   */
  readonly onError?: (error: unknown, task: Task) => void;
}

/** What a worker has done. */
export interface WorkCount {
  /** Tasks of which the server has confirmed the completion. */
  readonly completed: number;
  /** Tasks that were failed, buried or lost: worked on, and not completed. */
  readonly failed: number;
}

/**
 * Takes tasks and calls a function for each, until the signal. A task is completed when the function
 * has returned and what it returned has resolved; it fails if it throws or rejects. If the function
 * ends the task itself (`complete`, `fail`, `bury` or `release`), that counts. It reserves a task
 * only when it can start it, so that a more urgent one that comes meanwhile is not late.
 *
 * It connects again for ever; tasks that were held go to somebody else, and their signals are
 * aborted. `signal` ends it in order: no more tasks are taken, and running handlers are waited for,
 * `graceMs` long. It traps no signals of the system, and prints nothing unless `onError` is left out.
 *
 * @returns the counts, after the signal.
 * @throws {DisconnectedError} `retry` is false, and it could not connect.
 * @throws {QueueError} what listens there is no consumer port, or of an older server.
 * @throws {RangeError} an option is out of range.
 * @throws what `onError` or `onDisconnect` has thrown.
 */
export async function work(
  options: WorkOptions,
  handle: (task: Task) => unknown,
): Promise<WorkCount> {
  return await new WorkRun(options, handle).run();
}

/** A worker that runs once. */
class WorkRun {
  readonly #options: WorkOptions;
  readonly #handle: (task: Task) => unknown;
  readonly #concurrency: number;
  readonly #graceMs: number;
  readonly #running = new Set<HeldTask>();
  /** Endings that the server has not confirmed. */
  readonly #unconfirmed = new Set<Promise<void>>();
  /** Aborted when no more tasks are to be taken. */
  readonly #stopping = new AbortController();
  /** Why tasks are told to stop at the end. */
  readonly #graceOver = new QueueError("the worker is ending: the time to finish is over");
  #isOver = false;
  #failure: { readonly error: unknown } | undefined;
  #completed = 0;
  #failed = 0;

  constructor(options: WorkOptions, handle: (task: Task) => unknown) {
    const { concurrency = 1, graceMs = defaultGraceMs } = options;
    checkNumber("concurrency", concurrency, { least: 1, isWhole: true });
    checkNumber("graceMs", graceMs, { least: 0 });
    this.#options = options;
    this.#handle = handle;
    this.#concurrency = concurrency;
    this.#graceMs = graceMs;
  }

  async run(): Promise<WorkCount> {
    const { signal } = this.#options;
    const forgetSignal = onAbort(signal, () => this.#stopping.abort());
    const connecting = new AbortController();
    const forgetConnecting = onAbort(this.#stopping.signal, () => connecting.abort());
    try {
      const consumer = await QueueConsumer.connect({
        ...this.#options,
        signal: connecting.signal,
      });
      forgetConnecting();
      await this.#workBy(consumer);
    } catch (error) {
      if (!connecting.signal.aborted) throw error;
    } finally {
      forgetConnecting();
      forgetSignal();
    }
    if (this.#failure !== undefined) throw this.#failure.error;
    return { completed: this.#completed, failed: this.#failed };
  }

  async #workBy(consumer: QueueConsumer): Promise<void> {
    const forgetStop = onAbort(this.#stopping.signal, () => consumer.stop());
    const slots = Array.from({ length: this.#concurrency }, () => this.#fillSlot(consumer));
    const isDone = Promise.all(slots).then(() => Promise.all(this.#unconfirmed));
    const grace = this.#awaitGrace();
    await Promise.race([isDone, grace.isOver]);
    grace.forget();
    this.#isOver = true;
    forgetStop();
    await consumer.close();
    await Promise.all(this.#unconfirmed);
  }

  /** What is over 1 s after the tasks that still ran when the grace was over were told to stop. */
  #awaitGrace(): { readonly isOver: Promise<void>; readonly forget: () => void } {
    let forgetTime = () => {};
    let forgetStop = () => {};
    const isOver = new Promise<void>((resolve) => {
      forgetStop = onAbort(this.#stopping.signal, () => {
        forgetTime = after(this.#graceMs, () => {
          for (const task of this.#running) task.abort(this.#graceOver);
          forgetTime = after(abortedMs, resolve);
        });
      });
    });
    return {
      isOver,
      forget: () => {
        forgetStop();
        forgetTime();
      },
    };
  }

  /** Works on one task after the other. Never rejects. */
  async #fillSlot(consumer: QueueConsumer): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      try {
        const task = await consumer.next();
        if (task !== undefined) await this.#workOn(task);
      } catch (error) {
        this.#stopBy(error);
      }
    }
  }

  async #workOn(task: HeldTask): Promise<void> {
    this.#running.add(task);
    let hasThrown = false;
    try {
      await this.#handle(task);
    } catch (error) {
      hasThrown = true;
      if (!this.#wasTold(task)) this.#tell(error, task);
    }
    this.#running.delete(task);
    if (this.#isOver) return;
    // The next task is asked for in the same write, and not after the confirmation.
    const confirmed = this.#end(task, hasThrown)
      .then(() => this.#count(task), (error) => {
        this.#failed++;
        if (!hasThrown) this.#tell(error, task);
      })
      .finally(() => this.#unconfirmed.delete(confirmed));
    this.#unconfirmed.add(confirmed);
  }

  #end(task: HeldTask, hasThrown: boolean): Promise<void> {
    if (task.ending !== undefined) return task.ending.confirmed;
    if (!hasThrown) return task.complete();
    // It has stopped because it was told to: that is no failed attempt.
    return this.#wasTold(task) ? task.release() : task.fail();
  }

  #count({ ending }: HeldTask): void {
    if (ending?.kind === "complete") this.#completed++;
    else if (ending?.kind !== "release") this.#failed++;
  }

  #wasTold({ signal }: HeldTask): boolean {
    return signal.reason === this.#graceOver;
  }

  #tell(error: unknown, task: HeldTask): void {
    if (this.#isOver) return;
    const { onError = reportError } = this.#options;
    try {
      onError(error, task);
    } catch (thrown) {
      this.#stopBy(thrown);
    }
  }

  #stopBy(error: unknown): void {
    this.#failure ??= { error };
    this.#stopping.abort();
  }
}

function reportError(error: unknown, task: Task): void {
  console.error(`task ${JSON.stringify(task.id)}:`, error);
}
