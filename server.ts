/**
 * The server: keeps tasks in a priority queue, takes them from producers on one port, hands them
 * out to consumers on another.
 *
 * This is its command line; what it does is lib/server/serve.ts.
 *
 * @module
 */

import { type Address, formatAddress } from "./lib/address.ts";
import {
  type Arguments,
  exitCode,
  parsePort,
  parseWholeNumber,
  version,
} from "./lib/cli/arguments.ts";
import { readSmallFile, readTokenFile, warnOfOthers } from "./lib/cli/files.ts";
import { keepPermissions } from "./lib/cli/permissions.ts";
import { type Program, runProgram } from "./lib/cli/program.ts";
import { nowMs } from "./lib/clock.ts";
import { counted } from "./lib/counted.ts";
import { highestMaxLineBytes, maxLineBytes, parseToken } from "./lib/core/protocol.ts";
import { Histogram } from "./lib/histogram.ts";
import { ArrivalClock, type Checkpoint } from "./lib/core/arrival_clock.ts";
import type { Inspection } from "./lib/core/inspection.ts";
import { commitBounds, type TaskStore } from "./lib/core/store.ts";
import { defaultMaxTasks, type TaskCounts } from "./lib/core/task_queue.ts";
import { checkHost, listen, resolveHost } from "./lib/net/address.ts";
import type { SecureStream } from "./lib/net/stream.ts";
import type { Identity } from "./lib/net/tls.ts";
import { Access } from "./lib/server/access.ts";
import { openStore, openTasks } from "./lib/server/open_tasks.ts";
import { defaultMaxConnections, type LineOutput, serve } from "./lib/server/serve.ts";
import { ServerStatus } from "./lib/server/status.ts";
import { quote } from "./lib/quote.ts";
import { UsageError } from "./lib/user_error.ts";

const help = `Usage: server <ip> <producer_port> <consumer_port> [options]

Keeps tasks in a priority queue: producers send them, consumers pull them.
Ctrl+C ends it.

  <ip>             IPv4 address or name to listen on; 0.0.0.0 is every address
  <producer_port>  port for producers; 0 lets the system choose
  <consumer_port>  port for consumers; 0 lets the system choose

Options:
  -q, --quiet            print no event lines
  --max-connections <n>  most connections, both ports together (${defaultMaxConnections})
  --max-tasks <n>        most tasks in the queue; producers wait beyond (${defaultMaxTasks})
  --max-line <bytes>     longest line, and so payload, of a peer (${maxLineBytes}; at most ${highestMaxLineBytes})
  --store <file>         keep the tasks in a file: they survive crash and power loss
  --accept-damaged-store use a store up to the damage in its log; the rest is lost
  --http <[ip:]port>     a page that shows the queue, and metrics; ip 127.0.0.1 if left out
  --http-host <names>    names of the page's server, comma-separated: behind a proxy
  --token-file <file>    serve only those who say the token in this file
  --tls-cert <file>      speak TLS on both ports, with this certificate (PEM) ...
  --tls-key <file>       ... and its key
  -h, --help             print this help
  -V, --version          print the version

Exit codes: 0 ended by Ctrl+C, 1 failed, 2 wrong arguments, 130 by a second Ctrl+C
Example: server 127.0.0.1 5000 5001`;

