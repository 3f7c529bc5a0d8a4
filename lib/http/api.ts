/**
 * The operator's API: what a request asks of the queue, and what is answered. docs/api.md describes
 * it.
 *
 * It knows no socket. What it does to the queue goes the way of the peers' commands, and is answered
 * when it is kept.
 *
 * @module
 */

import type { Clearing, Found, ListedState, ListedTask } from "../core/listed_task.ts";
import type { Listed, Silence } from "../core/inspection.ts";
import { priorities, type Priority } from "../core/task.ts";
import { quote } from "../quote.ts";
import type { CheckedRequest } from "./checks.ts";
import { HttpError, type HttpRequest, type HttpResponse, json } from "./message.ts";
import { type Operated, overviewOf, TaskViews } from "./views.ts";

/** The longest body of a request, in bytes. */
const maxBodyBytes = 4096;

/** The most tasks, or consumers, of one answer. */
const maxLimit = 1000;

/** How far a list can be paged; skipping costs time. */
const maxSkip = 10_000;

/**
 * How many tasks are cleared before others get their turn, with a commit for each. Whoever else
 * commits waits for it: 10 ms, and with ten times as many tasks 100 ms.
 */
const clearedPerStep = 1_000;

/** Searches that may wait for the one that runs. */
const maxWaitingSearches = 4;

/** Actions within a second: more than a person clicks. */
const maxActionsPerSecond = 20;

const states: readonly ListedState[] = ["waiting", "delayed", "reserved", "buried"];
const clearableStates: readonly Clearing["state"][] = ["waiting", "delayed", "buried"];

/** What the API needs beside the queue. */
export interface ApiOptions {
  /** Takes a line about what an operator has done. */
  readonly say: (line: string) => void;
}

/** What the API needs of a request that is checked. */
export type Asker = Pick<HttpRequest, "readBody" | "letOthersIn">;

/** The API. */
export class OperatorApi {
  readonly #operated: Operated;
  readonly #options: ApiOptions;
  /** The search that runs, and those behind it. */
  #searching: Promise<unknown> = Promise.resolve();
  #searches = 0;
  #actions = { sinceMs: -Infinity, count: 0 };

  /** Makes the API of a queue. */
  constructor(operated: Operated, options: ApiOptions) {
    this.#operated = operated;
    this.#options = options;
  }

  /**
   * Answers a request; undefined if the path is none of the API.
   *
   * @throws {HttpError} if the request is wrong.
   */
  async answer(request: CheckedRequest, asker: Asker): Promise<HttpResponse | undefined> {
    const [, api, what, arrival, verb, ...rest] = request.path.split("/");
    if (api !== "api" || rest.length > 0) return undefined;
    const route = [what, arrival && ":arrival", verb].filter(Boolean).join("/");
    const found = request.method === "GET"
      ? await this.#get(route, asker, { given: request.parameters, arrival })
      : await this.#post(route, asker, arrival);
    if (found !== undefined) return json(found);
    const other = request.method === "GET" ? postRoutes : getRoutes;
    if (!other.includes(route)) return undefined;
    const allowed = request.method === "GET" ? "POST" : "GET, HEAD";
    throw new HttpError(405, `use ${allowed}`, { "Allow": allowed });
  }

