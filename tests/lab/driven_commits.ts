/**
 * Commits that a test drives: effects wait until it says what became of their causes. Pure.
 *
 * @module
 */

import type { CommitOutcome, Commits } from "../../lib/core/store.ts";

/** Effects that wait for a commit. */
export class DrivenCommits implements Commits {
  readonly #effects: ((outcome: CommitOutcome) => void)[] = [];
  #owed = 0;

  /** See {@linkcode Commits.isSettled}. */
  get isSettled(): boolean {
    return this.#owed === 0;
  }

  /** See {@linkcode Commits.afterCommit}. */
  afterCommit(effect: (outcome: CommitOutcome) => void): void {
    this.#owed++;
    this.#effects.push(effect);
  }

  /** Lets the effects out that wait now; those that they cause wait for the next commit. */
  commit(outcome: CommitOutcome): void {
    for (const effect of this.#effects.splice(0)) {
      this.#owed--;
      effect(outcome);
    }
  }
}
