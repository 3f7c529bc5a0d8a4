/**
 * What goes wrong while the programs run: bad lines, broken pipes, peers that are gone.
 *
 * @module
 */

import { assertEquals, assertGreater, assertGreaterOrEqual, assertMatch } from "@std/assert";
import { allOf, pause, within } from "../lab/deadline.ts";
import { ask, startHttpServer } from "../lab/http_peer.ts";
import { connectMany, limited } from "../lab/load/scenarios.ts";
import { ScratchFolder, startConsumer, startProducer, startServer } from "../lab/processes.ts";
import { RawServer } from "../lab/peers.ts";
import { noStrace, Strace } from "../lab/strace.ts";
import { noUnix } from "../test_unless.ts";
import { test } from "./register.ts";

/** Lines that a producer must not send, and what is answered. */
const malformedCreates: readonly (readonly [string, string])[] = [
  ["CREATE 9 a 1", 'ERROR priority must be 1, 2 or 3, got "9"'],
  ["CREATE 1 a", "ERROR "],
  ["CREATE 1 a 1e3", "ERROR duration must be "],
  ["create 1 a 1", "ERROR "],
  ["", "ERROR "],
  ["\x1b[2J\u202e", "ERROR "],
  ["REQUEST", "ERROR "],
  ["x".repeat(1024), "ERROR line must have at most 1024 bytes"],
];

test("a malformed line costs that line alone", async (launcher) => {
  await using server = await startServer(launcher);
  await using producer = await server.producer();
  await using consumer = await server.consumer(1);
  for (const [index, [line, error]] of malformedCreates.entries()) {
    const answer = await producer.ask(`${line}\nCREATE 1 good${index} 1\nSYNC`);
    assertEquals(answer.slice(0, error.length), error);
    assertEquals(await producer.received.next(), `OK ${index + 1}`);
    assertMatch(answer, /^[\x20-\x7e]*$/);
    await server.stderr.atLeast(index + 2);
  }
  const wrong = ["request", "ASSIGN a 1", "COMPLETE", "CREATE 1 a 1"];
  for (const [index, line] of wrong.entries()) {
    assertMatch(await consumer.ask(`${line}\nREQUEST`), /^ERROR [\x20-\x7e]+$/);
    assertEquals(await consumer.received.next(), `ASSIGN good${index} 1`);
  }

  await server.stderr.atLeast(1 + malformedCreates.length + wrong.length);
  for (const { text } of server.stderr.lines.slice(1)) {
    assertMatch(text, /^127\.0\.0\.1:\d+: [\x20-\x7e]+$/);
  }
  producer.close();
  consumer.close();
  await server.stdout.line(/^\[0 consumers online\]$/);
  assertEquals(await server.stop(), 0);
  assertEquals(server.stdout.texts, [
    "[Consumer1 connected]",
    "[1 consumers online]",
    ...malformedCreates.map((_, index) => `[CREATE] 1 good${index} 1`),
    ...wrong.map((_, index) => `[ASSIGN] good${index} - consumer1`),
    "[Consumer 1 disconnected]",
    "[0 consumers online]",
    "exit",
  ]);
  // One line where it listens, one a malformed line, one of the tasks that were left.
  assertEquals(server.stderr.lines.length, 2 + malformedCreates.length + wrong.length);
  assertEquals(server.stderr.texts.at(-1), "4 waiting tasks were dropped");
});

test("a server that drops a single task says so", async (launcher) => {
  await using server = await startServer(launcher);
  await using producer = await server.producer();
  await producer.send("CREATE 1 a 1\n");
  await server.stdout.line(/^\[CREATE\]/);
  producer.close();
  assertEquals(await server.stop(), 0);
  assertEquals(server.stderr.texts.at(-1), "1 waiting task was dropped");
});

