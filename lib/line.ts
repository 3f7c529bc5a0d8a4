/**
 * A line received from a peer: its text, or the reason why it could not be read.
 *
 * @module
 */

/** Takes the place of one line that cannot be read; those before and after it are unaffected. */
export class UnreadableLine {
  /** What is wrong with the line, as one line of printable text. */
  readonly reason: string;

  /** Makes the replacement for a line. */
  constructor(reason: string) {
    this.reason = reason;
  }
}

/** Says of a line that it has more bytes than a line may have, its LF included. */
export function tooLongReason(maxLineBytes: number): string {
  return `line must have at most ${maxLineBytes} bytes with its LF`;
}

/** The text of a line without its line end, or an {@linkcode UnreadableLine} in its place. */
export type Line = string | UnreadableLine;
