import { assert, assertEquals } from "@std/assert";
import { systemClock } from "../../lib/clock.ts";
import { FrontOfModel } from "./front_of_model.ts";
import { ModelEngine } from "./model_engine.ts";

/** Has a consumer wait, and notes which task it gets. */
function wait(front: FrontOfModel, consumer: number, got: string[]): void {
  front.tasks.awaitTask(consumer, { nowMs: () => front.nowMs, waitMs: 1000 }, (held) => {
    if (held !== undefined) got.push(`${consumer}:${held.task.taskId}`);
  });
}

/** Creates tasks, and waits until they are kept. */
async function create(front: FrontOfModel, ...names: string[]): Promise<void> {
  for (const taskId of names) {
    front.tasks.create({ priority: 1, taskId, duration: "1" }, () => {});
  }
  await front.settled();
}

Deno.test("of many that wait no more ask at a time than may get a task, and all tasks are handed out", async () => {
  const model = new ModelEngine();
  const [front, other] = [new FrontOfModel(model), new FrontOfModel(model)];
  const got: string[] = [];
  for (let consumer = 1; consumer <= 3000; consumer++) wait(front, consumer, got);
  await front.settled();
  const turnsBefore = front.turns.length;
  const names = Array.from({ length: 250 }, (_, i) => `task${i}`);
  await create(other, ...names);
  front.tasks.notice();
  await front.settled();
  await front.settled();
  assertEquals(got, names.map((name, i) => `${i + 1}:${name}`));
  const takes = front.turns.slice(turnsBefore).map((turn) => turn[14]?.length ?? 0);
  assertEquals(takes.slice(0, 2), [100, 150]);
  assert(takes.every((count) => count <= 150), String(takes));
});

Deno.test("the engine knows that somebody waits from the turn on that looks for a task", async () => {
  const front = new FrontOfModel(new ModelEngine());
  const got: string[] = [];
  wait(front, 1, got);
  await front.settled();
  front.tasks.kick("nothing", () => {});
  await front.settled();
  await create(front, "a");
  await front.settled();
  front.tasks.kick("nothing", () => {});
  await front.settled();
  assertEquals(got, ["1:a"]);
  const waits = front.turns.map(([isWaiting]) => isWaiting);
  assertEquals([waits.slice(0, 2), waits.at(-1)], [[true, true], false]);
});

Deno.test("nobody overtakes those who wait longer at a front", async () => {
  const model = new ModelEngine();
  const [front, other] = [new FrontOfModel(model), new FrontOfModel(model)];
  const got: string[] = [];
  wait(front, 1, got);
  await front.settled();
  await create(other, "a");
  wait(front, 2, got);
  await front.settled();
  front.tasks.notice();
  await front.settled();
  assertEquals(got, ["1:a"]);
});

Deno.test("who waits gets a task that is created beside a request in vain", async () => {
  const front = new FrontOfModel(new ModelEngine());
  const got: string[] = [];
  wait(front, 1, got);
  await front.settled();
  front.tasks.request((task) => got.push(`request:${task?.taskId}`));
  await create(front, "a");
  await front.settled();
  assertEquals(got, ["request:undefined", "1:a"]);
});

Deno.test("a lease begins when the task is handed out, however long a turn takes", async () => {
  const front = new FrontOfModel(new ModelEngine());
  await create(front, "a");
  front.turnMs = 500;
  front.tasks.reserve(1, 7000, () => {});
  await front.settled();
  const leasesAt = (nowMs: number) =>
    new Promise<number>((then) =>
      front.tasks.endLeases(nowMs, { most: 1 }, (ended) => then(ended.length))
    );
  // Twice the task's duration, and 10 s.
  assertEquals([await leasesAt(19_499), await leasesAt(19_500)], [0, 1]);
});

Deno.test("without an ask a front makes a turn every 2 s, and nothing more", async () => {
  const front = new FrontOfModel(new ModelEngine());
  await create(front, "a");
  for (const [nowMs, turns] of [[1999, 1], [2000, 2], [3999, 2], [4000, 3]] as const) {
    front.nowMs = nowMs;
    front.tasks.beat();
    await new Promise<void>((then) => systemClock.afterInput(then));
    await front.settled();
    assertEquals(front.turns.length, turns, `at ${nowMs} ms`);
  }
});
