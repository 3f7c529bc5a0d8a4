import type { KeptTask, TaskChanges } from "../../lib/core/store.ts";
import { assert, assertEquals, assertGreater, assertLess, assertThrows } from "@std/assert";
import fc from "fast-check";
import type { Clearing, ListedState, ListedTask, Listing } from "../../lib/core/listed_task.ts";
import { priorities, type Priority, type Task, type TaskDescription } from "../../lib/core/task.ts";
import { goneOf, noTotals } from "../../lib/core/task_totals.ts";
import { type EndedReservation, leaseMs, type Reservation } from "../../lib/core/reservations.ts";
import { endsBeforeBurial, type GivingUp, TaskQueue } from "../../lib/core/task_queue.ts";

/** Puts a task into a queue as a producer's session does. */
function create(queue: TaskQueue, taskId: string, priority: Priority = 2, duration = "0"): Task {
  const task = queue.create({ priority, taskId, duration });
  queue.admit(task);
  return task;
}

/** Requests until there is nothing, and returns the names. */
function drain(queue: TaskQueue): string[] {
  const names: string[] = [];
  for (let task = queue.request(); task !== undefined; task = queue.request()) {
    names.push(task.taskId);
  }
  return names;
}

/** Makes a reserved task's consumer end until the task is buried. */
function bury(queue: TaskQueue): void {
  for (let end = 1; end <= endsBeforeBurial; end++) {
    queue.reserve(99, 0);
    queue.endConsumer(99, { counts: true });
  }
}

const release: GivingUp = { kind: "release" };

function test(name: string, fn: () => void): void {
  Deno.test({ name, permissions: "none", fn });
}

test("TaskQueue.request() hands out by priority, and first in first out within one", () => {
  const queue = new TaskQueue();
  create(queue, "low1", 3);
  create(queue, "medium1", 2);
  create(queue, "high1", 1);
  create(queue, "low2", 3);
  create(queue, "high2", 1);
  assertEquals(drain(queue), ["high1", "high2", "medium1", "low1", "low2"]);
});

test("TaskQueue.request() and reserve() return undefined where nothing is ready", () => {
  const queue = new TaskQueue();
  assertEquals([queue.request(), queue.reserve(1, 0)], [undefined, undefined]);
});

test("TaskQueue.create() counts a task that is handed out only after admit()", () => {
  const queue = new TaskQueue();
  const task = queue.create({ priority: 1, taskId: "a", duration: "3.0" });
  assertEquals(task, { priority: 1, taskId: "a", duration: "3.0", arrival: 1 });
  assertEquals([queue.size, queue.readyCount, queue.request()], [1, 0, undefined]);
  queue.admit(task);
  assertEquals([queue.size, queue.readyCount, queue.request()], [1, 1, task]);
});

test("TaskQueue.create() refuses a task beyond the limit, of ready, reserved and buried", () => {
  const queue = new TaskQueue({ maxTasks: 3 });
  create(queue, "buried");
  bury(queue);
  create(queue, "reserved");
  queue.reserve(1, 0);
  assertEquals(queue.room, 1);
  create(queue, "ready");
  assertEquals(queue.room, 0);
  assertThrows(() => create(queue, "one too many"), RangeError, "the queue is full");
  assertEquals(queue.size, 3);
});

test("TaskQueue.giveBack() is never refused, and room is never negative", () => {
  const queue = new TaskQueue({ maxTasks: 1 });
  create(queue, "first");
  const first = queue.request() as Task;
  create(queue, "second");
  queue.giveBack(first);
  assertEquals([queue.size, queue.room], [2, 0]);
  assertEquals(drain(queue), ["first", "second"]);
});

test("TaskQueue.undoCreate() makes room again, and the task is never handed out", () => {
  const queue = new TaskQueue({ maxTasks: 1 });
  queue.undoCreate(queue.create({ priority: 1, taskId: "a", duration: "0" }));
  assertEquals([queue.size, queue.room, queue.request()], [0, 1, undefined]);
});

test("TaskQueue.giveBack() puts a task back in its old place", () => {
  const queue = new TaskQueue();
  for (const name of ["a", "b", "c"]) create(queue, name);
  const [a, b] = [queue.request() as Task, queue.request() as Task];
  queue.giveBack(b);
  queue.giveBack(a);
  assertEquals(drain(queue), ["a", "b", "c"]);
});

test("TaskQueue.complete() ends a reserved task for good", () => {
  const queue = new TaskQueue();
  create(queue, "a");
  queue.reserve(1, 0);
  assertEquals(queue.complete(1, "a")?.task.taskId, "a");
  assertEquals([queue.size, queue.nextLeaseEndMs], [0, undefined]);
  assertEquals(queue.endConsumer(1, { counts: true }), []);
});

test("TaskQueue.complete() and giveUp() refuse a task reserved by another consumer", () => {
  const queue = new TaskQueue();
  create(queue, "a");
  queue.reserve(1, 0);
  assertEquals([queue.complete(2, "a"), queue.giveUp(2, "a", release)], [undefined, undefined]);
  assert(queue.complete(1, "a"));
});

