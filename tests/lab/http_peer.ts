/**
 * HTTP over a socket, as text: `fetch` sends no header that it thinks wrong, and no half request.
 *
 * @module
 */

import { within } from "./deadline.ts";
import { type Launcher, type ServerOptions, type ServerProgram, startServer } from "./processes.ts";

/** An answer. */
export interface HttpAnswer {
  /** The status code. */
  readonly status: number;
  /** Headers, by their names in small letters. */
  readonly headers: ReadonlyMap<string, string>;
  /** The body. */
  readonly body: string;
}

/** Sends some text on a connection of its own, and reads to its end. */
export async function exchange(port: number, text: string): Promise<string> {
  const conn = await Deno.connect({ port });
  try {
    await conn.write(new TextEncoder().encode(text));
    return await within(new Response(conn.readable).text(), `the answer to ${text.slice(0, 60)}`);
  } finally {
    try {
      conn.close();
    } catch {
      // The end of what was read has closed it.
    }
  }
}

/** Sends a request, and reads its answer. The connection ends with it. */
export async function ask(
  port: number,
  line: string,
  options: { readonly headers?: readonly string[]; readonly body?: string } = {},
): Promise<HttpAnswer> {
  const { body } = options;
  const headers = options.headers ?? [`Host: 127.0.0.1:${port}`];
  const length = body === undefined
    ? []
    : [`Content-Length: ${new TextEncoder().encode(body).length}`];
  const head = [`${line} HTTP/1.1`, ...headers, ...length, "Connection: close"];
  return parseAnswer(await exchange(port, `${head.join("\r\n")}\r\n\r\n${body ?? ""}`));
}

/** Posts JSON as the page does. */
export async function post(port: number, path: string, value: unknown = {}): Promise<HttpAnswer> {
  return await ask(port, `POST ${path}`, {
    headers: [`Host: 127.0.0.1:${port}`, "Content-Type: application/json"],
    body: JSON.stringify(value),
  });
}

/** Gets JSON. */
// deno-lint-ignore no-explicit-any -- a test says what it expects by reading it
export async function get(port: number, path: string): Promise<any> {
  const answer = await ask(port, `GET ${path}`);
  if (answer.status !== 200) throw new Error(`GET ${path}: ${answer.status} ${answer.body}`);
  return JSON.parse(answer.body);
}

function parseAnswer(text: string): HttpAnswer {
  const end = text.indexOf("\r\n\r\n");
  const [first = "", ...lines] = text.slice(0, end).split("\r\n");
  const headers = new Map(lines.map((line): [string, string] => {
    const [name = "", value = ""] = line.split(/: ?(.*)/s);
    return [name.toLowerCase(), value];
  }));
  return { status: Number(first.split(" ")[1]), headers, body: text.slice(end + 4) };
}

/** A server with an operator's side. */
export interface HttpServerProgram {
  /** The server. */
  readonly server: ServerProgram;
  /** The port of its page. */
  readonly port: number;
}

/** Starts a server with an operator's side on a free port. */
export async function startHttpServer(
  launcher: Launcher,
  options: ServerOptions = {},
): Promise<HttpServerProgram & AsyncDisposable> {
  const args = [...options.args ?? [], "--http", "0"];
  const server = await startServer(launcher, { ...options, args });
  const { text } = await server.stderr.line(/^page: /);
  const port = Number(/:(\d+)\/$/.exec(text)?.[1]);
  return { server, port, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}

/** What an event says: a test says what it expects by reading it. */
// deno-lint-ignore no-explicit-any -- as JSON.parse has it
type EventData = any;

/** Watches events. */
export class EventPeer implements AsyncDisposable {
  readonly #conn: Deno.TcpConn;
  /** What has come and is in no chunk yet: a character per byte. */
  #raw = "";
  #text = "";
  #hasHead = false;

  private constructor(conn: Deno.TcpConn) {
    this.#conn = conn;
  }

  /** Begins to watch, maybe with further headers. */
  static async open(port: number, headers: readonly string[] = []): Promise<EventPeer> {
    const conn = await Deno.connect({ port });
    const head = ["GET /api/events HTTP/1.1", `Host: 127.0.0.1:${port}`, ...headers];
    await conn.write(new TextEncoder().encode(`${head.join("\r\n")}\r\n\r\n`));
    return new EventPeer(conn);
  }

  /** Waits for the next event of a name that fits, and tells its data. */
  async next(name: string, fits: (data: EventData) => boolean = () => true): Promise<EventData> {
    return await within(this.#next(name, fits), `the event ${name}`);
  }

  /** Reads to the end of the stream. */
  async ended(): Promise<void> {
    await within(
      (async () => {
        while (await this.#read());
      })(),
      "the end of the events",
    );
  }

  async #next(name: string, fits: (data: EventData) => boolean): Promise<EventData> {
    for (let hasMore = true;; hasMore = await this.#read()) {
      for (let end = this.#text.indexOf("\n\n"); end !== -1; end = this.#text.indexOf("\n\n")) {
        const event = this.#text.slice(0, end);
        this.#text = this.#text.slice(end + 2);
        const [, called, json] = /^event: (\w+)\ndata: (.*)$/.exec(event) ?? [];
        if (called !== name) continue;
        const bytes = Uint8Array.from(json as string, (char) => char.charCodeAt(0));
        const data = JSON.parse(new TextDecoder().decode(bytes));
        if (fits(data)) return data;
      }
      if (!hasMore) throw new Error(`the events ended before ${name}`);
    }
  }

  /** Reads what has come; false at the end. */
  async #read(): Promise<boolean> {
    const buffer = new Uint8Array(64 * 1024);
    const count = await this.#conn.read(buffer);
    if (count === null) return false;
    this.#raw += String.fromCharCode(...buffer.subarray(0, count));
    if (!this.#hasHead) {
      const end = this.#raw.indexOf("\r\n\r\n");
      if (end === -1) return true;
      this.#hasHead = true;
      this.#raw = this.#raw.slice(end + 4);
    }
    for (;;) {
      const size = /^([\da-f]+)\r\n/.exec(this.#raw);
      if (size === null) return true;
      const [start, length] = [size[0].length, parseInt(size[1] as string, 16)];
      if (this.#raw.length < start + length + 2) return true;
      this.#text += this.#raw.slice(start, start + length);
      this.#raw = this.#raw.slice(start + length + 2);
      if (length === 0) return false;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.resolve(this.#conn.close());
  }
}
