/**
 * The producer as a process, with task files and servers that are not as they should be.
 *
 * @module
 */

import { assert, assertEquals, assertGreater, assertLess } from "@std/assert";
import { createServer } from "node:net";
import { allOf, pause } from "../lab/deadline.ts";
import {
  denoRun,
  findScript,
  inShell,
  inTerminal,
  type Program,
  ScratchFolder,
  start,
  startProducer,
  startServer,
} from "../lab/processes.ts";
import { RawServer } from "../lab/peers.ts";
import { testUnless } from "../test_unless.ts";

const isLinux = Deno.build.os === "linux";

/** Ends a producer that waits for its tasks, and checks what it says. */
async function interruptReading(producer: Program): Promise<void> {
  if (producer.isRunning) producer.kill("SIGINT");
  assertEquals(await producer.exitCode(), 130);
  assertEquals(producer.stdout.text, "exit\n");
  assertEquals(producer.stderr.text, "interrupted: nothing was sent\n");
}

/** The same for one that shows by nothing that it has begun to wait. */
async function interruptAfterAWhile(start: () => Promise<Program>): Promise<void> {
  for (const afterMs of [200, 1000, 5000]) {
    await using producer = await start();
    await pause(afterMs);
    producer.kill("SIGINT");
    await producer.exitCode();
    // On a busy machine the signal may come before the program has said what to do with it.
    if (producer.stdout.text === "" && afterMs < 5000) continue;
    return await interruptReading(producer);
  }
}

Deno.test("producer ends at Ctrl+C while it waits for a FIFO, for the rest of one, and for stdin", async () => {
  await using folder = new ScratchFolder();
  const fifo = `${folder.path}/fifo`;
  assert((await new Deno.Command("mkfifo", { args: [fifo] }).output()).success);
  await using server = new RawServer();
  await interruptAfterAWhile(() => Promise.resolve(startProducer(denoRun, server.port, fifo)));
  await interruptAfterAWhile(async () => {
    const producer = startProducer(denoRun, server.port, "-", { stdin: "piped" });
    await producer.type("0 1 a 1\n0 1");
    return producer;
  });
  {
    await using producer = startProducer(denoRun, server.port, fifo);
    // Opening a FIFO waits for its other end.
    using writer = await Deno.open(fifo, { write: true });
    await writer.write(new TextEncoder().encode("0 1 a 1\n0 1"));
    await interruptReading(producer);
  }
  assertEquals(server.accepted, 0);
});

const script = await findScript();
testUnless(
  script === undefined ? "script (util-linux) is not here" : undefined,
  "producer says that it reads tasks from the terminal, and how to end them",
  async () => {
    await using server = new RawServer();
    const command = denoRun.command("producer", ["127.0.0.1", String(server.port), "-"]);
    await using producer = inTerminal(script as string, command);
    await producer.stdout.line(/^reading tasks from the terminal: end with Ctrl\+D\r$/);
    await producer.type("0 1 a 1\n\x04");
    const peer = await server.accept();
    assertEquals(await peer.toEnd(), "CREATE 1 a 1\n");
    peer.close();
    assertEquals(await producer.exitCode(), 0);
  },
);

Deno.test("producer takes a FIFO like a file", async () => {
  await using folder = new ScratchFolder();
  const fifo = `${folder.path}/fifo`;
  assert((await new Deno.Command("mkfifo", { args: [fifo] }).output()).success);
  await using server = new RawServer();
  await using producer = startProducer(denoRun, server.port, fifo);
  await Deno.writeTextFile(fifo, "0 1 a 1\n0 1 b 1");
  const peer = await server.accept();
  assertEquals(await peer.toEnd(), "CREATE 1 a 1\nCREATE 1 b 1\n");
  peer.close();
  assertEquals(await producer.exitCode(), 0);
});

