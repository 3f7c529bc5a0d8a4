/**
 * A queue to look at without a server.
 *
 * @module
 */

import { MemoryTasks } from "../../lib/core/memory_tasks.ts";
import { TaskQueue } from "../../lib/core/task_queue.ts";
import { Histogram } from "../../lib/histogram.ts";
import type { Operated, StoreState } from "../../lib/http/views.ts";
import { ServerStatus } from "../../lib/server/status.ts";

/** Makes an empty queue that can be looked at. */
export function makeOperated(
  { nowMs = () => 0, look = nowMs, storeState = "none" }: {
    readonly nowMs?: () => number;
    readonly look?: () => number;
    readonly storeState?: StoreState;
  } = {},
): Operated {
  const { inspection } = new MemoryTasks(new TaskQueue());
  const status = new ServerStatus(inspection.queue, { clock: { nowMs, look } });
  const server = {
    ...{ version: "1", deno: "2", startedAt: 0, producers: "", consumers: "", store: null },
    ...{ clientOptions: [], maxTasks: 1, maxConnections: 1, isShared: false },
  };
  return {
    ...{ inspection, status, server, storeState: () => storeState, wallMs: () => 0 },
    ...{ memoryBytes: () => 0, droppedLines: () => 0, commitSeconds: new Histogram([]) },
  };
}
