import { assertEquals } from "@std/assert";
import { type Clock, systemClock } from "../../lib/clock.ts";
import { EngineTasks, type TurnMaker } from "../engine_tasks.ts";
import { ModelEngine } from "./model_engine.ts";

/** An engine whose turns take as long as the test wants, and what was created in each. */
class SlowFront implements TurnMaker {
  readonly #model = new ModelEngine();
  readonly #number = this.#model.openFront();
  readonly turns: (readonly (string | null)[])[] = [];
  readonly timers: { readonly ms: number; readonly ring: () => void }[] = [];
  readonly tasks: EngineTasks;
  #nowMs = 0;
  #finish: (() => void) | undefined;

  constructor() {
    const clock: Clock = {
      ...systemClock,
      nowMs: () => this.#nowMs,
      after: (ms, ring) => {
        this.timers.push({ ms, ring });
        return () => {};
      },
    };
    this.tasks = new EngineTasks(this, { epochMs: 0, clock, onFailure: console.error });
  }

  async turn(...[args]: Parameters<TurnMaker["turn"]>): Promise<string> {
    this.turns.push(args[16] ?? []);
    await new Promise<void>((then) => this.#finish = then);
    return this.#model.turn(this.#number, this.turns.length, args);
  }

  /** Ends the turn that is under way. */
  async finish(tookMs: number): Promise<void> {
    this.#nowMs += tookMs;
    this.#finish?.();
    await nextTurnOfTheLoop();
  }

  async create(taskId: string, then: () => void = () => {}): Promise<void> {
    this.tasks.create({ priority: 1, taskId, duration: "1" }, then);
    await nextTurnOfTheLoop();
  }
}

async function nextTurnOfTheLoop(): Promise<void> {
  for (let i = 0; i < 2; i++) await new Promise<void>((then) => systemClock.afterInput(then));
}

Deno.test("who was just answered takes part in the next turn, with those who wait", async () => {
  const front = new SlowFront();
  await front.create("a1");
  await front.create("b1");
  await front.finish(30);
  assertEquals([front.turns, front.timers.map(({ ms }) => ms)], [[["a1"]], [10]]);
  await front.create("a2");
  assertEquals(front.turns, [["a1"], ["b1", "a2"]]);
  await front.finish(30);
});

Deno.test("who waits is kept waiting for them no longer than a third of a turn, or 20 ms", async () => {
  const front = new SlowFront();
  await front.create("a1");
  for (const [tookMs, waitMs] of [[30, 10], [10_000, 20]] as const) {
    await front.create("b");
    const turns = front.turns.length;
    await front.finish(tookMs);
    assertEquals([front.turns.length, front.timers.at(-1)?.ms], [turns, waitMs]);
    front.timers.at(-1)?.ring();
    await nextTurnOfTheLoop();
    assertEquals(front.turns.length, turns + 1);
  }
  await front.finish(0);
});

Deno.test("nobody is waited for if nobody waits, or if all that were answered have asked again", async () => {
  const front = new SlowFront();
  await front.create("a1", () => void front.create("a2"));
  await front.create("b1");
  await front.finish(30);
  assertEquals(front.turns, [["a1"], ["b1", "a2"]]);
  await front.finish(30);
  await front.create("c1");
  assertEquals([front.turns.at(-1), front.timers], [["c1"], []]);
  await front.finish(30);
});
