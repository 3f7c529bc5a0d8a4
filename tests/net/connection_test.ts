import { assert, assertEquals, assertGreater, assertLess, assertMatch } from "@std/assert";
import { maxLineBytes } from "../../lib/core/protocol.ts";
import { nowMs, sleep } from "../../lib/clock.ts";
import {
  Connection,
  ConnectionGroup,
  isDisconnect,
  lingerMs,
  maxWaitingChars,
} from "../../lib/net/connection.ts";
import { type Line, UnreadableLine } from "../../lib/line.ts";
import { readToEnd, resettableConn, socketPair } from "../lab/socket_pair.ts";
import { writeAll } from "../lab/peers.ts";

/** Reads lines until there are some, or the end. */
async function readSome(connection: Connection): Promise<Line[] | undefined> {
  for (;;) {
    const lines = await connection.readLines();
    if (lines === undefined || lines.length > 0) return lines;
  }
}

/** Reads all lines to the end of the peer's side. */
async function readAll(connection: Connection): Promise<Line[]> {
  const all: Line[] = [];
  for (let lines = await readSome(connection); lines; lines = await readSome(connection)) {
    all.push(...lines);
  }
  return all;
}

/** Sends until the kernel takes no more, with a peer that does not read. */
async function fillKernel(connection: Connection): Promise<number> {
  let sent = 0;
  while (!connection.isBacklogged) {
    // Lines of many lengths, so that the kernel's limit falls inside of one.
    for (let i = 0; i < 500; i++) connection.send(`ASSIGN task${sent++} ${"0".repeat(i % 7)}1`);
    connection.flush();
    // What the kernel takes at all it takes within a turn or two.
    const timeUp = new AbortController();
    await Promise.race([connection.drained(), sleep(100, timeUp.signal)]);
    timeUp.abort();
  }
  return sent;
}

Deno.test("Connection.readLines() returns each line once its LF has come, in any pieces", async () => {
  using pair = await socketPair();
  const connection = new Connection(pair.near, new ConnectionGroup({ maxLineBytes }));
  await writeAll(pair.far, "REQ");
  assertEquals(await connection.readLines(), []);
  await writeAll(pair.far, "UEST\r\nRESERVE\nCOMP");
  assertEquals(await readSome(connection), ["REQUEST", "RESERVE"]);
  await writeAll(pair.far, "LETE a\n");
  assertEquals(await readSome(connection), ["COMPLETE a"]);
});

Deno.test("Connection.readLines() returns undefined at the end, and drops an unended line", async () => {
  using pair = await socketPair();
  const connection = new Connection(pair.near, new ConnectionGroup({ maxLineBytes }));
  await writeAll(pair.far, "SYNC\nCREATE 1 a 1");
  pair.far.close();
  assertEquals(await readAll(connection), ["SYNC"]);
  assertEquals(await connection.readLines(), undefined);
});

Deno.test("Connection reads 10 MB of lines whole, in order", async () => {
  using pair = await socketPair();
  const connection = new Connection(pair.near, new ConnectionGroup({ maxLineBytes }));
  const lines = Array.from({ length: 100_000 }, (_, index) => `${"x".repeat(90)} ${index}`);
  const [read] = await Promise.all([
    readAll(connection),
    writeAll(pair.far, lines.join("\n") + "\n").then(() => pair.far.closeWrite()),
  ]);
  assertEquals(read.length, lines.length);
  assert(read.every((line, index) => line === lines[index]));
});

Deno.test("Connection takes a line of 1024 bytes, and one error in place of a longer one", async () => {
  using pair = await socketPair();
  const connection = new Connection(pair.near, new ConnectionGroup({ maxLineBytes }));
  await writeAll(pair.far, `${"x".repeat(1023)}\n${"y".repeat(100_000)}\nSYNC\n`);
  await pair.far.closeWrite();
  assertEquals(await readAll(connection), [
    "x".repeat(1023),
    new UnreadableLine("line must have at most 1024 bytes with its LF"),
    "SYNC",
  ]);
});

Deno.test("Connection still sends to a peer that has closed its side", async () => {
  using pair = await socketPair();
  const connection = new Connection(pair.near, new ConnectionGroup({ maxLineBytes }));
  await writeAll(pair.far, "REQUEST\n");
  await pair.far.closeWrite();
  assertEquals(await readAll(connection), ["REQUEST"]);
  connection.send("NOTASK");
  connection.flush();
  await connection.closeWrite();
  assertEquals(await readToEnd(pair.far), "NOTASK\n");
});