  async #get(
    route: string,
    asker: Asker,
    { given, arrival }: { readonly given: URLSearchParams; readonly arrival: string | undefined },
  ): Promise<unknown> {
    switch (route) {
      case "overview":
        fieldsOf(given, []);
        await this.#settled();
        return overviewOf(this.#operated);
      case "tasks":
        return await this.#tasks(given, asker);
      case "tasks/:arrival":
        fieldsOf(given, []);
        return this.#view(await this.#find(arrivalOf(arrival)));
      case "consumers":
        return this.#consumers(given);
      default:
        return undefined;
    }
  }

  async #post(route: string, asker: Asker, arrival?: string): Promise<unknown> {
    if (!postRoutes.includes(route)) return undefined;
    this.#countAction();
    const body = await bodyOf(asker);
    switch (route) {
      case "tasks/:arrival/kick":
        fieldsOf(body, []);
        return await this.#kickOne(arrivalOf(arrival));
      case "tasks/:arrival/remove":
        fieldsOf(body, []);
        return await this.#removeOne(arrivalOf(arrival));
      case "kick":
        return await this.#kick(body, asker);
      case "clear":
        return await this.#clear(body, asker);
      case "pause":
        return this.#pause(body);
      default:
        return undefined;
    }
  }

  async #tasks(given: URLSearchParams, asker: Asker): Promise<unknown> {
    const fields = fieldsOf(given, ["state", "priority", "name", "limit", "skip"]);
    const state = oneOf(fields["state"] ?? "waiting", "state", states);
    const wanted = fields["priority"] === undefined ? priorities : wantedOf(fields["priority"]);
    const limit = wholeNumber(fields["limit"] ?? "100", "limit", { least: 1, most: maxLimit });
    const skip = wholeNumber(fields["skip"] ?? "0", "skip", {
      least: 0,
      most: maxSkip,
      hint: ": narrow it by name",
    });
    const { name } = fields;
    const { inspection } = this.#operated;
    // Of those that do not wait, only a search tells the ones of some priorities.
    if (name === undefined && (state === "waiting" || wanted.length === priorities.length)) {
      const { total, tasks } = await told<Listed>((then) =>
        inspection.list(state, { wanted, skip, limit }, then)
      );
      const views = new TaskViews(this.#operated);
      return { total, tasks: tasks.map((one) => views.of(one)), searched: total };
    }
    if (name === "") throw new HttpError(400, "name must have at least 1 character");
    const search = { wanted, name: String(name ?? ""), keep: skip + limit };
    const found = await this.#search(
      asker,
      (nextTurn, then) => inspection.search(state, { ...search, nextTurn }, then),
    );
    const views = new TaskViews(this.#operated);
    return { ...found, tasks: found.tasks.slice(skip).map((one) => views.of(one)) };
  }

  /** Searches when earlier searches are done, and in steps: a million tasks take 10 to 50 ms. */
  async #search(
    asker: Asker,
    search: (
      nextTurn: (resume: () => void) => void,
      then: (found: Found | Silence) => void,
    ) => void,
  ): Promise<Found> {
    if (this.#searches > maxWaitingSearches) {
      throw new HttpError(503, "too many searches: try again", { "Retry-After": "1" });
    }
    this.#searches++;
    const nextTurn = (resume: () => void) => void asker.letOthersIn().then(resume);
    const found = this.#searching.then(() => told<Found>((then) => search(nextTurn, then)));
    this.#searching = found.catch(() => {});
    try {
      return await found;
    } finally {
      this.#searches--;
    }
  }

  #consumers(given: URLSearchParams): unknown {
    const fields = fieldsOf(given, ["limit", "after"]);
    const limit = wholeNumber(fields["limit"] ?? "100", "limit", { least: 1, most: maxLimit });
    const after = wholeNumber(fields["after"] ?? "0", "after", { least: 0 });
    const { status } = this.#operated;
    const views = new TaskViews(this.#operated);
    const some = status.consumers.filter(({ number }) => number > after).take(limit);
    const consumers = [...some.map((consumer) => views.ofConsumer(consumer))];
    return { total: status.consumerCount, consumers };
  }

  async #kickOne(arrival: number): Promise<unknown> {
    const { inspection } = this.#operated;
    const [kicked] = await acted((then) => inspection.kick([arrival], then));
    if (kicked === undefined) {
      throw new HttpError(
        409,
        `task ${arrival} is ${(await this.#find(arrival)).state}, not buried`,
      );
    }
    this.#options.say(`kicked by the operator: ${quote(kicked.task.taskId)}`);
    return this.#view(await this.#lookFor(arrival) ?? kicked);
  }

  async #removeOne(arrival: number): Promise<unknown> {
    const { inspection } = this.#operated;
    const [removed] = await acted((then) => inspection.remove([arrival], then));
    if (removed === undefined) {
      const { consumer } = await this.#find(arrival);
      throw new HttpError(409, `task ${arrival} is reserved: consumer ${consumer} holds it`);
    }
    this.#options.say(`removed by the operator: ${quote(removed.task.taskId)}`);
    this.#operated.status.server.offerRoom();
    return this.#view(removed);
  }

  async #kick(body: Body, asker: Asker): Promise<unknown> {
    const { limit: given, upToBurial = Infinity } = fieldsOf(body, ["limit", "upToBurial"]);
    if (upToBurial !== Infinity) wholeNumber(upToBurial, "upToBurial", { least: 0 });
    const standard = upToBurial === Infinity ? 100 : Infinity;
    const most = given === undefined
      ? standard
      : wholeNumber(given, "limit", { least: 1, most: maxLimit });
    let kicked = 0;
    while (kicked < most) {
      const limit = Math.min(most - kicked, maxLimit);
      const step = await this.#kickFirst(limit, upToBurial as number);
      if (step === 0) break;
      kicked += step;
      await asker.letOthersIn();
    }
    this.#options.say(`kicked by the operator: ${kicked} buried tasks`);
    return { kicked };
  }

  /** Kicks those that were buried first, if that was early enough; tells how many. */
  async #kickFirst(limit: number, upToBurial: number): Promise<number> {
    const { inspection } = this.#operated;
    const { tasks } = await told<Listed>((then) =>
      inspection.list("buried", { wanted: priorities, skip: 0, limit }, then)
    );
    const arrivals = tasks.filter(({ burial = 0 }) => burial <= upToBurial)
      .map(({ task }) => task.arrival);
    if (arrivals.length === 0) return 0;
    return (await acted((then) => inspection.kick(arrivals, then))).length;
  }

  async #clear(body: Body, asker: Asker): Promise<unknown> {
    const fields = fieldsOf(body, ["state", "priority", "upToArrival"]);
    const state = oneOf(fields["state"], "state", clearableStates);
    const priority = oneOf(fields["priority"], "priority", priorities);
    const upToArrival = wholeNumber(fields["upToArrival"], "upToArrival", { least: 0 });
    const which: Clearing = { state, priority, upToArrival };
    const { inspection, status } = this.#operated;
    let removed = 0;
    const steps = inspection.clear(which, { most: clearedPerStep });
    for (;;) {
      const cleared = await acted<readonly ListedTask[] | undefined>((then) => steps.next(then));
      if (cleared === undefined) break;
      removed += cleared.length;
      status.server.offerRoom();
      await asker.letOthersIn();
    }
    this.#options.say(
      `cleared by the operator: ${removed} ${state} tasks of priority ${priority}, ` +
        `up to arrival ${upToArrival}`,
    );
    return { removed };
  }

  #pause(body: Body): unknown {
    const fields = fieldsOf(body, ["requests", "creates"]);
    for (const [name, value] of Object.entries(fields)) {
      if (typeof value !== "boolean") {
        throw new HttpError(400, `${name} must be true or false, got ${JSON.stringify(value)}`);
      }
    }
    const { inspection, status } = this.#operated;
    if (inspection.isShared) {
      throw new HttpError(
        409,
        "other servers hand out and take these tasks, too, and would go on: nothing is paused here",
      );
    }
    const before = inspection.queue.paused;
    inspection.pause(fields as { requests?: boolean; creates?: boolean });
    const { paused } = inspection.queue;
    for (const what of ["requests", "creates"] as const) {
      if (paused[what] === before[what]) continue;
      this.#options.say(`${what} ${paused[what] ? "paused" : "resumed"} by the operator`);
    }
    status.server.offerRoom();
    return paused;
  }

  #lookFor(arrival: number): Promise<ListedTask | undefined> {
    return told((then) => this.#operated.inspection.find(arrival, then));
  }

  async #find(arrival: number): Promise<ListedTask> {
    const listed = await this.#lookFor(arrival);
    if (listed === undefined) throw new HttpError(404, `there is no task ${arrival}`);
    return listed;
  }

  #view(listed: ListedTask): unknown {
    return new TaskViews(this.#operated).of(listed);
  }

  /** Waits until what was asked so far is kept: counters show nothing that may be undone. */
  #settled(): Promise<void> {
    return new Promise((resolve) => this.#operated.inspection.afterAll(resolve));
  }

  #countAction(): void {
    const nowMs = this.#operated.status.look();
    if (nowMs - this.#actions.sinceMs >= 1000) this.#actions = { sinceMs: nowMs, count: 0 };
    if (++this.#actions.count <= maxActionsPerSecond) return;
    throw new HttpError(429, "too many actions: try again", { "Retry-After": "1" });
  }
}

