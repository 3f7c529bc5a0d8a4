/**
 * One connection to a producer port.
 *
 * Each `CREATE` is followed by a `SYNC`, in the same write: the `OK` tells by its count whether the
 * server has accepted that task, and an `ERROR` before it says why not. So it is known which of many
 * pipelined tasks was refused.
 *
 * @module
 */

import type { ServerAddress } from "./transport.ts";
import type { Dialogue } from "./dialogue.ts";
import { openAndCheck, openingMs } from "./opening.ts";
import { DisconnectedError, RefusedError } from "./queue_error.ts";
import { syncLine } from "./sync_line.ts";

/** A connection to a producer port. */
export class ProducerLink {
  /** When it was opened, on the clock of `performance.now()`. */
  readonly openedAtMs: number = performance.now();

  readonly #dialogue: Dialogue;
  /** How many tasks the server has accepted on this connection. */
  #accepted = 0;

  private constructor(dialogue: Dialogue) {
    this.#dialogue = dialogue;
  }

  /**
   * Connects, and makes sure that it is a producer port.
   *
   * @throws {DisconnectedError} the next attempt may succeed.
   * @throws {QueueError} what listens there is something else, or does not want us.
   */
  static async open(address: ServerAddress, signal: AbortSignal): Promise<ProducerLink> {
    const answers = ["ok", "error", "greeting"] as const;
    const { dialogue } = await openAndCheck(address, signal, {
      questions: [{ text: syncLine, answers, withinMs: openingMs }],
      port: "producer",
    });
    return new ProducerLink(dialogue);
  }

  /** True while tasks can be sent. */
  get isOpen(): boolean {
    return this.#dialogue.isOpen;
  }

  /** Resolves, with the cause, when no more tasks can be sent. */
  get closing(): Promise<Error> {
    return this.#dialogue.closing;
  }

  /**
   * Sends the line of a task; resolves when the server has it in its queue, and on its disk if it
   * keeps a store.
   *
   * @throws {RefusedError} the server does not take it.
   * @throws {UnreadError} the server has not read it, and reads no more on this connection.
   * @throws {DisconnectedError} the connection was lost before the answer, or the answer is none.
   */
  async create(line: string, taskId: string): Promise<void> {
    const answer = await this.#dialogue.ask({ text: line + syncLine, answers: ["ok"], taskId });
    const { reply, refusal = "the server gives no reason" } = answer;
    // Answers come in order, so this is the count before this task.
    const before = this.#accepted;
    const count = reply.kind === "ok" ? reply.count : before;
    if (count === before) throw new RefusedError(taskId, refusal);
    if (count !== before + 1) {
      const cause = this.#dialogue.fail(`has answered OK ${count} to task ${before + 1}`);
      throw new DisconnectedError([taskId], cause);
    }
    this.#accepted = count;
  }

  /** Ends it in order: what was sent is answered first. */
  end(): Promise<void> {
    return this.#dialogue.end();
  }

  /** Ends it at once: what was sent may be done or not. */
  close(cause?: Error): void {
    this.#dialogue.close(cause);
  }
}
