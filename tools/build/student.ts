/**
 * Who hands the work in, as it stands on the report's title page and in the archive's name. Pure.
 *
 * @module
 */

import { UsageError } from "../../lib/user_error.ts";
import { quote } from "../../lib/quote.ts";

/** Who hands the work in; what is not known is left out of the title page. */
export interface Student {
  /** The name, in any script. */
  readonly name?: string;
  /** The student's id, ten digits. */
  readonly id?: string;
}

/** Longest name that fits one line of the title page, in characters. */
const maxNameChars = 60;

/**
 * Reads an id.
 *
 * @throws {UserError} with exit code 2 if it is not ten digits.
 */
export function parseId(text: string): string {
  if (/^[0-9]{10}$/.test(text)) return text;
  throw new UsageError(`id must be ten digits, got ${quote(text)}`);
}

/**
 * Reads a name.
 *
 * @throws {UserError} with exit code 2 if it is blank, longer than a line, or holds control
 * characters.
 */
export function parseName(text: string): string {
  const name = text.trim();
  const isPrintable = !/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(name);
  if (name !== "" && isPrintable && [...name].length <= maxNameChars) return name;
  throw new UsageError(
    `name must be 1 to ${maxNameChars} printable characters, got ${quote(text)}`,
  );
}

/** Reads both out of a command line's options `name` and `id`. */
export function parseStudent(options: ReadonlyMap<string, string>): Student {
  const [name, id] = [options.get("name"), options.get("id")];
  return {
    ...(name === undefined ? {} : { name: parseName(name) }),
    ...(id === undefined ? {} : { id: parseId(id) }),
  };
}
