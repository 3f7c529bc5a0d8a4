/**
 * What all programs share from start to exit: arguments, output, signals, exit code.
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
 * The signals at which a program ends in order: it finishes with its peers and prints `exit`.
 *
 * SIGHUP says that the terminal has closed. A program started without a terminal ignores it. That
 * needs a listener: `nohup` tells the system to ignore SIGHUP for the program, but Deno overrides
 * this, so that without a listener SIGHUP would end the program.
 */
const stopSignals: readonly Deno.Signal[] = Deno.build.os === "windows"
  ? ["SIGINT", "SIGBREAK"]
  : ["SIGINT", "SIGTERM", "SIGHUP"];

/**
 * A second signal within this many milliseconds of the first is taken for the same key press. Under
 * `deno task` one Ctrl+C reaches the program twice: the terminal signals both, and `deno task`
 * passes its signal on to the program.
 */
const samePressMs = 500;

/** In what a program differs from the others at its end. */
export interface RunOptions {
  /** False if standard output is not the program's own: then no line `exit` goes there. */
  readonly saysExit?: boolean;
  /** False if the program ends itself at a second signal: then `hurried` is aborted instead. */
  readonly endsAtOnce?: boolean;
}

/** What the code of a program (server, producer, consumer) is given to work with. */
export interface Program {
  /** The command line. */
  readonly args: Arguments;
  /** Standard output: only the lines that the documentation promises; undefined with --quiet. */
  readonly log: EventLog | undefined;
  /** Standard error: everything else. */
  readonly errors: EventLog;
  /** Aborts at the first Ctrl+C or SIGTERM, or when the terminal that the program has closes. */
  readonly stopped: AbortSignal;
  /** Aborts at the second one, if the program is not ended by it. */
  readonly hurried: AbortSignal;
}

/**
 * Runs a program from its command line to its exit. It never returns, and `Deno.exit` closes
 * whatever is still open.
 *
 * Each program has `-q, --quiet`, which leaves no line on standard output but `exit`.
 *
 * How the program ends depends on `run`. If `run` returns an exit code, or throws the reason of
 * `stopped`, `exit` is printed as the last line. If it throws a {@linkcode UserError}, only that
 * error's message is printed. A second signal, 500 ms or more after the first, ends the program at
 * once, or the third one if it is the second that `hurried` tells of.
 */
export async function runProgram(
  line: CommandLine,
  run: (program: Program) => Promise<number>,
  { saysExit = true, endsAtOnce = true }: RunOptions = {},
): Promise<never> {
  const errors = new EventLog(Deno.stderr);
  const log = new EventLog(Deno.stdout, (problem) => errors.write(problem));
  const closeLogs = async () => {
    await log.close();
    // Closed last, because closing the log may have reported dropped lines to it.
    await errors.close();
  };
  const fail = async (error: unknown): Promise<never> => {
    const isUsers = error instanceof UserError;
    errors.write(isUsers ? error.message : `${line.program}: internal error: ${String(error)}`);
    await closeLogs();
    Deno.exit(exitCodeOf(error));
  };
  const finish = async (code: number): Promise<never> => {
    // A terminal shows both, and `exit` must be the last line there, too.
    await errors.flush();
    if (saysExit) log.write("exit");
    await closeLogs();
    Deno.exit(code);
  };
  // A bug of ours in a promise that nobody awaits: it ends the program, with one line on stderr.
  globalThis.addEventListener("unhandledrejection", (event) => {
    event.preventDefault();
    fail(event.reason);
  });

  // Asked at the start, since a terminal that has closed no longer counts as one. `nohup` redirects
  // all three of these, so a program under it has no terminal.
  const hasTerminal = [Deno.stdin, Deno.stdout, Deno.stderr].some((end) => end.isTerminal());
  const stop = new AbortController();
  const hurry = new AbortController();
  let pressedMs = -Infinity;
  for (const signal of stopSignals) {
    Deno.addSignalListener(signal, () => {
      if (signal === "SIGHUP" && !hasTerminal) return;
      if (nowMs() - pressedMs < samePressMs) return;
      pressedMs = nowMs();
      const isLast = hurry.signal.aborted || endsAtOnce;
      if (stop.signal.aborted && isLast) Deno.exit(exitCode.interrupted);
      // The terminal has just echoed ^C; what follows must begin on a new line.
      if (signal === "SIGINT" && saysExit && Deno.stdout.isTerminal()) log.startNewLine();
      else if (signal === "SIGINT" && Deno.stderr.isTerminal()) errors.startNewLine();
      (stop.signal.aborted ? hurry : stop).abort();
    });
  }

  try {
    const args = await parseCommandLine(Deno.args, {
      ...line,
      flags: ["quiet", ...line.flags ?? []],
      letters: { q: "quiet", ...line.letters },
    });
    if (typeof args === "string") {
      log.write(args);
      await log.close();
      Deno.exit(exitCode.ok);
    }
    const events = args.flags.has("quiet") ? undefined : log;
    return await finish(
      await run({ args, log: events, errors, stopped: stop.signal, hurried: hurry.signal }),
    );
  } catch (error) {
    const isStopped = stop.signal.aborted && error === stop.signal.reason;
    return await (isStopped ? finish(exitCode.ok) : fail(error));
  }
}
