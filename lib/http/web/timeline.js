/**
 * Who works on what: a row per consumer, a bar per task.
 *
 * All bars hang on one strip, and time passes by moving it: one transform, however many bars there
 * are. A bar reaches from its start to the end that its duration promises; what lies beyond now is
 * paled by a veil that stands still. The strip moves by itself for a second, and is told the time
 * twice per second. So a bar changes only when its task ends, or is late.
 *
 * @module
 */

import { find, make, setChildren, setText } from "./dom.js";
import { count, cut, duration, priorityNames, rate } from "./format.js";

/** @import { Bar } from "./feed.js" */
/** @import { ConsumerView } from "../views.ts" */

/** How many seconds of the past and of the future are shown. */
const pastSeconds = 50;
const futureSeconds = 12;
const shownSeconds = pastSeconds + futureSeconds;

/** Most rows: what a page can show and a server send. */
const maxRows = 100;

/**
 * How far the strip moves by itself, in seconds: twice as far as it is told the time, and not on and on
 * if that stops.
 */
const aheadSeconds = 1;

/** After how many seconds bars are placed anew: far from 0 a strip would be a picture of miles. */
const originSeconds = 120;

/** The width of a character in a bar, and of the room at its ends, in pixels. */
const characterPixels = 7.1;
const padPixels = 12;

/** A name is shown from this many characters on, or if it is shorter and fits. */
const leastCharacters = 5;

/** From this many tasks per second on a consumer's bars say nothing any more. */
const fastPerSecond = 5;

/** A task on the strip. */
class Box {
  element;
  #label = make("span");
  #shown = 0;
  #taskId;
  /** When its work began and when it ends, or should: Unix seconds. */
  start;
  end;

