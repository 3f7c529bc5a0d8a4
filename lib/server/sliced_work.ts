/**
 * Work in slices: many small steps that are asked for at once are spread over several turns of the
 * event loop, so that others are served between them.
 *
 * @module
 */

import type { Clock } from "../clock.ts";

/** How long steps run before others are served, in milliseconds. */
const sliceMs = 4;

/** Steps that wait for their slice, first come, first served. */
export class SlicedWork {
  readonly #clock: Clock;
  #waiting: (() => void)[] = [];
  /** When the slice of this turn ends; undefined if none has begun. */
  #sliceEndMs: number | undefined;
  #isFinished = false;
  #cancelTurn: () => void = () => {};

  /** Makes an empty one. */
  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Does a step: at once, if this turn's slice is not over and nothing waits.
   *
   * @param step should take a few milliseconds at most.
   * @returns a promise that resolves when it is done, or rejects with what it throws.
   */
  do(step: () => void): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push(() => {
        try {
          step();
          resolve();
        } catch (error) {
          reject(error);
        }
      });
      if (this.#isFinished) this.finish();
      else this.#work();
    });
  }

  /** Does all that waits, and from now on each step, at once. */
  finish(): void {
    this.#isFinished = true;
    this.#cancelTurn();
    for (const step of this.#waiting.splice(0)) step();
  }

  #work(): void {
    if (this.#sliceEndMs === undefined) {
      this.#sliceEndMs = this.#clock.nowMs() + sliceMs;
      // A timer, not setImmediate: while it has anything to do, the runtime hardly looks for input.
      this.#cancelTurn = this.#clock.after(0, () => {
        this.#sliceEndMs = undefined;
        if (this.#waiting.length > 0) this.#work();
      });
    }
    let done = 0;
    while (done < this.#waiting.length && this.#clock.nowMs() < this.#sliceEndMs) {
      this.#waiting[done++]?.();
    }
    this.#waiting.splice(0, done);
  }
}