const getRoutes: readonly string[] = ["overview", "tasks", "tasks/:arrival", "consumers"];
const postRoutes: readonly string[] = [
  "tasks/:arrival/kick",
  "tasks/:arrival/remove",
  "kick",
  "clear",
  "pause",
];

type Body = Readonly<Record<string, unknown>>;

/** Asks for something, and waits until it is told. */
async function told<T>(ask: (then: (answer: T | Silence) => void) => void): Promise<T> {
  const answer = await new Promise<T | Silence>((resolve) => ask(resolve));
  if (answer !== "no answer") return answer as T;
  throw new HttpError(503, "what keeps the tasks does not answer", { "Retry-After": "5" });
}

/** Does something to the queue, and waits until it is kept. */
async function acted<Done extends readonly ListedTask[] | undefined = readonly ListedTask[]>(
  act: (then: (acted: Done | "not kept" | Silence) => void) => void,
): Promise<Done> {
  const answer = await told<Done | "not kept">(act);
  if (answer === "not kept") throw new HttpError(503, "store full", { "Retry-After": "1" });
  return answer as Done;
}

async function bodyOf(asker: Asker): Promise<Body> {
  const text = await asker.readBody(maxBodyBytes);
  if (text === undefined) throw new HttpError(413, `the body is longer than ${maxBodyBytes} bytes`);
  let body: unknown;
  try {
    body = JSON.parse(text === "" ? "{}" : text);
  } catch {
    throw new HttpError(400, "the body is no JSON");
  }
  if (typeof body === "object" && body !== null && !Array.isArray(body)) return body as Body;
  throw new HttpError(400, "the body must be a JSON object");
}

