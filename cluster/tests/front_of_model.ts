/**
 * A front of a model of the engine, at which a test sees each turn.
 *
 * @module
 */

import { systemClock } from "../../lib/clock.ts";
import { EngineTasks, type TurnMaker } from "../engine_tasks.ts";
import type { TurnArguments } from "../turn.ts";
import type { ModelEngine } from "./model_engine.ts";

/** Tasks over a model; the time is the test's. */
export class FrontOfModel implements TurnMaker {
  readonly #model: ModelEngine;
  readonly #number: number;
  /** The turns so far. */
  readonly turns: TurnArguments[] = [];
  /** What time it is, in milliseconds. */
  nowMs = 0;
  /** How long each turn takes, in milliseconds. */
  turnMs = 0;
  /** Its tasks. */
  readonly tasks: EngineTasks;

  /** Opens one. */
  constructor(model: ModelEngine) {
    this.#model = model;
    this.#number = model.openFront();
    this.tasks = new EngineTasks(this, {
      ...{ epochMs: 0, onFailure: console.error },
      clock: { ...systemClock, nowMs: () => this.nowMs },
    });
  }

  /** See {@linkcode TurnMaker.turn}. */
  turn(turn: TurnArguments): Promise<string> {
    this.turns.push(turn);
    this.nowMs += this.turnMs;
    return Promise.resolve(this.#model.turn(this.#number, this.turns.length, turn));
  }

  /** Waits until all is answered that was asked. */
  settled(): Promise<void> {
    return new Promise((then) => this.tasks.afterAll(then));
  }
}