test("TaskQueue.complete() and giveUp() refuse a task that is not reserved any more", () => {
  const queue = new TaskQueue();
  create(queue, "a");
  queue.reserve(1, 0);
  queue.complete(1, "a");
  assertEquals([queue.complete(1, "a"), queue.giveUp(1, "a", release)], [undefined, undefined]);
});

test("TaskQueue.complete() and giveUp() mean the one handed out first of that name", () => {
  const queue = new TaskQueue();
  for (const duration of ["1", "2", "3"]) create(queue, "same", 2, duration);
  for (let i = 0; i < 3; i++) queue.reserve(1, 0);
  assertEquals(queue.complete(1, "same")?.task.duration, "1");
  assertEquals(queue.giveUp(1, "same", release)?.task.duration, "2");
  assertEquals(queue.complete(1, "same")?.task.duration, "3");
});

test("TaskQueue.giveUp() to release puts a task back in its old place, and never counts", () => {
  const queue = new TaskQueue();
  create(queue, "a");
  create(queue, "b");
  for (let i = 0; i < 3 * endsBeforeBurial; i++) {
    assertEquals(queue.reserve(1, 0)?.task.taskId, "a");
    queue.giveUp(1, "a", release);
  }
  assertEquals(drain(queue), ["a", "b"]);
});

test("TaskQueue takes names of Object.prototype for names", () => {
  const queue = new TaskQueue();
  for (const name of ["__proto__", "constructor", "toString"]) {
    create(queue, name);
    assertEquals(queue.complete(1, name), undefined);
    assertEquals(queue.kick(name), undefined);
    queue.reserve(1, 0);
    assertEquals(queue.complete(1, name)?.task.taskId, name);
  }
});

test("TaskQueue.endConsumer() gives back what that consumer holds, in the order of hand-out", () => {
  const queue = new TaskQueue();
  for (const name of ["a", "b", "c", "a"]) create(queue, name);
  queue.reserve(1, 0);
  queue.reserve(2, 0);
  queue.reserve(1, 0);
  queue.reserve(1, 0);
  const ended = queue.endConsumer(1, { counts: true });
  assertEquals(ended.map(({ task, consumer, isBuried }) => [task.arrival, consumer, isBuried]), [
    [1, 1, false],
    [3, 1, false],
    [4, 1, false],
  ]);
  assertEquals(drain(queue), ["a", "c", "a"]);
  assert(queue.complete(2, "b"));
});

test("TaskQueue buries a task at its 5th end: it is handed out no more, and still counts", () => {
  const queue = new TaskQueue();
  create(queue, "bad");
  for (const isBuried of [false, false, false, false, true]) {
    queue.reserve(1, 0);
    assertEquals(queue.endConsumer(1, { counts: true })[0]?.isBuried, isBuried);
  }
  assertEquals([queue.size, queue.readyCount, queue.request()], [1, 0, undefined]);
});

test("TaskQueue.endConsumer() with counts: false never leads to burial", () => {
  const queue = new TaskQueue();
  create(queue, "a");
  for (let i = 0; i < 3 * endsBeforeBurial; i++) {
    queue.reserve(1, 0);
    assertEquals(queue.endConsumer(1, { counts: false })[0]?.isBuried, false);
  }
  assertEquals(queue.readyCount, 1);
});

test("leaseMs() is twice the duration and ten seconds, and a day at most", () => {
  assertEquals([0, 0.5, 3, 43_194].map(leaseMs), [10_000, 11_000, 16_000, 86_398_000]);
  assertEquals([43_196, 999_999_999].map(leaseMs), [86_400_000, 86_400_000]);
});

test("TaskQueue.reserve() gives one consumer at most 1,000 tasks at a time", () => {
  const queue = new TaskQueue();
  for (let i = 0; i < 1001; i++) create(queue, `task${i}`, 2);
  for (let i = 0; i < 1000; i++) queue.reserve(1, 0);
  assertEquals([queue.reservedBy(1), queue.reserve(1, 0)], [1000, undefined]);
  assertEquals(queue.reserve(2, 0)?.task.taskId, "task1000");
  queue.complete(1, "task0");
  queue.giveUp(1, "task1", release);
  assertEquals(queue.reserve(1, 0)?.task.taskId, "task1");
  assertEquals(queue.reservedBy(1), 999);
});

test("TaskQueue.endLeases() ends as many leases as it is asked to, the earliest first", () => {
  const queue = new TaskQueue();
  for (const [i, duration] of ["3", "1", "2"].entries()) create(queue, `task${i}`, 1, duration);
  for (let i = 0; i < 3; i++) queue.reserve(1, 0);
  const names = (most: number) => queue.endLeases(60_000, { most }).map(({ task }) => task.taskId);
  assertEquals([names(2), names(2)], [["task1", "task2"], ["task0"]]);
});

test("TaskQueue.kick() takes no longer with 700,000 buried tasks of one name", () => {
  const queue = new TaskQueue();
  const task = { priority: 1, taskId: "a", duration: "1" } as const;
  const count = 700_000;
  for (let arrival = count; arrival > 0; arrival--) {
    queue.restore({ task: { ...task, arrival }, ends: 5, isBuried: true, dueMs: undefined }, 0);
  }
  const startMs = performance.now();
  for (let arrival = 1; arrival <= 10_000; arrival++) {
    assertEquals(queue.kick("a")?.task.arrival, arrival);
  }
  // 50 s if each one looks at all of them.
  assertLess(performance.now() - startMs, 5000);
});

