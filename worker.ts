/**
 * The worker: asks the server for tasks, and runs a command for each.
 *
 * @module
 */

import { type Address, formatAddress } from "./lib/address.ts";
import { checkHost } from "./lib/net/address.ts";
import { tlsProblemIn } from "./lib/net/tls_problem.ts";
import {
  accessFlags,
  accessHelp,
  accessOptions,
  adviceOn,
  type ClientAccess,
  readClientAccess,
} from "./lib/cli/access_options.ts";
import { exitCode, parsePort, parseWholeNumber } from "./lib/cli/arguments.ts";
import type { Arguments } from "./lib/cli/arguments.ts";
import { keepPermissions } from "./lib/cli/permissions.ts";
import { parseReason, parseToken } from "./lib/core/protocol.ts";
import { UsageError, UserError } from "./lib/user_error.ts";
import { sleep } from "./lib/clock.ts";
import type { EventLog } from "./lib/cli/event_log.ts";
import { type Program, runProgram } from "./lib/cli/program.ts";
import { QueueConsumer } from "./lib/client/consumer_client.ts";
import { NotServedError, QueueError } from "./lib/client/queue_error.ts";
import { Crew, type CrewOptions, type CrewResult } from "./lib/worker/crew.ts";
import { SharedOutput } from "./lib/worker/shared_output.ts";
import { escape, quote } from "./lib/quote.ts";

/** Most commands at a time: the server reserves a tenth of its 10,000 connections for consumers. */
const maxParallel = 1000;

/** How long commands may go on after the first Ctrl+C if nothing else is said, in seconds. */
const defaultGraceSeconds = 25;

/** The longest grace, in seconds: the longest lease. */
const maxGraceSeconds = 24 * 60 * 60;

const help = `Usage: worker <ip> <port> [options] -- <command> [args...]

Runs a command for each task of the server, one at a time. No shell is involved.
Ctrl+C: takes no more tasks, and ends when what runs has ended. Ctrl+C again: gives them back.

  <ip>       IPv4 address or name of the server
  <port>     the server's port for consumers
  <command>  the program to run, found by PATH
  [args...]  its arguments; each {} in them is replaced by the task's name

The command gets TASK_ID, TASK_DURATION and TASK_LEASE (in seconds) and WORKER (its place, 1 to N)
in its environment, and the task's payload, if it has one, on standard input.

  it exits with 0     the task is completed
  75                  it is tried again after 10 s, which does not count
  65                  it is buried: nobody tries it again
  126, 127            the command cannot be run: the task is given back, and the worker ends with 2
  anything else       it failed: tried again after 5, 20, 80 and 320 s, then buried

A command may run for twice the task's duration and 5 s; then it is ended, and its task has
failed. If the worker cannot reach the server it tries again, for ever; see --until-empty.

Options:
  -j, --parallel N     how many commands run at a time (1)
  --tag                begin each line of their output with the task's name
  --touch              let commands run as long as they want: renew the lease meanwhile
  --until-empty        end when no task is ready: with 0 if each that was taken is completed, else
                       with 1; and with 1 if there is no server at the start
  --grace SECONDS      how long commands may go on after Ctrl+C (${defaultGraceSeconds})
${accessHelp}
  -q, --quiet          do not say what became of each task
  -h, --help           print this help
  -V, --version        print the version

Exit codes: 0 ended by Ctrl+C, or empty; 1 failed, or tasks were not completed; 2 wrong arguments,
or a command that cannot be run; 130 tasks were given back at the end

Example: worker 127.0.0.1 5001 -j 4 -- gzip -k -- {}`;

/** What the command line says. */
interface Options {
  readonly ip: string;
  readonly port: number;
  readonly graceMs: number;
  readonly crew: Omit<CrewOptions, "sharedOutput">;
}

async function main({ args, errors, stopped, hurried }: Program): Promise<number> {
  const options = parseOptions(args);
  checkHost(options.ip);
  const address = { hostname: options.ip, port: options.port };
  await requirePermissions(formatAddress(address), options.crew.file);
  const access = await readClientAccess(args, {
    check: parseToken,
    say: (line) => errors.write(line),
  });
  // What it needs from here on is the network, and to run the command.
  keepPermissions("net", "run");

  const consumer = await connect({
    ...address,
    access,
    stopped,
    retries: !options.crew.endsWhenEmpty,
    onDisconnect: (cause, attempt) => {
      // Once per outage.
      if (attempt > 1 || stopped.aborted) return;
      const problem = adviceFor(cause, { ...address, access }) ?? escape(cause.message);
      errors.write(`no connection: ${problem}: trying again until there is one`);
    },
  });
  const crew = new Crew(consumer, {
    ...options.crew,
    sharedOutput: new SharedOutput(
      { stdout: Deno.stdout, stderr: Deno.stderr },
      (problem) => errors.write(problem),
    ),
  });
  // However the program ends, what it has started does not survive it.
  globalThis.addEventListener("unload", () => {
    for (const group of crew.groups) group.signal("SIGKILL");
  });
  const ended = new AbortController();
  const isGraceOver = watchEnd(crew, { ...options, errors, stopped, hurried, ended: ended.signal });
  const result = await crew.run();
  ended.abort();
  await consumer.close();
  return exitCodeFor(result, { ...options, wasHurried: await isGraceOver });
}

/**
 * Stops a crew at the first signal, and hurries it at the second, or when the grace is over.
 *
 * @returns whether it was hurried.
 */
