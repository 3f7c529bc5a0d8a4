/**
 * What an operator sees at a front, and does there.
 *
 * @module
 */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { ask, get, post } from "../../tests/lab/http_peer.ts";
import { denoRunWithFiles, type ServerProgram, startServer } from "../../tests/lab/processes.ts";
import { frontOf, giveUpAll, testWithNodes, until } from "./nodes.ts";

const http = ["--http", "127.0.0.1:0"];

async function portOfPage(server: ServerProgram): Promise<number> {
  const { text } = await server.stderr.line(/^page: http:/);
  return Number(/:(\d+)\/$/.exec(text)?.[1]);
}

// deno-lint-ignore no-explicit-any -- what JSON holds is compared, not used
type Json = any;

/** The overview of a front once it tells of so many tasks: if a look takes long, it is old. */
// deno-lint-ignore no-explicit-any -- a test says what it expects by reading it
async function overviewWith(port: number, tasks: number): Promise<any> {
  let overview = await get(port, "/api/overview");
  await until(async () => {
    overview = await get(port, "/api/overview");
    return overview.tasks === tasks;
  }, `${tasks} tasks`);
  return overview;
}

/** What is done at a server or a front, so that all counters count. */
async function useIt(server: ServerProgram): Promise<Disposable> {
  await using producer = await server.producer();
  const creates = [
    "1 a 1 {}",
    "1 b 2",
    "2 c 0.5",
    "3 d 4",
    "3 e 1 {}",
    "1 bad 1",
    "1 back 3",
    "2 f 1",
  ]
    .map((task) => `CREATE ${task}\n`);
  await producer.send(`${creates.join("")}SCHEDULE 100 1 late 1\nSYNC\nKICK nothing\n`);
  assertEquals(await producer.received.next(), "OK 9");
  assertMatch(await producer.received.next(), /^ERROR/);
  const consumer = await server.consumer();
  for (
    const [line, answer] of [
      ["REQUEST", "ASSIGN a 1"],
      ["RESERVE 60", "ASSIGN b 2"],
      ["COMPLETE b", undefined],
      ["RESERVE", "ASSIGN bad 1"],
      ["BURY bad", undefined],
      ["RESERVE", "ASSIGN back 3"],
      ["RELEASE back 50", undefined],
      ["RESERVE", "ASSIGN c 0.5"],
      ["FAIL c", undefined],
      ["RESERVE", "ASSIGN f 1"],
    ] as const
  ) {
    await consumer.send(`${line}\n`);
    if (answer !== undefined) assertEquals(await consumer.received.next(), answer);
  }
  await consumer.send("SYNC\n");
  assertMatch(await consumer.received.next(), /^OK/);
  return { [Symbol.dispose]: () => consumer.close() };
}

testWithNodes("A front's page has the figures that a server has", async (place) => {
  await using server = await startServer(denoRunWithFiles, { args: http });
  await using front = await frontOf(place, ...http);
  const [one, other] = [await portOfPage(server), await portOfPage(front)];
  using _server = await useIt(server);
  using _front = await useIt(front);

  const expected = await get(one, "/api/overview");
  const overview = await overviewWith(other, expected.tasks);
  // What differs from one moment to the next; and what nobody can tell at a front.
  const differs = ["time", "oldestAgeSeconds", "drainedInSeconds", "memoryBytes", "store"];
  for (const name of Object.keys(expected).filter((name) => !differs.includes(name))) {
    assertEquals(overview[name], expected[name], name);
  }
  assertEquals([overview.store, overview.drainedInSeconds], ["ok", null]);
  for (const state of ["waiting", "delayed", "reserved", "buried"]) {
    const [there, here] = await Promise.all(
      [one, other].map((port) => get(port, `/api/tasks?state=${state}`)),
    );
    const comparable = ({ tasks, ...rest }: Json) => ({
      ...rest,
      tasks: tasks.map((
        task: Json,
      ) => [
        task.arrival,
        task.taskId,
        task.priority,
        task.state,
        task.position,
        task.tries,
        task.consumer,
        task.payload,
      ]),
    });
    assertEquals(comparable(here), comparable(there), state);
  }
  const nameless = "/api/tasks?name=%00";
  assertEquals(await get(other, nameless), await get(one, nameless));
  const found = await get(other, "/api/tasks?name=d&state=waiting");
  assertEquals(found.tasks.map(({ taskId }: Json) => taskId), ["d"]);
  assertEquals((await get(other, "/api/tasks/4")).error, undefined);
});

