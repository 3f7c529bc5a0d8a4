/**
 * The state machine of the tasks; it owns every invariant, and does no I/O.
 *
 * ```text
 *            create, admit          request
 *   (new) ------------------> ready ----------------------------> gone
 *     |                        | ^ ^
 *     | schedule       reserve | | | release, lease end, consumer's end
 *     v                        v | |
 *   delayed --its time--+    reserved --complete----------------> gone
 *     ^                 |      |  |
 *     |                 +------|--|--> ready
 *     +-- fail, late release --+  |
 *                                 | bury, or the 5th failure, lease end or consumer's end
 *                                 v
 *                               buried --kick--> ready
 * ```
 *
 * A task that comes back keeps its arrival, so it is in its old place. Each step that must outlive
 * the process is told to a store. What the store cannot keep is undone (`undoCreate`,
 * `undoComplete`, `undoKick`, `undoRemove`); what was handed out with a line that never left is given back.
 *
 * @module
 */

import { type Entry, Heap } from "../heap.ts";
import { type BuriedTask, BuriedTasks } from "./buried_tasks.ts";
import type {
  Clearing,
  Found,
  ListedState,
  ListedTask,
  Listing,
  Paused,
  Search,
} from "./listed_task.ts";
import { HeapSweep } from "./heap_sweep.ts";
import { highestMaxLineBytes } from "./protocol.ts";
import { ReadyTasks } from "./ready_tasks.ts";
import {
  type EndedReservation,
  type HeldReservation,
  maxReservationsPerConsumer,
  type Reservation,
  Reservations,
} from "./reservations.ts";
import { searchedPerStep, searchHeap } from "./search_heap.ts";
import type { KeptTask, TaskChanges, TaskState } from "./store.ts";
import type { Priority, Task, TaskDescription } from "./task.ts";
import { type CountedTotals, noTotals, type TaskTotals } from "./task_totals.ts";

/** Default limit of tasks in the queue: about 150 MB of memory. */
export const defaultMaxTasks = 1_000_000;

/**
 * Default limit of the payloads in the queue together, in characters: 512 MiB of memory, or twice that
 * if they are not Latin-1. The heap of V8 ends at 2 to 4 GiB, and the process with it; and a payload
 * may be a thousand times as long as a task without one.
 */
export const defaultMaxPayloadChars = 512 * 1024 * 1024;

/** The limits of a queue. Tasks that come back are never refused. */
export interface QueueLimits {
  /** The most tasks that it takes. */
  readonly maxTasks?: number;
  /** Takes no new task once the payloads have so many characters; the last one may go beyond. */
  readonly maxPayloadChars?: number;
}

/** What a queue without room is full of. */
export type Fullness = "tasks" | "payloads";

/** A task is buried at this many ends: four more tries than a healthy task ever needs. */
export const endsBeforeBurial = 5;

/**
 * How long a task is delayed after its 1st, 2nd, … failure, in milliseconds, if its consumer does not
 * say: the pause grows, so that a fault of minutes does not bury a task.
 */
export const failureDelaysMs: readonly number[] = [5_000, 20_000, 80_000, 320_000];

/** How a consumer gives up a task that it holds. */
export type GivingUp =
  /** It is ready again, at once or at a time; this does not count. */
  | { readonly kind: "release"; readonly dueMs?: number | undefined }
  /** It failed, which counts; ready again after a delay, or buried. */
  | { readonly kind: "fail"; readonly nowMs: number; readonly delayMs?: number | undefined }
  /** It is buried at once. */
  | { readonly kind: "bury" };

/** How many tasks there are, by state. */
export interface TaskCounts {
  /** Those that a request may be given now. */
  readonly ready: number;
  /** Those whose time has not come. */
  readonly delayed: number;
  /** Those that consumers hold. */
  readonly reserved: number;
  /** Those that are handed out no more until they are kicked. */
  readonly buried: number;
}

