/**
 * What a client needs of a network, whichever runtime has it.
 *
 * @module
 */

import type { Address } from "../address.ts";

/** Where a server listens, and what it asks of those who connect. */
export interface ServerAddress extends Address {
  /** The token that is said first; left out if the server asks for none. */
  readonly token?: string | undefined;
  /** How TLS is spoken; left out if it is not. */
  readonly tls?: TlsOptions | undefined;
}

/** How TLS is spoken. */
export interface TlsOptions {
  /** Authorities to trust besides the usual ones, each as PEM. Node and Bun trust these alone. */
  readonly caCerts?: readonly string[];
}

/** Is told what comes over a connection. */
export interface TransportEvents {
  /** Takes the next bytes, at most some 64 KiB. They are valid only until it returns. */
  data(bytes: Uint8Array): void;
  /** Called when nothing more comes: the peer has closed its side, or there was an error. */
  end(error?: Error): void;
}

/** An open connection. Its sockets send small lines at once (TCP_NODELAY). */
export interface Transport {
  /** Sends bytes; the next call must wait for this one. Rejects if the connection is gone. */
  write(bytes: Uint8Array): Promise<void>;
  /** Closes this side: the peer reads to the end, and can still send. Never throws. */
  closeWrite(): void;
  /** Closes the connection at once. Never throws. */
  close(): void;
}

/** Opens a connection; rejects if that fails, or when the signal is aborted. */
export type OpenTransport = (
  address: ServerAddress,
  events: TransportEvents,
  signal: AbortSignal,
) => Promise<Transport>;
