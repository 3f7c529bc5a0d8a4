/**
 * Bytes to lines for peers that tests and tools play themselves: without limits, and without the
 * code under test.
 *
 * @module
 */

/** Lines that are taken one by one. */
export class LineBuffer {
  readonly #decoder = new TextDecoder();
  #text = "";

  /** Adds what has come. */
  add(bytes: Uint8Array): void {
    this.#text += this.#decoder.decode(bytes, { stream: true });
  }

  /** Takes the next whole line, without its LF; undefined where there is none yet. */
  next(): string | undefined {
    const end = this.#text.indexOf("\n");
    if (end === -1) return undefined;
    const line = this.#text.slice(0, end);
    this.#text = this.#text.slice(end + 1);
    return line;
  }
}
