/**
 * What the operator's side sees of HTTP: requests and responses without sockets.
 *
 * @module
 */

/** A request whose body is not read yet. */
export interface HttpRequest {
  /** The method, in capitals. */
  readonly method: string;
  /** What stands behind the method, as it was sent: nobody parses it before it is checked. */
  readonly target: string;
  /** The IP address that it comes from. */
  readonly peer: string;
  /** The value of a header, by its name in small letters; undefined if there is none. */
  header(name: string): string | undefined;
  /** How many `Host` headers there are. */
  readonly hostCount: number;
  /**
   * Reads the body; undefined if it is longer than so many bytes.
   *
   * @throws {HttpError} if the peer goes before its end.
   */
  readBody(maxBytes: number): Promise<string | undefined>;
  /**
   * Lets others have a turn if this request has had one of some milliseconds; to be called between
   * the steps of what takes long.
   */
  letOthersIn(): Promise<void>;
}

/** The sending end of a response without end. */
export interface EventSink {
  /** Sends some bytes, which must not change afterwards. */
  send(bytes: Uint8Array): void;
  /** How many bytes the peer has not taken yet. */
  readonly waitingBytes: number;
  /** Ends the response. */
  close(): void;
}

/** Takes over the body of a response; the result is called once when that has ended. */
export type StreamBody = (sink: EventSink) => () => void;

/** A response. */
export interface HttpResponse {
  /** The status code. */
  readonly status: number;
  /** Headers of this response; others are on all. */
  readonly headers: Readonly<Record<string, string>>;
  /** The body. */
  readonly body: string | StreamBody;
}

/** Answers requests. */
export type HttpHandler = (request: HttpRequest) => Promise<HttpResponse>;

/** Something is wrong with a request; the message tells the peer. */
export class HttpError extends Error {
  /** Names the class in messages. */
  override readonly name = "HttpError";

  /** Makes an error with a status and, if it has any, headers. */
  constructor(
    readonly status: number,
    message: string,
    readonly headers: Readonly<Record<string, string>> = {},
  ) {
    super(message);
  }
}

/** A response with a value as JSON. */
export function json(value: unknown, status = 200): HttpResponse {
  const headers = { "Content-Type": "application/json", "Cache-Control": "no-store" };
  return { status, headers, body: JSON.stringify(value) + "\n" };
}

/** A response with text. */
export function text(body: string, status = 200, type = "text/plain; charset=utf-8"): HttpResponse {
  return { status, headers: { "Content-Type": type, "Cache-Control": "no-store" }, body };
}
