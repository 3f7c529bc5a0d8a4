/**
 * What an operator does to the queue: asking first, doing it, and saying what came of it.
 *
 * @module
 */

import { ask } from "./feed.js";
import { find, make, makeButton, setText } from "./dom.js";
import { count, counted, priorityNames } from "./format.js";

/** @import { Overview } from "../views.ts" */

/** For how long it stands what came of an action. */
const noticeMs = 6000;

/** Does what is asked for, and shows it. */
export class Actions {
  #refresh;
  #dialog = /** @type {HTMLDialogElement} */ (find("dialog"));
  #notice = find("#notice");
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {() => void} refresh is called after each action. */
  constructor(refresh) {
    this.#refresh = refresh;
  }

  /**
   * Asks the operator.
   *
   * @param {string} question
   * @param {{ readonly detail?: string, readonly verb: string }} options
   * @returns {Promise<boolean>}
   */
  confirm(question, { detail = "", verb }) {
    setText(find("#question"), question);
    setText(find(".detail", this.#dialog), detail);
    setText(find("button.danger", this.#dialog), verb);
    this.#dialog.returnValue = "no";
    this.#dialog.showModal();
    return new Promise((resolve) => {
      const answer = () => resolve(this.#dialog.returnValue === "yes");
      this.#dialog.addEventListener("close", answer, { once: true });
    });
  }

  /**
   * Does something, and says so or why not.
   *
   * @template T
   * @param {string} path
   * @param {Readonly<Record<string, unknown>>} body
   * @param {(answer: T) => string} done
   */
  async run(path, body, done) {
    try {
      this.#say(done(/** @type {T} */ (await ask(path, body))), true);
    } catch (error) {
      this.#say(error instanceof Error ? error.message : String(error), false);
    }
    this.#refresh();
  }

  /**
   * Removes a task for good, if the operator is sure.
   *
   * @param {{ readonly arrival: number, readonly taskId: string }} task
   */
  async remove({ arrival, taskId }) {
    const detail = "It will not be handed out. This cannot be undone.";
    if (!await this.confirm(`Remove ${taskId}?`, { detail, verb: "Remove" })) return;
    await this.run(`api/tasks/${arrival}/remove`, {}, () => `Removed ${taskId}.`);
  }

  /**
   * Makes a buried task wait again.
   *
   * @param {{ readonly arrival: number, readonly taskId: string }} task
   */
  async kick({ arrival, taskId }) {
    await this.run(`api/tasks/${arrival}/kick`, {}, () => `${taskId} waits again.`);
  }

  /**
   * Makes all tasks wait again that were buried when they were counted.
   *
   * @param {number} upToBurial
   */
  async kickAll(upToBurial) {
    /** @param {{ kicked: number }} answer */
    const done = ({ kicked }) => `${counted(kicked, "task waits", "tasks wait")} again.`;
    await this.run("api/kick", { upToBurial }, done);
  }

  /**
   * @param {string} text
   * @param {boolean} isGood
   */
  #say(text, isGood) {
    clearTimeout(this.#timer);
    this.#notice.classList.toggle("bad", !isGood);
    setText(this.#notice, text);
    this.#timer = setTimeout(() => setText(this.#notice, ""), noticeMs);
  }
}

/** A switch: what it is about, what is so now, and the button that changes it. */
class Switch {
  element;
  #state = make("small");
  #button;
  #words;
  #isOn = false;

  /**
   * @param {string} title
   * @param {{ readonly on: readonly [string, string], readonly off: readonly [string, string] }}
   * words what is so, and what the button offers, when it is on and when it is off.
   * @param {(isOn: boolean) => void} change
   */
  constructor(title, words, change) {
    this.#words = words;
    this.#button = makeButton("", () => change(!this.#isOn));
    this.element = make("li", {}, make("p", {}, title, this.#state), this.#button);
    this.set(false);
  }

  /** @param {boolean} isOn */
  set(isOn) {
    this.#isOn = isOn;
    const [state, offer] = this.#words[isOn ? "on" : "off"];
    setText(this.#state, state);
    setText(this.#button, offer);
    this.element.classList.toggle("on", isOn);
  }
}

/** Two switches, and what clears a priority. */
export class Controls {
  #actions;
  #requests;
  #creates;
  #clears = priorityNames.map((name, index) => makeButton(name, () => this.#clear(index)));
  #clearNote = make("small");
  /** @type {Overview | undefined} */
  #seen;

  /**
   * @param {HTMLElement} panel
   * @param {Actions} actions
   */
  constructor(panel, actions) {
    this.#actions = actions;
    this.#requests = new Switch("Handing out", {
      on: ["paused: consumers get no task", "Resume"],
      off: ["consumers get the first task", "Pause"],
    }, (isOn) => this.#pause({ requests: isOn }, "Handing out"));
    this.#creates = new Switch("Taking new tasks", {
      on: ["paused: producers wait, the queue drains", "Take again"],
      off: ["producers are heard", "Drain"],
    }, (isOn) => this.#pause({ creates: isOn }, "Taking new tasks"));
    for (const button of this.#clears) button.classList.add("danger");
    const clear = make(
      "li",
      {},
      make("p", {}, "Clear a priority", this.#clearNote),
      make("span", { class: "buttons" }, ...this.#clears),
    );
    find("ul", panel).append(this.#requests.element, this.#creates.element, clear);
  }

  /**
   * Offers no pause if other servers serve the same tasks, since they would go on.
   *
   * @param {boolean} isShared
   */
  share(isShared) {
    this.#requests.element.hidden = this.#creates.element.hidden = isShared;
  }

  /** @param {Overview} overview */
  draw(overview) {
    this.#seen = overview;
    this.#requests.set(overview.paused.requests);
    this.#creates.set(overview.paused.creates);
    for (const [index, button] of this.#clears.entries()) {
      const number = overview.waiting[index] ?? 0;
      button.hidden = number === 0;
      setText(button, `${priorityNames[index]} ${count(number)}`);
    }
    const hasSome = overview.waiting.some((number) => number > 0);
    setText(this.#clearNote, hasSome ? "what waits now, not what comes later" : "nothing waits");
  }

  /**
   * @param {Readonly<Record<string, boolean>>} what
   * @param {string} name
   */
  async #pause(what, name) {
    const isPaused = Object.values(what)[0] === true;
    const done = () => `${name} is ${isPaused ? "paused" : "on again"}.`;
    await this.#actions.run("api/pause", what, done);
  }

  /** @param {number} index */
  async #clear(index) {
    if (this.#seen === undefined) return;
    const { waiting, lastArrival } = this.#seen;
    const tasks = counted(waiting[index] ?? 0, "waiting task");
    const isSure = await this.#actions.confirm(
      `Remove the ${tasks} of priority ${priorityNames[index]}?`,
      { detail: "Those that come from now on stay. This cannot be undone.", verb: "Remove them" },
    );
    if (!isSure) return;
    /** @param {{ removed: number }} answer */
    const done = ({ removed }) => `Removed ${counted(removed, "task")}.`;
    const body = { state: "waiting", priority: index + 1, upToArrival: lastArrival };
    await this.#actions.run("api/clear", body, done);
  }
}
