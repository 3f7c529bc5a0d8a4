/**
 * Texts to keep for long: each holds the memory of its own characters and no more.
 *
 * In V8 a slice of 13 characters or more points into the text it was cut from. A task's name would
 * keep alive all the text that it came with.
 *
 * @module
 */

/** Slices up to this length are copies anyway (V8, SlicedString::kMinLength). */
const longestCopiedSlice = 12;

const anything = /^[^]*$/;

/** Returns the same characters as a text that keeps no other alive. Cost: O(length). */
export function ownText(text: string): string {
  if (text.length <= longestCopiedSlice) return text;
  const joined = text.slice(0, 1) + text.slice(1);
  // A search needs the characters in one piece: it makes V8 copy them together.
  anything.test(joined);
  return joined;
}

/** Distinct texts that a pool keeps: what repeats is among the first thousand. */
const maxPooledTexts = 1000;

/** One copy of each of the texts that come again and again, such as durations. */
export class TextPool {
  readonly #texts = new Map<string, string>();

  /** Returns the pool's copy of a text. Cost: O(length). */
  share(text: string): string {
    const shared = this.#texts.get(text);
    if (shared !== undefined) return shared;
    const own = ownText(text);
    if (this.#texts.size < maxPooledTexts) this.#texts.set(own, own);
    return own;
  }
}
