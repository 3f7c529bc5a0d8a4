/**
 * Group commit: what one turn of the event loop changed is kept by one transaction, and every effect
 * of these changes waits for it.
 *
 * The disk is asked to sync once for many commands, and nothing leaves the server that a crash could
 * take back (Gray & Reuter, Transaction Processing, 9.4.7).
 *
 * @module
 */

import { type Clock, systemClock } from "../clock.ts";
import type { CommitOutcome, Commits, TaskStore } from "../core/store.ts";

/** Collects effects, and lets them out after the commit that holds their causes. */
export class GroupCommit implements Commits {
  readonly #store: Pick<TaskStore, "commit">;
  readonly #onFailure: (error: unknown) => void;
  readonly #clock: Clock;
  #effects: ((outcome: CommitOutcome) => void)[] = [];
  /** Effects that have not been let out yet; those of the running commit are among them. */
  #waiting = 0;
  #hasFailed = false;

  /**
   * Makes a group commit without effects.
   *
   * @param onFailure is told when the store fails; no effect leaves from then on.
   */
  constructor(
    store: Pick<TaskStore, "commit" | "watch">,
    onFailure: (error: unknown) => void,
    clock: Clock = systemClock,
  ) {
    this.#store = store;
    this.#clock = clock;
    this.#onFailure = onFailure;
    store.watch((error) => this.#fail(error));
  }

  /**
   * Takes an effect; it happens after this turn's commit. It must not throw: then nobody knows who was
   * told what, so that counts as a failure, too.
   */
  afterCommit(effect: (outcome: CommitOutcome) => void): void {
    this.#waiting++;
    if (this.#effects.push(effect) > 1) return;
    // After the input that is ready now, and before any timer. Not in a microtask: the lines of the
    // connections that are ready come one by one, each several microtasks after the one before, and
    // each would get a commit of its own.
    this.#clock.afterInput(() => this.#commit());
  }

  /** See {@linkcode Commits.isSettled}. */
  get isSettled(): boolean {
    return this.#waiting === 0;
  }

  #commit(): void {
    // The next commit may succeed, without what this one lost.
    if (this.#hasFailed) return;
    const effects = this.#effects;
    this.#effects = [];
    try {
      const outcome = this.#store.commit();
      for (const effect of effects) {
        this.#waiting--;
        effect(outcome);
      }
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error: unknown): void {
    this.#hasFailed = true;
    this.#onFailure(error);
  }
}
