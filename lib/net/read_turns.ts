/**
 * Turns of reading: peers that send without end are read one after the other, so that peers with
 * little to say are served in between.
 *
 * @module
 */

import type { Clock } from "../clock.ts";

/**
 * How long floods are read before the runtime looks for input of others, in milliseconds: while it
 * has anything to do, it looks only every 61 turns (tokio's `event_interval`).
 */
const floodMs = 5;

/** The turns of all connections that flood one server. */
export class ReadTurns {
  readonly #clock: Clock;
  /** Those that wait for their turn, first come, first served. */
  readonly #waiting: (() => void)[] = [];
  #last: object | undefined;
  #floodEndMs = 0;

  /** Makes turns for which nobody waits. */
  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Waits while others are read: one per turn of the event loop, so that peers with little to say
   * wait for some 5 ms, however many floods there are.
   *
   * @param reader whose turn it is to be.
   */
  async waitForTurn(reader: object): Promise<void> {
    // A single one waits for nobody: the turn of the event loop costs as much as 100 commands.
    if (this.#last === reader && this.#waiting.length === 0) return;
    await new Promise<void>((resolve) => {
      if (this.#waiting.push(resolve) === 1) this.#planTurn();
    });
    this.#last = reader;
  }

  #planTurn(): void {
    if (this.#clock.nowMs() < this.#floodEndMs) {
      this.#clock.afterInput(() => this.#giveTurn());
    } else {
      // A timer, because the runtime looks for input only when it has nothing else to do.
      this.#clock.after(0, () => {
        this.#floodEndMs = this.#clock.nowMs() + floodMs;
        this.#giveTurn();
      });
    }
  }

  #giveTurn(): void {
    this.#waiting.shift()?.();
    if (this.#waiting.length > 0) this.#planTurn();
  }
}
