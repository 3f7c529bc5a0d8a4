/**
 * A front: the server's ports and lines over tasks that PostgreSQL keeps, so that any number of
 * fronts serve one queue, and no machine's end loses a confirmed task.
 *
 * This is its command line; what it does is lib/server/serve.ts over engine_tasks.ts.
 *
 * @module
 */

import { exitCode } from "../lib/cli/arguments.ts";
import { keepPermissions } from "../lib/cli/permissions.ts";
import { type Program, runProgram } from "../lib/cli/program.ts";
import { nowMs, sleep } from "../lib/clock.ts";
import { formatServerEvent } from "../lib/core/events.ts";
import { listen, resolveHost } from "../lib/net/address.ts";
import { sayListening } from "../lib/role/operator_side.ts";
import {
  type Doors,
  doorsHelp,
  exitHelp,
  type Limits,
  limitsHelp,
  openDoors,
  parseLimits,
  parsePorts,
  placeHelp,
  sharedOptions,
} from "../lib/role/server_options.ts";
import { serve } from "../lib/server/serve.ts";
import { UsageError, UserError } from "../lib/user_error.ts";
import { describeDurability } from "./durability.ts";
import { Engine, GivenUpError } from "./engine.ts";
import { type EngineAddress, parseEngineAddress } from "./engine_address.ts";
import { EngineTasks } from "./engine_tasks.ts";

const help = `Usage: server <ip> <producer_port> <consumer_port> --engine <url> [options]

A front of a queue that PostgreSQL keeps: any number of fronts serve the same tasks.
Ctrl+C ends it.

${placeHelp}

Options:
  --engine <url>         postgres://user@host1,host2:5433,host3/database[?sslmode=verify-full]
  --engine-password-file <file>  its password; without, the environment's PGPASSWORD
${limitsHelp}
${doorsHelp}

${exitHelp}
Example: server 127.0.0.1 5000 5001 --engine postgres://front@10.0.0.1,10.0.0.2,10.0.0.3/queue`;

/** How often a front shows that it lives, and looks for tasks for those who wait. */
const beatMs = 1000;

/** How often fronts that have died are looked for. */
const sweepMs = 5000;

/**
 * How long a front must have been in touch before it gives others up: after an outage all of them
 * look dead.
 */
const inTouchMs = 15_000;

/** How long the engine may take to be told of an orderly end. */
const farewellMs = 4000;

/** How often a port is tried again that this front has just closed, and with which pause. */
const [relistenAttempts, relistenMs] = [20, 100];

/** The command line, read. */
interface Options extends Limits, Doors {
  readonly hostname: string;
  /** Where it has listened once it listens again. */
  readonly ports: { producers: number; consumers: number };
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
  const options = {
    ...parseLimits(args),
    ports: { ...ports },
    engine: parseEngineAddress(url, readPassword(args.options.get("engine-password-file"))),
    ...await openDoors(args, (line) => errors.write(line)),
  };
  // All files are read. It connects to the engine again and again, with the password that it has.
  keepPermissions("net", "env");
  return { ...options, hostname: await resolveHost(ip, stopped) };
}

function readPassword(file: string | undefined): string | undefined {
  if (file === undefined) return undefined;
  try {
    return Deno.readTextFileSync(file).replace(/\r?\n$/, "");
  } catch (error) {
    throw new UserError(`Cannot read --engine-password-file: ${(error as Error).message}`);
  }
}

/** Serves until the signal; ends by an error as soon as the engine does not want this front. */
async function serveAsFront(
  { log, errors, stopped }: Program,
  options: Options,
  isFirst: boolean,
): Promise<void> {
  const ended = new AbortController();
  const say = (line: string) => errors.write(line);
  const { engine: address, hostname, ports } = options;
  // Until it is open a signal ends the attempts; from then on it first has the peers go.
  const engine = await Engine.open({ address, say, signal: ended.signal, opening: stopped });
  try {
    using producers = await soon(() => listen({ hostname, port: ports.producers }), isFirst);
    using consumers = await soon(() => listen({ hostname, port: ports.consumers }), isFirst);
    ports.producers = producers.addr.port;
    ports.consumers = consumers.addr.port;
    const failure = Promise.withResolvers<never>();
    const tasks = new EngineTasks(engine, {
      maxTasks: options.maxTasks,
      epochMs: Date.now() - nowMs(),
      onFailure: failure.reject,
    });
    engine.onNotice(() => tasks.notice());
    const durability = await engine.durability();
    if (isFirst) {
      const place = { producers: producers.addr, consumers: consumers.addr };
      sayListening({ ...place, hostname, access: options.access, operator: undefined }, say);
      say(describeDurability(durability));
    }
    const looping = Promise.all([
      beat(tasks, ended.signal),
      sweep(engine, {
        signal: ended.signal,
        onSwept: ({ consumer, taskId, isBuried }) =>
          log?.write(
            formatServerEvent({ kind: isBuried ? "buried" : "requeued", taskId, consumer }),
          ),
      }),
    ]);
    looping.catch(failure.reject);
    const giveUp = () => endWithoutEngine(failure.reject, ended.signal);
    stopped.addEventListener("abort", giveUp, { once: true });
    await serve({ producers, consumers }, tasks, {
      signal: stopped,
      log,
      errors,
      maxConnections: options.maxConnections,
      maxLineBytes: options.maxLineBytes,
      access: options.access,
      secure: options.secure,
      failure: failure.promise,
    });
    await Promise.race([engine.close(), sleep(farewellMs)]);
  } finally {
    ended.abort();
    engine.abandon();
  }
}

/** Listens. Where this front has listened before, the port may be free only in a moment. */
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
    readonly onSwept: (task: Awaited<ReturnType<Engine["sweep"]>>[number]) => void;
  },
): Promise<void> {
  while (await sleep(sweepMs, options.signal)) {
    if (engine.inTouchMs < inTouchMs) continue;
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
    options: ["engine", "engine-password-file", ...sharedOptions],
  }, main);
}
