/**
 * Charts of the last five minutes, in SVG.
 *
 * A chart is drawn anew once per second at most. Its nodes are made once; what changes is their
 * paths and texts.
 *
 * @module
 */

import { find, makeKey, makeSvg, setText } from "./dom.js";
import { count, duration, priorityNames, rate, shortCount } from "./format.js";

/** @import { HistoryPoint } from "./feed.js" */

/** How far back charts reach, in seconds. */
export const historySeconds = 300;

/** Over how many seconds rates are averaged: short enough to see a burst, long enough to read. */
const rateSeconds = 5;

/** Room for the scale's numbers at the left, and for the times below, in pixels. */
const margin = { left: 44, bottom: 20 };

/** @param {readonly number[]} numbers */
const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);

/** What was, second by second, as far back as charts reach. */
export class History {
  /** @type {HistoryPoint[]} */
  #points = [];

  /** The points, the oldest first. */
  get points() {
    return this.#points;
  }

  /**
   * Begins anew.
   *
   * @param {readonly HistoryPoint[]} points
   */
  reset(points) {
    this.#points = [...points];
  }

  /**
   * Takes a point if the last one is a second old.
   *
   * @param {HistoryPoint} point
   * @returns {boolean} whether it was taken.
   */
  add({ time, waiting, created, handedOut }) {
    const last = this.#points.at(-1);
    if (last !== undefined && time < last.time + 0.9) return false;
    // The server is silent while nothing changes: then what was stays so until a second ago.
    if (last !== undefined && time > last.time + 2) {
      this.#points.push({ ...last, time: time - 1 });
    }
    this.#points.push({ time, waiting, created, handedOut });
    const start = time - historySeconds - rateSeconds;
    this.#points = this.#points.slice(this.#points.findIndex((point) => point.time >= start));
    return true;
  }

  /**
   * Tasks per second in and out, each point the mean of the seconds before it.
   *
   * @returns {{ time: number, in: number, out: number }[]}
   */
  rates() {
    let from = 0;
    return this.#points.map((point, index) => {
      while (
        from < index - 1 && /** @type {HistoryPoint} */ (this.#points[from + 1]).time <=
          point.time - rateSeconds
      ) from++;
      const before = this.#points[from] ?? point;
      const seconds = point.time - before.time;
      if (seconds <= 0) return { time: point.time, in: 0, out: 0 };
      return {
        time: point.time,
        in: Math.max(0, sum(point.created) - sum(before.created)) / seconds,
        out: Math.max(0, sum(point.handedOut) - sum(before.handedOut)) / seconds,
      };
    }).slice(1);
  }
}

/**
 * A line of a chart: what it is called, what it is at a point, and how that is written.
 *
 * @template P
 * @typedef {object} Series
 * @property {string} name
 * @property {HTMLElement} key
 * @property {(point: P) => number} of
 * @property {(value: number) => string} format
 */

/**
 * The frame of a chart: its size, its axis of time, the pointer, and a legend that tells the values
 * at the pointer's time.
 *
 * @template {{ readonly time: number }} P
 */
class Frame {
  svg;
  width = 0;
  height = 0;
  /** @type {number | undefined} */
  #pointer;
  /** @type {readonly P[]} */
  #points = [];
  #end = 0;
  #series;
  #cursor = makeSvg("path", { class: "cursor" });
  #axis = makeSvg("g", { class: "axis" });
  #ago = document.createElement("span");
  #none;

