/**
 * What a task is, and which of two comes first: decided here once.
 *
 * @module
 */

/** How urgent a task is: 1 HIGH, 2 MEDIUM, 3 LOW. */
export type Priority = 1 | 2 | 3;

/** Every priority, the most urgent first. */
export const priorities: readonly Priority[] = [1, 2, 3];

/** What a producer says of a task. */
export interface TaskDescription {
  /** 1 leaves before 2, 2 before 3. */
  readonly priority: Priority;
  /** The task's name, 1 to 255 bytes of UTF-8 without blanks; need not be unique. */
  readonly taskId: string;
  /** Seconds of work, as the producer wrote it: `3.0` stays `3.0`. */
  readonly duration: string;
}

/** A task that the server has accepted. */
export interface Task extends TaskDescription {
  /** The server's counter of accepted tasks, from 1; kept when the task comes back. */
  readonly arrival: number;
}

/** True if `a` must be handed out before `b`: by priority, and within one priority by arrival. */
export function comesBefore(a: Task, b: Task): boolean {
  return a.priority === b.priority ? a.arrival < b.arrival : a.priority < b.priority;
}
