/**
 * What a task is, and which of two comes first: decided here once.
 *
 * @module
 */

/** How urgent a task is: 1 HIGH, 2 MEDIUM, 3 LOW. */
export type Priority = 1 | 2 | 3;

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

/** Arrivals are below this: at a million tasks a second, for 70 years. */
const maxArrivals = 2 ** 51;

/**
 * A task's place in the order of handing out, as one number: the least comes first. It orders by
 * priority, and within one priority by arrival. Exact, since it is below 2^53.
 */
export function rankOf({ priority, arrival }: Pick<Task, "priority" | "arrival">): number {
  // Ties break by arrival: a heap is not stable.
  return priority * maxArrivals + arrival;
}

/** The priority and arrival of which {@linkcode rankOf} has made a rank. */
export function readRank(rank: number): Pick<Task, "priority" | "arrival"> {
  return { priority: Math.floor(rank / maxArrivals) as Priority, arrival: rank % maxArrivals };
}

/** True where `a` must be handed out before `b`. */
export function comesBefore(a: Task, b: Task): boolean {
  return rankOf(a) < rankOf(b);
}
