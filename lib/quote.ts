/**
 * Makes a value from a peer, a file or a user safe to print on a terminal.
 *
 * @module
 */

/** Longest quoted text, in characters: enough to recognise the value, short enough for one line. */
const maxQuotedLength = 64;

/**
 * Characters that must never reach a terminal unescaped: controls (ESC, BEL, C1), format characters
 * (bidirectional overrides, zero width), line and paragraph separators, lone surrogates.
 * Unicode general categories Cc, Cf, Zl, Zp, Cs (UAX #44, 5.7.1).
 */
const unprintable = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

/** Replaces each character that could act on a terminal by an escape such as `\u{1b}`. */
export function escape(text: string): string {
  return text.replace(unprintable, (char) => `\\u{${char.codePointAt(0)?.toString(16)}}`);
}

/** Escapes a value, puts it in double quotes, and cuts it with `...` after 64 characters. */
export function quote(text: string): string {
  // Also cut before escaping, because a value may be megabytes long.
  const start = [...text.slice(0, 4 * maxQuotedLength)].slice(0, maxQuotedLength + 1).join("");
  const escaped = [...escape(start.replace(/[\\"]/g, "\\$&"))];
  return escaped.length > maxQuotedLength
    ? `"${escaped.slice(0, maxQuotedLength).join("")}..."`
    : `"${escaped.join("")}"`;
}
