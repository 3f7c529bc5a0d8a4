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
import { ByteBuffer } from "../byte_buffer.ts";
import { type Line, tooLongReason, UnreadableLine } from "../line.ts";

const lf = 0x0a;

/** Cuts the bytes of one connection into lines. */
export class LineSplitter {
  readonly #maxLineBytes: number;
  readonly #stream: LineCutter;
  /** The bytes after the last LF; without those of a line already known to be too long. */
  #tail: Uint8Array | undefined;
  #tailIsTooLong = false;

  /**
   * Makes a splitter for one connection.
   *
   * @param stream cuts the lines; connections that are served together share one.
   * @param maxLineBytes the longest line in bytes, its LF included.
   */
  constructor(stream: LineCutter, maxLineBytes: number) {
    this.#stream = stream;
    this.#maxLineBytes = maxLineBytes;
  }

  /**
   * Takes the next bytes, cut anywhere, and returns the lines that they complete, in order.
   *
   * A line that is too long or not UTF-8 comes as an {@linkcode UnreadableLine}. The next call must
   * wait for this one. The bytes are read only until it returns.
   */
  split(bytes: Uint8Array): Promise<Line[]> {
    const stream = this.#stream;
    const first = stream.gatheredLines;
    this.#addTo(stream, bytes);
    const end = stream.gatheredLines;
    if (end === first) return Promise.resolve([]);
    return stream.lines().then((lines) => lines.slice(first, end));
  }

  /** The text after the last LF, or undefined if there is none, or it ends within a character. */
  get unendedText(): string | undefined {
    return this.#tail === undefined ? undefined : decodeStrictly(this.#tail);
  }

  /** Forgets the text after the last LF: its reader has taken it for a message. */
  dropUnended(): void {
    this.#tail = undefined;
  }

  /** Adds the lines that the bytes complete, and keeps the rest. */
  #addTo(stream: LineCutter, bytes: Uint8Array): void {
    let lineStart = 0;
    /** Start of the readable lines not yet given to the stream; they are added together. */
    let runStart = 0;
    let runLines = 0;
    for (let i = 0; i < bytes.length; i++) {
      if (bytes[i] !== lf) continue;
      const end = i + 1;
      const lineBytes = (this.#tail?.length ?? 0) + end - lineStart;
      if (this.#tailIsTooLong || lineBytes > this.#maxLineBytes) {
        stream.add(bytes.subarray(runStart, lineStart), runLines);
        stream.addUnreadable(tooLongReason(this.#maxLineBytes));
        runStart = end;
        runLines = 0;
      } else {
        if (this.#tail !== undefined) stream.add(this.#tail, 0);
        runLines++;
      }
      this.#tail = undefined;
      this.#tailIsTooLong = false;
      lineStart = end;
    }
    if (runLines > 0) stream.add(bytes.subarray(runStart, lineStart), runLines);
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

/** Replaces bad bytes by U+FFFD: on good text it takes half the time of a strict decoder. */
const replacingDecoder = new TextDecoder("utf-8", { ignoreBOM: true });
const replacement = "\ufffd";

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

/**
 * One TextLineStream for many connections, and the lines that they have gathered for it.
 *
 * What all connections bring in one turn of the event loop is decoded and cut in one go: a line
 * alone costs five times as much as a line among sixteen, and a stream per connection would take
 * ten thousand times the memory. It gets whole lines only, so nothing of one batch stays for the
 * next.
 */
export class LineCutter {
  readonly #writer: WritableStreamDefaultWriter<string>;
  readonly #reader: ReadableStreamDefaultReader<string>;
  // Two reads wait at any time: with one, the stream's backpressure toggles at each line.
  #next: Promise<ReadableStreamReadResult<string>>;
  #afterNext: Promise<ReadableStreamReadResult<string>>;
  /** Resolves when the batch before is cut. */
  #isFree: Promise<void> = Promise.resolve();

  readonly #gathered = new ByteBuffer(16 * 1024);
  #gatheredLines = 0;
  /** By the line's index in this batch. Made on demand: unreadable lines are rare. */
  #unreadable: Map<number, UnreadableLine> | undefined;
  #lines: Promise<Line[]> | undefined;
  #batches = 0;

  /** Makes the stream; it is cheap enough to be made before the first line comes. */
  constructor() {
    const stream = new TextLineStream();
    this.#writer = stream.writable.getWriter();
    this.#reader = stream.readable.getReader();
    this.#next = this.#reader.read();
    this.#afterNext = this.#reader.read();
  }

  /** How many batches were begun: what is read in the same turn is of the same batch. */
  get batches(): number {
    return this.#batches;
  }

  /** Lines gathered so far. */
  get gatheredLines(): number {
    return this.#gatheredLines;
  }

  /** Adds bytes that contain so many line ends. */
  add(bytes: Uint8Array, lines: number): void {
    this.#gathered.add(bytes);
    this.#gatheredLines += lines;
  }

  /** Adds a line that cannot be read. */
  addUnreadable(reason: string): void {
    this.#markUnreadable(this.#gatheredLines, reason);
    this.add(emptyLine, 1);
  }

  /** All gathered lines, once they are cut; asked for by each connection that has added some. */
  lines(): Promise<Line[]> {
    return this.#lines ??= this.#cutGathered();
  }

  async #cutGathered(): Promise<Line[]> {
    // What other connections have read in this turn is added before this goes on.
    await this.#isFree;
    // From here on new bytes belong to the next batch.
    this.#batches++;
    const text = this.#decode();
    const unreadable = this.#unreadable;
    const lines: Line[] = [];
    const cut = this.#cut(text, this.#gatheredLines, lines);
    this.#isFree = cut;
    this.#gathered.clear();
    this.#gatheredLines = 0;
    this.#unreadable = undefined;
    this.#lines = undefined;
    await cut;
    unreadable?.forEach((line, index) => lines[index] = line);
    return lines;
  }

  /** Cuts a text of so many lines. */
  async #cut(text: string, count: number, lines: Line[]): Promise<void> {
    const written = this.#writer.write(text);
    while (lines.length < count) {
      const { value } = await this.#next;
      this.#next = this.#afterNext;
      this.#afterNext = this.#reader.read();
      lines.push(value as string);
    }
    await written;
  }

  #decode(): string {
    const text = replacingDecoder.decode(this.#gathered.bytes);
    return text.includes(replacement) ? this.#decodeOneByOne() : text;
  }

  /** The slow way, for a batch with a bad line: the others must not suffer from it. */
  #decodeOneByOne(): string {
    const bytes = this.#gathered.bytes;
    let text = "";
    let start = 0;
    for (let index = 0; index < this.#gatheredLines; index++) {
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

function concat(first: Uint8Array, second: Uint8Array): Uint8Array {
  const both = new Uint8Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}
