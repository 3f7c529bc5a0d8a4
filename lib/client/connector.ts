/**
 * Connects, and connects again: when, and how long it waits between.
 *
 * @module
 */

import { Backoff, defaultPauseMs } from "../backoff.ts";
import { sleep } from "../clock.ts";
import { checkConnectOptions, type ConnectOptions } from "./connect_options.ts";
import { DisconnectedError } from "./queue_error.ts";
import type { ServerAddress, TlsOptions } from "./transport.ts";

/** Makes the connections of one client. They share their pauses: an outage is noted once. */
export class Connector<Link> {
  readonly #options: ConnectOptions;
  readonly #open: (address: ServerAddress, signal: AbortSignal) => Promise<Link>;
  readonly #backoff: Backoff;
  /** No attempt is made before this time, on the clock of `performance.now()`. */
  #untilMs = 0;
  #hasConnected = false;
  /** What `onDisconnect` has thrown, to be passed on to who connects next. */
  #thrown: { readonly error: unknown } | undefined;

  /**
   * Makes a connector that has not connected.
   *
   * @param open makes one attempt. A DisconnectedError means that the next one may succeed.
   * @throws {RangeError} an option is out of range.
   */
  constructor(
    options: ConnectOptions,
    open: (address: ServerAddress, signal: AbortSignal) => Promise<Link>,
  ) {
    checkConnectOptions(options);
    this.#options = options;
    this.#open = open;
    const { firstMs = defaultPauseMs.first, mostMs = defaultPauseMs.most } = options.retry || {};
    this.#backoff = new Backoff({ first: firstMs, most: mostMs });
  }

  /**
   * Connects, as often as it takes.
   *
   * @throws {DisconnectedError} `retry` is false, and it could not.
   * @throws {QueueError} what listens there is no such server. Once it was one, this counts as a
   * failure like others: a server may be replaced while a worker runs for months.
   * @throws the signal's reason; or, once, what `onDisconnect` has thrown.
   */
  async connect(signal: AbortSignal): Promise<Link> {
    const { hostname = "127.0.0.1", port, token, tls = false, retry } = this.#options;
    const address = { hostname, port, token, tls: asTlsOptions(tls) };
    for (;;) {
      await sleep(this.#untilMs - performance.now(), signal);
      if (this.#thrown !== undefined) {
        const { error } = this.#thrown;
        this.#thrown = undefined;
        throw error;
      }
      signal.throwIfAborted();
      try {
        const link = await this.#open(address, signal);
        this.#hasConnected = true;
        return link;
      } catch (error) {
        if (signal.aborted) throw signal.reason;
        const mayPass = this.#hasConnected || error instanceof DisconnectedError;
        if (retry === false || !mayPass) throw error;
        this.noteLoss(error as Error);
      }
    }
  }

  /**
   * Notes that a connection was lost, or an attempt failed; at most once for all connections that
   * are lost together.
   *
   * @param livedMs how long it was connected.
   */
  noteLoss(error: Error, livedMs = 0): void {
    const nowMs = performance.now();
    if (nowMs < this.#untilMs) return;
    const { retry, onDisconnect } = this.#options;
    const pauseMs = Math.ceil(this.#backoff.fail(livedMs));
    const waitMs = retry === false ? 0 : pauseMs;
    this.#untilMs = nowMs + waitMs;
    const cause = error instanceof DisconnectedError ? error.cause as Error : error;
    try {
      onDisconnect?.(cause, this.#backoff.failures, waitMs);
    } catch (thrown) {
      this.#thrown ??= { error: thrown };
    }
  }
}

function asTlsOptions(tls: boolean | TlsOptions): TlsOptions | undefined {
  return typeof tls === "object" ? tls : tls ? {} : undefined;
}