  /**
   * @param {HTMLElement} panel
   * @param {readonly Series<P>[]} series
   * @param {{ readonly none: string, readonly draw: () => void }} options what is said when there
   * is nothing to draw, and what draws the chart when its size has changed.
   */
  constructor(panel, series, { none, draw }) {
    this.svg = /** @type {SVGSVGElement} */ (/** @type {unknown} */ (find("svg", panel)));
    this.#series = series;
    this.#none = makeSvg("text", { class: "none", "text-anchor": "middle" }, none);
    find(".legend", panel).replaceChildren(this.#ago, ...series.map(({ key }) => key));
    new ResizeObserver(() => {
      this.width = this.svg.clientWidth;
      this.height = this.svg.clientHeight;
      this.#drawAxis();
      draw();
    }).observe(this.svg);
    this.svg.addEventListener("pointermove", (event) => this.#point(event.offsetX));
    this.svg.addEventListener("pointerleave", () => this.#point(undefined));
  }

  /** @param {...SVGElement} parts drawn below the axis and the cursor. */
  fill(...parts) {
    this.svg.replaceChildren(...parts, this.#axis, this.#none, this.#cursor);
  }

  /** Where the plot ends below. */
  get bottom() {
    return this.height - margin.bottom;
  }

  /**
   * Where a time is.
   *
   * @param {number} time
   */
  x(time) {
    const share = 1 - (this.#end - time) / historySeconds;
    return Math.max(margin.left, margin.left + (this.width - margin.left) * share);
  }

  /**
   * Takes what is to be drawn.
   *
   * @param {readonly P[]} points
   * @param {boolean} isEmpty
   */
  update(points, isEmpty) {
    this.#points = points;
    this.#end = points.at(-1)?.time ?? 0;
    this.svg.classList.toggle("empty", isEmpty);
    this.#tell();
  }

  /**
   * The line through the points, from the left edge on.
   *
   * @param {(point: P) => number} y
   */
  line(y) {
    const start = this.#end - historySeconds - 1;
    return this.#points.filter((point) => point.time >= start)
      .map((point) => `${this.x(point.time).toFixed(1)} ${y(point).toFixed(1)}`).join("L");
  }

  /**
   * The area below that line.
   *
   * @param {(point: P) => number} y
   * @param {number} base
   */
  area(y, base) {
    const line = this.line(y);
    if (line === "") return "";
    const [left = "0"] = line.split(" ", 1);
    return `M${left} ${base}L${line}L${this.x(this.#end).toFixed(1)} ${base}Z`;
  }

  #drawAxis() {
    const step = this.width < 400 ? 2 : 1;
    const parts = [];
    for (let minute = 0; minute <= historySeconds / 60; minute += step) {
      const x = margin.left + (this.width - margin.left) * (1 - minute * 60 / historySeconds);
      const anchor = minute === 0 ? "end" : minute === 5 ? "start" : "middle";
      const text = minute === 0 ? "now" : `${minute} min`;
      parts.push(makeSvg("text", { x, y: this.height - 4, "text-anchor": anchor }, text));
    }
    this.#axis.replaceChildren(...parts);
    this.#none.setAttribute("x", String(this.width / 2));
    this.#none.setAttribute("y", String(this.bottom / 2 + 5));
  }

  /** @param {number | undefined} x */
  #point(x) {
    this.#pointer = x === undefined || x < margin.left ? undefined : x;
    this.#tell();
  }

  /** Writes the values at the pointer's time, or those of now. */
  #tell() {
    const at = this.#pointer === undefined ? this.#points.at(-1) : this.#nearest(this.#pointer);
    const isPast = this.#pointer !== undefined && at !== undefined;
    setText(this.#ago, isPast ? `${duration(this.#end - at.time)} ago` : "");
    this.#cursor.setAttribute("d", isPast ? `M${this.x(at.time)} 4V${this.bottom}` : "");
    const texts = this.#series.map((series) => {
      const text = `${series.name} ${series.format(at === undefined ? 0 : series.of(at))}`;
      setText(series.key, text);
      return text;
    });
    if (!isPast) this.svg.setAttribute("aria-label", texts.join(", "));
  }

  /** @param {number} x */
  #nearest(x) {
    /** @param {P} point */
    const away = (point) => Math.abs(this.x(point.time) - x);
    return this.#points.reduce(
      (best, point) => best === undefined || away(point) < away(best) ? point : best,
      this.#points[0],
    );
  }
}

/** How many tasks waited: a lane per priority, each on its own scale, as 300 Low hide 7 High. */
export class DepthChart {
  #history;
  /** @type {Frame<HistoryPoint>} */
  #frame;
  #lanes = priorityNames.map((_, index) => ({
    area: makeSvg("path", { class: `area p${index + 1}` }),
    base: makeSvg("path", { class: "grid" }),
    peak: makeSvg("text", { x: margin.left - 8, "text-anchor": "end" }),
    zero: makeSvg("text", { x: margin.left - 8, "text-anchor": "end" }, "0"),
  }));

  /**
   * @param {HTMLElement} panel
   * @param {History} history
   */
  constructor(panel, history) {
    this.#history = history;
    const series = priorityNames.map((name, index) => ({
      name,
      key: makeKey(index + 1, name),
      of: (/** @type {HistoryPoint} */ point) => point.waiting[index] ?? 0,
      format: count,
    }));
    this.#frame = new Frame(panel, series, {
      none: "No task has waited in these five minutes",
      draw: () => this.draw(),
    });
    this.#frame.fill(...this.#lanes.flatMap((lane) => Object.values(lane)));
  }

  /** Draws what the history has. */
  draw() {
    const { points } = this.#history;
    const peaks = this.#lanes.map((_, index) =>
      points.reduce((most, point) => Math.max(most, point.waiting[index] ?? 0), 0)
    );
    this.#frame.update(points, peaks.every((peak) => peak === 0));
    const height = this.#frame.bottom / 3;
    for (const [index, { area, base, peak, zero }] of this.#lanes.entries()) {
      const most = peaks[index] ?? 0;
      const bottom = Math.round((index + 1) * height) - 1.5;
      /** @param {HistoryPoint} point */
      const y = (point) => bottom - (height - 12) * (point.waiting[index] ?? 0) / Math.max(1, most);
      area.setAttribute("d", most === 0 ? "" : this.#frame.area(y, bottom));
      base.setAttribute("d", `M${margin.left} ${bottom}H${this.#frame.width}`);
      peak.setAttribute("y", String(bottom - height + 20));
      setText(peak, most === 0 ? "" : shortCount(most));
      zero.setAttribute("y", String(bottom + 1));
    }
  }
}

