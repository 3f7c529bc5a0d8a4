/**
 * The five figures that answer "is it well?" from three metres.
 *
 * @module
 */

import { find, make, makeKey, setText } from "./dom.js";
import { count, counted, duration, priorityNames, rate } from "./format.js";

/** @import { Overview } from "../views.ts" */

/** The tiles. */
export class Tiles {
  #oldest;
  #waiting;
  #flow;
  #work;
  #dead;
  #ages = priorityNames.map((_, index) => makeKey(index + 1, ""));
  #depths = priorityNames.map((_, index) => makeKey(index + 1, ""));
  #delayed = make("span");
  #shares = priorityNames.map((_, index) => make("i", { class: `p${index + 1}` }));
  #busy = make("i");

  /** @param {HTMLElement} section */
  constructor(section) {
    this.#oldest = find("#oldest", section);
    this.#waiting = find("#waiting", section);
    this.#flow = find("#flow", section);
    this.#work = find("#work", section);
    this.#dead = find("#dead", section);
    find(".keys", this.#oldest).append(...this.#ages);
    find(".keys", this.#waiting).append(...this.#depths, this.#delayed);
    find(".meter", this.#waiting).append(...this.#shares);
    find(".meter", this.#work).append(this.#busy);
  }

  /**
   * Shows an overview, and the last rates.
   *
   * @param {Overview} overview
   * @param {{ readonly in: number, readonly out: number } | undefined} rates
   */
  draw(overview, rates) {
    this.#drawOldest(overview.oldestAgeSeconds);
    this.#drawWaiting(overview);
    this.#drawWork(overview);
    this.#drawDead(overview);
    setText(find(".in", this.#flow), rate(rates?.in ?? 0));
    setText(find(".out", this.#flow), rate(rates?.out ?? 0));
  }

  /** @param {readonly (number | null)[]} ages */
  #drawOldest(ages) {
    const known = ages.filter((age) => age !== null);
    const figure = find(".figure", this.#oldest);
    setText(figure, known.length === 0 ? "nothing waits" : duration(Math.max(...known)));
    figure.classList.toggle("quiet", known.length === 0);
    for (const [index, key] of this.#ages.entries()) {
      const age = ages[index] ?? null;
      key.hidden = age === null;
      if (age !== null) setText(key, `${priorityNames[index]} ${duration(age)}`);
    }
  }

  /** @param {Overview} overview */
  #drawWaiting({ waiting, delayed }) {
    setText(find(".figure", this.#waiting), count(waiting.reduce((sum, n) => sum + n, 0)));
    for (const [index, number] of waiting.entries()) {
      const [key, share] = [this.#depths[index], this.#shares[index]];
      if (key !== undefined) setText(key, `${priorityNames[index]} ${count(number)}`);
      if (share !== undefined) share.style.flexGrow = String(number);
      share?.classList.toggle("some", number > 0);
    }
    this.#delayed.hidden = delayed === 0;
    setText(this.#delayed, `and ${count(delayed)} delayed`);
  }

  /** @param {Overview} overview */
  #drawWork({ consumers, working, producers, workSeconds, drainedInSeconds }) {
    const figure = find(".figure", this.#work);
    setText(find("b", figure), count(working));
    setText(find("small", figure), `of ${count(consumers)}`);
    this.#busy.style.flexGrow = String(working);
    this.#busy.classList.toggle("some", working > 0);
    find(".meter", this.#work).style.setProperty("--rest", String(consumers - working));
    const backlog = drainedInSeconds !== null && workSeconds > 0
      ? `all done in about ${duration(drainedInSeconds)}`
      : workSeconds > 0
      ? `${duration(workSeconds)} of work waits`
      : "no work waits";
    setText(find(".note", this.#work), backlog);
    setText(find(".peers", this.#work), counted(producers, "producer"));
  }

  /** @param {Overview} overview */
  #drawDead({ buried, returned }) {
    const figure = find(".figure", this.#dead);
    setText(figure, count(buried));
    figure.classList.toggle("bad", buried > 0);
    const back = returned === 0 ? "" : `${counted(returned, "task")} came back and waited again`;
    setText(find(".note", this.#dead), buried > 0 ? "given up; kick or remove them" : back);
  }
}
