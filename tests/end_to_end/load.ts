/**
 * Many tasks, many peers: each task once, and in order. The consumers are on bare sockets, with up
 * to 100 `REQUEST`s under way, which the client library does not send.
 *
 * @module
 */

import { assertEquals, assertGreater, assertLess } from "@std/assert";
import { allOf } from "../lab/deadline.ts";
import { EventModel } from "../lab/judges/event_model.ts";
import { Random } from "../lab/random.ts";
import { testSeed } from "../lab/seed.ts";
import { ScratchFolder, startProducer, startServer } from "../lab/processes.ts";
import { test } from "./register.ts";
import { RawPeer } from "../lab/peers.ts";

test("100,000 tasks of 4 producers reach 8 consumers, each once and in order", async (launcher) => {
  const tasksPerProducer = 25_000;
  await using folder = new ScratchFolder();
  const files = await writeTaskFiles(folder, { producers: 4, tasksPerProducer });
  await using server = await startServer(launcher);
  await using stack = new AsyncDisposableStack();

  // Half of them ask for one task at a time, half have up to 50 requests under way.
  const consumers: TestConsumer[] = [];
  for (let number = 1; number <= 8; number++) {
    consumers.push(
      stack.use(await TestConsumer.connect(server.consumerPort, number % 2 === 0 ? 50 : 1)),
    );
  }
  const total = 4 * tasksPerProducer;
  let received = 0;
  const consuming = consumers.map((consumer) =>
    consumer.consumeUntil((added) => (received += added) >= total)
  );
  const producers = files.map(({ path }) =>
    stack.use(startProducer(launcher, server.producerPort, path))
  );
  for (const [index, producer] of producers.entries()) {
    assertEquals(await producer.exitCode(60_000), 0, producer.stderr.text);
    // Lines of one batch are sent and printed in the file's order: all priorities mixed.
    assertEquals(producer.stdout.texts, [...files[index]?.created ?? [], "exit"]);
  }
  await Promise.all(consuming);
  for (const consumer of consumers) consumer.close();
  await server.stdout.line(/^\[0 consumers online\]$/);
  assertEquals(await server.stop(), 0);
  assertEquals(server.stderr.lines.length, 1, server.stderr.text);

  const model = new EventModel();
  const lines = server.stdout.texts;
  for (const line of lines) model.take(line);
  assertEquals(model.faults, []);
  assertEquals(model.counts.created, total);
  for (const { name, created } of files) {
    const own = new RegExp(`^\\[CREATE\\] \\d ${name}-`);
    assertEquals(lines.filter((line) => own.test(line)), created);
  }
  for (const consumer of consumers) {
    assertEquals(consumer.tasks, model.handedTo(consumer.number) ?? []);
  }
  const all = consumers.flatMap((consumer) => consumer.tasks);
  assertEquals([all.length, new Set(all).size], [total, total]);
  // Every consumer got a share, and they worked while the producers sent.
  for (const consumer of consumers) assertGreater(consumer.tasks.length, 0);
  const firstAssigned = lines.findIndex((line) => line.startsWith("[ASSIGN]"));
  assertLess(firstAssigned, lines.findLastIndex((line) => line.startsWith("[CREATE]")));
});

test("a queue that is full of tasks is handed out strictly in order", async (launcher) => {
  const tasksPerProducer = 2_500;
  const producers = 4;
  await using folder = new ScratchFolder();
  const files = await writeTaskFiles(folder, { producers, tasksPerProducer });
  await using server = await startServer(launcher);
  await allOf(files.map(async ({ path }) => {
    await using producer = startProducer(launcher, server.producerPort, path);
    assertEquals(await producer.exitCode(), 0, producer.stderr.text);
  }));
  await server.stdout.line(/^\[CREATE\]/, { nth: producers * tasksPerProducer });
  const created = server.stdout.texts.map((line) => line.split(" ") as [string, string, string]);
  const byOrder = created.map(([, priority, taskId], arrival) => ({ priority, taskId, arrival }))
    .sort((a, b) => Number(a.priority) - Number(b.priority) || a.arrival - b.arrival);

  await using consumer = await TestConsumer.connect(server.consumerPort, 100);
  await consumer.consumeUntil(() => consumer.tasks.length >= byOrder.length);
  assertEquals(consumer.tasks, byOrder.map(({ taskId }) => taskId));
});

