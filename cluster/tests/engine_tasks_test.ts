/**
 * Tasks in an engine keep the contract of tasks, over a real PostgreSQL.
 *
 * @module
 */

import type { QueueLimits } from "../../lib/core/task_queue.ts";
import { tasksContract } from "../../tests/core/tasks_contract.ts";
import type { TasksUnderTest } from "../../tests/core/tasks_desk.ts";
import { Engine } from "../engine.ts";
import { parseEngineAddress } from "../engine_address.ts";
import { EngineTasks, type TurnMaker } from "../engine_tasks.ts";
import type { TurnArguments } from "../turn.ts";
import { type Place, type Step, testInOneNode } from "./nodes.ts";
import { stillClock } from "./simulation.ts";

/** An engine that is opened at the first turn. */
class LazyEngine implements TurnMaker {
  readonly #open: () => Promise<Engine>;
  #engine: Promise<Engine> | undefined;

  constructor(open: () => Promise<Engine>) {
    this.#open = open;
  }

  async turn(turn: TurnArguments): Promise<string> {
    this.#engine ??= this.#open();
    return await (await this.#engine).turn(turn);
  }

  async close(): Promise<void> {
    await (await this.#engine)?.close();
  }
}

/** Makes tasks in a queue. */
function inEngine({ nodes, database }: Place, limits: QueueLimits): TasksUnderTest {
  const address = parseEngineAddress(`postgres://front@${nodes.hosts}/${database}`);
  const ended = new AbortController();
  const engine = new LazyEngine(() =>
    Engine.open({ address, say: console.error, signal: ended.signal })
  );
  const failure = Promise.withResolvers<never>();
  const tasks = new EngineTasks(engine, {
    ...limits,
    ...{ epochMs: 0, clock: stillClock, onFailure: failure.reject },
  });
  failure.promise.catch((error) => console.error(`the engine has failed: ${error}`));
  return {
    tasks,
    async [Symbol.asyncDispose]() {
      await engine.close();
    },
  };
}

const steps: Step[] = [];
let place: Place | undefined;
tasksContract("EngineTasks", (limits) => inEngine(place as Place, limits), (name, fn) => {
  steps.push([name, async (its) => {
    place = its;
    await fn();
  }]);
});
testInOneNode("EngineTasks keep the contract of tasks", steps);
