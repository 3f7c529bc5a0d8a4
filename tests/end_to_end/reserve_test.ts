/**
 * Reserving, with the programs as processes: whatever becomes of a consumer, its task is not lost.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { Random } from "../lab/random.ts";
import { testSeed } from "../lab/seed.ts";
import { pause } from "../lab/deadline.ts";
import {
  denoRun,
  type Program,
  type ServerProgram,
  startConsumer,
  startServer,
} from "../lab/processes.ts";
import { EventModel } from "../lab/judges/event_model.ts";

/** Starts a server that has some tasks; each is `<priority> <task_id> <duration>`. */
async function serverWith(...tasks: string[]): Promise<ServerProgram> {
  const server = await startServer(denoRun);
  await using producer = await server.producer();
  await producer.send(tasks.map((task) => `CREATE ${task}\n`).join(""));
  assertEquals(await producer.ask("SYNC"), `OK ${tasks.length}`);
  return server;
}

const reserving = { args: ["--reserve"] };

Deno.test("consumer --reserve prints what a consumer without it prints", async () => {
  const printed: string[] = [];
  for (const options of [{}, reserving]) {
    await using server = await serverWith("1 a 0.1", "3 b 0", "2 c 0.05");
    await using consumer = startConsumer(denoRun, server.consumerPort, options);
    await consumer.stdout.line(/^NOTASK$/);
    assertEquals(await consumer.stop(), 0);
    printed.push(consumer.stdout.text);
  }
  assertEquals(printed[1], printed[0]);
  assert(printed[0]?.includes("[COMPLETE] c\n"), printed[0]);
});

Deno.test("consumer --reserve gives its task back at Ctrl+C, and the server says so", async () => {
  await using server = await serverWith("2 held 60", "2 next 1");
  await using consumer = startConsumer(denoRun, server.consumerPort, reserving);
  await server.stdout.line(/^\[ASSIGN\] held - consumer1$/);
  await consumer.stdout.line(/^\[REQUEST\]$/);
  // The hand-out shows at the server before the line has reached the consumer.
  await pause(300);
  assertEquals(await consumer.stop("SIGINT"), 0);
  assertEquals(consumer.stdout.text, "Consumer1 connected\n[REQUEST]\nexit\n");
  await server.stdout.line(/^\[Consumer 1 disconnected\]$/);
  const said = server.stdout.texts;
  const requeue = said.indexOf("[REQUEUE] held - consumer1");
  assert(requeue !== -1 && requeue < said.indexOf("[Consumer 1 disconnected]"), said.join("\n"));
  await using other = await server.consumer();
  assertEquals(await other.ask("REQUEST"), "ASSIGN held 60");
});

Deno.test("the task of a consumer that is killed is back in its old place within a second", async () => {
  await using server = await serverWith("2 first 60", "2 second 1", "3 third 1");
  await using consumer = startConsumer(denoRun, server.consumerPort, reserving);
  await server.stdout.line(/^\[ASSIGN\] first /);
  const killedMs = performance.now();
  consumer.kill("SIGKILL");
  const { atMs } = await server.stdout.line(/^\[REQUEUE\] first - consumer1$/);
  assert(atMs - killedMs < 1000, `after ${atMs - killedMs} ms`);
  await using other = await server.consumer();
  assertEquals(await other.ask("REQUEST"), "ASSIGN first 60");
  assertEquals(await other.ask("REQUEST"), "ASSIGN second 1");
});

Deno.test("a task is buried at its 5th end, and handed out no more until it is kicked", async () => {
  await using server = await serverWith("1 bad 1");
  for (let end = 1; end <= 5; end++) {
    await using consumer = await server.consumer();
    assertEquals(await consumer.ask("RESERVE"), "ASSIGN bad 1");
    consumer.close();
    const verb = end === 5 ? "BURY" : "REQUEUE";
    await server.stdout.line(new RegExp(`^\\[${verb}\\] bad - consumer${end}$`));
  }
  await using consumer = await server.consumer();
  await using producer = await server.producer();
  assertEquals(await consumer.ask("RESERVE"), "NOTASK");
  assertEquals(await producer.ask("KICK bad"), "OK 1");
  assertEquals(await producer.ask("KICK bad"), 'ERROR no task "bad" is buried');
  assertEquals(await consumer.ask("RESERVE"), "ASSIGN bad 1");
});

Deno.test("every task is completed once, however consumers are killed at work", async () => {
  const random = new Random(testSeed);
  const count = 1500;
  const tasks = Array.from({ length: count }, (_, i) => `${1 + i % 3} task${i} 0.00${i % 10}`);
  await using server = await serverWith(...tasks);
  const consumers: Program[] = [];
  const hire = () => consumers.push(startConsumer(denoRun, server.consumerPort, reserving));
  try {
    for (let i = 0; i < 3; i++) hire();
    for (let kill = 0; kill < 12; kill++) {
      await server.stdout.line(/^\[ASSIGN\]/, { nth: 100 * (kill + 1) });
      await pause(random.below(10));
      const working = consumers.filter((each) => each.isRunning);
      working[random.below(working.length)]?.kill("SIGKILL");
      hire();
    }
    await server.stdout.line(/^\[COMPLETE\]/, { nth: count });
  } finally {
    for (const consumer of consumers) await consumer[Symbol.asyncDispose]();
  }
  const model = new EventModel();
  for (const line of server.stdout.texts) model.take(line);
  assertEquals(model.faults, [], `seed ${testSeed}`);
  assertEquals(model.counts.completed, count);
  assert(model.counts.requeued > 0, `seed ${testSeed}: no kill met a task`);
});
