/**
 * A stream as node:stream has them: for node:tls and node:http.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import type { Duplex } from "node:stream";
import { setImmediate } from "node:timers";
import type { Stream } from "./stream.ts";

/** Bytes read from a stream at a time: 10,000 connections that wait hold one such buffer each. */
export const readBytes = 4 * 1024;

/**
 * Makes a duplex of a stream, which is closed with it.
 *
 * @param options.first what was read of the stream already; it comes in a turn of its own.
 * @param options.room resolves when more may be read; undefined if more may be read now.
 * @param options.readerCopies whether its reader, such as node:tls, copies what it is given before it
 * returns: then that is not copied here.
 */
export function duplexOf(
  stream: Stream,
  { first, room, readerCopies = false }: {
    readonly first?: Uint8Array;
    readonly room?: () => Promise<void> | undefined;
    readonly readerCopies?: boolean;
  } = {},
): Duplex {
  // Not imported: who serves no duplex need not load it, and lib/http/ loads it late.
  const { Duplex } = globalThis.process.getBuiltinModule("node:stream");
  const buffer = Buffer.alloc(readBytes);
  let isAtStart = first !== undefined;
  const fail = (error: Error) => void duplex.destroy(error);
  const push = (count: number | null) => {
    if (count === null) return void duplex.push(null);
    const bytes = buffer.subarray(0, count);
    // What waits for its reader must not be overwritten by the next read.
    const isTakenNow = duplex.readableFlowing === true && duplex.readableLength === 0;
    duplex.push(readerCopies && isTakenNow ? bytes : Buffer.from(bytes));
  };
  const read = () => void stream.read(buffer).then(push, fail);
  // By callbacks, not as async functions: the promises of these would be a tenth of the cost of TLS.
  const write = (bytes: Uint8Array, done: (error?: Error) => void): void => {
    stream.write(bytes).then((count) => {
      if (count < bytes.length) write(bytes.subarray(count), done);
      else done();
    }, done);
  };
  const duplex = new Duplex({
    allowHalfOpen: true,
    read() {
      if (isAtStart) {
        isAtStart = false;
        // Deno's TLSSocket starts in a tick of its own after it is made. If bytes that are no TLS
        // wait for it then, it throws where nobody can catch it, and that ends the process.
        setImmediate(() => void duplex.push(Buffer.from(first as Uint8Array)));
        return;
      }
      const wait = room?.();
      if (wait === undefined) read();
      else wait.then(read);
    },
    write(bytes: Uint8Array, _encoding, done) {
      write(bytes, done);
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

/** Closes a stream that may be closed already. */
export function closeQuietly(stream: Stream): void {
  try {
    stream.close();
  } catch {
    // It is closed already.
  }
}
