/**
 * Bytes of a TCP stream -> complete lines of bounded length.
 *
 * Deno std's TextLineStream cuts the lines, at LF and CRLF: the project leaves to the standard
 * library what is in it. What that does not do is done in front of it: it sees only whole
 * lines (so an unended tail is never executed), of at most the permitted length (so memory is
 * bounded), in valid UTF-8.
 *
 * @module
 */

import { TextLineStream } from "@std/streams/text-line-stream";
import { ByteBuffer } from "./byte_buffer.ts";

/** A line that cannot be read: it stands in the place of that line, and only of that one. */
export class UnreadableLine {
  /** One line of printable text that says what is wrong. */
  readonly reason: string;

  /** Makes the stand-in for a line. */
  constructor(reason: string) {
    this.reason = reason;
  }
}

/** A line without its line end, or what stands in for one that cannot be read. */
export type Line = string | UnreadableLine;

const lf = 0x0a;

/** Cuts the bytes of one connection into lines. */
export class LineSplitter {
  readonly #maxLineBytes: number;
  /** The bytes after the last LF; without those of a line already known to be too long. */
  #tail: Uint8Array | undefined;
  #tailIsTooLong = false;

  /**
   * Makes a splitter for one connection.
   *
   * @param maxLineBytes the longest line in bytes, its LF included.
   */
  constructor(maxLineBytes: number) {
    this.#maxLineBytes = maxLineBytes;
  }

  /**
   * Takes the next bytes, cut anywhere, and returns the lines that they complete, in order.
   *
   * A line that is too long or not UTF-8 comes as an {@linkcode UnreadableLine}. The next call must
   * wait for this one. The bytes are read only until it returns.
   */
  split(bytes: Uint8Array): Promise<Line[]> {
    const batch = gatheringBatch;
    const first = batch.lineCount;
    this.#addTo(batch, bytes);
    const end = batch.lineCount;
    if (end === first) return Promise.resolve([]);
    return batch.lines().then((lines) => lines.slice(first, end));
  }

  /** The text after the last LF, or undefined where there is none or it is not readable yet. */
  get unendedText(): string | undefined {
    return this.#tail === undefined ? undefined : decodeStrictly(this.#tail);
  }

  /** Forgets the text after the last LF: its reader has taken it for a message. */
  dropUnended(): void {
    this.#tail = undefined;
  }

