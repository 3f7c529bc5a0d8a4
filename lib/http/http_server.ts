/**
 * HTTP over TCP, by Deno's `node:http`: requests in, responses and streams out. It knows no path.
 *
 * `Deno.serve` is leaner, but limits neither its connections nor the time of a header, so that silent
 * peers would use up the descriptors that the queue needs. Here a few connections are enough, and
 * whatever goes wrong with one of them ends that one alone.
 *
 * Connections are accepted here and handed to `node:http`: its own listener accepts nobody any more
 * once a descriptor was missing (Deno 2.9).
 *
 * Who asks a lot waits, and the queue goes on: requests are answered one by one with a rest after
 * each, and the next one of a connection when the peer has taken the answer before.
 *
 * @module
 */

import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import type { Address } from "../address.ts";
import { sleep, systemClock } from "../clock.ts";
import { listen } from "../net/address.ts";
import { isDisconnect, isTlsHandshake, readFirst } from "../net/connection.ts";
import { closeQuietly, duplexOf } from "../net/duplex.ts";
import type { Listener, SecureStream, Stream } from "../net/stream.ts";
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
 * How long a peer may take for the handshake of TLS, to begin a request, for its headers, for the
 * rest of it, and to take the end of an answer, in milliseconds.
 */
const patienceMs = { handshake: 5000, silence: 5000, headers: 5000, body: 10_000, answer: 10_000 };

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

/** How long accepting rests after it has failed, without descriptors for example, in milliseconds. */
const acceptPauseMs = 100;

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

/** How requests are listened for. */
export interface HttpListenOptions {
  /** Begins TLS with each peer; left out: plain HTTP. */
  readonly secure?: SecureStream | undefined;
  /** Told the status of what was refused without the handler: what is no request. */
  readonly noteRefused: (status: number) => void;
}

/**
 * Listens for requests.
 *
 * @throws {UserError} it cannot.
 */
export function listenHttp(
  address: Address,
  handle: HttpHandler,
  options: HttpListenOptions,
): HttpListener {
  const listener = listen(address);
  const connections = new Connections(new Desk(handle, options.noteRefused), options);
  void connections.acceptAll(listener);
  return {
    address: { hostname: listener.addr.hostname, port: listener.addr.port },
    close() {
      connections.close();
      listener.close();
    },
  };
}

/** A connection's place among the few. */
interface Place {
  /** Whether no request is under way; half a request is none yet. */
  isIdle: () => boolean;
  /** Ends the handshake, if one is under way. */
  readonly gone: AbortController;
}

/**
 * Loads what speaks HTTP.
 *
 * Not before somebody comes: until then it would cost each task of the queue some hundredths. And not by
 * an import, which needs a descriptor: if none is left, Deno 2.9 ends the process. It is loaded part by
 * part, since the queue's peers wait meanwhile.
 */
async function loadHttp(): Promise<void> {
  for (const part of ["node:process", "node:stream", "node:net", "node:http"]) {
    globalThis.process.getBuiltinModule(part);
    await new Promise<void>((resolve) => void systemClock.after(1, resolve));
  }
}

/** The connections of one listener. */
class Connections {
  readonly #desk: Desk;
  readonly #options: HttpListenOptions;
  /** Those without a request under way in the order in which they have been so longest. */
  readonly #open = new Map<Stream, Place>();
  readonly #closing = new AbortController();
  /** Undefined until somebody comes. */
  #loaded: Promise<void> | undefined;

  constructor(desk: Desk, options: HttpListenOptions) {
    this.#desk = desk;
    this.#options = options;
  }

