/**
 * Who holds which reserved task until when.
 *
 * It owns what each consumer holds, the order in which that was handed out, and the leases. It does
 * not know what becomes of a task that is held no more.
 *
 * @module
 */

import { Heap, type HeapView } from "../heap.ts";
import type { Task } from "./task.ts";

/** What a lease grants beyond twice the duration: covers a slow network and a busy machine. */
const leaseGraceMs = 10_000;

/** The longest lease: a task of years must not be lost for years with a consumer that hangs. */
const maxLeaseMs = 24 * 60 * 60 * 1000;

/** How long a consumer may hold a reserved task, in ms: 2 × duration + 10 s, at most 24 h. */
export function leaseMs(durationSeconds: number): number {
  return Math.min(2 * durationSeconds * 1000 + leaseGraceMs, maxLeaseMs);
}

/**
 * Most tasks reserved for one consumer: far more than one works on at a time, and few enough that
 * ending them all takes about a millisecond.
 */
export const maxReservationsPerConsumer = 1000;

/** A task that a consumer holds. */
export interface Reservation {
  /** What is reserved. */
  readonly task: Task;
  /** The number of the consumer that holds it. */
  readonly consumer: number;
}

/** The task that was handed out, requested or reserved. */
export function taskOf(handOut: Task | Reservation): Task {
  return "task" in handOut ? handOut.task : handOut;
}

/** A reserved task that its consumer no longer holds. */
export interface EndedReservation extends Reservation {
  /** True if it is buried; else it is ready again, at once or after a delay. */
  readonly isBuried: boolean;
}

/** A reservation with its lease. */
export interface HeldReservation extends Reservation {
  /** When the lease ends, in milliseconds on the clock of {@linkcode Reservations.hold}. */
  readonly leaseEndMs: number;
}

/** A reservation with its place among the others. */
interface PlacedReservation extends HeldReservation {
  /** See {@linkcode HeldReservation.leaseEndMs}. */
  leaseEndMs: number;
  /** A counter of hand-outs. */
  readonly handOut: number;
  /** Its index among all leases; -1 while it is not held. */
  leaseIndex: number;
}

/** What one consumer holds. */
interface Holdings {
  /**
   * By task_id, in the order of the hand-outs. In arrays, because a consumer hardly ever holds two
   * tasks of one name: with a heap for each name, a reservation would take 400 bytes more.
   */
  readonly byName: Map<string, PlacedReservation[]>;
  /** How many reservations there are, of all names. */
  count: number;
}

/** The reservations of all consumers. */
export class Reservations {
  readonly #byConsumer = new Map<number, Holdings>();
  /** All reservations by the end of their leases. */
  readonly #leases = new Heap<PlacedReservation>((reservation, index) =>
    reservation.leaseIndex = index
  );
  #lastHandOut = 0;

  /** How many tasks are held, by all consumers together. Cost: O(1). */
  get size(): number {
    return this.#leases.size;
  }

  /** How many tasks a consumer holds. Cost: O(1). */
  countOf(consumer: number): number {
    return this.#byConsumer.get(consumer)?.count ?? 0;
  }

  /** Has a consumer hold a task from now on, for as long as its lease is. Cost: O(log n). */
  hold(task: Task, consumer: number, nowMs: number): Reservation {
    const reservation: PlacedReservation = {
      task,
      consumer,
      leaseEndMs: leaseEndOf(task, nowMs),
      handOut: ++this.#lastHandOut,
      leaseIndex: -1,
    };
    this.holdAgain(reservation);
    return reservation;
  }

  /** Puts back a reservation that was let go, in its old place and with its old lease. */
  holdAgain(reservation: Reservation): void {
    const placed = reservation as PlacedReservation;
    const { consumer, task } = placed;
    let holdings = this.#byConsumer.get(consumer);
    if (holdings === undefined) {
      this.#byConsumer.set(consumer, holdings = { byName: new Map(), count: 0 });
    }
    const sameName = holdings.byName.get(task.taskId);
    if (sameName === undefined) {
      holdings.byName.set(task.taskId, [placed]);
    } else {
      // One that is put back was not handed out last.
      const before = sameName.findLastIndex((held) => held.handOut < placed.handOut);
      sameName.splice(before + 1, 0, placed);
    }
    holdings.count++;
    this.#leases.push(placed, placed.leaseEndMs);
  }

  /**
   * Takes a task out of its consumer's hands: of those of one name the one handed out first.
   *
   * @returns undefined if the consumer holds no such task.
   */
  letGoNamed(consumer: number, taskId: string): Reservation | undefined {
    const reservation = this.#firstNamed(consumer, taskId);
    if (reservation !== undefined) this.letGo(reservation);
    return reservation;
  }

  /**
   * Starts a lease anew: of a consumer's tasks of one name that of the one handed out first.
   * Cost: O(log n).
   *
   * @returns false if the consumer holds no such task.
   */
  touch(consumer: number, taskId: string, nowMs: number): boolean {
    const reservation = this.#firstNamed(consumer, taskId);
    if (reservation === undefined) return false;
    this.#leases.removeAt(reservation.leaseIndex);
    reservation.leaseEndMs = leaseEndOf(reservation.task, nowMs);
    this.#leases.push(reservation, reservation.leaseEndMs);
    return true;
  }

  /**
   * Takes a reserved task out of its consumer's hands. Cost: O(log n).
   *
   * @returns false if it is not held any more.
   */
  letGo(reservation: Reservation): boolean {
    const placed = reservation as PlacedReservation;
    if (placed.leaseIndex === -1) return false;
    const { consumer, task } = placed;
    // What has a lease is in its consumer's holdings.
    const holdings = this.#byConsumer.get(consumer) as Holdings;
    const sameName = holdings.byName.get(task.taskId) as PlacedReservation[];
    sameName.splice(sameName.indexOf(placed), 1);
    if (sameName.length === 0) holdings.byName.delete(task.taskId);
    if (--holdings.count === 0) this.#byConsumer.delete(consumer);
    this.#leases.removeAt(placed.leaseIndex);
    placed.leaseIndex = -1;
    return true;
  }

  /** Takes all tasks out of a consumer's hands, and returns them in the order of the hand-outs. */
  letGoAll(consumer: number): Reservation[] {
    const holdings = this.#byConsumer.get(consumer);
    if (holdings === undefined) return [];
    const held = [...holdings.byName.values()].flat().sort((a, b) => a.handOut - b.handOut);
    for (const reservation of held) this.letGo(reservation);
    return held;
  }

  /** When the next lease ends, in milliseconds on the clock of {@linkcode hold}. Cost: O(1). */
  get nextLeaseEndMs(): number | undefined {
    return this.#leases.peekKey();
  }

  /**
   * Lets go the task whose lease has ended first. Cost: O(log n).
   *
   * @returns undefined if no lease has ended.
   */
  letGoEnded(nowMs: number): Reservation | undefined {
    const first = this.#leases.peek();
    if (first === undefined || first.leaseEndMs > nowMs) return undefined;
    this.letGo(first);
    return first;
  }

  /** All reservations by the end of their leases, to be looked at. */
  get leases(): HeapView<HeldReservation> {
    return this.#leases;
  }

  #firstNamed(consumer: number, taskId: string): PlacedReservation | undefined {
    return this.#byConsumer.get(consumer)?.byName.get(taskId)?.[0];
  }
}

function leaseEndOf(task: Task, nowMs: number): number {
  return nowMs + leaseMs(Number(task.duration));
}
