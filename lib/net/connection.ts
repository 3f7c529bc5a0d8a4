/**
 * One connection: bounded lines in, coalesced lines out, and the ways to end it.
 *
 * It knows no command. It reads by `read` (a socket's `readable` would close both directions when
 * the peer closes one), and has at most one write under way.
 *
 * @module
 */

import { type Clock, sleep, systemClock } from "../clock.ts";
import type { Line } from "../line.ts";
import { BufferPool, LineWriter } from "./line_writer.ts";
import { LineCutter, LineSplitter } from "./lines.ts";
import { ReadTurns } from "./read_turns.ts";
import type { Stream } from "./stream.ts";

/**
 * Most bytes read from one peer at a time: up to 512 commands, which take about 1 ms, so that the
 * others' turn comes soon. With 16 KiB, the lines of 100 flooding peers took 300 MB and not 150.
 */
const maxReadBytes = 4 * 1024;

/** First size of the read buffer: thousands of idle connections each hold one. */
const minReadBytes = 1024;

/** If more characters than these wait for a peer, nothing more is read from it until they are sent. */
export const maxWaitingChars = 64 * 1024;

/** How long a peer has to close its side after ours, in milliseconds. */
export const lingerMs = 1000;

/** How much a peer may still send after our side is closed. */
const maxLingerBytes = 1024 * 1024;

/** The first byte of a TLS connection (RFC 8446, 5.1). */
const tlsHandshake = 0x16;

/** Room for what comes first: a client's first message of a TLS handshake. */
const firstBytes = 1024;

/** Reads what comes first; null at the end of the peer's side. */
export async function readFirst(stream: Stream): Promise<Uint8Array | null> {
  const buffer = new Uint8Array(firstBytes);
  const count = await stream.read(buffer);
  return count === null ? null : buffer.subarray(0, count);
}

/** Whether a peer's first bytes begin a TLS connection: no text does. */
export function isTlsHandshake(bytes: Uint8Array): boolean {
  return bytes[0] === tlsHandshake;
}

const noBytes = new Uint8Array(0);

/**
 * A peer that sends as many lines at once counts as flooding, and is read in turns with the others
 * that do. Many peers that stay just below this keep the others waiting for a tenth of a second.
 */
const floodLines = 32;

/** If more replies than these wait for a peer, it is read again only when it has taken some. */
const maxWaitingLines = 128;

/** What the connections of one server, or of one client, share. */
export class ConnectionGroup {
  /** The longest line that is read, in bytes with its LF. */
  readonly maxLineBytes: number;
  /** Tells the time. */
  readonly clock: Clock;
  /** Cuts what they read into lines. */
  readonly lines = new LineCutter();
  /** Makes flooding peers take turns. */
  readonly turns: ReadTurns;
  /** Buffers for what is sent to them. */
  readonly buffers = new BufferPool();

  /** Makes a group without connections. */
  constructor(options: { readonly maxLineBytes: number; readonly clock?: Clock }) {
    this.maxLineBytes = options.maxLineBytes;
    this.clock = options.clock ?? systemClock;
    this.turns = new ReadTurns(this.clock);
  }
}

/** A connection to a peer that speaks in lines. */
export class Connection {
  readonly #stream: Stream;
  readonly #group: ConnectionGroup;
  readonly #splitter: LineSplitter;
  #buffer = new Uint8Array(minReadBytes);
  readonly #writer: LineWriter;
  /** True if the last read brought so much that the peer is read in turns with others. */
  #isFlooding = false;
  #isBroken = false;
  #isWriteClosed = false;
  #isClosed = false;
  #unusualEnd: string | undefined;
  #hasRead = false;
  #speaksTls = false;
  /** Lines that were put back. */
  #nextLines: Line[] | undefined;

