/**
 * Kills the primary of an engine, at random moments under the load of recorded clients at two
 * fronts, promotes a standby, and checks what all clients saw.
 *
 * @module
 */

import { sleep } from "../../lib/clock.ts";
import { within } from "../../tests/lab/deadline.ts";
import { checkHistory, type ClientHistory } from "../../tests/lab/judges/history.ts";
import { checkOrder, unseenTasks } from "../../tests/lab/load/crash_rounds.ts";
import { Recorder } from "../../tests/lab/load/recorded_clients.ts";
import type { ServerProgram } from "../../tests/lab/processes.ts";
import { Random } from "../../tests/lab/random.ts";
import { PostgresNodes } from "./postgres.ts";
import { startFront } from "./start_front.ts";

/** Clients at each front: 32. */
const clientsPerFront = { producers: 10, requesting: 11, reserving: 11 };

/** Tasks of one producer that are not confirmed. */
const maxUnconfirmed = 10;

/** How long a client waits for an answer, in milliseconds: longer than any failover here. */
const patienceMs = 60_000;

/** How long the load runs before a kill, and after the promotion, in milliseconds. */
const loadMs = { before: 1500, after: 1500 };

/** Requests of the one who empties the queue that are under way at a time. */
const drainDepth = 100;

/** What was done and seen. */
export interface KillReport {
  /** Kills of the primary. */
  kills: number;
  /** Tasks whose confirmation came. */
  confirmed: number;
  /** Tasks that came by REQUEST or RESERVE. */
  handedOut: number;
  /** Tasks that were still there at the checks. */
  left: number;
  /** How long nothing was answered after each kill, in milliseconds. */
  readonly silencesMs: number[];
}

/** How to run {@linkcode killRounds}. */
export interface KillOptions {
  /** How many kills. */
  readonly rounds: number;
  /** What the random choices start from. */
  readonly seed: number;
  /** Is told after each round. */
  readonly onRound?: (report: KillReport) => void;
}

/**
 * Kills the primary again and again, each time with three nodes.
 *
 * @throws {Error} if a promise was broken; its message holds the seed.
 */
export async function killRounds({ rounds, seed, onRound }: KillOptions): Promise<KillReport> {
  // Killing processes loses nothing that they have written.
  await using nodes = await PostgresNodes.start({ count: 3, fsync: false });
  await nodes.primary.createQueue("queue");
  await using one = await startFront(nodes.hosts, "queue", ["--quiet"]);
  await using other = await startFront(nodes.hosts, "queue", ["--quiet"]);
  const run = new KillRun(nodes, { fronts: [one, other], random: new Random(seed) });
  try {
    while (run.report.kills < rounds) {
      await run.round();
      onRound?.(run.report);
    }
    return run.report;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`seed ${seed}, round ${run.report.kills + 1}: ${reason}`);
  }
}

class KillRun {
  readonly report: KillReport = { kills: 0, confirmed: 0, handedOut: 0, left: 0, silencesMs: [] };
  readonly #nodes: PostgresNodes;
  readonly #fronts: readonly ServerProgram[];
  readonly #random: Random;
  readonly #recorder = new Recorder({ patienceMs });

  constructor(
    nodes: PostgresNodes,
    run: { readonly fronts: readonly ServerProgram[]; readonly random: Random },
  ) {
    this.#nodes = nodes;
    this.#fronts = run.fronts;
    this.#random = run.random;
  }

  /** Loads the fronts, kills the primary, promotes a standby, checks, and repairs. */
  async round(): Promise<void> {
    let isLoaded = true;
    const load = Promise.all(this.#fronts.map((front) => this.#load(front, () => isLoaded)));
    await Promise.race([load, sleep(loadMs.before + this.#random.below(500))]);
    const killedMs = performance.now();
    await this.#nodes.killPrimary();
    await this.#nodes.promote();
    await this.#answer();
    this.report.silencesMs.push(Math.round(performance.now() - killedMs));
    await Promise.race([load, sleep(loadMs.after)]);
    isLoaded = false;
    await load;
    this.report.kills++;
    await this.#check();
    await this.#nodes.repair();
  }

  /** Keeps clients of all kinds busy at a front; those that give up are replaced. */
  async #load(front: ServerProgram, goesOn: () => boolean): Promise<void> {
    const behaviour = { random: this.#random, goesOn };
    const { producerPort, consumerPort } = front;
    const again = async (client: () => Promise<void>) => {
      while (goesOn()) await client();
    };
    const requests = () => 1 + this.#random.below(300);
    const produce = () =>
      this.#recorder.produce(producerPort, {
        ...behaviour,
        ...{ tasks: 200, window: maxUnconfirmed },
      });
    const request = () =>
      this.#recorder.request(consumerPort, { ...behaviour, requests: requests() });
    const reserve = () =>
      this.#recorder.reserve(consumerPort, { ...behaviour, requests: requests() });
    const several = (count: number, client: () => Promise<void>) =>
      Array.from({ length: count }, () => again(client));
    await Promise.all([
      ...several(clientsPerFront.producers, produce),
      ...several(clientsPerFront.requesting, request),
      ...several(clientsPerFront.reserving, reserve),
    ]);
  }

  /** Waits until each front has been answered by the engine once more. */
  async #answer(): Promise<void> {
    for (const front of this.#fronts) {
      await using consumer = await front.consumer();
      await consumer.send("SYNC\n");
      await consumer.received.next();
    }
  }

  /** Waits until what connections held that are closed is back. */
  async #settle(): Promise<void> {
    for (;;) {
      await this.#answer();
      const rows = await this.#nodes.primary.query("SELECT FROM queue.reserved LIMIT 1", "queue");
      if (rows.length === 0) return;
    }
  }

  /** Takes all tasks, and compares them with what was promised. */
  async #check(): Promise<void> {
    const { clients } = this.#recorder;
    const [one, other] = this.#fronts as [ServerProgram, ServerProgram];
    await within(this.#settle(), "what closed connections held");
    const found = await this.#recorder.drain(other.consumerPort, { depth: drainDepth });
    await this.#recorder.kick(one.producerPort, unseenTasks(clients));
    const buried = await this.#recorder.drain(one.consumerPort);
    this.#count(clients);
    this.report.left += found.length + buried.length;
    const [fault] = checkHistory({ clients, isDrained: true });
    if (fault !== undefined) throw new Error(`${fault.invariant}: ${fault.message}`);
    checkOrder(found, clients);
    // Nothing of all this may come again.
    clients.length = 0;
  }

  #count(clients: readonly ClientHistory[]): void {
    for (const { entries } of clients) {
      const isProducer = entries.some((entry) => "sent" in entry && entry.sent === "CREATE");
      for (const entry of entries) {
        if (!("got" in entry)) continue;
        if (entry.got === "ASSIGN") this.report.handedOut++;
        if (entry.got === "CONFIRMED" && isProducer) this.report.confirmed++;
      }
    }
  }
}
