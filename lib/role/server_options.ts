/**
 * The options that the server and a front of a cluster share: limits, the operator's side, who is
 * served, and TLS.
 *
 * @module
 */

import type { Address } from "../address.ts";
import { type Arguments, parsePort, parseWholeNumber } from "../cli/arguments.ts";
import { readSmallFile, readTokenFile, warnOfOthers } from "../cli/files.ts";
import { highestMaxLineBytes, maxLineBytes, parseToken } from "../core/protocol.ts";
import { defaultMaxTasks } from "../core/task_queue.ts";
import { checkHost, resolveHost } from "../net/address.ts";
import type { SecureStream } from "../net/stream.ts";
import type { Identity } from "../net/tls.ts";
import { quote } from "../quote.ts";
import { Access } from "../server/access.ts";
import { defaultMaxConnections } from "../server/serve.ts";
import { UsageError } from "../user_error.ts";

/** The positional arguments, in the help. */
export const placeHelp = `\
  <ip>             IPv4 address or name to listen on; 0.0.0.0 is every address
  <producer_port>  port for producers; 0 lets the system choose
  <consumer_port>  port for consumers; 0 lets the system choose`;

/** Options that limit what peers can do, in the help. */
export const limitsHelp = `\
  -q, --quiet            print no event lines
  --max-connections <n>  most connections, both ports together (${defaultMaxConnections})
  --max-tasks <n>        most tasks in the queue; producers wait beyond (${defaultMaxTasks})
  --max-line <bytes>     longest line, and so payload, of a peer (${maxLineBytes}; at most ${highestMaxLineBytes})`;

/** Options of the operator's side, in the help. */
export const httpHelp = `\
  --http <[ip:]port>     a page that shows the queue, and metrics; ip 127.0.0.1 if left out
  --http-host <names>    names of the page's server, comma-separated: behind a proxy`;

/** Options about who is served, in the help; then the common ones. */
export const doorsHelp = `\
  --token-file <file>    serve only those who say the token in this file
  --tls-cert <file>      speak TLS on both ports, with this certificate (PEM) ...
  --tls-key <file>       ... and its key
  -h, --help             print this help
  -V, --version          print the version`;

/** The exit codes, in the help. */
export const exitHelp =
  "Exit codes: 0 ended by Ctrl+C, 1 failed, 2 wrong arguments, 130 by a second Ctrl+C";

/** The names of these options, but for those of the operator's side. */
export const sharedOptions: readonly string[] = [
  ...["max-connections", "max-tasks", "max-line", "token-file", "tls-cert", "tls-key"],
];

/** The names of the options of the operator's side. */
export const httpOptions: readonly string[] = ["http", "http-host"];

/** The two ports of a server. */
export interface Ports {
  /** The producers'. */
  readonly producers: number;
  /** The consumers'. */
  readonly consumers: number;
}

/** Limits of what peers can do. */
export interface Limits {
  /** Most connections, both ports together. */
  readonly maxConnections: number;
  /** Most tasks. */
  readonly maxTasks: number;
  /** The longest line, in bytes. */
  readonly maxLineBytes: number;
}

/** Where the operator's side is to listen, and what it is called. */
export interface HttpPlace {
  /** Where it listens. */
  readonly address: Address;
  /** Names of its server beside its addresses. */
  readonly hosts: readonly string[];
}

/** Who is served, and how they are spoken with. */
export interface Doors {
  /** Checks the token; undefined if everybody is served. */
  readonly access: Access | undefined;
  /** Begins TLS with each peer; undefined without TLS. */
  readonly secure: SecureStream | undefined;
}

/**
 * Reads the two ports.
 *
 * @throws {UsageError} one is none, or both are the same.
 */
export function parsePorts(producerPort: string, consumerPort: string): Ports {
  const ports = {
    producers: parsePort(producerPort, "producer_port", { least: 0 }),
    consumers: parsePort(consumerPort, "consumer_port", { least: 0 }),
  };
  if (ports.producers !== ports.consumers || ports.producers === 0) return ports;
  throw new UsageError(`producer_port and consumer_port must differ, got ${ports.producers} twice`);
}

/**
 * Reads the limits.
 *
 * @throws {UsageError} one is out of its range.
 */