  /**
   * Takes over an open stream; whoever makes this closes it.
   *
   * @param group what it shares with others.
   */
  constructor(stream: Stream, group: ConnectionGroup) {
    this.#stream = stream;
    this.#group = group;
    this.#splitter = new LineSplitter(group.lines, group.maxLineBytes);
    this.#writer = new LineWriter(stream, {
      pool: group.buffers,
      onError: (error) => this.#endBy(error),
    });
    try {
      // With Nagle's algorithm on, a dialogue of small lines waits 40 ms for delayed ACKs.
      stream.setNoDelay?.(true);
      stream.setKeepAlive?.(true);
    } catch {
      // The peer may be gone already: the first read will tell. If not, this is only slower.
    }
  }

  /** The peer's address and port. */
  get peer(): string {
    const { hostname, port } = this.#stream.remoteAddr;
    return `${hostname}:${port}`;
  }

  /**
   * Reads what has come.
   *
   * @returns the lines that it completed, maybe none; undefined if the peer has closed its side
   * or the connection is gone.
   */
  async readLines(): Promise<Line[] | undefined> {
    if (this.#nextLines !== undefined) {
      const lines = this.#nextLines;
      this.#nextLines = undefined;
      return lines;
    }
    let count: number | null;
    // Wait now, not at the 64 KiB limit: many peers that never read would each have thousands of
    // short lines waiting, which take ten times their length in memory.
    if (this.#isFlooding || this.#writer.waitingLines > maxWaitingLines) await this.drained();
    if (this.#isFlooding) await this.#group.turns.waitForTurn(this);
    try {
      count = await this.#stream.read(this.#buffer);
    } catch (error) {
      this.#endBy(error);
      return undefined;
    }
    if (count === null) return undefined;
    if (!this.#hasRead) this.#speaksTls = isTlsHandshake(this.#buffer);
    this.#hasRead = true;
    const lines = await this.#splitter.split(this.#buffer.subarray(0, count));
    this.#isFlooding = count >= minReadBytes || lines.length >= floodLines;
    if (count === this.#buffer.length && count < maxReadBytes) {
      this.#buffer = new Uint8Array(2 * count);
    } else if (count < this.#buffer.length / 8 && this.#buffer.length > minReadBytes) {
      this.#buffer = new Uint8Array(this.#buffer.length / 2);
    }
    return lines;
  }

  /** Has the next {@linkcode readLines} return lines that were read and are not for their reader. */
  putBack(lines: Line[]): void {
    this.#nextLines = lines;
  }

  /** The text after the last LF, or undefined if there is none, or it ends within a character. */
  get unendedText(): string | undefined {
    return this.#splitter.unendedText;
  }

  /** Forgets the text after the last LF: its reader has taken it for a message. */
  dropUnended(): void {
    this.#splitter.dropUnended();
  }

  /** True if what the peer has sent begins like TLS: no text does. */
  get speaksTls(): boolean {
    return this.#speaksTls;
  }

  /** Adds a line, without its LF, to what the next {@linkcode flush} sends. */
  send(line: string): void {
    this.#writer.add(line);
  }

  /** Starts to send what waits, if that is not under way. */
  flush(): void {
    this.#writer.flush();
  }

  /** True if so much waits for the peer that nothing more should be read from it. */
  get isBacklogged(): boolean {
    return this.#writer.waitingChars > maxWaitingChars;
  }

  /** True if the connection is gone; what the peer sent before may still be read. */
  get isBroken(): boolean {
    return this.#isBroken || this.#isClosed;
  }

  /** False if nothing can be sent any more: the connection is gone, or our side is closed. */
  get canSend(): boolean {
    return !this.isBroken && !this.#isWriteClosed;
  }

  /**
   * The system's message for an error that is not an ordinary disconnect; undefined if there was
   * none. Such an error ends the connection like any other.
   */
  get unusualEnd(): string | undefined {
    return this.#unusualEnd;
  }

  /**
   * Finds out whether the peer has reset the connection, without reading from it.
   *
   * The kernel reports a reset to whoever writes, even if input is unread and no byte is written.
   */
  async probe(): Promise<void> {
    // A write under way will report the reset itself.
    if (this.#writer.isWriting || !this.canSend) return;
    try {
      await this.#stream.write(noBytes);
    } catch (error) {
      this.#endBy(error);
    }
  }

  /** Resolves when the kernel has taken all that was flushed, or the connection is gone. */
  drained(): Promise<void> {
    return this.#writer.drained();
  }

  /** How many of the last lines sent the kernel has not taken, LF included. */
  get unsentLines(): number {
    return this.#writer.unsentLines;
  }

  /** Closes our side, after what was flushed: the peer reads to its end, and can still send. */
  async closeWrite(): Promise<void> {
    await this.drained();
    this.#isWriteClosed = true;
    try {
      await this.#stream.closeWrite();
    } catch (error) {
      this.#endBy(error);
    }
  }

  /**
   * Ends a connection so that the last line arrives: a socket that is closed with unread input
   * resets the connection, and what the peer has not read is lost (RFC 1122, 4.2.2.13).
   */
  async closeGently(): Promise<void> {
    await this.#closeWithin(this.closeWrite().then(() => this.#dropInput()));
  }

  /**
   * Lets the peer close first, drops what it still sends, and closes after it, or after 1 s or 1 MiB
   * if it does not: the side that closes first keeps the port in TIME_WAIT.
   */
  async closeAfterPeer(): Promise<void> {
    await this.#closeWithin(this.#dropInput());
  }

  /** Closes the connection at once. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#stream.close();
  }

  async #closeWithin(ending: Promise<void>): Promise<void> {
    const timeUp = new AbortController();
    await Promise.race([ending, sleep(lingerMs, timeUp.signal, this.#group.clock)]);
    timeUp.abort();
    this.close();
  }

  async #dropInput(): Promise<void> {
    try {
      for (let rest = maxLingerBytes; rest > 0;) {
        const count = await this.#stream.read(this.#buffer);
        if (count === null) return;
        rest -= count;
      }
    } catch (error) {
      this.#endBy(error);
    }
  }

  /**
   * Takes an error of the operating system for the connection's end, whichever it is: a firewall's
   * ICMP message alone can make it ECONNREFUSED, EHOSTDOWN, EPROTO and more (tcp(7), ip(7)).
   */
  #endBy(error: unknown): void {
    this.#isBroken = true;
    if (isDisconnect(error)) return;
    this.#unusualEnd ??= messageOf(error);
    // Nobody knows whether the other direction would ever end.
    this.close();
  }
}

const disconnectCodes = [
  "ECONNRESET",
  "EPIPE",
  "ECONNABORTED",
  "ENOTCONN",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "ENETUNREACH",
];

/** Whether an error says that this process, or the system, has no file descriptor left. */
export function isOutOfDescriptors(error: unknown): boolean {
  return error instanceof Error && "code" in error &&
    ["EMFILE", "ENFILE"].includes(String(error.code));
}

/** True for the errors by which peers usually leave, and for those that our own close causes. */
export function isDisconnect(error: unknown): boolean {
  if (error instanceof Deno.errors.BadResource || error instanceof Deno.errors.Interrupted) {
    return true;
  }
  return error instanceof Error && "code" in error &&
    disconnectCodes.includes(String(error.code));
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