test("TaskQueue.endLeases() ends a lease at its time, neither before nor later", () => {
  const queue = new TaskQueue();
  create(queue, "a", 2, "3.0");
  queue.reserve(1, 500);
  assertEquals(queue.nextLeaseEndMs, 16_500);
  assertEquals(queue.endLeases(16_499), []);
  assertEquals(queue.endLeases(16_500).map(({ task }) => task.taskId), ["a"]);
  assertEquals([queue.nextLeaseEndMs, queue.readyCount], [undefined, 1]);
  assertEquals(queue.complete(1, "a"), undefined);
});

test("TaskQueue.endLeases() ends leases in the order of their ends, and counts each", () => {
  const queue = new TaskQueue();
  create(queue, "long", 1, "60");
  create(queue, "short", 2, "0");
  create(queue, "middle", 3, "5");
  for (let i = 0; i < 3; i++) queue.reserve(1, 0);
  assertEquals(
    queue.endLeases(1_000_000).map(({ task }) => task.taskId),
    ["short", "middle", "long"],
  );
  for (let end = 2; end <= endsBeforeBurial; end++) {
    queue.reserve(1, 0);
    queue.endLeases(1_000_000);
  }
  assertEquals(queue.kick("long")?.ends, endsBeforeBurial);
});

test("TaskQueue.giveBack() does nothing for a reservation that has ended or is completed", () => {
  const queue = new TaskQueue();
  create(queue, "a");
  const ended = queue.reserve(1, 0) as Reservation;
  queue.endLeases(10_000);
  assertEquals([queue.giveBack(ended), queue.readyCount], [false, 1]);
  const completed = queue.reserve(1, 0) as Reservation;
  queue.complete(1, "a");
  assertEquals([queue.giveBack(completed), queue.readyCount, queue.size], [false, 0, 0]);
});

test("TaskQueue.giveBack() takes back that very reservation, also of several of a name", () => {
  const queue = new TaskQueue();
  for (const duration of ["1", "2", "3"]) create(queue, "same", 2, duration);
  const reservations = [1, 2, 3].map(() => queue.reserve(1, 0) as Reservation);
  assertEquals(queue.giveBack(reservations[1] as Reservation), true);
  assertEquals(queue.request()?.duration, "2");
  assertEquals(queue.complete(1, "same")?.task.duration, "1");
  assertEquals(queue.complete(1, "same")?.task.duration, "3");
});

test("TaskQueue.kick() makes a buried task ready in its old place, with a clean count", () => {
  const queue = new TaskQueue();
  const bad = create(queue, "bad");
  bury(queue);
  create(queue, "later");
  assertEquals(queue.kick("bad"), {
    task: bad,
    ends: endsBeforeBurial,
    isBuried: true,
    dueMs: undefined,
  });
  queue.admit(bad);
  queue.reserve(1, 0);
  assertEquals(queue.endConsumer(1, { counts: true })[0]?.isBuried, false);
  assertEquals(drain(queue), ["bad", "later"]);
});

test("TaskQueue.kick() takes the first in order of those buried under a name", () => {
  const queue = new TaskQueue();
  create(queue, "bad", 3, "3");
  bury(queue);
  create(queue, "bad", 1, "1");
  bury(queue);
  create(queue, "bad", 3, "4");
  bury(queue);
  const kicked = [1, 2, 3].map(() => queue.kick("bad")?.task.duration);
  assertEquals(kicked, ["1", "3", "4"]);
  assertEquals(queue.kick("bad"), undefined);
});

test("TaskQueue.kick() leaves a task alone that is ready or reserved", () => {
  const queue = new TaskQueue();
  create(queue, "a");
  assertEquals(queue.kick("a"), undefined);
  queue.reserve(1, 0);
  assertEquals(queue.kick("a"), undefined);
});

test("TaskQueue.undoKick() buries the task again", () => {
  const queue = new TaskQueue();
  create(queue, "bad");
  bury(queue);
  queue.undoKick(queue.kick("bad") as KeptTask);
  assertEquals([queue.request(), queue.size], [undefined, 1]);
  assertEquals(queue.kick("bad")?.ends, endsBeforeBurial);
});

test("TaskQueue.undoComplete() has a connected consumer hold the task again", () => {
  const queue = new TaskQueue();
  create(queue, "a");
  queue.reserve(1, 0);
  queue.undoComplete(queue.complete(1, "a") as Reservation, { isConnected: true });
  assertEquals([queue.size, queue.readyCount, queue.nextLeaseEndMs], [1, 0, 10_000]);
  assert(queue.complete(1, "a"));
});

test("TaskQueue.undoComplete() makes the task of a gone consumer ready again", () => {
  const queue = new TaskQueue();
  create(queue, "a");
  queue.reserve(1, 0);
  queue.undoComplete(queue.complete(1, "a") as Reservation, { isConnected: false });
  assertEquals([queue.size, queue.nextLeaseEndMs, drain(queue)], [1, undefined, ["a"]]);
});

