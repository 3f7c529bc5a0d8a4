/**
 * What the command of one task writes, on its way to the worker's own two streams.
 *
 * If several commands run at a time, the output of each comes as a whole when it has ended, on the
 * streams that it used, in the order in which it came. What is kept for that is bounded: a command
 * that writes more waits for its turn, and then writes through.
 *
 * @module
 */

import { nowMs, sleep } from "../clock.ts";
import { LineTagger } from "./line_tagger.ts";
import type { OutputEnd, SharedOutput } from "./shared_output.ts";

/** How the output of commands is treated. */
export type OutputMode =
  /** The command writes to the worker's streams itself. */
  | "inherited"
  /** Each piece is passed on when it comes; for one command at a time. */
  | "passed on"
  /** All at the end. */
  | "grouped";

/** Most bytes kept of a task whose turn to write has not come: bounds the memory per command. */
const maxKeptBytes = 4 * 1024 * 1024;

/**
 * How long a stream may be silent after its command has ended, in milliseconds: a process that has
 * left the command's group may hold it open for ever.
 */
const restMs = 1000;

/** How the output of one task is treated. */
export interface TaskOutputOptions {
  /** See {@linkcode OutputMode}. */
  readonly mode: OutputMode;
  /** What each line begins with; nothing if left out. */
  readonly tag?: string;
}

/** The output of one task. */
export class TaskOutput {
  /** What the command's streams are to be. */
  readonly stdio: "inherit" | "piped";

  readonly #shared: SharedOutput;
  readonly #mode: OutputMode;
  readonly #taggers: Readonly<Record<OutputEnd, LineTagger>> | undefined;
  readonly #kept: { readonly end: OutputEnd; readonly bytes: Uint8Array }[] = [];
  #keptBytes = 0;
  #taking: Promise<void> | undefined;
  #hasTurn = false;
  #endTurn: () => void = () => {};
  readonly #pumps: Promise<void>[] = [];
  /** The reads that wait, and since when. */
  readonly #waits = new Map<ReadableStreamDefaultReader<Uint8Array>, number>();

  /** Makes the output of a task that has written nothing. */
  constructor(sharedOutput: SharedOutput, { mode, tag }: TaskOutputOptions) {
    this.#shared = sharedOutput;
    this.#mode = mode;
    this.stdio = mode === "inherited" ? "inherit" : "piped";
    if (tag !== undefined) {
      this.#taggers = { stdout: new LineTagger(tag), stderr: new LineTagger(tag) };
    }
  }

  /** Reads the streams of a command from now on. */
  read(streams: Readonly<Record<OutputEnd, ReadableStream<Uint8Array>>>): void {
    for (const end of ["stdout", "stderr"] as const) {
      this.#pumps.push(this.#pump(end, streams[end]));
    }
  }

  /**
   * Writes what is left, when it is this task's turn, and a line of the worker's own behind it on
   * standard error. For a command that has ended. Never rejects.
   */
  async finish(ownLine: string | undefined): Promise<void> {
    await this.#readToEnd();
    await this.#takeTurn();
    for (const end of ["stdout", "stderr"] as const) {
      const rest = this.#taggers?.[end].end();
      if (rest !== undefined) await this.#shared.write(end, rest);
    }
    if (ownLine !== undefined) {
      await this.#shared.write("stderr", new TextEncoder().encode(`${ownLine}\n`));
    }
    this.#endTurn();
  }

  /** Waits for the end of the streams, or until they have been silent for long enough. */
  async #readToEnd(): Promise<void> {
    const ended = new AbortController();
    const pumps = Promise.all(this.#pumps).then(() => ended.abort());
    while (await sleep(restMs, ended.signal)) {
      for (const [reader, sinceMs] of this.#waits) {
        if (nowMs() - sinceMs >= restMs) reader.cancel().catch(() => {});
      }
    }
    await pumps;
  }

  async #pump(end: OutputEnd, stream: ReadableStream<Uint8Array>): Promise<void> {
    if (this.#mode === "passed on") await this.#takeTurn();
    const reader = stream.getReader();
    try {
      for (;;) {
        this.#waits.set(reader, nowMs());
        const { value, done } = await reader.read();
        this.#waits.delete(reader);
        if (done) return;
        await this.#take(end, this.#taggers?.[end].tag(value) ?? value);
      }
    } catch {
      // A stream that cannot be read has ended.
      this.#waits.delete(reader);
    }
  }

  async #take(end: OutputEnd, bytes: Uint8Array): Promise<void> {
    if (this.#hasTurn) return await this.#shared.write(end, bytes);
    this.#kept.push({ end, bytes });
    this.#keptBytes += bytes.length;
    if (this.#keptBytes > maxKeptBytes) await this.#takeTurn();
  }

  #takeTurn(): Promise<void> {
    return this.#taking ??= this.#takeTurnAndWrite();
  }

  async #takeTurnAndWrite(): Promise<void> {
    this.#endTurn = await this.#shared.takeTurn();
    for (let piece = this.#kept.shift(); piece !== undefined; piece = this.#kept.shift()) {
      await this.#shared.write(piece.end, piece.bytes);
    }
    this.#hasTurn = true;
  }
}
