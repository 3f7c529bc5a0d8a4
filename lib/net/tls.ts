/**
 * TLS for a server, over any stream: by node:tls, which is loaded with this module only if TLS is
 * asked for.
 *
 * `Deno.listenTls` is no choice: its connections keep their sockets when they are closed during a
 * handshake or a write, as long as the peer wishes, and cannot switch off Nagle's algorithm.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { createPrivateKey, X509Certificate } from "node:crypto";
import { Duplex } from "node:stream";
import { setImmediate } from "node:timers";
import { createSecureContext, TLSSocket } from "node:tls";
import { UsageError } from "../user_error.ts";
import type { Address } from "../address.ts";
import type { SecureStream, Stream } from "./stream.ts";

/** Bytes read from a stream at a time: 10,000 connections that wait hold one such buffer each. */
const readBytes = 4 * 1024;

/** How long sending the end of TLS may take when a connection is closed, in milliseconds. */
const endMs = 200;

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
  const secureContext = createSecureContext({ ...identity, minVersion: "TLSv1.2" });
  return async (stream, first) => {
    const inner = duplexOf(stream, first);
    // Deno's types know fewer options than its code.
    const options = { isServer: true, secureContext, allowHalfOpen: true };
    const secured = new TlsStream(new TLSSocket(inner as never, options), stream);
    // What came before the end is looked at first: it may be all that a client has to say.
    inner.once("end", () => void setImmediate(() => secured.endHandshake()));
    await secured.handshake();
    return secured;
  };
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
  const privateKey = read("--tls-key", () => createPrivateKey(key));
  if (!certificate.checkPrivateKey(privateKey)) {
    throw new UsageError("--tls-cert and --tls-key do not belong together: another key was used");
  }
  const { validFrom, validTo } = certificate;
  if (Date.parse(validTo) < nowMs) say(`the certificate has expired: it was valid to ${validTo}`);
  if (Date.parse(validFrom) > nowMs) say(`the certificate is valid only from ${validFrom}`);
}

/** What node:tls reads and writes: the stream, with what was read of it already put back. */
function duplexOf(stream: Stream, first: Uint8Array): Duplex {
  const buffer = new Uint8Array(readBytes);
  let isAtStart = true;
  const readNext = async (): Promise<Buffer | null> => {
    if (isAtStart) {
      isAtStart = false;
      // Deno's TLSSocket starts in a tick of its own after it is made. If bytes that are no TLS wait
      // for it then, it throws where nobody can catch it, and that ends the process.
      await new Promise<void>((resolve) => void setImmediate(resolve));
      return Buffer.from(first);
    }
    const count = await stream.read(buffer);
    // Copied, as the next read may come before this is used.
    return count === null ? null : Buffer.from(buffer.slice(0, count));
  };
  const writeAll = async (bytes: Uint8Array) => {
    for (let sent = 0; sent < bytes.length;) sent += await stream.write(bytes.subarray(sent));
  };
  const duplex = new Duplex({
    allowHalfOpen: true,
    read() {
      readNext().then((bytes) => duplex.push(bytes), (error) => duplex.destroy(error));
    },
    write(bytes: Uint8Array, _encoding, done) {
      writeAll(bytes).then(() => done(), done);
    },
    final(done) {
      stream.closeWrite().then(() => done(), done);
    },
    destroy(error, done) {
      closeQuietly(stream);
      done(error);
    },
  });
  return duplex;
}

/** The stream within TLS. */
class TlsStream implements Stream {
  readonly remoteAddr: Address;

  readonly #socket: TLSSocket;
  readonly #outer: Stream;
  #error: Error | undefined;
  #isOver = false;
  #isClosed = false;
  /** Resolves when there may be something to read, or nothing will be any more. */
  #change = Promise.withResolvers<void>();
  #hasAgreed = false;
  /** Resolves when it is closed, by either side. */
  readonly #closed = Promise.withResolvers<void>();
  /** Resolves when nothing of it is left. */
  readonly #gone = Promise.withResolvers<void>();

  constructor(socket: TLSSocket, outer: Stream) {
    this.#socket = socket;
    this.#outer = outer;
    this.remoteAddr = outer.remoteAddr;
    socket.on("readable", () => this.#noteChange());
    socket.on("end", () => {
      this.#isOver = true;
      this.#noteChange();
    });
    socket.on("error", (error: Error) => this.#error ??= error);
    socket.on("close", () => {
      closeQuietly(outer);
      this.#gone.resolve();
      this.#setClosed();
    });
  }

  /** Resolves when both sides have agreed on keys; rejects if they do not. */
  async handshake(): Promise<void> {
    const agreed = Promise.withResolvers<void>();
    this.#socket.once("secure", () => agreed.resolve());
    await Promise.race([agreed.promise, this.#closed.promise.then(() => this.#fail())]);
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

  async read(buffer: Uint8Array): Promise<number | null> {
    for (;;) {
      if (this.#isClosed) return this.#isOver ? null : this.#fail();
      const { readableLength } = this.#socket;
      const bytes: Uint8Array | null = this.#socket.read(Math.min(readableLength, buffer.length));
      if (bytes !== null && bytes.length > 0) {
        buffer.set(bytes);
        return bytes.length;
      }
      if (this.#isOver) return null;
      await this.#change.promise;
    }
  }

  async write(bytes: Uint8Array): Promise<number> {
    // Nothing in TLS is something on the wire: the socket itself is asked whether it is alive.
    if (bytes.length === 0) return await this.#outer.write(bytes);
    await this.#untilDone((done) => this.#socket.write(bytes, done));
    return bytes.length;
  }

  async closeWrite(): Promise<void> {
    await this.#untilDone((done) => this.#socket.end(done));
  }

  close(): void {
    if (this.#isClosed) return;
    this.#setClosed();
    if (!this.#hasAgreed) return this.#destroy();
    // Without TLS's own end the peer must take the connection for cut off.
    const late = setTimeout(() => this.#destroy(), endMs);
    this.#gone.promise.then(() => clearTimeout(late));
    this.#socket.end(() => this.#destroy());
  }

  #setClosed(): void {
    this.#isClosed = true;
    this.#closed.resolve();
    this.#noteChange();
  }

  #noteChange(): void {
    this.#change.resolve();
    this.#change = Promise.withResolvers();
  }

  #destroy(): void {
    this.#socket.destroy();
    closeQuietly(this.#outer);
  }

  async #untilDone(start: (done: (error?: Error | null) => void) => void): Promise<void> {
    if (this.#isClosed) this.#fail();
    const done = Promise.withResolvers<void>();
    start((error) => error ? done.reject(error) : done.resolve());
    await Promise.race([done.promise, this.#closed.promise.then(() => this.#fail())]);
  }

  #fail(): never {
    throw this.#error ?? new Deno.errors.Interrupted("the connection is closed");
  }
}

function closeQuietly(stream: Stream): void {
  try {
    stream.close();
  } catch {
    // It is closed already.
  }
}
