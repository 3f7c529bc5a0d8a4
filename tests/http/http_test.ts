/**
 * The operator's side of a server, as a process, over sockets of its own.
 *
 * @module
 */

import { assert, assertEquals, assertLess, assertMatch, assertStringIncludes } from "@std/assert";
import { allOf, pause, within } from "../lab/deadline.ts";
import { ask, EventPeer, exchange, get, post, startHttpServer } from "../lab/http_peer.ts";
import { denoRun, denoRunWithFiles, ScratchFolder, startServer } from "../lab/processes.ts";
import { ResettingPeer } from "../lab/load/resets.ts";
import { rssBytes } from "../lab/proc.ts";
import { RawPeer } from "../lab/peers.ts";

/** Creates tasks, each `<priority> <task_id> <duration>`. */
async function create(producer: RawPeer, tasks: readonly string[]): Promise<void> {
  await producer.send(tasks.map((task) => `CREATE ${task}\n`).join("") + "SYNC\n");
  assertMatch(await producer.received.next(), /^OK /);
}

/** The names of tasks that are listed. */
// deno-lint-ignore no-explicit-any -- see get()
function namesOf(list: any): string[] {
  return list.tasks.map((task: { taskId: string }) => task.taskId);
}

Deno.test("--http prints where the page is, and the page, its files and the text are there", async () => {
  await using http = await startHttpServer(denoRun);
  const { server, port } = http;
  assertMatch(server.stderr.text, /^listening: .*\npage: http:\/\/127\.0\.0\.1:\d+\/\n$/);
  const headers = [`Host: 127.0.0.1:${port}`, "Accept: text/html,*/*"];
  const page = await ask(port, "GET /", { headers });
  assertEquals([page.status, page.headers.get("content-type")], [200, "text/html; charset=utf-8"]);
  for (const [, path] of page.body.matchAll(/(?:href|src)="([^":]+)"/g)) {
    const file = await ask(port, `GET /${path}`);
    assertEquals(file.status, 200, path);
    const etag = file.headers.get("etag") as string;
    const known = await ask(port, `GET /${path}`, {
      headers: [`Host: 127.0.0.1:${port}`, `If-None-Match: ${etag}`],
    });
    assertEquals([known.status, known.body], [304, ""]);
    const head = await ask(port, `HEAD /${path}`);
    assertEquals([head.status, head.body], [200, ""]);
  }
  const text = await ask(port, "GET /");
  assertStringIncludes(text.body, "nothing waits\n");
  assert(text.body.split("\n").every((line) => line.length <= 80), text.body);
  for (const answer of [page, text, await ask(port, "GET /nowhere")]) {
    assertStringIncludes(answer.headers.get("content-security-policy") ?? "", "default-src 'none'");
    assertEquals(answer.headers.get("x-content-type-options"), "nosniff");
    assertEquals(answer.headers.get("access-control-allow-origin"), undefined);
  }
  assertEquals((await ask(port, "GET /healthz")).body, "ok\n");
});

Deno.test("The text page shows who worked last, also who has left, and how many more there are", async () => {
  await using http = await startHttpServer(denoRun);
  const { server, port } = http;
  const idle = [];
  for (let i = 1; i <= 12; i++) idle.push(await server.consumer());
  const producer = await RawPeer.connect(server.producerPort);
  await create(producer, ["1 seen 5"]);
  const consumer = await server.consumer();
  await consumer.send("REQUEST\n");
  await consumer.received.line(/^ASSIGN seen/);
  // Shorter work is not remembered.
  await pause(100);
  consumer.close();
  await server.stdout.line(/^\[Consumer 13 disconnected\]/);
  const { body } = await ask(port, "GET /");
  assertMatch(body, /^consumer9$\n^consumer13 .*█/m);
  assertMatch(body, /^and 3 more consumers$/m);
  for (const peer of [producer, ...idle]) peer.close();
});