test("TaskQueue.restore() puts back ready and buried tasks with their counts, in any order", () => {
  const queue = new TaskQueue();
  const task = (taskId: string, arrival: number): Task => {
    return { priority: 2, taskId, duration: "0", arrival };
  };
  queue.restore({ task: task("third", 30), ends: 4, isBuried: false, dueMs: undefined }, 0);
  queue.restore({ task: task("buried", 10), ends: 5, isBuried: true, dueMs: undefined }, 0);
  queue.restore({ task: task("second", 20), ends: 0, isBuried: false, dueMs: undefined }, 0);
  assertEquals([queue.size, queue.readyCount], [3, 2]);
  assertEquals(create(queue, "new").arrival, 31);
  assertEquals(queue.request()?.taskId, "second");
  queue.reserve(1, 0);
  assertEquals(queue.endConsumer(1, { counts: true })[0]?.isBuried, true);
  assertEquals(queue.kick("buried")?.ends, 5);
  assertEquals(drain(queue), ["new"]);
});

test("TaskQueue.restore() delays a task only if its time has not come", () => {
  const queue = new TaskQueue();
  for (const [arrival, dueMs] of [undefined, -1, 5, 6].entries()) {
    const task = { priority: 2, taskId: `due${dueMs}`, duration: "0", arrival } as const;
    queue.restore({ task, ends: 0, isBuried: false, dueMs }, 5);
  }
  assertEquals(drain(queue), ["dueundefined", "due-1", "due5"]);
  assertEquals(queue.nextDelayEndMs, 6);
});

test("TaskQueue.giveBack() keeps the count of ends, so a task whose lines never leave is buried", () => {
  const queue = new TaskQueue();
  create(queue, "a");
  for (let end = 1; end <= 5; end++) {
    queue.giveBack(queue.request() as Task);
    queue.reserve(end, 0);
    assertEquals(queue.endConsumer(end, { counts: true })[0]?.isBuried, end === 5);
  }
});

test("TaskQueue tells its store each change that must outlive the process, and no other", () => {
  const told: string[] = [];
  const store: TaskChanges = {
    add: (task, dueMs) => told.push(`add ${task.taskId}${dueMs === undefined ? "" : ` ${dueMs}`}`),
    addBack: (task, ends) => told.push(`add back ${task.taskId} ${ends}`),
    remove: (task) => told.push(`remove ${task.taskId}`),
    update: (task, { ends, isBuried, dueMs }) =>
      told.push(`update ${task.taskId} ${ends} ${isBuried} ${dueMs}`),
    kick: (task) => told.push(`kick ${task.taskId}`),
  };
  const queue = new TaskQueue({ store });
  const step = (run: () => unknown): string[] => {
    run();
    return told.splice(0);
  };
  assertEquals(step(() => create(queue, "a")), ["add a"]);
  assertEquals(step(() => queue.reserve(1, 0)), []);
  assertEquals(step(() => queue.giveUp(1, "a", release)), []);
  assertEquals(step(() => queue.giveBack(queue.request() as Task)), ["remove a", "add back a 0"]);
  assertEquals(step(() => queue.giveBack(queue.reserve(1, 0) as Reservation)), []);
  queue.reserve(1, 0);
  assertEquals(step(() => queue.endConsumer(1, { counts: false })), []);
  queue.reserve(1, 0);
  assertEquals(step(() => queue.endConsumer(1, { counts: true })), ["update a 1 false undefined"]);
  queue.reserve(1, 0);
  assertEquals(step(() => queue.endLeases(10_000)), ["update a 2 false undefined"]);
  assertEquals(step(() => queue.giveBack(queue.request() as Task)), ["remove a", "add back a 2"]);
  bury(queue);
  assertEquals(told.splice(0).at(-1), "update a 5 true undefined");
  assertEquals(step(() => queue.admit((queue.kick("a") as KeptTask).task)), ["kick a"]);
  queue.reserve(1, 0);
  assertEquals(step(() => queue.touch(1, "a", 0)), []);
  assertEquals(step(() => queue.giveUp(1, "a", { kind: "fail", nowMs: 7 })), [
    "update a 1 false 5007",
  ]);
  assertEquals(step(() => queue.endDelays(5007, { most: 1 })), []);
  queue.reserve(1, 0);
  assertEquals(step(() => queue.giveUp(1, "a", { kind: "release", dueMs: 9 })), [
    "update a 1 false 9",
  ]);
  queue.endDelays(9, { most: 1 });
  queue.reserve(1, 0);
  assertEquals(step(() => queue.giveUp(1, "a", { kind: "bury" })), ["update a 1 true undefined"]);
  queue.admit((queue.kick("a") as KeptTask).task);
  told.length = 0;
  queue.reserve(1, 0);
  assertEquals(step(() => queue.complete(1, "a")), ["remove a"]);
  const later = { priority: 1, taskId: "later", duration: "0" } as const;
  assertEquals(step(() => queue.create(later, 8)), ["add later 8"]);
});

/** A task of the model, in one array with all others. */
interface Entry {
  readonly task: Task;
  state: "created" | "ready" | "delayed" | "reserved" | "buried";
  ends: number;
  dueMs?: number;
  reservation?: { readonly handOut: number; leaseEndMs: number } & Reservation;
}

