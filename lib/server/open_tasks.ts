/**
 * Makes what keeps a server's tasks: memory alone, or memory and a store.
 *
 * @module
 */

import { nowMs, systemClock } from "../clock.ts";
import type { Checkpoint } from "../core/arrival_clock.ts";
import type { Inspection } from "../core/inspection.ts";
import { MemoryTasks } from "../core/memory_tasks.ts";
import type { TaskStore } from "../core/store.ts";
import { StoredTasks } from "../core/stored_tasks.ts";
import { TaskQueue } from "../core/task_queue.ts";
import type { Tasks } from "../core/tasks.ts";
import { GroupCommit } from "../store/group_commit.ts";

/** How long tasks are read from a store before signals are looked at, in milliseconds. */
const restoreSliceMs = 50;

/** Tasks to serve. */
export interface OpenTasks {
  /** Where sessions' commands go. */
  readonly tasks: Tasks;
  /** What an operator sees of them, and may do. */
  readonly inspection: Inspection;
  /** When kept tasks arrived, as far as it is known. */
  readonly arrivals: Iterable<Checkpoint>;
  /** Rejects when the store has failed; left out if there is none. */
  readonly failure?: Promise<never>;
}

/** Which store is opened, and how. */
export interface StoreOptions {
  /** Whether a damaged log is used up to the damage. */
  readonly acceptsDamage: boolean;
  /** Takes warnings. */
  readonly complain: (line: string) => void;
}

/**
 * Opens a store.
 *
 * @throws {UserError} the file cannot be used.
 */
export async function openStore(path: string, options: StoreOptions): Promise<TaskStore> {
  // At a limit of file sizes a write fails; without a listener it would end the process.
  if (Deno.build.os !== "windows") Deno.addSignalListener("SIGXFSZ", () => {});
  // Loaded only if it is asked for, since SQLite takes 2 ms of a start. By its literal name, which is
  // how `deno compile` knows to embed it.
  const { SqliteStore } = await import("../store/sqlite_store.ts");
  return new SqliteStore(path, options.complain, options);
}

/**
 * Makes the tasks of a server, those first that the store has kept; a signal ends this early.
 *
 * @param options.store is written to from now on; whoever opened it closes it.
 */
export async function openTasks(
  options: {
    readonly maxTasks: number;
    readonly store: TaskStore | undefined;
    readonly signal: AbortSignal;
  },
): Promise<OpenTasks> {
  const { store } = options;
  const queue = new TaskQueue(options);
  if (store === undefined) {
    const tasks = new MemoryTasks(queue);
    return { tasks, inspection: tasks.inspection, arrivals: [] };
  }
  let pauseMs = nowMs() + restoreSliceMs;
  for (const kept of store.keptTasks()) {
    queue.restore(kept);
    if (nowMs() < pauseMs) continue;
    await new Promise<void>((resolve) => systemClock.after(0, resolve));
    if (options.signal.aborted) break;
    pauseMs = nowMs() + restoreSliceMs;
  }
  // What has become due while no server ran was ready before anybody can ask.
  queue.endDelays(nowMs(), { most: Infinity });
  const failure = Promise.withResolvers<never>();
  const commits = new GroupCommit(store, failure.reject);
  const tasks = new StoredTasks(queue, commits);
  const arrivals = store.keptTimes?.() ?? [];
  return { tasks, inspection: tasks.inspection, arrivals, failure: failure.promise };
}
