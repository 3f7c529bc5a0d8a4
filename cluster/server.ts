/**
 * A front: the server's ports and lines over tasks that PostgreSQL keeps, so that any number of
 * fronts serve one queue, and no machine's end loses a confirmed task.
 *
 * This is its command line; what it does is lib/server/serve.ts over engine_tasks.ts.
 *
 * @module
 */

import { exitCode } from "../lib/cli/arguments.ts";
import { readSmallFile, warnOfOthers } from "../lib/cli/files.ts";
import { keepPermissions } from "../lib/cli/permissions.ts";
import { type Program, runProgram } from "../lib/cli/program.ts";
import { nowMs, sleep, systemClock } from "../lib/clock.ts";
import { formatServerEvent } from "../lib/core/events.ts";
import { listen, resolveHost } from "../lib/net/address.ts";
import { commitBounds } from "../lib/core/store.ts";
import { Histogram } from "../lib/histogram.ts";
import {
  openOperatorSide,
  type OperatorSide,
  sayListening,
  type ShownServer,
} from "../lib/role/operator_side.ts";
import {
  type Doors,
  doorsHelp,
  exitHelp,
  httpHelp,
  httpOptions,
  type HttpPlace,
  type Limits,
  limitsHelp,
  openDoors,
  parseHttp,
  parseLimits,
  parsePorts,
  placeHelp,
  resolveHttp,
  sharedOptions,
} from "../lib/role/server_options.ts";
import { serve } from "../lib/server/serve.ts";
import { UsageError, UserError } from "../lib/user_error.ts";
import { describeDurability } from "./durability.ts";
import { Engine, type EngineOptions, GivenUpError, type SweptTask } from "./engine.ts";
import { type EngineAddress, parseEngineAddress } from "./engine_address.ts";
import { EngineInspection } from "./engine_inspection.ts";
import { EngineTasks, type TurnMaker } from "./engine_tasks.ts";
import type { TurnArguments } from "./turn.ts";

const help = `Usage: server <ip> <producer_port> <consumer_port> --engine <url> [options]

A front of a queue that PostgreSQL keeps: any number of fronts serve the same tasks.
Ctrl+C ends it.

${placeHelp}

Options:
  --engine <url>         postgres://user@host1,host2:5433,host3/database[?sslmode=verify-full]
  --engine-password-file <file>  its password; without, the environment's PGPASSWORD
${limitsHelp}
${httpHelp}
${doorsHelp}

${exitHelp}
Example: server 127.0.0.1 5000 5001 --engine postgres://front@10.0.0.1,10.0.0.2,10.0.0.3/queue`;

/** How often a front shows that it lives, and looks for tasks for those who wait. */
const beatMs = 1000;

/** How often fronts that have died are looked for. */
const sweepMs = 5000;

/** How long the engine may take to be told of an orderly end. */
const farewellMs = 4000;

/** How often a port is tried again that this front has just closed, and with which pause. */
const [relistenAttempts, relistenMs] = [20, 100];

/** The command line, read. */
interface Options extends Limits, Doors {
  readonly hostname: string;
  /** Where it has listened once it listens again. */
  readonly ports: { producers: number; consumers: number; http: number };
  readonly http: HttpPlace | undefined;
  readonly engine: EngineAddress;
}

async function main(program: Program): Promise<number> {
  const options = await readOptions(program);
  let isFirst = true;
  while (!program.stopped.aborted) {
    try {
      await serveAsFront(program, options, isFirst);
    } catch (error) {
      if (!(error instanceof GivenUpError)) throw error;
      // What it held is back, and nothing that is not confirmed was promised: begin anew.
      program.errors.write(`engine: ${error.message}: all connections are closed`);
    }
    isFirst = false;
  }
  options.access?.close();
  return exitCode.ok;
}