  /** Accepts connections until the listener is closed; never rejects. */
  async acceptAll(listener: Listener): Promise<void> {
    while (!this.#closing.signal.aborted) {
      try {
        const stream = await listener.accept();
        if (this.#open.size >= maxHttpConnections) this.#makeWay();
        if (this.#open.size < maxHttpConnections) void this.#serve(stream);
        else stream.close();
        // Opening one is work, too: if a thousand come at once, the others wait in the backlog; the first
        // ones until what speaks HTTP is loaded. It is no turn of the desk: whoever comes would wait for
        // the answers to all others.
        await this.#loaded;
        await sleep(restMs.least, this.#closing.signal);
      } catch (error) {
        // It is closed: asking again would only be told so again.
        if (error instanceof Deno.errors.BadResource) return;
        // A peer that was reset before it was accepted is no reason to rest.
        if (!isDisconnect(error)) await sleep(acceptPauseMs, this.#closing.signal);
      }
    }
  }

  close(): void {
    this.#closing.abort();
    for (const stream of this.#open.keys()) this.#close(stream);
  }

  /**
   * Closes the connection that has been idle longest. Its peer opens another when it needs one; also if
   * a request of it was on its way, which is not done then.
   */
  #makeWay(): void {
    for (const [stream, { isIdle }] of this.#open) {
      if (isIdle()) return this.#close(stream);
    }
  }

  /** Closes a connection; its place is free. */
  #close(stream: Stream): void {
    this.#open.get(stream)?.gone.abort();
    this.#open.delete(stream);
    closeQuietly(stream);
  }

  async #serve(stream: Stream): Promise<void> {
    const place: Place = { isIdle: () => true, gone: new AbortController() };
    this.#open.set(stream, place);
    try {
      // An answer is two writes: without this the second waits 40 ms for the peer's ACK of the first.
      stream.setNoDelay?.(true);
      const { secure } = this.#options;
      const inner = secure === undefined
        ? stream
        : await startTls(stream, { ...this.#options, secure, signal: place.gone.signal });
      await (this.#loaded ??= loadHttp());
      const duplex = duplexOf(inner);
      const closed = new Promise((resolve) => duplex.once("close", resolve));
      const asker = this.#desk.open(duplex, stream.remoteAddr.hostname, () => {
        // From now on it is the one that has been idle shortest.
        if (this.#open.delete(stream)) this.#open.set(stream, place);
      });
      place.isIdle = () => asker.count === 0;
      // It closes the stream, after the end of TLS if there is one.
      await closed;
    } catch {
      // It costs this connection alone.
      closeQuietly(stream);
    } finally {
      this.#open.delete(stream);
    }
  }
}

/** How the handshake of a connection is done. */
interface Handshake extends HttpListenOptions {
  readonly secure: SecureStream;
  /** Ends it. */
  readonly signal: AbortSignal;
}

/** Does the handshake; rejects if the peer does not begin one, or not in time. */
async function startTls(stream: Stream, options: Handshake): Promise<Stream> {
  // A handshake may not notice that its stream is closed. Its place is free all the same.
  const over = Promise.withResolvers<never>();
  const end = () => over.reject(new Error("no handshake"));
  const cancel = systemClock.after(patienceMs.handshake, end);
  options.signal.addEventListener("abort", end, { once: true });
  try {
    return await Promise.race([handshake(stream, options), over.promise]);
  } finally {
    cancel();
    options.signal.removeEventListener("abort", end);
  }
}

async function handshake(stream: Stream, { secure, noteRefused }: Handshake): Promise<Stream> {
  const first = await readFirst(stream);
  if (first !== null && isTlsHandshake(first)) return await secure(stream, first);
  if (first !== null) {
    noteRefused(400);
    await sayTls(stream);
  }
  throw new Error("no handshake");
}

/** Tells a peer that speaks without TLS what is spoken here. */
async function sayTls(stream: Stream): Promise<void> {
  const text = "this page speaks https, not http\n";
  const head = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\n";
  const bytes = new TextEncoder().encode(
    `${head}Content-Length: ${text.length}\r\n\r\n${text}`,
  );
  // So few bytes are taken at once, or by a peer that is gone.
  await stream.write(bytes);
  await stream.closeWrite();
  // What is not read when a connection closes has the system take the answer back.
  const rest = new Uint8Array(1024);
  while (await stream.read(rest) !== null);
}

/** What is said of bytes that are no request, by the code of the error; of all others it is 400. */
const malformed: Readonly<Record<string, readonly [status: number, reason: string]>> = {
  HPE_HEADER_OVERFLOW: [431, "Request Header Fields Too Large"],
  ERR_HTTP_REQUEST_TIMEOUT: [408, "Request Timeout"],
};

/** Says in one line that this was no request, and closes; undefined if nobody can be told. */
function refuseMalformed(code: string | undefined, socket: Duplex): number | undefined {
  if (code === "ECONNRESET" || !socket.writable) return undefined;
  const [status, reason] = malformed[code ?? ""] ?? [400, "Bad Request"];
  const timer = setTimeout(() => socket.destroy(), patienceMs.answer);
  socket.once("close", () => clearTimeout(timer));
  socket.end(`HTTP/1.1 ${status} ${reason}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
  return status;
}

/** A connection at the desk. */
interface Asker {
  readonly address: string;
  /** Requests that are not done. */
  count: number;
  /** Resolves when the last of these is done. */
  last: Promise<void>;
  /** True until the next request has begun. */
  isSilent: boolean;
  /** Ends the wait for what the peer is to send. */
  stopWaiting: () => void;
  /** Called when no request is under way any more. */
  readonly onIdle: () => void;
}

/** Takes requests, and has them answered in turn. */
class Desk {
  readonly #handle: HttpHandler;
  readonly #noteRefused: (status: number) => void;
  /** Undefined until somebody comes. */
  #server: Server | undefined;
  readonly #askers = new WeakMap<Duplex, Asker>();
  /** The last turn that is taken. */
  #turn: Promise<void> = Promise.resolve();
  /** When the rest after the last answer ends. */
  #restedAtMs = 0;

  constructor(handle: HttpHandler, noteRefused: (status: number) => void) {
    this.#handle = handle;
    this.#noteRefused = noteRefused;
  }

  #makeServer(): Server {
    const { createServer } = globalThis.process.getBuiltinModule("node:http");
    // Its times are for sockets of node:net: here they are kept by #await().
    const server = createServer({ maxHeaderSize: maxHeaderBytes, keepAliveTimeout: 0 });
    // A server that listens no more closes each connection after an answer; this one never listens.
    Object.defineProperty(server, "listening", { value: true });
    server.on("request", (request, response) => void this.#answer(request, response));
    server.on("clientError", (error: { readonly code?: string }, socket: Duplex) => {
      this.#refuse(socket, error.code);
    });
    return server;
  }

  /**
   * Takes the requests of a connection.
   *
   * @param onIdle called each time when no request is under way any more.
   */
  open(socket: Duplex, address: string, onIdle: () => void): Asker {
    const asker: Asker = {
      ...{ address, count: 0, last: Promise.resolve(), isSilent: true, stopWaiting: () => {} },
      onIdle,
    };
    this.#askers.set(socket, asker);
    socket.on("error", () => {});
    socket.once("close", () => asker.stopWaiting());
    socket.on("data", () => {
      if (!asker.isSilent) return;
      asker.isSilent = false;
      if (asker.count === 0) this.#await(socket, asker, patienceMs.headers);
    });
    this.#await(socket, asker, patienceMs.silence);
    this.#server ??= this.#makeServer();
    this.#server.emit("connection", socket);
    return asker;
  }

  /** Waits so long for what the peer is to send; what was waited for before has come. */
  #await(socket: Duplex, asker: Asker, ms: number, hasCome = () => false): void {
    asker.stopWaiting();
    if (socket.destroyed) return;
    asker.stopWaiting = systemClock.after(ms, () => {
      if (hasCome()) return;
      // Who keeps a connection for a next request that does not come has done nothing wrong.
      if (asker.isSilent) socket.destroy();
      else this.#refuse(socket, "ERR_HTTP_REQUEST_TIMEOUT");
    });
  }

  /** Ends a connection, and says why, unless that would be a part of another answer. */
  #refuse(socket: Duplex, code: string | undefined): void {
    const isIdle = this.#askers.get(socket)?.count === 0;
    const status = isIdle ? refuseMalformed(code, socket) : undefined;
    if (status === undefined) socket.destroy();
    else this.#noteRefused(status);
  }

  /** Answers a request; never throws, since that would end the process. */
  async #answer(message: IncomingMessage, response: ServerResponse): Promise<void> {
    const socket: Duplex = message.socket;
    message.on("error", () => {});
    response.on("error", () => {});
    const asker = this.#askers.get(socket) as Asker;
    if (++asker.count > maxPending) socket.destroy();
    const before = asker.last;
    asker.last = closed(response).then(() => {
      if (--asker.count > 0) return;
      asker.isSilent = true;
      asker.onIdle();
      this.#await(socket, asker, patienceMs.silence);
    });
    // Its body may come with it, or later.
    this.#await(socket, asker, patienceMs.body, () => message.complete);
    try {
      await before;
      await this.#ownTurn();
      if (socket.destroyed) return;
      const work = new Work();
      const answer = await this.#handle(toRequest(message, asker.address, work));
      if (!socket.destroyed) respond(message, response, answer);
      this.#restedAtMs = systemClock.nowMs() + Math.min(restMs.most, work.elapsedMs);
    } catch {
      socket.destroy();
    }
  }

  /** Waits until others have had their turn: the queue's peers, and who has asked before. */
  #ownTurn(): Promise<void> {
    return this.#turn = this.#turn.then(async () => {
      // Looked at again: the answer before begins only now, if both have waited for their turns.
      do {
        await sleep(Math.max(restMs.least, this.#restedAtMs - systemClock.nowMs()));
      } while (systemClock.nowMs() < this.#restedAtMs);
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

function toRequest(message: IncomingMessage, peer: string, work: Work): HttpRequest {
  const names = message.rawHeaders.filter((_, index) => index % 2 === 0);
  return {
    method: message.method ?? "",
    target: message.url ?? "",
    peer,
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
