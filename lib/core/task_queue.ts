/**
 * The state machine of the tasks; it owns every invariant, and does no I/O.
 *
 * ```text
 *            create, admit          request
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
 * the process is told to a store. What the store cannot keep is undone (`undoCreate`,
 * `undoComplete`, `undoKick`); what was handed out with a line that never left is given back.
 *
 * @module
 */

import { Heap } from "../heap.ts";
import {
  type EndedReservation,
  maxReservationsPerConsumer,
  type Reservation,
  Reservations,
} from "./reservations.ts";
import type { KeptTask, TaskChanges } from "./store.ts";
import { priorities, type Priority, type Task, type TaskDescription } from "./task.ts";

/** Default limit of tasks in the queue: about 150 MB of memory. */
export const defaultMaxTasks = 1_000_000;

/** A task is buried at this many ends: four more tries than a healthy task ever needs. */
export const endsBeforeBurial = 5;

/** The server's tasks: ready, reserved and buried. */
export class TaskQueue {
  readonly #maxTasks: number;
  readonly #store: TaskChanges | undefined;
  /** Ready tasks by priority and arrival, as texts: objects would take twice the memory. */
  readonly #ready = forEachPriority(() => new Heap<string>());
  readonly #reserved = new Reservations();
  /** Buried tasks by priority, task_id and arrival. */
  readonly #buried = forEachPriority(() => new Map<string, Heap<Task>>());
  /** Ends of tasks that had any, by arrival. Not in the task: hardly any ever has one. */
  readonly #ends = new Map<number, number>();
  /** Ends of tasks that are gone and had any, in case they come back. */
  readonly #endsOfGone = new WeakMap<Task, number>();
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

  /** Tasks in the queue: created, ready, reserved and buried. */
  get size(): number {
    return this.#size;
  }

