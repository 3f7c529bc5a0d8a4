/**
 * How a client connects.
 *
 * @module
 */

import { parseToken } from "../core/protocol.ts";
import type { TlsOptions } from "./transport.ts";

/** How a client connects, and what it does when the connection is lost. */
export interface ConnectOptions {
  /**
   * The server's IP address or name; 127.0.0.1 if left out. A name is looked up for each connection,
   * and its IPv4 address is taken if it has one.
   */
  readonly hostname?: string;
  /** The server's port for producers or for consumers, from 1 to 65535. */
  readonly port: number;
  /** The server's token, if it asks for one: what its `--token-file` holds. */
  readonly token?: string;
  /**
   * Whether TLS is spoken, and whom to trust. The server's certificate must be for `hostname`, and
   * from an authority that the runtime trusts or that `caCerts` has, each as PEM.
   */
  readonly tls?: boolean | TlsOptions;
  /**
   * Ends connecting and waiting, and then the client: what waits rejects with the signal's reason.
   */
  readonly signal?: AbortSignal;
  /**
   * How long it waits before it connects again, in milliseconds: `firstMs` after the first failure
   * (100), twice as long after each further one, `mostMs` at most (5000); a random part of up to a
   * half is taken off. With `false` an attempt that fails is not repeated: whoever needed it gets a
   * DisconnectedError.
   */
  readonly retry?: false | { readonly firstMs?: number; readonly mostMs?: number };
  /**
   * Is told that the connection was lost, or could not be made, and that the next attempt, of which
   * it gets the number, is made after so many milliseconds, if somebody needs it then. An attempt
   * counts from 1, and anew after a connection that has lasted for `mostMs`.
   */
  readonly onDisconnect?: (cause: Error, attempt: number, waitMs: number) => void;
}

/**
 * Checks options as far as their types cannot.
 *
 * @throws {RangeError} a value is out of range; its name is in the message.
 */
export function checkConnectOptions({ port, retry, token }: ConnectOptions): void {
  checkNumber("port", port, { least: 1, most: 65_535, isWhole: true });
  if (token !== undefined) checkToken(token);
  if (retry === undefined || retry === false) return;
  checkNumber("retry.firstMs", retry.firstMs ?? 0, { least: 0 });
  checkNumber("retry.mostMs", retry.mostMs ?? 0, { least: 0 });
}

function checkToken(token: string): void {
  try {
    parseToken(token);
  } catch (error) {
    throw new RangeError((error as Error).message);
  }
}

/**
 * Checks a number.
 *
 * @throws {RangeError} it is no number, or out of range.
 */
export function checkNumber(
  name: string,
  value: number,
  range: { readonly least: number; readonly most?: number; readonly isWhole?: boolean },
): void {
  const { least, most = Infinity, isWhole = false } = range;
  if (value >= least && value <= most && (!isWhole || Number.isInteger(value))) return;
  const upTo = most === Infinity ? ` of ${least} or more` : ` from ${least} to ${most}`;
  throw new RangeError(`${name} must be a ${isWhole ? "whole " : ""}number${upTo}, got ${value}`);
}
