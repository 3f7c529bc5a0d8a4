/**
 * PostgreSQL with schema.sql answers as the model does, turn by turn: so what the simulation shows
 * of the model holds for it, too.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { Random } from "../../tests/lab/random.ts";
import { withSeed } from "../../tests/lab/seed.ts";
import { Engine } from "../engine.ts";
import { parseEngineAddress } from "../engine_address.ts";
import { findPostgres, installHint, type PostgresNode, PostgresNodes } from "../lab/postgres.ts";
import { decodeReceipt, type EngineTask, Turn } from "../turn.ts";
import { ModelEngine } from "./model_engine.ts";

/** How many turns are compared. */
const turns = 600;

const names = ["a", "b", "작업", 'q"u\\o{t},e'];
const payloads = [undefined, "[]", '{"k":  "é 𝕏 \\u0000"}', '["\u2028", NULL]'];

/** One front of both engines, and what it has of them. */
class TwofoldFront {
  readonly #model: ModelEngine;
  readonly #engine: Engine;
  readonly #number: number;
  readonly #held: EngineTask[] = [];
  readonly #requested: EngineTask[] = [];
  #turn = 0;

  private constructor(model: ModelEngine, engine: Engine) {
    this.#model = model;
    this.#engine = engine;
    this.#number = model.openFront();
  }

  static async open(model: ModelEngine, node: PostgresNode): Promise<TwofoldFront> {
    const address = parseEngineAddress(`postgres://front@127.0.0.1:${node.port}/queue`);
    const { signal } = new AbortController();
    return new TwofoldFront(model, await Engine.open({ address, say: () => {}, signal }));
  }

  /** Makes a random turn at both, and compares what they answer. */
  async turn(random: Random): Promise<string> {
    const turn = new Turn();
    for (const { task } of takeSome(this.#held, random)) {
      if (random.chance(40)) turn.complete(task);
      else {
        turn.putBack(task, {
          ends: random.below(5),
          isBuried: random.chance(30),
          dueMs: random.chance(40) ? random.below(1000) / 4 : undefined,
        });
      }
    }
    for (const given of takeSome(this.#requested, random)) turn.giveBack(given);
    if (random.chance(20)) turn.endDelays(random.below(250), 1 + random.below(3));
    const holders = Array.from({ length: random.below(4) }, () => random.pick([undefined, 5, 6]));
    for (const holder of holders) turn.take(holder);
    for (let rest = random.below(5); rest > 0; rest--) {
      const payload = random.pick(payloads);
      const task = { priority: random.pick([1, 2, 3] as const), taskId: random.pick(names) };
      turn.create(
        { ...task, duration: "1.50", ...payload === undefined ? {} : { payload } },
        random.chance(30) ? random.below(250) : undefined,
      );
    }
    for (let rest = random.chance(30) ? random.below(5) : 0; rest > 0; rest--) {
      turn.kick(random.pick(names));
    }
    if (random.chance(10)) turn.openConsumer();
    const args = turn.encode();
    const receipt = await this.#engine.turn(args);
    assertEquals(receipt, this.#model.turn(this.#number, ++this.#turn, args));
    const { taken } = decodeReceipt(receipt);
    for (const [i, one] of taken.entries()) {
      (holders[i] === undefined ? this.#requested : this.#held).push(one);
    }
    return receipt;
  }

  /** Is given up by both. */
  async retire(node: PostgresNode): Promise<void> {
    await node.query(`SELECT queue.retire(${this.#number}, 1)`, "queue");
    this.#model.retire(this.#number, 1);
    this.close();
  }

  close(): void {
    this.#engine.abandon();
  }
}

/** Takes out some of the items of a list. */
function takeSome<T>(items: T[], random: Random): T[] {
  const some: T[] = [];
  for (let i = items.length - 1; i >= 0; i--) {
    if (random.chance(40)) some.push(...items.splice(i, 1));
  }
  return some;
}

Deno.test({
  name: `over ${turns} turns PostgreSQL answers as the model does` +
    (findPostgres() === undefined ? ` (${installHint})` : ""),
  ignore: findPostgres() === undefined,
  async fn() {
    await using nodes = await PostgresNodes.start({ count: 1, fsync: false });
    const node = nodes.primary;
    await node.createQueue("queue");
    await withSeed(async (seed) => {
      const random = new Random(seed);
      const model = new ModelEngine();
      const open = () => TwofoldFront.open(model, node);
      const fronts = [await open(), await open(), await open()];
      const seen = new Set<string>();
      for (let i = 0; i < turns; i++) {
        const at = random.below(fronts.length);
        if (random.chance(2)) {
          await fronts[at]?.retire(node);
          fronts[at] = await open();
        }
        const receipt = await (fronts[at] as TwofoldFront).turn(random);
        for (const line of receipt.split("\n")) seen.add(line[0] ?? "");
      }
      for (const front of fronts) front.close();
      assertEquals([...seen].sort().join(""), "ADKNS");
      const [row] = await node.query(
        "SELECT (SELECT count(*) FROM queue.ready) - sum(ready) AS ready, " +
          "(SELECT count(*) FROM queue.delayed) - sum(delayed) AS delayed, " +
          "(SELECT count(*) FROM queue.reserved) - sum(reserved) AS reserved, " +
          "(SELECT count(*) FROM queue.buried) - sum(buried) AS buried FROM queue.front",
        "queue",
      );
      assert(row !== undefined && Object.values(row).every((wrong) => wrong === "0"), `${row}`);
    });
  },
});
