/**
 * Tasks in an engine keep the contract of tasks, over a real PostgreSQL.
 *
 * @module
 */

import { systemClock } from "../../lib/clock.ts";
import type { QueueLimits } from "../../lib/core/task_queue.ts";
import { tasksContract } from "../../tests/core/tasks_contract.ts";
import type { TasksUnderTest } from "../../tests/core/tasks_desk.ts";
import { Engine } from "../engine.ts";
import { parseEngineAddress } from "../engine_address.ts";
import { EngineTasks, type TurnMaker } from "../engine_tasks.ts";
import { findPostgres, installHint, PostgresNodes } from "../lab/postgres.ts";
import type { TurnArguments } from "../turn.ts";

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

/** A clock that stands still: leases begin when they were asked for. */
const stillClock = { ...systemClock, nowMs: () => 0 };

let hosts = "";
let databases = 0;

/** Makes tasks in a database of their own. */
function inEngine(limits: QueueLimits): TasksUnderTest {
  const address = parseEngineAddress(`postgres://front@${hosts}/test${databases}`);
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

const tests: { readonly name: string; readonly fn: () => Promise<void> }[] = [];
tasksContract("EngineTasks", inEngine, (name, fn) => {
  tests.push({ name, fn: async () => await fn() });
});

Deno.test({
  name: `EngineTasks keep the contract of tasks${findPostgres() ? "" : ` (${installHint})`}`,
  ignore: findPostgres() === undefined,
  async fn(t) {
    await using nodes = await PostgresNodes.start({ count: 1, fsync: false });
    hosts = nodes.hosts;
    const { primary } = nodes;
    await primary.createQueue("test0");
    for (const { name, fn } of tests) {
      await primary.query(`CREATE DATABASE test${databases + 1} TEMPLATE test0`);
      databases++;
      await t.step(name, fn);
    }
  },
});