/** The server's tasks: ready, delayed, reserved and buried. */
export class TaskQueue {
  readonly #maxTasks: number;
  readonly #maxPayloadChars: number;
  readonly #store: TaskChanges | undefined;
  readonly #ready = new ReadyTasks();
  readonly #reserved = new Reservations();
  /** Delayed tasks by the time at which they are ready. */
  readonly #delayed = new Heap<Task>((task, index) => {
    for (const sweep of this.#sweeps) sweep.noteMove(task, index);
  });
  /** Those that clear delayed tasks now. */
  readonly #sweeps = new Set<HeapSweep<Task>>();
  readonly #buried = new BuriedTasks();
  /** Ends of tasks that had any, by arrival. Not in the task: hardly any ever has one. */
  readonly #ends = new Map<number, number>();
  /** Ends of tasks that are gone and had any, in case they come back. */
  readonly #endsOfGone = new WeakMap<Task, number>();
  readonly #totals = noTotals();
  #paused: Paused = { creates: false, requests: false };
  #lastArrival = 0;
  #size = 0;
  /** The length of the payloads of all tasks that count in the size. */
  #payloadChars = 0;

  /**
   * Makes an empty queue.
   *
   * @param options.store where changes are written down, if anywhere.
   */
  constructor(
    options: QueueLimits & { readonly store?: TaskChanges | undefined } = {},
  ) {
    this.#maxTasks = options.maxTasks ?? defaultMaxTasks;
    this.#maxPayloadChars = options.maxPayloadChars ?? defaultMaxPayloadChars;
    this.#store = options.store;
  }

  /** Tasks in the queue: created, ready, delayed, reserved and buried. */
  get size(): number {
    return this.#size;
  }

  /** The most tasks that it takes. */
  get maxTasks(): number {
    return this.#maxTasks;
  }

  /** The arrival of the task that was created last; 0 if none ever was. */
  get lastArrival(): number {
    return this.#lastArrival;
  }

  /** The number of the last burial of this process; 0 before the first one. */
  get lastBurial(): number {
    return this.#totals.burials;
  }

  /** What has happened so far; the same object each time, which is counted in. */
  get totals(): TaskTotals {
    return this.#totals;
  }

  /** What is stopped for now. */
  get paused(): Paused {
    return this.#paused;
  }

  /** Stops and resumes what an operator says; what is left out stays as it is. */
  pause(change: Partial<Paused>): void {
    this.#paused = { ...this.#paused, ...change };
  }

  /** Tasks that a request may be given now. */
  get readyCount(): number {
    return this.#paused.requests ? 0 : this.#ready.size;
  }

  /** Tasks by state; those that are created and not yet admitted count for none. Cost: O(1). */
  get counts(): TaskCounts {
    return {
      ready: this.#ready.size,
      delayed: this.#delayed.size,
      reserved: this.#reserved.size,
      buried: this.#buried.size,
    };
  }

  /** How many new tasks fit at least, however long their payloads are. */
  get room(): number {
    if (this.#paused.creates) return 0;
    const chars = this.#maxPayloadChars - this.#payloadChars;
    const tasks = Math.min(this.#maxTasks - this.#size, Math.ceil(chars / highestMaxLineBytes));
    return Math.max(0, tasks);
  }

  /** Why there is no {@linkcode room}; undefined if there is some, or creates are paused. */
  get fullOf(): Fullness | undefined {
    if (this.room > 0 || this.#paused.creates) return undefined;
    return this.#size < this.#maxTasks ? "payloads" : "tasks";
  }

  /**
   * Puts back what a store kept, in any order; for an empty queue, before its first command. Cost:
   * O(log n).
   *
   * @param nowMs a delay that is over by then is none: the task is ready.
   */
  restore(kept: KeptTask, nowMs: number): void {
    const { task, dueMs } = kept;
    this.#countIn(task);
    this.#totals.restored++;
    this.#lastArrival = Math.max(this.#lastArrival, task.arrival);
    if (kept.ends > 0) this.#ends.set(task.arrival, kept.ends);
    if (kept.isBuried) this.#buried.add({ task, burial: 0 });
    else this.admit(task, dueMs !== undefined && dueMs > nowMs ? dueMs : undefined);
  }

  /**
   * Takes a new task and gives it its arrival. It counts, but is handed out only once
   * {@linkcode admit} has made it ready. Cost: O(1).
   *
   * @param dueMs when it is to be ready; at once if left out.
   * @throws {RangeError} the queue is full: ask {@linkcode room} first.
   */
  create(description: TaskDescription, dueMs?: number): Task {
    if (this.room === 0) throw new RangeError("the queue is full");
    const { priority, taskId, duration, payload } = description;
    const task = toTask({ priority, taskId, duration, arrival: ++this.#lastArrival }, payload);
    this.#countIn(task);
    this.#totals.created[priority]++;
    this.#store?.add(task, dueMs);
    return task;
  }

  /**
   * Makes a created or kicked task ready. Cost: O(log n), O(1) if it comes last of its priority.
   *
   * @param dueMs if given, it is delayed until then.
   */
  admit(task: Task, dueMs?: number): void {
    if (dueMs === undefined) this.#ready.add(task);
    else this.#delayed.push(task, dueMs);
  }

  /** Drops a created task that the store could not keep. */
  undoCreate(task: Task): void {
    this.#countOut(task);
    this.#totals.created[task.priority]--;
  }

  /** Hands out the first task and forgets it. Cost: O(log n). */
  request(): Task | undefined {
    const task = this.#takeReady(this.#totals.requested);
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
      this.#totals.requestsUndone++;
      this.#store?.addBack(handOut, ends);
      this.admit(handOut);
    }
    this.#totals.returned.unsent++;
    return true;
  }

  /** How many tasks a consumer holds: at most {@linkcode maxReservationsPerConsumer}. Cost: O(1). */
  reservedBy(consumer: number): number {
    return this.#reserved.countOf(consumer);
  }

  /** Whether {@linkcode reserve} need not wait: a task is ready, or the consumer may hold no more. */
  mayReserve(consumer: number): boolean {
    return this.readyCount > 0 || this.reservedBy(consumer) >= maxReservationsPerConsumer;
  }

  /**
   * Hands out the first task, and keeps it for its consumer to complete. Cost: O(log n).
   *
   * @returns undefined if no task is ready, or this consumer holds as many as it may.
   */
  reserve(consumer: number, nowMs: number): Reservation | undefined {
    if (this.reservedBy(consumer) >= maxReservationsPerConsumer) return undefined;
    const task = this.#takeReady(this.#totals.reserved);
    return task === undefined ? undefined : this.#reserved.hold(task, consumer, nowMs);
  }

  /**
   * Ends a task for good. Of this consumer's tasks of that name it is the one handed out first.
   *
   * @returns undefined if this consumer holds no such task.
   */
  complete(consumer: number, taskId: string): Reservation | undefined {
    const reservation = this.#reserved.letGoNamed(consumer, taskId);
    if (reservation !== undefined) {
      this.#totals.completed++;
      this.#forget(reservation.task);
    }
    return reservation;
  }

  /**
   * Takes back a completion that the store could not keep: the consumer holds the task again.
   *
   * @param options.isConnected false if that consumer has gone meanwhile: then the task is ready.
   */
  undoComplete(reservation: Reservation, options: { readonly isConnected: boolean }): void {
    this.#remember(reservation.task);
    this.#totals.completed--;
    if (options.isConnected) return this.#reserved.holdAgain(reservation);
    this.#totals.returned.gone++;
    this.admit(reservation.task);
  }

  /**
   * Ends a consumer's attempt at a task that it does not complete: of its tasks of that name the one
   * handed out first.
   *
   * @returns undefined if this consumer holds no such task.
   */
  giveUp(consumer: number, taskId: string, how: GivingUp): EndedReservation | undefined {
    const reservation = this.#reserved.letGoNamed(consumer, taskId);
    if (reservation === undefined) return undefined;
    const { task } = reservation;
    const ends = this.#ends.get(task.arrival) ?? 0;
    switch (how.kind) {
      case "release":
        this.#totals.returned.released++;
        return how.dueMs === undefined
          ? this.#letGo(reservation)
          : this.#letGo(reservation, { ends, isBuried: false, dueMs: how.dueMs });
      case "fail":
        this.#totals.failed++;
        return this.#letGo(reservation, failedState(ends + 1, how));
      case "bury":
        return this.#letGo(reservation, { ends, isBuried: true, dueMs: undefined });
      default:
        return how satisfies never;
    }
  }

  /**
   * Starts the lease of a task anew: of this consumer's tasks of that name the one handed out first.
   *
   * @returns false if this consumer holds no such task.
   */
  touch(consumer: number, taskId: string, nowMs: number): boolean {
    return this.#reserved.touch(consumer, taskId, nowMs);
  }

  /** When the next delay is over, on the clock of the delays; undefined if there is none. */
  get nextDelayEndMs(): number | undefined {
    return this.#delayed.peekKey();
  }

  /**
   * Makes delayed tasks ready whose time has come, the earliest first. Cost: O(log n) for each.
   *
   * @param options.most how many at most; if as many are returned, there may be more.
   */
  endDelays(nowMs: number, options: { readonly most: number }): Task[] {
    const ready: Task[] = [];
    while (ready.length < options.most && (this.#delayed.peekKey() ?? Infinity) <= nowMs) {
      const task = this.#delayed.pop() as Task;
      this.admit(task);
      ready.push(task);
    }
    return ready;
  }

  /**
   * Ends all reservations of a consumer whose connection has ended, in the order of the hand-outs.
   *
   * @param options.counts whether this is an end that leads to burial.
   */
  endConsumer(consumer: number, options: { readonly counts: boolean }): EndedReservation[] {
    return this.#reserved.letGoAll(consumer).map((reservation) =>
      this.#count("gone", options.counts ? this.#end(reservation) : this.#letGo(reservation))
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
      ended.push(this.#count("lease", this.#end(reservation)));
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
    const arrival = this.#buried.firstNamed(taskId);
    return arrival === undefined ? undefined : this.kickArrival(arrival);
  }

  /**
   * Takes a buried task, with a clean count; {@linkcode admit} makes it ready. Cost: O(log n).
   *
   * @returns undefined if no such task is buried.
   */
  kickArrival(arrival: number): KeptTask | undefined {
    const task = this.#buried.remove(arrival);
    if (task === undefined) return undefined;
    const ends = this.#ends.get(arrival) ?? 0;
    this.#ends.delete(arrival);
    this.#totals.kicked++;
    this.#store?.kick(task);
    return { task, ends, isBuried: true, dueMs: undefined };
  }

  /** Buries a kicked task again, because the store could not keep the kick. */
  undoKick(kicked: KeptTask): void {
    this.#totals.kicked--;
    if (kicked.ends > 0) this.#ends.set(kicked.task.arrival, kicked.ends);
    this.#buried.add({ task: kicked.task, burial: 0 });
  }

  /** Counts a task towards the limits, from now until it is gone. */
  #countIn({ payload }: Task): void {
    this.#size++;
    this.#payloadChars += payload?.length ?? 0;
  }

  #countOut({ payload }: Task): void {
    this.#size--;
    this.#payloadChars -= payload?.length ?? 0;
  }

  /**
   * Removes a task for good that waits, is delayed or is buried. Cost: O(n), a few milliseconds per
   * million.
   *
   * @returns undefined if there is no such task, or a consumer holds it.
   */
  remove(arrival: number): KeptTask | undefined {
    const removed = this.#takeWaiting(arrival) ?? this.#takeDelayed(arrival) ??
      this.#takeBuried(arrival);
    if (removed !== undefined) this.#drop(removed);
    return removed;
  }

  /**
   * Removes tasks for good, in no order. It yields what each short step has removed, which may be
   * nothing; the queue may be used between them. Cost: O(log n) for each, and O(n) in all if they are
   * delayed or buried.
   *
   * @param options.most how many a step removes at most.
   */
  *clear(which: Clearing, options: { readonly most: number }): Generator<readonly KeptTask[]> {
    for (const removed of this.#take(which, options)) {
      for (const one of removed) this.#drop(one);
      yield removed;
    }
  }

  /** Puts back a removed task, because the store could not keep its removal. */
  undoRemove({ task, isBuried, dueMs }: KeptTask): void {
    this.#totals.removed--;
    this.#remember(task);
    if (isBuried) this.#buried.add({ task, burial: 0 });
    else this.admit(task, dueMs);
  }

  /** The arrival of the oldest task that waits; undefined if none of the priority does. Cost: O(1). */
  oldestArrival(priority: Priority): number | undefined {
    return this.#ready.oldestArrival(priority);
  }

  /** How many tasks wait. Cost: O(1). */
  waitingCount(priority: Priority): number {
    return this.#ready.sizeOf(priority);
  }

  /**
   * The first tasks in a state: those that wait in the order in which they will be handed out, the
   * delayed by their time, the reserved by the end of their leases, the buried by their burial.
   * Nothing is changed. Cost: O(k log k) for k tasks, those that are skipped too. Of tasks that do
   * not wait, {@linkcode search} finds those of some priorities only.
   */
  list(state: ListedState, { wanted, skip, limit }: Listing): ListedTask[] {
    const most = skip + limit;
    switch (state) {
      case "waiting":
        return this.#ready.first(wanted, most).slice(skip).map((placed) => this.#toWaiting(placed));
      case "delayed":
        return this.#delayed.first(most).slice(skip).map((entry) => this.#toDelayed(entry));
      case "reserved":
        return this.#reserved.leases.first(most).slice(skip)
          .map(({ item }) => this.#toReserved(item));
      case "buried":
        return [...this.#buried.all.drop(skip).take(limit).map((one) => this.#toBuried(one))];
      default:
        return state satisfies never;
    }
  }

  /** How many tasks {@linkcode list} has to tell of. Cost: O(1). */
  countOf(state: ListedState, wanted: readonly Priority[]): number {
    if (state !== "waiting") return this.counts[state];
    return wanted.reduce((sum, priority) => sum + this.#ready.sizeOf(priority), 0);
  }

  /** A task; undefined if there is none such. Cost: O(n), a few milliseconds per million. */
  find(arrival: number): ListedTask | undefined {
    const ready = this.#ready.find(arrival);
    if (ready !== undefined) return this.#toWaiting(ready);
    const buried = this.#buried.get(arrival);
    if (buried !== undefined) return this.#toBuried(buried);
    const index = this.#delayed.findIndex((task) => task.arrival === arrival);
    if (index !== -1) return this.#toDelayed(this.#delayed.at(index));
    const { leases } = this.#reserved;
    const held = leases.findIndex(({ task }) => task.arrival === arrival);
    return held === -1 ? undefined : this.#toReserved(leases.itemAt(held));
  }

  /**
   * Looks for tasks with a text in their names, in the order of {@linkcode list}. It yields after each
   * short step; tasks whose state changes meanwhile may be found or not.
   */
  *search(state: ListedState, search: Search): Generator<undefined, Found> {
    const { keep } = search;
    switch (state) {
      case "waiting":
        return yield* this.#ready.search(search, (task) => this.#toWaiting({ task }));
      case "delayed": {
        const matches = (task: Task) => isMeant(task, search);
        const { first, ...found } = yield* searchHeap(this.#delayed, { matches, keep });
        return { ...found, tasks: first.map((entry) => this.#toDelayed(entry)) };
      }
      case "reserved": {
        const matches = ({ task }: HeldReservation) => isMeant(task, search);
        const { first, ...found } = yield* searchHeap(this.#reserved.leases, { matches, keep });
        return { ...found, tasks: first.map(({ item }) => this.#toReserved(item)) };
      }
      case "buried":
        return yield* this.#searchBuried(search);
      default:
        return state satisfies never;
    }
  }

  *#searchBuried(search: Search): Generator<undefined, Found> {
    const tasks: ListedTask[] = [];
    let [total, searched] = [0, 0];
    for (const buried of this.#buried.all) {
      if (++searched % searchedPerStep === 0) yield;
      if (isMeant(buried.task, search) && ++total <= search.keep) {
        tasks.push(this.#toBuried(buried));
      }
    }
    return { total, tasks, searched };
  }

  #endsOf(task: Task): number {
    return this.#ends.get(task.arrival) ?? 0;
  }

  #toWaiting(placed: { readonly task: Task; readonly position?: number }): ListedTask {
    return { state: "waiting", ends: this.#endsOf(placed.task), ...placed };
  }

  #toDelayed({ item: task, key: dueMs }: Entry<Task>): ListedTask {
    return { task, state: "delayed", ends: this.#endsOf(task), dueMs };
  }

  #toReserved({ task, consumer, leaseEndMs }: HeldReservation): ListedTask {
    return { task, state: "reserved", ends: this.#endsOf(task), consumer, leaseEndMs };
  }

  #toBuried({ task, burial }: BuriedTask): ListedTask {
    return { task, state: "buried", ends: this.#endsOf(task), burial };
  }

  #take(which: Clearing, options: { readonly most: number }): Generator<KeptTask[]> {
    switch (which.state) {
      case "waiting":
        return this.#takeAllWaiting(which, options);
      case "delayed":
        return this.#takeAllDelayed(which, options);
      case "buried":
        return this.#takeAllBuried(which, options);
      default:
        return which.state satisfies never;
    }
  }

  *#takeAllWaiting(
    { priority, upToArrival }: Clearing,
    { most }: { readonly most: number },
  ): Generator<KeptTask[]> {
    for (let taken: KeptTask[] = [];; taken = []) {
      while (
        taken.length < most && (this.#ready.oldestArrival(priority) ?? Infinity) <= upToArrival
      ) {
        taken.push(this.#kept(this.#ready.takeFirstOf(priority) as Task));
      }
      if (taken.length === 0) return;
      yield taken;
    }
  }

  *#takeAllDelayed(
    which: Clearing,
    options: { readonly most: number },
  ): Generator<KeptTask[]> {
    const sweep = new HeapSweep(this.#delayed, (task) => isToClear(task, which));
    this.#sweeps.add(sweep);
    try {
      for (;;) {
        const taken = sweep.next(options);
        if (taken === undefined) return;
        yield taken.map(({ item, key }) => this.#kept(item, key));
      }
    } finally {
      this.#sweeps.delete(sweep);
    }
  }

  *#takeAllBuried(which: Clearing, { most }: { readonly most: number }): Generator<KeptTask[]> {
    let [taken, looked]: [KeptTask[], number] = [[], 0];
    // A Map tells of the rest though some are removed, and of those that come in meanwhile.
    for (const { task } of this.#buried.all) {
      const removed = isToClear(task, which) ? this.#takeBuried(task.arrival) : undefined;
      if (removed !== undefined) taken.push(removed);
      if (taken.length < most && ++looked % searchedPerStep !== 0) continue;
      yield taken;
      taken = [];
    }
    if (taken.length > 0) yield taken;
  }

  #takeWaiting(arrival: number): KeptTask | undefined {
    const task = this.#ready.remove(arrival);
    return task === undefined ? undefined : this.#kept(task);
  }

  #takeDelayed(arrival: number): KeptTask | undefined {
    const index = this.#delayed.findIndex((task) => task.arrival === arrival);
    if (index === -1) return undefined;
    const { key } = this.#delayed.at(index);
    return this.#kept(this.#delayed.removeAt(index), key);
  }

  #takeBuried(arrival: number): KeptTask | undefined {
    const task = this.#buried.remove(arrival);
    return task === undefined ? undefined : { ...this.#kept(task), isBuried: true };
  }

  #kept(task: Task, dueMs?: number): KeptTask {
    return { task, ends: this.#endsOf(task), isBuried: false, dueMs };
  }

  #drop({ task }: KeptTask): void {
    this.#totals.removed++;
    this.#forget(task);
  }

  /** Counts why a task is held no more, unless it came back to no queue. */
  #count(why: "lease" | "gone", ended: EndedReservation): EndedReservation {
    if (!ended.isBuried) this.#totals.returned[why]++;
    return ended;
  }

  #takeReady(handedOut: CountedTotals["requested"]): Task | undefined {
    const task = this.#paused.requests ? undefined : this.#ready.take();
    if (task === undefined) this.#totals.emptyRequests++;
    else handedOut[task.priority]++;
    return task;
  }

  /** Ends an attempt that was not completed: this counts, and may bury the task. */
  #end(reservation: Reservation): EndedReservation {
    const ends = (this.#ends.get(reservation.task.arrival) ?? 0) + 1;
    return this.#letGo(reservation, { ends, isBuried: ends >= endsBeforeBurial, dueMs: undefined });
  }

  /** Puts a task that is held no more into its new state; left out: ready, and counted as before. */
  #letGo({ task, consumer }: Reservation, state?: TaskState): EndedReservation {
    if (state !== undefined) {
      if (state.ends > 0) this.#ends.set(task.arrival, state.ends);
      this.#store?.update(task, state);
    }
    const isBuried = state?.isBuried ?? false;
    if (isBuried) this.#buried.add({ task, burial: ++this.#totals.burials });
    else this.admit(task, state?.dueMs);
    return { task, consumer, isBuried };
  }

  /** Drops a task that is gone; it may come back if its line never leaves, or is not kept. */
  #forget(task: Task): void {
    this.#countOut(task);
    const ends = this.#ends.get(task.arrival);
    if (ends !== undefined) {
      this.#endsOfGone.set(task, ends);
      this.#ends.delete(task.arrival);
    }
    this.#store?.remove(task);
  }

  /** Counts a task again that was forgotten, and returns its count of ends. */
  #remember(task: Task): number {
    this.#countIn(task);
    const ends = this.#endsOfGone.get(task) ?? 0;
    if (ends > 0) this.#ends.set(task.arrival, ends);
    return ends;
  }
}

function isMeant({ priority, taskId }: Task, { wanted, name }: Search): boolean {
  return wanted.includes(priority) && taskId.includes(name);
}

function isToClear({ priority, arrival }: Task, which: Clearing): boolean {
  return priority === which.priority && arrival <= which.upToArrival;
}

/**
 * The state of a task that has failed.
 *
 * @param ends how many failures and other ends it has had, this one too.
 */
export function failedState(
  ends: number,
  { nowMs, delayMs }: { readonly nowMs: number; readonly delayMs?: number | undefined },
): TaskState {
  if (ends >= endsBeforeBurial) return { ends, isBuried: true, dueMs: undefined };
  const standardMs = failureDelaysMs[ends - 1] ?? 0;
  return { ends, isBuried: false, dueMs: nowMs + (delayMs ?? standardMs) };
}

/** Adds a payload, if there is one. Tasks without one are all of one shape, which V8 likes. */
function toTask(task: Task, payload: string | undefined): Task {
  return payload === undefined ? task : { ...task, payload };
}
