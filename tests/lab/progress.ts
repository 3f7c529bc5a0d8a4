/**
 * How far a long run is: a line on stderr that is written over, on a terminal only.
 *
 * @module
 */

/** The line. */
export class Progress {
  readonly #steps: number;
  #done = 0;

  /** Makes one, for so many steps if {@linkcode step} counts them. */
  constructor(steps = 0) {
    this.#steps = steps;
  }

  /** Says what comes next, and how many steps have come. */
  step(what: string): void {
    this.show(`${++this.#done}/${this.#steps} ${what}`);
  }

  /** Says something. */
  show(text: string): void {
    if (!Deno.stderr.isTerminal()) return;
    Deno.stderr.writeSync(new TextEncoder().encode(`\r\x1b[K${text}`));
  }

  /** Wipes the line. */
  end(): void {
    this.show("");
  }
}
