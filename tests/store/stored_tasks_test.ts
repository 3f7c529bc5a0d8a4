/**
 * Tasks over a real file and group commit keep the contract of tasks.
 *
 * @module
 */

import { stillClock } from "../core/store_contract.ts";
import { StoredTasks } from "../../lib/core/stored_tasks.ts";
import { type QueueLimits, TaskQueue } from "../../lib/core/task_queue.ts";
import type { Tasks } from "../../lib/core/tasks.ts";
import { GroupCommit } from "../../lib/store/group_commit.ts";
import { SqliteStore } from "../../lib/store/sqlite_store.ts";
import { keptTasksContract, tasksContract } from "../core/tasks_contract.ts";
import type { KeptTasksUnderTest } from "../core/tasks_desk.ts";

/** Tasks in a file of their own, which commit by themselves. */
class FiledTasks implements KeptTasksUnderTest {
  readonly #limits: QueueLimits;
  readonly #folder = Deno.makeTempDirSync({ prefix: "stored tasks " });
  #store: SqliteStore | undefined;
  readonly tasks: Tasks;

  constructor(limits: QueueLimits) {
    this.#limits = limits;
    this.tasks = this.restart();
  }

  restart(): Tasks {
    this.#store?.[Symbol.dispose]();
    this.#store = new SqliteStore(`${this.#folder}/tasks.db`, (line) => {
      throw new Error(line);
    }, { clock: stillClock });
    const queue = new TaskQueue({ ...this.#limits, store: this.#store });
    for (const kept of this.#store.keptTasks()) queue.restore(kept, 0);
    return new StoredTasks(
      queue,
      new GroupCommit(this.#store, (error) => {
        throw error;
      }),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#store?.[Symbol.dispose]();
    await Deno.remove(this.#folder, { recursive: true });
  }
}

tasksContract("StoredTasks in a file", (options) => new FiledTasks(options), Deno.test);
keptTasksContract("StoredTasks in a file", (options) => new FiledTasks(options), Deno.test);
