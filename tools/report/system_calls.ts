/**
 * The socket calls that our executables make, as strace sees them in a short real run.
 *
 * @module
 */

import { join } from "node:path";
import { sleep } from "../../lib/clock.ts";
import { UserError } from "../../lib/user_error.ts";
import { runCommand } from "../tool.ts";

const calls = ["socket", "setsockopt", "bind", "listen", "connect", "accept4", "shutdown", "close"];

/** How long the whole run may take, in milliseconds: it takes about 3 s. */
const runLimitMs = 30_000;

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
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(join(folder, "tasks.txt"), "0.0 1 task1 0.1\n");
    const start = (program: string, ...args: string[]) =>
      new TracedProgram(folder, [join(executables, program), ...args], program);
    const server = start("server", "127.0.0.1", String(ports.producers), String(ports.consumers));
    await server.says("listening:", "stderr");
    const consumer = start("consumer", "127.0.0.1", String(ports.consumers));
    await consumer.says("NOTASK", "stdout");
    const producer = start("producer", "127.0.0.1", String(ports.producers), "tasks.txt");
    await producer.ends();
    await consumer.says("[COMPLETE] task1", "stdout");
    await consumer.interrupt();
    await server.says("[0 consumers online]", "stdout");
    await server.interrupt();
    return {
      server: await server.socketCalls(),
      producer: await producer.socketCalls(),
      consumer: await consumer.socketCalls(),
    };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** A program under strace, its output in files. */
class TracedProgram {
  readonly #folder: string;
  readonly #program: string;
  readonly #end: Promise<string>;

  constructor(folder: string, command: readonly string[], program: string) {
    this.#folder = folder;
    this.#program = program;
    // By a shell: its process id is the program's own, which strace -D keeps the parent of.
    const script = `echo $$ > ${program}.pid; exec strace -D -f -yy -o ${program}.trace ` +
      `-e trace=${calls.join(",")} "$@" > ${program}.stdout 2> ${program}.stderr`;
    this.#end = runCommand("bash", {
      args: ["-c", script, "bash", ...command],
      cwd: folder,
      limitMs: runLimitMs,
    });
  }

  async says(text: string, where: "stdout" | "stderr"): Promise<void> {
    const deadline = performance.now() + runLimitMs;
    while (!(await this.#read(where)).includes(text)) {
      if (performance.now() > deadline) {
        throw new UserError(`${this.#program} under strace never said "${text}"`);
      }
      await sleep(40);
    }
  }

  async interrupt(): Promise<void> {
    Deno.kill(Number(await this.#read("pid")), "SIGINT");
    await this.ends();
  }

  async ends(): Promise<void> {
    await this.#end;
  }

  /** The calls on TCP sockets that succeeded, or are under way as those of a client are. */
  async socketCalls(): Promise<string[]> {
    // strace -D may still be writing its last lines.
    await sleep(300);
    const lines = (await this.#read("trace")).split("\n");
    return lines
      .filter((line) => line.includes("TCP:") && !line.includes("EAGAIN"))
      .map((line) => line.replace(/^\d+ +/, "").replaceAll(/<TCP:\[\d+\]>/g, "<TCP>"));
  }

  async #read(what: string): Promise<string> {
    try {
      return await Deno.readTextFile(join(this.#folder, `${this.#program}.${what}`));
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return "";
      throw error;
    }
  }
}
