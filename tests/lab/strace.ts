/**
 * strace, attached to a running program: sees its system calls, or lets them fail.
 *
 * @module
 */

import { canRun, Program } from "./processes.ts";

/** An strace that is attached until its scope is left. */
export class Strace implements AsyncDisposable {
  readonly #program: Program;
  readonly #file: string;

  private constructor(pid: number, file: string, options: readonly string[]) {
    this.#file = file;
    this.#program = new Program({
      file: "strace",
      args: ["-f", "-p", String(pid), "-o", file, ...options],
    });
  }

  /**
   * Attaches to a process and all its threads.
   *
   * @param file takes the calls.
   * @param options.calls which calls, as strace's `-e trace=` takes them.
   * @param options.inject what is done to them, as its `-e inject=` takes it.
   */
  static async attach(
    pid: number,
    file: string,
    options: { readonly calls: string; readonly inject?: string },
  ): Promise<Strace> {
    const inject = options.inject === undefined ? [] : ["-e", `inject=${options.inject}`];
    const strace = new Strace(pid, file, ["-e", `trace=${options.calls}`, ...inject]);
    try {
      await strace.#program.stderr.line(/attached/);
      return strace;
    } catch (error) {
      await strace[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Detaches, and returns the calls so far, one a line. */
  async detach(): Promise<string[]> {
    // At SIGTERM it lets go of the program; killed, it would leave it stopped.
    await this.#program.stop("SIGTERM");
    return (await Deno.readTextFile(this.#file)).split("\n").slice(0, -1);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#program.isRunning) await this.#program.stop("SIGTERM");
    await this.#program[Symbol.asyncDispose]();
  }
}

/** Why strace cannot be used here, if it cannot. */
export const noStrace: string | undefined = await canRun("strace", "-V")
  ? undefined
  : "needs strace";
