/**
 * Lines of output to a terminal, a file or a pipe, written without ever blocking the program.
 *
 * `console.log` writes synchronously. That costs more than handing out a task, and if the reader of
 * a pipe stalls, it stops the whole server. Here {@linkcode EventLog.write} only stores a line. A
 * loop in the background writes what is stored, sleeps for 20 ms while more lines come, and writes
 * again, so that a busy server makes one system call per 20 ms and not one per line.
 *
 * ```text
 *   write(line) --> #lines --> #encoded --> #beingWritten --> the sink, such as Deno.stdout
 *                   strings    bytes        bytes             (its other end is the "reader")
 * ```
 *
 * If the reader does not keep up, new lines are dropped, so that memory stays bounded, and their
 * number is reported. How much is kept before that depends on the reader. It is slow if it has not
 * taken within 250 ms what it was given: then 8 MiB are kept. Otherwise 64 MiB are: within one turn
 * of the event loop a program can produce more than 8 MiB, and no reader, however quick, gets any of
 * it before that turn ends.
 *
 * @module
 */

import { ByteBuffer } from "../byte_buffer.ts";
import { nowMs, sleep, sleepUntil } from "../clock.ts";

/** How long lines are gathered after a write, in milliseconds: people notice delays of 50. */
export const gatherMs = 20;

/**
 * How many lines are kept as strings before they are encoded together. Encoding each line by itself
 * costs twice as much as encoding 16 at once; strings kept for 20 ms are copied by each garbage
 * collection in that time.
 */
const linesPerEncoding = 32;

/** First size of a buffer, in bytes: what 20 ms bring at some 100,000 lines per second. */
const bufferBytes = 64 * 1024;

/** Most characters kept for a slow reader: the events of several minutes on a busy server. */
export const maxUnreadChars = 8 * 1024 * 1024;

/** Most characters kept for a reader that is not slow: two million lines in one turn. */
export const maxBurstChars = 64 * 1024 * 1024;

/** A reader that has not taken within this time what it was given is slow, in milliseconds. */
export const slowReaderMs = 250;

/** How long a program that ends waits for a stalled reader, in milliseconds. */
export const maxFlushMs = 500;

/** What a log writes to, such as `Deno.stdout` or `Deno.stderr`. */
export interface ByteSink {
  /** Writes some of the bytes, and returns how many. */
  write(bytes: Uint8Array): Promise<number>;
}

/** A log of lines, written in the order in which they were added. */
export class EventLog {
  readonly #sink: ByteSink;
  readonly #complain: (line: string) => void;
  /** The newest lines, not encoded yet. */
  #lines: string[] = [];
  /** The lines before those, encoded: the next write takes them. */
  #encoded = new ByteBuffer(bufferBytes);
  /** The oldest lines, which the sink is being given; empty between two writes. */
  #beingWritten = new ByteBuffer(bufferBytes);
  /** Characters in all three, with the LFs. */
  #unreadChars = 0;
  /** Lines in all three. */
  #unreadLines = 0;
  /** Lines dropped so far. */
  #droppedLines = 0;
  /** How many of these were reported. */
  #reportedLines = 0;
  #isReaderSlow = false;
  /** Aborted by the first flush: from then on the loop writes without gathering. */
  readonly #flushed = new AbortController();
  /**
   * When the first flush gives up. It stays set after that, so that later flushes do not wait for the
   * same stalled reader again.
   */
  #flushDeadlineMs: number | undefined;
  /** The background loop, while it has something to write. */
  #writing: Promise<void> | undefined;
  #hasReportedError = false;
  /** True if the reader has gone for good; nothing is written any more. */
  #isBroken = false;

  /**
   * Makes an empty log.
   *
   * @param complain called with a line for the user: once if the sink fails, and when lines were
   * dropped.
   */
  constructor(sink: ByteSink, complain: (line: string) => void = () => {}) {
    this.#sink = sink;
    this.#complain = complain;
  }

  /** How many lines were dropped so far, since their reader was too slow. */
  get droppedLines(): number {
    return this.#droppedLines;
  }

