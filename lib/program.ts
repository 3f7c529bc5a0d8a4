/**
 * The life of a program: its arguments, its output, its signals and its exit.
 *
 * @module
 */

import { type Arguments, type CommandLine, exitCode, parseCommandLine, UserError } from "./cli.ts";
import { EventLog } from "./event_log.ts";

const stopSignals: readonly Deno.Signal[] = Deno.build.os === "windows"
  ? ["SIGINT", "SIGBREAK"]
  : ["SIGINT", "SIGTERM", "SIGHUP"];

/** What a role's own code works with. */
export interface Program {
  /** The command line. */
  readonly args: Arguments;
  /** Standard output: exactly the lines that users are promised. */
  readonly log: EventLog;
  /** Standard error: everything else. */
  readonly errors: EventLog;
  /** Aborts at the first Ctrl+C, SIGTERM or SIGHUP. */
  readonly stopped: AbortSignal;
}

/**
 * Runs a program from its command line to its exit, which closes whatever is still open.
 *
 * Prints `exit` as the last line where the program's own code returns an exit code; a
 * {@linkcode UserError} ends it with its message alone. A second signal ends it at once.
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
    Deno.exit(isUsers ? error.code : exitCode.failed);
  };
  // Our own bug in a promise that nobody awaits: said in a line, never silent, no stack trace.
  globalThis.addEventListener("unhandledrejection", (event) => {
    event.preventDefault();
    fail(event.reason);
  });

  const stop = new AbortController();
  for (const signal of stopSignals) {
    Deno.addSignalListener(signal, () => {
      if (stop.signal.aborted) Deno.exit(exitCode.interrupted);
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
    const code = await run({ args, log, errors, stopped: stop.signal });
    log.write("exit");
    await closeLogs();
    Deno.exit(code);
  } catch (error) {
    return await fail(error);
  }
}