  /** Adds the lines that the bytes complete to a batch, and keeps the rest. */
  #addTo(batch: Batch, bytes: Uint8Array): void {
    let lineStart = 0;
    /** The lines before this one that the batch has not got yet: it takes them all at once. */
    let runStart = 0;
    let runLines = 0;
    for (let i = 0; i < bytes.length; i++) {
      if (bytes[i] !== lf) continue;
      const end = i + 1;
      const lineBytes = (this.#tail?.length ?? 0) + end - lineStart;
      if (this.#tailIsTooLong || lineBytes > this.#maxLineBytes) {
        batch.add(bytes.subarray(runStart, lineStart), runLines);
        batch.addUnreadable(`line must have at most ${this.#maxLineBytes} bytes with its LF`);
        runStart = end;
        runLines = 0;
      } else {
        if (this.#tail !== undefined) batch.add(this.#tail, 0);
        runLines++;
      }
      this.#tail = undefined;
      this.#tailIsTooLong = false;
      lineStart = end;
    }
    if (runLines > 0) batch.add(bytes.subarray(runStart, lineStart), runLines);
    if (lineStart < bytes.length) this.#keepTail(bytes.subarray(lineStart));
  }

  #keepTail(bytes: Uint8Array): void {
    if (this.#tailIsTooLong) return;
    const length = (this.#tail?.length ?? 0) + bytes.length;
    if (length >= this.#maxLineBytes) {
      this.#tailIsTooLong = true;
      this.#tail = undefined;
    } else {
      // Copied: the caller reads its next bytes into the same buffer.
      this.#tail = this.#tail === undefined ? bytes.slice() : concat(this.#tail, bytes);
    }
  }
}

/** Stands in the text for a line that cannot be read. */
const emptyLine = Uint8Array.of(lf);

/**
 * The lines that all connections brought in one turn of the event loop.
 *
 * They are decoded and cut in one go, by one TextLineStream: a line alone costs five times one of
 * sixteen, and a stream for each connection would take ten thousand times the memory. The stream
 * gets whole lines only, so that nothing of one batch stays in it for the next.
 */
class Batch {
  #lineCount = 0;
  /** By the place of the line; made when the first one comes, as hardly any does. */
  #unreadable: Map<number, UnreadableLine> | undefined;
  #lines: Promise<Line[]> | undefined;

  /** Lines so far. */
  get lineCount(): number {
    return this.#lineCount;
  }

  /** Adds bytes in which so many lines end. */
  add(bytes: Uint8Array, lineCount: number): void {
    gatheredBytes.add(bytes);
    this.#lineCount += lineCount;
  }

  /** Adds a line that cannot be read. */
  addUnreadable(reason: string): void {
    this.#markUnreadable(this.#lineCount, reason);
    this.add(emptyLine, 1);
  }

  /** All lines, once they are cut; asked for by each connection that has some among them. */
  lines(): Promise<Line[]> {
    if (this.#lines === undefined) {
      this.#lines = this.#cutAfter(lastCut);
      lastCut = this.#lines;
    }
    return this.#lines;
  }

  async #cutAfter(last: Promise<unknown>): Promise<Line[]> {
    // What other connections have read in this turn is added before this goes on.
    await last;
    const text = this.#decode();
    gatheredBytes.clear();
    gatheringBatch = new Batch();
    const lines: Line[] = await cut(text, this.#lineCount);
    this.#unreadable?.forEach((line, index) => lines[index] = line);
    return lines;
  }

  #decode(): string {
    const text = replacingDecoder.decode(gatheredBytes.bytes);
    return text.includes("\ufffd") ? this.#decodeOneByOne() : text;
  }

  /** The slow way, where a line may be bad: it must not cost the others. */
  #decodeOneByOne(): string {
    const bytes = gatheredBytes.bytes;
    let text = "";
    let start = 0;
    for (let index = 0; index < this.#lineCount; index++) {
      const end = bytes.indexOf(lf, start) + 1;
      const line = decodeStrictly(bytes.subarray(start, end));
      if (line === undefined) this.#markUnreadable(index, "line must be valid UTF-8");
      text += line ?? "\n";
      start = end;
    }
    return text;
  }

  #markUnreadable(index: number, reason: string): void {
    this.#unreadable ??= new Map();
    this.#unreadable.set(index, new UnreadableLine(reason));
  }
}

/** The batch that takes what comes in this turn, and its bytes. */
let gatheringBatch = new Batch();
const gatheredBytes = new ByteBuffer(16 * 1024);

/** Settled when the stream is free. */
let lastCut: Promise<unknown> = Promise.resolve();

/** Replaces bad bytes by U+FFFD: half as dear as a strict one, where the text has none. */
const replacingDecoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** Replaces no bad bytes, drops no BOM. */
const strictDecoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function decodeStrictly(bytes: Uint8Array): string | undefined {
  try {
    return strictDecoder.decode(bytes);
  } catch (error) {
    if (error instanceof TypeError) return undefined; // what a fatal decoder throws
    throw error;
  }
}

/** A TextLineStream with both its ends. */
class LineStream {
  readonly #writer: WritableStreamDefaultWriter<string>;
  readonly #reader: ReadableStreamDefaultReader<string>;
  // Two reads wait at any time: with one, the stream's backpressure toggles at each line.
  #next: Promise<ReadableStreamReadResult<string>>;
  #afterNext: Promise<ReadableStreamReadResult<string>>;

  constructor() {
    const stream = new TextLineStream();
    this.#writer = stream.writable.getWriter();
    this.#reader = stream.readable.getReader();
    this.#next = this.#reader.read();
    this.#afterNext = this.#reader.read();
  }

  /** Cuts a text of so many lines; the next call must wait for this one. */
  async cut(text: string, count: number): Promise<string[]> {
    const written = this.#writer.write(text);
    const lines: string[] = [];
    while (lines.length < count) {
      const { value } = await this.#next;
      this.#next = this.#afterNext;
      this.#afterNext = this.#reader.read();
      lines.push(value as string);
    }
    await written;
    return lines;
  }
}

let lineStream: LineStream | undefined;

function cut(text: string, count: number): Promise<string[]> {
  lineStream ??= new LineStream();
  return lineStream.cut(text, count);
}

function concat(first: Uint8Array, second: Uint8Array): Uint8Array {
  const both = new Uint8Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}