  /**
   * Adds a line, given without its LF. It is written in this turn of the event loop, or, if another
   * was written within the last 20 ms, by the next write. Never blocks, never throws.
   */
  write(line: string): void {
    if (this.#isBroken) return;
    const maxChars = this.#isReaderSlow ? maxUnreadChars : maxBurstChars;
    if (this.#unreadChars + line.length >= maxChars) {
      this.#droppedLines++;
      return;
    }
    this.#unreadChars += line.length + 1;
    this.#unreadLines++;
    if (this.#lines.push(line) === linesPerEncoding) this.#encodeLines();
    this.#writing ??= this.#writeWaiting();
  }

  /**
   * Puts an LF before all lines not yet being written. For a terminal that has just echoed `^C`, so
   * that they do not continue that line.
   */
  startNewLine(): void {
    const before = this.#encoded;
    this.#encoded = new ByteBuffer(bufferBytes);
    this.#encoded.addText("\n");
    this.#encoded.add(before.bytes);
    this.#unreadChars++;
    this.#writing ??= this.#writeWaiting();
  }

  /**
   * Waits until all lines are written, but at most 500 ms. Once a flush has run out of time, later
   * ones do not wait at all. After the first flush lines are no longer gathered.
   */
  async flush(): Promise<void> {
    this.#flushed.abort();
    this.#flushDeadlineMs ??= nowMs() + maxFlushMs;
    const allWritten = new AbortController();
    Promise.resolve(this.#writing).then(() => allWritten.abort());
    const isTimeUp = await sleepUntil(this.#flushDeadlineMs, allWritten.signal);
    if (!isTimeUp) this.#flushDeadlineMs = undefined;
  }

  /** Flushes, gives up what is left, and reports how many lines were dropped. */
  async close(): Promise<void> {
    await this.flush();
    const abandoned = this.#isBroken ? 0 : this.#unreadLines;
    this.#droppedLines += abandoned;
    // "up to": of the lines being written the kernel may have taken some, and does not tell.
    this.#reportDropped(abandoned === 0 ? "" : "up to ");
  }

  #encodeLines(): void {
    if (this.#lines.length === 0) return;
    this.#encoded.addText(this.#lines.join("\n") + "\n");
    this.#lines = [];
  }

  /** The background loop; ends when nothing is left to write. */
  async #writeWaiting(): Promise<void> {
    // Lines that the same piece of code adds one after the other go out in one write.
    await undefined;
    while (this.#unreadChars > 0 && !this.#isBroken) {
      this.#encodeLines();
      [this.#encoded, this.#beingWritten] = [this.#beingWritten, this.#encoded];
      const chars = this.#unreadChars;
      const lines = this.#unreadLines;
      await this.#writeAll(this.#beingWritten.bytes);
      this.#beingWritten.clear();
      this.#unreadChars -= chars;
      this.#unreadLines -= lines;
      await sleep(gatherMs, this.#flushed.signal);
    }
    this.#writing = undefined;
  }

  /** Gives the sink all bytes, in as many steps as it needs. If it fails, the rest is lost. */
  async #writeAll(bytes: Uint8Array): Promise<void> {
    const taken = new AbortController();
    this.#watchReader(taken.signal);
    try {
      for (let written = 0; written < bytes.length;) {
        written += await this.#sink.write(bytes.subarray(written));
      }
      this.#reportDropped();
    } catch (error) {
      this.#reportError(error);
    } finally {
      taken.abort();
      this.#isReaderSlow = false;
    }
  }

  /** Notes that the reader is slow if `taken` has not come after 250 ms. */
  async #watchReader(taken: AbortSignal): Promise<void> {
    // Two sleeps: after a long turn of the event loop the first timer fires before the finished write
    // is noticed. By the second one it has been.
    for (let step = 0; step < 2; step++) {
      if (!await sleep(slowReaderMs / 2, taken)) return;
    }
    this.#isReaderSlow = true;
  }

  #reportDropped(accuracy = ""): void {
    const lines = this.#droppedLines - this.#reportedLines;
    if (lines === 0) return;
    this.#complain(`${accuracy}${lines} lines of output dropped: their reader is too slow`);
    this.#reportedLines = this.#droppedLines;
  }

  #reportError(error: unknown): void {
    // A reader that has closed its end does not come back; a full disk may have room again.
    this.#isBroken = error instanceof Deno.errors.BrokenPipe;
    if (this.#hasReportedError) return;
    this.#hasReportedError = true;
    const reason = error instanceof Error ? error.message : String(error);
    this.#complain(`cannot write to standard output: ${reason}`);
  }
}
