/**
 * Consumers that wait for a task: first come, first served, each until its time is over.
 *
 * It owns their order and their times. It does not know what becomes of the tasks.
 *
 * @module
 */

import { Heap } from "../heap.ts";
import type { Reservation } from "./reservations.ts";

/** A consumer that waits. */
export interface Waiter {
  /** Its number. A consumer waits once at a time. */
  readonly consumer: number;
  /** Tells the time: a lease starts when the task is handed out. */
  readonly nowMs: () => number;
  /** Takes what it was given; undefined if its wait has ended. */
  readonly then: (reservation: Reservation | undefined) => void;
}

/** A consumer that waits no more, with what it was given. */
export interface Grant {
  /** See {@linkcode Waiter.then}. */
  readonly then: (reservation: Reservation | undefined) => void;
  /** What it is given. */
  readonly reservation: Reservation | undefined;
}

/** What hands out tasks. */
export interface TaskSource {
  /** How many tasks can be handed out now. */
  readonly readyCount: number;
  /** Hands out the first task. */
  reserve(consumer: number, nowMs: number): Reservation | undefined;
}

/** A waiter with its place among the ends of waits. */
interface PlacedWaiter extends Waiter {
  endIndex: number;
}

/** The consumers that wait. */
export class WaitingConsumers {
  /** In the order in which they came. */
  readonly #waiters = new Map<number, PlacedWaiter>();
  readonly #ends = new Heap<PlacedWaiter>((waiter, index) => waiter.endIndex = index);

  /** How many consumers wait. */
  get size(): number {
    return this.#waiters.size;
  }

  /** Their numbers, the longest waiting first. */
  get consumers(): IteratorObject<number> {
    return this.#waiters.keys();
  }

  /** Has a consumer wait until a time on the clock of its `nowMs`. Cost: O(log n). */
  add({ consumer, nowMs, then }: Waiter, untilMs: number): void {
    const placed: PlacedWaiter = { consumer, nowMs, then, endIndex: -1 };
    this.#waiters.set(consumer, placed);
    this.#ends.push(placed, untilMs);
  }

  /**
   * Hands out the tasks that are ready to those who wait, the longest waiting first. Nobody is told
   * yet: who is told may ask for the next task, which is for the next one who waits.
   */
  grant(tasks: TaskSource): readonly Grant[] {
    const grants: Grant[] = [];
    for (const waiter of this.#waiters.values()) {
      if (tasks.readyCount === 0) break;
      this.#remove(waiter);
      const reservation = tasks.reserve(waiter.consumer, waiter.nowMs());
      grants.push({ then: waiter.then, reservation });
    }
    return grants;
  }

  /** Ends the wait of a consumer, which is then to be told; undefined if it does not wait. */
  end(consumer: number): Waiter | undefined {
    const waiter = this.#waiters.get(consumer);
    if (waiter !== undefined) this.#remove(waiter);
    return waiter;
  }

  /**
   * Ends the waits whose time is over, the earliest first. Cost: O(log n) each.
   *
   * @param options.most how many at most.
   */
  endOver(nowMs: number, options: { readonly most: number }): readonly Waiter[] {
    const ended: Waiter[] = [];
    while (ended.length < options.most && (this.#ends.peekKey() ?? Infinity) <= nowMs) {
      const waiter = this.#ends.peek() as PlacedWaiter;
      this.#remove(waiter);
      ended.push(waiter);
    }
    return ended;
  }

  /** When the next wait is over; undefined if nobody waits. Cost: O(1). */
  get nextEndMs(): number | undefined {
    return this.#ends.peekKey();
  }

  #remove(waiter: PlacedWaiter): void {
    this.#waiters.delete(waiter.consumer);
    this.#ends.removeAt(waiter.endIndex);
  }
}
