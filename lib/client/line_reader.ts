/**
 * Cuts bytes into lines with bounded memory.
 *
 * @module
 */

import { ByteBuffer } from "../byte_buffer.ts";
import { highestMaxLineBytes } from "../core/protocol.ts";

const lf = 0x0a;

/** First size of the buffer for the beginning of a line: most replies are shorter. */
const firstTailBytes = 256;

/** Replaces no bad bytes, drops no BOM. */
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** What a peer sends, line by line. */
export class LineReader {
  readonly #onLine: (line: string) => boolean;
  /** The bytes after the last LF. */
  readonly #tail = new ByteBuffer(firstTailBytes);

  /**
   * Makes the reader of one connection.
   *
   * @param onLine takes a line without its LF and the CR before it; false if it wants no more.
   */
  constructor(onLine: (line: string) => boolean) {
    this.#onLine = onLine;
  }

  /**
   * Takes the next bytes, cut anywhere. Cost: O(1) per byte.
   *
   * @throws {RangeError} a line is longer than any line of the protocol.
   * @throws {TypeError} a line is not UTF-8.
   */
  take(bytes: Uint8Array): void {
    let start = 0;
    for (let end: number; (end = bytes.indexOf(lf, start)) !== -1; start = end + 1) {
      if (!this.#onLine(this.#line(bytes.subarray(start, end)))) return;
    }
    if (start < bytes.length) this.#keep(bytes.subarray(start));
  }

  #line(bytes: Uint8Array): string {
    let line = bytes;
    if (this.#tail.bytes.length > 0) {
      this.#keep(bytes);
      line = this.#tail.bytes;
    }
    checkLength(line);
    const text = decoder.decode(line);
    this.#tail.clear();
    return text.endsWith("\r") ? text.slice(0, -1) : text;
  }

  #keep(bytes: Uint8Array): void {
    this.#tail.add(bytes);
    checkLength(this.#tail.bytes);
  }
}

/** Also a line that has no LF yet is too long if it leaves no room for one. */
function checkLength({ length }: Uint8Array): void {
  if (length >= highestMaxLineBytes) {
    throw new RangeError(`a line of more than ${highestMaxLineBytes} bytes`);
  }
}
