/**
 * The lines of the console: what happened <-> the line that says so. Pure.
 *
 * ```text
 * server                                      consumer
 *   [Consumer<N> connected]                     Consumer<N> connected [(<worker_name>)]
 *   [Consumer <N> disconnected]                 [REQUEST]
 *   [<n> consumers online]                      [COMPLETE] <task_id>
 *   [CREATE] <priority> <task_id> <duration>    NOTASK
 *   [ASSIGN] <task_id> - consumer<N>          producer
 *   [COMPLETE] <task_id> - consumer<N>          [CREATE] <priority> <task_id> <duration>
 *   [REQUEUE] <task_id> - consumer<N>
 *   [FAIL] <task_id> - consumer<N>
 *   [BURY] <task_id> - consumer<N>            each, last: exit
 *   [READY] <task_id>
 * worker
 *   [COMPLETE] <task_id>                      [FAIL | BURY | RELEASE | LOST] <task_id>: <why>
 * ```
 *
 * docs/console.md is the specification: its table of lines is compared with this module by a test.
 *
 * @module
 */

import type { Priority, TaskDescription } from "./task.ts";

/** What becomes of a task in a consumer's hands. */
export type TaskEventKind = "assigned" | "completed" | "requeued" | "failed" | "buried";

/** What a server says on its console. */
export type ServerEvent =
  | { readonly kind: "connected" | "disconnected"; readonly consumer: number }
  | { readonly kind: "online"; readonly consumers: number }
  | { readonly kind: "created"; readonly task: TaskDescription }
  | { readonly kind: "ready"; readonly taskId: string }
  | { readonly kind: TaskEventKind; readonly taskId: string; readonly consumer: number };

/** What a consumer says on its console. */
export type ConsumerEvent =
  | { readonly kind: "greeted"; readonly consumer: number; readonly workerName?: string }
  | { readonly kind: "asked" | "no task" }
  | { readonly kind: "worked"; readonly taskId: string };

/** What a worker says of a task that it is done with; `why` is one line of printable text. */
export type WorkerEvent =
  | { readonly kind: "completed"; readonly taskId: string }
  | { readonly kind: UncompletedKind; readonly taskId: string; readonly why: string };

/** What becomes of a task that a worker does not complete. */
export type UncompletedKind = "failed" | "buried" | "released" | "lost";

const taskWords: Readonly<Record<TaskEventKind, string>> = {
  assigned: "ASSIGN",
  completed: "COMPLETE",
  requeued: "REQUEUE",
  failed: "FAIL",
  buried: "BURY",
};
const taskKinds = new Map(
  Object.entries(taskWords).map(([kind, word]) => [word, kind as TaskEventKind]),
);

/** Writes an event of a server, or of a producer that has sent a task, as its line. */
export function formatServerEvent(event: ServerEvent): string {
  switch (event.kind) {
    case "connected":
      return `[Consumer${event.consumer} connected]`;
    case "disconnected":
      return `[Consumer ${event.consumer} disconnected]`;
    case "online":
      return `[${event.consumers} consumers online]`;
    case "created":
      return `[CREATE] ${event.task.priority} ${event.task.taskId} ${event.task.duration}`;
    case "ready":
      return `[READY] ${event.taskId}`;
    default:
      return `[${taskWords[event.kind]}] ${event.taskId} - consumer${event.consumer}`;
  }
}

/** Reads a line of a server's console; undefined if it is none. */
export function parseServerEvent(line: string): ServerEvent | undefined {
  const peer = /^\[Consumer( ?)(\d+) (connected|disconnected)\]$/.exec(line);
  if (peer !== null) {
    const kind = peer[3] as "connected" | "disconnected";
    const isAsWritten = (peer[1] === " ") === (kind === "disconnected");
    return isAsWritten ? { kind, consumer: Number(peer[2]) } : undefined;
  }
  const online = /^\[(\d+) consumers online\]$/.exec(line);
  if (online !== null) return { kind: "online", consumers: Number(online[1]) };
  const created = /^\[CREATE\] ([123]) ([^ ]+) ([^ ]+)$/.exec(line);
  if (created !== null) {
    const [priority, taskId, duration] = created.slice(1) as [string, string, string];
    return { kind: "created", task: { priority: Number(priority) as Priority, taskId, duration } };
  }
  const ready = /^\[READY\] ([^ ]+)$/.exec(line);
  if (ready !== null) return { kind: "ready", taskId: ready[1] as string };
  const task = /^\[([A-Z]+)\] ([^ ]+) - consumer(\d+)$/.exec(line);
  const kind = taskKinds.get(task?.[1] ?? "");
  if (task === null || kind === undefined) return undefined;
  return { kind, taskId: task[2] as string, consumer: Number(task[3]) };
}

/** Writes an event of a consumer as its line. */
export function formatConsumerEvent(event: ConsumerEvent): string {
  switch (event.kind) {
    case "greeted": {
      const name = event.workerName === undefined ? "" : ` (${event.workerName})`;
      return `Consumer${event.consumer} connected${name}`;
    }
    case "asked":
      return "[REQUEST]";
    case "no task":
      return "NOTASK";
    case "worked":
      return `[COMPLETE] ${event.taskId}`;
    default:
      return event satisfies never;
  }
}

/** Reads a line of a consumer's console; undefined if it is none. */
export function parseConsumerEvent(line: string): ConsumerEvent | undefined {
  if (line === "[REQUEST]") return { kind: "asked" };
  if (line === "NOTASK") return { kind: "no task" };
  const worked = /^\[COMPLETE\] ([^ ]+)$/.exec(line);
  if (worked !== null) return { kind: "worked", taskId: worked[1] as string };
  const greeted = /^Consumer(\d+) connected(?: \((.+)\))?$/.exec(line);
  if (greeted === null) return undefined;
  const [, consumer, workerName] = greeted;
  return {
    kind: "greeted",
    consumer: Number(consumer),
    ...workerName === undefined ? {} : { workerName },
  };
}

const workerWords: Readonly<Record<WorkerEvent["kind"], string>> = {
  completed: taskWords.completed,
  failed: taskWords.failed,
  buried: taskWords.buried,
  released: "RELEASE",
  lost: "LOST",
};
const workerKinds = new Map(
  Object.entries(workerWords).map(([kind, word]) => [word, kind as WorkerEvent["kind"]]),
);

/** Writes an event of a worker as its line. */
export function formatWorkerEvent(event: WorkerEvent): string {
  const line = `[${workerWords[event.kind]}] ${event.taskId}`;
  return event.kind === "completed" ? line : `${line}: ${event.why}`;
}

/** Reads a line of a worker about a task; undefined if it is none. */
export function parseWorkerEvent(line: string): WorkerEvent | undefined {
  const parts = /^\[([A-Z]+)\] ([^ ]+?)(?:: (.*))?$/s.exec(line);
  const kind = workerKinds.get(parts?.[1] ?? "");
  if (parts === null || kind === undefined) return undefined;
  const [, , taskId, why] = parts as unknown as [string, string, string, string | undefined];
  if (kind === "completed") return why === undefined ? { kind, taskId } : undefined;
  return why === undefined ? undefined : { kind, taskId, why };
}