/** The fields of a body, or the parameters of a query, of which all names must be known. */
function fieldsOf(given: Body | URLSearchParams, known: readonly string[]): Body {
  const entries = given instanceof URLSearchParams ? [...given] : Object.entries(given);
  const seen = new Set<string>();
  for (const [name] of entries) {
    if (!known.includes(name)) {
      const hint = known.length === 0 ? "there are none" : `known are ${known.join(", ")}`;
      throw new HttpError(400, `unknown parameter ${quote(name)}: ${hint}`);
    }
    if (seen.has(name)) throw new HttpError(400, `${name} was given twice`);
    seen.add(name);
  }
  return Object.fromEntries(entries);
}

function oneOf<T>(value: unknown, name: string, allowed: readonly T[]): T {
  if (allowed.includes(value as T)) return value as T;
  throw new HttpError(400, `${name} must be one of ${allowed.join(", ")}, got ${show(value)}`);
}

function wantedOf(value: unknown): Priority[] {
  const wanted = String(value).split(",");
  const found = priorities.filter((priority) => wanted.includes(String(priority)));
  if (found.length === wanted.length) return found;
  throw new HttpError(400, `priority must be some of 1,2,3, got ${show(value)}`);
}

function arrivalOf(text: string | undefined): number {
  return wholeNumber(text, "arrival", { least: 1 });
}

function wholeNumber(
  value: unknown,
  name: string,
  range: { readonly least: number; readonly most?: number; readonly hint?: string },
): number {
  const isText = typeof value === "string" && /^\d{1,15}$/.test(value);
  const number = isText ? Number(value) : value;
  if (typeof number !== "number" || !Number.isSafeInteger(number)) {
    throw new HttpError(400, `${name} must be a whole number, got ${show(value)}`);
  }
  const { least, most = Number.MAX_SAFE_INTEGER, hint = "" } = range;
  if (number >= least && number <= most) return number;
  throw new HttpError(400, `${name} must be from ${least} to ${most}, got ${number}${hint}`);
}

/** A wrong value as it was given; cut, since it goes into an error. */
function show(value: unknown): string {
  return value === undefined
    ? "nothing"
    : quote(typeof value === "object" ? JSON.stringify(value) : String(value));
}