/** What the model does as the queue does it. */
type Modelled = Omit<
  { [Key in keyof TaskQueue]: TaskQueue[Key] },
  | ("restore" | "undoComplete" | "undoKick" | "counts" | "mayReserve" | "maxTasks" | "search")
  | ("lastArrival" | "lastBurial" | "oldestArrival" | "waitingCount" | "countOf")
>;

/** Of two tasks the one of the more urgent priority first; within one priority the earlier one. */
function inOrder(a: Task, b: Task): number {
  return a.priority - b.priority || a.arrival - b.arrival;
}

/**
 * The rules of the queue, as plainly as they can be written: one array, sorted when asked. The three
 * checkers of tests/lab see the queue through a server; this one has its methods called in any order,
 * also in those that no session makes.
 */
class NaiveQueue implements Modelled {
  entries: Entry[] = [];
  endsOfRequested = new Map<number, number>();
  arrivals = 0;
  handOuts = 0;
  readonly burialOf = new Map<number, number>();
  readonly totals = noTotals();
  paused = { creates: false, requests: false };
  readonly maxTasks: number;

  constructor(maxTasks: number) {
    this.maxTasks = maxTasks;
  }

  get size(): number {
    return this.entries.length;
  }

  get readyCount(): number {
    return this.paused.requests ? 0 : this.#in("ready").length;
  }

  pause(change: { creates?: boolean; requests?: boolean }): void {
    Object.assign(this.paused, change);
  }

  get room(): number {
    if (this.paused.creates) return 0;
    return Math.max(0, this.maxTasks - this.size);
  }

  get fullOf(): "tasks" | undefined {
    return this.room === 0 && !this.paused.creates ? "tasks" : undefined;
  }

  get nextLeaseEndMs(): number | undefined {
    const ends = this.entries.flatMap((entry) => entry.reservation?.leaseEndMs ?? []);
    return ends.sort((a, b) => a - b)[0];
  }

  create(description: TaskDescription): Task {
    if (this.room === 0) throw new RangeError("full");
    const task = { ...description, arrival: ++this.arrivals };
    this.entries.push({ task, state: "created", ends: 0 });
    this.totals.created[task.priority]++;
    return task;
  }

  admit(task: Task, dueMs?: number): void {
    const entry = this.#entryOf(task);
    entry.state = dueMs === undefined ? "ready" : "delayed";
    if (dueMs !== undefined) entry.dueMs = dueMs;
  }

  get nextDelayEndMs(): number | undefined {
    return this.#in("delayed").map((entry) => entry.dueMs as number).sort((a, b) => a - b)[0];
  }

  endDelays(nowMs: number): Task[] {
    const over = this.#in("delayed").filter((entry) => entry.dueMs as number <= nowMs);
    for (const entry of over) entry.state = "ready";
    return over.map(({ task }) => task);
  }

  touch(consumer: number, taskId: string, nowMs: number): boolean {
    const entry = this.#heldBy(consumer).find((entry) => entry.task.taskId === taskId);
    if (entry?.reservation === undefined) return false;
    entry.reservation.leaseEndMs = nowMs + 2000 * Number(entry.task.duration) + 10_000;
    return true;
  }

  undoCreate(task: Task): void {
    this.#drop(this.#entryOf(task));
    this.totals.created[task.priority]--;
  }

  request(): Task | undefined {
    const first = this.#first();
    if (first !== undefined) {
      this.totals.requested[first.task.priority]++;
      this.#drop(first);
      this.endsOfRequested.set(first.task.arrival, first.ends);
    }
    return first?.task;
  }

  giveBack(handOut: Task | Reservation): boolean {
    if (!("task" in handOut)) {
      const ends = this.endsOfRequested.get(handOut.arrival) as number;
      this.entries.push({ task: handOut, state: "ready", ends });
      this.totals.requestsUndone++;
      this.totals.returned.unsent++;
      return true;
    }
    const entry = this.entries.find((entry) => entry.reservation === handOut);
    if (entry !== undefined) {
      this.#end(entry, false);
      this.totals.returned.unsent++;
    }
    return entry !== undefined;
  }

  reservedBy(consumer: number): number {
    return this.#heldBy(consumer).length;
  }

  reserve(consumer: number, nowMs: number): Reservation | undefined {
    const first = this.#first();
    if (first === undefined) return undefined;
    this.totals.reserved[first.task.priority]++;
    const leaseEndMs = nowMs + 2000 * Number(first.task.duration) + 10_000;
    first.state = "reserved";
    first.reservation = { task: first.task, consumer, handOut: ++this.handOuts, leaseEndMs };
    return first.reservation;
  }

  complete(consumer: number, taskId: string): Reservation | undefined {
    const entry = this.#heldBy(consumer).find((entry) => entry.task.taskId === taskId);
    if (entry === undefined) return undefined;
    this.#drop(entry);
    this.totals.completed++;
    return entry.reservation;
  }