test("10,000 tasks at 0.0 are all in the queue when the producer ends", async (launcher) => {
  const total = 10_000;
  await using folder = new ScratchFolder();
  const [file] = await writeTaskFiles(folder, { producers: 1, tasksPerProducer: total });
  await using server = await startServer(launcher);
  await using consumer = await TestConsumer.connect(server.consumerPort, 1);
  await using producer = startProducer(launcher, server.producerPort, file?.path as string);
  assertEquals(await producer.exitCode(), 0, producer.stderr.text);

  // Asked for at once, without a NOTASK between.
  const answers = await consumer.request(total + 1);
  assertEquals(answers.findIndex((answer) => answer === "NOTASK"), total);
  assertEquals(new Set(answers).size, total + 1);
});

test("a producer does not end while the server has not taken all", async (launcher) => {
  const total = 10_000;
  await using folder = new ScratchFolder();
  const [file] = await writeTaskFiles(folder, { producers: 1, tasksPerProducer: total });
  await using server = await startServer(launcher, { args: ["--max-tasks", "4000"] });
  await using producer = startProducer(launcher, server.producerPort, file?.path as string);
  await producer.stderr.line(/^all tasks are sent: waiting for the server to close$/);
  assertEquals(server.stdout.count(/^\[CREATE\]/), 4000);
  assertEquals(producer.isRunning, true);
  assertEquals(producer.stdout.texts.at(-1), file?.created.at(-1));

  await using consumer = await TestConsumer.connect(server.consumerPort, 100);
  await consumer.consumeUntil(() => consumer.tasks.length >= total);
  assertEquals(await producer.exitCode(), 0);
  assertEquals(producer.stdout.texts, [...file?.created ?? [], "exit"]);
  assertEquals(new Set(consumer.tasks).size, total);
});

/** A consumer that does no work, and notes what it gets. */
class TestConsumer implements AsyncDisposable {
  /** Its number. */
  number = 0;
  /** The tasks that it got, in order. */
  readonly tasks: string[] = [];

  readonly #peer: RawPeer;
  readonly #requestsAtOnce: number;

  private constructor(peer: RawPeer, requestsAtOnce: number) {
    this.#peer = peer;
    this.#requestsAtOnce = requestsAtOnce;
  }

  /** Connects and is greeted. */
  static async connect(port: number, requestsAtOnce: number): Promise<TestConsumer> {
    const consumer = new TestConsumer(await RawPeer.connect(port), requestsAtOnce);
    consumer.number = Number((await consumer.#peer.received.next()).replace("Consumer", ""));
    return consumer;
  }

  /** Sends this many requests in one piece and returns the answers. */
  async request(count: number): Promise<string[]> {
    await this.#peer.send("REQUEST\n".repeat(count));
    const answers: string[] = [];
    while (answers.length < count) answers.push(await this.#peer.received.next());
    return answers;
  }

  /** Asks and asks again until all is done, which is told how many tasks came with each answer. */
  async consumeUntil(isDone: (added: number) => boolean): Promise<void> {
    while (!isDone(0)) {
      const assigned = (await this.request(this.#requestsAtOnce)).filter((a) => a !== "NOTASK");
      this.tasks.push(...assigned.map((answer) => answer.split(" ")[1] as string));
      isDone(assigned.length);
    }
  }

  /** Closes the connection. */
  close(): void {
    this.#peer.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#peer[Symbol.asyncDispose]();
  }
}

/** A task file of random priorities, and the lines that its producer must print. */
interface RandomFile {
  readonly name: string;
  readonly path: string;
  readonly created: readonly string[];
}

async function writeTaskFiles(
  folder: ScratchFolder,
  counts: { readonly producers: number; readonly tasksPerProducer: number },
): Promise<RandomFile[]> {
  console.log(`seed ${testSeed}`);
  const random = new Random(testSeed);
  const files: RandomFile[] = [];
  for (let producer = 0; producer < counts.producers; producer++) {
    const name = `p${producer}`;
    const tasks = Array.from(
      { length: counts.tasksPerProducer },
      (_, task) => `${1 + random.below(3)} ${name}-${task} 0`,
    );
    const path = await folder.write(`${name}.txt`, tasks.map((task) => `0.0 ${task}\n`).join(""));
    files.push({ name, path, created: tasks.map((task) => `[CREATE] ${task}`) });
  }
  return files;
}