Deno.test("Connection.send() sends nothing before flush(), then all in order", async () => {
  using pair = await socketPair();
  const connection = new Connection(pair.near, new ConnectionGroup({ maxLineBytes }));
  connection.send("a");
  connection.send("b");
  assertEquals(connection.unsentLines, 2);
  connection.flush();
  connection.send("c");
  await connection.drained();
  connection.flush();
  await connection.drained();
  assertEquals(connection.unsentLines, 0);
  await connection.closeWrite();
  assertEquals(await readToEnd(pair.far), "a\nb\nc\n");
});

Deno.test("Connection sends small lines at once: no 40 ms wait for a delayed ACK", async () => {
  using pair = await socketPair();
  const connection = new Connection(pair.near, new ConnectionGroup({ maxLineBytes }));
  pair.far.setNoDelay(true);
  const buffer = new Uint8Array(100);
  const rounds = 50;
  const startMs = nowMs();
  for (let round = 0; round < rounds; round++) {
    for (const line of ["COMPLETE a", "REQUEST"]) {
      connection.send(line);
      connection.flush();
      await connection.drained();
    }
    for (let got = 0; got < "COMPLETE a\nREQUEST\n".length;) {
      got += await pair.far.read(buffer) ?? Infinity;
    }
    await writeAll(pair.far, "NOTASK\n");
    assertEquals(await readSome(connection), ["NOTASK"]);
  }
  assertLess(nowMs() - startMs, rounds * 40 / 2);
});

Deno.test("Connection.isBacklogged tells when more than 64 KiB wait, until the peer reads", async () => {
  using pair = await socketPair();
  const connection = new Connection(pair.near, new ConnectionGroup({ maxLineBytes }));
  connection.send("x".repeat(maxWaitingChars - 1));
  assertEquals(connection.isBacklogged, false);
  connection.send("");
  assertEquals(connection.isBacklogged, true);
  connection.flush();
  await connection.drained();
  assertEquals(connection.isBacklogged, false);
  await fillKernel(connection);
  assertEquals(connection.isBacklogged, true);
  const reading = readToEnd(pair.far);
  await connection.drained();
  assertEquals([connection.isBacklogged, connection.unsentLines], [false, 0]);
  await connection.closeWrite();
  await reading;
});

Deno.test("Connection sends each line once, in order, to a peer that reads late", async () => {
  using pair = await socketPair();
  const connection = new Connection(pair.near, new ConnectionGroup({ maxLineBytes }));
  const sent = await fillKernel(connection);
  const reading = readToEnd(pair.far);
  await connection.closeWrite();
  const names = [...(await reading).matchAll(/^ASSIGN task(\d+) 0*1$/gm)].map((line) => line[1]);
  assertEquals(names.length, sent);
  assert(names.every((name, index) => name === String(index)));
});

Deno.test("Connection reads no more of a peer that leaves 128 replies, however little each read brings", async () => {
  using pair = await socketPair();
  const connection = new Connection(pair.near, new ConnectionGroup({ maxLineBytes }));
  await fillKernel(connection);
  for (let i = 0; i < 129; i++) connection.send("x");
  connection.flush();
  await writeAll(pair.far, "line\n");
  let isRead = false;
  const reading = connection.readLines().then((lines) => {
    isRead = true;
    return lines;
  });
  // A read of what is there takes a turn or two.
  await sleep(50);
  assertEquals(isRead, false);
  const replies = readToEnd(pair.far);
  assertEquals(await reading, ["line"]);
  await connection.closeWrite();
  await replies;
  connection.close();
});

Deno.test("Connection.unsentLines is exact after a partial write to a peer that does not read", async () => {
  using pair = await socketPair();
  const connection = new Connection(pair.near, new ConnectionGroup({ maxLineBytes }));
  const sent = await fillKernel(connection);
  connection.close();
  await connection.drained();
  const unsent = connection.unsentLines;
  assertGreater(unsent, 0);
  const received = await readToEnd(pair.far);
  // The last line may have come in part: it counts as unsent.
  assertEquals(received.split("\n").length - 1, sent - unsent);
});

Deno.test("Connection.unsentLines is exact after a reset, too", async () => {
  using pair = await socketPair();
  const connection = new Connection(pair.near, new ConnectionGroup({ maxLineBytes }));
  await fillKernel(connection);
  const before = connection.unsentLines;
  pair.far.close(); // with input unread: the kernel sends RST
  await connection.drained();
  assertEquals(connection.unsentLines, before);
  connection.send("one more");
  connection.flush();
  await connection.drained();
  assertEquals(connection.unsentLines, before + 1);
  connection.close();
});

for (const isReading of [true, false]) {
  const when = isReading ? "while it reads" : "before it reads";
  Deno.test(`Connection takes a reset by its peer ${when} for an end, not for an error`, async () => {
    using peer = await resettableConn();
    const connection = new Connection(peer.near, new ConnectionGroup({ maxLineBytes }));
    const reading = isReading ? connection.readLines() : undefined;
    await peer.reset();
    assertEquals(await (reading ?? connection.readLines()), undefined);
    connection.send("into the void");
    connection.flush();
    await connection.drained();
    assertEquals(connection.unsentLines, 1);
    assertEquals(await connection.readLines(), undefined);
    await connection.closeWrite();
    await connection.closeGently();
  });
}

