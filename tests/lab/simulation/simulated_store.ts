/**
 * A store in memory, with the failures of a real one: what it promises is what the sessions and the
 * queue rely on. Pure.
 *
 * @module
 */

import type { CommitOutcome, KeptTask, TaskState, TaskStore } from "../../../lib/core/store.ts";
import type { Task } from "../../../lib/core/task.ts";

type Change =
  | { readonly kind: "removed"; readonly task: Task }
  | { readonly kind: "new" | "back" | "updated" | "kicked"; readonly kept: KeptTask };

/** Gathers changes until their commit. */
export class SimulatedStore implements TaskStore {
  /** What becomes of the next commits. */
  outcome: CommitOutcome = "kept";
  #changes: Change[] = [];
  /** What a commit could not keep, and the next one must. */
  #waiting: Change[] = [];
  readonly #kept = new Map<number, KeptTask>();

  /** Notes a new task. */
  add(task: Task, dueMs?: number): void {
    this.#changes.push({ kind: "new", kept: { task, ends: 0, isBuried: false, dueMs } });
  }

  /** Notes a task that came back. */
  addBack(task: Task, ends: number): void {
    this.#changes.push({ kind: "back", kept: { task, ends, isBuried: false, dueMs: undefined } });
  }

  /** Notes a task that is gone. */
  remove(task: Task): void {
    this.#changes.push({ kind: "removed", task });
  }

  /** Notes a task's changed state. */
  update(task: Task, state: TaskState): void {
    this.#changes.push({ kind: "updated", kept: { task, ...state } });
  }

  /** Notes that a buried task is ready again. */
  kick(task: Task): void {
    const state: TaskState = { ends: 0, isBuried: false, dueMs: undefined };
    this.#changes.push({ kind: "kicked", kept: { task, ...state } });
  }

  /** Keeps the changes so far, as {@linkcode outcome} says. */
  commit(): CommitOutcome {
    const { outcome } = this;
    const changes = [...this.#waiting, ...this.#changes];
    this.#changes = [];
    // What the sessions do not take back when a commit fails must be in the next one.
    this.#waiting = outcome === "not kept" ? changes.filter(outlivesFailure) : [];
    if (outcome === "not kept") return outcome;
    for (const change of changes) {
      if (change.kind === "new" && outcome !== "kept") continue;
      this.#apply(change);
    }
    return outcome;
  }

  /** It never fails by itself. */
  watch(): void {}

  /** Keeps what could not be kept before. */
  [Symbol.dispose](): void {
    for (const change of this.#waiting) this.#apply(change);
    this.restart();
  }

  /** Drops what is not kept, as a crash does. */
  restart(): void {
    this.#changes = [];
    this.#waiting = [];
  }

  /** The tasks that are kept, in the order of their arrival. */
  keptTasks(): KeptTask[] {
    return [...this.#kept.values()].sort((a, b) => a.task.arrival - b.task.arrival);
  }

  #apply(change: Change): void {
    switch (change.kind) {
      case "new":
      case "back":
        this.#kept.set(change.kept.task.arrival, change.kept);
        break;
      case "removed":
        this.#kept.delete(change.task.arrival);
        break;
      case "updated":
      case "kicked":
        if (this.#kept.has(change.kept.task.arrival)) {
          this.#kept.set(change.kept.task.arrival, change.kept);
        }
        break;
      default:
        change satisfies never;
    }
  }
}

/** The queue never takes these back; a new task, a removal and a kick it does. */
function outlivesFailure({ kind }: Change): boolean {
  return kind === "back" || kind === "updated";
}
