/**
 * The queue's figures as Prometheus reads them: text format, version 0.0.4. docs/operations.md says
 * what each means, and what to do.
 *
 * The number of series is fixed: no label has a task's name, a peer or a consumer's number.
 *
 * @module
 */

import type { Histogram } from "../histogram.ts";
import { priorities, type Priority } from "../core/task.ts";
import { goneOf } from "../core/task_totals.ts";
import type { Operated } from "./views.ts";

/** The type of the answer; Prometheus 3 refuses one without. */
export const metricsType = "text/plain; version=0.0.4; charset=utf-8";

/** What the HTTP side counts of itself. */
export interface HttpCounts {
  /** Viewers that are connected. */
  readonly viewers: number;
  /** Requests by status code. */
  readonly requests: ReadonlyMap<number, number>;
}

type Labels = Readonly<Record<string, string | number>>;

/** Gathers lines. */
class Metrics {
  readonly #lines: string[] = [];

  /** Adds what has several values, one per set of labels. */
  add(
    kind: "gauge" | "counter",
    name: string,
    options: { readonly help: string; readonly values: Iterable<readonly [Labels, number]> },
  ): void {
    this.#describe(kind, name, options.help);
    for (const [labels, value] of options.values) this.#sample(name, labels, value);
  }

  /** Adds what has one value. */
  one(kind: "gauge" | "counter", name: string, options: { help: string; value: number }): void {
    this.add(kind, name, { help: options.help, values: [[{}, options.value]] });
  }

  /** Adds histograms. */
  histogram(
    name: string,
    options: { readonly help: string; readonly values: Iterable<readonly [Labels, Histogram]> },
  ): void {
    this.#describe("histogram", name, options.help);
    for (const [labels, { bounds, counts, sum }] of options.values) {
      let count = 0;
      for (const [index, bound] of [...bounds, "+Inf"].entries()) {
        count += counts[index] ?? 0;
        this.#sample(`${name}_bucket`, { ...labels, le: bound }, count);
      }
      this.#sample(`${name}_sum`, labels, sum);
      this.#sample(`${name}_count`, labels, count);
    }
  }

  /** All lines. */
  get text(): string {
    return this.#lines.join("\n") + "\n";
  }

  #describe(kind: string, name: string, help: string): void {
    this.#lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${kind}`);
  }

  #sample(name: string, labels: Labels, value: number): void {
    const pairs = Object.entries(labels).map(([label, text]) =>
      `${label}="${String(text).replace(/[\\"\n]/g, (c) => c === "\n" ? "\\n" : `\\${c}`)}"`
    );
    this.#lines.push(`${name}${pairs.length === 0 ? "" : `{${pairs.join(",")}}`} ${value}`);
  }
}

/** Writes all metrics. Cost: 0.1 ms. */
export function formatMetrics(operated: Operated, http: HttpCounts): string {
  // Asked even if no task waits, and no age is told: the waits below are looked at, too.
  const nowMs = operated.status.look();
  const metrics = new Metrics();
  addGauges(metrics, operated, { ...http, nowMs });
  addTaskCounters(metrics, operated);
  addServerCounters(metrics, operated, http);
  metrics.histogram("taskqueue_wait_seconds", {
    help: "From a task's arrival to each of its hand-outs.",
    values: perPriority((priority) => operated.status.waits[priority]),
  });
  metrics.histogram("taskqueue_store_commit_seconds", {
    help: "What the store took for each commit of changes.",
    values: [[{}, operated.commitSeconds]],
  });
  return metrics.text;
}

function perPriority<T>(of: (priority: Priority) => T): (readonly [Labels, T])[] {
  return priorities.map((priority) => [{ priority }, of(priority)]);
}

function perKey(label: string, values: Readonly<Record<string, number>>): [Labels, number][] {
  return Object.entries(values).map(([key, value]) => [{ [label]: key }, value]);
}

