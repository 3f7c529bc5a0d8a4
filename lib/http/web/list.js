/**
 * Lists: tasks by state, buried tasks, recent problems.
 *
 * @module
 */

import { ask } from "./feed.js";
import { find, make, makeButton, makeKey, setChildren, setText } from "./dom.js";
import { count, counted, cut, duration, priorityNames, timeOfDay } from "./format.js";

/** @import { Problem } from "./feed.js" */
/** @import { Overview, TaskView } from "../views.ts" */
/** @import { Actions } from "./actions.js" */

/** @typedef {{ readonly total: number, readonly tasks: readonly TaskView[] }} Answer */

/** Most tasks that the list shows, and the panel of buried ones. */
const listLimit = 100;
const buriedLimit = 20;

/** Characters of a payload that are shown. */
const payloadLimit = 80;

/** After how long without a key the name is searched for. */
const typingMs = 250;

/** @param {number | null | undefined} seconds */
const durationOrNone = (seconds) => typeof seconds === "number" ? duration(seconds) : "–";

/**
 * A state that tasks can be listed by: its name, how many there are, and what its last two columns
 * tell.
 *
 * @typedef {object} State
 * @property {string} title
 * @property {(overview: Overview) => number} countOf
 * @property {string} age
 * @property {string} next
 * @property {(task: TaskView) => string} nextOf
 */

/** @type {Readonly<Record<string, State>>} */
const states = {
  waiting: {
    title: "Waiting",
    countOf: ({ waiting }) => waiting.reduce((sum, number) => sum + number, 0),
    age: "Waits",
    next: "Starts in",
    nextOf: ({ startsInSeconds }) => durationOrNone(startsInSeconds),
  },
  delayed: {
    title: "Delayed",
    countOf: ({ delayed }) => delayed,
    age: "Age",
    next: "Due in",
    nextOf: ({ dueInSeconds }) => durationOrNone(dueInSeconds),
  },
  reserved: {
    title: "Reserved",
    countOf: ({ reserved }) => reserved,
    age: "Age",
    next: "Held by",
    nextOf: ({ consumer }) => consumer === null ? "–" : `consumer${consumer}`,
  },
  buried: {
    title: "Buried",
    countOf: ({ buried }) => buried,
    age: "Age",
    next: "Buried for",
    nextOf: ({ buriedAgeSeconds }) => durationOrNone(buriedAgeSeconds),
  },
};

/** A row of the list. */
class Row {
  element = make("tr");
  #position = make("td", { class: "number wide" });
  #tries = make("td", { class: "number wide" });
  #age = make("td", { class: "number" });
  #next = make("td", { class: "number wide" });
  #actions = make("td", { class: "action" });
  #state = "";

  /** @param {TaskView} task */
  constructor({ taskId, priority, duration, payload }) {
    const name = make("td", { class: "name" }, make("span", { title: taskId }, taskId));
    if (typeof payload === "string") {
      name.append(make("small", { title: payload }, cut(payload, payloadLimit)));
    }
    this.element.append(
      this.#position,
      make("td", { class: "priority" }, makeKey(priority, priorityNames[priority - 1] ?? "")),
      name,
      make("td", { class: "number wide" }, `${duration} s`),
      this.#tries,
      this.#age,
      this.#next,
      this.#actions,
    );
  }

