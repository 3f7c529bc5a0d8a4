/**
 * Runs one command from its start to its end, with whatever it starts.
 *
 * @module
 */

import { nowMs, sleep } from "../clock.ts";
import { escape } from "../quote.ts";
import { ProcessGroup } from "./process_group.ts";
import type { TaskOutput } from "./task_output.ts";
import type { CommandEnd } from "./verdict.ts";

/** How long a command has to end after SIGTERM, in milliseconds; then comes SIGKILL. */
export const killAfterMs = 3000;

/** How long what a command has left behind may go on after it, in milliseconds: `tee` may write. */
const leftoverMs = 1000;

/** What is run, and for how long. */
export interface CommandOptions {
  /** The program, found by PATH if it has no slash. No shell reads it. */
  readonly file: string;
  /** Its arguments, each as it stands. */
  readonly args: readonly string[];
  /** What its environment has beside that of this process. */
  readonly env: Readonly<Record<string, string>>;
  /** What it reads from standard input; nothing if left out. */
  readonly input?: string | undefined;
  /** Where its output goes. */
  readonly output: TaskOutput;
  /** How long it may run, in milliseconds; for ever if left out. */
  readonly timeoutMs?: number | undefined;
  /** Ends it early. */
  readonly stopped: AbortSignal;
  /** The groups that run now; this one is in it while it does. */
  readonly groups: Set<ProcessGroup>;
}

/** Runs a command; resolves when it and all that it has started in its group have ended. */
export async function runCommand(options: CommandOptions): Promise<CommandEnd> {
  const { output, input, groups } = options;
  let child: Deno.ChildProcess;
  try {
    child = new Deno.Command(options.file, {
      args: [...options.args],
      env: { ...options.env },
      detached: true,
      stdin: input === undefined ? "null" : "piped",
      stdout: output.stdio,
      stderr: output.stdio,
    }).spawn();
  } catch (error) {
    return notStarted(error);
  }
  const group = new ProcessGroup(child);
  groups.add(group);
  if (output.stdio === "piped") output.read(child);
  if (input !== undefined) writeInput(child.stdin, input);
  try {
    return await watch(child, group, options);
  } finally {
    groups.delete(group);
  }
}

/** Waits for the end of a command, and sees to it if it does not come. */
async function watch(
  child: Deno.ChildProcess,
  group: ProcessGroup,
  { timeoutMs = Infinity, stopped }: CommandOptions,
): Promise<CommandEnd> {
  const exited = new AbortController();
  const status = child.status.finally(() => exited.abort());
  const startMs = nowMs();
  const isTimedOut = await sleep(timeoutMs, AbortSignal.any([stopped, exited.signal]));
  if (exited.signal.aborted) {
    if (!await group.ended(nowMs() + leftoverMs)) await endGroup(group);
    const { code, signal } = await status;
    return signal === null ? { kind: "exited", code } : { kind: "killed", signal };
  }
  const afterMs = nowMs() - startMs;
  await endGroup(group);
  await status;
  // Whatever it exits with: many programs exit with 0 at SIGTERM.
  return isTimedOut ? { kind: "timed out", afterMs } : { kind: "told to stop" };
}

async function endGroup(group: ProcessGroup): Promise<void> {
  group.signal("SIGTERM");
  if (!await group.ended(nowMs() + killAfterMs)) group.signal("SIGKILL");
}

/** Writes to a command, which need not read it. Never rejects. */
async function writeInput(stdin: WritableStream<Uint8Array>, input: string): Promise<void> {
  try {
    const writer = stdin.getWriter();
    await writer.write(new TextEncoder().encode(input));
    await writer.close();
  } catch {
    // It has closed its standard input, or has ended.
  }
}

function notStarted(error: unknown): CommandEnd {
  if (error instanceof Deno.errors.NotFound) {
    return { kind: "not started", problem: "it is not found", isForGood: true };
  }
  if (error instanceof Deno.errors.NotCapable) {
    const problem = "running it is not allowed (run with --allow-run)";
    return { kind: "not started", problem, isForGood: true };
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    return { kind: "not started", problem: "it cannot be executed", isForGood: true };
  }
  const problem = escape(error instanceof Error ? error.message : String(error));
  return { kind: "not started", problem, isForGood: false };
}
