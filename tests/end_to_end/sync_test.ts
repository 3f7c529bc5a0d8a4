/**
 * Confirming, with the programs as processes: what `producer --sync` says is true.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import {
  denoRun,
  ScratchFolder,
  startProducer,
  startServer,
  startStoreServer,
} from "../lab/processes.ts";
import { RawServer } from "../lab/peers.ts";

const synced = { args: ["--sync"] };

/** Lines of a task file, all due at once. */
function taskFile(count: number): string {
  return Array.from({ length: count }, (_, i) => `0 2 task${i + 1} 0.5\n`).join("");
}

Deno.test("producer --sync ends with 0 when all tasks are confirmed, and prints no more", async () => {
  await using folder = new ScratchFolder();
  const file = await folder.write("tasks.txt", taskFile(1200));
  await using server = await startServer(denoRun);
  await using producer = startProducer(denoRun, server.producerPort, file, synced);
  assertEquals(await producer.exitCode(), 0);
  assertEquals(producer.stderr.text, "");
  assertEquals(producer.stdout.texts.at(-1), "exit");
  assertEquals(producer.stdout.count(/^\[CREATE\] 2 task\d+ 0\.5$/), 1200);
});

for (const [confirmed, from] of [[0, 1], [2, 3]] as const) {
  Deno.test(`producer --sync ends with 1 where ${confirmed} of 3 tasks are confirmed`, async () => {
    await using folder = new ScratchFolder();
    const file = await folder.write("tasks.txt", taskFile(3));
    await using server = new RawServer();
    await using producer = startProducer(denoRun, server.port, file, synced);
    const peer = await server.accept();
    await peer.received.atLeast(4);
    assertEquals(peer.received.texts.at(-1), "SYNC");
    if (confirmed > 0) await peer.send(`OK ${confirmed}\n`);
    await peer.closeWrite();
    assertEquals(await producer.exitCode(), 1);
    assertEquals(producer.stderr.texts, [
      `the first ${confirmed} tasks are confirmed: send the rest with --from ${from}`,
    ]);
  });
}

Deno.test("producer --sync ends with exit and 130 at Ctrl+C while it waits for the last confirmation", async () => {
  await using folder = new ScratchFolder();
  const file = await folder.write("tasks.txt", taskFile(3));
  await using server = await startServer(denoRun, { args: ["--max-tasks", "2"] });
  await using producer = startProducer(denoRun, server.producerPort, file, synced);
  await server.stderr.line(/^the queue is full/);
  await producer.stdout.line(/task3/);
  assertEquals(await producer.stop(), 130);
  assertEquals(producer.stdout.texts.at(-1), "exit");
  assertEquals(producer.stderr.texts, [
    "the first 0 tasks are confirmed: send the rest with --from 1",
  ]);
});

Deno.test("producer --sync says at Ctrl+C how many tasks are confirmed", async () => {
  await using folder = new ScratchFolder();
  const file = await folder.write("tasks.txt", `${taskFile(4)}60 1 late 1\n`);
  await using server = await startServer(denoRun);
  await using producer = startProducer(denoRun, server.producerPort, file, synced);
  await server.stdout.line(/^\[CREATE\]/, { nth: 4 });
  await producer.stdout.line(/^\[CREATE\]/, { nth: 4 });
  // The answer was on its way before these lines were printed, one gathering time apart.
  await new Promise((resolve) => setTimeout(resolve, 300));
  assertEquals(await producer.stop("SIGINT"), 130);
  assertEquals(producer.stderr.texts, [
    "the first 4 tasks are confirmed: send the rest with --from 5",
    "interrupted: 4 tasks were sent, the first left out is late",
  ]);
});

Deno.test("after kill -9 of the server, --from N sends the rest: none lost, none confirmed twice", async () => {
  await using folder = new ScratchFolder();
  const count = 30_000;
  // A second between the first tasks and the others: answers that are under way when the server is
  // killed may be lost, and so that some are not the producer has time to read them.
  const early = 2000;
  const tasks = taskFile(count).trimEnd().split("\n").map((task, i) =>
    i < early ? task : task.replace(/^\S+/, "1")
  );
  const file = await folder.write("tasks.txt", tasks.join("\n") + "\n");
  const store = `${folder.path}/tasks.db`;
  let from = "";
  {
    await using server = await startStoreServer(store);
    await using producer = startProducer(denoRun, server.producerPort, file, synced);
    await server.stdout.line(/^\[CREATE\]/, { nth: early + 1000 });
    await server.crash();
    assertEquals(await producer.exitCode(), 1);
    const said = producer.stderr.texts.at(-1) as string;
    from = /^the first (\d+) tasks are confirmed: send the rest with --from (\d+)$/.exec(said)
      ?.[2] as string;
    assert(Number(from) > early && Number(from) <= count, said);
  }
  await using server = await startStoreServer(store, { args: ["--quiet"] });
  await using producer = startProducer(denoRun, server.producerPort, file, {
    args: ["--sync", "--from", from],
  });
  assertEquals(await producer.exitCode(), 0);

  const times = new Map<string, number>();
  for (const name of await server.drain()) times.set(name, (times.get(name) ?? 0) + 1);
  const expected = Array.from({ length: count }, (_, i) => `task${i + 1}`);
  assertEquals(new Set(times.keys()), new Set(expected));
  const twice = expected.slice(0, Number(from) - 1).filter((name) => times.get(name) !== 1);
  assertEquals(twice, []);
});
