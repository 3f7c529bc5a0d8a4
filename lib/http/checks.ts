/**
 * Which requests are answered at all. A browser can be made to send requests by any page that its
 * user visits, so each request is checked before anything is done for it, also if it only reads.
 *
 * @module
 */

import { quote } from "../quote.ts";
import { HttpError, type HttpRequest } from "./message.ts";

/** The longest target of a request, in characters. */
const maxTargetChars = 2048;

/** What a request wants, of which nothing is wrong so far. */
export interface CheckedRequest {
  /** The method; a `HEAD` is a `GET` whose body is not sent. */
  readonly method: "GET" | "POST";
  /** The path, as it was sent. */
  readonly path: string;
  /** The parameters. */
  readonly parameters: URLSearchParams;
}

const octet = "(?:25[0-5]|2[0-4]\\d|1?\\d?\\d)";
const hostLine = /^([a-z0-9_.-]+)(?::\d{1,5})?$/i;
const ipv4 = new RegExp(`^${octet}(?:\\.${octet}){3}$`);

/**
 * Checks a request but for its body.
 *
 * @param options.hosts names of this server beside its addresses and `localhost`, in small letters.
 * @throws {HttpError} if it must not be answered.
 */
export function checkRequest(
  request: HttpRequest,
  options: { readonly hosts: readonly string[] },
): CheckedRequest {
  const { method, target } = request;
  if (method !== "GET" && method !== "HEAD" && method !== "POST") {
    const allowed = { "Allow": "GET, HEAD, POST" };
    throw new HttpError(405, "use GET, HEAD or POST", allowed);
  }
  const host = checkHost(request, options.hosts);
  if (!target.startsWith("/")) throw new HttpError(400, "the request must name a path");
  if (target.length > maxTargetChars) {
    throw new HttpError(414, `the request names a path of over ${maxTargetChars} characters`);
  }
  const [path = "", query = ""] = splitOnce(target, "?");
  const site = request.header("sec-fetch-site");
  const isOwn = site === undefined || site === "same-origin" || site === "none";
  // A link from another site may lead here, to the page alone: that changes nothing.
  const isLink = path === "/" && method === "GET" &&
    request.header("sec-fetch-mode") === "navigate" &&
    (request.header("sec-fetch-dest") ?? "document") === "document";
  const origin = request.header("origin");
  const isForeign = origin !== undefined && splitOnce(origin, "://")[1]?.toLowerCase() !== host;
  if ((!isOwn && !isLink) || isForeign) throw new HttpError(403, "request from another site");
  if (method === "POST") {
    const type = request.header("content-type")?.split(";", 1)[0]?.trim().toLowerCase();
    if (type !== "application/json") {
      throw new HttpError(415, "send JSON: Content-Type: application/json");
    }
    return { method, path, parameters: new URLSearchParams(query) };
  }
  return { method: "GET", path, parameters: new URLSearchParams(query) };
}

/**
 * The token that a request says: as the password of any user (Basic), which browsers, curl, proxies
 * and Prometheus can all say; or as a Bearer token. Undefined if it says none.
 */
export function tokenOf(request: HttpRequest): string | undefined {
  const [, scheme = "", value = ""] =
    /^([a-z]+) +(\S+)$/i.exec(request.header("authorization") ?? "") ?? [];
  switch (scheme.toLowerCase()) {
    case "bearer":
      return value;
    case "basic":
      return splitOnce(fromBase64(value), ":")[1];
    default:
      return undefined;
  }
}

function fromBase64(text: string): string {
  try {
    return atob(text);
  } catch {
    return "";
  }
}

/**
 * A page of an attacker can have its name lead to this address, and is then taken for the same origin
 * (DNS rebinding). It cannot be at an address of ours, nor at a name that we have: so the name tells.
 */
function checkHost(request: HttpRequest, hosts: readonly string[]): string {
  const host = request.header("host")?.toLowerCase();
  const name = hostLine.exec(host ?? "")?.[1];
  if (host === undefined || name === undefined || request.hostCount !== 1) {
    throw new HttpError(400, "the request must have one Host, a name or an IPv4 address");
  }
  if (name !== "localhost" && !ipv4.test(name) && !hosts.includes(name)) {
    throw new HttpError(421, `this server is not called ${quote(name)}: name it with --http-host`);
  }
  return host;
}

function splitOnce(text: string, separator: string): [string, string?] {
  const at = text.indexOf(separator);
  return at === -1 ? [text] : [text.slice(0, at), text.slice(at + separator.length)];
}
