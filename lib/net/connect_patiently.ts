/**
 * Connecting to a server that may not be there yet, or not any more.
 *
 * @module
 */

import { type Clock, sleep, systemClock } from "../clock.ts";
import { type Address, connect, formatAddress, UnreachableError } from "./address.ts";

/** The first pause between two attempts, in milliseconds; each next one is twice as long. */
const firstPauseMs = 100;

/**
 * The longest pause, in milliseconds: nobody notices it after a restart. A connection that lasted as
 * long was a good one, after which the pauses begin anew.
 */
const maxPauseMs = 5_000;

/** The user is told of a server that cannot be reached at once, and then this often. */
const sayEveryMs = 60_000;

/** How {@linkcode connectPatiently} connects. */
export interface PatienceOptions {
  /** Ends it. */
  readonly signal: AbortSignal;
  /** Whether it tries again; if not, there is one connection, or the error of the first attempt. */
  readonly isPatient: boolean;
  /** Takes a line for the user: why it tries again, and that it has succeeded. */
  readonly say: (line: string) => void;
  /** Tells the time: the system's, if left out. */
  readonly clock?: Clock;
}

/**
 * Yields a connection to a server, and another one as often as it is asked for the next: then the
 * one before has been lost. Its caller closes each.
 *
 * Between attempts it pauses for 100 ms to 5 s, the longer the more have failed. Up to half of a
 * pause is left out by chance, so that many clients of one server do not come back all at once.
 *
 * @throws {UserError} if it cannot connect, and is not patient, or trying again has no use.
 */
export async function* connectPatiently(
  address: Address,
  { signal, isPatient, say, clock = systemClock }: PatienceOptions,
): AsyncGenerator<Deno.TcpConn, void> {
  let pauseMs = firstPauseMs;
  let saidMs = -Infinity;
  let isAwaited = false;
  for (;;) {
    let problem: string;
    try {
      const conn = await connect(address, signal);
      if (conn === undefined) return;
      if (isAwaited) say(`connected to ${formatAddress(address)}`);
      isAwaited = false;
      const connectedMs = clock.nowMs();
      yield conn;
      problem = `the connection to ${formatAddress(address)} has ended`;
      if (clock.nowMs() - connectedMs >= maxPauseMs) {
        pauseMs = firstPauseMs;
        saidMs = -Infinity;
      }
    } catch (error) {
      if (!isPatient || !(error instanceof UnreachableError)) throw error;
      problem = error.message;
    }
    if (!isPatient || signal.aborted) return;
    if (clock.nowMs() - saidMs >= sayEveryMs) {
      say(`${problem}; trying again until Ctrl+C`);
      saidMs = clock.nowMs();
      isAwaited = true;
    }
    if (!await sleep(pauseMs * (1 - Math.random() / 2), signal, clock)) return;
    pauseMs = Math.min(2 * pauseMs, maxPauseMs);
  }
}
