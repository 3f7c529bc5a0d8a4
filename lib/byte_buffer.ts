/**
 * Bytes gathered in one piece, in a buffer that grows and is used again.
 *
 * A new buffer for each text, as `TextEncoder.encode` makes it, costs several times the encoding.
 *
 * @module
 */

const encoder = new TextEncoder();

/** Most bytes that a character takes in UTF-8, counted as JavaScript counts them. */
const maxCharBytes = 3;

/** How many times its first size a buffer may have when it is used again. */
const maxKeptGrowth = 16;

/** Bytes that are added one after the other. */
export class ByteBuffer {
  readonly #firstSize: number;
  #room: Uint8Array<ArrayBuffer>;
  #length = 0;

  /**
   * Makes an empty buffer.
   *
   * @param firstSize the bytes that it has room for before it grows; at least 1.
   */
  constructor(firstSize: number) {
    this.#firstSize = firstSize;
    this.#room = new Uint8Array(firstSize);
  }

  /** The bytes themselves, not a copy: they are good until the next change. */
  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#room.subarray(0, this.#length);
  }

  /** Adds bytes. Cost: O(their number) over many calls. */
  add(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#room.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  /** Adds a text as UTF-8. Cost: O(its length) over many calls. */
  addText(text: string): void {
    // Enough for ASCII; the rest of another text comes after.
    this.#reserve(text.length);
    const read = this.#encode(text);
    if (read === text.length) return;
    this.#reserve(maxCharBytes * (text.length - read));
    this.#encode(text.slice(read));
  }

  /** Takes all bytes out; room that an unusual amount took is given up. */
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
