/**
 * The operator's side of the server, or of a front of a cluster: opened if `--http` asks for it.
 *
 * @module
 */

import { type Address, formatAddress } from "../address.ts";
import { version } from "../cli/arguments.ts";
import { CoarseClock, nowMs } from "../clock.ts";
import { ArrivalClock, type Checkpoint } from "../core/arrival_clock.ts";
import type { Inspection } from "../core/inspection.ts";
import type { Histogram } from "../histogram.ts";
import type { StoreState } from "../http/views.ts";
import type { LineOutput } from "../server/serve.ts";
import { ServerStatus } from "../server/status.ts";
import type { Doors, HttpPlace } from "./server_options.ts";

/** What is shown. */
export interface ShownServer extends Pick<Doors, "access" | "secure"> {
  /** The queue. */
  readonly inspection: Inspection;
  /** When earlier tasks arrived, as far as it is known. */
  readonly arrivals: Iterable<Checkpoint>;
  /** Where the tasks are kept; undefined if in memory alone. */
  readonly store: string | undefined;
  /** How it is there. */
  readonly storeState: () => StoreState;
  /** How long its commits took, in seconds. */
  readonly commitSeconds: Histogram;
  /** Most connections. */
  readonly maxConnections: number;
  /** Standard error. */
  readonly errors: LineOutput;
  /** How many event lines were dropped. */
  readonly droppedLines: () => number;
  /** Where producers and consumers connect. */
  readonly producers: Address;
  /** See {@linkcode producers}. */
  readonly consumers: Address;
}

/** An operator's side that is open; when its scope is left, viewers are told, and all is closed. */
export interface OperatorSide extends LineOutput, AsyncDisposable {
  /** What the server is to be told of. */
  readonly status: ServerStatus;
  /** Where the page is. */
  readonly url: string;
  /** The port of that. */
  readonly port: number;
  /** Tells viewers that the server ends. */
  shutDown(): Promise<void>;
}

/**
 * Opens the page, the API and the metrics; what they show is told to `status` and `write`.
 *
 * @throws {UserError} it cannot listen there.
 */
export async function openOperatorSide(
  place: HttpPlace,
  shown: ShownServer,
): Promise<OperatorSide> {
  // Loaded only if it is asked for, but not as late as when somebody comes: Deno 2.9 ends the process
  // if it loads a module and no descriptor is left.
  const { openHttp } = await import("../http/open_http.ts");
  const { inspection, errors, access, secure } = shown;
  const arrivals = new ArrivalClock(shown.arrivals);
  const clock = new CoarseClock();
  const status = new ServerStatus(inspection.queue, { clock, arrivals });
  const write = (line: string) => {
    status.noteProblem(line);
    errors.write(line);
  };
  const [, release = "", deno = ""] = /^(\S+) \(Deno (.*)\)$/.exec(version()) ?? [];
  const { address, shutDown, close } = openHttp({
    ...{ inspection, status },
    server: {
      producers: formatAddress(shown.producers),
      consumers: formatAddress(shown.consumers),
      clientOptions: [
        ...access === undefined ? [] : ["--token-file token"],
        ...secure === undefined ? [] : ["--tls"],
      ],
      version: release,
      deno,
      startedAt: Math.round(Date.now() - nowMs()) / 1000,
      store: shown.store ?? null,
      maxTasks: inspection.queue.maxTasks,
      maxConnections: shown.maxConnections,
      isShared: inspection.isShared,
    },
    storeState: shown.storeState,
    commitSeconds: shown.commitSeconds,
    droppedLines: shown.droppedLines,
    wallMs: Date.now,
    memoryBytes: () => Deno.memoryUsage().rss,
  }, { ...place, access, secure, say: write });
  const scheme = secure === undefined ? "http" : "https";
  const url = `${scheme}://${formatAddress(address)}/`;
  return {
    ...{ status, url, port: address.port, write, shutDown },
    async [Symbol.asyncDispose]() {
      await shutDown();
      close();
      clock[Symbol.dispose]();
    },
  };
}

/** Says where peers connect, where the page is, and who else can. */
export function sayListening(
  { hostname, producers, consumers, access, operator }:
    & Pick<ShownServer, "producers" | "consumers" | "access">
    & { readonly hostname: string; readonly operator: OperatorSide | undefined },
  say: (line: string) => void,
): void {
  say(`listening: producers ${formatAddress(producers)}, consumers ${formatAddress(consumers)}`);
  if (operator !== undefined) say(`page: ${operator.url}`);
  if (access === undefined && !hostname.startsWith("127.")) {
    say(`whoever reaches ${hostname} may create and take tasks: see --token-file`);
  }
}
