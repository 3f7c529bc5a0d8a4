/**
 * One connection to a consumer port. It asks for one task at a time.
 *
 * What is said about a task is followed by a `SYNC`, in the same write: the `OK` confirms it, and an
 * `ERROR` before that is its refusal.
 *
 * @module
 */

import type { ServerAddress } from "./transport.ts";
import {
  type ConsumerCommand,
  formatCommand,
  maxWaitSeconds,
  parseReason,
} from "../core/protocol.ts";
import type { Dialogue } from "./dialogue.ts";
import { openAndCheck, openingMs } from "./opening.ts";
import { DisconnectedError, LostTaskError, RefusedError } from "./queue_error.ts";
import { syncLine } from "./sync_line.ts";

/** How long an answer may take beyond the wait that was asked for: the server is gone, or hangs. */
const overdueMs = 30_000;

/** How long a confirmation may take: a task that is given back late may stand behind a wait. */
const confirmationMs = maxWaitSeconds * 1000 + overdueMs;

/** What the server hands out. */
export interface Assignment {
  /** The task's name. */
  readonly taskId: string;
  /** Its duration in seconds, as text. */
  readonly duration: string;
  /** Its payload, as the producer has sent it. */
  readonly payload?: string;
}

/** What is said about a task that is held. */
export type TaskCommand = Extract<ConsumerCommand, { readonly taskId: string }>;

/** A connection to a consumer port. */
export class ConsumerLink {
  /** When it was opened, on the clock of `performance.now()`. */
  readonly openedAtMs: number = performance.now();
  /** The number that the server gave this connection. */
  readonly number: number;

  readonly #dialogue: Dialogue;
  /** How many tasks the server has taken for completed on this connection. */
  #completed = 0;

  private constructor(dialogue: Dialogue, number: number) {
    this.#dialogue = dialogue;
    this.number = number;
  }

  /**
   * Connects, takes the greeting, and makes sure that the server confirms on this port.
   *
   * @throws {DisconnectedError} the next attempt may succeed.
   * @throws {QueueError} what listens there is something else, is too old, or does not want us.
   */
  static async open(address: ServerAddress, signal: AbortSignal): Promise<ConsumerLink> {
    const { dialogue, answers } = await openAndCheck(address, signal, {
      // Sent before the greeting: a producer port would wait for ever.
      questions: [
        { text: syncLine, answers: ["greeting", "ok", "error"], withinMs: openingMs },
        { text: "", answers: ["ok", "error"], withinMs: openingMs },
      ],
      port: "consumer",
    });
    const greeting = answers[0]?.reply;
    return new ConsumerLink(dialogue, greeting?.kind === "greeting" ? greeting.consumer : 0);
  }

  /** True while something can be asked. */
  get isOpen(): boolean {
    return this.#dialogue.isOpen;
  }

  /** Resolves, with the cause, when nothing more can be asked: what was held has gone back. */
  get closing(): Promise<Error> {
    return this.#dialogue.closing;
  }

  /**
   * Reserves the first task in order.
   *
   * @param waitSeconds how long the server waits for one, 1 to 60; not at all if left out.
   * @returns undefined if there is none.
   * @throws {DisconnectedError} the connection was lost before the answer.
   */
  async reserve(waitSeconds?: number): Promise<Assignment | undefined> {
    const command = formatCommand({
      kind: "reserve",
      ...waitSeconds === undefined ? {} : { waitSeconds },
    });
    const { reply } = await this.#dialogue.ask({
      text: `${command}\n`,
      answers: ["assign", "no task"],
      withinMs: (waitSeconds ?? 0) * 1000 + overdueMs,
    });
    if (reply.kind === "error") throw new DisconnectedError([], new Error(reply.reason));
    return reply.kind === "assign" ? reply : undefined;
  }

  /**
   * Says something about a task that is held; resolves when the server has done it.
   *
   * @throws {LostTaskError} the task is not held any more.
   * @throws {RefusedError} the server cannot do it.
   * @throws {DisconnectedError} the connection was lost before the answer, or the answer is none.
   */
  async say(command: TaskCommand): Promise<void> {
    const { kind, taskId } = command;
    const text = `${formatCommand(command)}\n${syncLine}`;
    const { reply, refusal } = await this.#dialogue.ask({
      text,
      answers: ["ok"],
      taskId,
      withinMs: confirmationMs,
    });
    const before = this.#completed;
    this.#completed = reply.kind === "ok" ? reply.count : before;
    if (refusal !== undefined && parseReason(refusal)?.kind === "not held") {
      throw new LostTaskError(taskId, "its lease is over, as the server says");
    }
    if (refusal !== undefined) throw new RefusedError(taskId, refusal);
    const expected = kind === "complete" ? before + 1 : before;
    if (this.#completed !== expected) {
      const cause = this.#dialogue.fail(
        `has answered OK ${this.#completed} after ${expected} completed tasks`,
      );
      throw new DisconnectedError([taskId], cause);
    }
  }

  /**
   * Gives back a task that is held, which does not count as an attempt; if the server refuses even
   * that, the connection is ended, which counts. Never rejects.
   */
  async giveBack(taskId: string): Promise<void> {
    try {
      await this.say({ kind: "release", taskId });
    } catch (error) {
      // Else it is back already.
      if (error instanceof RefusedError) await this.end();
    }
  }

  /** Ends it in order: what is held goes back, and a wait for a task ends. */
  end(): Promise<void> {
    return this.#dialogue.end();
  }
}
