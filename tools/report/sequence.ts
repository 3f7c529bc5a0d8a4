/**
 * A sequence diagram as text -> as SVG. Pure.
 *
 * ```text
 * lifelines: client, server
 * == a new part
 * client -> server: a message
 * client .. server: something between their sockets, dotted
 * server: something that it does by itself
 * ```
 *
 * Blank lines and lines that begin with `#` mean nothing.
 *
 * @module
 */

const font = { size: 10.5, lineHeight: 14 };
const width = 640;
const headHeight = 26;
const partGap = 8;
const ink = "#39424d";
const faint = "#9aa4b0";

type Step =
  | { readonly kind: "part"; readonly text: string }
  | { readonly kind: "own"; readonly at: number; readonly text: string }
  | {
    readonly kind: "message";
    readonly from: number;
    readonly to: number;
    readonly isDotted: boolean;
    readonly text: string;
  };

/**
 * Draws a sequence diagram.
 *
 * @throws {RangeError} for a line that is none of the forms above, or names an unknown lifeline.
 */
export function drawSequence(source: string): string {
  const [head = "", ...lines] = source.split("\n").map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"));
  const names = head.replace(/^lifelines: */, "").split(/ *, */);
  if (!head.startsWith("lifelines:")) throw new RangeError(`expected lifelines, got "${head}"`);
  const steps = lines.map((line) => parseStep(line, names));

  const spacing = width / names.length;
  const x = (lifeline: number): number => spacing * (lifeline + 0.5);
  const parts: string[] = [];
  let y = headHeight;
  for (const step of steps) {
    y += step.kind === "part" ? font.lineHeight + partGap : font.lineHeight + 2;
    parts.push(...drawStep(step, { x, y }));
  }
  const bottom = y + 14;
  const heads = names.flatMap((name, index) => [
    `<line x1="${x(index)}" y1="${headHeight}" x2="${x(index)}" y2="${bottom}" stroke="${faint}"/>`,
    `<rect x="${x(index) - 48}" y="2" width="96" height="20" fill="#e8f0fe" stroke="${ink}"/>`,
    label(name, { x: x(index), y: 16, anchor: "middle", isBold: true }),
  ]);
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${bottom}" ` +
    `viewBox="0 0 ${width} ${bottom}" font-family="Liberation Sans" font-size="${font.size}">\n` +
    `${[...heads, ...parts].join("\n")}\n</svg>\n`;
}

function parseStep(line: string, names: readonly string[]): Step {
  const lifeline = (name: string): number => {
    const index = names.indexOf(name);
    if (index === -1) throw new RangeError(`no lifeline "${name}": ${line}`);
    return index;
  };
  if (line.startsWith("==")) return { kind: "part", text: line.slice(2).trim() };
  const message = /^(.+?) (->|\.\.) (.+?): (.+)$/.exec(line);
  if (message !== null) {
    const [, from, arrow, to, text] = message as unknown as [
      string,
      string,
      string,
      string,
      string,
    ];
    const isDotted = arrow === "..";
    return { kind: "message", from: lifeline(from), to: lifeline(to), isDotted, text };
  }
  const own = /^(.+?): (.+)$/.exec(line);
  if (own === null) throw new RangeError(`neither message nor step: ${line}`);
  return { kind: "own", at: lifeline(own[1] as string), text: own[2] as string };
}

function drawStep(
  step: Step,
  { x, y }: { readonly x: (lifeline: number) => number; readonly y: number },
): string[] {
  switch (step.kind) {
    case "part":
      return [
        `<line x1="0" y1="${y - 12}" x2="${width}" y2="${y - 12}" stroke="#d5dae0"/>`,
        `<rect x="0" y="${y - 10}" width="${6 * step.text.length}" height="14" fill="#fff"/>`,
        label(step.text, { x: 2, y, anchor: "start", isBold: true }),
      ];
    case "own": {
      // Beside the lifeline, on the side that has room.
      const isRight = x(step.at) > width * 0.6;
      const at = x(step.at) + (isRight ? -5 : 5);
      return [
        `<circle cx="${x(step.at)}" cy="${y - 3}" r="2.5" fill="${ink}"/>`,
        label(step.text, { x: at, y, anchor: isRight ? "end" : "start", isBold: false }),
      ];
    }
    case "message":
      return drawMessage(step, { from: x(step.from), to: x(step.to), y });
    default:
      return step satisfies never;
  }
}

function drawMessage(
  step: Extract<Step, { kind: "message" }>,
  { from, to, y }: { readonly from: number; readonly to: number; readonly y: number },
): string[] {
  const back = Math.sign(from - to);
  const tip = `${to},${y} ${to + back * 6},${y - 3} ${to + back * 6},${y + 3}`;
  const dash = step.isDotted ? ' stroke-dasharray="2 3"' : "";
  return [
    `<line x1="${from}" y1="${y}" x2="${to}" y2="${y}" stroke="${ink}"${dash}/>`,
    `<polygon points="${tip}" fill="${ink}"/>`,
    // From the left end on: most lines of the protocol are longer than the way between two.
    label(step.text, { x: Math.min(from, to) + 8, y: y - 3, anchor: "start", isBold: false }),
  ];
}

function label(
  text: string,
  at: {
    readonly x: number;
    readonly y: number;
    readonly anchor: "start" | "middle" | "end";
    readonly isBold: boolean;
  },
): string {
  const weight = at.isBold ? ' font-weight="bold"' : "";
  const escaped = text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  return `<text x="${at.x}" y="${at.y}" text-anchor="${at.anchor}" fill="${ink}"${weight}>` +
    `${escaped}</text>`;
}
