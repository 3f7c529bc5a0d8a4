/**
 * The server's events, and requests to its API.
 *
 * A feed is one stream. It is closed while nobody can see the page, opens again by itself, and each
 * time begins with the whole state, so that nothing is ever put together from two streams.
 *
 * @module
 */

/** @import { ConsumerView, Overview, ServerFacts } from "../views.ts" */

/**
 * Work that has ended.
 *
 * @typedef {{
 *   readonly consumer: number,
 *   readonly taskId: string,
 *   readonly priority: number,
 *   readonly start: number,
 *   readonly end: number,
 *   readonly how: string,
 * }} Bar
 */

/** @typedef {{ readonly time: number, readonly text: string }} Problem */

/**
 * What has changed, and the whole in figures.
 *
 * @typedef {Overview & {
 *   readonly changed: readonly ConsumerView[],
 *   readonly gone: readonly number[],
 *   readonly bars: readonly Bar[],
 *   readonly problems: readonly Problem[],
 * }} Update
 */

/**
 * @typedef {{
 *   readonly time: number,
 *   readonly waiting: readonly number[],
 *   readonly created: readonly number[],
 *   readonly handedOut: readonly number[],
 * }} HistoryPoint
 */

/**
 * What a stream begins with.
 *
 * @typedef {{
 *   readonly server: ServerFacts,
 *   readonly history: { readonly points: readonly HistoryPoint[] },
 *   readonly consumers: readonly ConsumerView[],
 *   readonly bars: readonly Bar[],
 *   readonly problems: readonly Problem[],
 * }} Hello
 */

/**
 * @typedef {object} Listener
 * @property {(hello: Hello) => void} hello
 * @property {(update: Update) => void} update
 * @property {() => void} lost is called when a stream has ended, or could not be opened.
 */

/** The server says something every 5 s; twice as long and a bit, and the stream is dead. */
const silenceMs = 12_000;

/** What the server names as the time to the next try, for when the browser does not try itself. */
const retryMs = 2000;

/** The stream of events, and its life. */
export class Feed {
  /** @type {EventSource | undefined} */
  #source;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** @type {Listener} */
  #listener;

  /** @param {Listener} listener */
  constructor(listener) {
    this.#listener = listener;
    addEventListener("visibilitychange", () => document.hidden ? this.close() : this.open());
    if (!document.hidden) this.open();
  }

  /** Opens a stream in place of the one that there may be. */
  open() {
    this.close();
    const source = this.#source = new EventSource("api/events");
    source.addEventListener("hello", (event) => {
      this.#heard();
      this.#listener.hello(JSON.parse(event.data));
    });
    source.addEventListener("overview", (event) => {
      this.#heard();
      this.#listener.update(JSON.parse(event.data));
    });
    source.addEventListener("bye", () => this.#retry());
    // A refused or broken connection is tried again by the browser, an answer such as 503 is not.
    source.addEventListener("error", () => {
      if (source.readyState === EventSource.CLOSED) this.#retry();
      else this.#listener.lost();
    });
    this.#heard();
  }

  /** Closes the stream. */
  close() {
    this.#source?.close();
    this.#source = undefined;
    clearTimeout(this.#timer);
  }

  #heard() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#retry(), silenceMs);
  }

  #retry() {
    this.#listener.lost();
    this.close();
    this.#timer = setTimeout(() => this.open(), retryMs);
  }
}

/**
 * Asks the API.
 *
 * @param {string} path
 * @param {Readonly<Record<string, unknown>>} [body] is posted if it is there.
 * @returns {Promise<unknown>}
 * @throws {Error} with what the server says against it, or that it does not answer.
 */
export async function ask(path, body) {
  const post = { method: "POST", headers: { "Content-Type": "application/json" } };
  let response;
  try {
    response = await fetch(path, body === undefined ? {} : { ...post, body: JSON.stringify(body) });
  } catch {
    throw new Error("The server does not answer.");
  }
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  throw new Error(typeof answer.error === "string" ? answer.error : `HTTP ${response.status}`);
}
