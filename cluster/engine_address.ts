/**
 * Where an engine is: `postgres://user@a,b:5433,c/queue?sslmode=verify-full`.
 *
 * @module
 */

import { parsePort } from "../lib/cli/arguments.ts";
import { checkHost } from "../lib/net/address.ts";
import { quote } from "../lib/quote.ts";
import { UsageError } from "../lib/user_error.ts";

/** PostgreSQL's port. */
const standardPort = "5432";

/** A node of an engine. */
export interface Host {
  /** Its address or name. */
  readonly hostname: string;
  /** Its port. */
  readonly port: number;
}

/** Where an engine is, and who asks it. */
export interface EngineAddress {
  /** Its nodes; any may be the primary. */
  readonly hosts: readonly Host[];
  /** The user. */
  readonly user: string;
  /** The database. */
  readonly database: string;
  /** The user's password; the environment's PGPASSWORD if left out. */
  readonly password?: string | undefined;
  /** Whether the connection is encrypted, and the engine must prove its name. */
  readonly usesTls: boolean;
}

/**
 * Reads the address of an engine.
 *
 * @throws {UsageError} it is none.
 */
export function parseEngineAddress(text: string, password?: string): EngineAddress {
  const [, user, hosts, database, sslmode] =
    /^postgres(?:ql)?:\/\/([\w-]+)@([^/?@]+)\/([\w-]+)(?:\?sslmode=([\w-]+))?$/.exec(text) ?? [];
  if (user === undefined || hosts === undefined || database === undefined) {
    // Not shown as it was given: there may be a password in it.
    throw new UsageError(
      "--engine must be like postgres://user@host1,host2:5433,host3/database; a password is given by " +
        "PGPASSWORD or --engine-password-file",
    );
  }
  if (sslmode !== undefined && sslmode !== "disable" && sslmode !== "verify-full") {
    throw new UsageError(
      `--engine's sslmode must be verify-full or disable, got ${quote(sslmode)}`,
    );
  }
  return {
    hosts: hosts.split(",").map(parseHost),
    ...{ user, database, password },
    usesTls: sslmode === "verify-full",
  };
}

function parseHost(text: string): Host {
  const [hostname = "", port = standardPort, ...rest] = text.split(":");
  if (rest.length > 0) {
    throw new UsageError(`--engine's host must be host:port, got ${quote(text)}`);
  }
  checkHost(hostname);
  return { hostname, port: parsePort(port, "--engine's port") };
}
