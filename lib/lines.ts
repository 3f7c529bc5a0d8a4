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
  /** Strict: replaces no bad bytes, drops no BOM. */
  readonly #decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
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
  async split(bytes: Uint8Array): Promise<Line[]> {
    const lastLf = bytes.lastIndexOf(lf);
    if (lastLf === -1) {
      this.#keepTail(bytes);
      return [];
    }
    const ended = bytes.subarray(0, lastLf + 1);
    const whole = this.#tail === undefined ? ended : concat(this.#tail, ended);
    const firstIsTooLong = this.#tailIsTooLong;
    this.#tail = undefined;
    this.#tailIsTooLong = false;
    if (lastLf + 1 < bytes.length) this.#keepTail(bytes.subarray(lastLf + 1));

    const ends = lineEnds(whole);
    if (!firstIsTooLong && this.#allFit(ends)) {
      const text = this.#decode(whole);
      if (text !== undefined) return await cut(text, ends.length);
    }
    return await this.#splitOneByOne(whole, ends, firstIsTooLong);
  }

  /** The text after the last LF, or undefined where there is none or it is not readable yet. */
  get unendedText(): string | undefined {
    return this.#tail === undefined ? undefined : this.#decode(this.#tail);
  }

  /** Forgets the text after the last LF: its reader has taken it for a message. */
  dropUnended(): void {
    this.#tail = undefined;
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

  #allFit(ends: readonly number[]): boolean {
    let start = 0;
    for (const end of ends) {
      if (end - start > this.#maxLineBytes) return false;
      start = end;
    }
    return true;
  }

  #decode(bytes: Uint8Array): string | undefined {
    try {
      return this.#decoder.decode(bytes);
    } catch (error) {
      if (error instanceof TypeError) return undefined; // what a fatal decoder throws
      throw error;
    }
  }

  /** The slow way, where at least one line cannot be read: it must not cost the others. */
  async #splitOneByOne(
    bytes: Uint8Array,
    ends: readonly number[],
    firstIsTooLong: boolean,
  ): Promise<Line[]> {
    const unreadable = new Map<number, UnreadableLine>();
    let readable = "";
    let start = 0;
    for (const [index, end] of ends.entries()) {
      if ((index === 0 && firstIsTooLong) || end - start > this.#maxLineBytes) {
        const reason = `line must have at most ${this.#maxLineBytes} bytes with its LF`;
        unreadable.set(index, new UnreadableLine(reason));
        readable += "\n";
      } else {
        const text = this.#decode(bytes.subarray(start, end));
        if (text === undefined) {
          unreadable.set(index, new UnreadableLine("line must be valid UTF-8"));
        }
        readable += text ?? "\n";
      }
      start = end;
    }
    const lines = await cut(readable, ends.length);
    return lines.map((line, index) => unreadable.get(index) ?? line);
  }
}

/** A text to cut, and where its lines go. */
interface Cut {
  readonly text: string;
  readonly count: number;
  readonly done: PromiseWithResolvers<string[]>;
}

/**
 * A TextLineStream that is asked for as many lines as were put in.
 *
 * It gets whole lines only, so nothing of one text stays in it for the next, and one serves all
 * connections: one each would take ten thousand times the memory, and miss the caches. What comes
 * in one turn of the event loop is cut in one go: a line alone costs five times one of sixteen.
 */
class LineCutter {
  readonly #writer: WritableStreamDefaultWriter<string>;
  readonly #reader: ReadableStreamDefaultReader<string>;
  // Two reads wait at any time: with one, the stream's backpressure toggles at each line.
  #next: Promise<ReadableStreamReadResult<string>>;
  #afterNext: Promise<ReadableStreamReadResult<string>>;
  #waiting: Cut[] = [];
  #cutting: Promise<void> | undefined;

  constructor() {
    const stream = new TextLineStream();
    this.#writer = stream.writable.getWriter();
    this.#reader = stream.readable.getReader();
    this.#next = this.#reader.read();
    this.#afterNext = this.#reader.read();
  }

  /** Cuts a text of so many lines. */
  cut(text: string, count: number): Promise<string[]> {
    const done = Promise.withResolvers<string[]>();
    this.#waiting.push({ text, count, done });
    this.#cutting ??= this.#cutAll();
    return done.promise;
  }

  async #cutAll(): Promise<void> {
    // The texts of other connections that are ready now come before this goes on.
    await undefined;
    while (this.#waiting.length > 0) {
      const cuts = this.#waiting;
      this.#waiting = [];
      const written = this.#writer.write(cuts.map((cut) => cut.text).join(""));
      for (const { count, done } of cuts) done.resolve(await this.#takeLines(count));
      await written;
    }
    this.#cutting = undefined;
  }

  async #takeLines(count: number): Promise<string[]> {
    const lines: string[] = [];
    while (lines.length < count) {
      const { value } = await this.#next;
      this.#next = this.#afterNext;
      this.#afterNext = this.#reader.read();
      lines.push(value as string);
    }
    return lines;
  }
}

let sharedCutter: LineCutter | undefined;

function cut(text: string, count: number): Promise<string[]> {
  sharedCutter ??= new LineCutter();
  return sharedCutter.cut(text, count);
}

/** The index after each LF. */
function lineEnds(bytes: Uint8Array): number[] {
  const ends: number[] = [];
  let end = bytes.indexOf(lf) + 1;
  while (end !== 0) {
    ends.push(end);
    end = bytes.indexOf(lf, end) + 1;
  }
  return ends;
}

function concat(first: Uint8Array, second: Uint8Array): Uint8Array {
  const both = new Uint8Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}
