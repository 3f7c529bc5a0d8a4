import { assertEquals, assertGreater, assertLess, assertLessOrEqual } from "@std/assert";
import { noOpenssl } from "../../lab/certificates.ts";
import {
  comeAndGo,
  Flood,
  floods,
  hardFileLimit,
  idleConnections,
  longLines,
  manyFiles,
  slowPeers,
  strangers,
  untilIdle,
} from "../../lab/load/scenarios.ts";
import { denoRun, denoRunWithFiles, startServer } from "../../lab/processes.ts";
import { testUnless } from "../../test_unless.ts";

const mb = 1_000_000;
const mib = 2 ** 20;

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
  await using producer = await server.producer();
  const tasks = Array.from({ length: count }, (_, index) => `CREATE 2 task${index} 1\n`);
  assertEquals(await producer.ask(tasks.join("") + "SYNC"), `OK ${count}`);
  const order = { port: server.consumerPort, connections: 1, line: "REQUEST", lines: 1_000_000 };
  const flood = await Flood.start(order);
  await server.stdout.line(/^\[ASSIGN\]/);
  await untilIdle(server);
  const assigned = server.stdout.count(/^\[ASSIGN\] task\d+ - consumer1$/);
  assertLess(assigned, count, "the kernel takes all: no reply ever waited");

  await using polite = await server.consumer();
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

testUnless(
  await hardFileLimit() < manyFiles ? `ulimit -Hn is below ${manyFiles}` : undefined,
  "10,000 idle connections take at most 200 MB, and one that asks is served",
  async () => {
    const { rss, answer } = await idleConnections(denoRun, 10_000);
    assertEquals(answer, "NOTASK");
    assertLess(rss, 200 * mb);
  },
);

Deno.test("After 100,000 connects and disconnects descriptors and memory are where they were", async () => {
  const { rss, files } = await comeAndGo(denoRun, 100_000);
  assertLessOrEqual(files[1], files[0]);
  assertLess(rss[1] - rss[0], 15 * mb);
});

for (
  const [kind, connections, what] of [
    ["handshakes", 1000, "1,000 handshakes that are never finished"],
    ["silence", 1000, "1,000 connections that never say the token"],
    ["guesses", 20_000, "20,000 guesses of the token"],
  ] as const
) {
  testUnless(
    kind === "handshakes" ? noOpenssl : undefined,
    `Beside ${what} others wait for less than 0.2 s, and all descriptors come back`,
    async () => {
      const { polite, rss, files } = await strangers(denoRunWithFiles, { kind, connections });
      assertLess(polite.p99Ms, 200);
      assertGreater(polite.count, 100);
      assertLess(rss, 150 * mb);
      assertLessOrEqual(files[1], files[0]);
    },
  );
}
