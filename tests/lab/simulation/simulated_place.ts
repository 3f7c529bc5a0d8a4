/**
 * Where a simulated store is kept: a contract's tests open it again and take its room. Pure.
 *
 * @module
 */

import { SimulatedStore } from "./simulated_store.ts";

/** A store that outlives each opening, as a file does. */
export class SimulatedPlace implements AsyncDisposable {
  readonly #store = new SimulatedStore();

  /** Opens the store: what was not committed is gone. */
  open(): SimulatedStore {
    this.#store.restart();
    return this.#store;
  }

  /** From now on commits keep nothing. */
  takeRoom(): void {
    this.#store.outcome = "not kept";
  }

  /** From now on commits keep everything. */
  giveRoom(): void {
    this.#store.outcome = "kept";
  }

  /** There is nothing to remove. */
  async [Symbol.asyncDispose](): Promise<void> {}
}
