/**
 * Connecting to a server that may not be there yet, or not any more.
 *
 * @module
 */

import { formatAddress } from "../address.ts";
import { Backoff } from "../backoff.ts";
import { type Clock, sleep, systemClock } from "../clock.ts";
import { connect, type Target, UnreachableError } from "./address.ts";

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

/** A connection of {@linkcode connectPatiently}. */
export interface PatientConnection {
  /** The connection; whoever gets it closes it. */
  readonly conn: Deno.TcpConn | Deno.TlsConn;
  /** Why another one is needed, as the user is told; set it if something better is known. */
  problem: string;
}

/**
 * Yields a connection to a server, and another one as often as it is asked for the next: then the
 * one before has been lost, or was of no use. Its caller closes each.
 *
 * Between attempts it pauses for 100 ms to 5 s, the longer the more have failed. Up to half of a
 * pause is left out by chance, so that many clients of one server do not come back all at once.
 *
 * @throws {UserError} if it cannot connect, and is not patient, or trying again has no use.
 */
export async function* connectPatiently(
  address: Target,
  { signal, isPatient, say, clock = systemClock }: PatienceOptions,
): AsyncGenerator<PatientConnection, void> {
  const backoff = new Backoff();
  const news = new News(say, clock);
  for (;;) {
    let livedMs = 0;
    let problem: string;
    let endsByConnecting = true;
    try {
      const conn = await connect(address, signal);
      if (conn === undefined) return;
      news.tellEnd(`connected to ${formatAddress(address)}`);
      const ended = `the connection to ${formatAddress(address)} has ended`;
      const connection = { conn, problem: ended };
      const connectedMs = clock.nowMs();
      yield connection;
      livedMs = clock.nowMs() - connectedMs;
      if (backoff.isLong(livedMs)) news.forget();
      ({ problem } = connection);
      endsByConnecting = problem === ended;
    } catch (error) {
      if (!isPatient || !(error instanceof UnreachableError)) throw error;
      problem = error.message;
    }
    if (!isPatient || signal.aborted) return;
    news.tell(problem, { endsByConnecting });
    if (!await sleep(backoff.fail(livedMs), signal, clock)) return;
  }
}

/** What the user is told: each problem at once, and then each minute as long as it lasts. */
class News {
  readonly #say: (line: string) => void;
  readonly #clock: Clock;
  /** When each problem was told last. */
  readonly #toldMs = new Map<string, number>();
  #isEndAwaited = false;

  constructor(say: (line: string) => void, clock: Clock) {
    this.#say = say;
    this.#clock = clock;
  }

  /** Tells a problem, of which it may be known that it is over as soon as there is a connection. */
  tell(problem: string, { endsByConnecting }: { readonly endsByConnecting: boolean }): void {
    const nowMs = this.#clock.nowMs();
    // That a connection has ended and that there is no new one is one problem.
    const key = endsByConnecting ? "no connection" : problem;
    if (nowMs - (this.#toldMs.get(key) ?? -Infinity) < sayEveryMs) return;
    this.#toldMs.set(key, nowMs);
    this.#say(`${problem}; trying again until Ctrl+C`);
    this.#isEndAwaited = endsByConnecting;
  }

  /** Tells that the problems are over, if any was told since. */
  tellEnd(line: string): void {
    if (this.#isEndAwaited) this.#say(line);
    this.#isEndAwaited = false;
  }

  /** Tells any problem at once that comes next. */
  forget(): void {
    this.#toldMs.clear();
  }
}