async function readOptions({ args, errors, stopped }: Program): Promise<Options> {
  const [ip, producerPort, consumerPort] = args.positionals as [string, string, string];
  const ports = parsePorts(producerPort, consumerPort);
  const url = args.options.get("engine");
  if (url === undefined) throw new UsageError("--engine is missing: it says where the tasks are");
  const http = parseHttp(args, ports);
  const options = {
    ...parseLimits(args),
    ...{ http, ports: { ...ports, http: http?.address.port ?? 0 } },
    engine: parseEngineAddress(
      url,
      await readPassword(args.options.get("engine-password-file"), (line) => errors.write(line)),
    ),
    ...await openDoors(args, (line) => errors.write(line)),
  };
  // All files are read. It connects to the engine again and again, with the password that it has.
  keepPermissions("net", "env");
  return {
    ...options,
    hostname: await resolveHost(ip, stopped),
    http: http && await resolveHttp(http, stopped),
  };
}

async function readPassword(
  file: string | undefined,
  say: (line: string) => void,
): Promise<string | undefined> {
  if (file === undefined) return undefined;
  const text = await readSmallFile(file);
  warnOfOthers(file, say);
  return text.replace(/\r?\n$/, "");
}

/** Serves until the signal; ends by an error as soon as the engine does not want this front. */
async function serveAsFront(
  program: Program,
  options: Options,
  isFirst: boolean,
): Promise<void> {
  const { errors, stopped } = program;
  const ended = new AbortController();
  const reach = {
    ...{ address: options.engine, signal: ended.signal },
    say: (line: string) => errors.write(line),
  };
  // Until it is open a signal ends the attempts; from then on it first has the peers go.
  let makeWay = () => {};
  const engine = await Engine.open({ ...reach, opening: stopped, makeWay: () => makeWay() });
  const offerWay = (offered: () => void) => makeWay = offered;
  try {
    const failure = Promise.withResolvers<never>();
    // It is what ends the serving; before that nobody may be there to hear of it.
    failure.promise.catch(() => {});
    const giveUp = () => endWithoutEngine(failure.reject, ended.signal);
    stopped.addEventListener("abort", giveUp, { once: true });
    await serveTurns(program, options, {
      ...{ engine, reach, offerWay, failure, ended: ended.signal, isFirst },
    });
    await Promise.race([engine.close(), sleep(farewellMs)]);
  } finally {
    ended.abort();
    engine.abandon();
  }
}

/** Opens the ports and serves until the signal, or until the failure comes. */
async function serveTurns(
  { log, errors, stopped }: Program,
  options: Options,
  { engine, reach, offerWay, failure, ended, isFirst }: {
    readonly engine: Engine;
    readonly reach: EngineOptions;
    readonly offerWay: (makeWay: () => void) => void;
    readonly failure: PromiseWithResolvers<never>;
    readonly ended: AbortSignal;
    readonly isFirst: boolean;
  },
): Promise<void> {
  const { hostname, ports, access, secure, maxTasks, maxConnections, maxLineBytes } = options;
  using producers = await soon(() => listen({ hostname, port: ports.producers }), isFirst);
  using consumers = await soon(() => listen({ hostname, port: ports.consumers }), isFirst);
  ports.producers = producers.addr.port;
  ports.consumers = consumers.addr.port;
  const epochMs = Date.now() - nowMs();
  const turns = new TimedTurns(engine);
  const tasks = new EngineTasks(turns, { maxTasks, epochMs, onFailure: failure.reject });
  engine.onNotice(() => tasks.notice());
  const place = { producers: producers.addr, consumers: consumers.addr, access };
  const inspection = new EngineInspection(Engine.desk({ ...reach, say: () => {} }), tasks, {
    ...{ maxTasks, epochMs, nowMs, after: systemClock.after, say: reach.say },
  });
  const { http } = options;
  const at = http && { ...http, address: { ...http.address, port: ports.http } };
  await using operator = at && await openSide(at, isFirst, {
    ...{ ...place, inspection, maxConnections, errors, secure: options.secure, arrivals: [] },
    store: `PostgreSQL at ${
      options.engine.hosts.map(({ hostname, port }) => `${hostname}:${port}`).join(", ")
    }`,
    storeState: () => inspection.isSilent ? "silent" : "ok",
    commitSeconds: turns.seconds,
    droppedLines: () => log?.droppedLines ?? 0,
  });
  ports.http = operator?.port ?? 0;
  if (isFirst) {
    sayListening({ ...place, hostname, operator }, reach.say);
    // It may have gone just now, and Ctrl+C must end a front that waits for it.
    const durability = await Promise.race([failure.promise, engine.durability()]);
    reach.say(describeDurability(durability));
  }
  look(tasks, { engine, ended, log, fail: failure.reject });
  const shutDown = () => operator?.shutDown();
  stopped.addEventListener("abort", shutDown, { once: true });
  try {
    await serve({ producers, consumers }, tasks, {
      ...{ signal: stopped, log, maxConnections, maxLineBytes, access, secure },
      errors: operator ?? errors,
      status: operator?.status,
      failure: failure.promise,
      offerWay,
    });
  } finally {
    stopped.removeEventListener("abort", shutDown);
  }
}

