/**
 * Finds peers that have stopped in the middle of a line: they may not know that lines must be ended.
 *
 * @module
 */

import type { Connection } from "../net/connection.ts";

/** Looks at which a peer's text must be the same before it is mentioned. */
const looksBeforeMention = 3;

/** What a peer has sent after its last line end. */
interface UnendedText {
  readonly text: string;
  /** Looks in a row at which it was the same. */
  readonly looks: number;
}

/** Texts without a line end, as they were at the last look. */
export class UnendedTexts {
  #texts = new Map<Connection, UnendedText>();

  /**
   * Looks at the peers' texts; to be called once per second.
   *
   * @returns the connections of those that have stayed the same for some looks, each once.
   */
  look(connections: Iterable<Connection>): Map<Connection, string> {
    const texts = new Map<Connection, UnendedText>();
    const stayed = new Map<Connection, string>();
    for (const connection of connections) {
      const text = connection.unendedText;
      if (text === undefined) continue;
      const before = this.#texts.get(connection);
      const looks = before?.text === text ? before.looks + 1 : 1;
      texts.set(connection, { text, looks });
      if (looks === looksBeforeMention) stayed.set(connection, text);
    }
    this.#texts = texts;
    return stayed;
  }
}
