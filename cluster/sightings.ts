/**
 * Which fronts have died: those that make no turn while looks at them go on. No clock is asked, and no
 * time is compared: if the engine stands still, or the front that looks, there are no looks either.
 *
 * @module
 */

/** A front as it was seen. */
export interface Sighting {
  /** Its number. */
  readonly front: number;
  /** How many turns it has made. */
  readonly turn: number;
}

/**
 * A front that lives makes a turn every 2 seconds. One that has made none at so many looks, 5 s apart,
 * has stood still for 15 s.
 */
export const looksUntilDead = 4;

/** What one front has seen of the others. */
export class Sightings {
  #last: ReadonlyMap<number, { readonly turn: number; readonly looks: number }> = new Map();

  /** Takes all that a look has seen; returns the ones that have died. */
  look(seen: readonly Sighting[]): readonly Sighting[] {
    const now = new Map(seen.map(({ front, turn }) => {
      const last = this.#last.get(front);
      return [front, { turn, looks: last?.turn === turn ? last.looks + 1 : 1 }];
    }));
    this.#last = now;
    return seen.filter(({ front }) => (now.get(front)?.looks ?? 0) >= looksUntilDead);
  }

  /** Begins anew: what was seen before an outage says nothing of who lives. */
  forget(): void {
    this.#last = new Map();
  }
}