/** @typedef {{ readonly time: number, readonly in: number, readonly out: number }} Rates */

/** How many tasks came in and went out per second. */
export class RateChart {
  #history;
  /** @type {Frame<Rates>} */
  #frame;
  #grid = [0, 1, 2, 3].map(() => ({
    line: makeSvg("path", { class: "grid" }),
    label: makeSvg("text", { x: margin.left - 8, "text-anchor": "end" }),
  }));
  #area = makeSvg("path", { class: "area in" });
  #in = makeSvg("path", { class: "line in" });
  #out = makeSvg("path", { class: "line out" });

  /**
   * @param {HTMLElement} panel
   * @param {History} history
   */
  constructor(panel, history) {
    this.#history = history;
    const series = /** @type {const} */ (["in", "out"]).map((name) => {
      const key = document.createElement("span");
      key.className = `key ${name}`;
      return { name, key, of: (/** @type {Rates} */ rates) => rates[name], format: rate };
    });
    this.#frame = new Frame(panel, series, {
      none: "No task has come or gone in these five minutes",
      draw: () => this.draw(),
    });
    const grid = this.#grid.flatMap((lines) => Object.values(lines));
    this.#frame.fill(...grid, this.#area, this.#out, this.#in);
  }

  /** Draws what the history has. */
  draw() {
    const points = this.#history.rates();
    const most = points.reduce((most, rates) => Math.max(most, rates.in, rates.out), 0);
    this.#frame.update(points, most === 0);
    const step = roundStep(most / 3);
    const { bottom, width } = this.#frame;
    /** @param {number} value */
    const y = (value) => bottom - 1.5 - (bottom - 10) * value / (3 * step);
    for (const [index, { line, label }] of this.#grid.entries()) {
      line.setAttribute("d", `M${margin.left} ${y(index * step)}H${width}`);
      label.setAttribute("y", String(y(index * step) + 4));
      setText(label, shortCount(index * step));
    }
    this.#area.setAttribute("d", this.#frame.area((rates) => y(rates.in), y(0)));
    for (const [path, name] of /** @type {const} */ ([[this.#in, "in"], [this.#out, "out"]])) {
      const line = this.#frame.line((rates) => y(rates[name]));
      path.setAttribute("d", line === "" ? "" : `M${line}`);
    }
  }
}

/**
 * The least round number that is not below a value, and not below 1.
 *
 * @param {number} least
 * @returns {number}
 */
function roundStep(least) {
  const power = 10 ** Math.floor(Math.log10(Math.max(least, 1)));
  return [1, 2, 2.5, 3, 4, 5, 6, 8].map((n) => n * power).find((step) => step >= least) ??
    10 * power;
}

/** How many seconds a sparkline shows. */
const sparkSeconds = 90;

/** The last rates in the smallest space. */
export class Sparkline {
  #history;
  #in = makeSvg("path", { class: "line in" });
  #out = makeSvg("path", { class: "line out" });
  #width = 0;
  #height = 0;

  /**
   * @param {Element} svg
   * @param {History} history
   */
  constructor(svg, history) {
    this.#history = history;
    svg.replaceChildren(this.#out, this.#in);
    new ResizeObserver(() => {
      this.#width = svg.clientWidth;
      this.#height = svg.clientHeight;
      this.draw();
    }).observe(svg);
  }

  /** Draws what the history has. */
  draw() {
    const points = this.#history.rates();
    const end = points.at(-1)?.time ?? 0;
    const shown = points.filter((rates) => rates.time >= end - sparkSeconds);
    const most = shown.reduce((most, rates) => Math.max(most, rates.in, rates.out), 1);
    for (const [path, name] of /** @type {const} */ ([[this.#in, "in"], [this.#out, "out"]])) {
      const line = shown.map((rates) => {
        const x = this.#width * (1 - (end - rates.time) / sparkSeconds);
        const y = this.#height - 2 - (this.#height - 4) * rates[name] / most;
        return `${x.toFixed(1)} ${y.toFixed(1)}`;
      }).join("L");
      path.setAttribute("d", line === "" ? "" : `M${line}`);
    }
  }
}