  /** Tasks that a request may be given now. */
  get readyCount(): number {
    return priorities.reduce((sum, priority) => sum + this.#ready[priority].size, 0);
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
    else this.admit(task);
  }

  /**
   * Takes a new task and gives it its arrival. It counts, but is handed out only once
   * {@linkcode admit} has made it ready. Cost: O(1).
   *
   * @throws {RangeError} the queue is full: ask {@linkcode room} first.
   */
  create(description: TaskDescription): Task {
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

  /** Makes a created or kicked task ready. Cost: O(log n), O(1) if it comes last of its priority. */
  admit(task: Task): void {
    this.#ready[task.priority].push(toText(task), task.arrival);
  }

  /** Drops a created task that the store could not keep. */
  undoCreate(_task: Task): void {
    this.#size--;
  }

  /** Hands out the first task and forgets it. Cost: O(log n). */
  request(): Task | undefined {
    const task = this.#takeReady();
    if (task !== undefined) this.#forget(task);
    return task;
  }

  /**
   * Takes back what was handed out with a line that never left: in its old place, with its count of
   * ends, to which this does not add.
   *
   * @returns false if it was reserved, and is not any more.
   */
  giveBack(handOut: Task | Reservation): boolean {
    if ("task" in handOut) {
      if (!this.#reserved.letGo(handOut)) return false;
      this.admit(handOut.task);
    } else {
      const ends = this.#remember(handOut);
      this.#store?.addBack(handOut, ends);
      this.admit(handOut);
    }
    return true;
  }

  /** How many tasks a consumer holds: at most {@linkcode maxReservationsPerConsumer}. Cost: O(1). */
  reservedBy(consumer: number): number {
    return this.#reserved.countOf(consumer);
  }

  /**
   * Hands out the first task, and keeps it for its consumer to complete. Cost: O(log n).
   *
   * @returns undefined if no task is ready, or this consumer holds as many as it may.
   */
  reserve(consumer: number, nowMs: number): Reservation | undefined {
    if (this.reservedBy(consumer) >= maxReservationsPerConsumer) return undefined;
    const task = this.#takeReady();
    return task === undefined ? undefined : this.#reserved.hold(task, consumer, nowMs);
  }

  /**
   * Ends a task for good. Of this consumer's tasks of that name it is the one handed out first.
   *
   * @returns undefined if this consumer holds no such task.
   */
  complete(consumer: number, taskId: string): Reservation | undefined {
    const reservation = this.#reserved.letGoNamed(consumer, taskId);
    if (reservation !== undefined) this.#forget(reservation.task);
    return reservation;
  }

  /**
   * Takes back a completion that the store could not keep: the consumer holds the task again.
   *
   * @param options.isConnected false if that consumer has gone meanwhile: then the task is ready.
   */
  undoComplete(reservation: Reservation, options: { readonly isConnected: boolean }): void {
    this.#remember(reservation.task);
    if (options.isConnected) this.#reserved.holdAgain(reservation);
    else this.admit(reservation.task);
  }

  /**
   * Makes a reserved task ready again at its consumer's wish; this does not count as an end.
   *
   * @returns undefined if this consumer holds no such task.
   */
  release(consumer: number, taskId: string): Reservation | undefined {
    const reservation = this.#reserved.letGoNamed(consumer, taskId);
    if (reservation !== undefined) this.admit(reservation.task);
    return reservation;
  }

  /**
   * Ends all reservations of a consumer whose connection has ended, in the order of the hand-outs.
   *
   * @param options.counts whether this is an end that leads to burial.
   */
  endConsumer(consumer: number, options: { readonly counts: boolean }): EndedReservation[] {
    return this.#reserved.letGoAll(consumer).map((reservation) =>
      this.#end(reservation, options.counts)
    );
  }

  /** When the next lease ends, in milliseconds on the clock of `reserve`. Cost: O(1). */
  get nextLeaseEndMs(): number | undefined {
    return this.#reserved.nextLeaseEndMs;
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
      const reservation = this.#reserved.letGoEnded(nowMs);
      if (reservation === undefined) break;
      ended.push(this.#end(reservation, true));
    }
    return ended;
  }

  /**
   * Takes the first buried task of that name, with a clean count; {@linkcode admit} makes it ready.
   * Cost: O(log n).
   *
   * @returns undefined if none of that name is buried.
   */
  kick(taskId: string): KeptTask | undefined {
    const priority = priorities.find((priority) => this.#buried[priority].has(taskId));
    if (priority === undefined) return undefined;
    const sameName = this.#buried[priority].get(taskId) as Heap<Task>;
    const task = sameName.pop() as Task;
    if (sameName.size === 0) this.#buried[priority].delete(taskId);
    const ends = this.#ends.get(task.arrival) ?? 0;
    this.#ends.delete(task.arrival);
    this.#store?.update(task, { ends: 0, isBuried: false });
    return { task, ends, isBuried: true };
  }

  /** Buries a kicked task again, because the store could not keep the kick. */
  undoKick(kicked: KeptTask): void {
    this.#ends.set(kicked.task.arrival, kicked.ends);
    this.#bury(kicked.task);
  }

  #takeReady(): Task | undefined {
    for (const priority of priorities) {
      const ready = this.#ready[priority];
      const arrival = ready.peekKey();
      if (arrival === undefined) continue;
      return fromText(ready.pop() as string, { priority, arrival });
    }
    return undefined;
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
    else this.admit(task);
    return { task, consumer, isBuried };
  }

  #bury(task: Task): void {
    const buried = this.#buried[task.priority];
    let sameName = buried.get(task.taskId);
    if (sameName === undefined) buried.set(task.taskId, sameName = new Heap());
    sameName.push(task, task.arrival);
  }

  /** Drops a task that is gone; it may come back if its line never leaves, or is not kept. */
  #forget(task: Task): void {
    this.#size--;
    const ends = this.#ends.get(task.arrival);
    if (ends !== undefined) {
      this.#endsOfGone.set(task, ends);
      this.#ends.delete(task.arrival);
    }
    this.#store?.remove(task);
  }

  /** Counts a task again that was forgotten, and returns its count of ends. */
  #remember(task: Task): number {
    this.#size++;
    const ends = this.#endsOfGone.get(task) ?? 0;
    if (ends > 0) this.#ends.set(task.arrival, ends);
    return ends;
  }
}

function forEachPriority<T>(make: () => T): Readonly<Record<Priority, T>> {
  return { 1: make(), 2: make(), 3: make() };
}

/** A task without its priority and arrival. Neither a task_id nor a duration has blanks. */
function toText({ taskId, duration }: Task): string {
  // join() copies the characters. A slice or concatenation of 13 characters or more only points
  // into its source, so one short name would keep a whole read buffer's text alive.
  return [taskId, duration].join(" ");
}

function fromText(text: string, place: Pick<Task, "priority" | "arrival">): Task {
  const blank = text.indexOf(" ");
  return {
    priority: place.priority,
    taskId: text.slice(0, blank),
    duration: text.slice(blank + 1),
    arrival: place.arrival,
  };
}