  /**
   * @param {{ taskId: string, priority: number, start: number, end: number }} task
   * @param {string} tip
   */
  constructor({ taskId, priority, start, end }, tip) {
    this.#taskId = taskId;
    this.start = start;
    this.end = end;
    this.element = make("div", { class: `box p${priority}`, title: tip }, this.#label);
  }

  /**
   * @param {number} origin
   */
  place(origin) {
    const left = (this.start - origin) / shownSeconds;
    const width = Math.max(0.001, (this.end - this.start) / shownSeconds);
    this.element.style.left = `${(left * 100).toFixed(3)}%`;
    this.element.style.width = `${(width * 100).toFixed(3)}%`;
  }

  /**
   * Shows as much of the name as fits into what has passed.
   *
   * @param {number} pixels
   */
  name(pixels) {
    const room = Math.floor((pixels - padPixels) / characterPixels);
    const length = this.#taskId.length;
    const shown = room < Math.min(leastCharacters, length) ? 0 : Math.min(room, length);
    if (shown === this.#shown) return;
    this.#shown = shown;
    setText(this.#label, shown === 0 ? "" : cut(this.#taskId, shown));
  }
}

/** One consumer. */
class Row {
  /** The consumer's number and address, before its lane. */
  head = make("li");
  /** The lane's part of the strip. */
  lane = make("div", { class: "lane" });
  /** What is said in place of a promise, as there is none. */
  note = make("div", { class: "note" });
  #doing = make("span", { class: "hide" });
  /** @type {Box[]} */
  #boxes = [];
  /** @type {Box | undefined} */
  #current;
  #dueAfter = 0;
  #pace = { time: 0, handedOut: 0, perSecond: 0 };
  #idle = "";

  /** @param {ConsumerView} consumer */
  constructor({ number, peer }) {
    this.head.title = peer;
    this.head.append(`consumer${number} `, make("small", {}, peer), this.#doing);
  }

  /**
   * Takes what the server says of the consumer.
   *
   * @param {ConsumerView} consumer
   * @param {{ time: number, origin: number }} at
   */
  update({ task, sinceSeconds, handedOut }, { time, origin }) {
    this.#measure(handedOut, time);
    this.#current?.element.remove();
    this.#current = undefined;
    this.#idle = task === null ? "idle" : "";
    this.head.classList.toggle("idle", task === null);
    setText(this.#doing, task === null ? ", idle" : `, at work on ${task.taskId}`);
    if (task !== null) {
      const start = time - sinceSeconds;
      this.#dueAfter = Number(task.duration);
      const tip = `${task.taskId}, ${nameOf(task.priority)}, ${task.duration} s of work`;
      this.#current = new Box({ ...task, start, end: start + this.#dueAfter }, tip);
      this.#current.place(origin);
      this.lane.append(this.#current.element);
    }
  }

  /**
   * Takes a task that has ended.
   *
   * @param {Bar} bar
   * @param {{ origin: number, pixelsPerSecond: number }} at
   */
  add(bar, { origin, pixelsPerSecond }) {
    const took = duration(bar.end - bar.start);
    const box = new Box(bar, `${bar.taskId}, ${nameOf(bar.priority)}, took ${took}`);
    if (bar.how !== "completed" && bar.how !== "next") box.element.classList.add("undone");
    box.place(origin);
    box.name((bar.end - bar.start) * pixelsPerSecond);
    this.#boxes.push(box);
    this.lane.append(box.element);
  }

  /**
   * Lets time pass.
   *
   * @param {number} now
   * @param {{ origin: number, pixelsPerSecond: number }} at
   */
  tick(now, { origin, pixelsPerSecond }) {
    let first;
    while ((first = this.#boxes[0]) !== undefined && first.end < now - pastSeconds - 1) {
      this.#boxes.shift();
      first.element.remove();
    }
    const isFast = this.#pace.perSecond >= fastPerSecond && now < this.#pace.time + 3;
    setText(this.note, isFast ? `${rate(this.#pace.perSecond)} tasks/s` : this.#idle);
    const box = this.#current;
    if (box === undefined) return;
    box.name((now - box.start) * pixelsPerSecond);
    if (now <= box.end) return;
    // To where now will be when this is called again, as the strip moves on until then.
    box.end = now + aheadSeconds / 2;
    box.place(origin);
    box.element.classList.toggle("late", now > box.start + 2 * this.#dueAfter + 1);
  }

  /**
   * Places all anew.
   *
   * @param {{ origin: number, pixelsPerSecond: number }} at
   */
  place({ origin, pixelsPerSecond }) {
    for (const box of this.#boxes) {
      box.place(origin);
      box.name((box.end - box.start) * pixelsPerSecond);
    }
    this.#current?.place(origin);
  }

  /** True while it has a task. */
  get isAtWork() {
    return this.#current !== undefined;
  }

  /**
   * Measures how many tasks per second it takes.
   *
   * @param {number} handedOut
   * @param {number} time
   */
  #measure(handedOut, time) {
    const seconds = time - this.#pace.time;
    if (seconds < 1) return;
    const isFirst = this.#pace.time === 0;
    const perSecond = isFirst ? 0 : (handedOut - this.#pace.handedOut) / seconds;
    this.#pace = { time, handedOut, perSecond };
  }
}

/** Whether the reader's system asks for pages that do not move. */
const stillness = matchMedia("(prefers-reduced-motion: reduce)");

/** @param {number} priority */
const nameOf = (priority) => priorityNames[priority - 1] ?? String(priority);

/** The timeline. */
export class Timeline {
  #panel;
  #heads;
  #view;
  #strip;
  #notes;
  /** @type {Map<number, Row>} */
  #rows = new Map();
  #origin = 0;
  #now = 0;
  #width = 0;
  #total = 0;
  /** @type {Animation | undefined} */
  #motion;

  /** @param {HTMLElement} panel */
  constructor(panel) {
    this.#panel = panel;
    this.#heads = find(".heads", panel);
    this.#view = find(".view", panel);
    this.#strip = find(".strip", panel);
    this.#notes = find(".notes", panel);
    new ResizeObserver(() => {
      this.#width = this.#view.clientWidth;
      this.#placeAll();
      this.tick(this.#now);
    }).observe(this.#view);
    this.#drawAxis();
  }

  /**
   * Begins anew.
   *
   * @param {{ readonly consumers: readonly ConsumerView[], readonly bars: readonly Bar[] }} all
   * @param {number} time
   */
  reset({ consumers, bars }, time) {
    this.#rows.clear();
    this.#origin = time;
    this.#arrange();
    this.update({ time, changed: consumers, gone: [], bars, consumers: consumers.length });
  }

  /**
   * Takes what has changed.
   *
   * @param {{
   *   readonly time: number,
   *   readonly consumers: number,
   *   readonly changed: readonly ConsumerView[],
   *   readonly gone: readonly number[],
   *   readonly bars: readonly Bar[],
   * }} update
   */
  update({ time, consumers, changed, gone, bars }) {
    this.#total = consumers;
    if (time - this.#origin > originSeconds) {
      this.#origin = time;
      this.#placeAll();
    }
    let isOther = false;
    for (const number of gone) isOther = this.#rows.delete(number) || isOther;
    for (const consumer of changed) {
      let row = this.#rows.get(consumer.number);
      if (row === undefined) {
        if (this.#rows.size >= maxRows) continue;
        row = new Row(consumer);
        this.#rows.set(consumer.number, row);
        isOther = true;
      }
      row.update(consumer, { time, origin: this.#origin });
    }
    for (const bar of bars) {
      if (bar.end > time - pastSeconds) this.#rows.get(bar.consumer)?.add(bar, this.#scale);
    }
    if (isOther) this.#arrange();
    for (const row of this.#rows.values()) row.tick(time, this.#scale);
    const working = [...this.#rows.values()].filter((row) => row.isAtWork).length;
    const label = `${count(working)} of ${count(this.#rows.size)} consumers at work`;
    if (this.#view.ariaLabel !== label) this.#view.ariaLabel = label;
  }

  /**
   * Lets time pass.
   *
   * @param {number} now
   */
  tick(now) {
    this.#now = now;
    const { pixelsPerSecond } = this.#scale;
    // Whole pixels: between them each letter would be drawn anew.
    const left = Math.round((this.#origin + pastSeconds - now) * pixelsPerSecond);
    const steps = Math.round(pixelsPerSecond * aheadSeconds);
    this.#motion?.cancel();
    this.#motion = undefined;
    this.#strip.style.transform = `translateX(${left}px)`;
    if (steps === 0 || stillness.matches) return;
    // The compositor moves it, and nothing is drawn for that.
    this.#motion = this.#strip.animate({
      transform: [`translateX(${left}px)`, `translateX(${left - steps}px)`],
    }, {
      duration: 1000 * steps / pixelsPerSecond,
      easing: `steps(${steps})`,
      fill: "forwards",
    });
  }

  get #scale() {
    return { origin: this.#origin, pixelsPerSecond: this.#width / shownSeconds };
  }

  #placeAll() {
    for (const row of this.#rows.values()) row.place(this.#scale);
  }

  /** Puts the rows in the order of their numbers. */
  #arrange() {
    const rows = [...this.#rows].sort(([a], [b]) => a - b).map(([, row]) => row);
    setChildren(this.#heads, rows.map((row) => row.head));
    setChildren(this.#strip, rows.map((row) => row.lane));
    setChildren(this.#notes, rows.map((row) => row.note));
    this.#panel.classList.toggle("empty", rows.length === 0);
    setText(
      find("h2 small", this.#panel),
      this.#total > rows.length && rows.length >= maxRows
        ? `the first ${rows.length} of ${count(this.#total)}`
        : "what was, and what the durations promise",
    );
  }

  #drawAxis() {
    const axis = find(".ticks", this.#panel);
    for (let ago = pastSeconds - 10; ago >= 0; ago -= 10) {
      const tick = make("span", {}, ago === 0 ? "now" : `${ago} s ago`);
      tick.style.left = `${(pastSeconds - ago) / shownSeconds * 100}%`;
      axis.append(tick);
    }
  }
}
