/**
 * When numbered things happened, such as the arrivals of tasks: no time is kept with each of a
 * million tasks.
 *
 * It keeps checkpoints, "this number was reached at that time", and few of them for what is long ago:
 * a time is told to a 128th of its age, whatever the age.
 *
 * @module
 */

/** Most checkpoints that are kept: 64 KiB. */
export const maxCheckpoints = 4096;

/** So many are left at most when checkpoints are dropped, so that this is rare. */
const fewCheckpoints = 3600;

/** How far checkpoints are apart at least, in milliseconds, if nothing else is asked for. */
const standardGapMs = 1;

/** Which part of its age a time may be wrong by. */
const ageParts = 128;

/** That a number was reached at a time. */
export interface Checkpoint {
  /** The number. */
  readonly number: number;
  /** In milliseconds on the clock of {@linkcode ArrivalClock.mark}. */
  readonly timeMs: number;
}

/** A record of when numbers were reached that only grow, from 0 at least. */
export class ArrivalClock {
  readonly #leastGapMs: number;
  /** All checkpoints but the last one. */
  #numbers: number[] = [];
  #timesMs: number[] = [];
  /** The number of the last of these; -1 if there is none. */
  #beforeNumber = -1;
  // The last checkpoint stands apart: most calls need no more, and a server makes two per task.
  /** The number of the last checkpoint; -1 if there is none. */
  #lastNumber = -1;
  #lastMs = 0;
  /** Which of the earlier ones was asked for last. */
  #near = 0;

  /**
   * Makes an empty record, or goes on with one: checkpoints in order, no number twice.
   *
   * @param options.leastGapMs how far checkpoints are apart at least: so wrong may a time be.
   */
  constructor(
    known: Iterable<Checkpoint> = [],
    options: { readonly leastGapMs?: number } = {},
  ) {
    this.#leastGapMs = options.leastGapMs ?? standardGapMs;
    for (const { number, timeMs } of known) this.#add(number, timeMs);
  }

  /** How many checkpoints there are. */
  get size(): number {
    return this.#lastNumber < 0 ? 0 : this.#numbers.length + 1;
  }

  /** The last checkpoint; undefined if there is none. */
  get last(): Checkpoint | undefined {
    return this.#lastNumber < 0 ? undefined : { number: this.#lastNumber, timeMs: this.#lastMs };
  }

  /** The checkpoints, in order. */
  get checkpoints(): readonly Checkpoint[] {
    const earlier = this.#numbers.map((number, i) => ({
      number,
      timeMs: this.#timesMs[i] as number,
    }));
    return this.last === undefined ? earlier : [...earlier, this.last];
  }

  /**
   * Notes that a number is reached now. Cost: O(1), but some milliseconds now and then.
   *
   * @param nowMs no earlier than at the last call.
   */
  mark(number: number, nowMs: number): void {
    if (number <= this.#lastNumber) return;
    if (this.#lastNumber >= 0 && nowMs - this.#lastMs < this.#leastGapMs) {
      this.#lastNumber = number;
      return;
    }
    this.#add(number, nowMs);
    if (this.size <= maxCheckpoints) return;
    for (let parts = ageParts; this.size > fewCheckpoints; parts /= 2) this.#thin(nowMs, parts);
  }

  #add(number: number, timeMs: number): void {
    if (this.#lastNumber >= 0) {
      this.#numbers.push(this.#lastNumber);
      this.#timesMs.push(this.#lastMs);
      this.#beforeNumber = this.#lastNumber;
    }
    this.#lastNumber = number;
    this.#lastMs = timeMs;
  }

  /**
   * When a number was reached, to a 128th of that time's age or 1 ms; undefined if it is not yet.
   * Cost: O(log n), O(1) for the last numbers and those near the one that was asked for last.
   */
  timeOf(number: number): number | undefined {
    if (number > this.#lastNumber) return undefined;
    if (number > this.#beforeNumber) return this.#lastMs;
    const numbers = this.#numbers;
    if (this.#isFirstFrom(this.#near, number)) return this.#timesMs[this.#near];
    let low = 0;
    let high = numbers.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((numbers[middle] as number) < number) low = middle + 1;
      else high = middle;
    }
    this.#near = low;
    return this.#timesMs[low];
  }

  /** Whether a checkpoint is the first one whose number is at least as high. */
  #isFirstFrom(index: number, number: number): boolean {
    if (index >= this.#numbers.length || number > (this.#numbers[index] as number)) return false;
    return index === 0 || number > (this.#numbers[index - 1] as number);
  }

  /**
   * Drops checkpoints. What lies before a dropped one is then taken for as old as the next one, which
   * must be near the last one that is kept: measured to the one before instead, gaps would add up.
   */
  #thin(nowMs: number, parts: number): void {
    const [numbers, timesMs] = [this.#numbers, this.#timesMs];
    let kept = 1;
    for (let i = 1; i < numbers.length; i++) {
      const nextMs = timesMs[i + 1] ?? this.#lastMs;
      const allowedMs = Math.max(this.#leastGapMs, (nowMs - nextMs) / parts);
      if (nextMs - (timesMs[kept - 1] as number) <= allowedMs) continue;
      numbers[kept] = numbers[i] as number;
      timesMs[kept++] = timesMs[i] as number;
    }
    numbers.length = timesMs.length = kept;
    this.#beforeNumber = numbers[kept - 1] as number;
  }
}
