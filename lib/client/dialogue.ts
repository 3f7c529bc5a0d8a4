/**
 * One connection to a server: questions out, answers in, strictly in order.
 *
 * It owns the pairing of what was asked with what is answered, and every way in which a connection
 * can end. It knows no task: producers and consumers say what they ask, and which replies answer.
 *
 * @module
 */

import { formatAddress } from "../address.ts";
import { parseReason, parseReply, type Reply } from "../core/protocol.ts";
import { quote } from "../quote.ts";
import { LineReader } from "./line_reader.ts";
import { openTransport } from "./open_transport.ts";
import { DisconnectedError, QueueError, UnreadError } from "./queue_error.ts";
import { after } from "./timer.ts";
import type { ServerAddress, Transport } from "./transport.ts";

/** How long the server may take to close after our side is closed: our server takes up to 1 s. */
const lingerMs = 2000;

/** What is asked. */
export interface Question {
  /** The lines to send, each with its LF. */
  readonly text: string;
  /** The kinds of reply that answer it; any other is the server's mistake. */
  readonly answers: readonly Reply["kind"][];
  /** The task that it is about. */
  readonly taskId?: string;
  /** How long the server may take, in milliseconds; then the connection counts as lost. */
  readonly withinMs?: number;
}

/** How a question was answered. */
export interface Answer {
  /** The reply; an `ERROR` instead if it was the last line that the server has read. */
  readonly reply: Reply;
  /** The reason of the first `ERROR` that came before, since the answer to the question before. */
  readonly refusal: string | undefined;
}

interface OpenQuestion {
  readonly question: Question;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: Error) => void;
  readonly forgetTime: () => void;
  refusal: string | undefined;
}

/** A dialogue with a server. */
export class Dialogue {
  /** Resolves, with the cause, when nothing more can be asked: it ends, or has ended. */
  readonly closing: Promise<Error>;

  readonly #address: ServerAddress;
  #transport: Transport | undefined;
  readonly #open: OpenQuestion[] = [];
  readonly #reader = new LineReader((line) => this.#take(line));
  #unsent = "";
  #isWriting = false;
  /** Why nothing more can be asked. */
  #cause: Error | undefined;
  #isEnding = false;
  #hasEnded = false;
  #forgetLinger: () => void = () => {};
  /** What the server complained of when it was asked nothing. */
  #complaint: string | undefined;
  #setClosing!: (cause: Error) => void;
  readonly #ended: Promise<void>;
  #setEnded!: () => void;

