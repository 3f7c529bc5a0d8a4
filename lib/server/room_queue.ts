/**
 * Producers that wait until the queue has room: first come, first served.
 *
 * @module
 */

import type { Connection } from "../net/connection.ts";

/** Producers that wait for room. */
export class RoomQueue {
  readonly #room: () => number;
  /** What wakes each of them, in the order in which they came. */
  readonly #waiting = new Map<Connection, () => void>();

  /**
   * Makes a queue of nobody.
   *
   * @param room tells how many new tasks fit.
   */
  constructor(room: () => number) {
    this.#room = room;
  }

  /** Those who wait, the first one first. */
  get connections(): readonly Connection[] {
    return [...this.#waiting.keys()];
  }

  /** How many wait. */
  get size(): number {
    return this.#waiting.size;
  }

  /** Whether a connection waits. */
  has(connection: Connection): boolean {
    return this.#waiting.has(connection);
  }

  /**
   * Waits to be woken: there may be room then, or the wait may have become pointless. A connection
   * keeps its place, so that it can wait again, until it is told to {@linkcode leave}.
   */
  wait(connection: Connection): Promise<void> {
    return new Promise((resolve) => this.#waiting.set(connection, resolve));
  }

  /** Gives up a connection's place. */
  leave(connection: Connection): void {
    this.#waiting.delete(connection);
  }

  /** Wakes as many as there is room for; to be called whenever there may be more room. */
  offer(): void {
    if (this.#waiting.size === 0) return;
    let rest = this.#room();
    for (const wake of this.#waiting.values()) {
      if (rest-- <= 0) return;
      wake();
    }
  }

  /** Wakes one out of turn: it may be gone. */
  wake(connection: Connection): void {
    this.#waiting.get(connection)?.();
  }
}
