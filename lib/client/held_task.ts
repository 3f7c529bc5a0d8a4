/**
 * A task that this process holds.
 *
 * @module
 */

import { leaseMs } from "../core/reservations.ts";
import type { Assignment, ConsumerLink, TaskCommand } from "./consumer_link.ts";
import type { Json } from "./json.ts";
import { formatSeconds } from "./new_task.ts";
import { LostTaskError, QueueError, RefusedError } from "./queue_error.ts";
import { after } from "./timer.ts";

/**
 * A task that is reserved for this process until it is completed, failed, buried or released, or its
 * lease is over. Each of these resolves when the server has confirmed it; all but `touch` end the
 * holding at once, so only one of them can be called.
 *
 * All of them reject with a LostTaskError if the task is not held any more, with a DisconnectedError
 * if the connection is lost before the confirmation, with a RefusedError if the server cannot do it
 * (its disk is full), and with a QueueError if the task was ended before. A task whose end is refused
 * is given back, which does not count as an attempt.
 */
export interface Task extends AsyncDisposable {
  /** Its name. */
  readonly id: string;
  /** How long it should take, in seconds. */
  readonly duration: number;
  /** Its data, if it has any. */
  readonly payload?: Json | undefined;
  /** Its data as the producer has sent it: JSON.parse rounds numbers of more than 15 digits. */
  readonly payloadText?: string | undefined;
  /**
   * Aborted when the task is not held any more without its doing: its lease is over (2 × duration +
   * 10 s from the hand-out or the last `touch`, 24 h at most), its connection is gone, or the worker
   * has waited long enough at its end. The work should stop: somebody else may have the task.
   */
  readonly signal: AbortSignal;
  /** The work is done, and the task gone. */
  complete(): Promise<void>;
  /**
   * The attempt has failed. It counts: at the fifth the task is buried.
   *
   * @param options.delay in how many seconds it may be taken again: 5, 20, 80, 320 after the first
   * to fourth attempt if left out.
   */
  fail(options?: { readonly delay?: number }): Promise<void>;
  /** Nobody is to attempt it again, until somebody kicks it. */
  bury(): Promise<void>;
  /**
   * The task goes back to its old place, and this does not count as an attempt.
   *
   * @param options.delay in how many seconds it may be taken again; at once if left out.
   */
  release(options?: { readonly delay?: number }): Promise<void>;
  /** The lease starts anew. */
  touch(): Promise<void>;
  /** Leaving its scope without a word fails the task; does nothing if it was ended, or is lost. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** How a task was ended, and whether that is confirmed. */
export interface Ending {
  /** What was said. */
  readonly kind: Exclude<TaskCommand["kind"], "touch">;
  /** Settles with the confirmation. */
  readonly confirmed: Promise<void>;
}

/** A task, and the connection that holds it. */
export class HeldTask implements Task {
  /** See {@linkcode Task.id}. */
  readonly id: string;
  /** See {@linkcode Task.duration}. */
  readonly duration: number;
  /** See {@linkcode Task.payload}. */
  readonly payload: Json | undefined;
  /** See {@linkcode Task.payloadText}. */
  readonly payloadText: string | undefined;

  readonly #link: ConsumerLink;
  /** Called when its connection can be used for another task. */
  readonly #onFree: () => void;
  readonly #loss = new AbortController();
  #ending: Ending | undefined;
  /** Why it is not held any more, if it was not ended. */
  #lost: LostTaskError | undefined;
  #forgetLease: () => void = () => {};

  /** Takes over what was handed out just now. */
  constructor({ taskId, duration, payload }: Assignment, link: ConsumerLink, onFree: () => void) {
    this.id = taskId;
    this.duration = Number(duration);
    this.payloadText = payload;
    this.payload = payload === undefined ? undefined : JSON.parse(payload);
    this.#link = link;
    this.#onFree = onFree;
    this.#startLease(performance.now());
  }

  /** How it was ended; undefined if it was not. */
  get ending(): Ending | undefined {
    return this.#ending;
  }

  /** See {@linkcode Task.signal}. */
  get signal(): AbortSignal {
    return this.#loss.signal;
  }

