/**
 * Fronts over a model of the engine.
 *
 * @module
 */

import { tasksContract } from "../../tests/core/tasks_contract.ts";
import type { TasksUnderTest } from "../../tests/core/tasks_desk.ts";
import { Random } from "../../tests/lab/random.ts";
import { testSeed, withSeed } from "../../tests/lab/seed.ts";
import { EngineTasks } from "../engine_tasks.ts";
import { ModelEngine } from "./model_engine.ts";
import { BadWay, simulateAll, stillClock } from "./simulation.ts";

function overModel(limits: { readonly maxTasks?: number }): TasksUnderTest {
  const way = new BadWay(new ModelEngine(), new Random(testSeed));
  const onFailure = (error: unknown) => console.error(`the engine has failed: ${error}`);
  const tasks = new EngineTasks(way, { ...limits, epochMs: 0, clock: stillClock, onFailure });
  return { tasks, async [Symbol.asyncDispose]() {} };
}

tasksContract("EngineTasks over a model", overModel, (name, fn) => {
  Deno.test(name, async () => await withSeed(async () => await fn()));
});

const runs = 60;

Deno.test(`in ${runs} simulations no confirmed task is lost, and none is gone twice`, async () => {
  await withSeed((seed) => simulateAll(seed, runs));
});
