/**
 * The state machine of the tasks; it owns every invariant, and does no I/O.
 *
 * ```text
 *            accept, admit          request
 *   (new) ------------------> ready ----------------------------> gone
 *                              | ^
 *                      reserve | | release, lease end, consumer's end
 *                              v |
 *                            reserved --complete----------------> gone
 *                              |
 *                              | 5th lease end or consumer's end
 *                              v
 *                            buried --kick--> ready
 * ```
 *
 * A task that comes back keeps its arrival, so it is in its old place. Each step that must outlive
 * the process is told to a {@linkcode TaskChanges}; what such a step gave away can be taken back
 * (`withdraw`, `giveBack`, `undoComplete`, `undoKick`) for when the store cannot keep it.
 *
 * @module
 */

import { Heap } from "../heap.ts";
import type { KeptTask, TaskChanges } from "./store.ts";
import { rankOf, readRank, type Task, type TaskDescription } from "./task.ts";

/** Default limit of tasks in the queue: about 150 MB of memory. */
export const defaultMaxTasks = 1_000_000;

/** A task is buried at this many ends: four more tries than a healthy task ever needs. */
export const endsBeforeBurial = 5;

/** What a lease grants beyond twice the duration: covers a slow network and a busy machine. */
const leaseGraceMs = 10_000;

/** The longest lease: a task of years must not be lost for years with a consumer that hangs. */
const maxLeaseMs = 24 * 60 * 60 * 1000;

/** The time that a consumer may hold a reserved task, in ms: 2 × duration + 10 s, at most 24 h. */
export function leaseMs(durationSeconds: number): number {
  return Math.min(2 * durationSeconds * 1000 + leaseGraceMs, maxLeaseMs);
}

/**
 * Most tasks reserved for one consumer: far more than one works on at a time, and few enough that
 * ending them all takes about a millisecond.
 */
export const maxReservationsPerConsumer = 1000;

/** A task handed out by `reserve` that its consumer holds. */
export interface Reservation {
  /** What is reserved. */
  readonly task: Task;
  /** The number of the consumer that holds it. */
  readonly consumer: number;
}

/** A reservation with what the queue needs to find and order it. */
interface HeldReservation extends Reservation {
  /** When the lease ends, in milliseconds on the clock of `reserve`. */
  readonly leaseEndMs: number;
  /** A counter of hand-outs. */
  readonly handOut: number;
  /** Where it is among all leases; -1 where it is not held. */
  leaseIndex: number;
  /** The task's count of ends when it was completed, in case that is taken back. */
  ends: number;
}

/** What one consumer holds. */
interface Holdings {
  /**
   * By task_id, in the order of the hand-outs. In arrays: hardly ever has one name two, and with a
   * heap for each a reservation would take 400 bytes more.
   */
  readonly byName: Map<string, HeldReservation[]>;
  /** How many there are, of all names. */
  count: number;
}

/** A reserved task that its consumer no longer holds. */
export interface EndedReservation {
  /** The task: ready again, or buried. */
  readonly task: Task;
  /** The number of the consumer that held it. */
  readonly consumer: number;
  /** True where it was this task's 5th end. */
  readonly isBuried: boolean;
}

