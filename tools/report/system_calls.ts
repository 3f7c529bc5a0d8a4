/**
 * The socket calls that our executables make, as strace sees them in a short real run.
 *
 * @module
 */

import { basename, join } from "node:path";
import { sleep } from "../../lib/clock.ts";
import { UserError } from "../../lib/user_error.ts";
import { Program } from "../../tests/lab/processes.ts";
import { ScratchFolder } from "../../tests/lab/processes.ts";

const calls = ["socket", "setsockopt", "bind", "listen", "connect", "accept4", "shutdown", "close"];

/** The ports of the run. */
const ports = { producers: 9100, consumers: 9101 };

/** The lines of each program, without process ids. */
export interface SystemCalls {
  /** The server's. */
  readonly server: readonly string[];
  /** The producer's. */
  readonly producer: readonly string[];
  /** The consumer's. */
  readonly consumer: readonly string[];
}

/**
 * Runs a server, a consumer and a producer with one task under strace, and ends them by Ctrl+C's
 * signal in the assignment's order.
 *
 * @param executables the folder of server, producer and consumer.
 * @throws {UserError} strace is missing, or a program does not do its part.
 */
export async function traceSystemCalls(executables: string): Promise<SystemCalls> {
  await using scratch = new ScratchFolder("report-");
  const folder = scratch.path;
  await Deno.writeTextFile(join(folder, "tasks.txt"), "0.0 1 task1 0.1\n");
  const start = (program: string, ...args: string[]) =>
    traced(folder, join(executables, program), ...args);
  await using server = start("server", "127.0.0.1", `${ports.producers}`, `${ports.consumers}`);
  await server.stderr.line(/^listening:/);
  await using consumer = start("consumer", "127.0.0.1", `${ports.consumers}`);
  await consumer.stdout.line(/^NOTASK$/);
  await using producer = start("producer", "127.0.0.1", `${ports.producers}`, "tasks.txt");
  await ends(producer);
  await consumer.stdout.line(/^\[COMPLETE\] task1$/);
  await ends(consumer, "SIGINT");
  await server.stdout.line(/^\[0 consumers online\]$/);
  await ends(server, "SIGINT");
  // strace -D may still be writing its last lines.
  await sleep(300);
  const of = (program: string) => socketCalls(traceOf(folder, program));
  return {
    server: await of("server"),
    producer: await of("producer"),
    consumer: await of("consumer"),
  };
}

/** Starts a program under strace; `-D` leaves the process id to the program itself. */
function traced(folder: string, file: string, ...args: readonly string[]): Program {
  const trace = ["-o", traceOf(folder, file), "-e", `trace=${calls.join(",")}`];
  const command = { file: "strace", args: ["-D", "-f", "-yy", ...trace, file, ...args] };
  return new Program(command, { cwd: folder });
}

function traceOf(folder: string, file: string): string {
  return join(folder, `${basename(file)}.trace`);
}

async function ends(program: Program, signal?: Deno.Signal): Promise<void> {
  if (signal !== undefined) program.kill(signal);
  const code = await program.exitCode();
  if (code !== 0) throw new UserError(`${program.name} ended with ${code}: ${program.stderr.text}`);
}

/** The calls on TCP sockets that succeeded, or are under way as those of a client are. */
async function socketCalls(trace: string): Promise<string[]> {
  const lines = (await Deno.readTextFile(trace)).split("\n");
  return lines
    .filter((line) => line.includes("TCP:") && !line.includes("EAGAIN"))
    .map((line) => line.replace(/^\d+ +/, "").replaceAll(/<TCP:\[\d+\]>/g, "<TCP>"));
}
