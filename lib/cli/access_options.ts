/**
 * The options by which a client shows that it may connect, and makes sure to whom it does.
 *
 * @module
 */

import type { Arguments } from "./arguments.ts";
import { readSmallFile, readTokenFile } from "./files.ts";
import { UsageError } from "../user_error.ts";

/** Flags that each client has. */
export const accessFlags: readonly string[] = ["tls"];

/** Options with a value that each client has. */
export const accessOptions: readonly string[] = ["token-file", "tls-ca"];

/** Their lines in the help of a client. */
export const accessHelp =
  `  --token-file <file>  say the token that the file holds, as the server asks for it
  --tls                speak TLS, and make sure that it is that server
  --tls-ca <file>      trust the authorities in this file, too`;

/** What a client shows and asks for when it connects. */
export interface ClientAccess {
  /** What it says first; undefined if it says none. */
  readonly token: string | undefined;
  /** Authorities to trust besides the usual ones, as PEM; undefined without TLS. */
  readonly tls: { readonly caCerts: readonly string[] } | undefined;
}

/**
 * Reads what the options name.
 *
 * @param options.check says whether a text may be a token, and throws if not.
 * @throws {UsageError} a file cannot be used, or `--tls` is missing.
 */
export async function readClientAccess(
  { flags, options: values }: Arguments,
  options: { readonly check: (text: string) => string; readonly say: (line: string) => void },
): Promise<ClientAccess> {
  const [tokenFile, caFile] = [values.get("token-file"), values.get("tls-ca")];
  if (caFile !== undefined && !flags.has("tls")) {
    throw new UsageError("--tls-ca needs --tls: without, nobody is asked who it is");
  }
  return {
    token: tokenFile === undefined ? undefined : await readTokenFile(tokenFile, options),
    tls: flags.has("tls")
      ? { caCerts: caFile === undefined ? [] : [await readCertificates(caFile)] }
      : undefined,
  };
}

async function readCertificates(path: string): Promise<string> {
  const text = await readSmallFile(path);
  if (/-----BEGIN CERTIFICATE-----[^]+-----END CERTIFICATE-----/.test(text)) return text;
  throw new UsageError(`${path} holds no certificate in PEM (-----BEGIN CERTIFICATE-----)`);
}

/**
 * What the user can do about a refusal, by its kind; undefined if it is none of access.
 *
 * @param hasToken whether a token was said.
 */
export function adviceOn(kind: string | undefined, hasToken: boolean): string | undefined {
  switch (kind) {
    case "authentication required":
      return hasToken
        ? "does not accept the token of --token-file"
        : "asks for a token: use --token-file FILE";
    case "no token asked for":
      return "asks for no token: leave out --token-file";
    case "TLS required":
      return "speaks TLS alone: use --tls";
    default:
      return undefined;
  }
}
