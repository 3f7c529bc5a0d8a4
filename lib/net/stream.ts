/**
 * What a connection needs of whatever carries its bytes: TCP, TLS, or a simulated network.
 *
 * The sockets of Deno are such streams as they are.
 *
 * @module
 */

import type { Address } from "../address.ts";

/** Bytes in both directions, each of which ends by itself. */
export interface Stream {
  /** The peer's address. */
  readonly remoteAddr: Address;
  /** Reads some bytes into the buffer, and tells how many; null at the end of the peer's side. */
  read(buffer: Uint8Array): Promise<number | null>;
  /** Hands over some of the bytes, and tells how many. */
  write(bytes: Uint8Array): Promise<number>;
  /** Ends our side: the peer reads to the end of what was written. */
  closeWrite(): Promise<void>;
  /** Ends both sides at once. */
  close(): void;
  /** Sends small writes at once; left out if there is no such choice. */
  setNoDelay?(isOn: boolean): void;
  /** Finds out in the end that a silent peer is gone; left out if there is no such choice. */
  setKeepAlive?(isOn: boolean): void;
}

/** Where streams come from. */
export interface Listener {
  /** Waits for the next peer. */
  accept(): Promise<Stream>;
  /** Accepts no more peers: an accept that waits is rejected. */
  close(): void;
}

/**
 * Begins TLS on a stream as its server.
 *
 * @param first what was read of the stream already.
 * @returns the stream within; rejects if the handshake fails, or the stream is closed meanwhile.
 */
export type SecureStream = (stream: Stream, first: Uint8Array) => Promise<Stream>;
