/**
 * Simulations of fronts over a model of the engine: answers are lost, turns repeated, fronts die, and
 * standbys are promoted that lack what nobody was told of.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { type Clock, systemClock } from "../../lib/clock.ts";
import type { Reservation } from "../../lib/core/reservations.ts";
import type { Task } from "../../lib/core/task.ts";
import { Random } from "../../tests/lab/random.ts";
import { EngineTasks, type TurnMaker } from "../engine_tasks.ts";
import type { TurnArguments } from "../turn.ts";
import { ModelEngine } from "./model_engine.ts";

/** A clock that stands still: leases begin when they were asked for. */
export const stillClock: Clock = { ...systemClock, nowMs: () => 0 };

/** How many steps one of them has. */
const steps = 400;

/** The way to an engine: what goes there and what comes back may be lost, and is said again. */
export class BadWay implements TurnMaker {
  readonly #engine: ModelEngine;
  readonly #random: Random;
  readonly front: number;
  #turn = 0;
  #isCut = false;

  constructor(engine: ModelEngine, random: Random) {
    this.#engine = engine;
    this.#random = random;
    this.front = engine.openFront();
  }

  /** Has nothing arrive any more, in either direction. */
  cut(): void {
    this.#isCut = true;
  }

  async turn(args: TurnArguments): Promise<string> {
    const turn = ++this.#turn;
    // As on the wire: what it is made of may change meanwhile.
    const sent = structuredClone(args);
    for (;;) {
      await this.#pass();
      if (this.#isCut) return await new Promise(() => {});
      if (this.#random.chance(20)) continue;
      const receipt = this.#engine.turn(this.front, turn, sent);
      const { position } = this.#engine;
      await this.#pass();
      if (this.#isCut) return await new Promise(() => {});
      if (this.#engine.confirm(position) && !this.#random.chance(20)) return receipt;
    }
  }

  async #pass(): Promise<void> {
    for (let rest = this.#random.below(3); rest > 0; rest--) {
      await new Promise<void>((resolve) => systemClock.afterInput(resolve));
    }
  }
}

/** A front in a simulation, with what its clients hold. */
class SimulatedFront {
  readonly way: BadWay;
  readonly tasks: EngineTasks;
  readonly #world: World;
  readonly #consumers: number[] = [];
  /** Requests without an answer, and completions; two may be of one name. */
  readonly #unanswered = { requests: 0, completions: new Set<{ readonly name: string }>() };
  #isDead = false;

  constructor(world: World) {
    this.#world = world;
    this.way = new BadWay(world.engine, world.random);
    this.tasks = new EngineTasks(this.way, {
      epochMs: 0,
      clock: stillClock,
      onFailure: world.fail,
    });
  }

  /** Ends it as `kill -9` does, and has another one find that out. */
  die(): void {
    this.#isDead = true;
    this.way.cut();
    this.#world.engine.retire(this.way.front, 1);
    this.#world.drop(this);
    // Each request may have taken one, for nobody; each completion may have been the last of its task.
    this.#world.mayBeLost += this.#unanswered.requests;
    for (const { name } of this.#unanswered.completions) this.#world.maybeCompleted(name);
  }

  /** Does anything. */
  step(): void {
    const { random } = this.#world;
    const { tasks } = this;
    const consumer = random.pick(this.#consumers.length === 0 ? [0] : this.#consumers);
    if (consumer === 0 || random.chance(3)) {
      return tasks.openConsumer((number) => void this.#consumers.push(number));
    }
    const name = this.#world.anyName(this, consumer);
    switch (random.below(12)) {
      case 0:
      case 1:
      case 2:
        return this.#create();
      case 3:
        this.#unanswered.requests++;
        return tasks.request((task) => {
          this.#unanswered.requests--;
          if (!this.#isDead && task !== undefined) this.#world.requested(task);
        });
      case 4:
      case 5:
        return tasks.reserve(consumer, 0, (reservation) => this.#world.reserved(this, reservation));
      case 6:
      case 7: {
        const completion = { name };
        this.#unanswered.completions.add(completion);
        return tasks.complete(consumer, name, (answer) => {
          this.#unanswered.completions.delete(completion);
          if (!this.#isDead && answer === "completed") this.#world.completed(name);
        });
      }
      case 8: {
        const how = random.pick(
          [
            { kind: "release" },
            { kind: "release", dueMs: 5 },
            { kind: "fail", nowMs: 0 },
            { kind: "bury" },
          ] as const,
        );
        return tasks.giveUp(consumer, { taskId: name, how }, (ended) => {
          if (!this.#isDead && ended !== undefined) this.#world.back(name);
        });
      }
      case 9:
        return random.chance(50)
          ? tasks.kick(name, () => {})
          : tasks.endDelays(1_000_000, { most: 3 }, () => {});
      case 10:
        return tasks.endConsumer(consumer, { counts: random.chance(50) }, (ended) => {
          if (this.#isDead) return;
          for (const { task } of ended) this.#world.back(task.taskId);
        });
      default:
        if (random.chance(20)) tasks.beat();
        return this.#world.await(this, consumer);
    }
  }

  #create(): void {
    const { random } = this.#world;
    const taskId = this.#world.newName();
    const task = { priority: random.pick([1, 2, 3] as const), taskId, duration: "0" };
    const kept = (isKept: boolean) => {
      if (!this.#isDead && isKept) this.#world.confirmed(taskId);
    };
    if (random.chance(20)) this.tasks.schedule(task, random.below(10), kept);
    else this.tasks.create(random.chance(30) ? { ...task, payload: '["é 𝕏"]' } : task, kept);
  }
}

/** What the clients of all fronts know. */
class World {
  readonly engine = new ModelEngine();
  readonly random: Random;
  readonly faults: string[] = [];
  /** Rejects if a front fails: what it owes is never answered. */
  readonly failure: Promise<never>;
  /** Takes the failure of a front. */
  readonly fail: (error: unknown) => void;
  /** Tasks that the engine has confirmed, and nobody has had for good. */
  readonly left = new Set<string>();
  /** Tasks that somebody has had for good. */
  readonly gone = new Set<string>();
  /** How many tasks dead fronts may have taken for nobody. */
  mayBeLost = 0;
  readonly #held = new Map<string, { front: SimulatedFront; consumer: number }>();
  readonly #waiting = new Set<number>();
  readonly #mayBeGone = new Set<string>();
  #names = 0;

  constructor(seed: number) {
    this.random = new Random(seed);
    const failure = Promise.withResolvers<never>();
    failure.promise.catch(() => {});
    this.failure = failure.promise;
    this.fail = failure.reject;
  }

  newName(): string {
    return `task${++this.#names}`;
  }

  /** A task's name: mostly one that this consumer holds. */
  anyName(front: SimulatedFront, consumer: number): string {
    const own = [...this.#held].filter(([, held]) =>
      held.front === front && held.consumer === consumer
    );
    if (own.length > 0 && this.random.chance(80)) return this.random.pick(own)[0];
    return `task${this.random.below(this.#names + 1)}`;
  }

  confirmed(name: string): void {
    // Another front may have had it before this one heard that it is kept.
    if (!this.gone.has(name) && !this.#mayBeGone.has(name)) this.left.add(name);
  }

  /** A dead front may have completed it. */
  maybeCompleted(name: string): void {
    this.#mayBeGone.add(name);
    this.left.delete(name);
  }

  requested({ taskId }: Task): void {
    this.#mustBeFree(taskId);
    this.#end(taskId);
  }

  reserved(front: SimulatedFront, reservation: Reservation | undefined): void {
    if (reservation === undefined) return;
    const { task, consumer } = reservation;
    this.#mustBeFree(task.taskId);
    this.#held.set(task.taskId, { front, consumer });
  }

  completed(name: string): void {
    this.#held.delete(name);
    this.#end(name);
  }

  back(name: string): void {
    this.#held.delete(name);
  }

  /** Has a consumer wait, if it does not. */
  await(front: SimulatedFront, consumer: number): void {
    if (this.#waiting.has(consumer)) return front.tasks.stopWaiting(consumer);
    this.#waiting.add(consumer);
    front.tasks.awaitTask(consumer, { nowMs: () => 0, waitMs: 1000 }, (reservation) => {
      this.#waiting.delete(consumer);
      this.reserved(front, reservation);
    });
  }

  /** Forgets what the clients of a dead front held. */
  drop(front: SimulatedFront): void {
    for (const [name, held] of this.#held) if (held.front === front) this.#held.delete(name);
  }

  #end(name: string): void {
    if (this.gone.has(name)) this.faults.push(`${name} is gone twice`);
    this.gone.add(name);
    this.left.delete(name);
  }

  #mustBeFree(name: string): void {
    if (this.gone.has(name)) this.faults.push(`${name} is handed out, though it is gone`);
  }
}

/** Runs one simulation. */
async function simulate(world: World): Promise<void> {
  const { random } = world;
  const fronts = [0, 1, 2].map(() => new SimulatedFront(world));
  for (let step = 0; step < steps; step++) {
    const at = random.below(fronts.length);
    if (random.chance(1)) {
      fronts[at]?.die();
      fronts[at] = new SimulatedFront(world);
    }
    if (random.chance(1)) world.engine.promote((most) => random.below(most + 1));
    fronts[at]?.step();
    if (random.chance(50)) await new Promise<void>((go) => systemClock.afterInput(go));
  }
  // Who waits has had time enough. All fronts but a last one end, and what they held is back.
  for (let before = -1; before !== world.engine.position;) {
    before = world.engine.position;
    await Promise.all(fronts.map(({ tasks }) => settled(tasks)));
  }
  for (const { way } of fronts) world.engine.retire(way.front, 0);
  const last = new BadWay(world.engine, random);
  const tasks = new EngineTasks(last, {
    ...{ epochMs: 0, clock: stillClock },
    onFailure: world.fail,
  });
  // Until it has had a turn it does not know what is delayed.
  await answerOf<Task | undefined>((then) => tasks.request(then)).then((task) =>
    task && world.requested(task)
  );
  await answerOf<readonly Task[]>((then) => tasks.endDelays(1e9, { most: 5000 }, then));
  for (const name of world.left) await answerOf<string>((then) => tasks.kick(name, then));
  for (;;) {
    const task = await answerOf<Task | undefined>((then) => tasks.request(then));
    if (task === undefined) break;
    world.requested(task);
  }
}

function answerOf<T>(ask: (then: (answer: T) => void) => void): Promise<T> {
  return new Promise(ask);
}

function settled(tasks: EngineTasks): Promise<void> {
  return new Promise((resolve) => tasks.afterAll(resolve));
}

/** Runs simulations, and fails on the first one in which a promise was broken. */
export async function simulateAll(seed: number, runs: number): Promise<void> {
  let [gone, lost] = [0, 0];
  for (let run = 0; run < runs; run++) {
    const world = new World(seed + run);
    await Promise.race([simulate(world), world.failure]).catch((cause) => {
      throw new Error(`run ${run}: a front has failed`, { cause });
    });
    assertEquals(world.faults, [], `run ${run}`);
    const { left, mayBeLost } = world;
    assert(left.size <= mayBeLost, `run ${run}: lost ${[...left]}, not ${mayBeLost} at most`);
    lost += left.size;
    gone += world.gone.size;
  }
  assert(gone > runs * 20 && lost < gone / 50, `${gone} tasks were gone, ${lost} were lost`);
}
