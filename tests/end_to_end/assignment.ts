/**
 * The assignment's own run: its order of starting, its task file, its lines.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { allOf, pause } from "../lab/deadline.ts";
import {
  type Launcher,
  type Program,
  startConsumer,
  startProducer,
  startServer,
} from "../lab/processes.ts";
import { test } from "./register.ts";

const taskFile = new URL("../../examples/tasks.txt", import.meta.url).pathname;

/** The lines that create the eight tasks, on the server's and on the producer's stdout. */
const created = [
  "[CREATE] 3 task1 3.0",
  "[CREATE] 3 task2 3.0",
  "[CREATE] 3 task3 3.0",
  "[CREATE] 3 task4 3.0",
  "[CREATE] 1 task5 3.0",
  "[CREATE] 2 task6 3.0",
  "[CREATE] 2 task7 3.0",
  "[CREATE] 1 task8 3.0",
];

// Both at once, because each takes as long as the tasks say: 24 and 12 seconds.
test("the assignment's run prints its lines to the letter, with one consumer and with two", async (launcher) => {
  await allOf([runWithOneConsumer(launcher), runWithTwoConsumers(launcher)]);
});

async function runWithOneConsumer(launcher: Launcher): Promise<void> {
  await using server = await startServer(launcher);
  await using consumer = startConsumer(launcher, server.consumerPort);
  await consumer.stdout.line(/^NOTASK$/);
  await pause(400);
  const pollsBefore = consumer.stdout.count(/^NOTASK$/);
  await using producer = startProducer(launcher, server.producerPort, taskFile);

  assertEquals(await producer.exitCode(), 0);
  assertEquals(producer.stdout.text, created.join("\n") + "\nexit\n");
  assertEquals(producer.stderr.text, "");

  await consumer.stdout.line(/^\[COMPLETE\] task4$/, { ms: 60_000 });
  await consumer.stdout.line(/^NOTASK$/, { nth: pollsBefore + 2 });
  assertEquals(await consumer.stop(), 0);
  assertConsumerLines(consumer, 1, [1, 5, 8, 6, 7, 2, 3, 4]);

  await server.stdout.line(/^\[0 consumers online\]$/);
  assertEquals(await server.stop(), 0);
  assertEquals(
    server.stdout.texts,
    [
      "[Consumer1 connected]",
      "[1 consumers online]",
      ...created.slice(0, 4),
      "[ASSIGN] task1 - consumer1",
      ...created.slice(4, 5), // at 2 s; task1 is worked on until after 3 s
      "[ASSIGN] task5 - consumer1",
      ...created.slice(5), // at 4 s and 6 s; task5 is worked on until after 6 s
      ...[8, 6, 7, 2, 3, 4].map((task) => `[ASSIGN] task${task} - consumer1`),
      "[Consumer 1 disconnected]",
      "[0 consumers online]",
      "exit",
    ],
  );
}

async function runWithTwoConsumers(launcher: Launcher): Promise<void> {
  await using server = await startServer(launcher);
  // Through stdin, so that time 0 is ours to choose, whatever a start takes.
  await using producer = startProducer(launcher, server.producerPort, "-", { stdin: "piped" });
  await using first = startConsumer(launcher, server.consumerPort);
  await first.stdout.line(/^NOTASK$/);
  await pause(250);
  await using second = startConsumer(launcher, server.consumerPort);
  await second.stdout.line(/^NOTASK$/);
  await pauseUntilPollsAreFar(first, second);
  await producer.type(await Deno.readTextFile(taskFile));
  await producer.closeStdin();

  assertEquals(await producer.exitCode(), 0);
  assertEquals(producer.stdout.text, created.join("\n") + "\nexit\n");
  const last = /^\[COMPLETE\] task[47]$/;
  await allOf([first.stdout.line(last), second.stdout.line(last)]);
  assertEquals(await first.stop(), 0);
  await server.stdout.line(/^\[1 consumers online\]$/, { nth: 2 });
  assertEquals(await second.stop(), 0);
  await server.stdout.line(/^\[0 consumers online\]$/);
  assertEquals(await server.stop(), 0);

  const firstGotTask1 = first.stdout.count(/^\[COMPLETE\] task1$/) === 1;
  assertConsumerLines(first, 1, firstGotTask1 ? [1, 5, 8, 7] : [2, 3, 6, 4]);
  assertConsumerLines(second, 2, firstGotTask1 ? [2, 3, 6, 4] : [1, 5, 8, 7]);
  const [a, b] = firstGotTask1 ? [1, 2] : [2, 1];
  const assigned = (task: number, consumer: number) => `[ASSIGN] task${task} - consumer${consumer}`;
  assertEquals(
    server.stdout.texts,
    [
      "[Consumer1 connected]",
      "[1 consumers online]",
      "[Consumer2 connected]",
      "[2 consumers online]",
      ...created.slice(0, 4),
      assigned(1, a),
      assigned(2, b),
      ...created.slice(4, 5),
      assigned(5, a),
      assigned(3, b),
      ...created.slice(5),
      assigned(8, a),
      assigned(6, b),
      assigned(7, a),
      assigned(4, b),
      "[Consumer 1 disconnected]",
      "[1 consumers online]",
      "[Consumer 2 disconnected]",
      "[0 consumers online]",
      "exit",
    ],
  );
}

/**
 * Waits for the middle of the longer gap between the two consumers' polls, which come every second.
 *
 * The order of the assignment holds where both ask 0.1 to 0.9 s after the first tasks.
 */
async function pauseUntilPollsAreFar(first: Program, second: Program): Promise<void> {
  const now = performance.now();
  const untilPollMs = (consumer: Program) => {
    const last = consumer.stdout.lines.findLast(({ text }) => text === "NOTASK");
    return 1000 - (now - (last?.atMs as number)) % 1000;
  };
  const [sooner, later] = [first, second].map(untilPollMs).sort((a, b) => a - b) as [
    number,
    number,
  ];
  const gap = later - sooner;
  const middle = gap > 500 ? sooner + gap / 2 : later + (1000 - gap) / 2;
  await pause(middle % 1000);
}

/** Checks that a consumer printed the assignment's kinds of line, and these tasks in this order. */
function assertConsumerLines(consumer: Program, number: number, tasks: readonly number[]): void {
  const lines = consumer.stdout.texts;
  assertEquals(lines[0], `Consumer${number} connected`);
  assertEquals(lines.at(-1), "exit");
  const turns = lines.slice(1, -1);
  assertEquals(
    turns.filter((line) => line !== "[REQUEST]" && line !== "NOTASK"),
    tasks.map((task) => `[COMPLETE] task${task}`),
  );
  // Each answer follows its own request.
  for (const [index, line] of turns.entries()) {
    assertEquals(line === "[REQUEST]", index % 2 === 0, `line ${index + 2}: ${line}`);
  }
  assertEquals(consumer.stderr.text, "");
}
