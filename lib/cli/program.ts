/**
 * The life of a program: its arguments, its output, its signals and its exit.
 *
 * @module
 */

import {
  type Arguments,
  type CommandLine,
  exitCode,
  exitCodeOf,
  parseCommandLine,
} from "./arguments.ts";
import { UserError } from "../user_error.ts";
import { nowMs } from "../clock.ts";
import { EventLog } from "./event_log.ts";

/**
 * The signals that end a program in its own order. SIGHUP tells that the terminal has closed: it is
 * listened for, and means nothing to a program that was started without one. Not to listen is no
 * way to leave it to the system: Deno takes SIGHUP for itself, and so would undo `nohup`.
 */
const stopSignals: readonly Deno.Signal[] = Deno.build.os === "windows"
  ? ["SIGINT", "SIGBREAK"]
  : ["SIGINT", "SIGTERM", "SIGHUP"];

/**
 * How long after the first signal another one is the same key press, in milliseconds: at Ctrl+C the
 * terminal signals `deno task` and the program, and `deno task` passes its own signal on.
 */
const samePressMs = 500;

/** What a role's own code works with. */
export interface Program {
  /** The command line. */
  readonly args: Arguments;
  /** Standard output: exactly the lines that users are promised. */
  readonly log: EventLog;
  /** Standard error: everything else. */
  readonly errors: EventLog;
  /** Aborts at the first Ctrl+C or SIGTERM, or when the program's terminal closes. */
  readonly stopped: AbortSignal;
}

/**
 * Runs a program from its command line to its exit, which closes whatever is still open.
 *
 * Prints `exit` as the last line if the program's own code returns an exit code, or gives up a wait
 * by throwing the reason of `stopped`; a {@linkcode UserError} ends it with its message alone. A
 * second signal, 500 ms or more after the first, ends it at once.
 */
export async function runProgram(
  line: CommandLine,
  run: (program: Program) => Promise<number>,
): Promise<never> {
  const errors = new EventLog(Deno.stderr);
  const log = new EventLog(Deno.stdout, (problem) => errors.write(problem));
  const closeLogs = async () => {
    await log.close();
    // After it, because it may have just said there how many lines it dropped.
    await errors.close();
  };
  const fail = async (error: unknown): Promise<never> => {
    const isUsers = error instanceof UserError;
    errors.write(isUsers ? error.message : `${line.program}: internal error: ${String(error)}`);
    await closeLogs();
    Deno.exit(exitCodeOf(error));
  };
  const finish = async (code: number): Promise<never> => {
    // On a terminal `exit` is the last line of both.
    await errors.flush();
    log.write("exit");
    await closeLogs();
    Deno.exit(code);
  };
  // Our own bug in a promise that nobody awaits: said in a line, never silent, no stack trace.
  globalThis.addEventListener("unhandledrejection", (event) => {
    event.preventDefault();
    fail(event.reason);
  });

  // Asked now: one that has closed is none any more. `nohup` leaves none of the three.
  const hasTerminal = [Deno.stdin, Deno.stdout, Deno.stderr].some((end) => end.isTerminal());
  const stop = new AbortController();
  let stoppedMs = Infinity;
  for (const signal of stopSignals) {
    Deno.addSignalListener(signal, () => {
      if (signal === "SIGHUP" && !hasTerminal) return;
      if (nowMs() - stoppedMs >= samePressMs) Deno.exit(exitCode.interrupted);
      if (stop.signal.aborted) return;
      stoppedMs = nowMs();
      // The terminal has just echoed ^C.
      if (signal === "SIGINT" && Deno.stdout.isTerminal()) log.startNewLine();
      else if (signal === "SIGINT" && Deno.stderr.isTerminal()) errors.startNewLine();
      stop.abort();
    });
  }

  try {
    const args = parseCommandLine(Deno.args, line);
    if (typeof args === "string") {
      log.write(args);
      await log.close();
      Deno.exit(exitCode.ok);
    }
    return await finish(await run({ args, log, errors, stopped: stop.signal }));
  } catch (error) {
    const isStopped = stop.signal.aborted && error === stop.signal.reason;
    return await (isStopped ? finish(exitCode.ok) : fail(error));
  }
}
