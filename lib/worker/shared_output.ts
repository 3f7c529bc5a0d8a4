/**
 * Who may write to the worker's standard output and standard error: one task at a time.
 *
 * @module
 */

/** One of the two streams. */
export type OutputEnd = "stdout" | "stderr";

/** Where bytes go, such as `Deno.stdout`. */
export interface OutputSink {
  /** Writes some of the bytes, and returns how many. */
  write(bytes: Uint8Array): Promise<number>;
}

/** The two streams, and the turn to write to them. */
export class SharedOutput {
  readonly #sinks: Readonly<Record<OutputEnd, OutputSink>>;
  readonly #complain: (problem: string) => void;
  readonly #broken = new Set<OutputEnd>();
  /** Resolves when those who came before have ended their turns. */
  #free: Promise<void> = Promise.resolve();

  /**
   * Makes an output at which it is nobody's turn.
   *
   * @param complain is told once per stream that it cannot be written; nothing more is written to it.
   */
  constructor(
    sinks: Readonly<Record<OutputEnd, OutputSink>>,
    complain: (problem: string) => void,
  ) {
    this.#sinks = sinks;
    this.#complain = complain;
  }

  /** Waits for the turn to write, first come, first served; returns what ends it. */
  async takeTurn(): Promise<() => void> {
    const before = this.#free;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#free = promise;
    await before;
    return resolve;
  }

  /** Writes all bytes to a stream; for the one whose turn it is. Never rejects. */
  async write(end: OutputEnd, bytes: Uint8Array): Promise<void> {
    try {
      for (let written = 0; written < bytes.length && !this.#broken.has(end);) {
        written += await this.#sinks[end].write(bytes.subarray(written));
      }
    } catch (error) {
      if (this.#broken.has(end)) return;
      this.#broken.add(end);
      const name = end === "stdout" ? "output" : "error";
      this.#complain(`cannot write to standard ${name}: ${(error as Error).message}`);
    }
  }
}
