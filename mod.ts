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
 * @module
 */

export type { ConnectOptions } from "./lib/client/connect_options.ts";
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
