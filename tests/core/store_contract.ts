/**
 * What every store of tasks promises, as tests: see lib/core/store.ts.
 *
 * A test is a transcript. Tasks are named by their arrival; task 7 is `task7`, of any priority.
 *
 * ```text
 * add 1                        a new task entered; so do remove 1, add back 1 ends 2,
 * update 1 ends 5 buried       and: its state changed; update 1 ends 1 due 5000
 * add 1 due 5000               a new task that is to be ready then
 * kick 1                       a buried task is ready, with a clean count
 * commit -> kept               what the commit must tell; "or" parts what it may tell
 * open again -> 1, 2 ends 3    what the store gives back then, by arrival
 * open again without room      from now on commits find no room
 * room again                   from now on they do
 * ```
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import type { KeptTask, TaskState, TaskStore } from "../../lib/core/store.ts";
import type { Priority, Task } from "../../lib/core/task.ts";
import { Random } from "../lab/random.ts";
import { withSeed } from "../lab/seed.ts";

/** What a store is kept in, which outlives the store. */
export interface StorePlace extends AsyncDisposable {
  /** Opens the store, as a server that starts does; the one opened before is disposed. */
  open(): TaskStore;
}

/** A place whose room can be taken and given back. */
export interface LimitedPlace extends StorePlace {
  /** Takes all room, while the store is closed. */
  takeRoom(): void;
  /** Gives it back, while the store is open. */
  giveRoom(): void;
}

/** A clock that stands still, so that times come back from a store as they were. */
export const stillClock = { wallMs: (): number => 1_800_000_000_000, nowMs: (): number => 0 };

/** Registers one test. */
export type Register = (name: string, run: () => Promise<void>) => void;

/** Registers a test that may do nothing but compute. */
export function pureTest(name: string, fn: () => Promise<void>): void {
  Deno.test({ name, permissions: "none", fn });
}

/** Registers the tests of a store. */
export function storeContract(
  name: string,
  makePlace: () => StorePlace,
  register: Register = Deno.test,
): void {
  const test = (promise: string, run: (stage: Stage) => void | Promise<void>) =>
    register(`${name} ${promise}`, async () => {
      await using place = makePlace();
      using stage = new Stage(place);
      await run(stage);
    });
  const promises = (promise: string, transcript: string) =>
    test(promise, (stage) => stage.play(transcript));

  promises(
    "is empty when it is new, also if it is opened again",
    `
    open again -> nothing
    commit -> kept
    open again -> nothing
    `,
  );

  promises(
    "gives back what was committed, and nothing that was not",
    `
    add 1
    add 2
    commit -> kept
    add 3
    remove 1
    update 2 ends 5 buried
    open again -> 1, 2
    commit -> kept
    open again -> 1, 2
    `,
  );

  promises(
    "keeps the changes of several commits, though nobody looks in between",
    `
    add 3
    add 1
    commit -> kept
    remove 3
    add 2
    commit -> kept
    commit -> kept
    update 1 ends 1
    commit -> kept
    open again -> 1 ends 1, 2
    `,
  );

  promises(
    "forgets a task that is removed, in the commit that added it or in a later one",
    `
    add 1
    add 2
    remove 2
    commit -> kept
    open again -> 1
    remove 1
    commit -> kept
    open again -> nothing
    `,
  );

  promises(
    "takes back a task with its count of ends, in the commit of its removal or in a later one",
    `
    add 1
    add 2
    update 2 ends 3
    commit -> kept
    remove 1
    add back 1 ends 0
    remove 2
    commit -> kept
    open again -> 1
    add back 2 ends 3
    commit -> kept
    open again -> 1, 2 ends 3
    `,
  );

  promises(
    "keeps of a task that changes often what was last, in one commit and over several",
    `
    add 1
    update 1 ends 1
    update 1 ends 5 buried
    add 2
    update 2 ends 1
    remove 2
    add back 2 ends 1
    update 2 ends 2
    commit -> kept
    open again -> 1 ends 5 buried, 2 ends 2
    update 1 ends 0
    remove 2
    add back 2 ends 2
    remove 2
    commit -> kept
    open again -> 1
    `,
  );

  promises(
    "takes a state of a task that is gone for nothing",
    `
    add 1
    remove 1
    update 1 ends 2
    update 9 ends 1
    commit -> kept
    open again -> nothing
    `,
  );

  promises(
    "keeps when tasks are due, until they are told otherwise",
    `
    add 1 due 5000
    add 2
    add 3
    update 2 ends 1 due 7000
    commit -> kept
    open again -> 1 due 5000, 2 ends 1 due 7000, 3
    update 1 ends 0 due 9000
    update 2 ends 2
    update 3 ends 5 buried
    commit -> kept
    open again -> 1 due 9000, 2 ends 2, 3 ends 5 buried
    kick 3
    commit -> kept
    open again -> 1 due 9000, 2 ends 2, 3
    `,
  );

  test("gives back each of many tasks once, each as it was added", (stage) => {
    const names = ["작업", "😀", "é", "__proto__", "a'b\"c;--", "x".repeat(255)];
    const tasks = [
      ...Array.from({ length: 3001 }, (_, i) => taskOf(2 * i + 1)),
      ...names.map((taskId, i): Task => ({ ...taskOf(10_000 + i), taskId, duration: "007.50" })),
      { ...taskOf(20_000), payload: '{"path": "작업 \'😀\'",  "n": [1, {}]}' },
      { ...taskOf(20_001), payload: `["${"x".repeat(60_000)}"]` },
    ];
    for (const task of tasks.toReversed()) stage.store.add(task);
    assertEquals(stage.store.commit(), "kept");
    stage.openAgain();
    assertEquals(
      stage.kept(),
      tasks.map((task) => ({ task, ends: 0, isBuried: false, dueMs: undefined })),
    );
  });

  test("keeps what a plain map keeps, under any changes and commits", async (stage) => {
    await withSeed((seed) => playAtRandom(stage, new Random(seed)));
  });
}