  giveUp(consumer: number, taskId: string, how: GivingUp): EndedReservation | undefined {
    const entry = this.#heldBy(consumer).find((entry) => entry.task.taskId === taskId);
    if (entry === undefined) return undefined;
    const ended = this.#end(entry, how.kind === "fail");
    if (how.kind === "fail") this.totals.failed++;
    if (how.kind === "release") this.totals.returned.released++;
    if (how.kind === "bury") this.#bury(entry);
    else if (how.kind === "release" && how.dueMs !== undefined) this.admit(entry.task, how.dueMs);
    else if (how.kind === "fail" && entry.state === "ready") {
      const pauseMs = how.delayMs ?? [0, 5000, 20_000, 80_000, 320_000][entry.ends] as number;
      this.admit(entry.task, how.nowMs + pauseMs);
    }
    return { ...ended, isBuried: entry.state === "buried" };
  }

  endConsumer(consumer: number, { counts }: { counts: boolean }): EndedReservation[] {
    return this.#heldBy(consumer).map((entry) => this.#came("gone", this.#end(entry, counts)));
  }

  endLeases(nowMs: number): EndedReservation[] {
    const leases = this.#in("reserved");
    return leases.filter((entry) => (entry.reservation?.leaseEndMs ?? Infinity) <= nowMs)
      .map((entry) => this.#came("lease", this.#end(entry, true)));
  }

  kick(taskId: string): KeptTask | undefined {
    return this.#kick(this.#in("buried").find((entry) => entry.task.taskId === taskId));
  }

  kickArrival(arrival: number): KeptTask | undefined {
    return this.#kick(this.#in("buried").find((entry) => entry.task.arrival === arrival));
  }

  remove(arrival: number): KeptTask | undefined {
    const entry = this.entries.find(({ task }) => task.arrival === arrival);
    return entry === undefined ? undefined : this.#remove(entry);
  }

  *clear({ state, priority, upToArrival }: Clearing): Generator<readonly KeptTask[]> {
    yield this.#in(state === "waiting" ? "ready" : state)
      .filter(({ task }) => task.priority === priority && task.arrival <= upToArrival)
      .flatMap((entry) => this.#remove(entry) ?? []);
  }

  undoRemove({ task, ends, isBuried, dueMs }: KeptTask): void {
    this.totals.removed--;
    const entry: Entry = { task, state: isBuried ? "buried" : "ready", ends };
    if (isBuried) this.burialOf.set(task.arrival, 0);
    if (dueMs !== undefined) Object.assign(entry, { state: "delayed", dueMs });
    this.entries.push(entry);
  }

  find(arrival: number): ListedTask | undefined {
    return (["waiting", "delayed", "reserved", "buried"] as const)
      .flatMap((state) => this.list(state, { wanted: [1, 2, 3], skip: 0, limit: Infinity }))
      .find(({ task }) => task.arrival === arrival);
  }

  list(state: ListedState, { wanted, skip, limit }: Listing): ListedTask[] {
    const all = this.#in(state === "waiting" ? "ready" : state).map(
      ({ task, ends, reservation, dueMs }, index): ListedTask => ({
        ...{ task, state, ends },
        ...state === "waiting" ? { position: index + 1 } : {},
        ...state === "delayed" ? { dueMs: dueMs as number } : {},
        ...state === "buried" ? { burial: this.burialOf.get(task.arrival) as number } : {},
        ...reservation === undefined
          ? {}
          : { consumer: reservation.consumer, leaseEndMs: reservation.leaseEndMs },
      }),
    );
    return all.filter(({ task }) => wanted.includes(task.priority)).slice(skip, skip + limit);
  }

  #remove(entry: Entry): KeptTask | undefined {
    const { task, ends, state } = entry;
    if (state === "created" || state === "reserved") return undefined;
    this.#drop(entry);
    this.totals.removed++;
    const dueMs = state === "delayed" ? entry.dueMs : undefined;
    return { task, ends, isBuried: state === "buried", dueMs };
  }

  #came(why: "gone" | "lease", ended: EndedReservation): EndedReservation {
    if (!ended.isBuried) this.totals.returned[why]++;
    return ended;
  }

  #bury(entry: Entry): void {
    entry.state = "buried";
    this.burialOf.set(entry.task.arrival, ++this.totals.burials);
  }

  #first(): Entry | undefined {
    const [first] = this.paused.requests ? [] : this.#in("ready");
    if (first === undefined) this.totals.emptyRequests++;
    return first;
  }

  #kick(entry: Entry | undefined): KeptTask | undefined {
    if (entry === undefined) return undefined;
    this.totals.kicked++;
    const kicked = { task: entry.task, ends: entry.ends, isBuried: true, dueMs: undefined };
    entry.state = "created";
    entry.ends = 0;
    return kicked;
  }

  #in(state: Entry["state"]): Entry[] {
    return this.entries.filter((entry) => entry.state === state)
      .sort((a, b) => inOrder(a.task, b.task));
  }

  #heldBy(consumer: number): Entry[] {
    return this.entries.filter((entry) => entry.reservation?.consumer === consumer)
      .sort((a, b) => (a.reservation?.handOut ?? 0) - (b.reservation?.handOut ?? 0));
  }

  #entryOf(task: Task): Entry {
    return this.entries.find((entry) => entry.task.arrival === task.arrival) as Entry;
  }

  #drop(entry: Entry): void {
    this.entries = this.entries.filter((other) => other !== entry);
  }

  #end(entry: Entry, counts: boolean): EndedReservation {
    const consumer = entry.reservation?.consumer as number;
    delete entry.reservation;
    if (counts) entry.ends++;
    entry.state = "ready";
    const isBuried = counts && entry.ends >= 5;
    if (isBuried) this.#bury(entry);
    return { task: entry.task, consumer, isBuried };
  }
}

