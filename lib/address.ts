/**
 * Addresses of sockets: from the command line to IPv4, and back to words when one fails.
 *
 * @module
 */

import { exitCode, parseWholeNumber, UserError } from "./cli.ts";
import { quote } from "./quote.ts";

/**
 * Connections that may wait to be accepted. With Deno's default of 511 a storm of connects overflows it,
 * and each dropped connect is tried again only after a second; the kernel cuts this to its own limit.
 */
const tcpBacklog = 4096;

/** An IPv4 address and a port. */
export interface Address {
  /** Four decimal numbers. */
  readonly hostname: string;
  /** 0 to 65535; 0 lets the system choose where a server listens. */
  readonly port: number;
}

const ipv4 = /^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.|$)){4}(?<!\.)$/;

/**
 * Finds the IPv4 address of a host: `localhost` is 127.0.0.1 even where it also is ::1.
 *
 * @throws {UserError} where there is none: exit code 2 for what cannot be one, else 1.
 */
export async function resolveHost(host: string): Promise<string> {
  if (ipv4.test(host)) return host;
  if (host.includes(":")) {
    throw new UserError(
      `ip must be an IPv4 address or a name, got the IPv6 address ${quote(host)}`,
      exitCode.usage,
    );
  }
  if (host === "" || /[^\w.-]/.test(host)) {
    throw new UserError(`ip must be an IPv4 address or a name, got ${quote(host)}`, exitCode.usage);
  }
  // Loaded only when needed: most users give an address, and start sooner without it.
  const dns = await import("node:dns/promises");
  try {
    return (await dns.lookup(host, { family: 4 })).address;
  } catch (error) {
    if (!(error instanceof Error && "code" in error)) throw error;
    throw new UserError(`Cannot find an IPv4 address of ${quote(host)}: check the name`);
  }
}

/**
 * Reads a port.
 *
 * @param name what to call it in the error.
 * @param options.least the lowest that makes sense: 0, the system's choice, only where one listens.
 * @throws {UserError} with exit code 2.
 */
export function parsePort(
  text: string,
  name: string,
  { least = 1 }: { readonly least?: 0 | 1 } = {},
): number {
  return parseWholeNumber(text, { name, least, most: 65535 });
}

/** Writes an address as `127.0.0.1:5000`. */
export function formatAddress({ hostname, port }: Address): string {
  return `${hostname}:${port}`;
}

/**
 * Listens for TCP connections.
 *
 * @throws {UserError} that says why it cannot, and what to do.
 */
export function listen(address: Address): Deno.TcpListener {
  try {
    return Deno.listen({ ...address, transport: "tcp", tcpBacklog });
  } catch (error) {
    throw explain(error, `Cannot listen on ${formatAddress(address)}`);
  }
}

/**
 * Connects to a server.
 *
 * @returns undefined where the signal came first.
 * @throws {UserError} that says why it cannot, and what to do.
 */
export async function connect(
  address: Address,
  signal: AbortSignal,
): Promise<Deno.TcpConn | undefined> {
  try {
    return await Deno.connect({ ...address, transport: "tcp", signal });
  } catch (error) {
    if (signal.aborted) return undefined;
    throw explain(error, `Cannot connect to ${formatAddress(address)}`);
  }
}

const explanations: Readonly<Record<string, string>> = {
  EADDRINUSE: "the port is in use (another server may be running: choose another port)",
  EADDRNOTAVAIL: "the address is not one of this machine",
  EACCES: "permission denied (ports below 1024 need root)",
  ECONNREFUSED: "nothing listens there (start the server first, check address and port)",
  EHOSTUNREACH: "no route to that host",
  ENETUNREACH: "no route to that network",
  ETIMEDOUT: "no answer",
  EMFILE: "out of file descriptors: raise ulimit -n",
};

function explain(error: unknown, what: string): unknown {
  if (error instanceof Deno.errors.NotCapable) {
    return new UserError(`${what}: network access is not allowed (run with --allow-net)`);
  }
  if (!(error instanceof Error && "code" in error)) return error;
  return new UserError(`${what}: ${explanations[String(error.code)] ?? error.message}`);
}
