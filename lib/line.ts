/**
 * What a line of a peer is, whether or not it can be read.
 *
 * @module
 */

/** Stands in the place of a line that cannot be read, and only of that one. */
export class UnreadableLine {
  /** One line of printable text that says what is wrong. */
  readonly reason: string;

  /** Makes the stand-in for a line. */
  constructor(reason: string) {
    this.reason = reason;
  }
}

/** A line without its line end, or what stands in for one that cannot be read. */
export type Line = string | UnreadableLine;
