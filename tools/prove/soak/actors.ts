/**
 * The peers of a soak: honest ones that check every answer, and those that behave badly.
 *
 * Producers and reserving consumers are the client library's. The others stay on bare sockets: the
 * library neither says `REQUEST`, of which many are under way at once here, nor misbehaves.
 *
 * @module
 */

import { sleep } from "../../../lib/clock.ts";
import { formatNewTask } from "../../../lib/client/new_task.ts";
import { connectConsumer, connectProducer, type NewTask, type Task } from "../../../mod.ts";
import { patienceMs, within } from "../../../tests/lab/deadline.ts";
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
  { name: "honest consumer", count: 3, act: request },
  { name: "reserving consumer", count: 6, act: reserve },
  { name: "killed program", count: 2, act: killProgram },
  { name: "reset", count: 2, act: reset },
  { name: "half line", count: 1, act: halfLine },
  { name: "malformed lines", count: 1, act: sendMalformed },
  { name: "flood", count: 1, act: flood },
  { name: "slow reader", count: 2, act: readSlowly },
  { name: "storm of connects", count: 1, act: storm },
];

async function produce({ server, model, random, signal }: Stage): Promise<void> {
  await using producer = await connectProducer({ port: server.producerPort, retry: false });
  for (let batches = 1 + random.below(20); batches > 0 && !signal.aborted; batches--) {
    while (model.readyTasks > maxReadyTasks && await sleep(20, signal)) { /* consumers work */ }
    const tasks = Array.from({ length: 1 + random.below(50) }, () => newTask(random));
    await within(producer.createAll(tasks), "the confirmation of tasks");
    await sleep(random.below(20), signal);
  }
}

/** Requests tasks. */
async function request(stage: Stage): Promise<void> {
  const { server, model, random, signal } = stage;
  await using peer = await RawPeer.connect(server.consumerPort);
  const number = Number((await peer.receive())?.slice("Consumer".length));
  const got: string[] = [];
  for (let rounds = 1 + random.below(30); rounds > 0 && !signal.aborted; rounds--) {
    const depth = 1 + random.below(30);
    await peer.offer("REQUEST\n".repeat(depth));
    for (let i = 0; i < depth; i++) {
      const [kind, task] = (await peer.receive())?.split(" ") ?? [];
      if (kind === "ASSIGN" && task !== undefined) got.push(task);
      else if (kind !== "NOTASK") model.fail(`consumer${number} got ${kind} for REQUEST`);
    }
    await sleep(random.below(20), signal);
  }
  peer.close();
  await compare(model, number, got);
}

/** Reserves tasks, one at a time: so the library has one connection, and one number. */
async function reserve({ server, model, random, signal }: Stage): Promise<void> {
  await using consumer = await connectConsumer({
    ...{ port: server.consumerPort, retry: false },
    onDisconnect: (cause) => model.fail(`a consumer was disconnected: ${cause}`),
  });
  const got: string[] = [];
  for (let rounds = 1 + random.below(100); rounds > 0 && !signal.aborted; rounds--) {
    const task = await within(consumer.next({ waitMs: 0 }), "a task, or none");
    if (task === undefined) await sleep(random.below(20), signal);
    else {
      got.push(task.id);
      await within(endTask(task, random), `the end of ${task.id}`);
    }
  }
  await compare(model, consumer.number, got);
}

async function endTask(task: Task, random: Random): Promise<void> {
  const drawn = random.below(100);
  if (drawn < 10) await task.touch();
  if (drawn < 80) await task.complete();
  else if (drawn < 93) await task.release();
  else if (drawn < 98) await task.fail({ delay: random.below(4) / 10 });
  else await task.bury();
}

/** All that a consumer was handed, and nothing else, must be on the server's console. */
async function compare(model: EventModel, number: number, got: readonly string[]): Promise<void> {
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
  else {await peer.send(
      formatNewTask(newTask(random)) + formatNewTask(newTask(random)).slice(0, -3),
    );}
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

function newTask(random: Random): NewTask {
  const priority = random.pick([1, 2, 3] as const);
  return { id: `task${++lastTask}`, priority, duration: random.below(10) / 10 };
}