Deno.test("--http takes the name localhost for 127.0.0.1", async () => {
  await using server = await startServer(denoRun, { args: ["--http", "Localhost:0"] });
  await server.stderr.line(/^page: http:\/\/127\.0\.0\.1:\d+\/$/);
});

Deno.test("--http off this machine, or on a port in use, is refused", async () => {
  await using http = await startHttpServer(denoRun);
  const wrong = async (place: string) => {
    const args = ["127.0.0.1", "0", "0", "--http", place];
    const { file, args: all } = denoRun.command("server", args);
    const { code, stderr } = await new Deno.Command(file, { args: [...all] }).output();
    return `${code} ${new TextDecoder().decode(stderr).replace(/^listening: .*\n/, "")}`;
  };
  assertMatch(await wrong("0.0.0.0:0"), /^2 --http must be on this machine alone/);
  assertMatch(await wrong("127.0.0.1"), /^2 --http's port must be a whole number/);
  assertEquals(
    await wrong(String(http.port)),
    `1 Cannot listen on 127.0.0.1:${http.port}: the port is in use ` +
      "(another server may be running: choose another port)\n",
  );
});

Deno.test("Requests that a page of another site could send are refused, and print no stack trace", async () => {
  await using http = await startHttpServer(denoRun);
  const { server, port } = http;
  const own = `Host: 127.0.0.1:${port}`;
  const status = async (line: string, ...headers: string[]) =>
    (await ask(port, line, { headers })).status;
  assertEquals(await status("GET /", "Host: evil.example"), 421);
  assertEquals(await status("GET /", own, "Host: evil.example"), 400);
  assertEquals(await status("GET http://evil.example/", own), 400);
  assertEquals(await status("GET /", "Host: a b"), 400);
  assertEquals(await status("GET /", own, "Sec-Fetch-Site: same-site"), 403);
  assertEquals(await status("PUT /", own), 405);
  assertEquals(await status("POST /api/kick", own, "Content-Type: text/plain"), 415);
  assertEquals(await status("POST /api/overview", own, "Content-Type: application/json"), 405);
  assertEquals(await status("GET /api/kick", own), 405);
  for (const garbage of ["\x16\x03\x01", "GET / HTTP/1.1\r\n\r\n", "nonsense\r\n\r\n", "GET /"]) {
    const conn = await Deno.connect({ port });
    await conn.write(new TextEncoder().encode(garbage));
    conn.close();
  }
  const long = await ask(port, "POST /api/kick", {
    headers: [own, "Content-Type: application/json"],
    body: JSON.stringify({ limit: 1, x: "x".repeat(4096) }),
  });
  assertEquals([long.status, long.body], [
    413,
    '{"error":"the body is longer than 4096 bytes"}\n',
  ]);
  assertEquals(server.stderr.text.split("\n").length, 3, server.stderr.text);
  assertEquals((await ask(port, "GET /healthz")).status, 200);
});

Deno.test("The API tells of tasks and consumers what peers see", async () => {
  await using http = await startHttpServer(denoRun);
  const { server, port } = http;
  await using producer = await server.producer();
  await using consumer = await server.consumer();
  await producer.send(
    'CREATE 3 low 2.5\nCREATE 1 high 1\nCREATE 2 <b>\u{d55c} 3 {"a":1}\nSCHEDULE 600 1 later 1\nSYNC\n',
  );
  assertEquals(await producer.received.next(), "OK 4");
  const waiting = await get(port, "/api/tasks");
  assertEquals([waiting.total, ...namesOf(waiting)], [3, "high", "<b>\u{d55c}", "low"]);
  assertEquals(waiting.tasks.map((task: { position: number }) => task.position), [1, 2, 3]);
  assertEquals(
    waiting.tasks.map((task: { startsInSeconds: number }) => task.startsInSeconds),
    [0, 1, 4],
  );
  assertEquals(waiting.tasks[1].payload, '{"a":1}');
  assertEquals(namesOf(await get(port, "/api/tasks?priority=1,3&limit=1&skip=1")), ["low"]);
  assertEquals(namesOf(await get(port, "/api/tasks?name=%ED%95%9C")), ["<b>\u{d55c}"]);
  const [later] = (await get(port, "/api/tasks?state=delayed")).tasks;
  assert(later.taskId === "later" && later.dueInSeconds > 590, JSON.stringify(later));

  assertEquals(await consumer.ask("RESERVE"), "ASSIGN high 1");
  const overview = await get(port, "/api/overview");
  const { created, handedOut, reserved, working, workSeconds, tasks } = overview;
  assertEquals({ created, handedOut, reserved, working, workSeconds, tasks }, {
    ...{ created: [2, 1, 1], handedOut: [1, 0, 0], reserved: 1, working: 1, workSeconds: 5.5 },
    tasks: 4,
  });
  const { consumers: [first] } = await get(port, "/api/consumers");
  assertEquals([first.number, first.task.taskId, first.task.state], [1, "high", "reserved"]);
  const [held] = (await get(port, "/api/tasks?state=reserved")).tasks;
  assertEquals(held.consumer, 1);
  assert(held.leaseEndsInSeconds > 10 && held.leaseEndsInSeconds <= 12, JSON.stringify(held));
  assertEquals((await get(port, `/api/tasks/${held.arrival}`)).taskId, "high");
});

/** What is wrong with a request to the API, and what is said of it. */
const mistakes: readonly (readonly [string, number, string])[] = [
  ["GET /api/tasks?limit=0", 400, "limit must be from 1 to 1000, got 0"],
  ["GET /api/tasks?limit=x", 400, 'limit must be a whole number, got "x"'],
  ["GET /api/tasks?skip=10001", 400, "skip must be from 0 to 10000, got 10001: narrow it by name"],
  [
    "GET /api/tasks?state=gone",
    400,
    'state must be one of waiting, delayed, reserved, buried, got "gone"',
  ],
  ["GET /api/tasks?priority=1,4", 400, 'priority must be some of 1,2,3, got "1,4"'],
  ["GET /api/tasks?name=", 400, "name must have at least 1 character"],
  ["GET /api/tasks?limit=1&limit=2", 400, "limit was given twice"],
  ["GET /api/overview?x=1", 400, 'unknown parameter "x": there are none'],
  ["GET /api/tasks/7", 404, "there is no task 7"],
  ["GET /api/tasks/__proto__", 400, 'arrival must be a whole number, got "__proto__"'],
  ["GET /api/__proto__", 404, "there is nothing of this path"],
  ["GET /__proto__", 404, "there is nothing of this path"],
  [
    'POST /api/clear {"state":"waiting","priority":3}',
    400,
    "upToArrival must be a whole number, got nothing",
  ],
  [
    'POST /api/clear {"state":"reserved","priority":3,"upToArrival":1}',
    400,
    'state must be one of waiting, delayed, buried, got "reserved"',
  ],
  ['POST /api/kick {"limit":null}', 400, 'limit must be a whole number, got "null"'],
  ['POST /api/kick {"limit":1e999}', 400, 'limit must be a whole number, got "Infinity"'],
  ['POST /api/pause {"requests":1}', 400, "requests must be true or false, got 1"],
  [
    'POST /api/kick {"upToBurial":-1}',
    400,
    "upToBurial must be from 0 to 9007199254740991, got -1",
  ],
  ["POST /api/pause [1]", 400, "the body must be a JSON object"],
  ["POST /api/pause {", 400, "the body is no JSON"],
  ["POST /api/tasks/9/kick", 404, "there is no task 9"],
];

Deno.test("The API says what is wrong with a request", async () => {
  await using http = await startHttpServer(denoRun);
  for (const [request, status, error] of mistakes) {
    const [method, path, body] = request.split(" ") as [string, string, string?];
    const headers = [`Host: 127.0.0.1:${http.port}`];
    const answer = method === "GET"
      ? await ask(http.port, `GET ${path}`, { headers })
      : await ask(http.port, `POST ${path}`, {
        headers: [...headers, "Content-Type: application/json"],
        body: body ?? "",
      });
    const said = answer.body.startsWith("{") ? JSON.parse(answer.body).error : answer.body.trim();
    assertEquals([answer.status, said], [status, error], request);
  }
});

Deno.test("An operator removes, kicks, clears and pauses, and it is said on stderr", async () => {
  await using http = await startHttpServer(denoRun);
  const { server, port } = http;
  await using producer = await server.producer();
  await using consumer = await server.consumer();
  await create(producer, ["1 a 1", "2 b 1", "3 c 1", "3 d 1", "3 e 1"]);
  assertEquals(await consumer.ask("RESERVE"), "ASSIGN a 1");

  assertEquals((await post(port, "/api/tasks/1/remove")).status, 409);
  assertEquals((await post(port, "/api/tasks/2/kick")).status, 409);
  assertEquals(JSON.parse((await post(port, "/api/tasks/2/remove")).body).taskId, "b");
  await consumer.send("BURY a\n");
  await server.stdout.line(/^\[BURY\] a/);
  const [buried] = (await get(port, "/api/tasks?state=buried")).tasks;
  assert(buried.buriedAgeSeconds < 30, JSON.stringify(buried));
  assertEquals((await post(port, "/api/tasks/1/kick")).status, 200);
  assertEquals(JSON.parse((await post(port, "/api/kick")).body), { kicked: 0 });

  const clear = { state: "waiting", priority: 3, upToArrival: 4 };
  assertEquals(JSON.parse((await post(port, "/api/clear", clear)).body), { removed: 2 });
  assertEquals(namesOf(await get(port, "/api/tasks")), ["a", "e"]);

  assertEquals(JSON.parse((await post(port, "/api/pause", { requests: true })).body), {
    ...{ creates: false, requests: true },
  });
  assertEquals(await consumer.ask("REQUEST"), "NOTASK");
  await consumer.send("RESERVE 60\n");
  await post(port, "/api/pause", { requests: false });
  assertEquals(await consumer.received.next(), "ASSIGN a 1");

  await post(port, "/api/pause", { creates: true });
  await producer.send("CREATE 1 f 1\nSYNC\n");
  await pause(100);
  assertEquals((await get(port, "/api/overview")).waitingProducers, 1);
  await post(port, "/api/pause", { creates: false });
  assertEquals(await producer.received.next(), "OK 6");
  const { removed, kicked, burials } = await get(port, "/api/overview");
  assertEquals({ removed, kicked, burials }, { removed: 3, kicked: 1, burials: 1 });
  assertEquals(server.stderr.texts.slice(2), [
    'removed by the operator: "b"',
    'kicked by the operator: "a"',
    "kicked by the operator: 0 buried tasks",
    "cleared by the operator: 2 waiting tasks of priority 3, up to arrival 4",
    "requests paused by the operator",
    "requests resumed by the operator",
    "creates paused by the operator",
    "creates resumed by the operator",
  ]);
});

Deno.test("An operator kicks all that were buried when they looked, and none that came later", async () => {
  await using http = await startHttpServer(denoRun);
  const { server, port } = http;
  await using producer = await server.producer();
  await using consumer = await server.consumer();
  const count = 2100;
  await create(producer, Array.from({ length: count }, (_, i) => `1 task${i} 1`));
  const bury = async (tasks: number) => {
    for (let done = 0; done < tasks; done += 100) {
      await consumer.send("RESERVE\n".repeat(100));
      const names = [];
      for (let i = 0; i < 100; i++) names.push((await consumer.received.next()).split(" ")[1]);
      await consumer.send(names.map((name) => `BURY ${name}\n`).join("") + "SYNC\n");
      assertEquals(await consumer.received.next(), "OK 0");
    }
  };
  await bury(count - 100);
  const { buried, lastBurial } = await get(port, "/api/overview");
  assertEquals([buried, lastBurial], [2000, 2000]);
  await bury(100);
  const kick = { upToBurial: lastBurial };
  assertEquals(JSON.parse((await post(port, "/api/kick", kick)).body), { kicked: 2000 });
  assertEquals(JSON.parse((await post(port, "/api/kick", kick)).body), { kicked: 0 });
  assertEquals((await get(port, "/api/overview")).buried, 100);
});

Deno.test("Who watches is told that the store has failed, before the server ends", async () => {
  await using folder = await new ScratchFolder();
  const args = ["--store", `${folder.path}/tasks.db`];
  await using http = await startHttpServer(denoRunWithFiles, { args });
  const { server, port } = http;
  await using viewer = await EventPeer.open(port);
  assertEquals((await viewer.next("overview")).store, "ok");
  await Deno.remove(`${folder.path}/tasks.db`);
  await using producer = await server.producer();
  await producer.send("CREATE 1 a 1\n");
  await viewer.next("overview", ({ store }) => store === "failed");
  await viewer.next("bye");
  await viewer.ended();
  assertEquals(await server.exitCode(), 1);
  assertMatch(server.stderr.text, /the file was deleted, moved or replaced/);
});

Deno.test("What an operator does outlives a crash when it is answered", async () => {
  await using folder = await new ScratchFolder();
  const args = ["--store", `${folder.path}/tasks.db`];
  {
    await using http = await startHttpServer(denoRunWithFiles, { args });
    await using producer = await http.server.producer();
    await create(producer, ["1 a 1", "2 b 1", "3 c 1"]);
    assertEquals((await post(http.port, "/api/tasks/2/remove")).status, 200);
    await pause(300);
    await http.server.crash();
  }
  await using http = await startHttpServer(denoRunWithFiles, { args });
  // The age counts from before the crash.
  const [first] = (await get(http.port, "/api/tasks")).tasks;
  assert(first.ageSeconds >= 0.3 && first.ageSeconds < 60, JSON.stringify(first));
  assertEquals(await http.server.drain(), ["a", "c"]);
});

Deno.test("Who watches is told of what changes, and that the server ends", async () => {
  await using http = await startHttpServer(denoRun);
  const { server, port } = http;
  await using viewer = await EventPeer.open(port);
  const hello = await viewer.next("hello");
  assertEquals([hello.server.maxTasks, hello.consumers], [1_000_000, []]);
  await viewer.next("overview");
  await using producer = await server.producer();
  await using consumer = await server.consumer();
  await create(producer, ["1 a 1"]);
  const waiting = (overview: { waiting: number[] }) => overview.waiting[0] === 1;
  const first = await viewer.next("overview", waiting);
  assertEquals(first.created, [1, 0, 0]);
  assertEquals(await consumer.ask("REQUEST"), "ASSIGN a 1");
  const working = await viewer.next("overview", ({ changed }) => changed[0]?.task?.taskId === "a");
  assertEquals(working.changed[0].task.state, "requested");
  await pause(60);
  assertEquals(await consumer.ask("REQUEST"), "NOTASK");
  const { bars: [bar] } = await viewer.next("overview", ({ bars }) => bars.length > 0);
  assertEquals([bar.consumer, bar.taskId, bar.how], [1, "a", "next"]);
  assert(bar.end - bar.start >= 0.05, JSON.stringify(bar));
  consumer.close();
  assertEquals((await viewer.next("overview", ({ gone }) => gone.length > 0)).gone, [1]);
  await consumer[Symbol.asyncDispose]();
  await producer.send("NONSENSE\n");
  const told = await viewer.next("overview", ({ problems }) => problems.length > 0);
  assertStringIncludes(told.problems[0].text, "NONSENSE");
  const end = server.stop();
  await viewer.next("bye");
  await viewer.ended();
  assertEquals(await end, 0);
});

Deno.test("32 pages may be open; a server with as many ends within two seconds of Ctrl+C", async () => {
  await using http = await startHttpServer(denoRun);
  const { server, port } = http;
  const viewers = await allOf(Array.from({ length: 32 }, () => EventPeer.open(port)));
  try {
    await allOf(viewers.map((viewer) => viewer.next("hello")));
    const late = await ask(port, "GET /api/events");
    assertEquals([late.status, late.headers.get("retry-after")], [503, "1"]);
    const startMs = performance.now();
    assertEquals(await server.stop(), 0);
    assertLess(performance.now() - startMs, 2000);
  } finally {
    await allOf(viewers.map((viewer) => viewer[Symbol.asyncDispose]()));
  }
});

Deno.test("A viewer that never reads costs no memory", async () => {
  await using http = await startHttpServer(denoRun);
  const { server, port } = http;
  await using _viewer = await EventPeer.open(port);
  await using producer = await server.producer();
  await pause(500);
  const before = rssBytes(server.pid);
  for (let i = 0; i < 20; i++) {
    await create(producer, [`1 task${i} 1`]);
    await pause(100);
  }
  assertLess(rssBytes(server.pid) - before, 40e6);
});

/** Bytes that are no request, and the status of what is said of them. */
const noRequests: readonly (readonly [string, number])[] = [
  ["nonsense\r\n\r\n", 400],
  ["\x16\x03\x01\x00\x01", 400],
  ["GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400],
  ["GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400],
  [`GET / HTTP/1.1\r\nHost: a\r\nX: ${"x".repeat(9000)}\r\n\r\n`, 431],
];

Deno.test("What is no request is answered in one line, closed, and counted", async () => {
  await using http = await startHttpServer(denoRun);
  const { server, port } = http;
  for (const [bytes, status] of noRequests) {
    const answer = await exchange(port, bytes);
    assertMatch(
      answer,
      new RegExp(
        `^HTTP/1\\.1 ${status} [\\w ]+\r\nConnection: close\r\nContent-Length: 0\r\n\r\n$`,
      ),
    );
  }
  const { body } = await ask(port, "GET /metrics");
  assertStringIncludes(body, 'taskqueue_http_requests_total{code="400"} 4\n');
  assertStringIncludes(body, 'taskqueue_http_requests_total{code="431"} 1\n');
  // Within an answer it would be taken for a part of that.
  const events = `GET /api/events HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n\r\n`;
  const stream = await exchange(port, `${events}nonsense\r\n\r\n`);
  assert(!stream.includes("400"), stream);
  assertEquals(server.stderr.text.split("\n").length, 3, server.stderr.text);
});

Deno.test("Half a request is closed, and half a body, and neither is a problem", async () => {
  await using http = await startHttpServer(denoRun);
  const { server, port } = http;
  const head = `POST /api/pause HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n` +
    "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
  const answers = await allOf([
    exchange(port, "GET / HTTP/1.1\r\nHost: 127"),
    exchange(port, head),
  ]);
  for (const answer of answers) assert(!answer.includes(" 200 "), answer);
  const { body } = await ask(port, "GET /metrics");
  assertStringIncludes(body, 'taskqueue_http_requests_total{code="400"} 1\n');
  assertEquals(server.stderr.text.split("\n").length, 3, server.stderr.text);
});

Deno.test("A request is answered whose body goes on, and that ends its connection", async () => {
  await using http = await startHttpServer(denoRun);
  const { port } = http;
  const host = `Host: 127.0.0.1:${port}\r\n`;
  const get = await exchange(port, `GET /healthz HTTP/1.1\r\n${host}Content-Length: 9\r\n\r\nx`);
  assertMatch(get, /^HTTP\/1.1 200 [^]*\r\nConnection: close\r\n[^]*\r\n\r\nok\n$/);
  const post = `POST /api/kick HTTP/1.1\r\n${host}Content-Type: application/json\r\n`;
  const long = await exchange(port, `${post}Content-Length: 9000\r\n\r\n${" ".repeat(5000)}`);
  assertMatch(long, /^HTTP\/1.1 413 [^]*the body is longer than 4096 bytes/);
});

Deno.test("Eight requests of a connection may wait for answers, and one more closes it", async () => {
  await using http = await startHttpServer(denoRun);
  const { port } = http;
  const one = `GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n`;
  const answers = async (count: number) => {
    const text = `${one}\r\n`.repeat(count - 1) + `${one}Connection: close\r\n\r\n`;
    return (await exchange(port, text)).split("\r\n\r\nok\n").length - 1;
  };
  assertEquals([await answers(8), await answers(9)], [8, 0]);
});

Deno.test("Of 40 pages that are opened at once, 32 are", async () => {
  await using http = await startHttpServer(denoRun);
  const { port } = http;
  const request = new TextEncoder().encode(
    `GET /api/events HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n\r\n`,
  );
  const conns = await allOf(Array.from({ length: 40 }, () => Deno.connect({ port })));
  try {
    await allOf(conns.map((conn) => conn.write(request)));
    const statuses = await within(
      allOf(conns.map(async (conn) => {
        const buffer = new Uint8Array(12);
        await conn.read(buffer);
        return new TextDecoder().decode(buffer).slice(9);
      })),
      "40 answers",
    );
    assertEquals(statuses.toSorted(), [...Array(32).fill("200"), ...Array(8).fill("503")]);
  } finally {
    for (const conn of conns) conn.close();
  }
});

Deno.test("Without --http nothing of it is loaded", async () => {
  await using server = await startServer(denoRun);
  assertEquals(server.stderr.text.split("\n").length, 2, server.stderr.text);
});

Deno.test("A connection serves several requests, and is closed without a word when none follows", async () => {
  await using http = await startHttpServer(denoRun);
  const { port } = http;
  using conn = await Deno.connect({ port });
  const reader = conn.readable.pipeThrough(new TextDecoderStream()).getReader();
  const request = `GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n\r\n`;
  const answer = async () => {
    let text = "";
    while (!text.endsWith("\r\n\r\nok\n")) {
      text += (await reader.read()).value ?? "(the end)\r\n\r\nok\n";
    }
    return text;
  };
  const converse = async () => {
    // The second one comes when the first is answered, the third in pieces.
    for (const parts of [[request], [request], [request.slice(0, 30), request.slice(30)]]) {
      for (const part of parts) {
        await conn.write(new TextEncoder().encode(part));
        await pause(50);
      }
      assertMatch(await answer(), /^HTTP\/1\.1 200 OK\r\n/);
    }
    assertEquals((await reader.read()).done, true);
  };
  await within(converse(), "three answers and the end");
  assert(!(await ask(port, "GET /metrics")).body.includes('code="408"'));
});

Deno.test({
  name: "Connections that were reset before they were accepted hold up nobody",
  ignore: Deno.build.os === "windows",
  async fn() {
    await using http = await startHttpServer(denoRun);
    const { server, port } = http;
    Deno.kill(server.pid, "SIGSTOP");
    try {
      for (let i = 0; i < 100; i++) await (await ResettingPeer.connect(port)).reset();
    } finally {
      Deno.kill(server.pid, "SIGCONT");
    }
    // Were there a pause after each, it would take 10 s.
    const startMs = performance.now();
    assertEquals((await ask(port, "GET /healthz")).status, 200);
    assertLess(performance.now() - startMs, 5000);
  },
});

Deno.test("Who asks again on the same connection is not kept waiting for its own ACK", async () => {
  await using http = await startHttpServer(denoRun);
  await using peer = await RawPeer.connect(http.port);
  const timesMs: number[] = [];
  for (let i = 0; i < 20; i++) {
    const startMs = performance.now();
    await peer.send(`GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:${http.port}\r\n\r\n`);
    while (await peer.received.next() !== "ok");
    timesMs.push(performance.now() - startMs);
  }
  // The first ACKs of a connection come at once, all others 40 ms late.
  assertLess(Math.min(...timesMs.slice(5)), 35);
});
