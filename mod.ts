/**
 * The client library of the priority task queue, for Deno, Node (22 and newer) and Bun.
 *
 * A producer creates tasks, and knows of each that the server has it:
 *
 * ```ts
 * import { connectProducer } from "@priority-task-queue/priority-task-queue";
 *
 * const producer = await connectProducer({ port: 5000 });
 * await producer.create({ id: "thumb:42", priority: 1, duration: 3, payload: { path: "/in/42" } });
 * await producer.close();
 * ```
 *
 * A worker calls a function for each task, and completes it when the function has returned:
 *
 * ```ts
 * import { work } from "@priority-task-queue/priority-task-queue";
 *
 * const stop = new AbortController();
 * await work({ port: 5001, concurrency: 4, signal: stop.signal }, async (task) => {
 *   const { path } = task.payload as { path: string };
 *   await fetch(`http://127.0.0.1:8000${path}`, { signal: task.signal });
 * });
 * ```
 *
 * docs/client.md says what each promise means, and what may be done twice when.
 *
 * @module
 */

export type { ConnectOptions } from "./lib/client/connect_options.ts";
export { connectConsumer } from "./lib/client/consumer_client.ts";
export type { Consumer, ConsumerOptions } from "./lib/client/consumer_client.ts";
export type { Task } from "./lib/client/held_task.ts";
export type { TlsOptions } from "./lib/client/transport.ts";
export type { Json } from "./lib/client/json.ts";
export type { NewTask } from "./lib/client/new_task.ts";
export { connectProducer } from "./lib/client/producer_client.ts";
export type { Producer } from "./lib/client/producer_client.ts";
export {
  DisconnectedError,
  LostTaskError,
  QueueError,
  RefusedError,
} from "./lib/client/queue_error.ts";
export { work } from "./lib/client/work.ts";
export type { WorkCount, WorkOptions } from "./lib/client/work.ts";