test("a server whose stdout is closed says so once and goes on serving", async (launcher) => {
  await using server = await startServer(launcher, { stdout: "closed" });
  await using producer = await server.producer();
  await using consumer = await server.consumer(1);
  await server.stderr.line(/^cannot write to standard output: /);
  for (let task = 0; task < 100; task++) {
    assertEquals(await producer.ask(`CREATE 1 task${task} 1\nSYNC`), `OK ${task + 1}`);
    assertEquals(await consumer.ask("REQUEST"), `ASSIGN task${task} 1`);
  }
  consumer.close();
  producer.close();
  assertEquals(await server.stop(), 0);
  assertEquals(server.stderr.lines.length, 2, server.stderr.text);
});

test("a server whose log is not read goes on serving, ends, and says what it dropped", async (launcher) => {
  // 12 MB of event lines: more than the pipe and the server's 8 MiB take together.
  const total = 50_000;
  const longId = "x".repeat(230);
  await using server = await startServer(launcher, { stdout: "stalled" });
  await using producer = await server.producer();
  for (let task = 0; task < total; task += 1000) {
    const tasks = Array.from({ length: 1000 }, (_, i) => `CREATE 2 ${longId}${task + i} 1\n`);
    assertEquals(await producer.ask(tasks.join("") + "SYNC"), `OK ${task + 1000}`);
  }
  await using consumer = await server.consumer(1);
  assertEquals(await consumer.ask("REQUEST"), `ASSIGN ${longId}0 1`);
  consumer.close();
  producer.close();

  server.kill("SIGINT");
  const { text } = await server.stderr.line(/lines of output dropped/);
  const dropped = Number(/^up to (\d+) lines/.exec(text)?.[1]);
  const printed = (await server.unstall()).split("\n");
  assertEquals(await server.exitCode(), 0);
  // Every line was printed, or is among those that it says were dropped.
  assertGreaterOrEqual(dropped + printed.length, total);
  assertEquals(printed[0], `[CREATE] 2 ${longId}0 1`);
  assertGreater(printed.length, 100);
});

test("a producer whose server dies says what was sent, and fails", async (launcher) => {
  await using folder = new ScratchFolder();
  const file = await folder.write("tasks.txt", "0 1 a 1\n0 1 b 1\n1000 1 c 1\n");
  await using server = await startServer(launcher);
  await using producer = startProducer(launcher, server.producerPort, file);
  await producer.stdout.line(/^\[CREATE\] 1 b 1$/);
  await server.stop("SIGKILL");
  assertEquals(await producer.exitCode(), 1);
  assertEquals(producer.stdout.text, "[CREATE] 1 a 1\n[CREATE] 1 b 1\n");
  assertEquals(
    producer.stderr.text,
    `the server at 127.0.0.1:${server.producerPort} closed the connection: 2 tasks were sent, ` +
      "none is confirmed, the first not sent is c\n",
  );
});

test("a consumer whose server dies finishes its task, says why it ends, and fails", async (launcher) => {
  await using server = await startServer(launcher);
  await using working = startConsumer(launcher, server.consumerPort);
  await working.stdout.line(/^NOTASK$/);
  await using producer = await server.producer();
  await producer.send("CREATE 1 work 2\n");
  await server.stdout.line(/^\[ASSIGN\] work - consumer1$/);
  await using idle = startConsumer(launcher, server.consumerPort);
  await idle.stdout.line(/^NOTASK$/);
  await server.stop("SIGKILL");

  const reason = `the server at 127.0.0.1:${server.consumerPort} closed the connection: ` +
    "start it again, then this consumer; or use --retry\n";
  assertEquals(await idle.exitCode(), 1);
  assertEquals(idle.stderr.text, reason);
  assertEquals(working.isRunning, true);
  assertEquals(await working.exitCode(), 1);
  assertEquals(working.stdout.texts.slice(-2), ["[REQUEST]", "[COMPLETE] work"]);
  assertEquals(working.stderr.text, `the connection has ended: finishing work first\n${reason}`);
});