async function main({ args, log, errors, stopped }: Program): Promise<number> {
  const [ip, producerPort, consumerPort] = args.positionals as [string, string, string];
  const ports = {
    producers: parsePort(producerPort, "producer_port", { least: 0 }),
    consumers: parsePort(consumerPort, "consumer_port", { least: 0 }),
  };
  if (ports.producers === ports.consumers && ports.producers !== 0) {
    throw new UsageError(
      `producer_port and consumer_port must differ, got ${ports.producers} twice`,
    );
  }
  const limit = (name: string, standard: number, { least = 1, most = 100_000_000 } = {}) =>
    parseWholeNumber(args.options.get(name) ?? String(standard), {
      name: `--${name}`,
      least,
      most,
    });
  const maxConnections = limit("max-connections", defaultMaxConnections);
  const maxTasks = limit("max-tasks", defaultMaxTasks);
  const maxLine = limit("max-line", maxLineBytes, {
    least: maxLineBytes,
    most: highestMaxLineBytes,
  });

  const path = args.options.get("store");
  const acceptsDamage = args.flags.has("accept-damaged-store");
  if (acceptsDamage && path === undefined) {
    throw new UsageError("--accept-damaged-store needs --store: it says how to open that file");
  }
  const tokenFile = args.options.get("token-file");
  const http = parseHttp(args.options);
  using store = path === undefined ? undefined : await openStore(path, {
    acceptsDamage,
    complain: (line) => errors.write(line),
  });
  const say = (line: string) => errors.write(line);
  const access = tokenFile === undefined
    ? undefined
    : await Access.of(await readTokenFile(tokenFile, { check: parseToken, say }), { say });
  const identity = await readIdentity(args, say);
  const secure = identity && await openTls(identity, say);
  const { tasks, inspection, arrivals, failure } = await openTasks({
    maxTasks,
    store,
    signal: stopped,
  });
  if (stopped.aborted) return exitCode.ok;
  // What a server needs from here on is the network alone.
  keepPermissions("net");

  const hostname = await resolveHost(ip, stopped);
  using producers = listen({ hostname, port: ports.producers });
  using consumers = listen({ hostname, port: ports.consumers });
  const operator = http === undefined ? undefined : await openOperatorSide(http, {
    ...{ inspection, arrivals, store, failure, path, maxConnections, errors, access, identity },
    droppedLines: () => log?.droppedLines ?? 0,
  }, {
    producers: formatAddress(producers.addr),
    consumers: formatAddress(consumers.addr),
  });
  // Neither accepting connections nor serving them needs a permission.
  keepPermissions();
  const addresses = `producers ${formatAddress(producers.addr)}, ` +
    `consumers ${formatAddress(consumers.addr)}`;
  errors.write(`listening: ${addresses}`);
  if (operator !== undefined) {
    const scheme = identity === undefined ? "http" : "https";
    errors.write(`page: ${scheme}://${formatAddress(operator.address)}/`);
  }
  if (access === undefined && !hostname.startsWith("127.")) {
    errors.write(`whoever reaches ${hostname} may create and take tasks: see --token-file`);
  }
  if (store !== undefined) {
    errors.write(`store: ${counted(tasks.size, "task")}${byState(tasks.counts)}`);
  }

  stopped.addEventListener("abort", () => void operator?.shutDown());
  const served = serve({ producers, consumers }, tasks, {
    signal: stopped,
    log,
    errors: operator ?? errors,
    maxConnections,
    maxLineBytes: maxLine,
    status: operator?.status,
    access,
    secure,
    ...failure === undefined ? {} : { failure },
  });
  await served.catch(async (error) => {
    await operator?.shutDown();
    throw error;
  });
  operator?.close();
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

/** Where the operator's side is to listen, and what it is called. */
interface HttpPlace {
  readonly address: Address;
  readonly hosts: readonly string[];
}

/** Reads --http and --http-host; undefined without the first. */
function parseHttp(options: ReadonlyMap<string, string>): HttpPlace | undefined {
  const given = options.get("http");
  const names = options.get("http-host");
  if (given === undefined) {
    if (names === undefined) return undefined;
    throw new UsageError("--http-host needs --http: it says what the page's server is called");
  }
  const colon = given.lastIndexOf(":");
  const hostname = colon === -1 ? "127.0.0.1" : given.slice(0, colon);
  const port = parsePort(given.slice(colon + 1), "--http's port", { least: 0 });
  checkHost(hostname);
  if (!/^127(?:\.\d{1,3}){3}$/.test(hostname) && !options.has("token-file")) {
    throw new UsageError(
      `--http must be on this machine alone, such as 127.0.0.1:8080, got ${
        quote(given)
      }: whoever ` +
        "reaches the page may remove tasks; give --token-file, or use ssh -L 8080:127.0.0.1:8080",
    );
  }
  const hosts = names?.toLowerCase().split(",") ?? [];
  if (!hosts.every((name) => /^[a-z0-9_.-]+$/.test(name))) {
    throw new UsageError(
      "--http-host must be names without ports, such as queue.example,queue, " +
        `got ${quote(names ?? "")}`,
    );
  }
  return { address: { hostname, port }, hosts };
}

/** Opens the page, the API and the metrics; what they show is told to `status` and `write`. */
async function openOperatorSide(
  http: HttpPlace,
  server: {
    readonly inspection: Inspection;
    readonly arrivals: Iterable<Checkpoint>;
    readonly store: TaskStore | undefined;
    readonly failure: Promise<never> | undefined;
    readonly path: string | undefined;
    readonly maxConnections: number;
    readonly errors: LineOutput;
    readonly droppedLines: () => number;
    readonly access: Access | undefined;
    readonly identity: Identity | undefined;
  },
  addresses: { readonly producers: string; readonly consumers: string },
) {
  // Loaded only if it is asked for: it takes 60 ms of a start, and 9 MB.
  const { openHttp } = await import("./lib/http/open_http.ts");
  const { inspection, store, errors, access, identity } = server;
  const arrivals = new ArrivalClock(server.arrivals);
  const status = new ServerStatus(inspection.queue, { nowMs, arrivals });
  const write = (line: string) => {
    status.noteProblem(line);
    errors.write(line);
  };
  let hasFailed = false;
  server.failure?.catch(() => hasFailed = true);
  const [, release = "", deno = ""] = /^(\S+) \(Deno (.*)\)$/.exec(version()) ?? [];
  const open = await openHttp({
    inspection,
    status,
    server: {
      ...addresses,
      version: release,
      deno,
      startedAt: Math.round(Date.now() - nowMs()) / 1000,
      store: server.path ?? null,
      maxTasks: inspection.queue.maxTasks,
      maxConnections: server.maxConnections,
    },
    storeState: () =>
      store === undefined ? "none" : hasFailed ? "failed" : store.isFull === true ? "full" : "ok",
    commitSeconds: store?.commitSeconds ?? new Histogram(commitBounds),
    droppedLines: server.droppedLines,
    wallMs: Date.now,
    memoryBytes: () => Deno.memoryUsage().rss,
  }, { ...http, access, identity, say: write });
  return { ...open, status, write };
}

/** Reads the certificate and its key; undefined if TLS is not asked for. */
async function readIdentity(
  { options }: Arguments,
  say: (line: string) => void,
): Promise<Identity | undefined> {
  const [certFile, keyFile] = [options.get("tls-cert"), options.get("tls-key")];
  if (certFile === undefined && keyFile === undefined) return undefined;
  if (certFile === undefined) throw new UsageError("--tls-key needs --tls-cert");
  if (keyFile === undefined) throw new UsageError("--tls-cert needs --tls-key");
  const identity = { cert: await readSmallFile(certFile), key: await readSmallFile(keyFile) };
  warnOfOthers(keyFile, say);
  return identity;
}

/** Makes what begins TLS with each peer. */
async function openTls(
  identity: Identity,
  say: (line: string) => void,
): Promise<SecureStream> {
  const { makeSecure } = await import("./lib/net/tls.ts");
  return makeSecure(identity, { nowMs: Date.now(), say });
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
    options: [
      ...["max-connections", "max-tasks", "max-line", "store", "http", "http-host"],
      ...["token-file", "tls-cert", "tls-key"],
    ],
  }, main);
}
