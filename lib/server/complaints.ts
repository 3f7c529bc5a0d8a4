/**
 * What peers do wrong, told to the server's operator in a bounded number of lines.
 *
 * A peer can send a million wrong commands in seconds, and come back under another port. So each
 * peer gets a few lines per topic, then a count; and all peers together get a bounded number of lines
 * per time.
 *
 * @module
 */

/** Lines per peer and topic: enough to see what is wrong, and that it is not a single slip. */
const maxLinesPerTopic = 10;

/** Lines of all peers together within {@linkcode windowMs}: as many as a person still reads. */
const maxLinesPerWindow = 100;

/** The time for which lines are counted together, in milliseconds. */
const windowMs = 10_000;

/** Limits what is said about peers. */
export class Complaints {
  readonly #write: (line: string) => void;
  readonly #nowMs: () => number;
  /** Complaints by peer and topic, of the peers that caused any. */
  readonly #counts = new Map<string, Map<string, number>>();
  #windowEndMs = -Infinity;
  #linesInWindow = 0;
  #leftOut = 0;

  /**
   * Makes an empty record.
   *
   * @param write takes the lines that are said.
   * @param nowMs tells the time, in milliseconds on any clock that only goes forward.
   */
  constructor(write: (line: string) => void, nowMs: () => number) {
    this.#write = write;
    this.#nowMs = nowMs;
  }

  /** Says what a peer did wrong, unless enough was said of this topic. Cost: O(1). */
  add(peer: string, topic: string, reason: string): void {
    let ofPeer = this.#counts.get(peer);
    if (ofPeer === undefined) this.#counts.set(peer, ofPeer = new Map());
    const count = (ofPeer.get(topic) ?? 0) + 1;
    ofPeer.set(topic, count);
    if (count <= maxLinesPerTopic) this.#say(`${peer}: ${reason}`);
  }

  /** Forgets a peer that has gone, and says how many complaints were not said. */
  end(peer: string): void {
    const ofPeer = this.#counts.get(peer);
    if (ofPeer === undefined) return;
    this.#counts.delete(peer);
    for (const [topic, count] of ofPeer) {
      const unsaid = count - maxLinesPerTopic;
      if (unsaid > 0) this.#say(`${peer}: ${unsaid} more of these: ${topic}`);
    }
  }

  /** Says how many lines were left out, if any: for the end of the server. */
  close(): void {
    if (this.#leftOut > 0) this.#write(`${this.#leftOut} more lines about peers were left out`);
    this.#leftOut = 0;
  }

  #say(line: string): void {
    if (this.#nowMs() >= this.#windowEndMs) {
      this.close();
      this.#windowEndMs = this.#nowMs() + windowMs;
      this.#linesInWindow = 0;
    }
    if (++this.#linesInWindow > maxLinesPerWindow) this.#leftOut++;
    else this.#write(line);
  }
}
