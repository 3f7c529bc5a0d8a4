/**
 * Where a simulated store is kept: a contract's tests open it again and take its room. Pure.
 *
 * @module
 */

import type { CommitOutcome } from "../../../lib/core/store.ts";
import { SimulatedStore } from "./simulated_store.ts";

/** A store that outlives each opening, as a file does. */
export class SimulatedPlace implements AsyncDisposable {
  readonly #store = new SimulatedStore();
  readonly #outcomeWithoutRoom: CommitOutcome;

  /** Makes a place with room. */
  constructor(outcomeWithoutRoom: CommitOutcome = "not kept") {
    this.#outcomeWithoutRoom = outcomeWithoutRoom;
  }

  /** Opens the store: what was not committed is gone. */
  open(): SimulatedStore {
    this.#store.restart();
    return this.#store;
  }

  /** From now on commits end as they do without room. */
  takeRoom(): void {
    this.#store.outcome = this.#outcomeWithoutRoom;
  }

  /** From now on commits keep everything. */
  giveRoom(): void {
    this.#store.outcome = "kept";
  }

  /** There is nothing to remove. */
  async [Symbol.asyncDispose](): Promise<void> {}
}