function addGauges(
  metrics: Metrics,
  operated: Operated,
  { viewers, nowMs }: HttpCounts & { readonly nowMs: number },
): void {
  const { inspection: { queue, waitingConsumers }, status, server } = operated;
  const { counts, paused } = queue;
  const gauge = (name: string, help: string, value: number) =>
    metrics.one("gauge", name, { help, value });
  metrics.add("gauge", "taskqueue_build_info", {
    help: "The version, and that of Deno.",
    values: [[{ version: server.version, deno: server.deno }, 1]],
  });
  metrics.add("gauge", "taskqueue_waiting_tasks", {
    help: "Tasks that may be handed out.",
    values: perPriority((priority) => queue.waitingCount(priority)),
  });
  metrics.add("gauge", "taskqueue_oldest_waiting_age_seconds", {
    help: "How long ago the oldest waiting task arrived; 0 if none waits.",
    values: perPriority((priority) => {
      const arrival = queue.oldestArrival(priority);
      return arrival === undefined ? 0 : status.ageSecondsOf(arrival, nowMs);
    }),
  });
  gauge("taskqueue_delayed_tasks", "Tasks whose time has not come.", counts.delayed);
  gauge("taskqueue_reserved_tasks", "Tasks that consumers hold.", counts.reserved);
  gauge("taskqueue_buried_tasks", "Tasks that are handed out no more.", counts.buried);
  gauge("taskqueue_tasks_limit", "The most tasks that the queue takes.", queue.maxTasks);
  metrics.add("gauge", "taskqueue_connections", {
    help: "Open connections.",
    values: perKey("port", {
      producers: status.server.producers,
      consumers: status.consumerCount,
    }),
  });
  gauge("taskqueue_working_consumers", "Consumers that have a task.", status.working);
  gauge("taskqueue_waiting_consumers", "Consumers that wait for a task.", waitingConsumers);
  const { waitingProducers } = status.server;
  gauge("taskqueue_waiting_producers", "Producers that wait for room.", waitingProducers);
  metrics.add("gauge", "taskqueue_paused", {
    help: "1 while an operator has stopped this.",
    values: perKey("what", { creates: Number(paused.creates), requests: Number(paused.requests) }),
  });
  const isFull = Number(operated.storeState() === "full");
  gauge("taskqueue_store_full", "1 while the store has no room for new tasks.", isFull);
  gauge("taskqueue_viewers", "Pages that are open.", viewers);
  gauge("process_start_time_seconds", "When the server started.", server.startedAt);
  const memoryBytes = operated.memoryBytes();
  gauge("process_resident_memory_bytes", "Memory of the process.", memoryBytes);
}

function addTaskCounters(metrics: Metrics, { inspection: { queue } }: Operated): void {
  const { totals } = queue;
  const counter = (name: string, help: string, value: number) =>
    metrics.one("counter", name, { help, value });
  metrics.add("counter", "taskqueue_created_tasks_total", {
    help: "Tasks that producers created.",
    values: perPriority((priority) => totals.created[priority]),
  });
  metrics.add("counter", "taskqueue_handed_out_tasks_total", {
    help: "Tasks that were handed out.",
    values: priorities.flatMap((priority): [Labels, number][] => [
      [{ priority, by: "request" }, totals.requested[priority]],
      [{ priority, by: "reserve" }, totals.reserved[priority]],
    ]),
  });
  const { completed, failed, returned, burials, kicked, removed, emptyRequests } = totals;
  counter("taskqueue_completed_tasks_total", "Reserved tasks that were completed.", completed);
  counter("taskqueue_failed_tasks_total", "Failures that consumers told.", failed);
  metrics.add("counter", "taskqueue_returned_tasks_total", {
    help: "Tasks that came back to the queue without having failed.",
    values: perKey("why", { ...returned }),
  });
  counter("taskqueue_burials_total", "Tasks that were buried.", burials);
  counter("taskqueue_kicks_total", "Buried tasks that were made ready again.", kicked);
  counter("taskqueue_removals_total", "Tasks that an operator removed.", removed);
  counter("taskqueue_empty_requests_total", "Requests without a task to hand out.", emptyRequests);
  counter("taskqueue_restored_tasks_total", "Tasks that a store gave back.", totals.restored);
  const gone = goneOf(totals);
  counter("taskqueue_gone_tasks_total", "Tasks that left the queue for good.", gone);
}

function addServerCounters(metrics: Metrics, operated: Operated, http: HttpCounts): void {
  const { status } = operated;
  metrics.add("counter", "taskqueue_refused_lines_total", {
    help: "Lines of peers that were answered by ERROR.",
    values: perKey("why", status.refused),
  });
  metrics.add("counter", "taskqueue_accepted_connections_total", {
    help: "Connections that were accepted.",
    values: perKey("port", {
      producers: status.accepted.producer,
      consumers: status.accepted.consumer,
    }),
  });
  metrics.one("counter", "taskqueue_turned_away_connections_total", {
    help: "Connections over the limit.",
    value: status.turnedAway,
  });
  metrics.one("counter", "taskqueue_event_lines_dropped_total", {
    help: "Event lines that were not written, since their reader was too slow.",
    value: operated.droppedLines(),
  });
  metrics.add("counter", "taskqueue_http_requests_total", {
    help: "Requests of this side, by their answer.",
    values: [...http.requests].sort(([a], [b]) => a - b)
      .map(([code, count]): [Labels, number] => [{ code }, count]),
  });
}
