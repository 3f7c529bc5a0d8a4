/**
 * Time that passes only when a simulation says so.
 *
 * @module
 */

import { setImmediate } from "node:timers";
import type { Clock } from "../../../lib/clock.ts";

interface Timer {
  readonly dueMs: number;
  readonly callback: () => void;
}

/** A clock, its timers, and what waits for the end of the turn. */
export class VirtualClock implements Clock {
  #nowMs: number;
  readonly #timers = new Set<Timer>();
  #afterInput: (() => void)[] = [];

  /** Starts a clock: time goes on over a restart of the server, as on a clock on the wall. */
  constructor(startMs: number) {
    this.#nowMs = startMs;
  }

  /** See {@linkcode Clock.nowMs}. */
  nowMs(): number {
    return this.#nowMs;
  }

  /** See {@linkcode Clock.after}. */
  after(ms: number, callback: () => void): () => void {
    const timer = { dueMs: this.#nowMs + ms, callback };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  /** See {@linkcode Clock.afterInput}. */
  afterInput(callback: () => void): void {
    this.#afterInput.push(callback);
  }

  /** Whether something waits for the end of the turn. */
  get isTurnOpen(): boolean {
    return this.#afterInput.length > 0;
  }

  /** Ends the turn: does what waited for that, and what it leads to. */
  async endTurn(): Promise<void> {
    for (const callback of this.#afterInput.splice(0)) callback();
    await settle();
  }

  /** Lets time pass as it does on a machine that is quick enough: each timer is on time. */
  async pass(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    for (let next = this.#next(endMs); next !== undefined; next = this.#next(endMs)) {
      this.#nowMs = Math.max(this.#nowMs, next.dueMs);
      await this.#fire(next);
    }
    this.#nowMs = endMs;
  }

  /** Lets time pass while the whole process is stopped: then all timers that are due are late. */
  async stop(ms: number): Promise<void> {
    this.#nowMs += ms;
    const due = [...this.#timers].filter((timer) => timer.dueMs <= this.#nowMs);
    for (const timer of due.sort((a, b) => a.dueMs - b.dueMs)) {
      if (this.#timers.has(timer)) await this.#fire(timer);
    }
  }

  #next(endMs: number): Timer | undefined {
    let next: Timer | undefined;
    for (const timer of this.#timers) {
      if (timer.dueMs <= endMs && (next === undefined || timer.dueMs < next.dueMs)) next = timer;
    }
    return next;
  }

  async #fire(timer: Timer): Promise<void> {
    this.#timers.delete(timer);
    timer.callback();
    await settle();
  }
}

/** Resolves when everything has been done that waits for neither time nor network. */
export function settle(): Promise<void> {
  // All microtasks, and those that they lead to, come before this.
  return new Promise((resolve) => setImmediate(resolve));
}
