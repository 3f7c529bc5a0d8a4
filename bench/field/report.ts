/**
 * What the runs share in telling of themselves.
 *
 * @module
 */

/** The median. */
export function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? NaN) + upper) / 2;
}

/** A table in Markdown; all columns but the first are numbers. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |\n`;
  const rule = line(head.map((_, i) => i === 0 ? "---" : "---:"));
  return line(head) + rule + rows.map(line).join("");
}

/** The processor and the system, in a line. */
export function describeMachine(): string {
  const model = /model name\s*: (.*)/.exec(Deno.readTextFileSync("/proc/cpuinfo"))?.[1];
  return `${model ?? Deno.build.arch}, ${navigator.hardwareConcurrency} cores, ${Deno.build.os} ${
    Deno.osRelease().split("-", 1)[0]
  }`;
}

/** A line on stderr that says how far a run is; on a terminal only. */
export class Progress {
  readonly #steps: number;
  #done = 0;

  /** Makes it for so many steps. */
  constructor(steps: number) {
    this.#steps = steps;
  }

  /** Says what comes next. */
  step(what: string): void {
    this.#write(`\r\x1b[K${++this.#done}/${this.#steps} ${what}`);
  }

  /** Wipes the line. */
  end(): void {
    this.#write("\r\x1b[K");
  }

  #write(text: string): void {
    if (Deno.stderr.isTerminal()) Deno.stderr.writeSync(new TextEncoder().encode(text));
  }
}
