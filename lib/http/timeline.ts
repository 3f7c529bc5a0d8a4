/**
 * Draws who worked on what, when: one row a worker, time across.
 *
 * @module
 */

import type { Priority } from "../core/task.ts";
import { cellsOf } from "./cells.ts";

/** One task on a worker's row. */
export interface Bar {
  /** The task's name. */
  readonly label: string;
  /** Decides how the bar is filled. */
  readonly priority: Priority;
  /** When the work started, in milliseconds on any clock. */
  readonly startMs: number;
  /** When it ended; undefined while it goes on. */
  endMs: number | undefined;
}

/** One worker. */
export interface Row {
  /** The worker's name. */
  readonly name: string;
  /** What it worked on, in order. */
  readonly bars: Bar[];
}

/** The more urgent, the denser. */
const fills: Readonly<Record<Priority, string>> = { 1: "█", 2: "▒", 3: "░" };

/** Whole seconds between two marks of the time axis: the first of these that leaves room. */
const markSteps = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400];

/** Least columns between two marks. */
const minMarkColumns = 6;

/**
 * Draws the rows as text.
 *
 * @param options.width how many columns there are; 40 or more.
 */
export function drawTimeline(rows: readonly Row[], options: { readonly width: number }): string {
  const bars = rows.flatMap((row) => row.bars);
  if (bars.length === 0) return "(nothing was worked on)";
  const startMs = Math.min(...bars.map((bar) => bar.startMs));
  const endMs = Math.max(...bars.map((bar) => bar.endMs ?? bar.startMs));
  const nameColumns = Math.max(...rows.map((row) => row.name.length), "seconds".length) + 1;
  const columns = Math.max(40, options.width) - nameColumns - 1;
  const columnsPerMs = columns / Math.max(1, endMs - startMs);
  const columnOf = (ms: number) => Math.round((ms - startMs) * columnsPerMs);

  const lines = rows.map(({ name, bars }) => {
    const cells = Array.from({ length: columns }, () => " ");
    for (const bar of bars) {
      const first = columnOf(bar.startMs);
      const end = Math.max(first + 1, columnOf(bar.endMs ?? endMs));
      for (const [index, cell] of drawBar(bar, end - first).entries()) {
        cells[first + index] = cell;
      }
    }
    return (name.padEnd(nameColumns) + cells.join("")).trimEnd();
  });
  return [
    "seconds".padEnd(nameColumns) + drawAxis((endMs - startMs) / 1000, columnsPerMs * 1000),
    ...lines,
    `${" ".repeat(nameColumns)}${fills[1]} priority 1   ${fills[2]} priority 2   ${
      fills[3]
    } priority 3`,
  ].join("\n");
}

/** The columns of a bar, with its label if that fits, and a gap at its end. */
function drawBar({ label, priority }: Bar, columns: number): string[] {
  const inner = Math.max(1, columns - 1);
  const bar = Array.from({ length: inner }, () => fills[priority]);
  const text = cellsOf(` ${label} `);
  if (text.length + 2 <= inner) bar.splice(1, text.length, ...text);
  return columns > 1 ? [...bar, " "] : bar;
}

function drawAxis(seconds: number, columnsPerSecond: number): string {
  const step = markSteps.find((step) => step * columnsPerSecond >= minMarkColumns) ??
    Math.ceil(seconds);
  let axis = "";
  for (let mark = 0; mark <= seconds; mark += step) {
    axis = axis.padEnd(Math.round(mark * columnsPerSecond)) + String(mark);
  }
  return axis;
}