testWithNodes(
  "At a front tasks are kicked, removed and cleared for all; none is paused",
  async (place) => {
    await using front = await frontOf(place, ...http);
    await using other = await frontOf(place, ...http);
    const [port, otherPort] = [await portOfPage(front), await portOfPage(other)];
    using _held = await useIt(front);
    const buried = (await get(otherPort, "/api/tasks?state=buried")).tasks[0];
    assertEquals(buried.taskId, "bad");
    const kicked = await post(otherPort, `/api/tasks/${buried.arrival}/kick`);
    assertEquals([kicked.status, JSON.parse(kicked.body).state], [200, "waiting"]);
    assertEquals((await post(otherPort, `/api/tasks/${buried.arrival}/kick`)).status, 409);
    const removed = await post(otherPort, `/api/tasks/${buried.arrival}/remove`);
    assertEquals(removed.status, 200);
    assertEquals((await post(otherPort, `/api/tasks/${buried.arrival}/remove`)).status, 404);
    const reserved = (await get(otherPort, "/api/tasks?state=reserved")).tasks[0];
    assertEquals((await post(otherPort, `/api/tasks/${reserved.arrival}/remove`)).status, 409);
    const { lastArrival } = await overviewWith(otherPort, 6);
    const clear = { state: "waiting", priority: 3, upToArrival: lastArrival };
    assertEquals(JSON.parse((await post(otherPort, "/api/clear", clear)).body), { removed: 2 });
    assertEquals((await overviewWith(port, 4)).waiting, [0, 0, 0]);
    const pause = await post(otherPort, "/api/pause", { requests: true });
    assertEquals(pause.status, 409);
    assertStringIncludes(pause.body, "nothing is paused here");
    const text = (await ask(otherPort, "GET /")).body;
    assertStringIncludes(text, "of all fronts: waiting, delayed, reserved, buried");
    // The counts that all fronts keep have followed.
    const sums = await place.nodes.primary.query(
      "SELECT sum(ready)::int AS ready, sum(buried)::int AS buried, " +
        "sum(payload_chars)::int AS chars FROM queue.front",
      place.database,
    );
    assertEquals(sums, [{ ready: 0, buried: 0, chars: 0 }]);
  },
);

testWithNodes("Whoever kicks at a front kicks what was buried when they looked", async (place) => {
  await using front = await frontOf(place, ...http);
  await using other = await frontOf(place, ...http);
  const port = await portOfPage(other);
  await using producer = await front.producer();
  await producer.send("CREATE 1 a 1\nCREATE 1 b 1\nCREATE 1 c 1\nSYNC\n");
  assertEquals(await producer.received.next(), "OK 3");
  await using consumer = await front.consumer();
  const say = async (lines: string) => {
    await consumer.send(lines);
    return await consumer.received.next();
  };
  for (const name of ["a", "b", "c"]) assertEquals(await say("RESERVE\n"), `ASSIGN ${name} 1`);
  assertMatch(await say("BURY c\nSYNC\n"), /^OK/);
  assertMatch(await say("BURY a\nSYNC\n"), /^OK/);
  let lastBurial = 0;
  await until(async () => {
    const overview = await get(port, "/api/overview");
    lastBurial = overview.lastBurial;
    return overview.buried === 2;
  }, "two burials");
  assertMatch(await say("BURY b\nSYNC\n"), /^OK/);
  const { tasks } = await get(port, "/api/tasks?state=buried");
  assertEquals(tasks.map(({ taskId }: Json) => taskId), ["c", "a", "b"]);
  const kick = await post(port, "/api/kick", { upToBurial: lastBurial });
  assertEquals(JSON.parse(kick.body), { kicked: 2 });
  const left = await get(port, "/api/tasks?state=buried");
  assertEquals(left.tasks.map(({ taskId }: Json) => taskId), ["b"]);
});

testWithNodes("Prometheus reads a front, and is told when the engine is away", async (place) => {
  await using front = await frontOf(place, ...http);
  const port = await portOfPage(front);
  using _held = await useIt(front);
  await overviewWith(port, 7);
  const { body } = await ask(port, "GET /metrics");
  for (
    const sample of [
      'taskqueue_waiting_tasks{priority="3"} 2',
      "taskqueue_delayed_tasks 3",
      "taskqueue_buried_tasks 1",
      "taskqueue_completed_tasks_total 1",
      'taskqueue_connections{port="consumers"} 1',
    ]
  ) assertStringIncludes(body, sample);
  assertMatch(body, /taskqueue_store_commit_seconds_count [1-9]/);
  assertEquals((await ask(port, "GET /healthz")).body, "ok\n");
  await place.nodes.killPrimary();
  await until(async () => (await ask(port, "GET /healthz")).status === 503, "an unhealthy front");
  // What was known last is still shown, and said to be old.
  assertEquals((await get(port, "/api/overview")).store, "silent");
  assertStringIncludes((await ask(port, "GET /metrics")).body, "taskqueue_buried_tasks 1");
  const kick = await post(port, "/api/kick");
  assertEquals([kick.status, JSON.parse(kick.body).error], [
    503,
    "what keeps the tasks does not answer",
  ]);
});

testWithNodes(
  "A question that the engine refuses costs nobody but who has asked",
  async (place) => {
    await using front = await frontOf(place, ...http);
    const port = await portOfPage(front);
    await place.nodes.primary.query(
      "DROP FUNCTION queue.list(text, smallint[], text, int, int)",
      place.database,
    );
    for (let i = 0; i < 2; i++) assertEquals((await ask(port, "GET /api/tasks")).status, 503);
    assertEquals((await get(port, "/api/overview")).store, "ok");
    await using producer = await front.producer();
    assertEquals(await producer.ask("SYNC"), "OK 0");
    assertEquals(front.stderr.count(/^the operator's side: .*queue\.list.* does not exist/), 1);
  },
);

testWithNodes("A front that was given up shows its page anew at the same port", async (place) => {
  await using front = await frontOf(place, ...http);
  const port = await portOfPage(front);
  await giveUpAll(place.nodes.primary, place.database);
  await front.stderr.line(/was given up: all connections are closed$/);
  await until(async () => {
    const answer = await ask(port, "GET /api/overview").catch(() => undefined);
    return answer?.status === 200;
  }, "the page again");
  assert(front.stderr.count(/^page: /) === 1);
});