async function watchEnd(
  crew: Crew,
  { errors, stopped, hurried, ended, graceMs }: {
    readonly errors: EventLog;
    readonly stopped: AbortSignal;
    readonly hurried: AbortSignal;
    readonly ended: AbortSignal;
    readonly graceMs: number;
  },
): Promise<boolean> {
  await sleep(Infinity, AbortSignal.any([stopped, ended]));
  if (ended.aborted) return false;
  crew.stop();
  const { running } = crew;
  if (running > 0) {
    const [commands, their] = running === 1 ? ["1 command", "its task"] : [
      `${running} commands`,
      "their tasks",
    ];
    errors.write(
      `waiting for ${commands}, ${graceMs / 1000} s at most; Ctrl+C again gives ${their} back`,
    );
  }
  await sleep(graceMs, AbortSignal.any([hurried, ended]));
  if (ended.aborted) return false;
  crew.hurry();
  return true;
}

function exitCodeFor(
  { uncompleted, problem }: CrewResult,
  { crew, wasHurried }: Options & { readonly wasHurried: boolean },
): number {
  if (problem !== undefined) {
    throw new UsageError(
      `worker: cannot run ${quote(crew.file)}: ${problem} (its task was given back)`,
    );
  }
  if (wasHurried) return exitCode.interrupted;
  return crew.endsWhenEmpty && uncompleted > 0 ? exitCode.failed : exitCode.ok;
}

function parseOptions({ positionals, options, flags, command }: Arguments): Options {
  const [ip, portText] = positionals as [string, string];
  const [file, ...args] = command as [string, ...string[]];
  const number = (name: string, fallback: number, range: { least: number; most: number }) =>
    parseWholeNumber(options.get(name) ?? String(fallback), { name: `--${name}`, ...range });
  return {
    ip,
    port: parsePort(portText, "port"),
    graceMs: 1000 * number("grace", defaultGraceSeconds, { least: 0, most: maxGraceSeconds }),
    crew: {
      file,
      args,
      size: number("parallel", 1, { least: 1, most: maxParallel }),
      isTagged: flags.has("tag"),
      touches: flags.has("touch"),
      endsWhenEmpty: flags.has("until-empty"),
      isQuiet: flags.has("quiet"),
    },
  };
}

/** Checks once what would otherwise fail with each task. */
async function requirePermissions(address: string, command: string): Promise<void> {
  const wanted = [
    { permission: { name: "net", host: address }, what: "network access", flag: "--allow-net" },
    {
      permission: { name: "run", command },
      what: `running ${quote(command)}`,
      flag: "--allow-run",
    },
  ] as const;
  for (const { permission, what, flag } of wanted) {
    const { state } = await Deno.permissions.query(permission);
    if (state !== "granted") throw new UsageError(`${what} is not allowed (run with ${flag})`);
  }
}

/** Where the server is, and what it is shown and asked for. */
interface ServerAccess extends Address {
  readonly access: ClientAccess;
}

/** What the user can do about a server that does not let the worker in; undefined if nothing. */
function adviceFor(error: Error, { access, ...address }: ServerAccess): string | undefined {
  const server = formatAddress(address);
  if (error instanceof NotServedError) {
    const advice = adviceOn(parseReason(error.reason)?.kind, access.token !== undefined);
    return advice && `the server at ${server} ${advice}`;
  }
  const problem = access.tls && tlsProblemIn(error.message);
  return problem && `Cannot connect to ${server}: ${problem}`;
}

/**
 * Connects; tries it again until it succeeds, unless it is to end by itself, or trying again has no
 * use.
 */
async function connect(
  server: ServerAccess & {
    readonly stopped: AbortSignal;
    readonly retries: boolean;
    readonly onDisconnect: (cause: Error, attempt: number) => void;
  },
): Promise<QueueConsumer> {
  const { hostname, port, access: { token, tls }, stopped, retries, onDisconnect } = server;
  // Not `stopped` itself, which would end the client with all that it holds.
  const connecting = new AbortController();
  const abort = () => connecting.abort(stopped.reason);
  stopped.addEventListener("abort", abort);
  try {
    stopped.throwIfAborted();
    let isFirst = true;
    return await QueueConsumer.connect({
      hostname,
      port,
      ...token === undefined ? {} : { token },
      tls: tls ?? false,
      signal: connecting.signal,
      onDisconnect: (cause, attempt) => {
        const isHopeless = adviceFor(cause, server) !== undefined;
        if (isFirst && (!retries || isHopeless)) connecting.abort(cause);
        else onDisconnect(cause, attempt);
      },
    }).finally(() => isFirst = false);
  } catch (error) {
    if (stopped.aborted) throw stopped.reason;
    if (connecting.signal.aborted || error instanceof QueueError) {
      throw new UserError(adviceFor(error as Error, server) ?? escape((error as Error).message));
    }
    throw error;
  } finally {
    stopped.removeEventListener("abort", abort);
  }
}

if (import.meta.main) {
  await runProgram(
    {
      program: "worker",
      help,
      positionals: { least: 2, most: 2 },
      flags: ["tag", "touch", "until-empty", ...accessFlags],
      options: ["parallel", "grace", ...accessOptions],
      letters: { j: "parallel" },
      takesCommand: true,
    },
    main,
    { saysExit: false, endsAtOnce: false },
  );
}