Deno.test({
  name: "producer refuses a task file that has no end, in bounded memory",
  ignore: !isLinux,
  async fn() {
    await using producer = start(denoRun, "producer", ["127.0.0.1", 1, "/dev/zero"]);
    let mostKib = 0;
    while (producer.isRunning) {
      const status = await Deno.readTextFile(`/proc/${producer.pid}/status`).catch(() => "");
      mostKib = Math.max(mostKib, Number(/^VmRSS:\s*(\d+)/m.exec(status)?.[1] ?? 0));
      await pause(20);
    }
    assertEquals(await producer.exitCode(), 2);
    assertEquals(producer.stdout.text, "");
    assertEquals(producer.stderr.text, "/dev/zero: a task file must have at most 1 GiB\n");
    assertGreater(mostKib, 0);
    assertLess(mostKib, 300 * 1024);
  },
});

Deno.test("producer says after 10 s without the server's close that tasks may be lost, and fails", async () => {
  await using folder = new ScratchFolder();
  const file = await folder.write("tasks.txt", "0 1 a 1\n");
  await using server = new RawServer();
  const unsynced = async () => {
    await using producer = startProducer(denoRun, server.port, file);
    await server.accept();
    assertEquals(await producer.exitCode(), 1);
    assertEquals(producer.stdout.text, "[CREATE] 1 a 1\nexit\n");
    assertEquals(producer.stderr.texts, [
      "all tasks are sent: waiting for the server to close",
      "the server did not close within 10 s: it may not have taken all tasks",
    ]);
  };
  const synced = async () => {
    await using other = new RawServer();
    await using producer = startProducer(denoRun, other.port, file, { args: ["--sync"] });
    const peer = await other.accept();
    await producer.stderr.line(/^waiting for the server: it has confirmed 0 of 1 task$/);
    assertEquals(producer.isRunning, true);
    await peer.send("OK 1\n");
    // What is confirmed is taken, also if the server does not close; here it does.
    assertEquals(await peer.toEnd(), "CREATE 1 a 1\nSYNC\n");
    peer.close();
    assertEquals(await producer.exitCode(), 0);
    assertEquals(producer.stdout.text, "[CREATE] 1 a 1\nexit\n");
    assertEquals(producer.stderr.lines.length, 1);
  };
  await allOf([unsynced(), synced()]);
});

for (
  const [when, tasks, rest] of [
    ["before all is sent", "0 1 a 1\n1000 1 b 1\n", "the first not sent is b"],
    ["after all is sent", "0 1 a 1\n", "none was left"],
  ] as const
) {
  Deno.test(`producer closes at once at DONE ${when}, and says what was sent`, async () => {
    await using folder = new ScratchFolder();
    const file = await folder.write("tasks.txt", tasks);
    await using server = new RawServer();
    await using producer = startProducer(denoRun, server.port, file);
    const peer = await server.accept();
    assertEquals(await peer.received.next(), "CREATE 1 a 1");
    await producer.stdout.line(/^\[CREATE\] 1 a 1$/);
    await peer.send("DONE\n");
    assertEquals(await peer.toEnd(), "CREATE 1 a 1\n");
    // The server has not closed yet: TIME_WAIT is on the producer's side.
    assertEquals(await producer.exitCode(), 1);
    assertEquals(
      producer.stderr.text,
      `the server at 127.0.0.1:${server.port} is shutting down: 1 task was sent, ` +
        `none is confirmed, ${rest}\n`,
    );
  });
}

Deno.test("producer that came to the port for consumers says so, ends, and sends no later task", async () => {
  await using folder = new ScratchFolder();
  const file = await folder.write("tasks.txt", "0 1 a 1\n1000 1 b 1\n");
  await using server = await startServer(denoRun);
  await using producer = startProducer(denoRun, server.consumerPort, file);
  assertEquals(await producer.exitCode(), 1);
  assertEquals(producer.stdout.text.replace("[CREATE] 1 a 1\n", ""), "");
  assertEquals(producer.stderr.texts, [
    `127.0.0.1:${server.consumerPort} is the server's port for consumers: ` +
    "use its port for producers",
  ]);
});