/** Registers the tests of what a store does without room. */
export function fullStoreContract(
  name: string,
  makePlace: () => LimitedPlace,
  register: Register = Deno.test,
): void {
  const promises = (promise: string, transcript: string) =>
    register(`${name} ${promise}`, async () => {
      await using place = makePlace();
      using stage = new LimitedStage(place);
      stage.play(transcript);
    });

  promises(
    "keeps nothing of a commit that it says it did not keep",
    `
    add 1
    add 2
    update 2 ends 5 buried
    commit -> kept
    open again without room
    remove 1
    add 3
    kick 2
    commit -> not kept
    room again
    commit -> kept
    open again -> 1, 2 ends 5 buried
    `,
  );

  promises(
    "goes on after a commit that was not kept",
    `
    add 1
    commit -> kept
    open again without room
    remove 1
    add 2
    commit -> not kept
    room again
    remove 1
    add 3
    commit -> kept
    open again -> 3
    `,
  );

  promises(
    "keeps with a later commit, in their order, what came back and how it ended since",
    `
    open again without room
    update 1 ends 1
    add back 1 ends 1
    update 1 ends 2
    update 2 ends 0
    commit -> not kept
    room again
    commit -> kept
    open again -> 1 ends 2
    `,
  );

  promises(
    "keeps with a later commit that a task came back, once, with its last count",
    `
    add 1
    add 2
    commit -> kept
    remove 2
    commit -> kept
    open again without room
    add back 2 ends 1
    commit -> not kept
    remove 1
    commit -> not kept
    add back 1 ends 3
    commit -> not kept
    room again
    commit -> kept
    open again -> 1 ends 3, 2 ends 1
    `,
  );

  promises(
    "keeps with a later commit counts of ends for which there was no room, and burial",
    `
    add 1
    add 2
    commit -> kept
    open again without room
    update 1 ends 1
    commit -> not kept or kept without new tasks
    update 1 ends 2
    update 2 ends 5 buried
    commit -> not kept or kept without new tasks
    room again
    commit -> kept
    open again -> 1 ends 2, 2 ends 5 buried
    `,
  );

  promises(
    "does not lose a count that waits for room when a later change of its task is not kept",
    `
    add 1
    update 1 ends 4
    add 2
    commit -> kept
    open again without room
    update 1 ends 5 buried
    update 2 ends 1
    commit -> not kept or kept without new tasks
    kick 1
    commit -> not kept
    remove 2
    commit -> not kept
    room again
    commit -> kept
    open again -> 1 ends 5 buried, 2 ends 1
    `,
  );

  promises(
    "brings no count that waited for room over a later change that is kept",
    `
    add 1
    add 2
    add 3
    commit -> kept
    open again without room
    update 1 ends 5 buried
    update 2 ends 1
    update 3 ends 1
    commit -> not kept or kept without new tasks
    room again
    kick 1
    remove 2
    update 3 ends 2
    commit -> kept
    commit -> kept
    open again -> 1, 3 ends 2
    `,
  );
}

/** Registers the tests of what a store does with room for all but new tasks. */
export function nearlyFullStoreContract(
  name: string,
  makePlace: () => LimitedPlace,
  register: Register = Deno.test,
): void {
  register(`${name} leaves out new tasks alone if there is room for the rest`, async () => {
    await using place = makePlace();
    using stage = new LimitedStage(place);
    stage.play(`
      add 1
      add 2
      add 3
      commit -> kept
      remove 3
      commit -> kept
      open again without room
      add 4
      remove 1
      update 2 ends 1
      add back 3 ends 2
      add 5
      commit -> kept without new tasks
      open again -> 2 ends 1, 3 ends 2
      room again
      commit -> kept
      add 6
      commit -> kept
      open again -> 2 ends 1, 3 ends 2, 6
    `);
  });
}

/** Runs the lines of a transcript against a store. */
class Stage implements Disposable {
  readonly #place: StorePlace;
  #store: TaskStore;

