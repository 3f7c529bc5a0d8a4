/**
 * Small files that a program reads at its start: a token, certificates, a key.
 *
 * @module
 */

import { UsageError, type UserError } from "../user_error.ts";
import { escape } from "../quote.ts";

/** Longest file that is read, in bytes: all authorities that a system trusts take 220 KB. */
const maxFileBytes = 1024 * 1024;

/** The bits of a file's mode by which others than its owner may read or write it. */
const othersMode = 0o077;

/**
 * Reads a token: the file's one line.
 *
 * @param options.check says whether a text may be a token, and throws an error with a message if not.
 * @param options.say takes a line for the user, if others may read the file.
 * @throws {UsageError} it cannot be read, or holds no token. The message does not contain the token.
 */
export async function readTokenFile(
  path: string,
  options: { readonly check: (text: string) => string; readonly say: (line: string) => void },
): Promise<string> {
  const text = await readSmallFile(path);
  warnOfOthers(path, options.say);
  const [line = "", ...rest] = text.split(/\r?\n/);
  if (rest.join("") !== "") throw new UsageError(`${escape(path)} must hold one line: the token`);
  try {
    return options.check(line);
  } catch (error) {
    throw new UsageError(`${escape(path)}: ${(error as Error).message}`);
  }
}

/**
 * Says, if it is so, that others than the owner of a file may read or change it.
 *
 * @param say takes a line for the user.
 */
export function warnOfOthers(path: string, say: (line: string) => void): void {
  const { isFile, mode } = Deno.statSync(path);
  // A pipe has no mode to speak of, nor has any file on Windows.
  if (!isFile || ((mode ?? 0) & othersMode) === 0) return;
  say(`${escape(path)} may be read by others: chmod 600 ${escape(path)}`);
}

/**
 * Reads a text file of at most 1 MiB.
 *
 * @throws {UsageError} it cannot be read, or is longer.
 */
export async function readSmallFile(path: string): Promise<string> {
  try {
    using file = await Deno.open(path);
    const bytes = new Uint8Array(maxFileBytes + 1);
    let length = 0;
    for (let count: number | null; (count = await file.read(bytes.subarray(length))) !== null;) {
      length += count;
      if (length > maxFileBytes) throw new UsageError(`${escape(path)} is longer than 1 MiB`);
    }
    return new TextDecoder().decode(bytes.subarray(0, length));
  } catch (error) {
    throw error instanceof UsageError ? error : explainUnreadable(error, escape(path));
  }
}

/** Makes a message of one line from an error of opening or reading a file. */
export function explainUnreadable(error: unknown, name: string): UserError {
  const reason = error instanceof Deno.errors.NotCapable
    ? "reading files is not allowed (run with --allow-read)"
    : error instanceof Deno.errors.NotFound
    ? "no such file"
    : error instanceof Deno.errors.IsADirectory
    ? "it is a directory"
    : error instanceof Deno.errors.PermissionDenied
    ? "permission denied"
    : error instanceof Error
    ? error.message
    : String(error);
  return new UsageError(`Cannot read ${name}: ${reason}`);
}
