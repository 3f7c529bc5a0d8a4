/**
 * HTTP over TCP, by Deno's `node:http`: requests in, responses and streams out. It knows no path.
 *
 * `Deno.serve` is leaner, but limits neither its connections nor the time of a header, so that silent
 * peers would use up the descriptors that the queue needs. Here a few connections are enough, and
 * whatever goes wrong with one of them ends that one alone.
 *
 * Who asks a lot waits, and the queue goes on: requests are answered one by one with a rest after
 * each, and the next one of a connection when the peer has taken the answer before.
 *
 * @module
 */

import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { systemClock } from "../clock.ts";
import type { Address } from "../address.ts";
import type { Identity } from "../net/tls.ts";
import {
  type EventSink,
  HttpError,
  type HttpHandler,
  type HttpRequest,
  type HttpResponse,
} from "./message.ts";

/** Most connections: 32 who watch, and some who ask. */
export const maxHttpConnections = 64;

/**
 * How long a peer may take for its headers, for its whole request, to take the end of an answer, and
 * between two requests, in milliseconds.
 */
const patienceMs = { headers: 5000, request: 10_000, answer: 10_000, keepAlive: 5000 };

/**
 * Most requests of a connection that are not done. Browsers, curl and Prometheus send one, and the
 * next when they have the answer.
 */
const maxPending = 8;

/**
 * How long nobody is answered after an answer, in milliseconds: as long as that took, so that the
 * queue's peers have half of the time. Some is needed, for the runtime looks at its sockets when it
 * has nothing else to do; and one that waited for others has not worked all the time.
 */
const restMs = { least: 1, most: 20 };

/**
 * How long what takes long works before it lets others in, in milliseconds. The way back to it takes
 * two: in shorter slices it would wait more than work, and in longer ones the queue's peers would.
 */
const sliceMs = 2;

/** How often Node looks at these times, in milliseconds. */
const checkMs = 1000;

/** Longest header lines together, in bytes. */
const maxHeaderBytes = 8 * 1024;

/** On every response. Nothing of another origin may see, embed or steer this one. */
const safeHeaders: Readonly<Record<string, string>> = {
  "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; " +
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; " +
    "frame-ancestors 'none'",
  "X-Content-Type-Options": "nosniff",
  "Referrer-Policy": "no-referrer",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Cross-Origin-Opener-Policy": "same-origin",
};

/** A server that listens. */
export interface HttpListener {
  /** Where. */
  readonly address: Address;
  /** Closes all connections, and listens no more. */
  close(): void;
}

/**
 * Listens for requests.
 *
 * @param options.identity speaks TLS with this certificate; left out: plain HTTP.
 * @param options.noteRefused is told of what is refused here.
 * @throws the system's error if it cannot.
 */
export async function listenHttp(
  address: Address,
  handle: HttpHandler,
  { identity, noteRefused }: {
    readonly identity?: Identity | undefined;
    /** Told the status of what was refused without the handler: what is no request. */
    readonly noteRefused: (status: number) => void;
  },
): Promise<HttpListener> {
  const options = {
    headersTimeout: patienceMs.headers,
    requestTimeout: patienceMs.request,
    keepAliveTimeout: patienceMs.keepAlive,
    connectionsCheckingInterval: checkMs,
    maxHeaderSize: maxHeaderBytes,
  };
  const server: Server = identity === undefined
    ? (await import("node:http")).createServer(options)
    : (await import("node:https")).createServer({
      ...{ ...options, ...identity },
      ...{ minVersion: "TLSv1.2", handshakeTimeout: patienceMs.headers },
    });
  const desk = new Desk(handle);
  server.on("request", (request, response) => void desk.answer(request, response));
  server.maxConnections = maxHttpConnections;
  server.on("clientError", (error: { readonly code?: string }, socket: Socket) => {
    const status = desk.isIdle(socket) ? refuseMalformed(error.code, socket) : undefined;
    if (status === undefined) socket.destroy();
    else noteRefused(status);
  });
  server.on("tlsClientError", (_error: unknown, socket: Socket) => socket.destroy());
  await listening(server, address);
  const { address: hostname, port } = server.address() as { address: string; port: number };
  return {
    address: { hostname, port },
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

function listening(server: Server, { hostname, port }: Address): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host: hostname, port }, () => {
      server.off("error", reject);
      // Accepting may fail for a while, without descriptors for example. It goes on by itself.
      server.on("error", () => {});
      resolve();
    });
  });
}

/** What is said of bytes that are no request, by the code of the error; of all others it is 400. */
const malformed: Readonly<Record<string, readonly [status: number, reason: string]>> = {
  HPE_HEADER_OVERFLOW: [431, "Request Header Fields Too Large"],
  ERR_HTTP_REQUEST_TIMEOUT: [408, "Request Timeout"],
};

