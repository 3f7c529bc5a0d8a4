/**
 * The tasks that may be handed out, in the order in which they will be: the more urgent first, and of
 * one priority the one that arrived first.
 *
 * It owns that order, and how a task is kept in memory: as a text, since objects would take twice the
 * memory.
 *
 * @module
 */

import { Heap } from "../heap.ts";
import type { Found, ListedTask, Search } from "./listed_task.ts";
import { searchHeap } from "./search_heap.ts";
import { priorities, type Priority, type Task } from "./task.ts";

/** A task with its place in the order. */
export interface PlacedTask {
  /** The task. */
  readonly task: Task;
  /** How many tasks come before it, and one. */
  readonly position: number;
}

/** Ready tasks. */
export class ReadyTasks {
  /** One heap per priority: comparing arrivals is comparing numbers. */
  readonly #heaps: Readonly<Record<Priority, Heap<string>>> = {
    1: new Heap(),
    2: new Heap(),
    3: new Heap(),
  };

  /** How many there are. Cost: O(1). */
  get size(): number {
    return this.#heaps[1].size + this.#heaps[2].size + this.#heaps[3].size;
  }

  /** How many there are of a priority. Cost: O(1). */
  sizeOf(priority: Priority): number {
    return this.#heaps[priority].size;
  }

  /** The arrival of the oldest of a priority; undefined if there is none. Cost: O(1). */
  oldestArrival(priority: Priority): number | undefined {
    return this.#heaps[priority].peekKey();
  }

  /** Adds a task. Cost: O(log n), or O(1) if it comes last of its priority. */
  add(task: Task): void {
    this.#heaps[task.priority].push(toText(task), task.arrival);
  }

  /** Takes out the first task; undefined if there is none. Cost: O(log n). */
  take(): Task | undefined {
    for (const priority of priorities) {
      const task = this.takeFirstOf(priority);
      if (task !== undefined) return task;
    }
    return undefined;
  }

  /** Takes out the first task of a priority; undefined if there is none. Cost: O(log n). */
  takeFirstOf(priority: Priority): Task | undefined {
    const heap = this.#heaps[priority];
    const arrival = heap.peekKey();
    return arrival === undefined
      ? undefined
      : fromText(heap.pop() as string, { priority, arrival });
  }

  /** Takes out a task; undefined if it is not here. Cost: O(n), under a millisecond per million. */
  remove(arrival: number): Task | undefined {
    for (const priority of priorities) {
      const heap = this.#heaps[priority];
      const index = heap.indexOfKey(arrival);
      if (index !== -1) return fromText(heap.removeAt(index), { priority, arrival });
    }
    return undefined;
  }

  /** A task and its place; undefined if it is not here. Cost: O(n), milliseconds per million. */
  find(arrival: number): PlacedTask | undefined {
    let before = 0;
    for (const priority of priorities) {
      const heap = this.#heaps[priority];
      const index = heap.indexOfKey(arrival);
      if (index !== -1) {
        const task = fromText(heap.at(index).item, { priority, arrival });
        return { task, position: before + heap.countBelow(arrival) + 1 };
      }
      before += heap.size;
    }
    return undefined;
  }

  /** The first tasks of some priorities, which stay. Cost: O(k log k) for k tasks. */
  first(wanted: readonly Priority[], most: number): PlacedTask[] {
    const found: PlacedTask[] = [];
    let before = 0;
    for (const priority of priorities) {
      const heap = this.#heaps[priority];
      const entries = wanted.includes(priority) ? heap.first(most - found.length) : [];
      for (const [index, { item, key }] of entries.entries()) {
        const task = fromText(item, { priority, arrival: key });
        found.push({ task, position: before + index + 1 });
      }
      before += heap.size;
    }
    return found;
  }

  /**
   * Looks for tasks by a part of their names, as {@linkcode searchHeap} does.
   *
   * @param toListed makes of a task what is told of it.
   */
  *search(
    { wanted, name, keep }: Search,
    toListed: (task: Task) => ListedTask,
  ): Generator<undefined, Found> {
    const tasks: ListedTask[] = [];
    let [total, searched] = [0, 0];
    for (const priority of priorities.filter((priority) => wanted.includes(priority))) {
      const found = yield* searchHeap(this.#heaps[priority], {
        matches: (text) => isNamed(text, name),
        keep: keep - tasks.length,
      });
      total += found.total;
      searched += found.searched;
      for (const { item, key } of found.first) {
        tasks.push(toListed(fromText(item, { priority, arrival: key })));
      }
    }
    return { total, tasks, searched };
  }
}

/** Whether a text of {@linkcode toText} has a part in its name. */
function isNamed(text: string, part: string): boolean {
  const at = text.indexOf(part);
  return at !== -1 && at + part.length <= text.indexOf(" ");
}

const digit9 = 0x39;

/** A task without its priority and arrival. Neither a task_id nor a duration has blanks. */
function toText({ taskId, duration, payload }: Task): string {
  // join() copies the characters. A slice or concatenation of 13 characters or more only points
  // into its source, so one short name would keep a whole read buffer's text alive.
  return (payload === undefined ? [taskId, duration] : [taskId, duration, payload]).join(" ");
}

function fromText(text: string, place: Pick<Task, "priority" | "arrival">): Task {
  const { priority, arrival } = place;
  const first = text.indexOf(" ");
  const taskId = text.slice(0, first);
  // A duration ends with a digit, and a payload with a bracket or a brace.
  if (text.charCodeAt(text.length - 1) <= digit9) {
    return { priority, taskId, duration: text.slice(first + 1), arrival };
  }
  const second = text.indexOf(" ", first + 1);
  const duration = text.slice(first + 1, second);
  return { priority, taskId, duration, arrival, payload: text.slice(second + 1) };
}
