/**
 * The plot of a run: CPU a task relative to beanstalkd, and tasks a second, as SVG.
 *
 * @module
 */

import type { Field, Result } from "./field.ts";

const width = 960;
const panelHeight = 270;
const legendRows = 2;
const margin = { left: 76, right: 16, top: 96, gap: 76, bottom: 36 };

/** Told apart also by those who see no red or green (Okabe and Ito), this project's darkest. */
const colours = [
  "#0072b2",
  "#56b4e9",
  "#009e73",
  "#d55e00",
  "#e69f00",
  "#cc79a7",
  "#999999",
  "#333333",
];

/** One panel: its title, what a bar shows, and the bars' scale. */
interface Panel {
  readonly title: string;
  readonly value: (result: Result) => number;
  readonly label: (value: number) => string;
  readonly isLogarithmic: boolean;
  readonly ticks: readonly number[];
}

/** Draws a run. */
export function plot(field: Field): string {
  const names = [...new Set(field.results.map(({ name }) => name))];
  const reference = (result: Result) =>
    field.results.find(({ name, cell }) => name === "beanstalkd" && cell === result.cell)?.cpuUs;
  const hasReference = names.includes("beanstalkd");
  const cpu: Panel = {
    title: hasReference
      ? "Server CPU a task, times beanstalkd's (less is better)"
      : "Server CPU a task, µs (less is better)",
    value: (result) => result.cpuUs / (reference(result) ?? 1),
    label: (value) => value.toFixed(value < 10 ? 2 : 0),
    isLogarithmic: false,
    ticks: hasReference ? [0, 0.5, 1, 1.5, 2] : [0, 20, 40, 60, 80],
  };
  const rate: Panel = {
    title: "Tasks a second (more is better, logarithmic)",
    value: (result) => result.tasksPerSecond,
    label: (value) =>
      value >= 999_500 ? `${(value / 1e6).toFixed(1)}M` : `${Math.round(value / 1000)}k`,
    isLogarithmic: true,
    ticks: [1000, 10_000, 100_000, 1_000_000],
  };
  const height = margin.top + 2 * panelHeight + margin.gap + margin.bottom;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" ` +
    `font-family="system-ui, sans-serif" font-size="12" role="img">
<title>Server CPU a task and tasks a second of ${escape(names.join(", "))}</title>
<rect width="${width}" height="${height}" fill="#ffffff"/>
${legend(names)}${drawPanel(cpu, field.results, names, margin.top)}${
      drawPanel(rate, field.results, names, margin.top + panelHeight + margin.gap)
    }</svg>
`;
}

function legend(names: readonly string[]): string {
  const columns = Math.ceil(names.length / legendRows);
  const step = (width - margin.left - margin.right) / Math.max(columns, 1);
  return names.map((name, i) => {
    const x = margin.left + (i % columns) * step;
    const y = 14 + 19 * Math.floor(i / columns);
    return `<rect x="${round(x)}" y="${y}" width="12" height="12" ${fill(name, names)}/>` +
      text(x + 17, y + 10, name, "start", 11);
  }).join("");
}

function drawPanel(
  panel: Panel,
  results: readonly Result[],
  names: readonly string[],
  top: number,
): string {
  const bottom = top + panelHeight;
  const [least, most] = [panel.ticks[0] ?? 0, panel.ticks.at(-1) ?? 1];
  const scale = (value: number) => {
    const part = panel.isLogarithmic
      ? Math.log(value / least) / Math.log(most / least)
      : (value - least) / (most - least);
    // A bar beyond the scale ends a little above it; its label tells the value.
    return bottom - Math.min(Math.max(part, 0), 1.04) * panelHeight;
  };
  const lines = panel.ticks.map((tick) => {
    const y = round(scale(tick));
    const isOne = tick === 1 && !panel.isLogarithmic;
    return `<line x1="${margin.left}" y1="${y}" x2="${width - margin.right}" y2="${y}" ` +
      `stroke="${isOne ? "#333333" : "#dddddd"}"/>` +
      text(margin.left - 6, y + 4, tick.toLocaleString("en"), "end");
  });
  const cells = [...new Set(results.map(({ cell }) => cell))];
  const groupWidth = (width - margin.left - margin.right) / cells.length;
  const barWidth = groupWidth * 0.88 / names.length;
  const bars = results.map((result) => {
    const index = names.indexOf(result.name);
    const x = margin.left + cells.indexOf(result.cell) * groupWidth + groupWidth * 0.06 +
      index * barWidth;
    const value = panel.value(result);
    const y = scale(value);
    return `<rect x="${round(x)}" y="${round(y)}" width="${round(barWidth - 2)}" ` +
      `height="${round(bottom - y)}" ${fill(result.name, names)}><title>${
        escape(`${result.name} (${result.cell.join(", ")}): ${panel.label(value)}`)
      }</title></rect>` + text(x + barWidth / 2 - 1, y - 4, panel.label(value), "middle", 9);
  });
  const groups = cells.map((cell, i) =>
    text(margin.left + (i + 0.5) * groupWidth, bottom + 18, caption(cell), "middle")
  );
  return [
    text(margin.left, top - 26, panel.title, "start", 14),
    ...lines,
    ...bars,
    ...groups,
  ].join("\n") + "\n";
}

function caption([clients, inFlight]: Result["cell"]): string {
  return `${clients} client${clients === 1 ? "" : "s"}, ${inFlight} in flight`;
}

function text(x: number, y: number, content: string, anchor: string, size = 12): string {
  return `<text x="${round(x)}" y="${round(y)}" text-anchor="${anchor}" font-size="${size}" ` +
    `fill="#222222">${escape(content)}</text>`;
}

/** A server has one colour, paler where it is measured on 2 connections as well. */
function fill(name: string, names: readonly string[]): string {
  const server = (name: string) => name.replace(/ on 2 connections$/, "");
  const servers = [...new Set(names.map(server))];
  const colour = colours[servers.indexOf(server(name)) % colours.length] as string;
  return `fill="${colour}" fill-opacity="${server(name) === name ? 1 : 0.5}"`;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");
}