test("a producer whose tasks are refused tells it, and fails", async (launcher) => {
  await using folder = new ScratchFolder();
  const file = await folder.write("tasks.txt", "0 1 a 1\n0.1 1 b 1\n");
  await using server = new RawServer();
  await using producer = startProducer(launcher, server.port, file);
  const peer = await server.accept();
  assertEquals(await peer.received.next(), "CREATE 1 a 1");
  await peer.send("ERROR no \x1b[2Jroom\n");
  assertEquals(await peer.toEnd(), "CREATE 1 a 1\nCREATE 1 b 1\n");
  peer.close();
  assertEquals(await producer.exitCode(), 1);
  assertEquals(producer.stdout.text, "[CREATE] 1 a 1\n[CREATE] 1 b 1\nexit\n");
  assertEquals(producer.stderr.texts[0], "the server says: ERROR no \\u{1b}[2Jroom");
  assertEquals(producer.stderr.lines.length, 2, producer.stderr.text);
});

test("a producer ignores what is neither ERROR nor OK", async (launcher) => {
  await using folder = new ScratchFolder();
  const file = await folder.write("tasks.txt", "0 1 a 1\n0.1 1 b 1\n");
  await using server = new RawServer();
  await using producer = startProducer(launcher, server.port, file);
  const peer = await server.accept();
  await peer.send("Welcome!\n\n\xff\n");
  assertEquals(await peer.received.next(), "CREATE 1 a 1");
  await peer.send("OK\nTASK a CREATED\n" + "x".repeat(5000));
  assertEquals(await peer.toEnd(), "CREATE 1 a 1\nCREATE 1 b 1\n");
  peer.close();
  assertEquals(await producer.exitCode(), 0);
  assertEquals(producer.stderr.text, "");
});

test("a consumer that is turned away says why, and fails", async (launcher) => {
  await using server = await startServer(launcher, { args: ["--max-connections", "1"] });
  await using first = startConsumer(launcher, server.consumerPort);
  await first.stdout.line(/^NOTASK$/);
  await using second = startConsumer(launcher, server.consumerPort);
  assertEquals(await second.exitCode(), 1);
  assertEquals(second.stdout.text, "");
  assertEquals(second.stderr.text, "the server says: ERROR too many connections\n");
  assertEquals(await first.stop(), 0);
  await server.stdout.line(/^\[0 consumers online\]$/);
  // There is room again.
  await using third = startConsumer(launcher, server.consumerPort);
  await third.stdout.line(/^NOTASK$/);
  assertEquals(third.stdout.texts[0], "Consumer2 connected");
});

test("a consumer notes an answer that it does not know and asks again after a second", async (launcher) => {
  await using server = new RawServer();
  await using consumer = startConsumer(launcher, server.port);
  const peer = await server.accept();
  await peer.send("Consumer1\n");
  for (const answer of ["ERROR busy", "JOB a 1", "ASSIGN a -1", "assign a 1"]) {
    assertEquals(await peer.received.next(), "REQUEST");
    const answeredMs = performance.now();
    await peer.send(answer + "\n");
    await peer.received.atLeast(peer.received.lines.length + 1);
    const waitedMs = (peer.received.lines.at(-1)?.atMs as number) - answeredMs;
    assertGreater(waitedMs, 999);
  }
  assertEquals(await consumer.stop(), 0);
  assertEquals(consumer.stdout.texts, [
    "Consumer1 connected",
    ...Array.from({ length: 5 }, () => "[REQUEST]"),
    "exit",
  ]);
  assertEquals(consumer.stderr.lines.length, 4, consumer.stderr.text);
});