/** Times the turns. */
class TimedTurns implements TurnMaker {
  readonly #engine: Engine;
  readonly seconds = new Histogram(commitBounds);

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  async turn(turn: TurnArguments): Promise<string> {
    const startMs = nowMs();
    const receipt = await this.#engine.turn(turn);
    this.seconds.add((nowMs() - startMs) / 1000);
    return receipt;
  }
}

/** Opens the operator's side with figures that are as of now. */
async function openSide(
  http: HttpPlace,
  isFirst: boolean,
  shown: ShownServer & { readonly inspection: EngineInspection },
): Promise<OperatorSide> {
  await shown.inspection.look();
  return await soon(() => openOperatorSide(http, shown), isFirst);
}

/** Shows that this front lives, and gives up others that do not. */
function look(
  tasks: EngineTasks,
  { engine, ended, log, fail }: {
    readonly engine: Engine;
    readonly ended: AbortSignal;
    readonly log: Program["log"];
    readonly fail: (error: unknown) => void;
  },
): void {
  const onSwept = ({ consumer, taskId, isBuried }: SweptTask) =>
    log?.write(formatServerEvent({ kind: isBuried ? "buried" : "requeued", taskId, consumer }));
  Promise.all([beat(tasks, ended), sweep(engine, { signal: ended, onSwept })]).catch(fail);
}

/** Listens. If this front has listened before, the port may be free only in a moment. */
async function soon<T>(open: () => T | Promise<T>, isFirst: boolean): Promise<T> {
  for (let left = isFirst ? 0 : relistenAttempts; left > 0; left--) {
    try {
      return await open();
    } catch {
      await sleep(relistenMs);
    }
  }
  return await open();
}

/** Ends a front that is to end, and waits for an engine that does not answer. */
async function endWithoutEngine(
  fail: (error: unknown) => void,
  signal: AbortSignal,
): Promise<void> {
  if (!await sleep(farewellMs, signal)) return;
  fail(new UserError("engine: no answer: what is held here is ready again in some 15 s"));
}

/** Shows the engine that this front lives, until the signal. */
async function beat(tasks: EngineTasks, signal: AbortSignal): Promise<void> {
  while (await sleep(beatMs, signal)) tasks.beat();
}

/** Gives up fronts that have died, until the signal. */
async function sweep(
  engine: Engine,
  options: {
    readonly signal: AbortSignal;
    readonly onSwept: (task: SweptTask) => void;
  },
): Promise<void> {
  while (await sleep(sweepMs, options.signal)) {
    const swept = await engine.sweep().catch((error) => {
      if (options.signal.aborted) return [];
      throw error;
    });
    for (const task of swept) options.onSwept(task);
  }
}

if (import.meta.main) {
  await runProgram({
    program: "server",
    help,
    positionals: { least: 3, most: 3 },
    options: ["engine", "engine-password-file", ...sharedOptions, ...httpOptions],
  }, main);
}