  constructor(place: StorePlace) {
    this.#place = place;
    this.#store = place.open();
  }

  /** The store that is open. */
  get store(): TaskStore {
    return this.#store;
  }

  /** Runs the lines; an error names the one at which the store does something else. */
  play(transcript: string): void {
    for (const line of transcript.trim().split("\n").map((line) => line.trim())) {
      const [action = "", expected] = line.split(" -> ");
      const actual = this.act(action);
      if (expected === undefined || expected.split(" or ").includes(actual)) continue;
      assertEquals(`${action} -> ${actual}`, line);
    }
  }

  /** Closes the store and opens it. */
  openAgain(between: () => void = () => {}): void {
    this.#store[Symbol.dispose]();
    between();
    this.#store = this.#place.open();
  }

  /** What the store gives back, by arrival. */
  kept(): KeptTask[] {
    return [...this.#store.keptTasks()].sort((a, b) => a.task.arrival - b.task.arrival);
  }

  [Symbol.dispose](): void {
    this.#store[Symbol.dispose]();
  }

  /** Does what a line says, and tells what came of it. */
  protected act(action: string): string {
    const [, verb, arrival, ends, buried, due] =
      /^(\D+?)(?: (\d+)(?: ends (\d+)( buried)?)?(?: due (\d+))?)?$/.exec(action) ?? [];
    const task = taskOf(Number(arrival));
    const dueMs = due === undefined ? undefined : Number(due);
    switch (verb) {
      case "add":
        this.#store.add(task, dueMs);
        return "";
      case "kick":
        this.#store.kick(task);
        return "";
      case "add back":
        this.#store.addBack(task, Number(ends));
        return "";
      case "remove":
        this.#store.remove(task);
        return "";
      case "update":
        this.#store.update(task, {
          ends: Number(ends),
          isBuried: buried !== undefined,
          dueMs,
        });
        return "";
      case "commit":
        return this.#store.commit();
      case "open again":
        this.openAgain();
        return describe(this.kept());
      default:
        throw new Error(`no such line: ${action}`);
    }
  }
}

/** A stage whose lines may take the store's room, and give it back. */
class LimitedStage extends Stage {
  readonly #place: LimitedPlace;

  constructor(place: LimitedPlace) {
    super(place);
    this.#place = place;
  }

  protected override act(action: string): string {
    if (action === "open again without room") this.openAgain(() => this.#place.takeRoom());
    else if (action === "room again") this.#place.giveRoom();
    else return super.act(action);
    return "";
  }
}

/** The task of an arrival. */
function taskOf(arrival: number): Task {
  return {
    priority: (1 + arrival % 3) as Priority,
    taskId: `task${arrival}`,
    duration: "1.50",
    arrival,
  };
}

function describe(kept: readonly KeptTask[]): string {
  const texts = kept.map(({ task, ends, isBuried, dueMs }) => {
    assertEquals(task, taskOf(task.arrival));
    return task.arrival + (ends > 0 ? ` ends ${ends}` : "") + (isBuried ? " buried" : "") +
      (dueMs === undefined ? "" : ` due ${dueMs}`);
  });
  return texts.join(", ") || "nothing";
}

/** Changes as a queue makes them: of tasks that are there, or were. */
function playAtRandom(stage: Stage, random: Random): void {
  const tasks = new Map<number, TaskState>();
  const gone: number[] = [];
  let arrivals = 0;
  for (let round = 0; round < 20; round++) {
    for (let change = random.below(60); change > 0; change--) {
      const arrival = random.pick([...tasks.keys(), 0]);
      const back = gone[random.below(gone.length + 1)];
      if (random.chance(40)) {
        const dueMs = random.chance(20) ? random.below(1e6) : undefined;
        stage.store.add(taskOf(++arrivals), dueMs);
        tasks.set(arrivals, { ends: 0, isBuried: false, dueMs });
      } else if (random.chance(20) && back !== undefined) {
        const ends = random.below(5);
        gone.splice(gone.indexOf(back), 1);
        stage.store.addBack(taskOf(back), ends);
        tasks.set(back, { ends, isBuried: false, dueMs: undefined });
      } else if (arrival > 0 && random.chance(50)) {
        const dueMs = random.chance(20) ? random.below(1e6) : undefined;
        const state = { ends: random.below(6), isBuried: random.chance(30), dueMs };
        stage.store.update(taskOf(arrival), state);
        tasks.set(arrival, state);
      } else if (arrival > 0) {
        stage.store.remove(taskOf(arrival));
        tasks.delete(arrival);
        gone.push(arrival);
      }
    }
    assertEquals(stage.store.commit(), "kept");
    if (random.chance(30) || round === 19) stage.openAgain();
  }
  const expected = [...tasks].map(([arrival, state]) => ({ task: taskOf(arrival), ...state }));
  assertEquals(stage.kept(), expected.sort((a, b) => a.task.arrival - b.task.arrival));
}
