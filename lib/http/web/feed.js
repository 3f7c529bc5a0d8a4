/**
 * The server's events, and requests to its API.
 *
 * A feed is one stream. It is closed while nobody can see the page, opens again by itself, and each
 * time begins with the whole state, so that nothing is ever put together from two streams.
 *
 * @module
 */

/**
 * @typedef {object} Task
 * @property {number} arrival its identity: names repeat.
 * @property {number} priority 1 to 3.
 * @property {string} taskId
 * @property {string} duration seconds of work, as text.
 * @property {string} state
 * @property {number | null} position
 * @property {number | null} ageSeconds
 * @property {number | null} startsInSeconds
 * @property {number | null} [dueInSeconds] of a delayed task.
 * @property {number} [tries] how many hand-outs ended without completion.
 * @property {string | null} [payload] its first characters.
 * @property {number | null} consumer
 * @property {number | null} buriedAgeSeconds
 */

/**
 * @typedef {object} Consumer
 * @property {number} number
 * @property {string} peer
 * @property {Task | null} task
 * @property {number} sinceSeconds for how long it has had this task, or none.
 * @property {number} handedOut
 * @property {number} lastSeenSeconds
 * @property {boolean} [waiting] true if it waits for a task.
 */

/**
 * @typedef {object} Bar
 * @property {number} consumer
 * @property {string} taskId
 * @property {number} priority
 * @property {number} start
 * @property {number} end
 * @property {string} how
 */

/**
 * @typedef {object} Problem
 * @property {number} time
 * @property {string} text
 */

/**
 * @typedef {object} Overview
 * @property {number} time
 * @property {readonly number[]} waiting
 * @property {readonly (number | null)[]} oldestAgeSeconds
 * @property {number} [delayed]
 * @property {number} reserved
 * @property {number} buried
 * @property {number} tasks
 * @property {number} lastArrival
 * @property {readonly number[]} created
 * @property {readonly number[]} handedOut
 * @property {number} returned
 * @property {number} refused
 * @property {number} producers
 * @property {number} waitingProducers
 * @property {number} consumers
 * @property {number} working
 * @property {number} workSeconds
 * @property {number | null} drainedInSeconds
 * @property {{ readonly creates: boolean, readonly requests: boolean }} paused
 * @property {"none" | "ok" | "full" | "failed"} store
 */

/**
 * @typedef {Overview & {
 *   readonly changed: readonly Consumer[],
 *   readonly gone: readonly number[],
 *   readonly bars: readonly Bar[],
 *   readonly problems: readonly Problem[],
 * }} Update
 */

/**
 * @typedef {object} Server
 * @property {string} version
 * @property {string} deno
 * @property {number} startedAt
 * @property {string} producers
 * @property {string} consumers
 * @property {string | null} store
 * @property {number} maxTasks
 */

/**
 * @typedef {object} HistoryPoint
 * @property {number} time
 * @property {readonly number[]} waiting
 * @property {readonly number[]} created
 * @property {readonly number[]} handedOut
 */

/**
 * @typedef {object} Hello
 * @property {Server} server
 * @property {{ readonly stepSeconds: number, readonly points: readonly HistoryPoint[] }} history
 * @property {readonly Consumer[]} consumers
 * @property {readonly Bar[]} bars
 * @property {readonly Problem[]} problems
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
