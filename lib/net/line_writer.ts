/**
 * Lines on their way to a peer: many are handed to the kernel by one write, and it is known which of
 * them it has not taken.
 *
 * A line waits as text until {@linkcode LineWriter.flush}. Then all that wait become one batch of
 * bytes, and the next batch is made when the kernel has taken this one: so at most one write is under
 * way, and a slow peer's lines gather in between.
 *
 * @module
 */

import { ByteBuffer } from "../byte_buffer.ts";
import type { Stream } from "./stream.ts";

const lf = 0x0a;

/** First size of a buffer for a batch, in bytes. */
const bufferBytes = 1024;

/** Most buffers that are kept although no write uses them. */
const maxFreeBuffers = 128;

/** Buffers for the batches of many writers. */
export class BufferPool {
  readonly #free: ByteBuffer[] = [];

  /** An empty buffer. */
  take(): ByteBuffer {
    return this.#free.pop() ?? new ByteBuffer(bufferBytes);
  }

  /** Takes a buffer back for the next batch. */
  give(buffer: ByteBuffer): void {
    buffer.clear();
    if (this.#free.length < maxFreeBuffers) this.#free.push(buffer);
  }
}

/** Sends lines over one stream. */
export class LineWriter {
  readonly #stream: Stream;
  readonly #pool: BufferPool;
  readonly #onError: (error: unknown) => void;
  /** Lines that are in no batch yet, each with its LF. */
  #waiting = "";
  #waitingLines = 0;
  /** The batch that is being written; how many lines it has, and how many bytes the kernel took. */
  #batch: Uint8Array | undefined;
  #batchLines = 0;
  #batchTaken = 0;
  #writing: Promise<void> | undefined;
  #hasFailed = false;

  /**
   * Makes a writer of no lines.
   *
   * @param onError is told once if a write fails; nothing is written from then on.
   */
  constructor(
    stream: Stream,
    options: { readonly pool: BufferPool; readonly onError: (error: unknown) => void },
  ) {
    this.#stream = stream;
    this.#pool = options.pool;
    this.#onError = options.onError;
  }

  /** Adds a line, without its LF, to what the next {@linkcode flush} sends. */
  add(line: string): void {
    this.#waiting += line + "\n";
    this.#waitingLines++;
  }

  /** Starts to write the lines that wait, unless a write is under way, which will go on with them. */
  flush(): void {
    if (this.#waitingLines > 0) this.#writing ??= this.#write();
  }

  /** Whether a write is under way. */
  get isWriting(): boolean {
    return this.#writing !== undefined;
  }

  /** Resolves when the kernel has taken all that was flushed, or a write has failed. */
  async drained(): Promise<void> {
    await this.#writing;
  }

  /** Lines that are in no batch yet. */
  get waitingLines(): number {
    return this.#waitingLines;
  }

  /** Roughly how much has been added and not wholly taken, in characters. */
  get waitingChars(): number {
    return this.#waiting.length + (this.#batch?.length ?? 0);
  }

  /** How many of the last lines added the kernel has not taken to their LF. Cost: O(the batch). */
  get unsentLines(): number {
    let unsent = this.#waitingLines;
    if (this.#batch === undefined) return unsent;
    unsent += this.#batchLines;
    for (
      let i = this.#batch.indexOf(lf);
      i !== -1 && i < this.#batchTaken;
      i = this.#batch.indexOf(lf, i + 1)
    ) {
      unsent--;
    }
    return unsent;
  }

  async #write(): Promise<void> {
    while (this.#waitingLines > 0 && !this.#hasFailed) {
      const buffer = this.#pool.take();
      buffer.addText(this.#waiting);
      const batch = buffer.bytes;
      this.#batch = batch;
      this.#batchLines = this.#waitingLines;
      this.#batchTaken = 0;
      this.#waiting = "";
      this.#waitingLines = 0;
      try {
        while (this.#batchTaken < batch.length) {
          const rest = this.#batchTaken === 0 ? batch : batch.subarray(this.#batchTaken);
          this.#batchTaken += await this.#stream.write(rest);
        }
      } catch (error) {
        this.#hasFailed = true;
        this.#onError(error);
        // Keep the batch: `unsentLines` needs it to tell which lines did not leave.
        return;
      }
      this.#batch = undefined;
      this.#pool.give(buffer);
    }
    this.#writing = undefined;
  }
}
