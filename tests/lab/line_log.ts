/**
 * The lines of a stream as they come: a program's output, or what a peer says.
 *
 * @module
 */

import { patienceMs, within } from "./deadline.ts";

/** A line, and when it came. */
export interface LoggedLine {
  /** The line without its LF. */
  readonly text: string;
  /** When it came, in milliseconds of `performance.now()`. */
  readonly atMs: number;
}

/** How many of the last lines an error shows. */
const shownLines = 20;

/** Everything that came so far, waited for line by line. */
export class LineLog {
  /** The whole lines so far. */
  readonly lines: LoggedLine[] = [];
  /** Resolves when the stream has ended. */
  readonly ended: Promise<void>;

  readonly #name: string;
  #unended = "";
  #hasEnded = false;
  /** First line that {@linkcode next} has not looked at. */
  #cursor = 0;
  #isKept = true;
  readonly #onLine: (line: string) => void;
  #change = Promise.withResolvers<void>();

  /**
   * Reads a stream to its end; an end by error is an end.
   *
   * @param onLine is told each line as it comes.
   */
  constructor(
    stream: AsyncIterable<Uint8Array>,
    name: string,
    onLine: (line: string) => void = () => {},
  ) {
    this.#name = name;
    this.#onLine = onLine;
    this.ended = this.#read(stream);
  }

  /** All that came, to the letter. */
  get text(): string {
    return this.lines.map((line) => line.text + "\n").join("") + this.#unended;
  }

  /** The lines without their times. */
  get texts(): string[] {
    return this.lines.map((line) => line.text);
  }

  /** How many lines match. */
  count(pattern: RegExp): number {
    return this.lines.filter((line) => pattern.test(line.text)).length;
  }

  /** Waits for the n-th line that matches, counted from the start. */
  async line(pattern: RegExp, options: { nth?: number; ms?: number } = {}): Promise<LoggedLine> {
    const nth = options.nth ?? 1;
    let found = 0;
    let from = 0;
    const match = await this.#until(`line ${nth} of ${pattern}`, options.ms, () => {
      for (; from < this.lines.length; from++) {
        const line = this.lines[from] as LoggedLine;
        if (pattern.test(line.text) && ++found === nth) return line;
      }
    });
    return match;
  }

  /** Waits for a number of lines. */
  async atLeast(count: number, ms?: number): Promise<void> {
    await this.#until(`${count} lines`, ms, () => this.lines.length >= count ? true : undefined);
  }

  /** Takes the next line that was not taken before. */
  async next(ms?: number): Promise<string> {
    const line = await this.#until("a line", ms, () => this.lines[this.#cursor]);
    this.#cursor++;
    return line.text;
  }

  /** Takes the next line that was not taken before; undefined if the stream has ended. */
  async nextOrEnd(): Promise<string | undefined> {
    for (;;) {
      const line = this.lines[this.#cursor];
      if (line !== undefined) {
        this.#cursor++;
        return line.text;
      }
      if (this.#hasEnded) return undefined;
      await this.#change.promise;
    }
  }

  /** Keeps no line from now on, for a stream that goes on for hours: `onLine` alone sees them. */
  forget(): void {
    this.#isKept = false;
    this.lines.length = 0;
  }

  /** Waits until what came, ended lines or not, is as the condition says. */
  async textWhere(condition: (text: string) => boolean, ms?: number): Promise<string> {
    return await this.#until("a text", ms, () => condition(this.text) ? this.text : undefined);
  }

  async #until<T>(what: string, ms: number | undefined, look: () => T | undefined): Promise<T> {
    const wait = async () => {
      for (;;) {
        const change = this.#change.promise;
        const found = look();
        if (found !== undefined) return found;
        if (this.#hasEnded) throw new Error(`no ${what} in all of ${this.#describe()}`);
        await change;
      }
    };
    return await within(wait(), () => `${what} in ${this.#describe()}`, ms ?? patienceMs);
  }

  async #read(stream: AsyncIterable<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    try {
      for await (const bytes of stream) this.#take(decoder.decode(bytes, { stream: true }));
    } catch {
      // Reset by its other end, or closed by the test.
    }
    this.#hasEnded = true;
    this.#wake();
  }

  #take(text: string): void {
    const atMs = performance.now();
    const pieces = (this.#unended + text).split("\n");
    this.#unended = pieces.pop() as string;
    for (const piece of pieces) {
      if (this.#isKept) this.lines.push({ text: piece, atMs });
      this.#onLine(piece);
    }
    this.#wake();
  }

  #wake(): void {
    this.#change.resolve();
    this.#change = Promise.withResolvers();
  }

  #describe(): string {
    const last = this.texts.slice(-shownLines);
    if (this.#unended !== "") last.push(this.#unended);
    return `${this.#name}, which ends so:\n${last.map((line) => "  " + line).join("\n")}`;
  }
}
