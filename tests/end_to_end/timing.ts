/**
 * Times that console.md promises, measured on one clock: that of the test, which plays the peer.
 *
 * Too early is never excused. How late something may be is checked on the median of several, for
 * one late turn of a busy machine is not the program's.
 *
 * @module
 */

import { assertEquals, assertGreaterOrEqual, assertLess, assertLessOrEqual } from "@std/assert";
import {
  type Launcher,
  ScratchFolder,
  startConsumer,
  startProducer,
  startServer,
} from "../lab/processes.ts";
import { RawServer } from "../lab/peers.ts";
import { test } from "./register.ts";

/** How late console.md allows things to be, in milliseconds. */
const maxLateMs = 50;

/** How late the test may note an event that the program waits from, in milliseconds. */
const noteSlackMs = 10;

/** How much later the second half of a run may be than the first, in milliseconds. */
const maxDriftMs = 10;

test("a producer sends at the timestamps 0.0 0.25 0.5, not early, not 50 ms late, no drift", async (launcher) => {
  const timestamps = [0, 0.125, 0.25, 0.251, 0.375, 0.5, 0.625, 0.75, 0.875, 1];
  await using folder = new ScratchFolder();
  const tasks = timestamps.map((timestamp, i) => `${timestamp.toFixed(3)} 1 task${i} 1\n`);
  const file = await folder.write("tasks.txt", tasks.join(""));
  const runs: number[][] = [];
  while (runs.length < 3) runs.push(await lateness(launcher, file, timestamps));

  const all = `late by ${runs.map((run) => run.map(Math.round)).join("; ")} ms`;
  // Late is measured from when the connection was noted, and that may be late itself: what is
  // early in each run is the producer's doing.
  const earliest = runs.map((run) => Math.min(...run));
  assertGreaterOrEqual(Math.max(...earliest), -noteSlackMs, all);
  assertLessOrEqual(median(runs.map(median)), maxLateMs, all);
  // No drift: the later half is not later than the earlier one, and not earlier.
  const drifts = runs.map((run) => median(run.slice(5)) - median(run.slice(0, 5)));
  assertLess(Math.abs(median(drifts)), maxDriftMs, all);
});

/** Runs a producer once; returns how many milliseconds after its timestamp each task came. */
async function lateness(
  launcher: Launcher,
  file: string,
  timestamps: readonly number[],
): Promise<number[]> {
  await using server = new RawServer();
  await using producer = startProducer(launcher, server.port, file);
  const peer = await server.accept();
  const startMs = performance.now();
  await peer.toEnd();
  peer.close();
  assertEquals(await producer.exitCode(), 0);
  assertEquals(peer.received.lines.length, timestamps.length);
  return peer.received.lines.map(({ atMs }, i) =>
    atMs - startMs - (timestamps[i] as number) * 1000
  );
}

test("a consumer works for the duration, then asks at once; after NOTASK it waits a second", async (launcher) => {
  await using server = new RawServer();
  await using consumer = startConsumer(launcher, server.port);
  const peer = await server.accept();
  await peer.send("Consumer1\n");
  assertEquals(await peer.received.next(), "REQUEST");
  const turn = async () => {
    const lateMs: number[] = [];
    for (
      const [answer, seconds] of [
        ["ASSIGN a 0.2", 0.2],
        ["ASSIGN b 0", 0],
        ["NOTASK", 1],
        ["ASSIGN c 0.350", 0.35],
        ["ASSIGN d 0.0", 0],
        ["NOTASK", 1],
        ["ASSIGN e 000000000.1", 0.1],
      ] as const
    ) {
      const answeredMs = performance.now();
      assertEquals(await peer.ask(answer), "REQUEST");
      lateMs.push((peer.received.lines.at(-1)?.atMs as number) - answeredMs - seconds * 1000);
    }
    assertGreaterOrEqual(Math.min(...lateMs), 0, `late by ${lateMs}`);
    return lateMs;
  };
  // A busy machine makes all of a turn late, but not each of three turns.
  const turns: number[][] = [];
  do turns.push(await turn()); while (
    turns.length < 3 && median(turns.at(-1) as number[]) > maxLateMs
  );
  const best = Math.min(...turns.map(median));
  assertLessOrEqual(best, maxLateMs, `late by ${turns.join("; ")}`);
  assertEquals(await consumer.stop(), 0);
});

test("a duration or timestamp of 3000000 seconds does not end at once", async (launcher) => {
  await using folder = new ScratchFolder();
  const file = await folder.write("tasks.txt", "0 1 endless 3000000\n3000000 1 never 1\n");
  await using server = await startServer(launcher);
  await using patient = startConsumer(launcher, server.consumerPort);
  await using producer = startProducer(launcher, server.producerPort, file);
  await server.stdout.line(/^\[ASSIGN\] endless - consumer1$/);

  // Meanwhile another consumer asks, finds nothing, asks again, and does a whole other task.
  await using other = startConsumer(launcher, server.consumerPort);
  await other.stdout.line(/^NOTASK$/);
  await using peer = await server.producer();
  await peer.send("CREATE 1 quick 0.1\n");
  await other.stdout.line(/^\[COMPLETE\] quick$/);
  await other.stdout.line(/^NOTASK$/, { nth: 2 });

  assertEquals(patient.stdout.count(/^\[COMPLETE\]/), 0);
  assertEquals(patient.stdout.texts.at(-1), "[REQUEST]");
  assertEquals(producer.stdout.texts, ["[CREATE] 1 endless 3000000"]);
  // Ctrl+C wakes them from it.
  assertEquals(await patient.stop(), 0);
  assertEquals(await producer.stop(), 130);
});

test("a line is in the pipe 50 ms after its event", async (launcher) => {
  await using server = await startServer(launcher);
  await using consumer = await server.consumer(1);
  await using producer = await server.producer();
  const lateMs: number[] = [];
  for (let task = 0; task < 21; task++) {
    assertEquals(await producer.ask(`CREATE 1 task${task} 1\nSYNC`), `OK ${task + 1}`);
    assertEquals(await consumer.ask("REQUEST"), `ASSIGN task${task} 1`);
    const answeredMs = consumer.received.lines.at(-1)?.atMs as number;
    const { atMs } = await server.stdout.line(new RegExp(`^\\[ASSIGN\\] task${task} - consumer1$`));
    lateMs.push(atMs - answeredMs);
  }
  assertLessOrEqual(median(lateMs), maxLateMs, `late by ${lateMs}`);
});

function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] as number;
}