  /** See {@linkcode Task.complete}. */
  complete(): Promise<void> {
    return this.#end({ kind: "complete", taskId: this.id });
  }

  /** See {@linkcode Task.fail}. */
  fail(options: { readonly delay?: number } = {}): Promise<void> {
    return this.#endDelayed("fail", options.delay);
  }

  /** See {@linkcode Task.bury}. */
  bury(): Promise<void> {
    return this.#end({ kind: "bury", taskId: this.id });
  }

  /** See {@linkcode Task.release}. */
  release(options: { readonly delay?: number } = {}): Promise<void> {
    return this.#endDelayed("release", options.delay);
  }

  /** See {@linkcode Task.touch}. */
  async touch(): Promise<void> {
    this.#throwIfEnded();
    const sentAtMs = performance.now();
    try {
      await this.#link.say({ kind: "touch", taskId: this.id });
    } catch (error) {
      if (error instanceof LostTaskError) this.#endLease(error);
      throw error;
    }
    if (this.#isHeld) this.#startLease(sentAtMs);
  }

  /** See {@linkcode Task}. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#isHeld) return;
    try {
      await this.fail();
    } catch (error) {
      // Lost meanwhile: it has gone back without a word.
      if (!(error instanceof QueueError)) throw error;
    }
  }

  /** Tells whoever works on it to stop. It is still held: what is said about it counts. */
  abort(reason: Error): void {
    if (this.#isHeld) this.#loss.abort(reason);
  }

  /** Gives it back, uncounted, and has it lost for whoever works on it. Never rejects. */
  giveBack(reason: Error): void {
    if (!this.#isHeld) return;
    this.#link.giveBack(this.id);
    this.#endLease(new LostTaskError(this.id, reason.message, { cause: reason }));
  }

  /** Notes that its connection is gone. */
  lose(cause: Error): void {
    this.#lose(new LostTaskError(this.id, cause.message, { cause }));
  }

  get #isHeld(): boolean {
    return this.#ending === undefined && this.#lost === undefined;
  }

  #throwIfEnded(): void {
    if (this.#ending !== undefined) {
      throw new QueueError(`task ${JSON.stringify(this.id)} was ended before`);
    }
    if (this.#lost !== undefined) throw this.#lost;
  }

  #startLease(fromMs: number): void {
    this.#forgetLease();
    const restMs = leaseMs(this.duration) - (performance.now() - fromMs);
    this.#forgetLease = after(restMs, () => {
      // The server looks at leases from time to time. Until it has ended this one, it would take what
      // is said of the connection's next task for this task if they share a name. The attempt counts
      // once either way, and the answer tells nothing new.
      this.#link.say({ kind: "fail", taskId: this.id, delay: "0" }).catch(() => {});
      this.#endLease(new LostTaskError(this.id, "its lease is over"));
    });
  }

  /** Notes that it is not held any more, although its connection is well. */
  #endLease(reason: LostTaskError): void {
    if (!this.#isHeld) return;
    this.#lose(reason);
    this.#onFree();
  }

  #lose(reason: LostTaskError): void {
    if (!this.#isHeld) return;
    this.#forgetLease();
    this.#lost = reason;
    this.#loss.abort(reason);
  }

  async #endDelayed(kind: "fail" | "release", delay: number | undefined): Promise<void> {
    const taskId = this.id;
    if (delay === undefined) return await this.#end({ kind, taskId });
    await this.#end({ kind, taskId, delay: formatSeconds("delay", delay) });
  }

  async #end(command: TaskCommand & { readonly kind: Ending["kind"] }): Promise<void> {
    this.#throwIfEnded();
    this.#forgetLease();
    const confirmed = this.#link.say(command).catch((error) => {
      // It is still held. The connection may hold another one, which is not to blame.
      if (error instanceof RefusedError) this.#link.giveBack(this.id);
      throw error;
    });
    // Whoever looks at the ending may come later than the rejection.
    confirmed.catch(() => {});
    this.#ending = { kind: command.kind, confirmed };
    this.#onFree();
    await confirmed;
  }
}
