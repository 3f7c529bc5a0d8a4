/**
 * The tasks of the core keep their contract: at once, after a commit, and over a network.
 *
 * @module
 */

import { MemoryTasks } from "../../lib/core/memory_tasks.ts";
import type { CommitOutcome } from "../../lib/core/store.ts";
import { StoredTasks } from "../../lib/core/stored_tasks.ts";
import { type QueueLimits, TaskQueue } from "../../lib/core/task_queue.ts";
import type { Tasks } from "../../lib/core/tasks.ts";
import { DrivenCommits } from "../lab/driven_commits.ts";
import { LateTasks } from "../lab/late_tasks.ts";
import { Random } from "../lab/random.ts";
import { testSeed, withSeed } from "../lab/seed.ts";
import { SimulatedStore } from "../lab/simulation/simulated_store.ts";
import { pureTest } from "./store_contract.ts";
import {
  keptTasksContract,
  refusedTasksContract,
  tasksContract,
  unsharedTasksContract,
} from "./tasks_contract.ts";
import type { RefusableTasksUnderTest, TasksUnderTest } from "./tasks_desk.ts";

/** Tasks in memory. */
function inMemory(limits: QueueLimits): TasksUnderTest {
  return { tasks: new MemoryTasks(new TaskQueue(limits)), async [Symbol.asyncDispose]() {} };
}

/** Tasks over a simulated store, which commits when the test goes on. */
class SimulatedTasks implements RefusableTasksUnderTest {
  readonly #limits: QueueLimits;
  readonly #store = new SimulatedStore();
  #commits = new DrivenCommits();
  readonly tasks: Tasks;

  constructor(limits: QueueLimits) {
    this.#limits = limits;
    this.tasks = this.restart();
  }

  goOn(): void {
    this.#commits.commit(this.#store.commit());
  }

  restart(): Tasks {
    this.#store.restart();
    const queue = new TaskQueue({ ...this.#limits, store: this.#store });
    for (const kept of this.#store.keptTasks()) queue.restore(kept, 0);
    this.#commits = new DrivenCommits();
    return new StoredTasks(queue, this.#commits);
  }

  setOutcome(outcome: CommitOutcome): void {
    this.#store.outcome = outcome;
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

/** Puts a network before tasks. */
function late(made: TasksUnderTest): TasksUnderTest {
  return {
    tasks: new LateTasks(made.tasks, new Random(testSeed)),
    goOn: () => made.goOn?.(),
    [Symbol.asyncDispose]: () => made[Symbol.asyncDispose](),
  };
}

/** Puts a network before tasks that a store keeps. */
function lateRefusable(made: RefusableTasksUnderTest): RefusableTasksUnderTest {
  return {
    ...late(made),
    restart: () => new LateTasks(made.restart(), new Random(testSeed)),
    setOutcome: (outcome) => made.setOutcome(outcome),
  };
}

/** A test of what comes late: its delays are random. */
function lateTest(name: string, fn: () => Promise<void>): void {
  pureTest(name, () => withSeed(fn));
}

for (const contract of [tasksContract, unsharedTasksContract]) {
  contract("MemoryTasks", inMemory, pureTest);
  contract("late MemoryTasks", (options) => late(inMemory(options)), lateTest);
}

for (
  const contract of [tasksContract, unsharedTasksContract, keptTasksContract, refusedTasksContract]
) {
  contract("StoredTasks", (options) => new SimulatedTasks(options), pureTest);
  contract(
    "late StoredTasks",
    (options) => lateRefusable(new SimulatedTasks(options)),
    lateTest,
  );
}
