/**
 * Lines for a terminal, a file or a pipe, written without ever blocking the program.
 *
 * `console.log` writes synchronously: it costs more than handing out a task, and with a pipe whose
 * reader stalls it stops the server. Here lines are gathered, written asynchronously, and dropped
 * (counted, not silently) when the reader falls too far behind. A burst is no reader's fault: as
 * long as what was handed over is taken soon, nothing is dropped.
 *
 * @module
 */

import { ByteBuffer } from "../byte_buffer.ts";
import { nowMs, sleep, sleepUntil } from "../clock.ts";

/** How long lines are gathered after a write, in milliseconds: readers notice delays of 50. */
export const gatherMs = 20;

/**
 * How many lines are gathered as text before they become bytes: text that stays for 20 ms is copied
 * by the garbage collector again and again, but a line encoded alone costs twice one of sixteen.
 */
const gatherLines = 32;

/** First size of a buffer, in bytes: 20 ms at some 100,000 lines a second. */
const bufferBytes = 64 * 1024;

/** How much may wait for a slow reader, in characters: minutes of events at a brisk rate. */
export const maxWaitingChars = 8 * 1024 * 1024;

/**
 * How much may wait in any case, in characters. A quick reader gets its chance only between two
 * turns of the event loop: this is two million lines that one turn may bring.
 */
export const maxBurstChars = 64 * 1024 * 1024;

/** How long a reader may take for what it was handed before it counts as slow, in milliseconds. */
export const slowReaderMs = 250;

/** How long the end of a program waits for a stalled reader, in milliseconds. */
export const maxFlushMs = 500;

/** What a log writes to: `Deno.stdout`, `Deno.stderr`. */
export interface ByteSink {
  /** Writes some of the bytes and tells how many. */
  write(bytes: Uint8Array): Promise<number>;
}

/** A log of lines, in the order in which they came. */
export class EventLog {
  readonly #sink: ByteSink;
  readonly #complain: (line: string) => void;
  /** The last lines. */
  #lines: string[] = [];
  /** The lines before these. */
  #gathered = new ByteBuffer(bufferBytes);
  /** Is written, or empty. */
  #underWay = new ByteBuffer(bufferBytes);
  /** How much is in all three, with the LFs. */
  #waitingChars = 0;
  #waitingLines = 0;
  #droppedLines = 0;
  /** True while the reader has not taken what it was handed long ago. */
  #isReaderSlow = false;
  readonly #closing = new AbortController();
  /** When the flush under way is given up; kept when it was. */
  #flushEndMs: number | undefined;
  #writing: Promise<void> | undefined;
  #hasComplained = false;
  #isBroken = false;

  /**
   * Makes an empty log.
   *
   * @param complain is told once when the sink fails, and how many lines were dropped.
   */
  constructor(sink: ByteSink, complain: (line: string) => void = () => {}) {
    this.#sink = sink;
    this.#complain = complain;
  }

  /**
   * Adds a line, without its LF. It is written at once, or within 50 ms where another was just
   * written. Never blocks, never throws.
   */
  write(line: string): void {
    if (this.#isBroken) return;
    const mostChars = this.#isReaderSlow ? maxWaitingChars : maxBurstChars;
    if (this.#waitingChars + line.length >= mostChars) {
      this.#droppedLines++;
      return;
    }
    this.#waitingChars += line.length + 1;
    this.#waitingLines++;
    if (this.#lines.push(line) === gatherLines) this.#encodeLines();
    this.#writing ??= this.#writeWaiting();
  }

  /** Starts a new line before what waits: a terminal has just echoed something. */
  startNewLine(): void {
    const before = this.#gathered;
    this.#gathered = new ByteBuffer(bufferBytes);
    this.#gathered.addText("\n");
    this.#gathered.add(before.bytes);
    this.#waitingChars++;
    this.#writing ??= this.#writeWaiting();
  }

  /**
   * Writes what waits, for at most 500 ms; from now on lines are gathered no more. A reader that has
   * used up this time gets none at the next flush.
   */
  async flush(): Promise<void> {
    this.#closing.abort();
    this.#flushEndMs ??= nowMs() + maxFlushMs;
    const flushed = new AbortController();
    Promise.resolve(this.#writing).then(() => flushed.abort());
    if (!await sleepUntil(this.#flushEndMs, flushed.signal)) this.#flushEndMs = undefined;
  }

  /** Flushes, and reports the lines that were given up. */
  async close(): Promise<void> {
    await this.flush();
    const abandoned = this.#isBroken ? 0 : this.#waitingLines;
    this.#droppedLines += abandoned;
    // How many of those under way the kernel has taken is not known.
    this.#reportDropped(abandoned === 0 ? "" : "up to ");
  }

  #encodeLines(): void {
    if (this.#lines.length === 0) return;
    this.#gathered.addText(this.#lines.join("\n") + "\n");
    this.#lines = [];
  }

  async #writeWaiting(): Promise<void> {
    // What is written at the same time stays together.
    await undefined;
    while (this.#waitingChars > 0 && !this.#isBroken) {
      this.#encodeLines();
      [this.#gathered, this.#underWay] = [this.#underWay, this.#gathered];
      const chars = this.#waitingChars;
      const lines = this.#waitingLines;
      await this.#writeAll(this.#underWay.bytes);
      this.#underWay.clear();
      this.#waitingChars -= chars;
      this.#waitingLines -= lines;
      await sleep(gatherMs, this.#closing.signal);
    }
    this.#writing = undefined;
  }

  async #writeAll(bytes: Uint8Array): Promise<void> {
    const taken = new AbortController();
    this.#watchReader(taken.signal);
    try {
      for (let written = 0; written < bytes.length;) {
        written += await this.#sink.write(bytes.subarray(written));
      }
      this.#reportDropped();
    } catch (error) {
      this.#fail(error);
    } finally {
      taken.abort();
      this.#isReaderSlow = false;
    }
  }

  /** Notes that the reader is slow, unless it takes what it was handed in time. */
  async #watchReader(taken: AbortSignal): Promise<void> {
    // In two steps: after a long turn a timer fires before the loop sees that the write was done.
    for (let step = 0; step < 2; step++) {
      if (!await sleep(slowReaderMs / 2, taken)) return;
    }
    this.#isReaderSlow = true;
  }

  #reportDropped(accuracy = ""): void {
    if (this.#droppedLines === 0) return;
    this.#complain(
      `${accuracy}${this.#droppedLines} lines of output dropped: their reader is too slow`,
    );
    this.#droppedLines = 0;
  }

  #fail(error: unknown): void {
    // A reader that has gone does not come back; a full disk may have room again.
    this.#isBroken = error instanceof Deno.errors.BrokenPipe;
    if (this.#hasComplained) return;
    this.#hasComplained = true;
    const reason = error instanceof Error ? error.message : String(error);
    this.#complain(`cannot write to standard output: ${reason}`);
  }
}
