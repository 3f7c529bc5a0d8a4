/**
 * The consumer as a process, with servers that are not as they should be.
 *
 * @module
 */

import { assertEquals, assertMatch } from "@std/assert";
import { pause } from "../lab/deadline.ts";
import { denoRun, startConsumer, startServer } from "../lab/processes.ts";
import { RawServer } from "../lab/peers.ts";

Deno.test("consumer finishes its task and leaves a server that sends more than was asked for", async () => {
  await using server = new RawServer();
  await using consumer = startConsumer(denoRun, server.port);
  const peer = await server.accept();
  await peer.send("Consumer1\nASSIGN a 0.5\n");
  assertEquals(await peer.received.next(), "REQUEST");
  // It is read no further than some lines: the rest is refused by a reset.
  await peer.send("NOTASK\n".repeat(50_000)).catch(() => {});
  assertEquals(await consumer.exitCode(), 1);
  assertEquals(consumer.stdout.texts.slice(0, 3), [
    "Consumer1 connected",
    "[REQUEST]",
    "[COMPLETE] a",
  ]);
  assertEquals(consumer.stderr.texts, [
    "the connection has ended: finishing a first",
    `the server at 127.0.0.1:${server.port} sends more than was asked for: ` +
    "is it one of this protocol?",
  ]);
});

Deno.test("consumer leaves a server that hands out tasks without end and reads nothing", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  // Its stdout, a million lines, is not what this is about.
  await using consumer = startConsumer(denoRun, listener.addr.port, { stdout: "closed" });
  using conn = await listener.accept();
  const flood = (async () => {
    const lines = new TextEncoder().encode("ASSIGN a 0\n".repeat(1000));
    await conn.write(new TextEncoder().encode("Consumer1\n"));
    for (;;) await conn.write(lines);
  })().catch(() => {});
  assertEquals(await consumer.exitCode(60_000), 1);
  assertMatch(consumer.stderr.texts.at(-1) as string, /sends more than was asked for/);
  await flood;
});

Deno.test("consumer --reserve shows ten refusals of a server that refuses without end", async () => {
  await using server = new RawServer();
  await using consumer = startConsumer(denoRun, server.port, { args: ["--reserve"] });
  const peer = await server.accept();
  await peer.send("Consumer1\nASSIGN a 0\n");
  for (let round = 1; round <= 100; round++) {
    await peer.received.line(/^RESERVE$/, { nth: round + 1 });
    await peer.send("ERROR no\nASSIGN a 0\n");
  }
  await peer.received.line(/^RESERVE$/, { nth: 102 });
  assertEquals(await consumer.stop(), 0);
  assertEquals(consumer.stderr.texts, [
    ...Array(10).fill("the server says: ERROR no"),
    "the server says more like this: not shown any more",
  ]);
});

Deno.test("consumer says once, after 2 s, that an answer does not end", async () => {
  await using server = new RawServer();
  await using consumer = startConsumer(denoRun, server.port);
  const peer = await server.accept();
  await peer.send("Consumer1\n");
  assertEquals(await peer.received.next(), "REQUEST");
  await peer.send("ASSIGN a");
  const { text } = await consumer.stderr.line(/./);
  assertEquals(text, 'no answer for 2 s: the server has sent "ASSIGN a" without a line end');
  await peer.send(" 0\n");
  assertEquals(await peer.received.next(), "REQUEST");
  // Longer than it took to say it the first time.
  await pause(2_500);
  assertEquals(await consumer.stop(), 0);
  assertEquals(consumer.stderr.lines.length, 1, consumer.stderr.text);
  assertEquals(consumer.stdout.texts, [
    "Consumer1 connected",
    "[REQUEST]",
    "[COMPLETE] a",
    "[REQUEST]",
    "exit",
  ]);
});

const noGreeting = "no greeting yet: is this the server's port for consumers?";

for (const args of [[], ["--reserve"]]) {
  const called = ["consumer", ...args].join(" ");
  Deno.test(`${called} that came to the port for producers says so, and ends`, async () => {
    await using server = await startServer(denoRun);
    await using consumer = startConsumer(denoRun, server.producerPort, { args });
    assertEquals(await consumer.exitCode(), 1);
    assertEquals(consumer.stdout.text, "[REQUEST]\n");
    assertEquals(consumer.stderr.texts, [
      noGreeting,
      `127.0.0.1:${server.producerPort} is the server's port for producers: ` +
      "use its port for consumers",
    ]);
  });
}

Deno.test("consumer works for a server that greets nobody, and for one that greets late", async () => {
  await using server = new RawServer();
  const work = async (firstAnswers: string, stdout: readonly string[], stderr: string[]) => {
    await using consumer = startConsumer(denoRun, server.port);
    const peer = await server.accept();
    assertEquals(await peer.received.next(), "REQUEST");
    await peer.send(firstAnswers);
    assertEquals(await peer.received.next(), "REQUEST");
    await peer.send("DONE\n");
    assertEquals(await consumer.exitCode(), 0);
    assertEquals(consumer.stdout.texts, ["[REQUEST]", ...stdout, "[REQUEST]", "exit"]);
    assertEquals(consumer.stderr.texts, [noGreeting, ...stderr]);
  };
  await work("ASSIGN a 0\n", ["[COMPLETE] a"], []);
  await work("Consumer7\nASSIGN a 0\n", ["Consumer7 connected", "[COMPLETE] a"], []);
  await work("hello\nASSIGN a 0\n", ["[COMPLETE] a"], ['unexpected greeting "hello"']);
});

Deno.test("consumer goes on asking a server that refuses a later request", async () => {
  await using server = new RawServer();
  await using consumer = startConsumer(denoRun, server.port);
  const peer = await server.accept();
  await peer.send("Consumer1\n");
  assertEquals(await peer.received.next(), "REQUEST");
  await peer.send("ERROR REQUEST belongs on the consumer port\n");
  assertEquals(await peer.received.next(), "REQUEST");
  assertEquals(await consumer.stop(), 0);
});

Deno.test("consumer works for a server that hands out tasks in other words", async () => {
  await using server = new RawServer();
  await using consumer = startConsumer(denoRun, server.port);
  const peer = await server.accept();
  await peer.send("Consumer1\n");
  for (const answer of ["TASK a 0", "b 0.0", "ASSIGN 3 c 0"]) {
    assertEquals(await peer.received.next(), "REQUEST");
    await peer.send(answer + "\n");
  }
  assertEquals(await peer.received.next(), "REQUEST");
  await peer.send("DONE\n");
  assertEquals(await consumer.exitCode(), 0);
  assertEquals(
    consumer.stdout.texts.filter((line) => line.startsWith("[COMPLETE]")),
    ["[COMPLETE] a", "[COMPLETE] b", "[COMPLETE] c"],
  );
  assertEquals(consumer.stderr.text, "");
});

for (
  const [last, code, stdout] of [
    ["DONE", 0, ["[REQUEST]", "exit"]],
    ["ASSIGN a 0.1", 1, ["[REQUEST]", "[COMPLETE] a"]],
  ] as const
) {
  Deno.test(`consumer takes ${last} without LF as the last word of a server`, async () => {
    await using server = new RawServer();
    await using consumer = startConsumer(denoRun, server.port);
    const peer = await server.accept();
    await peer.send("Consumer1\n");
    assertEquals(await peer.received.next(), "REQUEST");
    await peer.send(last);
    peer.close();
    assertEquals(await consumer.exitCode(), code);
    assertEquals(consumer.stdout.texts, ["Consumer1 connected", ...stdout]);
  });
}