for (const line of ["Consumer1 connected", "1", "OK 1\nConsumer1"]) {
  Deno.test(`producer ignores ${JSON.stringify(line)} of a server written by others`, async () => {
    await using folder = new ScratchFolder();
    const file = await folder.write("tasks.txt", "0 1 a 1\n0.2 1 b 1\n");
    await using server = new RawServer();
    await using producer = startProducer(denoRun, server.port, file);
    const peer = await server.accept();
    await peer.send(`${line}\n`);
    assertEquals(await peer.toEnd(), "CREATE 1 a 1\nCREATE 1 b 1\n");
    peer.close();
    assertEquals(await producer.exitCode(), 0);
    assertEquals(producer.stderr.text, "");
  });
}

Deno.test("producer does not take a reset after the half-close for the server's close", async () => {
  await using folder = new ScratchFolder();
  const file = await folder.write("tasks.txt", "0 1 a 1\n");
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.resume();
    socket.on("end", () => socket.resetAndDestroy());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    const { port } = server.address() as { readonly port: number };
    await using producer = startProducer(denoRun, port, file);
    assertEquals(await producer.exitCode(), 1);
    assertEquals(
      producer.stderr.text,
      `the server at 127.0.0.1:${port} closed the connection: 1 task was sent, ` +
        "none is confirmed, none was left\n",
    );
  } finally {
    await new Promise((resolve) => server.close(resolve));
  }
});

Deno.test("producer shows a few of 200,000 ERRORs, and their number", async () => {
  await using folder = new ScratchFolder();
  const file = await folder.write("tasks.txt", "0 1 a 1\n");
  await using server = new RawServer();
  await using producer = startProducer(denoRun, server.port, file);
  const peer = await server.accept();
  await peer.received.next();
  const lines = "ERROR no\n".repeat(10_000);
  for (let i = 0; i < 20; i++) await peer.send(lines);
  await peer.closeWrite();
  assertEquals(await producer.exitCode(), 1);
  assertEquals(producer.stderr.texts.slice(0, 11), [
    ...Array.from({ length: 10 }, () => "the server says: ERROR no"),
    "the server answered with 200000 errors",
  ]);
  assertEquals(producer.stdout.texts, ["[CREATE] 1 a 1", "exit"]);
});

const rest = (confirmed: number) =>
  `the first ${confirmed} tasks are confirmed: send the rest with --from ${confirmed + 1}`;
const syncAnswers: readonly (readonly [promise: string, answers: string, said: string[]])[] = [
  ["does not believe a server that confirms more than was sent", "OK 3\n", [
    "the server confirms 3 tasks after 2 were sent: not believed",
    rest(0),
  ]],
  ["does not believe a server that confirms what it was not asked", "OK 2\nOK 2\n", [
    "the server confirms 2 tasks after 2 were sent: not believed",
    rest(2),
  ]],
  ["sends nothing more after a refusal", "ERROR store full\nOK 1\n", [
    "the server says: ERROR store full",
    rest(0),
  ]],
];
for (const [promise, answers, said] of syncAnswers) {
  Deno.test(`producer --sync ${promise}`, async () => {
    await using folder = new ScratchFolder();
    const file = await folder.write("tasks.txt", "0 1 a 1\n0 1 b 1\n1000 1 c 1\n");
    await using server = new RawServer();
    await using producer = startProducer(denoRun, server.port, file, { args: ["--sync"] });
    const peer = await server.accept();
    await peer.received.atLeast(3);
    await peer.send(answers);
    assertEquals(await peer.toEnd(), "CREATE 1 a 1\nCREATE 1 b 1\nSYNC\n");
    assertEquals(await producer.exitCode(), 1);
    assertEquals(producer.stderr.texts, said);
  });
}

Deno.test("producer prints exit last if tasks are refused", async () => {
  await using folder = new ScratchFolder();
  const file = await folder.write("tasks.txt", "0 1 a 1\n0.1 1 b 1\n");
  await using server = new RawServer();
  // One pipe for both, as a terminal is.
  await using producer = startProducer(inShell(denoRun, "exec 2>&1"), server.port, file);
  const peer = await server.accept();
  await peer.received.atLeast(2);
  await peer.send("ERROR a\nERROR b\n");
  await peer.closeWrite();
  assertEquals(await producer.exitCode(), 1);
  assertEquals(producer.stdout.texts.slice(-2), ["the server answered with 2 errors", "exit"]);
  assertEquals(producer.stdout.lines.length, 6);
});
