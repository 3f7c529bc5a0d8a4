import { assert, assertEquals, assertGreater, assertLess, assertMatch } from "@std/assert";
import { ensureExecutables } from "../../tools/build/compile.ts";
import {
  comeAndGo,
  connectMany,
  Flood,
  floods,
  hardFileLimit,
  idleConnections,
  limited,
  longLines,
  openFiles,
  slowPeers,
  until,
  untilIdle,
} from "../lab/load/scenarios.ts";
import { denoRun, executables, type Launcher, startServer } from "../lab/processes.ts";
import { RawPeer } from "../lab/peers.ts";

const mb = 1_000_000;
const mib = 2 ** 20;

/** Descriptors of 10,000 connections, and what the programs need besides. */
const manyFiles = 10_200;
const canHaveManyFiles = await hardFileLimit() >= manyFiles;

Deno.test("A line of 1 GiB and 20 of 100 MB at once take at most 100 MB, and one ERROR each", async () => {
  const { rss, answers } = await longLines(denoRun);
  assertEquals(answers.length, 21);
  const [answer] = answers;
  assertEquals(answer, "ERROR line must have at most 1024 bytes with its LF\nOK 0\n");
  assertEquals(new Set(answers).size, 1);
  assertLess(rss, 100 * mb);
});

Deno.test("Of 1,000,000 REQUESTs whose replies are not read, what the kernel did not take comes back", async () => {
  const count = 500_000;
  await using server = await startServer(denoRun);
  await using producer = await RawPeer.connect(server.producerPort);
  const tasks = Array.from({ length: count }, (_, index) => `CREATE 2 task${index} 1\n`);
  assertEquals(await producer.ask(tasks.join("") + "SYNC"), `OK ${count}`);
  const order = { port: server.consumerPort, connections: 1, line: "REQUEST", lines: 1_000_000 };
  const flood = await Flood.start(order);
  await server.stdout.line(/^\[ASSIGN\]/);
  await untilIdle(server);
  const assigned = server.stdout.count(/^\[ASSIGN\] task\d+ - consumer1$/);
  assertLess(assigned, count, "the kernel takes all: no reply ever waited");

  await using polite = await RawPeer.connect(server.consumerPort);
  await polite.received.next();
  assertEquals(await polite.ask("REQUEST"), `ASSIGN task${assigned} 1`);
  flood[Symbol.dispose]();
  await server.stdout.line(/^\[Consumer 1 disconnected\]$/);
  await untilIdle(server);
  const back = server.stdout.texts.filter((line) => line.startsWith("[REQUEUE]"))
    .map((line) => Number(/task(\d+)/.exec(line)?.[1]));
  assertGreater(back.length, 0);
  // What waits is at most 64 KiB and one turn's replies.
  const waitingChars = back.reduce((sum, task) => sum + `ASSIGN task${task} 1\n`.length, 0);
  assertLess(waitingChars, 64 * 1024 + 512 * "ASSIGN task100000 1\n".length);
  assertEquals(
    back.sort((a, b) => a - b),
    Array.from(back, (_, index) => assigned - back.length + index),
  );
  for (const task of [...back, assigned + 1]) {
    assertEquals(await polite.ask("REQUEST"), `ASSIGN task${task} 1`);
  }
});

Deno.test("100 floods for a minute take at most 150 MiB, and a polite client's p99 stays below 50 ms", async () => {
  const { rss, polite } = await floods(denoRun, { connections: 100, seconds: 60 });
  assertLess(rss, 150 * mib);
  assertGreater(polite.count, 1000);
  assertLess(polite.p99Ms, 50);
});

Deno.test("1,000 peers that send or read a byte a second cost a polite client's p99 at most 10 ms", async () => {
  const { rss, polite } = await slowPeers(denoRun, { connections: 1000, seconds: 10 });
  assertLess(polite.p99Ms, 10);
  assertLess(rss, 150 * mib);
});

Deno.test({
  name: "10,000 idle connections take at most 200 MB, and one that asks is served",
  ignore: !canHaveManyFiles,
  fn: async () => {
    const { rss, answer } = await idleConnections(denoRun, 10_000);
    assertEquals(answer, "NOTASK");
    assertLess(rss, 200 * mb);
  },
});

Deno.test("After 100,000 connects and disconnects descriptors and memory are where they were", async () => {
  const { rss, files } = await comeAndGo(denoRun, 100_000);
  assertEquals(files[1], files[0]);
  assertLess(rss[1] - rss[0], 15 * mb);
});

await registerExecutableTests();

async function registerExecutableTests(): Promise<void> {
  const made = await ensureExecutables();
  const ignored = "missing" in made
    ? made.missing.replaceAll(/\s+/g, " ")
    : canHaveManyFiles
    ? undefined
    : `the hard limit of open files is below ${manyFiles}`;
  const test = (name: string, run: (launcher: Launcher) => Promise<void>) =>
    Deno.test({
      name: ignored === undefined ? name : `${name} (ignored: ${ignored})`,
      ignore: ignored !== undefined,
      fn: async () => {
        if ("missing" in made) return;
        const emptyFolder = await Deno.makeTempDir();
        await run(executables(made.dir, emptyFolder));
        await Deno.remove(emptyFolder);
      },
    });

  test("executable: at ulimit -n 1024 it serves about 1,000 connections, says once what is wrong, and recovers", async (launcher) => {
    await using server = await startServer(limited(launcher, 1024));
    await using served = await RawPeer.connect(server.consumerPort);
    await served.received.next();
    const conns = await connectMany(server.producerPort, 1500);
    await server.stderr.line(/^out of file descriptors: raise ulimit -n$/);
    assertGreater(openFiles(server.pid), 1000);
    assertEquals(await served.ask("REQUEST"), "NOTASK");
    for (const conn of conns) conn.close();
    await until(() => openFiles(server.pid) < 100, "the server to close all");
    await using after = await RawPeer.connect(server.producerPort);
    assertEquals(await after.ask("SYNC"), "OK 0");
    assertEquals(server.stderr.count(/./), 2, server.stderr.text);
  });

  test("executable: at a raised ulimit -n it serves 10,000 connections, and refuses the next", async (launcher) => {
    await using server = await startServer(limited(launcher, manyFiles));
    // A tenth is kept for consumers.
    const conns = [
      ...await connectMany(server.producerPort, 9000),
      ...await connectMany(server.consumerPort, 999),
    ];
    try {
      await using last = await RawPeer.connect(server.consumerPort);
      assertMatch(await last.received.next(), /^Consumer1000$/);
      assertEquals(await last.ask("REQUEST"), "NOTASK");
      await using refused = await RawPeer.connect(server.consumerPort);
      assertEquals(await refused.toEnd(), "ERROR too many connections\n");
      assert(server.stderr.count(/descriptors/) === 0, server.stderr.text);
    } finally {
      for (const conn of conns) conn.close();
    }
  });
}
