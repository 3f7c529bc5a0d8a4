/**
 * The server: keeps tasks in a priority queue, takes them from producers on one port, hands them
 * out to consumers on another.
 *
 * This is its command line; what it does is lib/server/serve.ts.
 *
 * @module
 */

import { exitCode } from "./lib/cli/arguments.ts";
import { keepPermissions } from "./lib/cli/permissions.ts";
import { type Program, runProgram } from "./lib/cli/program.ts";
import { counted } from "./lib/counted.ts";
import { commitBounds, type TaskStore } from "./lib/core/store.ts";
import type { TaskCounts } from "./lib/core/task_queue.ts";
import { Histogram } from "./lib/histogram.ts";
import type { StoreState } from "./lib/http/views.ts";
import { listen, resolveHost } from "./lib/net/address.ts";
import { openOperatorSide, sayListening } from "./lib/role/operator_side.ts";
import {
  doorsHelp,
  exitHelp,
  httpHelp,
  httpOptions,
  limitsHelp,
  openDoors,
  parseHttp,
  parseLimits,
  parsePorts,
  placeHelp,
  resolveHttp,
  sharedOptions,
} from "./lib/role/server_options.ts";
import { openStore, openTasks } from "./lib/server/open_tasks.ts";
import { serve } from "./lib/server/serve.ts";
import { UsageError } from "./lib/user_error.ts";

const help = `Usage: server <ip> <producer_port> <consumer_port> [options]

Keeps tasks in a priority queue: producers send them, consumers pull them.
Ctrl+C ends it.

${placeHelp}

Options:
${limitsHelp}
  --store <file>         keep the tasks in a file: they survive crash and power loss
  --accept-damaged-store use a store up to the damage in its log; the rest is lost
${httpHelp}
${doorsHelp}

${exitHelp}
Example: server 127.0.0.1 5000 5001`;

async function main({ args, log, errors, stopped }: Program): Promise<number> {
  const [ip, producerPort, consumerPort] = args.positionals as [string, string, string];
  const ports = parsePorts(producerPort, consumerPort);
  const { maxConnections, maxTasks, maxLineBytes } = parseLimits(args);
  const path = args.options.get("store");
  const acceptsDamage = args.flags.has("accept-damaged-store");
  if (acceptsDamage && path === undefined) {
    throw new UsageError("--accept-damaged-store needs --store: it says how to open that file");
  }
  const http = parseHttp(args, ports);
  const say = (line: string) => errors.write(line);
  using store = path === undefined
    ? undefined
    : await openStore(path, { acceptsDamage, complain: say });
  const { access, secure } = await openDoors(args, say);
  const { tasks, inspection, arrivals, failure } = await openTasks({
    maxTasks,
    store,
    signal: stopped,
  });
  let hasFailed = false;
  failure?.catch(() => hasFailed = true);
  if (stopped.aborted) return exitCode.ok;
  // What a server needs from here on is the network alone.
  keepPermissions("net");

  const hostname = await resolveHost(ip, stopped);
  const page = http && await resolveHttp(http, stopped);
  using producers = listen({ hostname, port: ports.producers });
  using consumers = listen({ hostname, port: ports.consumers });
  const place = { producers: producers.addr, consumers: consumers.addr, access };
  await using operator = page && await openOperatorSide(page, {
    ...{ ...place, inspection, arrivals, maxConnections, errors, secure },
    store: path,
    storeState: () => hasFailed ? "failed" : stateOf(store),
    commitSeconds: store?.commitSeconds ?? new Histogram(commitBounds),
    droppedLines: () => log?.droppedLines ?? 0,
  });
  // Neither accepting connections nor serving them needs a permission.
  keepPermissions();
  sayListening({ ...place, hostname, operator }, say);
  if (store !== undefined) {
    errors.write(`store: ${counted(tasks.size, "task")}${byState(tasks.counts)}`);
  }

  stopped.addEventListener("abort", () => void operator?.shutDown());
  await serve({ producers, consumers }, tasks, {
    signal: stopped,
    log,
    errors: operator ?? errors,
    maxConnections,
    maxLineBytes,
    status: operator?.status,
    access,
    secure,
    ...failure === undefined ? {} : { failure },
  });
  access?.close();
  // On a terminal, after the events that it is the sum of.
  await log?.flush();
  if (tasks.size > 0) {
    const left = store === undefined
      ? counted(tasks.size, "waiting task was dropped", "waiting tasks were dropped")
      : `store: ${counted(tasks.size, "task")} kept`;
    errors.write(left + byState(tasks.counts));
  }
  return exitCode.ok;
}

function stateOf(store: TaskStore | undefined): StoreState {
  if (store === undefined) return "none";
  return store.isFull === true ? "full" : "ok";
}

/** How many tasks there are by state; nothing if all are ready. */
function byState({ ready, ...others }: TaskCounts): string {
  const some = Object.entries(others).filter(([, count]) => count > 0);
  if (some.length === 0) return "";
  return `: ${[["ready", ready], ...some].map(([state, count]) => `${count} ${state}`).join(", ")}`;
}

if (import.meta.main) {
  await runProgram({
    program: "server",
    help,
    positionals: { least: 3, most: 3 },
    flags: ["accept-damaged-store"],
    options: ["store", ...sharedOptions, ...httpOptions],
  }, main);
}
