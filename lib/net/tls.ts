/**
 * TLS for a server, over any stream: by node:tls, which is loaded with this module only if TLS is
 * asked for.
 *
 * `Deno.listenTls` is no choice: its connections keep their sockets when they are closed during a
 * handshake or a write, as long as the peer wishes, and cannot switch off Nagle's algorithm.
 *
 * @module
 */

import { createPrivateKey, X509Certificate } from "node:crypto";
import { setImmediate } from "node:timers";
import { createSecureContext, type SecureContext, TLSSocket } from "node:tls";
import { escape, quote } from "../quote.ts";
import { UsageError } from "../user_error.ts";
import type { Address } from "../address.ts";
import { closeQuietly, duplexOf, readBytes } from "./duplex.ts";
import type { SecureStream, Stream } from "./stream.ts";

/** If more decrypted bytes than these wait for their reader, no more are read from the peer. */
const maxUnreadBytes = 4 * readBytes;

/** How long sending the end of TLS may take when a connection is closed, in milliseconds. */
const endMs = 200;

/** Curves of keys with which a handshake works; with another one node:tls fails at each. */
const tlsCurves = ["prime256v1", "secp384r1", "secp521r1"];

/** A certificate and its key, as PEM. */
export interface Identity {
  /** The server's certificate, and those that lead from it to an authority. */
  readonly cert: string;
  /** The private key of the first of these. */
  readonly key: string;
}

/**
 * Makes what begins TLS (1.2 or newer) on streams.
 *
 * @param options.nowMs the time of day, by which it is judged whether the certificate is valid.
 * @param options.say takes a line for the operator if it is not.
 * @throws {UsageError} certificate or key cannot be read, or do not belong together.
 */
export function makeSecure(
  identity: Identity,
  options: { readonly nowMs: number; readonly say: (line: string) => void },
): SecureStream {
  checkIdentity(identity, options);
  const secureContext = contextOf(identity);
  return async (stream, first) => {
    const unread = new UnreadBytes();
    // node:tls itself reads on without end: it does not tell a stream that is no socket of the system
    // to pause.
    const inner = duplexOf(stream, { first, room: () => unread.room, readerCopies: true });
    // Deno's types know fewer options than its code.
    const options = { isServer: true, secureContext, allowHalfOpen: true };
    const secured = new TlsStream(new TLSSocket(inner as never, options), stream, unread);
    // What came before the end is looked at first: it may be all that a client has to say.
    inner.once("end", () => void setImmediate(() => secured.endHandshake()));
    await secured.handshake();
    return secured;
  };
}

function contextOf(identity: Identity): SecureContext {
  try {
    return createSecureContext({ ...identity, minVersion: "TLSv1.2" });
  } catch (error) {
    // An RSA key of 1,024 bits, for example.
    throw new UsageError(`--tls-cert and --tls-key cannot be used: ${escape(messageOf(error))}`);
  }
}

/** Looks at both by node:crypto: node:tls takes anything, and then fails at each handshake. */
function checkIdentity(
  { cert, key }: Identity,
  { nowMs, say }: { readonly nowMs: number; readonly say: (line: string) => void },
): void {
  const read = <T>(name: string, parse: () => T): T => {
    try {
      return parse();
    } catch {
      throw new UsageError(`${name} holds none in PEM (-----BEGIN ...), or one that is damaged`);
    }
  };
  const certificate = read("--tls-cert", () => new X509Certificate(cert));
  if (/^-----BEGIN ENCRYPTED|^Proc-Type:.*ENCRYPTED/m.test(key)) {
    throw new UsageError(
      "--tls-key is protected by a password: openssl pkey -in KEY -out FILE makes one without",
    );
  }
  const privateKey = read("--tls-key", () => createPrivateKey(key));
  const { namedCurve } = privateKey.asymmetricKeyDetails ?? {};
  if (namedCurve !== undefined && !tlsCurves.includes(namedCurve)) {
    throw new UsageError(`--tls-key must be on a curve that TLS has, got ${quote(namedCurve)}`);
  }
  if (!certificate.checkPrivateKey(privateKey)) {
    throw new UsageError("--tls-cert and --tls-key do not belong together: another key was used");
  }
  const { validFrom, validTo } = certificate;
  if (Date.parse(validTo) < nowMs) say(`the certificate has expired: it was valid to ${validTo}`);
  if (Date.parse(validFrom) > nowMs) say(`the certificate is valid only from ${validFrom}`);
}

/** Decrypted bytes that wait for their reader. */
class UnreadBytes {
  /** First come first. */
  readonly #chunks: Uint8Array[] = [];
  #length = 0;
  #room: PromiseWithResolvers<void> | undefined;

  get isEmpty(): boolean {
    return this.#length === 0;
  }

