/**
 * Leases with real time: the shortest is 10 s.
 *
 * @module
 */

import { assertEquals, assertLess } from "@std/assert";
import { pause } from "../lab/deadline.ts";
import { denoRun, startConsumer, startServer } from "../lab/processes.ts";

Deno.test("a consumer that stands still loses its task at the lease's end, 2 × duration + 10 s", async () => {
  await using server = await startServer(denoRun);
  await using producer = await server.producer();
  await producer.send("CREATE 1 a 0.5\nCREATE 1 b 0.5\n");
  // The lease cannot begin sooner; when it does, a busy test may be late to see.
  const earliestMs = performance.now();
  await using consumer = startConsumer(denoRun, server.consumerPort, { args: ["--reserve"] });
  const { atMs: assignedMs } = await server.stdout.line(/^\[ASSIGN\] a - consumer1$/);
  consumer.kill("SIGSTOP");
  const { atMs } = await server.stdout.line(/^\[REQUEUE\] a - consumer1$/, { ms: 20_000 });
  // The look at the leases comes every 200 ms; lines may be 50 ms late.
  assertLess(10_999, atMs - earliestMs);
  assertLess(atMs - assignedMs, 12_000);

  await using other = await server.consumer();
  assertEquals(await other.ask("RESERVE"), "ASSIGN a 0.5");
  consumer.kill("SIGCONT");
  // Its completion comes too late; that is said, and it goes on with the next task.
  await consumer.stderr.line(/^the server says: ERROR this consumer does not hold task "a"$/);
  await server.stdout.line(/^\[COMPLETE\] b - consumer1$/);
  assertEquals(server.stdout.count(/^\[COMPLETE\] a /), 0);
});

Deno.test("a COMPLETE that waited while the server stood still over the lease's end counts", async () => {
  await using server = await startServer(denoRun);
  await using producer = await server.producer();
  await producer.send("CREATE 1 a 0\n");
  assertEquals(await producer.ask("SYNC"), "OK 1");
  await using consumer = await server.consumer();
  assertEquals(await consumer.ask("RESERVE"), "ASSIGN a 0");
  await pause(7000);
  server.kill("SIGSTOP");
  await pause(1000);
  await consumer.send("COMPLETE a\n");
  await pause(5000);
  server.kill("SIGCONT");
  await server.stdout.line(/^\[COMPLETE\] a - consumer1$/);
  // Some looks at the leases later it is still gone.
  await pause(1000);
  assertEquals(await consumer.ask("RESERVE"), "NOTASK");
  assertEquals(server.stdout.count(/^\[REQUEUE\]/), 0);
});
