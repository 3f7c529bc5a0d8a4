/**
 * The page: it keeps the last state, and has each part draw it.
 *
 * @module
 */

import { Actions, Controls } from "./actions.js";
import { DepthChart, History, RateChart, Sparkline } from "./chart.js";
import { find, make, setText } from "./dom.js";
import { Feed } from "./feed.js";
import { clientCommand, count, counted, duration } from "./format.js";
import { BuriedList, ProblemList, TaskList } from "./list.js";
import { Tiles } from "./tiles.js";
import { Timeline } from "./timeline.js";

/** @import { Hello, Problem, Update } from "./feed.js" */
/** @import { Overview, ServerFacts } from "../views.ts" */

/** How often lists are asked for. */
const listMs = 2000;

/**
 * How often time passes in the timeline while the server says nothing. It says something as often if
 * there is anything to say: then both are drawn in one frame, as each frame costs a millisecond or ten.
 */
const tickMs = 500;

/** Most problems that are shown. */
const problemLimit = 50;

class Page {
  #history = new History();
  #actions = new Actions(() => this.#refresh());
  #tiles = new Tiles(find("#tiles"));
  #depth = new DepthChart(find("#depth"), this.#history);
  #rates = new RateChart(find("#rates"), this.#history);
  #spark = new Sparkline(find("#flow .spark"), this.#history);
  #timeline = new Timeline(find("#timeline"));
  #tasks = new TaskList(find("#tasks"), this.#actions, () => this.#producerCommand);
  #buried = new BuriedList(find("#buried"), this.#actions);
  #controls = new Controls(find("#controls"), this.#actions);
  #problemList = new ProblemList(find("#problems"));
  /** For how long the server has run. */
  #up = make("span");
  /** @type {readonly Problem[]} */
  #problems = [];
  /**
   * What a stream began with, until the overview that belongs to it has come.
   * @type {Hello | undefined}
   */
  #begun;
  /** @type {ServerFacts | undefined} */
  #server;
  /** @type {Overview | undefined} */
  #overview;
  /** When that came, on the clock of `performance.now()`. */
  #cameAtMs = 0;
  /** @type {number | undefined} */
  #lostAtMs;
  #isHeld = false;
  #feed = new Feed({
    hello: (hello) => this.#hello(hello),
    update: (update) => this.#update(update),
    lost: () => this.#lost(),
  });

  constructor() {
    const hold = find("#hold");
    hold.addEventListener("click", () => {
      this.#isHeld = !this.#isHeld;
      hold.setAttribute("aria-pressed", String(this.#isHeld));
      // What was missed comes as a whole: the stream begins with it.
      if (!this.#isHeld) this.#feed.open();
      this.#drawState();
    });
    setInterval(() => {
      if (performance.now() - this.#cameAtMs >= tickMs) this.#tick();
    }, tickMs);
    setInterval(() => {
      if (this.#isLive) this.#refresh();
    }, listMs);
  }

  get #isLive() {
    return !this.#isHeld && this.#lostAtMs === undefined && !document.hidden &&
      this.#overview !== undefined;
  }

  /** The command that sends tasks to this server. */
  get #producerCommand() {
    const { producers = "127.0.0.1:5000", clientOptions = [] } = this.#server ?? {};
    const how = { hostname: location.hostname, options: ["tasks.txt", ...clientOptions] };
    return clientCommand("producer", producers, how);
  }

  /** @param {Hello} hello */
  #hello(hello) {
    const { server } = hello;
    // Another program than the one that this page came from.
    if (this.#server !== undefined && this.#server.version !== server.version) location.reload();
    this.#server = server;
    this.#begun = hello;
    this.#drawServer(server);
  }

  /** @param {Update} update */
  #update(update) {
    this.#lostAtMs = undefined;
    if (this.#isHeld) return this.#drawState();
    const begun = this.#begun;
    this.#begun = undefined;
    if (begun !== undefined) {
      this.#history.reset(begun.history.points);
      this.#timeline.reset(begun, update.time);
      this.#problems = begun.problems;
    }
    this.#overview = update;
    this.#cameAtMs = performance.now();
    this.#problems = [...this.#problems, ...update.problems].slice(-problemLimit);
    this.#timeline.update(update);
    if (this.#history.add(update) || begun !== undefined) {
      this.#depth.draw();
      this.#rates.draw();
      this.#spark.draw();
    }
    this.#tiles.draw(update, this.#history.rates().at(-1));
    this.#tasks.draw(update);
    this.#buried.draw(update);
    this.#controls.draw(update);
    this.#problemList.draw(this.#problems);
    const { startedAt } = this.#server ?? { startedAt: update.time };
    setText(this.#up, `up ${duration(update.time - startedAt)}`);
    this.#drawState();
    this.#tick();
    if (begun !== undefined) this.#refresh();
  }

  #lost() {
    this.#lostAtMs ??= performance.now();
    this.#drawState();
  }

  #tick() {
    if (this.#lostAtMs !== undefined) return this.#drawState();
    if (!this.#isLive || this.#overview === undefined) return;
    this.#timeline.tick(this.#overview.time + (performance.now() - this.#cameAtMs) / 1000);
  }

  #refresh() {
    this.#tasks.refresh();
    this.#buried.refresh(this.#overview?.buried ?? 0);
  }

  /** @param {ServerFacts} server */
  #drawServer({ version, deno, producers, consumers, clientOptions, store, isShared }) {
    find("#scope").hidden = !isShared;
    this.#controls.share(isShared);
    setText(find("#where"), `producers ${producers} · consumers ${consumers}`);
    const how = { hostname: location.hostname, options: clientOptions };
    setText(find("#timeline .none code"), clientCommand("consumer", consumers, how));
    find("footer").replaceChildren(
      make("span", {}, `version ${version} (Deno ${deno})`),
      this.#up,
      make("span", {}, store === null ? "tasks in memory" : `tasks in ${store}`),
      make("a", { href: "metrics" }, "Prometheus metrics"),
      make("a", { href: "api/overview" }, "JSON"),
    );
  }

  /** Says how fresh the view is, and the worst of what is wrong. */
  #drawState() {
    const lostMs = this.#lostAtMs === undefined ? undefined : performance.now() - this.#lostAtMs;
    document.documentElement.classList.toggle("stale", lostMs !== undefined);
    find("main").toggleAttribute("data-stale", lostMs !== undefined);
    const live = find("#live");
    live.className = lostMs !== undefined ? "off" : this.#isHeld ? "held" : "";
    const state = lostMs !== undefined
      ? `no connection for ${duration(Math.floor(lostMs / 1000))}`
      : this.#isHeld
      ? "held"
      : this.#overview === undefined
      ? "connecting"
      : "live";
    setText(find("span", live), state);
    for (const button of document.querySelectorAll("main button")) {
      /** @type {HTMLButtonElement} */ (button).disabled = lostMs !== undefined;
    }
    const isFailed = this.#overview?.store === "failed";
    const banner = lostMs === undefined ? this.#problem() : isFailed ? failedText : lostText;
    setText(find("#banner"), banner);
    find("#banner").hidden = banner === "";
  }

  /** The worst of what keeps the queue from its work, if there is something. */
  #problem() {
    if (this.#overview === undefined || this.#server === undefined) return "";
    const { store, tasks, refused, waitingProducers, paused } = this.#overview;
    const { maxTasks } = this.#server;
    if (store === "silent") {
      return "The engine, PostgreSQL, does not answer: clients wait, and the tasks shown here are old.";
    }
    if (store === "failed") return "The store has failed: the server takes and gives no task.";
    if (store === "full") {
      return `The store has no room: new tasks are refused with “store full” (${count(refused)} ` +
        "lines refused so far). Free disk space; nothing that was confirmed is lost.";
    }
    if (tasks >= maxTasks) {
      const wait = counted(waitingProducers, "producer waits", "producers wait");
      return `The queue is full at ${counted(maxTasks, "task")}: ${wait}. Nothing is lost.`;
    }
    if (paused.requests && paused.creates) return "Handing out and taking new tasks are paused.";
    if (paused.requests) return "Handing out is paused: tasks wait, and nothing is lost.";
    if (paused.creates) return "The queue drains: new tasks wait at their producers.";
    return "";
  }
}

const failedText = "The store has failed, and the server has ended: its standard error says why. " +
  "What you see is old; trying again every 2 seconds.";

const lostText = "The server does not answer. What you see is old; trying again every 2 seconds.";

new Page();