/** A command of the model test; `number` chooses a consumer, a name, or one of what is at hand. */
interface Command {
  readonly verb:
    | keyof Omit<
      Modelled,
      | "size"
      | "readyCount"
      | "room"
      | "fullOf"
      | "nextLeaseEndMs"
      | "nextDelayEndMs"
      | "reservedBy"
      | "undoCreate"
      | "undoRemove"
      | "giveUp"
      | "totals"
      | "paused"
    >
    | GivingUp["kind"]
    | "schedule"
    | "release later"
    | "refuse"
    | "remove and undo"
    | "takeBack"
    | "shut down";
  readonly number: number;
  readonly priority: Priority;
}

/** Runs commands against a queue, and keeps what later commands need: tasks and reservations. */
class Driver {
  readonly queue: Modelled;
  nowMs = 0;
  burials = 0;
  readonly #created: Task[] = [];
  readonly #requested: Task[] = [];
  readonly #reservations: Reservation[] = [];

  constructor(queue: Modelled) {
    this.queue = queue;
  }

  /** Runs a command; returns its outcome and all that the queue then shows, as plain data. */
  run(command: Command): unknown {
    const outcome = this.#execute(command);
    const { size, readyCount, room, fullOf, nextLeaseEndMs, nextDelayEndMs } = this.queue;
    const { totals, paused } = this.queue;
    const created = totals.created[1] + totals.created[2] + totals.created[3];
    assertEquals(size + goneOf(totals), created, "tasks that are there or gone, and created");
    const reserved = [0, 1].map((consumer) => this.queue.reservedBy(consumer));
    const shown = { size, readyCount, room, fullOf, nextLeaseEndMs, nextDelayEndMs, reserved };
    return { outcome, ...shown, totals: structuredClone(totals), paused: { ...paused } };
  }

  #execute({ verb, number, priority }: Command): unknown {
    const { queue } = this;
    const consumer = number % 2;
    const taskId = number % 3 === 0 ? "a" : "b";
    switch (verb) {
      case "create": {
        if (queue.room === 0) return assertThrows(() => this.#create(number, priority)).name;
        return this.#create(number, priority);
      }
      case "admit":
        return this.#with(this.#created, number, (task) => queue.admit(task));
      case "refuse":
        return this.#with(this.#created, number, (task) => queue.undoCreate(task));
      case "request": {
        const task = queue.request();
        if (task !== undefined) this.#requested.push(task);
        return task;
      }
      case "giveBack":
        return this.#with(this.#requested, number, (task) => queue.giveBack(task));
      case "reserve": {
        // No two leases end at the same time: nothing says which of them would end first.
        const reservation = queue.reserve(consumer, ++this.nowMs);
        if (reservation !== undefined) this.#reservations.push(reservation);
        return reservation?.task;
      }
      case "complete":
        return queue.complete(consumer, taskId)?.task;
      case "schedule": {
        if (queue.room === 0) return "full";
        const dueMs = this.nowMs + 1000 * (number % 20);
        const task = queue.create({ priority, taskId, duration: "0" }, dueMs);
        return queue.admit(task, dueMs);
      }
      case "release":
      case "bury":
        return this.#noteOne(queue.giveUp(consumer, taskId, { kind: verb }));
      case "release later": {
        const dueMs = this.nowMs + 1000 * (number % 20);
        return this.#noteOne(queue.giveUp(consumer, taskId, { kind: "release", dueMs }));
      }
      case "fail": {
        const delayMs = number % 5 === 0 ? 500 : undefined;
        const how = { kind: "fail", nowMs: this.nowMs, delayMs } as const;
        return this.#noteOne(queue.giveUp(consumer, taskId, how));
      }
      case "touch":
        return queue.touch(consumer, taskId, this.nowMs);
      case "endDelays": {
        this.nowMs += 1000 * (number % 30);
        // Those that are due at the same time may be told in any order.
        return queue.endDelays(this.nowMs, { most: Infinity })
          .sort((a, b) => a.arrival - b.arrival);
      }
      case "takeBack":
        return this.#with(this.#reservations, number, (held) => queue.giveBack(held));
      case "endConsumer":
        return this.#note(queue.endConsumer(consumer, { counts: true }));
      case "shut down":
        return this.#note(queue.endConsumer(consumer, { counts: false }));
      case "endLeases": {
        this.nowMs += 1000 * (number % 15);
        // Leases that end at the same time may be told in any order.
        return this.#note(queue.endLeases(this.nowMs))
          .sort((a, b) => a.task.arrival - b.task.arrival);
      }
      case "kick": {
        const kicked = queue.kick(taskId);
        if (kicked !== undefined) queue.admit(kicked.task);
        return kicked;
      }
      case "kickArrival": {
        const kicked = queue.kickArrival(this.#someArrival("buried", number));
        if (kicked !== undefined) queue.admit(kicked.task);
        return kicked;
      }
      case "remove":
        return queue.remove(1 + number % 30);
      case "remove and undo": {
        const removed = queue.remove(this.#someArrival(states[number % 4] as ListedState, number));
        if (removed !== undefined) queue.undoRemove(removed);
        return removed;
      }
      case "clear": {
        const state = (["waiting", "delayed", "buried"] as const)[number % 3] ?? "waiting";
        const most = 1 + number % 2;
        return [...queue.clear({ state, priority, upToArrival: number % 30 }, { most })].flat()
          .sort((a, b) => a.task.arrival - b.task.arrival);
      }
      case "pause":
        return queue.pause(
          number % 3 === 0 ? { creates: number % 5 === 0 } : {
            requests: number % 5 === 0,
          },
        );
      case "find":
        return queue.find(this.#someArrival(states[number % 4] as ListedState, number));
      case "list": {
        const wanted = number % 2 === 0 ? priorities : [priority];
        // Those of one time may be told in any order.
        const others = states.slice(1).map((state) =>
          queue.list(state, { wanted: priorities, skip: 0, limit: Infinity })
            .sort((a, b) => a.task.arrival - b.task.arrival)
        );
        return [queue.list("waiting", { wanted, skip: number % 3, limit: 1 + number % 4 }), others];
      }
      default:
        return verb satisfies never;
    }
  }

  #create(number: number, priority: Priority): Task {
    const taskId = number % 2 === 0 ? "a" : "b";
    const duration = ["0", "1", "2.5", "007.5"][number % 4] as string;
    const task = this.queue.create({ priority, taskId, duration });
    this.#created.push(task);
    return task;
  }

  #someArrival(state: ListedState, number: number): number {
    const all = this.queue.list(state, { wanted: priorities, skip: 0, limit: Infinity });
    const arrivals = all.map(({ task }) => task.arrival).sort((a, b) => a - b);
    return arrivals[number % Math.max(1, arrivals.length)] ?? 0;
  }

  #with<T>(items: T[], number: number, use: (item: T) => unknown): unknown {
    const [item] = items.splice(number % Math.max(1, items.length), 1);
    return item === undefined ? "none" : use(item);
  }

