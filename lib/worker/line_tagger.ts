/**
 * Puts a tag before each line of a stream of bytes, which may be no text.
 *
 * @module
 */

const lf = 0x0a;

/** Tags the lines of one stream. */
export class LineTagger {
  readonly #tag: Uint8Array;
  #isInLine = false;

  /** Makes a tagger at the beginning of a stream. */
  constructor(tag: string) {
    this.#tag = new TextEncoder().encode(tag);
  }

  /** Returns the next bytes, cut anywhere, with the tag before each line that begins in them. */
  tag(bytes: Uint8Array): Uint8Array {
    const pieces: Uint8Array[] = [];
    for (let start = 0; start < bytes.length;) {
      const end = bytes.indexOf(lf, start) + 1 || bytes.length;
      if (!this.#isInLine) pieces.push(this.#tag);
      pieces.push(bytes.subarray(start, end));
      this.#isInLine = bytes[end - 1] !== lf;
      start = end;
    }
    return concat(pieces);
  }

  /** Ends the stream; returns the LF that its last line lacks, if it does. */
  end(): Uint8Array | undefined {
    return this.#isInLine ? Uint8Array.of(lf) : undefined;
  }
}

function concat(pieces: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}