export function parseLimits({ options }: Arguments): Limits {
  const limit = (name: string, standard: number, { least = 1, most = 100_000_000 } = {}) =>
    parseWholeNumber(options.get(name) ?? String(standard), { name: `--${name}`, least, most });
  return {
    maxConnections: limit("max-connections", defaultMaxConnections),
    maxTasks: limit("max-tasks", defaultMaxTasks),
    maxLineBytes: limit("max-line", maxLineBytes, {
      least: maxLineBytes,
      most: highestMaxLineBytes,
    }),
  };
}

/**
 * Reads `--http` and `--http-host`; undefined without the first.
 *
 * @param ports those of the queue, on which the page cannot be.
 * @throws {UsageError} they are wrong, or the page would be open to others.
 */
export function parseHttp({ options }: Arguments, ports: Ports): HttpPlace | undefined {
  const given = options.get("http");
  const names = options.get("http-host");
  if (given === undefined) {
    if (names === undefined) return undefined;
    throw new UsageError("--http-host needs --http: it says what the page's server is called");
  }
  const colon = given.lastIndexOf(":");
  const hostname = colon === -1 ? "127.0.0.1" : given.slice(0, colon);
  const port = parsePort(given.slice(colon + 1), "--http's port", { least: 0 });
  if (port !== 0 && (port === ports.producers || port === ports.consumers)) {
    throw new UsageError(`--http's port must be another than those of the queue, got ${port}`);
  }
  checkHost(hostname, "--http's ip");
  if (!/^(?:localhost|127(?:\.\d{1,3}){3})$/i.test(hostname) && !options.has("token-file")) {
    throw new UsageError(
      `--http must be on this machine alone, such as 127.0.0.1:8080, got ${
        quote(given)
      }: whoever ` +
        "reaches the page may remove tasks; give --token-file, or use ssh -L 8080:127.0.0.1:8080",
    );
  }
  const hosts = names?.toLowerCase().split(",") ?? [];
  if (!hosts.every((name) => /^[a-z0-9_.-]+$/.test(name))) {
    throw new UsageError(
      "--http-host must be names without ports, such as queue.example,queue, " +
        `got ${quote(names ?? "")}`,
    );
  }
  return { address: { hostname, port }, hosts };
}

/**
 * Finds the address of the page, which may be given by name.
 *
 * @param signal ends the wait for a name server.
 * @throws as {@linkcode resolveHost} does.
 */
export async function resolveHttp(place: HttpPlace, signal: AbortSignal): Promise<HttpPlace> {
  const { hostname, port } = place.address;
  return { ...place, address: { hostname: await resolveHost(hostname, signal), port } };
}

/**
 * Reads the token, the certificate and its key.
 *
 * @param say takes a line for the user.
 * @throws {UsageError} a file cannot be read, or is wrong.
 */
export async function openDoors(args: Arguments, say: (line: string) => void): Promise<Doors> {
  const tokenFile = args.options.get("token-file");
  const access = tokenFile === undefined
    ? undefined
    : await Access.of(await readTokenFile(tokenFile, { check: parseToken, say }), { say });
  const identity = await readIdentity(args, say);
  return { access, secure: identity && await openTls(identity, say) };
}

/** Reads the certificate and its key; undefined if TLS is not asked for. */
async function readIdentity(
  { options }: Arguments,
  say: (line: string) => void,
): Promise<Identity | undefined> {
  const [certFile, keyFile] = [options.get("tls-cert"), options.get("tls-key")];
  if (certFile === undefined && keyFile === undefined) return undefined;
  if (certFile === undefined) throw new UsageError("--tls-key needs --tls-cert");
  if (keyFile === undefined) throw new UsageError("--tls-cert needs --tls-key");
  const identity = { cert: await readSmallFile(certFile), key: await readSmallFile(keyFile) };
  warnOfOthers(keyFile, say);
  return identity;
}

/** Makes what begins TLS with each peer. */
async function openTls(
  identity: Identity,
  say: (line: string) => void,
): Promise<SecureStream> {
  const { makeSecure } = await import("../net/tls.ts");
  return makeSecure(identity, { nowMs: Date.now(), say });
}
