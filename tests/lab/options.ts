/**
 * Options of tools and benches that are numbers.
 *
 * @module
 */

import { type Arguments, parseWholeNumber } from "../../lib/cli/arguments.ts";
import { quote } from "../../lib/quote.ts";
import { UsageError } from "../../lib/user_error.ts";

/** What a number may be, and what it is if it was not given. */
export interface NumberRange {
  /** Its value if it was not given. */
  readonly standard: number;
  /** The least whole number; 0 if left out. */
  readonly least?: number;
  /** The most; a billion if left out. */
  readonly most?: number;
}

/**
 * Reads an option that is a whole number.
 *
 * @throws {UsageError} it is none, or out of range.
 */
export function wholeOption(args: Arguments, name: string, range: NumberRange): number {
  const text = args.options.get(name);
  if (text === undefined) return range.standard;
  return parseWholeNumber(text, { name: `--${name}`, least: 0, most: 1e9, ...range });
}

/**
 * Reads an option that is a number above 0.
 *
 * @throws {UsageError} it is none, or out of range.
 */
export function decimalOption(args: Arguments, name: string, range: NumberRange): number {
  const text = args.options.get(name);
  if (text === undefined) return range.standard;
  const most = range.most ?? 1e9;
  const number = /^\d{1,9}(?:\.\d{1,9})?$/.test(text) ? Number(text) : NaN;
  if (number > 0 && number <= most) return number;
  throw new UsageError(`--${name} must be a number above 0, at most ${most}, got ${quote(text)}`);
}
