/**
 * A growing buffer of bytes that is emptied and filled again instead of being thrown away.
 *
 * `TextEncoder.encode` allocates a new array for each text, which costs several times as much as
 * the encoding itself.
 *
 * @module
 */

const encoder = new TextEncoder();

/** Most bytes of UTF-8 per UTF-16 code unit, the unit of a JavaScript string's length. */
const maxCharBytes = 3;

/** A buffer that has grown beyond this many times its first size is not kept by `clear()`. */
const maxKeptGrowth = 16;

/** A sequence of bytes to which bytes and texts are appended. */
export class ByteBuffer {
  readonly #firstSize: number;
  #room: Uint8Array<ArrayBuffer>;
  #length = 0;

  /**
   * Makes an empty buffer.
   *
   * @param firstSize how many bytes fit before the buffer grows; at least 1.
   */
  constructor(firstSize: number) {
    this.#firstSize = firstSize;
    this.#room = new Uint8Array(firstSize);
  }

  /** The bytes added so far. A view, not a copy: valid only until the next `add` or `clear`. */
  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#room.subarray(0, this.#length);
  }

  /** Appends bytes. Amortized cost: O(1) per byte. */
  add(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#room.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  /** Appends a text as UTF-8. Amortized cost: O(1) per character. */
  addText(text: string): void {
    // Enough if the text is ASCII. If it is not, the encoder stops early, and the rest follows.
    this.#reserve(text.length);
    const read = this.#encode(text);
    if (read === text.length) return;
    this.#reserve(maxCharBytes * (text.length - read));
    this.#encode(text.slice(read));
  }

  /** Empties the buffer. Keeps its memory for the next use, unless it has grown unusually large. */
  clear(): void {
    this.#length = 0;
    if (this.#room.length > maxKeptGrowth * this.#firstSize) {
      this.#room = new Uint8Array(this.#firstSize);
    }
  }

  #encode(text: string): number {
    const { read, written } = encoder.encodeInto(text, this.#room.subarray(this.#length));
    this.#length += written;
    return read;
  }

  #reserve(bytes: number): void {
    const length = this.#length + bytes;
    if (length <= this.#room.length) return;
    const longer = new Uint8Array(Math.max(length, 2 * this.#room.length));
    longer.set(this.bytes);
    this.#room = longer;
  }
}
