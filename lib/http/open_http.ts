/**
 * The operator's side of a server: its page, API, metrics and events, behind one door.
 *
 * @module
 */

import { type Clock, systemClock } from "../clock.ts";
import type { Address } from "../address.ts";
import type { SecureStream } from "../net/stream.ts";
import type { Access } from "../server/access.ts";
import { historyStepMs } from "../server/status.ts";
import { OperatorApi } from "./api.ts";
import { type CheckedRequest, checkRequest, tokenOf } from "./checks.ts";
import { EventHub } from "./event_hub.ts";
import { listenHttp } from "./http_server.ts";
import { HttpError, type HttpRequest, type HttpResponse, json, text } from "./message.ts";
import { formatMetrics, metricsType } from "./metrics.ts";
import { fileResponse, textPage } from "./page.ts";
import type { Operated } from "./views.ts";

/** How the operator's side is opened. */
export interface HttpOptions {
  /** Where it listens. */
  readonly address: Address;
  /** Names of this server beside its addresses and `localhost`, in small letters. */
  readonly hosts: readonly string[];
  /** Checks the token that is asked for; left out: none is. */
  readonly access?: Access | undefined;
  /** Begins TLS with each peer; left out: plain HTTP. */
  readonly secure?: SecureStream | undefined;
  /** Takes lines for the operator. */
  readonly say: (line: string) => void;
  /** Tells the time: the system's, if left out. */
  readonly clock?: Clock;
}

/** An operator's side that is open. */
export interface OpenHttp {
  /** Where it listens. */
  readonly address: Address;
  /**
   * Tells viewers the last state, and that the server ends: nothing is answered from now on but that.
   * Resolves when they have taken it, or soon.
   */
  shutDown(): Promise<void>;
  /** Closes all connections. */
  close(): void;
}

/**
 * Opens the operator's side.
 *
 * @throws {UserError} if it cannot listen there.
 */
export function openHttp(operated: Operated, options: HttpOptions): OpenHttp {
  const door = new Door(operated, options);
  try {
    const listener = listenHttp(options.address, (request) => door.answer(request), {
      secure: options.secure,
      noteRefused: (status) => door.count(status),
    });
    return {
      address: listener.address,
      shutDown: () => door.shutDown(),
      close: () => listener.close(),
    };
  } catch (error) {
    void door.shutDown();
    throw error;
  }
}

/** What stands between requests and what answers them. */
class Door {
  readonly #operated: Operated;
  readonly #options: HttpOptions;
  readonly #clock: Clock;
  readonly #api: OperatorApi;
  readonly #hub: EventHub;
  readonly #requests = new Map<number, number>();
  #cancelTick: () => void = () => {};
  #isShuttingDown = false;

  constructor(operated: Operated, options: HttpOptions) {
    this.#operated = operated;
    this.#options = options;
    const clock = this.#clock = options.clock ?? systemClock;
    this.#hub = new EventHub(operated, clock);
    this.#api = new OperatorApi(operated, options);
    this.#tick();
  }

  async shutDown(): Promise<void> {
    this.#isShuttingDown = true;
    this.#cancelTick();
    await this.#hub.close();
  }

  async answer(request: HttpRequest): Promise<HttpResponse> {
    const response = await this.#answer(request).catch((error) => this.#refuse(request, error));
    this.count(response.status);
    return response;
  }

  /** Counts an answer. */
  count(status: number): void {
    this.#requests.set(status, (this.#requests.get(status) ?? 0) + 1);
  }

  #tick(): void {
    const { status, inspection } = this.#operated;
    inspection.afterAll(() => status.tick());
    this.#cancelTick = this.#clock.after(historyStepMs, () => this.#tick());
  }

  async #answer(request: HttpRequest): Promise<HttpResponse> {
    const checked = checkRequest(request, { hosts: this.#options.hosts });
    if (checked.path === "/healthz") return this.#health();
    await this.#admit(request);
    if (this.#isShuttingDown) throw new HttpError(503, "shutting down");
    if (checked.method === "POST") return await this.#askApi(request, checked);
    switch (checked.path) {
      case "/":
        return request.header("accept")?.includes("text/html") === true
          ? this.#file(request, "/")
          : await textPage(this.#operated);
      case "/metrics":
        return await this.#metrics();
      case "/api/events":
        return this.#hub.open();
      default:
        return checked.path.startsWith("/api/")
          ? await this.#askApi(request, checked)
          : this.#file(request, checked.path);
    }
  }

  /** Lets a request in that says the token, if there is one. */
  async #admit(request: HttpRequest): Promise<void> {
    const { access } = this.#options;
    if (access === undefined) return;
    const token = tokenOf(request);
    if (token !== undefined) {
      if (access.isBlocked(request.peer)) {
        throw new HttpError(429, "too many wrong tokens: wait a minute", { "Retry-After": "60" });
      }
      if (await access.check(request.peer, token)) return;
    }
    throw new HttpError(401, "say the token, as the password of any user", {
      "WWW-Authenticate": 'Basic realm="task queue"',
    });
  }

  async #askApi(request: HttpRequest, checked: CheckedRequest): Promise<HttpResponse> {
    const response = await this.#api.answer(checked, request);
    if (response === undefined) throw new HttpError(404, "there is nothing of this path");
    return response;
  }

  #file(request: HttpRequest, path: string): HttpResponse {
    const response = fileResponse(request, path);
    if (response === undefined) throw new HttpError(404, "there is nothing of this path");
    return response;
  }

  #health(): HttpResponse {
    switch (this.#operated.storeState()) {
      case "failed":
        return text("store failed\n", 503);
      case "silent":
        return text("what keeps the tasks does not answer\n", 503);
      default:
        return this.#isShuttingDown ? text("shutting down\n", 503) : text("ok\n");
    }
  }

  async #metrics(): Promise<HttpResponse> {
    // Then no counter shows what may be undone.
    await new Promise<void>((resolve) => this.#operated.inspection.afterAll(resolve));
    const counts = { viewers: this.#hub.size, requests: this.#requests };
    return text(formatMetrics(this.#operated, counts), 200, metricsType);
  }

  /** Tells a peer what is wrong; or, if it is our own mistake, the operator. */
  #refuse(request: HttpRequest, error: unknown): HttpResponse {
    if (!(error instanceof HttpError)) {
      this.#options.say(`http: internal error: ${String(error)}`);
      return text("internal error\n", 500);
    }
    const { status, message, headers } = error;
    const isApi = request.target.startsWith("/api/");
    const response = isApi ? json({ error: message }, status) : text(`${message}\n`, status);
    return { ...response, headers: { ...response.headers, ...headers } };
  }
}