/** The server's tasks: ready, reserved and buried. */
export class TaskQueue {
  readonly #maxTasks: number;
  readonly #store: TaskChanges | undefined;
  /** Ready tasks, as texts, by rank: an object for each would take twice the memory. */
  readonly #ready = new Heap<string>();
  /** What each consumer holds. */
  readonly #reserved = new Map<number, Holdings>();
  /** All reservations by the end of their leases. */
  readonly #leases = new Heap<HeldReservation>((reservation, index) =>
    reservation.leaseIndex = index
  );
  #lastHandOut = 0;
  /** Buried tasks by task_id, in order. */
  readonly #buried = new Map<string, Heap<Task>>();
  /** Ends of tasks that had any, by arrival. Not in the task: hardly any ever has one. */
  readonly #ends = new Map<number, number>();
  /** Ends of requested tasks that had any, in case their lines never leave. */
  readonly #endsOfRequested = new WeakMap<Task, number>();
  #lastArrival = 0;
  #size = 0;

  /**
   * Makes an empty queue.
   *
   * @param options.maxTasks the most tasks it takes; those that come back are never refused.
   * @param options.store where changes are written down, if anywhere.
   */
  constructor(
    options: { readonly maxTasks?: number; readonly store?: TaskChanges | undefined } = {},
  ) {
    this.#maxTasks = options.maxTasks ?? defaultMaxTasks;
    this.#store = options.store;
  }

  /** Tasks in the queue: accepted, ready, reserved and buried. */
  get size(): number {
    return this.#size;
  }

  /** Tasks that a request may be given now. */
  get readyCount(): number {
    return this.#ready.size;
  }

  /** How many new tasks fit. */
  get room(): number {
    return Math.max(0, this.#maxTasks - this.#size);
  }

  /** Puts back what a store kept, in any order; for an empty queue, before its first command. */
  restore(kept: KeptTask): void {
    const { task } = kept;
    this.#size++;
    this.#lastArrival = Math.max(this.#lastArrival, task.arrival);
    if (kept.ends > 0) this.#ends.set(task.arrival, kept.ends);
    if (kept.isBuried) this.#bury(task);
    else this.#makeReady(task);
  }

  /**
   * Takes a new task and gives it its arrival. It counts, but is handed out only once
   * {@linkcode admit} has made it ready. Cost: O(1).
   *
   * @throws {RangeError} where the queue is full: ask {@linkcode room} first.
   */
  accept(description: TaskDescription): Task {
    if (this.room === 0) throw new RangeError("the queue is full");
    const task: Task = {
      priority: description.priority,
      taskId: description.taskId,
      duration: description.duration,
      arrival: ++this.#lastArrival,
    };
    this.#size++;
    this.#store?.add(task);
    return task;
  }

  /** Makes an accepted task ready. Cost: O(log n), O(1) where it comes last. */
  admit(task: Task): void {
    this.#makeReady(task);
  }

  /** Drops an accepted task that the store could not keep. */
  withdraw(_task: Task): void {
    this.#size--;
  }

  /** Hands out the first task and forgets it. Cost: O(log n). */
  request(): Task | undefined {
    const task = this.#takeReady();
    if (task === undefined) return undefined;
    const ends = this.#ends.get(task.arrival);
    if (ends !== undefined) this.#endsOfRequested.set(task, ends);
    this.#forget(task);
    return task;
  }

  /** Takes back a requested task whose line never left: in its old place, with its count of ends. */
  giveBack(task: Task): void {
    const ends = this.#endsOfRequested.get(task) ?? 0;
    if (ends > 0) this.#ends.set(task.arrival, ends);
    this.#size++;
    this.#store?.addBack(task, ends);
    this.#makeReady(task);
  }

  /** How many tasks a consumer holds: at most {@linkcode maxReservationsPerConsumer}. Cost: O(1). */
  reservedBy(consumer: number): number {
    return this.#reserved.get(consumer)?.count ?? 0;
  }

  /**
   * Hands out the first task, and keeps it for its consumer to complete. Cost: O(log n).
   *
   * @returns undefined if no task is ready, or this consumer holds as many as it may.
   */
  reserve(consumer: number, nowMs: number): Reservation | undefined {
    if (this.reservedBy(consumer) >= maxReservationsPerConsumer) return undefined;
    const task = this.#takeReady();
    if (task === undefined) return undefined;
    const reservation: HeldReservation = {
      task,
      consumer,
      leaseEndMs: nowMs + leaseMs(Number(task.duration)),
      handOut: ++this.#lastHandOut,
      leaseIndex: -1,
      ends: 0,
    };
    this.#hold(reservation);
    return reservation;
  }

  /**
   * Ends a task for good. Of this consumer's tasks of that name it is the one handed out first.
   *
   * @returns undefined where this consumer holds no such task.
   */
  complete(consumer: number, taskId: string): Reservation | undefined {
    const reservation = this.#letGo(consumer, taskId);
    if (reservation === undefined) return undefined;
    reservation.ends = this.#ends.get(reservation.task.arrival) ?? 0;
    this.#forget(reservation.task);
    return reservation;
  }

  /**
   * Takes back a completion that the store could not keep: the consumer holds the task again.
   *
   * @param options.isConnected false where that consumer has gone meanwhile: the task is ready.
   */
  undoComplete(reservation: Reservation, options: { readonly isConnected: boolean }): void {
    const held = reservation as HeldReservation;
    this.#size++;
    if (held.ends > 0) this.#ends.set(held.task.arrival, held.ends);
    if (options.isConnected) this.#hold(held);
    else this.#makeReady(held.task);
  }

  /**
   * Makes a reserved task ready again at its consumer's wish; this does not count as an end.
   *
   * @returns undefined where this consumer holds no such task.
   */
  release(consumer: number, taskId: string): Reservation | undefined {
    const reservation = this.#letGo(consumer, taskId);
    if (reservation !== undefined) this.#makeReady(reservation.task);
    return reservation;
  }

  /**
   * Takes back a reserved task whose line never left; this does not count as an end.
   *
   * @returns false where it is not reserved any more.
   */
  takeBack(reservation: Reservation): boolean {
    const held = reservation as HeldReservation;
    if (held.leaseIndex === -1) return false;
    this.#remove(held);
    this.#makeReady(held.task);
    return true;
  }

  /**
   * Ends all reservations of a consumer whose connection has ended, in the order of hand-out.
   *
   * @param options.counts whether this is an end that leads to burial.
   */
  endConsumer(consumer: number, options: { readonly counts: boolean }): EndedReservation[] {
    const holdings = this.#reserved.get(consumer);
    if (holdings === undefined) return [];
    const held = [...holdings.byName.values()].flat();
    held.sort((a, b) => a.handOut - b.handOut);
    return held.map((reservation) => {
      this.#remove(reservation);
      return this.#end(reservation, options.counts);
    });
  }

  /** When the next lease ends, in milliseconds on the clock of `reserve`. Cost: O(1). */
  get nextLeaseEndMs(): number | undefined {
    return this.#leases.peekKey();
  }

  /**
   * Ends reservations whose leases are over, the earliest first. Cost: O(log n) for each.
   *
   * @param options.most how many at most; if as many are returned, there may be more.
   */
  endLeases(nowMs: number, options: { readonly most?: number } = {}): EndedReservation[] {
    const { most = Infinity } = options;
    const ended: EndedReservation[] = [];
    while (ended.length < most) {
      const first = this.#leases.peek();
      if (first === undefined || first.leaseEndMs > nowMs) break;
      this.#remove(first);
      ended.push(this.#end(first, true));
    }
    return ended;
  }

  /**
   * Makes the first buried task of that name ready again, with a clean count. Cost: O(log n).
   *
   * @returns undefined if none of that name is buried.
   */
  kick(taskId: string): KeptTask | undefined {
    const sameName = this.#buried.get(taskId);
    const task = sameName?.pop();
    if (task === undefined) return undefined;
    if (sameName?.size === 0) this.#buried.delete(taskId);
    const ends = this.#ends.get(task.arrival) ?? 0;
    this.#ends.delete(task.arrival);
    this.#store?.update(task, { ends: 0, isBuried: false });
    return { task, ends, isBuried: true };
  }

  /** Buries a kicked task again, where the store could not keep the kick. */
  undoKick(kicked: KeptTask): void {
    this.#ends.set(kicked.task.arrival, kicked.ends);
    this.#bury(kicked.task);
  }

  #makeReady(task: Task): void {
    this.#ready.push(toText(task), rankOf(task));
  }

  #takeReady(): Task | undefined {
    const rank = this.#ready.peekKey();
    const text = this.#ready.pop();
    return rank === undefined || text === undefined ? undefined : fromText(text, rank);
  }

  #hold(reservation: HeldReservation): void {
    const { consumer, task } = reservation;
    let holdings = this.#reserved.get(consumer);
    if (holdings === undefined) {
      this.#reserved.set(consumer, holdings = { byName: new Map(), count: 0 });
    }
    const sameName = holdings.byName.get(task.taskId);
    if (sameName === undefined) {
      holdings.byName.set(task.taskId, [reservation]);
    } else {
      // A completion that is taken back is not the last one handed out.
      const before = sameName.findLastIndex((held) => held.handOut < reservation.handOut);
      sameName.splice(before + 1, 0, reservation);
    }
    holdings.count++;
    this.#leases.push(reservation, reservation.leaseEndMs);
  }

  #letGo(consumer: number, taskId: string): HeldReservation | undefined {
    const reservation = this.#reserved.get(consumer)?.byName.get(taskId)?.[0];
    if (reservation !== undefined) this.#remove(reservation);
    return reservation;
  }

  /** Takes a reservation out of its consumer's hands. */
  #remove(reservation: HeldReservation): void {
    const { consumer, task } = reservation;
    // Whatever is held is in its consumer's holdings.
    const holdings = this.#reserved.get(consumer) as Holdings;
    const sameName = holdings.byName.get(task.taskId) as HeldReservation[];
    sameName.splice(sameName.indexOf(reservation), 1);
    if (sameName.length === 0) holdings.byName.delete(task.taskId);
    if (--holdings.count === 0) this.#reserved.delete(consumer);
    this.#leases.removeAt(reservation.leaseIndex);
    reservation.leaseIndex = -1;
  }

  #end(reservation: Reservation, counts: boolean): EndedReservation {
    const { task, consumer } = reservation;
    const ends = (this.#ends.get(task.arrival) ?? 0) + (counts ? 1 : 0);
    const isBuried = ends >= endsBeforeBurial;
    if (counts) {
      this.#ends.set(task.arrival, ends);
      this.#store?.update(task, { ends, isBuried });
    }
    if (isBuried) this.#bury(task);
    else this.#makeReady(task);
    return { task, consumer, isBuried };
  }

  #bury(task: Task): void {
    let sameName = this.#buried.get(task.taskId);
    if (sameName === undefined) this.#buried.set(task.taskId, sameName = new Heap());
    sameName.push(task, rankOf(task));
  }

  #forget(task: Task): void {
    this.#size--;
    this.#ends.delete(task.arrival);
    this.#store?.remove(task);
  }
}

/** A task without its rank. Neither a task_id nor a duration has blanks. */
function toText({ taskId, duration }: Task): string {
  // Joined, not added: V8 copies the characters, and the text keeps no longer one alive that its
  // parts were cut out of (slices and sums of 13 characters or more point to where they come from).
  return [taskId, duration].join(" ");
}

function fromText(text: string, rank: number): Task {
  const blank = text.indexOf(" ");
  const { priority, arrival } = readRank(rank);
  return { priority, taskId: text.slice(0, blank), duration: text.slice(blank + 1), arrival };
}
