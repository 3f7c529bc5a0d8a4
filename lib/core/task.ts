/**
 * What a task is. Which of two comes first is decided in task_queue.ts.
 *
 * @module
 */

/** How urgent a task is: 1 HIGH, 2 MEDIUM, 3 LOW. */
export type Priority = 1 | 2 | 3;

/** Every priority, the most urgent first. */
export const priorities: readonly Priority[] = [1, 2, 3];

/** A task as a producer describes it. */
export interface TaskDescription {
  /** Tasks of priority 1 are handed out before those of 2, and those of 2 before those of 3. */
  readonly priority: Priority;
  /** The task's name: 1 to 255 bytes of UTF-8 without blanks. Several tasks may share one. */
  readonly taskId: string;
  /** Seconds of work, as text: `3.0` must reach the consumer as `3.0`. */
  readonly duration: string;
  /** Data for whoever does the task: one JSON object or array, as it was sent. */
  readonly payload?: string;
}

/** A task that the server has accepted. */
export interface Task extends TaskDescription {
  /**
   * The task's number in the order in which the server accepted tasks, from 1. A task that comes
   * back keeps it, and so its place in the queue.
   */
  readonly arrival: number;
}