/** Says in one line that this was no request, and closes; undefined if nobody can be told. */
function refuseMalformed(code: string | undefined, socket: Socket): number | undefined {
  if (code === "ECONNRESET" || !socket.writable) return undefined;
  const [status, reason] = malformed[code ?? ""] ?? [400, "Bad Request"];
  const timer = setTimeout(() => socket.destroy(), patienceMs.answer);
  socket.once("close", () => clearTimeout(timer));
  socket.end(`HTTP/1.1 ${status} ${reason}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
  return status;
}

/** Takes requests, and has them answered in turn. */
class Desk {
  readonly #handle: HttpHandler;
  /** Who has asked, and what of that is not done. */
  readonly #pending = new WeakMap<Socket, { count: number; last: Promise<void> }>();
  /** The last turn that is taken. */
  #turn: Promise<void> = Promise.resolve();
  /** When the rest after the last answer ends. */
  #restedAtMs = 0;

  constructor(handle: HttpHandler) {
    this.#handle = handle;
  }

  /** Whether nothing is being answered on a connection: else what else is said would be part of it. */
  isIdle(socket: Socket): boolean {
    return (this.#pending.get(socket)?.count ?? 0) === 0;
  }

  /** Answers a request; never throws, since that would end the process. */
  async answer(message: IncomingMessage, response: ServerResponse): Promise<void> {
    const { socket } = message;
    message.on("error", () => {});
    response.on("error", () => {});
    const pending = this.#pending.get(socket) ?? { count: 0, last: Promise.resolve() };
    this.#pending.set(socket, pending);
    if (++pending.count > maxPending) socket.destroy();
    const before = pending.last;
    pending.last = closed(response).then(() => void pending.count--);
    try {
      await before;
      await this.#ownTurn();
      if (socket.destroyed) return;
      const work = new Work();
      const answer = await this.#handle(toRequest(message, work));
      if (!socket.destroyed) respond(message, response, answer);
      this.#restedAtMs = systemClock.nowMs() + Math.min(restMs.most, work.elapsedMs);
    } catch {
      socket.destroy();
    }
  }

  /** Waits until others have had their turn: the queue's peers, and who has asked before. */
  #ownTurn(): Promise<void> {
    return this.#turn = this.#turn.then(() => {
      const ms = Math.max(restMs.least, Math.ceil(this.#restedAtMs - systemClock.nowMs()));
      return new Promise((resolve) => void systemClock.after(ms, resolve));
    });
  }
}

/** The work on a request, in slices. */
class Work {
  #sliceStartMs = systemClock.nowMs();
  #earlierMs = 0;

  /** How long it has taken so far, but for the times in which others were let in. */
  get elapsedMs(): number {
    return this.#earlierMs + systemClock.nowMs() - this.#sliceStartMs;
  }

  /** See {@linkcode HttpRequest.letOthersIn}. */
  async letOthersIn(): Promise<void> {
    const { elapsedMs } = this;
    if (elapsedMs - this.#earlierMs < sliceMs) return;
    this.#earlierMs = elapsedMs;
    await new Promise<void>((resolve) => void systemClock.after(0, resolve));
    this.#sliceStartMs = systemClock.nowMs();
  }
}

/** Waits until the peer has taken an answer, or is gone. */
function closed(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => response.once("close", resolve));
}

function toRequest(message: IncomingMessage, work: Work): HttpRequest {
  const names = message.rawHeaders.filter((_, index) => index % 2 === 0);
  return {
    method: message.method ?? "",
    target: message.url ?? "",
    peer: message.socket.remoteAddress ?? "",
    hostCount: names.filter((name) => name.toLowerCase() === "host").length,
    header: (name) => {
      const value = message.headers[name];
      return Array.isArray(value) ? value.join(", ") : value;
    },
    readBody: (maxBytes) => readBody(message, maxBytes),
    letOthersIn: () => work.letOthersIn(),
  };
}

/** See {@linkcode HttpRequest.readBody}. */
async function readBody(
  message: IncomingMessage,
  maxBytes: number,
): Promise<string | undefined> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    // By itself the loop would close the connection of who sends too much, and not tell it why.
    for await (const chunk of message.iterator({ destroyOnReturn: false })) {
      size += chunk.length;
      if (size > maxBytes) return undefined;
      chunks.push(chunk);
    }
  } catch {
    throw new HttpError(400, "the body has no end");
  }
  return await new Blob(chunks as BlobPart[]).text();
}

function respond(message: IncomingMessage, response: ServerResponse, answer: HttpResponse): void {
  const { status, headers, body } = answer;
  const bytes = typeof body === "string" ? new TextEncoder().encode(body) : undefined;
  // What is left of a body that nobody reads would be taken for the next request.
  const isUnread = !message.complete;
  response.writeHead(status, {
    ...safeHeaders,
    ...headers,
    ...bytes === undefined ? {} : { "Content-Length": String(bytes.length) },
    ...isUnread ? { "Connection": "close" } : {},
  });
  if (message.method === "HEAD") end(response);
  else if (typeof body === "string") end(response, bytes);
  else stream(response, body);
  if (isUnread) message.resume();
}

/** Ends an answer; and the connection, if the peer does not take it. */
function end(response: ServerResponse, bytes?: Uint8Array): void {
  const timer = setTimeout(() => response.destroy(), patienceMs.answer);
  response.once("close", () => clearTimeout(timer));
  response.end(bytes);
}

function stream(response: ServerResponse, body: (sink: EventSink) => () => void): void {
  const ended = body({
    send(bytes) {
      response.write(bytes);
    },
    get waitingBytes() {
      return response.writableLength;
    },
    close: () => end(response),
  });
  response.on("close", ended);
}
