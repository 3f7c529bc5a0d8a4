/**
 * What a terminal window shows -> an SVG picture of it. Pure.
 *
 * It knows the SGR sequences for bold and the eight colours, which is what bash and the programs
 * here use, and leaves out all others.
 *
 * @module
 */

import type { PaneView } from "./terminal.ts";

/** The advance of DejaVu Sans Mono, in parts of its size. */
const advance = 0.602;
const fontSize = 10;
const columnWidth = fontSize * advance;
const rowHeight = 12.5;
const margin = 8;
const titleHeight = 17;

/** Dark enough on a light ground, by SGR number. */
const colors: Readonly<Record<string, string>> = {
  "31": "#b3261e",
  "32": "#1b7f37",
  "33": "#8a6100",
  "34": "#1f4fbf",
  "35": "#8330a8",
  "36": "#0b7285",
};

interface Style {
  readonly color: string;
  readonly isBold: boolean;
}

const plain: Style = { color: "#1f2328", isBold: false };

/** Draws a window, each pane with its title above it. */
export function drawWindow(panes: readonly PaneView[]): string {
  const above = (pane: PaneView) =>
    panes.filter(({ left, top }) => left === pane.left && top < pane.top).length;
  // Each pane gets a bar for its title, in place of tmux's border above it.
  const y = (pane: PaneView, row: number): number =>
    (above(pane) + 1) * (titleHeight + margin) + (pane.top - above(pane) + row) * rowHeight;
  const x = (column: number): number => margin + column * columnWidth;
  const width = x(Math.max(...panes.map((pane) => pane.left + pane.width)) + 0.2);
  const height = Math.max(...panes.map((pane) => y(pane, pane.height))) + margin;

  const parts: string[] = [];
  for (const pane of panes) {
    const left = pane.left === 0 ? 0 : x(pane.left - 0.8);
    const right = Math.min(width, x(pane.left + pane.width + 0.2));
    const top = y(pane, 0) - margin / 2 - titleHeight;
    const isLowest = !panes.some(({ left, top }) => left === pane.left && top > pane.top);
    const bottom = isLowest ? height : y(pane, pane.height) + margin / 2;
    parts.push(
      rectangle({ left, top, width: right - left, height: bottom - top, fill: "#fbfbfc" }),
      rectangle({ left, top, width: right - left, height: titleHeight, fill: "#dfe3e8" }),
      text(pane.title, { x: x(pane.left), y: top + 12, style: { ...plain, isBold: true } }),
    );
    for (const [row, line] of pane.lines.slice(0, pane.height).entries()) {
      let column = pane.left;
      for (const run of runs(line)) {
        const at = { x: x(column), y: y(pane, row) + 10, style: run.style };
        if (run.text.trim() !== "") parts.push(text(run.text, at));
        column += [...run.text].length;
      }
    }
  }
  const size = `width="${round(width)}" height="${round(height)}"`;
  return `<svg xmlns="http://www.w3.org/2000/svg" ${size} ` +
    `viewBox="0 0 ${round(width)} ${round(height)}" ` +
    `font-family="DejaVu Sans Mono" font-size="${fontSize}">\n${parts.join("\n")}\n</svg>\n`;
}

/** Splits a line at its SGR sequences. */
function runs(line: string): { text: string; style: Style }[] {
  const found: { text: string; style: Style }[] = [];
  let style = plain;
  // deno-lint-ignore no-control-regex -- ESC is what sequences begin with
  for (const part of line.split(/(\x1b\[[\d;]*m)/)) {
    // deno-lint-ignore no-control-regex -- as above
    const codes = /^\x1b\[([\d;]*)m$/.exec(part)?.[1];
    if (codes === undefined) {
      if (part !== "") found.push({ text: part, style });
      continue;
    }
    for (const code of codes.split(";")) style = restyle(style, code);
  }
  return found;
}

function restyle(style: Style, code: string): Style {
  if (code === "" || code === "0") return plain;
  if (code === "1") return { ...style, isBold: true };
  if (code === "39") return { ...style, color: plain.color };
  return { ...style, color: colors[code] ?? style.color };
}

function text(
  content: string,
  { x, y, style }: { readonly x: number; readonly y: number; readonly style: Style },
): string {
  const weight = style.isBold ? ' font-weight="bold"' : "";
  // Blanks that XML readers collapse would move what follows.
  const escaped = content.trimEnd().replaceAll("&", "&amp;").replaceAll("<", "&lt;")
    .replaceAll(" ", "\u00a0");
  return `<text x="${round(x)}" y="${round(y)}" fill="${style.color}"${weight}>${escaped}</text>`;
}

function rectangle(
  r: {
    readonly left: number;
    readonly top: number;
    readonly width: number;
    readonly height: number;
    readonly fill: string;
  },
): string {
  return `<rect x="${round(r.left)}" y="${round(r.top)}" width="${round(r.width)}" ` +
    `height="${round(r.height)}" fill="${r.fill}" stroke="#aab2bd"/>`;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
