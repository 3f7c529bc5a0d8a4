/**
 * Clients in the process of a front, without sockets: what the engine and the turns can do at most.
 *
 * @module
 */

import type { Priority } from "../../lib/core/task.ts";
import { Random } from "../../tests/lab/random.ts";
import { Engine } from "../engine.ts";
import { parseEngineAddress } from "../engine_address.ts";
import { EngineTasks } from "../engine_tasks.ts";

/** How clients are run. */
export interface LoopOptions {
  /** How many clients there are. */
  readonly clients: number;
  /** How long they are measured, in seconds. */
  readonly seconds: number;
}

/** What clients did. */
export interface LoopReport {
  /** Tasks created and handed out. */
  readonly tasks: number;
  /** Tasks created and handed out per second. */
  readonly perSecond: number;
  /** The median time from a create to its hand-out, in milliseconds. */
  readonly p50Ms: number;
  /** Its 99th percentile, in milliseconds. */
  readonly p99Ms: number;
}

/** A front without ports; it ends with its scope. */
export class BareFront implements AsyncDisposable {
  readonly #engine: Engine;
  readonly #ended: AbortController;
  readonly #random = new Random(1);
  #tasks = 0;
  readonly #failure = Promise.withResolvers<never>();
  /** Its tasks. */
  readonly tasks: EngineTasks;

  private constructor(engine: Engine, ended: AbortController) {
    this.#engine = engine;
    this.#ended = ended;
    this.#failure.promise.catch(() => {});
    this.tasks = new EngineTasks(engine, {
      ...{ maxTasks: 100_000_000, epochMs: Date.now() - performance.now() },
      onFailure: this.#failure.reject,
    });
  }

  /** Opens one of the queue in a database. */
  static async open(hosts: string, database: string): Promise<BareFront> {
    const ended = new AbortController();
    const address = parseEngineAddress(`postgres://front@${hosts}/${database}`);
    const engine = await Engine.open({ address, say: console.error, signal: ended.signal });
    return new BareFront(engine, ended);
  }

  /** Runs clients, each of which creates a task, waits, asks for one, and waits, again and again. */
  async run({ clients, seconds }: LoopOptions): Promise<LoopReport> {
    const latenciesMs: number[] = [];
    const startMs = performance.now();
    const endMs = startMs + 1000 * seconds;
    const running = Array.from({ length: clients }, async () => {
      while (performance.now() < endMs) latenciesMs.push(await this.#doTask());
    });
    await Promise.race([Promise.all(running), this.#failure.promise]);
    const perSecond = 1000 * latenciesMs.length / (performance.now() - startMs);
    const sorted = Float64Array.from(latenciesMs).sort();
    const percentile = (percent: number) =>
      sorted[Math.floor(sorted.length * percent / 100)] ?? NaN;
    return { tasks: sorted.length, perSecond, p50Ms: percentile(50), p99Ms: percentile(99) };
  }

  /** Creates a task and asks for one; the time that both took, in milliseconds. */
  async #doTask(): Promise<number> {
    const startMs = performance.now();
    const priority = 1 + this.#random.below(3) as Priority;
    const task = { priority, taskId: `t${this.#tasks++}`, duration: "3.0" };
    await new Promise<void>((then) => this.tasks.create(task, () => then()));
    const taken = await new Promise((then) => this.tasks.request(then));
    if (taken === undefined) throw new Error("a task that was created is not there");
    return performance.now() - startMs;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#engine.close();
    this.#ended.abort();
  }
}