  /**
   * Shows what may have changed.
   *
   * @param {TaskView} task
   * @param {{ readonly position: number, readonly actions: Actions }} at
   */
  update(task, { position, actions }) {
    setText(this.#position, count(task.position ?? position));
    setText(this.#tries, task.tries ? count(task.tries) : "–");
    setText(this.#age, durationOrNone(task.ageSeconds));
    setText(this.#next, states[task.state]?.nextOf(task) ?? "");
    if (task.state === this.#state) return;
    this.#state = task.state;
    this.#actions.replaceChildren(...actionsFor(task, actions));
  }
}

/**
 * The buttons of a task.
 *
 * @param {TaskView} task
 * @param {Actions} actions
 * @returns {HTMLButtonElement[]}
 */
function actionsFor(task, actions) {
  const { state, taskId } = task;
  const kick = makeButton("Kick", () => actions.kick(task), { "aria-label": `Kick ${taskId}` });
  const label = { class: "remove", "aria-label": `Remove ${taskId}` };
  const remove = makeButton("Remove", () => actions.remove(task), label);
  // A reserved task is in its consumer's hands.
  return state === "reserved" ? [] : state === "buried" ? [kick, remove] : [remove];
}

/** The tasks of one state, in order, as many as can be looked at. */
export class TaskList {
  #panel;
  #actions;
  #producerCommand;
  /** @type {Map<number, Row>} */
  #rows = new Map();
  #state = "waiting";
  #priorities = new Set([1, 2, 3]);
  /** @type {Map<string, HTMLButtonElement>} */
  #choices = new Map();
  #search;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #typing;
  /** How many answers were asked for: one that was overtaken is not shown. */
  #asked = 0;

  /**
   * @param {HTMLElement} panel
   * @param {Actions} actions
   * @param {() => string} producerCommand
   */
  constructor(panel, actions, producerCommand) {
    this.#panel = panel;
    this.#actions = actions;
    this.#producerCommand = producerCommand;
    this.#search = /** @type {HTMLInputElement} */ (find("input", panel));
    for (const [state, { title }] of Object.entries(states)) {
      const pressed = { "aria-pressed": String(state === this.#state) };
      this.#choices.set(state, makeButton(title, () => this.#choose(state), pressed));
    }
    find(".choice", panel).append(...this.#choices.values());
    find("#priorities", panel).append(...priorityNames.map((name, index) => {
      const pressed = { "aria-pressed": "true", class: `key p${index + 1}` };
      const button = makeButton(name, () => this.#toggle(index + 1, button), pressed);
      return button;
    }));
    this.#search.addEventListener("input", () => {
      clearTimeout(this.#typing);
      this.#typing = setTimeout(() => this.refresh(), typingMs);
    });
    find("form", panel).addEventListener("submit", (event) => {
      event.preventDefault();
      this.refresh();
    });
  }

  /**
   * Shows how many tasks of each state there are.
   *
   * @param {Overview} overview
   */
  draw(overview) {
    for (const [state, button] of this.#choices) {
      const number = states[state]?.countOf(overview) ?? 0;
      setText(button, `${states[state]?.title} ${count(number)}`);
    }
  }

  /** Asks for the tasks and shows them; if that fails, what was shown stays. */
  async refresh() {
    const asked = ++this.#asked;
    const query = new URLSearchParams({ state: this.#state, limit: String(listLimit) });
    const name = this.#search.value.trim();
    if (name !== "") query.set("name", name);
    if (this.#priorities.size < 3) query.set("priority", [...this.#priorities].sort().join());
    /** @type {Answer} */
    let answer = { total: 0, tasks: [] };
    if (this.#priorities.size > 0) {
      try {
        answer = /** @type {Answer} */ (await ask(`api/tasks?${query}`));
      } catch {
        return; // The feed says that the server is gone, or the next answer is better.
      }
    }
    if (asked === this.#asked) this.#show(answer, name);
  }

  /**
   * @param {Answer} answer
   * @param {string} name
   */
  #show({ tasks, total }, name) {
    /** @type {Map<number, Row>} */
    const rows = new Map();
    for (const [index, task] of tasks.entries()) {
      const row = this.#rows.get(task.arrival) ?? new Row(task);
      row.update(task, { position: index + 1, actions: this.#actions });
      rows.set(task.arrival, row);
    }
    this.#rows = rows;
    setChildren(find("tbody", this.#panel), [...rows.values()].map((row) => row.element));
    setText(find("h2 small", this.#panel), this.#titleOf({ tasks, total }, name));
    this.#showNone(tasks.length === 0, name);
  }

  /**
   * Says how much of the list is shown. How many there are of a state says its button, by an overview
   * that is newer or older than the list: a second number beside it would contradict it.
   *
   * @param {Answer} answer
   * @param {string} name
   */
  #titleOf({ tasks, total }, name) {
    const isCut = tasks.length >= listLimit && total > tasks.length;
    const first = `first ${count(tasks.length)}`;
    if (name !== "") {
      return isCut ? `${first} with that in their names` : counted(tasks.length, "task");
    }
    if (this.#priorities.size < 3) {
      return isCut ? `${first} of ${count(total)}` : counted(total, "task");
    }
    return isCut ? first : "";
  }

  /**
   * @param {boolean} isNone
   * @param {string} name
   */
  #showNone(isNone, name) {
    const none = find(".none", this.#panel);
    find("table", this.#panel).hidden = isNone;
    none.hidden = !isNone;
    const title = states[this.#state]?.title.toLowerCase() ?? "";
    if (this.#priorities.size === 0) setText(none, "No priority is chosen.");
    else if (name !== "") setText(none, `No ${title} task has “${cut(name, 40)}” in its name.`);
    else if (this.#priorities.size < 3 || this.#state !== "waiting") {
      setText(none, `No task is ${title}.`);
    } else if (isNone && none.dataset.command !== this.#producerCommand()) {
      none.replaceChildren("Nothing waits. Send tasks:", make("code", {}, this.#producerCommand()));
      none.dataset.command = this.#producerCommand();
      return;
    } else return;
    delete none.dataset.command;
  }

  /** @param {string} state */
  #choose(state) {
    this.#state = state;
    for (const [other, button] of this.#choices) {
      button.setAttribute("aria-pressed", String(other === state));
    }
    this.#panel.classList.toggle("kicks", state === "buried");
    setText(find("#age", this.#panel), states[state]?.age ?? "");
    setText(find("#next", this.#panel), states[state]?.next ?? "");
    this.refresh();
  }

  /**
   * @param {number} priority
   * @param {HTMLButtonElement} button
   */
  #toggle(priority, button) {
    const isOn = !this.#priorities.delete(priority);
    if (isOn) this.#priorities.add(priority);
    button.setAttribute("aria-pressed", String(isOn));
    this.refresh();
  }
}

/** The buried tasks, the oldest first. */
export class BuriedList {
  #panel;
  #actions;
  #kickAll;
  /** The last burial when the button got its number. */
  #lastBurial = 0;
  /** @type {Map<number, { element: HTMLLIElement, note: HTMLElement }>} */
  #rows = new Map();
  #none = make("li", {}, make("p", {}, "No task is buried."));

  /**
   * @param {HTMLElement} panel
   * @param {Actions} actions
   */
  constructor(panel, actions) {
    this.#panel = panel;
    this.#actions = actions;
    this.#kickAll = makeButton("Kick all", () => actions.kickAll(this.#lastBurial));
    this.#kickAll.hidden = true;
    find("h2", panel).append(this.#kickAll);
    find("ul", panel).append(this.#none);
  }

  /**
   * Offers to kick as many as there are, in the list or not.
   *
   * @param {Overview} overview
   */
  draw({ buried, lastBurial }) {
    this.#lastBurial = lastBurial;
    this.#kickAll.hidden = buried < 2;
    setText(this.#kickAll, `Kick all ${count(buried)}`);
  }

  /**
   * Asks for the buried tasks and shows them.
   *
   * @param {number} expected how many there are: none are not asked for.
   */
  async refresh(expected) {
    /** @type {Answer} */
    let answer = { total: 0, tasks: [] };
    if (expected > 0) {
      try {
        const query = `state=buried&limit=${buriedLimit}`;
        answer = /** @type {Answer} */ (await ask(`api/tasks?${query}`));
      } catch {
        return;
      }
    }
    this.#show(answer);
  }

  /** @param {Answer} answer */
  #show({ tasks, total }) {
    /** @type {Map<number, { element: HTMLLIElement, note: HTMLElement }>} */
    const rows = new Map();
    for (const task of tasks) {
      const row = this.#rows.get(task.arrival) ?? this.#make(task);
      const tries = task.tries ? `${counted(task.tries, "failed try", "failed tries")}, ` : "";
      const buried = durationOrNone(task.buriedAgeSeconds);
      setText(row.note, `${tries}buried ${buried === "–" ? "before the start" : `${buried} ago`}`);
      rows.set(task.arrival, row);
    }
    this.#rows = rows;
    const elements = [...rows.values()].map(({ element }) => element);
    setChildren(find("ul", this.#panel), elements.length === 0 ? [this.#none] : elements);
    const isCut = total > tasks.length;
    const cutNote = `the oldest ${count(tasks.length)} of ${count(total)}`;
    setText(
      find("h2 small", this.#panel),
      isCut ? cutNote : total === 0 ? "" : "given up, waiting for you",
    );
  }

  /** @param {TaskView} task */
  #make(task) {
    const note = make("small");
    const name = make("span", { class: "name", title: task.taskId }, task.taskId);
    const text = make("p", {}, makeKey(task.priority, name), note);
    const buttons = make("span", { class: "buttons" }, ...actionsFor(task, this.#actions));
    return { element: make("li", {}, text, buttons), note };
  }
}

/** The last lines of the server's standard error. */
export class ProblemList {
  #panel;
  /** @type {readonly Problem[]} */
  #shown = [];

  /** @param {HTMLElement} panel hidden while there is nothing. */
  constructor(panel) {
    this.#panel = panel;
  }

  /**
   * Shows the problems, the last first.
   *
   * @param {readonly Problem[]} problems
   */
  draw(problems) {
    const last = problems.at(-1);
    if (problems.length === this.#shown.length && last?.time === this.#shown.at(-1)?.time) return;
    this.#shown = problems;
    this.#panel.hidden = problems.length === 0;
    find("ul", this.#panel).replaceChildren(
      ...problems.toReversed().map(({ time, text }) =>
        make("li", {}, make("time", {}, timeOfDay(time)), make("span", {}, text))
      ),
    );
  }
}
