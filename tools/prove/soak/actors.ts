/**
 * The peers of a soak: honest ones that check every answer, and those that behave badly.
 *
 * @module
 */

import { sleep } from "../../../lib/clock.ts";
import { patienceMs } from "../../../tests/lab/deadline.ts";
import { RawPeer, writeAll } from "../../../tests/lab/peers.ts";
import type { ServerProgram } from "../../../tests/lab/processes.ts";
import { drawLine } from "../../../tests/lab/load/line_fuzzer.ts";
import { ResettingPeer } from "../../../tests/lab/load/resets.ts";
import { connectMany, Flood } from "../../../tests/lab/load/scenarios.ts";
import type { Random } from "../../../tests/lab/random.ts";
import type { EventModel } from "../../../tests/lab/judges/event_model.ts";

/** Producers wait while so many tasks are ready. */
const maxReadyTasks = 10_000;

/** What all actors work with. */
export interface Stage {
  /** Whom they visit. */
  readonly server: ServerProgram;
  /** What the server's lines say. */
  readonly model: EventModel;
  /** Draws what they do. */
  readonly random: Random;
  /** Aborts when they must come to their end. */
  readonly signal: AbortSignal;
  /** Starts a client program of the project; returns how to kill it. */
  startProgram(role: "producer" | "consumer"): Promise<() => Promise<void>>;
}

/** Runs one round: connects, does what it is here for, and leaves. */
export type Actor = (stage: Stage) => Promise<void>;

/** How the names of tasks begin whose lines never end: none of them may be created. */
export const unendedName = "unended";

let lastTask = 0;

/** Lines that are no command of the producer port: none of them may create a task. */
const malformed = ["", "create 1 a 1", "CREATE 9 a 1", "CREATE 1 a", "CREATE 1 \xff 1e9", "SYNC 1"];

/** Actors by name, and how many of each are at work at a time. */
export const actors: readonly { name: string; count: number; act: Actor }[] = [
  { name: "honest producer", count: 3, act: produce },
  { name: "honest consumer", count: 3, act: (stage) => consume(stage, "REQUEST") },
  { name: "reserving consumer", count: 3, act: (stage) => consume(stage, "RESERVE") },
  { name: "killed program", count: 2, act: killProgram },
  { name: "reset", count: 2, act: reset },
  { name: "half line", count: 1, act: halfLine },
  { name: "malformed lines", count: 1, act: sendMalformed },
  { name: "flood", count: 1, act: flood },
  { name: "slow reader", count: 2, act: readSlowly },
  { name: "storm of connects", count: 1, act: storm },
];

async function produce({ server, model, random, signal }: Stage): Promise<void> {
  await using peer = await server.producer();
  let created = 0;
  for (let batches = 1 + random.below(20); batches > 0 && !signal.aborted; batches--) {
    while (model.readyTasks > maxReadyTasks && await sleep(20, signal)) { /* consumers work */ }
    const size = 1 + random.below(50);
    const lines = Array.from({ length: size }, () => newTask(random));
    created += size;
    await peer.offer(lines.join("") + "SYNC\n");
    const answer = await peer.receive();
    if (answer !== `OK ${created}`) model.fail(`SYNC after ${created} tasks got ${answer}`);
    await sleep(random.below(20), signal);
  }
}

/** Takes tasks, and in the end compares them with what the server says it handed out. */
async function consume(stage: Stage, verb: "REQUEST" | "RESERVE"): Promise<void> {
  const { server, model, random, signal } = stage;
  await using peer = await RawPeer.connect(server.consumerPort);
  const number = Number((await peer.receive())?.slice("Consumer".length));
  const got: string[] = [];
  let ends = "";
  for (let rounds = 1 + random.below(30); rounds > 0 && !signal.aborted; rounds--) {
    const depth = 1 + random.below(30);
    await peer.offer(ends + `${verb}\n`.repeat(depth));
    ends = "";
    for (let i = 0; i < depth; i++) {
      const [kind, task] = (await peer.receive())?.split(" ") ?? [];
      if (kind === "ASSIGN" && task !== undefined) {
        got.push(task);
        if (verb === "RESERVE") ends += `${random.chance(80) ? "COMPLETE" : "RELEASE"} ${task}\n`;
      } else if (kind !== "NOTASK") model.fail(`consumer${number} got ${kind} for ${verb}`);
    }
    await sleep(random.below(20), signal);
  }
  // What it holds comes back; all that it was handed must be on the server's console.
  peer.close();
  const isShown = () => (model.handedTo(number)?.length ?? 0) >= got.length;
  for (let waitedMs = 0; !isShown() && waitedMs < patienceMs; waitedMs += 20) await sleep(20);
  const handed = model.handedTo(number) ?? [];
  if (handed.join() !== got.join()) {
    model.fail(`consumer${number} got ${got.length} tasks, the server says ${handed.length}`);
  }
}

async function killProgram({ random, signal, startProgram }: Stage): Promise<void> {
  const kill = await startProgram(random.chance(50) ? "producer" : "consumer");
  await sleep(200 + random.below(5000), signal);
  await kill();
}

async function reset({ server, random, signal }: Stage): Promise<void> {
  const isConsumer = random.chance(70);
  const peer = await ResettingPeer.connect(portOf(server, isConsumer));
  if (isConsumer) await peer.send(random.chance(30) ? "RESERVE\n".repeat(3) : "REQUEST\n");
  else await peer.send(newTask(random) + newTask(random).slice(0, -3));
  await sleep(random.below(50), signal);
  await peer.reset();
  await sleep(random.below(200), signal);
}

async function halfLine({ server, random, signal }: Stage): Promise<void> {
  const isConsumer = random.chance(50);
  await using peer = await RawPeer.connect(portOf(server, isConsumer));
  await peer.offer(isConsumer ? "REQU" : `CREATE 1 ${unendedName}${random.next()} 1`);
  await sleep(random.below(500), signal);
}

async function sendMalformed({ server, random, signal }: Stage): Promise<void> {
  const isConsumer = random.chance(50);
  await using peer = await RawPeer.connect(portOf(server, isConsumer));
  const draw = () => isConsumer ? drawLine(random) : `${random.pick(malformed)}\n`;
  for (let lines = random.below(150); lines > 0 && await peer.offer(draw()); lines--);
  await sleep(random.below(300), signal);
}

async function flood({ server, random, signal }: Stage): Promise<void> {
  if (!await sleep(random.below(15_000), signal)) return;
  const order = { port: server.consumerPort, connections: 1 + random.below(8), line: "REQUEST" };
  using _flood = await Flood.start(order);
  await sleep(1000 + random.below(3000), signal);
}

async function readSlowly({ server, random, signal }: Stage): Promise<void> {
  using conn = await Deno.connect({ hostname: "127.0.0.1", port: server.consumerPort });
  await writeAll(conn, "REQUEST\n".repeat(1 + random.below(500)));
  for (let bytes = random.below(100); bytes > 0 && await sleep(50, signal); bytes--) {
    await conn.read(new Uint8Array(1));
  }
}

async function storm({ server, random, signal }: Stage): Promise<void> {
  const port = portOf(server, random.chance(50));
  for (const conn of await connectMany(port, 50 + random.below(200))) conn.close();
  await sleep(random.below(3000), signal);
}

function portOf(server: ServerProgram, isConsumer: boolean): number {
  return isConsumer ? server.consumerPort : server.producerPort;
}

function newTask(random: Random): string {
  return `CREATE ${1 + random.below(3)} task${++lastTask} 0.${random.below(10)}\n`;
}
