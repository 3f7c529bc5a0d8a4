import { assert, assertEquals } from "@std/assert";
import { EngineTasks, type TurnMaker } from "../engine_tasks.ts";
import { Turn } from "../turn.ts";
import { ModelEngine } from "./model_engine.ts";

/** A front of a model, and how many hand-outs each of its turns asks for. */
class CountedFront implements TurnMaker {
  readonly #model: ModelEngine;
  readonly #number: number;
  #turn = 0;
  readonly takes: number[] = [];
  readonly tasks: EngineTasks;

  constructor(model: ModelEngine) {
    this.#model = model;
    this.#number = model.openFront();
    const onFailure = (error: unknown) => console.error(error);
    this.tasks = new EngineTasks(this, { epochMs: 0, onFailure });
  }

  turn(...[args]: Parameters<TurnMaker["turn"]>): Promise<string> {
    this.takes.push(args[14]?.length ?? 0);
    return Promise.resolve(this.#model.turn(this.#number, ++this.#turn, args));
  }

  settled(): Promise<void> {
    return new Promise((then) => this.tasks.afterAll(then));
  }
}

Deno.test("of many that wait no more ask at a time than may get a task, and all tasks are handed out", async () => {
  const model = new ModelEngine();
  const front = new CountedFront(model);
  const got: string[] = [];
  for (let consumer = 1; consumer <= 3000; consumer++) {
    front.tasks.awaitTask(consumer, { nowMs: () => 0, waitMs: 1000 }, (held) => {
      if (held !== undefined) got.push(`${consumer}:${held.task.taskId}`);
    });
  }
  await front.settled();
  front.takes.length = 0;
  const other = new Turn();
  const names = Array.from({ length: 250 }, (_, i) => `task${i}`);
  for (const taskId of names) other.create({ priority: 1, taskId, duration: "1" });
  model.turn(model.openFront(), 1, other.encode());
  front.tasks.notice();
  await front.settled();
  await front.settled();
  assertEquals(got, names.map((name, i) => `${i + 1}:${name}`));
  assertEquals(front.takes.slice(0, 2), [100, 150]);
  assert(front.takes.every((takes) => takes <= 150), String(front.takes));
});
