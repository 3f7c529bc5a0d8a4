/**
 * Who may connect: whether a token is the right one, and which addresses have guessed too often.
 *
 * One of these serves all that asks for the token, so that guesses count together wherever they are
 * made. It knows neither the wire nor HTTP.
 *
 * @module
 */

import { type Clock, systemClock } from "../clock.ts";
import { counted } from "../counted.ts";
import { Complaints } from "./complaints.ts";

/** Wrong tokens of one address after which it is not heard for a while. */
export const maxWrongTokens = 10;

/** The time in which these are counted, and for which the address is then not heard. */
const windowMs = 60_000;

/** Most addresses that are remembered; beyond, the one whose time is over first is forgotten. */
const maxAddresses = 1000;

/** What is remembered of an address. */
interface Guesses {
  wrong: number;
  /** When the first of them came, or the last one that was borne: then its time begins anew. */
  sinceMs: number;
  /** How often it was not heard. */
  unheard: number;
}

/** Checks tokens, and counts the wrong ones by address. */
export class Access {
  readonly #digest: Uint8Array;
  readonly #complaints: Complaints;
  readonly #clock: Clock;
  /** In the order in which their times are over. */
  readonly #guesses = new Map<string, Guesses>();

  private constructor(
    digest: Uint8Array,
    { say, clock = systemClock }: { readonly say: (line: string) => void; readonly clock?: Clock },
  ) {
    this.#digest = digest;
    this.#clock = clock;
    this.#complaints = new Complaints(say, () => clock.nowMs());
  }

  /**
   * Makes the check of one token.
   *
   * @param options.say takes a bounded number of lines for the operator, who is told of wrong tokens
   * by address.
   */
  static async of(
    token: string,
    options: { readonly say: (line: string) => void; readonly clock?: Clock },
  ): Promise<Access> {
    return new Access(await digestOf(token), options);
  }

  /**
   * Whether an address is not to be heard, because it said ten wrong tokens in a minute. If so, its
   * asking is counted. Cost: O(1).
   */
  isBlocked(address: string): boolean {
    this.#forgetOld();
    const guesses = this.#guesses.get(address);
    if (guesses === undefined || guesses.wrong < maxWrongTokens) return false;
    guesses.unheard++;
    return true;
  }

  /**
   * Whether a token is the right one; takes the same time for any of that length. Of an address that
   * is not to be heard none is.
   */
  async check(address: string, token: string): Promise<boolean> {
    const digest = await digestOf(token);
    if (this.isBlocked(address)) return false;
    // Each byte is looked at: the time tells nothing of how many were right, nor would it help, as
    // nobody can choose a digest.
    const difference = digest.reduce((all, byte, i) => all | (byte ^ (this.#digest[i] ?? 0)), 0);
    if (difference === 0) return true;
    this.#noteWrong(address);
    return false;
  }

  /** Says what was not said yet: for the end of the server. */
  close(): void {
    for (const address of [...this.#guesses.keys()]) this.#forget(address);
    this.#complaints.close();
  }

  #noteWrong(address: string): void {
    const nowMs = this.#clock.nowMs();
    const guesses = this.#guesses.get(address) ?? { wrong: 0, sinceMs: nowMs, unheard: 0 };
    guesses.wrong++;
    const isLast = guesses.wrong === maxWrongTokens;
    if (isLast) guesses.sinceMs = nowMs;
    if (isLast) this.#guesses.delete(address);
    this.#guesses.set(address, guesses);
    this.#complaints.add(address, "wrong token", "authentication required: a wrong token");
    if (isLast) {
      const seconds = windowMs / 1000;
      this.#complaints.add(
        address,
        "blocked",
        `${maxWrongTokens} wrong tokens: its new connections are closed for ${seconds} s`,
      );
    }
    const [first] = this.#guesses.keys();
    if (this.#guesses.size > maxAddresses) this.#forget(first as string);
  }

  #forgetOld(): void {
    const startMs = this.#clock.nowMs() - windowMs;
    for (const [address, { sinceMs }] of this.#guesses) {
      if (sinceMs > startMs) return;
      this.#forget(address);
    }
  }

  #forget(address: string): void {
    const unheard = this.#guesses.get(address)?.unheard ?? 0;
    this.#guesses.delete(address);
    if (unheard > 0) {
      const said = `${counted(unheard, "attempt was", "attempts were")} not heard meanwhile`;
      this.#complaints.add(address, "not heard", said);
    }
    this.#complaints.end(address);
  }
}

async function digestOf(token: string): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(token)));
}
