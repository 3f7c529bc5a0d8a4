/**
 * HTTP over TCP, by Deno's `node:http`: requests in, responses and streams out. It knows no path.
 *
 * `Deno.serve` is leaner, but limits neither its connections nor the time of a header, so that silent
 * peers would use up the descriptors that the queue needs. Here a few connections are enough, and
 * whatever goes wrong with one of them ends that one alone.
 *
 * @module
 */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Address } from "../address.ts";
import type { EventSink, HttpHandler, HttpRequest, HttpResponse } from "./message.ts";

/** Most connections: 32 who watch, and some who ask. */
export const maxHttpConnections = 64;

/** How long a peer may take for its headers, for its whole request, and between two, in ms. */
const patienceMs = { headers: 5000, request: 10_000, keepAlive: 5000 };

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
 * @throws the system's error if it cannot.
 */
export async function listenHttp(address: Address, handle: HttpHandler): Promise<HttpListener> {
  const server = createServer({
    headersTimeout: patienceMs.headers,
    requestTimeout: patienceMs.request,
    keepAliveTimeout: patienceMs.keepAlive,
    connectionsCheckingInterval: checkMs,
    maxHeaderSize: maxHeaderBytes,
  }, (request, response) => void answer(request, response, handle));
  server.maxConnections = maxHttpConnections;
  server.on("clientError", (_error, socket) => socket.destroy());
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

/** Answers a request; never throws, since that would end the process. */
async function answer(
  message: IncomingMessage,
  response: ServerResponse,
  handle: HttpHandler,
): Promise<void> {
  try {
    message.on("error", () => {});
    response.on("error", () => {});
    respond(message, response, await handle(toRequest(message)));
  } catch {
    message.socket?.destroy();
  }
}

function toRequest(message: IncomingMessage): HttpRequest {
  const names = message.rawHeaders.filter((_, index) => index % 2 === 0);
  return {
    method: message.method ?? "",
    target: message.url ?? "",
    hostCount: names.filter((name) => name.toLowerCase() === "host").length,
    header: (name) => {
      const value = message.headers[name];
      return Array.isArray(value) ? value.join(", ") : value;
    },
    async readBody(maxBytes) {
      const chunks: Uint8Array[] = [];
      let size = 0;
      for await (const chunk of message) {
        size += chunk.length;
        if (size > maxBytes) return undefined;
        chunks.push(chunk);
      }
      return await new Blob(chunks as BlobPart[]).text();
    },
  };
}

function respond(message: IncomingMessage, response: ServerResponse, answer: HttpResponse): void {
  const { status, headers, body } = answer;
  const isWhole = typeof body === "string";
  // What is left of a refused body would be taken for the next request.
  const isUnread = message.method === "POST" && !message.complete;
  response.writeHead(status, {
    ...safeHeaders,
    ...headers,
    ...isWhole ? { "Content-Length": String(new TextEncoder().encode(body).length) } : {},
    ...isUnread ? { "Connection": "close" } : {},
  });
  if (message.method === "HEAD") response.end();
  else if (isWhole) response.end(body);
  else stream(response, body);
  if (isUnread) message.resume();
}

function stream(response: ServerResponse, body: (sink: EventSink) => () => void): void {
  const ended = body({
    send(text) {
      response.write(text);
    },
    get waitingBytes() {
      return response.writableLength;
    },
    close: () => void response.end(),
  });
  response.on("close", ended);
}