Deno.test("Connection takes a reset while it writes for an end, not for an error", async () => {
  using peer = await resettableConn();
  const connection = new Connection(peer.near, new ConnectionGroup({ maxLineBytes }));
  await peer.reset();
  connection.send("into the void");
  connection.flush();
  await connection.drained();
  assertEquals([connection.unsentLines, await connection.readLines()], [1, undefined]);
  connection.close();
});

Deno.test("Connection.close() ends a read and a write under way, and may come twice", async () => {
  using pair = await socketPair();
  const connection = new Connection(pair.near, new ConnectionGroup({ maxLineBytes }));
  const reading = connection.readLines();
  await fillKernel(connection);
  connection.close();
  connection.close();
  assertEquals(await reading, undefined);
  await connection.drained();
  assertEquals(await connection.readLines(), undefined);
});

Deno.test("Connection.closeGently() delivers the last line, though the peer's input is unread", async () => {
  using pair = await socketPair();
  const connection = new Connection(pair.near, new ConnectionGroup({ maxLineBytes }));
  await writeAll(pair.far, "x".repeat(200_000));
  connection.send("ERROR too many errors");
  connection.flush();
  const closing = connection.closeGently();
  assertEquals(await readToEnd(pair.far), "ERROR too many errors\n");
  pair.far.close();
  await closing;
});

Deno.test("Connection.closeGently() waits for the peer's close, and then no longer", async () => {
  using pair = await socketPair();
  const connection = new Connection(pair.near, new ConnectionGroup({ maxLineBytes }));
  const startMs = nowMs();
  const closing = connection.closeGently();
  assertEquals(await readToEnd(pair.far), "");
  pair.far.close();
  await closing;
  assertLess(nowMs() - startMs, lingerMs);
});

Deno.test("Connection.closeGently() gives up after a second on a peer that does not close", async () => {
  using pair = await socketPair();
  const connection = new Connection(pair.near, new ConnectionGroup({ maxLineBytes }));
  const startMs = nowMs();
  await connection.closeGently();
  assertGreater(nowMs() - startMs, lingerMs - 1);
});

Deno.test("Connection.closeGently() gives up on a peer that sends on and on", async () => {
  using pair = await socketPair();
  const connection = new Connection(pair.near, new ConnectionGroup({ maxLineBytes }));
  // Until the reset: more than 1 MiB will not be read.
  const flood = writeAll(pair.far, "x".repeat(100_000_000)).then(() => "taken", isDisconnect);
  await connection.closeGently();
  assertEquals(await flood, true);
});

Deno.test("Connection.closeGently() is not held by a peer that does not read", async () => {
  using pair = await socketPair();
  const connection = new Connection(pair.near, new ConnectionGroup({ maxLineBytes }));
  await fillKernel(connection);
  await connection.closeGently();
  await connection.drained();
  assertGreater(connection.unsentLines, 0);
});

Deno.test("Connection.peer is the address and port of the other end", async () => {
  using pair = await socketPair();
  const { port } = pair.far.localAddr;
  assertEquals(
    new Connection(pair.near, new ConnectionGroup({ maxLineBytes })).peer,
    `127.0.0.1:${port}`,
  );
});

Deno.test("isDisconnect() is false for our own bugs", () => {
  const bugs = [new TypeError("undefined is not a function"), new RangeError("no"), "text"];
  assertEquals(bugs.map(isDisconnect), [false, false, false]);
});

Deno.test("Connections share no bytes: one that stalls gets its own lines, whatever others send", async () => {
  using stalledPair = await socketPair();
  using busyPair = await socketPair();
  const stalled = new Connection(stalledPair.near, new ConnectionGroup({ maxLineBytes }));
  const busy = new Connection(busyPair.near, new ConnectionGroup({ maxLineBytes }));
  const sent = await fillKernel(stalled);
  const busyReading = readToEnd(busyPair.far);
  for (let i = 0; i < 100; i++) {
    // As long as what the other one has under way.
    for (let n = 0; n < 1400; n++) busy.send("NOTASK");
    busy.flush();
    await busy.drained();
  }
  await busy.closeWrite();
  assertEquals((await busyReading).length, 100 * 1400 * "NOTASK\n".length);
  const reading = readToEnd(stalledPair.far);
  stalled.flush();
  await stalled.drained();
  await stalled.closeWrite();
  const lines = (await reading).trimEnd().split("\n");
  assertEquals(lines.length, sent);
  for (const [i, line] of lines.entries()) assertMatch(line, new RegExp(`^ASSIGN task${i} 0*1$`));
});