  private constructor(address: ServerAddress) {
    this.#address = address;
    this.closing = new Promise((resolve) => this.#setClosing = resolve);
    this.#ended = new Promise((resolve) => this.#setEnded = resolve);
  }

  /**
   * Connects, and asks the first questions. The first kind of answer of each is the one hoped for:
   * after another one, the later answers are not waited for.
   *
   * @returns the dialogue and the answers so far.
   * @throws {DisconnectedError} it could not connect, or the connection was lost.
   */
  static async open(
    address: ServerAddress,
    questions: readonly Question[],
    signal: AbortSignal,
  ): Promise<{ dialogue: Dialogue; answers: readonly Answer[] }> {
    signal.throwIfAborted();
    const dialogue = new Dialogue(address);
    const abort = () => dialogue.#finish(signal.reason);
    signal.addEventListener("abort", abort);
    try {
      // Asked before it is connected: the server may speak first.
      const asked = questions.map((question) => dialogue.ask(question));
      for (const one of asked) one.catch(() => {});
      await dialogue.#connect(signal);
      const answers: Answer[] = [];
      for (const [i, { answers: [hoped] }] of questions.entries()) {
        const answer = await asked[i] as Answer;
        answers.push(answer);
        if (answer.reply.kind !== hoped) break;
      }
      return { dialogue, answers };
    } catch (error) {
      dialogue.#finish(error as Error);
      throw signal.aborted ? signal.reason : error;
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }

  /** True while questions can be asked. */
  get isOpen(): boolean {
    return this.#cause === undefined;
  }

  /**
   * Sends lines; resolves when they are answered. Lines of one turn of the event loop leave in one
   * write.
   *
   * @throws {UnreadError} the server reads no more, and has not read this.
   * @throws {DisconnectedError} the connection is gone, or was lost before the answer.
   */
  ask(question: Question): Promise<Answer> {
    if (this.#cause !== undefined) return Promise.reject(this.#lost(question, this.#cause));
    return new Promise((resolve, reject) => {
      const forgetTime = question.withinMs === undefined ? () => {} : after(
        question.withinMs,
        () => this.#finish(new Error(`no answer from ${this.#peer} for ${question.withinMs} ms`)),
      );
      this.#open.push({ question, resolve, reject, forgetTime, refusal: undefined });
      this.#send(question.text);
    });
  }

  /** Ends it because the server does not keep to the protocol; returns the cause. */
  fail(problem: string): QueueError {
    const cause = new QueueError(`${this.#peer} ${problem}`);
    this.#finish(cause);
    return cause;
  }

  /**
   * Ends it in order: sends what is unsent, closes our side, and waits until the server has answered
   * what it is owed and closed its side, or 2 s.
   */
  async end(): Promise<void> {
    this.#stopAsking(closedHere());
    if (!this.#isEnding) {
      this.#isEnding = true;
      if (!this.#isWriting && !this.#hasEnded) this.#transport?.closeWrite();
    }
    const forgetTime = after(lingerMs, () => this.#finish(this.#cause as Error));
    await this.#ended;
    forgetTime();
  }

  /** Ends it at once. */
  close(cause: Error = closedHere()): void {
    this.#finish(cause);
  }

  get #peer(): string {
    return formatAddress(this.#address);
  }

  async #connect(signal: AbortSignal): Promise<void> {
    try {
      const transport = await openTransport(this.#address, {
        data: (bytes) => this.#read(bytes),
        end: (error) => this.#finish(error ?? this.#closedByServer()),
      }, signal);
      if (this.#hasEnded) return transport.close();
      this.#transport = transport;
      this.#send("");
    } catch (error) {
      const cause = error as Error;
      throw new DisconnectedError([], new Error(`${this.#peer}: ${cause.message}`, { cause }));
    }
  }

  #closedByServer(complaint = this.#open[0]?.refusal ?? this.#complaint): Error {
    const said = complaint === undefined ? "" : `, and said: ${complaint}`;
    return new Error(`${this.#peer} has closed the connection${said}`);
  }

  #read(bytes: Uint8Array): void {
    if (this.#hasEnded) return;
    try {
      this.#reader.take(bytes);
    } catch (error) {
      this.fail(`sends ${error instanceof RangeError ? error.message : "what is not UTF-8"}`);
    }
  }

  /** Takes a line; false if it was the last one. */
  #take(line: string): boolean {
    let reply: Reply;
    try {
      reply = parseReply(line);
    } catch {
      this.fail(`says ${quote(line)}, which is no reply`);
      return false;
    }
    const first = this.#open[0];
    if (first?.question.answers.includes(reply.kind)) {
      this.#open.shift();
      first.forgetTime();
      first.resolve({ reply, refusal: first.refusal });
    } else if (reply.kind === "error") {
      this.#takeError(reply);
    } else if (reply.kind === "done") {
      this.#stopAsking(new Error(`${this.#peer} is shutting down`));
      this.end();
    } else {
      this.fail(`says ${quote(line)}, which was not asked for`);
    }
    return !this.#hasEnded;
  }

  /** Takes an `ERROR`, which belongs to the question that is to be answered next. */
  #takeError(reply: Extract<Reply, { readonly kind: "error" }>): void {
    const [first] = this.#open;
    if (first === undefined) {
      this.#complaint = reply.reason;
      return;
    }
    first.refusal ??= reply.reason;
    if (parseReason(reply.reason)?.kind !== "too many errors") return;
    // What this question has sent was refused, and what the later ones have sent is not read.
    this.#open.shift();
    first.forgetTime();
    first.resolve({ reply, refusal: first.refusal });
    this.#finish(new UnreadError([], this.#closedByServer(reply.reason)));
  }

  #send(text: string): void {
    this.#unsent += text;
    if (this.#isWriting || this.#transport === undefined || this.#unsent === "") return;
    this.#isWriting = true;
    queueMicrotask(() => this.#write(this.#transport as Transport));
  }

  /** Writes until nothing is unsent. Never rejects. */
  async #write(transport: Transport): Promise<void> {
    const encoder = new TextEncoder();
    try {
      while (this.#unsent !== "" && !this.#hasEnded) {
        const bytes = encoder.encode(this.#unsent);
        this.#unsent = "";
        await transport.write(bytes);
      }
    } catch (error) {
      // The server may have said why: its last lines, and its end, are still to be read.
      this.#stopAsking(error as Error);
      if (!this.#hasEnded) {
        this.#forgetLinger = after(lingerMs, () => this.#finish(error as Error));
      }
    }
    this.#isWriting = false;
    if (this.#isEnding && !this.#hasEnded) transport.closeWrite();
  }

  #stopAsking(cause: Error): void {
    if (this.#cause !== undefined) return;
    this.#cause = cause;
    this.#setClosing(cause);
  }

  #finish(cause: Error): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#stopAsking(cause);
    this.#forgetLinger();
    this.#transport?.close();
    for (const { question, reject, forgetTime } of this.#open.splice(0)) {
      forgetTime();
      reject(this.#lost(question, cause));
    }
    this.#setEnded();
  }

  #lost({ taskId }: Question, cause: Error): DisconnectedError {
    const taskIds = taskId === undefined ? [] : [taskId];
    return cause instanceof UnreadError
      ? new UnreadError(taskIds, cause.cause as Error)
      : new DisconnectedError(taskIds, cause);
  }
}

function closedHere(): Error {
  return new Error("this side has closed the connection");
}