test("a server serves on after its clients were killed, and their tasks stay in order", async (launcher) => {
  await using folder = new ScratchFolder();
  const file = await folder.write("tasks.txt", "0 2 a 1000\n0 1 b 1000\n0 2 c 1\n1000 1 d 1\n");
  await using server = await startServer(launcher);
  await using producer = startProducer(launcher, server.producerPort, file);
  await server.stdout.line(/^\[CREATE\] 2 c 1$/);
  await producer.stop("SIGKILL");
  await using worker = startConsumer(launcher, server.consumerPort);
  await server.stdout.line(/^\[ASSIGN\] b - consumer1$/);
  await worker.stop("SIGKILL");
  await server.stdout.line(/^\[Consumer 1 disconnected\]$/);

  await using consumer = await server.consumer(2);
  assertEquals(await consumer.ask("REQUEST"), "ASSIGN a 1000");
  assertEquals(await consumer.ask("REQUEST"), "ASSIGN c 1");
  assertEquals(await consumer.ask("REQUEST"), "NOTASK");
  consumer.close();
  await server.stdout.line(/^\[0 consumers online\]$/, { nth: 2 });
  assertEquals(await server.stop(), 0);
  assertEquals(server.stderr.lines.length, 1, server.stderr.text);
});

test(
  "After a time without descriptors the page answers again",
  async (launcher) => {
    await using http = await startHttpServer(limited(launcher, 64));
    const { server, port } = http;
    const conns = await connectMany(server.consumerPort, 100);
    try {
      await server.stderr.line(/^out of file descriptors: raise ulimit -n$/);
      const early = await Deno.connect({ hostname: "127.0.0.1", port });
      conns.push(early);
      await pause(300); // so that accepting it fails once at least
    } finally {
      for (const conn of conns) conn.close();
    }
    const answers = async () => {
      const isThere = ask(port, "GET /healthz").then(({ status }) => status === 200, () => false);
      while (!await isThere) await pause(50);
    };
    await within(answers(), "an answer");
  },
  { ignored: noUnix },
);

/** What the runtime may open while it runs: it goes on without them if it has no descriptor. */
const openedLate = ["/etc/localtime", "/proc/self/statm"];

test(
  "The first look at the page loads no module",
  async (launcher) => {
    await using folder = new ScratchFolder();
    await using http = await startHttpServer(launcher);
    const { server, port } = http;
    await using strace = await Strace.attach(server.pid, `${folder.path}/calls.txt`, {
      calls: "open,openat,openat2",
    });
    // Without a descriptor left, Deno 2.9 may end when it loads one from a file.
    for (const target of ["/healthz", "/", "/page.js", "/metrics", "/api/overview", "/nowhere"]) {
      await ask(port, `GET ${target}`);
    }
    const calls = await strace.detach();
    const paths = new Set(calls.map((call) => /"([^"]+)"/.exec(call)?.[1]));
    assertEquals([...paths].toSorted(), openedLate);
  },
  { ignored: noStrace },
);

test(
  "1,000 silent HTTP connections leave a consumer its descriptor, and are closed",
  async (launcher) => {
    // As many descriptors as a shell gives; `deno run` alone would raise the limit.
    await using http = await startHttpServer(limited(launcher, 1024));
    const { server, port } = http;
    const conns = await connectMany(port, 1000);
    try {
      await conns[0]?.write(new TextEncoder().encode("GET / HT"));
      await using producer = await server.producer();
      assertEquals(await producer.ask("CREATE 1 a 1\nSYNC"), "OK 1");
      await using consumer = await server.consumer();
      assertEquals(await consumer.ask("REQUEST"), "ASSIGN a 1");
      // Those beyond the limit are closed at once, the others when their headers are late.
      const ends = conns.map((conn) => conn.read(new Uint8Array(1000)).catch(() => null));
      await within(allOf(ends), "the end of the silent connections");
      const isAnswered = async () =>
        (await ask(port, "GET /healthz").catch(() => undefined))?.status === 200;
      const answer = async () => {
        while (!await isAnswered()) await pause(50);
      };
      await within(answer(), "an answer");
      assertEquals(server.stderr.count(/descriptors/), 0, server.stderr.text);
    } finally {
      for (const conn of conns) conn.close();
    }
  },
  { ignored: noUnix },
);