  #noteOne(ended: EndedReservation | undefined): Task | undefined {
    return this.#note(ended === undefined ? [] : [ended])[0]?.task;
  }

  #note(ended: EndedReservation[]): EndedReservation[] {
    this.burials += ended.filter((reservation) => reservation.isBuried).length;
    return ended;
  }
}

const states: readonly ListedState[] = ["waiting", "delayed", "reserved", "buried"];

const commands: fc.Arbitrary<Command> = fc.record({
  verb: fc.constantFrom<Command["verb"]>(
    ...["create", "create", "create", "admit", "admit", "admit", "refuse"] as const,
    ...["request", "giveBack", "complete", "release", "takeBack", "kick", "shut down"] as const,
    ...["fail", "fail", "fail", "bury", "release later", "touch", "schedule"] as const,
    ...["endDelays", "endDelays"] as const,
    ...["remove", "remove and undo", "clear", "pause", "pause", "kickArrival"] as const,
    ...["find", "list"] as const,
    ...["reserve", "reserve", "reserve", "reserve", "reserve", "reserve"] as const,
    ...["endConsumer", "endConsumer", "endConsumer", "endLeases", "endLeases"] as const,
  ),
  number: fc.nat(1000),
  priority: fc.constantFrom<Priority>(1, 2, 3),
});

test("TaskQueue does what one sorted array does, under any commands", () => {
  let burials = 0;
  const runs = fc.array(commands, { maxLength: 300, size: "max" });
  fc.assert(
    fc.property(runs, (commands) => {
      const real = new Driver(new TaskQueue({ maxTasks: 6 }));
      const model = new Driver(new NaiveQueue(6));
      for (const command of commands) assertEquals(real.run(command), model.run(command));
      burials += real.burials;
    }),
    { numRuns: 300 },
  );
  // Else the runs are too tame to show how tasks are buried and kicked.
  assertGreater(burials, 100);
});

test("A task is cleared though others move it about meanwhile", () => {
  const delays = fc.array(fc.nat(1000), { minLength: 20, maxLength: 60 });
  const others = fc.array(fc.tuple(fc.constantFrom("add", "remove", "end"), fc.nat(1000)));
  fc.assert(fc.property(delays, others, (delays, others) => {
    const queue = new TaskQueue();
    const delay = (priority: Priority, dueMs: number) =>
      queue.admit(queue.create({ priority, taskId: "a", duration: "1" }), dueMs);
    for (const [i, dueMs] of delays.entries()) delay(i % 2 === 0 ? 1 : 2, dueMs + 1000);
    const upToArrival = queue.lastArrival;
    const clearing = queue.clear({ state: "delayed", priority: 1, upToArrival }, { most: 1 });
    let step = 0;
    for (const _ of clearing) {
      const [what, number] = others[step++] ?? [];
      if (number === undefined) continue;
      // The earliest of all goes to the top, and others down.
      if (what === "add") delay(1, 900 - step);
      else if (what === "remove") queue.remove(2 * (1 + number % (delays.length / 2)));
      else queue.endDelays(900, { most: 1 });
    }
    const left = queue.list("delayed", { wanted: priorities, skip: 0, limit: Infinity });
    const old = left.filter(({ task }) => task.arrival <= upToArrival && task.priority === 1);
    assertEquals(old, []);
  }));
});
