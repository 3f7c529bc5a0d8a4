/**
 * Listening and connecting: turns a host and a port into a socket, or into an error message that
 * says what to do.
 *
 * @module
 */

import { type Address, formatAddress } from "../address.ts";
import { UsageError, UserError } from "../user_error.ts";
import { untilAborted } from "../clock.ts";
import { escape, quote } from "../quote.ts";
import { TcpListener } from "./tcp_listener.ts";
import { tlsProblemIn } from "./tls_problem.ts";

/**
 * How many connections may wait to be accepted. If more clients connect at once, the kernel drops
 * their packets, and they try again only after a second. Deno's default is 511; the kernel reduces
 * this number to its own limit.
 */
const tcpBacklog = 4096;

/** How long the handshake of TLS may take, in milliseconds: a server that hangs never ends it. */
const handshakeMs = 10_000;

/** A host and a port to connect to, and how. */
export interface Target extends Address {
  /** Authorities to trust besides the usual ones, as PEM; undefined without TLS. */
  readonly tls?: { readonly caCerts: readonly string[] } | undefined;
}

/** A host cannot be reached, or found, for a reason that may pass. */
export class UnreachableError extends UserError {
  /** Names the class in messages. */
  override readonly name = "UnreachableError";
}

const ipv4 = /^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.|$)){4}(?<!\.)$/;

/**
 * A host that ends in a number is meant as an address, not as a name (URL Standard, 3.5). Refused
 * here, as the C library would accept `1` and `0x7f.1`, and ask a name server for `300.1.1.1`.
 */
const endsInNumber = /(?:^|\.)(?:\d+|0x[\da-f]*)\.?$/i;

/**
 * Checks that a text can be an IPv4 address or a name; whether there is such a host is not asked.
 *
 * @param what what the user calls it.
 * @throws {UsageError} it can be neither.
 */
export function checkHost(host: string, what = "ip"): void {
  if (ipv4.test(host)) return;
  if (host.includes(":")) {
    throw new UsageError(
      `${what} must be an IPv4 address or a name, got the IPv6 address ${quote(host)}`,
    );
  }
  if (host === "" || /[^\w.-]/.test(host)) {
    throw new UsageError(`${what} must be an IPv4 address or a name, got ${quote(host)}`);
  }
  if (endsInNumber.test(host)) {
    throw new UsageError(
      `${what} must be four numbers from 0 to 255, such as 127.0.0.1, or a name, got ${
        quote(host)
      }`,
    );
  }
}

/**
 * Finds the IPv4 address of a host: `localhost` is 127.0.0.1 even if it also is ::1.
 *
 * @param signal ends the wait for a name server.
 * @throws {UnreachableError} if the host has no IPv4 address.
 * @throws {UserError} if network access is not allowed; a {@linkcode UsageError} if the text can be
 * neither an IPv4 address nor a name.
 * @throws the signal's reason if the signal came first.
 */
export async function resolveHost(host: string, signal?: AbortSignal): Promise<string> {
  checkHost(host);
  if (ipv4.test(host)) return host;
  // Loaded only for names: most users give an address, and their program starts sooner without it.
  const dns = await import("node:dns/promises");
  try {
    const lookup = dns.lookup(host, { family: 4 });
    // A name server may take half a minute. The look-up cannot be cancelled; the wait can.
    const found = await (signal === undefined ? lookup : untilAborted(lookup, signal));
    if (found !== undefined) return found.address;
  } catch (error) {
    const isForbidden = error instanceof Error && "code" in error && error.code === "EPERM";
    const what = `Cannot find an IPv4 address of ${quote(host)}`;
    if (isForbidden) throw new UserError(`${what}: ${notAllowed}`);
    throw new UnreachableError(`${what}: check the name`);
  }
  throw signal?.reason;
}

/**
 * Listens for TCP connections.
 *
 * @throws {UserError} if it cannot; the message says why, and what to do.
 */
export function listen(address: Address): TcpListener {
  try {
    return new TcpListener(Deno.listen({ ...address, transport: "tcp", tcpBacklog }));
  } catch (error) {
    throw explain(error, `Cannot listen on ${formatAddress(address)}`);
  }
}

/**
 * Connects to a server, and looks up its name first if it has one; with TLS also makes sure that it
 * is the server of that name.
 *
 * @returns undefined if the signal came first.
 * @throws {UnreachableError} if it cannot; the message says why, and what to do.
 * @throws {UserError} if no later attempt can succeed.
 */
export async function connect(
  { hostname: host, port, tls }: Target,
  signal: AbortSignal,
): Promise<Deno.TcpConn | Deno.TlsConn | undefined> {
  const what = `Cannot connect to ${formatAddress({ hostname: host, port })}`;
  let conn: Deno.TcpConn | undefined;
  try {
    const hostname = await resolveHost(host, signal);
    conn = await Deno.connect({ hostname, port, transport: "tcp", signal });
    return tls === undefined ? conn : await startTls(conn, { host, ...tls, signal });
  } catch (error) {
    if (signal.aborted) return undefined;
    if (error instanceof UserError) throw error;
    if (tls !== undefined && conn !== undefined) throw explainTls(error, what);
    const explained = explain(error, what);
    if (error instanceof Deno.errors.NotCapable) throw explained;
    throw new UnreachableError(explained.message);
  }
}

/** Does the handshake of TLS; the connection is closed if that fails. */
async function startTls(
  conn: Deno.TcpConn,
  options: {
    readonly host: string;
    readonly caCerts: readonly string[];
    readonly signal: AbortSignal;
  },
): Promise<Deno.TlsConn> {
  // Of a TLS connection it cannot be asked any more.
  conn.setNoDelay(true);
  conn.setKeepAlive(true);
  const secured = await Deno.startTls(conn, {
    hostname: options.host,
    caCerts: [...options.caCerts],
  });
  const ending = AbortSignal.any([options.signal, AbortSignal.timeout(handshakeMs)]);
  const close = () => secured.close();
  ending.addEventListener("abort", close);
  try {
    await secured.handshake();
    return secured;
  } catch (error) {
    if (!ending.aborted) secured.close();
    throw ending.aborted ? ending.reason : error;
  } finally {
    ending.removeEventListener("abort", close);
  }
}

function explainTls(error: unknown, what: string): UserError {
  const said = error instanceof Error ? error.message : String(error);
  const problem = tlsProblemIn(said);
  if (problem !== undefined) return new UserError(`${what}: ${problem}`);
  return new UnreachableError(`${what}: the TLS handshake failed: ${escape(said)}`);
}

const notAllowed = "network access is not allowed (run with --allow-net)";

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

/** Makes a message of one line from any error of the system, also from one without a code. */
function explain(error: unknown, what: string): UserError {
  if (error instanceof Deno.errors.NotCapable) {
    return new UserError(`${what}: ${notAllowed}`);
  }
  const { code, message } = error as { readonly code?: unknown; readonly message?: unknown };
  return new UserError(
    `${what}: ${explanations[String(code)] ?? escape(String(message ?? error))}`,
  );
}
