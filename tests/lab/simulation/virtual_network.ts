/**
 * A network in memory: streams whose bytes arrive, and are taken by the kernel, when a simulation
 * says so.
 *
 * @module
 */

import type { Listener, Stream } from "../../../lib/net/stream.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

interface Reading extends PromiseWithResolvers<number | null> {
  readonly buffer: Uint8Array;
}

interface Writing extends PromiseWithResolvers<number> {
  readonly text: string;
}

/** The server's end of a connection. Texts are ASCII. */
export class VirtualStream implements Stream {
  readonly remoteAddr: { readonly hostname: string; readonly port: number };
  /** All that the server has handed over, and how much of it the kernel has taken. */
  written = "";
  takenChars = 0;
  isClosed = false;
  /** Whether the server knows that nothing more comes. */
  hasReadEnd = false;
  #isWriteClosed = false;
  #unread = "";
  #isFinished = false;
  isReset = false;
  #reading: Reading | undefined;
  #writing: Writing | undefined;
  #room = 0;
  readonly #onRead: (text: string) => void;

  /**
   * Makes a stream over which nothing has come.
   *
   * @param onRead is told what the server reads, before the server is.
   */
  constructor(port: number, onRead: (text: string) => void) {
    this.remoteAddr = { hostname: "192.0.2.1", port };
    this.#onRead = onRead;
  }

  /** What has arrived and was not read. */
  get unread(): string {
    return this.#unread;
  }

  /** Whether nothing can be written any more. */
  get isBroken(): boolean {
    return this.isClosed || this.isReset;
  }

  /** Whether the server waits for input. */
  get isReading(): boolean {
    return this.#reading !== undefined;
  }

  /** Whether the kernel has taken all that was handed over. */
  get isDrained(): boolean {
    return this.#writing === undefined;
  }

  /** Whether the server would find something at the next {@linkcode poll}. */
  get isReadable(): boolean {
    return this.isReading && (this.#unread !== "" || this.#isFinished || this.isReset);
  }

  /** Bytes arrive; the server finds them at the next {@linkcode poll}. */
  arrive(text: string): void {
    if (!this.isReset) this.#unread += text;
  }

  /** The client's end of the stream arrives. */
  finish(): void {
    this.#isFinished = true;
  }

  /** The connection breaks: what was not read is lost. */
  reset(): void {
    this.isReset = true;
    this.#unread = "";
    this.#writing?.reject(disconnect("ECONNRESET"));
    this.#writing = undefined;
    this.poll();
  }

  /** Gives the server what has arrived, if it waits for it. */
  poll(): void {
    const reading = this.#reading;
    if (reading === undefined) return;
    if (this.#unread !== "") {
      const text = this.#unread.slice(0, reading.buffer.length);
      this.#unread = this.#unread.slice(text.length);
      this.#reading = undefined;
      this.#onRead(text);
      reading.resolve(encoder.encodeInto(text, reading.buffer).written);
    } else if (this.isReset || this.#isFinished) {
      this.#reading = undefined;
      this.hasReadEnd = true;
      if (this.isReset) reading.reject(disconnect("ECONNRESET"));
      else reading.resolve(null);
    }
  }

  /** The kernel has room for so many bytes more, until {@linkcode close} or {@linkcode stopTaking}. */
  take(bytes: number): void {
    this.#room += bytes;
    this.#takeWritten();
  }

  /** The kernel has no more room. */
  stopTaking(): void {
    this.#room = 0;
  }

  /** See {@linkcode Stream.read}; what has come is found at the next {@linkcode poll}. */
  read(buffer: Uint8Array): Promise<number | null> {
    const reading = { ...Promise.withResolvers<number | null>(), buffer };
    if (this.isClosed) reading.reject(disconnect("EBADF"));
    else this.#reading = reading;
    return reading.promise;
  }

  /** See {@linkcode Stream.write}. */
  write(bytes: Uint8Array): Promise<number> {
    const writing = { ...Promise.withResolvers<number>(), text: decoder.decode(bytes) };
    if (this.isBroken || this.#isWriteClosed) writing.reject(disconnect("EPIPE"));
    else if (bytes.length === 0) writing.resolve(0);
    else {
      // What the kernel did not take of a batch comes again.
      this.written = this.written.slice(0, this.takenChars) + writing.text;
      this.#writing = writing;
      this.#takeWritten();
    }
    return writing.promise;
  }

  /** See {@linkcode Stream.closeWrite}. */
  closeWrite(): Promise<void> {
    this.#isWriteClosed = true;
    return this.isReset ? Promise.reject(disconnect("ENOTCONN")) : Promise.resolve();
  }

  /** See {@linkcode Stream.close}. */
  close(): void {
    this.isClosed = true;
    this.#reading?.reject(disconnect("EBADF"));
    this.#writing?.reject(disconnect("EBADF"));
    this.#reading = undefined;
    this.#writing = undefined;
  }

  #takeWritten(): void {
    const writing = this.#writing;
    if (writing === undefined || this.#room === 0) return;
    const count = Math.min(this.#room, writing.text.length);
    this.#room -= count;
    this.takenChars += count;
    this.#writing = undefined;
    writing.resolve(count);
  }
}

/** A port to which streams come. */
export class VirtualListener implements Listener {
  readonly #arrived: VirtualStream[] = [];
  #accepting: PromiseWithResolvers<Stream> | undefined;

  /** A client connects. */
  connect(stream: VirtualStream): void {
    this.#arrived.push(stream);
    this.#accept();
  }

  /** See {@linkcode Listener.accept}. */
  accept(): Promise<Stream> {
    const accepting = this.#accepting = Promise.withResolvers<Stream>();
    this.#accept();
    return accepting.promise;
  }

  /** See {@linkcode Listener.close}. */
  close(): void {
    this.#accepting?.reject(new Deno.errors.BadResource("the listener is closed"));
    this.#accepting = undefined;
  }

  #accept(): void {
    if (this.#accepting === undefined) return;
    const stream = this.#arrived.shift();
    if (stream === undefined) return;
    this.#accepting.resolve(stream);
    this.#accepting = undefined;
  }
}

function disconnect(code: string): Error {
  if (code === "EBADF") return new Deno.errors.Interrupted("the stream is closed");
  return Object.assign(new Error(code), { code });
}