  /** Resolves when enough were taken that more may come; undefined if more may come now. */
  get room(): Promise<void> | undefined {
    if (this.#length <= maxUnreadBytes) return undefined;
    this.#room ??= Promise.withResolvers();
    return this.#room.promise;
  }

  add(bytes: Uint8Array): void {
    this.#chunks.push(bytes);
    this.#length += bytes.length;
  }

  /** Moves as many as there are and fit into a buffer; returns how many. */
  take(buffer: Uint8Array): number {
    let count = 0;
    for (let first; count < buffer.length && (first = this.#chunks[0]) !== undefined;) {
      const part = first.subarray(0, buffer.length - count);
      buffer.set(part, count);
      count += part.length;
      if (part.length === first.length) this.#chunks.shift();
      else this.#chunks[0] = first.subarray(part.length);
    }
    this.#length -= count;
    if (this.#length <= maxUnreadBytes) {
      this.#room?.resolve();
      this.#room = undefined;
    }
    return count;
  }
}

/** The stream within TLS. */
class TlsStream implements Stream {
  readonly remoteAddr: Address;

  readonly #socket: TLSSocket;
  readonly #outer: Stream;
  readonly #unread: UnreadBytes;
  #error: Error | undefined;
  /** True if the peer has ended its side. */
  #isOver = false;
  /** True if our side has closed it. */
  #isClosed = false;
  /** True if nothing of it is left. */
  #isGone = false;
  #hasAgreed = false;
  /** Wakes what waits for something to read, or for the news that nothing will come any more. */
  #wakeReader: (() => void) | undefined;
  /** What waits for something else: rejected when it is closed, by either side. */
  readonly #waiting = new Set<(error: Error) => void>();
  #endTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(socket: TLSSocket, outer: Stream, unread: UnreadBytes) {
    this.#socket = socket;
    this.#outer = outer;
    this.#unread = unread;
    this.remoteAddr = outer.remoteAddr;
    // Cheaper than to read at each "readable", which comes some ticks later than the bytes.
    socket.on("data", (bytes: Uint8Array) => {
      unread.add(bytes);
      this.#wakeReader?.();
    });
    socket.on("end", () => {
      this.#isOver = true;
      this.#wakeReader?.();
    });
    socket.on("error", (error: Error) => this.#error ??= error);
    // By itself a connection goes on, deaf, after a record that cannot be read.
    socket.on("_tlsError", (error: Error) => {
      if (!this.#hasAgreed) return;
      this.#error ??= error;
      this.close();
    });
    socket.on("close", () => {
      closeQuietly(outer);
      clearTimeout(this.#endTimer);
      this.#isGone = true;
      this.#endWaits();
    });
  }

  /** Resolves when both sides have agreed on keys; rejects if they do not. */
  async handshake(): Promise<void> {
    await this.#untilDone(undefined, (done) => this.#socket.once("secure", () => done()));
    this.#hasAgreed = true;
  }

  /** Called at the end of the peer's bytes: a handshake that is under way will come to nothing. */
  endHandshake(): void {
    if (!this.#hasAgreed) this.close();
  }

  setNoDelay(isOn: boolean): void {
    this.#outer.setNoDelay?.(isOn);
  }

  setKeepAlive(isOn: boolean): void {
    this.#outer.setKeepAlive?.(isOn);
  }

  // Neither this nor `write` is an async function: each would make two promises more.
  read(buffer: Uint8Array): Promise<number | null> {
    return new Promise((resolve, reject) => {
      const look = () => {
        if (this.#isClosed) reject(this.#failure());
        else if (!this.#unread.isEmpty) resolve(this.#unread.take(buffer));
        else if (this.#isOver) resolve(null);
        else if (this.#isGone) reject(this.#failure());
        else return;
        this.#wakeReader = undefined;
      };
      this.#wakeReader = look;
      look();
    });
  }

  write(bytes: Uint8Array): Promise<number> {
    // Nothing in TLS is something on the wire: the socket itself is asked whether it is alive.
    if (bytes.length === 0) return this.#outer.write(bytes);
    return this.#untilDone(bytes.length, (done) => this.#socket.write(bytes, done));
  }

  async closeWrite(): Promise<void> {
    await this.#untilDone(undefined, (done) => this.#socket.end(done));
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#endWaits();
    if (this.#isGone) return;
    if (!this.#hasAgreed) return this.#destroy();
    // Without TLS's own end the peer must take the connection for cut off.
    this.#endTimer = setTimeout(() => this.#destroy(), endMs);
    this.#socket.end(() => this.#destroy());
  }

  #endWaits(): void {
    for (const reject of this.#waiting) reject(this.#failure());
    this.#waiting.clear();
    this.#wakeReader?.();
  }

  #destroy(): void {
    this.#socket.destroy();
    closeQuietly(this.#outer);
  }

  /**
   * Resolves with a value when what is started is done; no trace of it is left then, however long the
   * connection lives.
   */
  #untilDone<T>(value: T, start: (done: (error?: Error | null) => void) => void): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.#isClosed || this.#isGone) return reject(this.#failure());
      this.#waiting.add(reject);
      start((error) => {
        this.#waiting.delete(reject);
        if (error) reject(error);
        else resolve(value);
      });
    });
  }

  #failure(): Error {
    return this.#error ?? new Deno.errors.Interrupted("the connection is closed");
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
