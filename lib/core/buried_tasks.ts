/**
 * The tasks that are handed out no more until they are kicked.
 *
 * It owns which of several of one name comes first, and the order of the burials.
 *
 * @module
 */

import { Heap } from "../heap.ts";
import { priorities, type Priority, type Task } from "./task.ts";

/** A buried task. */
export interface BuriedTask {
  /** The task. */
  readonly task: Task;
  /** Which burial of this process that was, from 1; 0 if it is not known. */
  readonly burial: number;
}

/** Buried tasks. */
export class BuriedTasks {
  /** By arrival, in the order of the burials. */
  readonly #all = new Map<number, BuriedTask>();
  readonly #byName: Readonly<Record<Priority, Map<string, Heap<Task>>>> = {
    1: new Map(),
    2: new Map(),
    3: new Map(),
  };

  /** How many there are. Cost: O(1). */
  get size(): number {
    return this.#all.size;
  }

  /** All of them, the one buried first first. */
  get all(): IteratorObject<BuriedTask> {
    return this.#all.values();
  }

  /** Adds one, as the last. Cost: O(log n) for n of its name. */
  add(buried: BuriedTask): void {
    const { task } = buried;
    const byName = this.#byName[task.priority];
    let sameName = byName.get(task.taskId);
    if (sameName === undefined) byName.set(task.taskId, sameName = new Heap());
    sameName.push(task, task.arrival);
    this.#all.set(task.arrival, buried);
  }

  /** The arrival of the first task of a name: the most urgent, then the oldest. Cost: O(1). */
  firstNamed(taskId: string): number | undefined {
    const priority = priorities.find((priority) => this.#byName[priority].has(taskId));
    return priority && this.#byName[priority].get(taskId)?.peekKey();
  }

  /** The task with an arrival, if it is here. Cost: O(1). */
  get(arrival: number): BuriedTask | undefined {
    return this.#all.get(arrival);
  }

  /** Takes a task out. Cost: O(n) for n of its name; O(log n) if it is the first of these. */
  remove(arrival: number): Task | undefined {
    const task = this.#all.get(arrival)?.task;
    if (task === undefined) return undefined;
    this.#all.delete(arrival);
    const byName = this.#byName[task.priority];
    const sameName = byName.get(task.taskId) as Heap<Task>;
    sameName.removeAt(sameName.indexOfKey(arrival));
    if (sameName.size === 0) byName.delete(task.taskId);
    return task;
  }
}
