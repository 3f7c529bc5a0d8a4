import {
  assertEquals,
  assertGreater,
  assertGreaterOrEqual,
  assertLess,
  assertLessOrEqual,
  assertMatch,
} from "@std/assert";
import { nowMs, sleep } from "../../lib/clock.ts";
import {
  type ByteSink,
  EventLog,
  gatherMs,
  maxBurstChars,
  maxFlushMs,
  maxUnreadChars,
  slowReaderMs,
} from "../../lib/cli/event_log.ts";
import { readToEnd, socketPair } from "../lab/socket_pair.ts";

/** Keeps what is written, a few bytes at a time. */
class SlowPaper implements ByteSink {
  readonly #decoder = new TextDecoder();
  text = "";
  writes = 0;

  async write(bytes: Uint8Array): Promise<number> {
    this.writes++;
    await new Promise((resolve) => setTimeout(resolve, 0));
    const taken = bytes.subarray(0, 7);
    this.text += this.#decoder.decode(taken, { stream: true });
    return taken.length;
  }
}

Deno.test("EventLog writes its lines whole and in order, also where the sink takes a few bytes", async () => {
  const paper = new SlowPaper();
  const log = new EventLog(paper);
  const lines = ["[CREATE] 1 작업 1", "", "[ASSIGN] 작업 - consumer1", "exit"];
  for (const line of lines) log.write(line);
  await log.close();
  assertEquals(paper.text, lines.join("\n") + "\n");
});

Deno.test("EventLog.write() never writes by itself: it gathers the lines of a while", async () => {
  using pair = await socketPair();
  let writes = 0;
  const log = new EventLog({
    write(bytes) {
      writes++;
      return pair.near.write(bytes);
    },
  });
  for (let i = 0; i < 1000; i++) log.write(`line ${i}`);
  assertEquals(writes, 0);
  await log.close();
  pair.near.close();
  assertEquals((await readToEnd(pair.far)).split("\n").length, 1001);
  assertLess(writes, 10);
});

Deno.test("EventLog writes a line that comes alone in the same turn of the event loop", async () => {
  const paper = new SlowPaper();
  const log = new EventLog(paper);
  log.write("listening");
  await Promise.resolve();
  assertEquals(paper.writes, 1);
  await log.close();
});

Deno.test("EventLog gathers lines that come in many turns of the event loop", async () => {
  let writes = 0;
  const log = new EventLog({
    write(bytes) {
      writes++;
      return Promise.resolve(bytes.length);
    },
  });
  const startMs = nowMs();
  for (let i = 0; i < 50; i++) {
    log.write(`line ${i}`);
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
  await log.close();
  assertLessOrEqual(writes, 2 + (nowMs() - startMs) / gatherMs);
});

/** Holds its first write until it is let go; keeps what was written. */
class HeldPaper implements ByteSink {
  readonly begun = Promise.withResolvers<void>();
  readonly goOn = Promise.withResolvers<void>();
  text = "";

  async write(bytes: Uint8Array): Promise<number> {
    this.begun.resolve();
    await this.goOn.promise;
    this.text += new TextDecoder().decode(bytes);
    return bytes.length;
  }
}

for (const waiting of [0, 1, 31, 32, 33, 100]) {
  Deno.test(`EventLog keeps the order of ${waiting} lines that come during a write`, async () => {
    const paper = new HeldPaper();
    const log = new EventLog(paper);
    const lines = ["first", ...Array.from({ length: waiting }, (_, i) => `line ${i} ✓`)];
    log.write("first");
    await paper.begun.promise;
    for (const line of lines.slice(1)) log.write(line);
    paper.goOn.resolve();
    await log.close();
    assertEquals(paper.text, lines.map((line) => `${line}\n`).join(""));
  });

  Deno.test(`EventLog.startNewLine() comes before ${waiting} lines that wait`, async () => {
    const paper = new HeldPaper();
    const log = new EventLog(paper);
    const lines = Array.from({ length: waiting }, (_, i) => `line ${i}`);
    log.write("first");
    await paper.begun.promise;
    for (const line of lines) log.write(line);
    log.startNewLine();
    log.write("exit");
    paper.goOn.resolve();
    await log.close();
    assertEquals(paper.text, ["first", "", ...lines, "exit", ""].join("\n"));
  });
}

Deno.test("EventLog writes without being closed, and goes on after a pause", async () => {
  using pair = await socketPair();
  const log = new EventLog(pair.near);
  const buffer = new Uint8Array(100);
  for (const line of ["first", "second"]) {
    log.write(line);
    const count = await pair.far.read(buffer) ?? 0;
    assertEquals(new TextDecoder().decode(buffer.subarray(0, count)), `${line}\n`);
  }
  await log.close();
});

Deno.test("EventLog.write() keeps lines that come while others are being written", async () => {
  const begun = Promise.withResolvers<void>();
  const goOn = Promise.withResolvers<void>();
  let text = "";
  const log = new EventLog({
    async write(bytes) {
      begun.resolve();
      await goOn.promise;
      text += new TextDecoder().decode(bytes);
      return bytes.length;
    },
  });
  log.write("a");
  await begun.promise;
  log.write("b");
  log.write("c");
  goOn.resolve();
  await log.close();
  assertEquals(text, "a\nb\nc\n");
});

Deno.test("EventLog.close() of an empty log ends at once", async () => {
  const startMs = nowMs();
  await new EventLog(new SlowPaper()).close();
  assertLess(nowMs() - startMs, maxFlushMs);
});

/** 1 KiB with its LF. */
const longLine = "x".repeat(1023);

Deno.test("EventLog keeps 8 MiB for a stalled reader, drops whole lines beyond, and says how many", async () => {
  const complaints: string[] = [];
  const paper = new HeldPaper();
  const log = new EventLog(paper, (line) => complaints.push(line));
  log.write("first");
  await paper.begun.promise;
  // 24 MiB in 24 steps: within the first few the reader is found to be slow.
  const steps = 24;
  for (let step = 0; step < steps; step++) {
    for (let i = 0; i < 1024; i++) log.write(longLine);
    await sleep(slowReaderMs / 4);
  }
  paper.goOn.resolve();
  await log.close();
  const lines = paper.text.split("\n").slice(1, -1);
  assertEquals(new Set(lines), new Set([longLine]));
  assertEquals(complaints, [
    `${steps * 1024 - lines.length} lines of output dropped: their reader is too slow`,
  ]);
  assertEquals(log.droppedLines, steps * 1024 - lines.length);
  // A busy machine may find out later that the reader is slow, but not 8 steps later.
  assertGreaterOrEqual(lines.length, maxUnreadChars / 1024 - 1);
  assertLess(lines.length, 16 * 1024);
});

Deno.test("EventLog keeps all of a burst of 300,000 lines: the reader had no chance to take them", async () => {
  const complaints: string[] = [];
  const path = await Deno.makeTempFile();
  try {
    using file = await Deno.open(path, { write: true });
    const log = new EventLog(file, (line) => complaints.push(line));
    const count = 300_000;
    for (let i = 0; i < count; i++) log.write(`[REQUEUE] a_task_of_some_name_${i} - consumer1`);
    await log.close();
    assertEquals(complaints, []);
    const lines = (await Deno.readTextFile(path)).split("\n");
    assertEquals([lines.length, lines.at(-2)], [
      count + 1,
      `[REQUEUE] a_task_of_some_name_${count - 1} - consumer1`,
    ]);
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("EventLog gives up lines at its end if the reader stalls, and keeps a bounded burst", async () => {
  using pair = await socketPair();
  const complaints: string[] = [];
  const log = new EventLog(pair.near, (line) => complaints.push(line));
  const lines = 2 * maxBurstChars / 1024;
  for (let i = 0; i < lines; i++) log.write(longLine);
  const startMs = nowMs();
  await log.close();
  const tookMs = nowMs() - startMs;
  assertGreater(tookMs, maxFlushMs - 1);
  assertLess(tookMs, 10 * maxFlushMs);
  // None is known to have been read; those beyond the bound were never kept.
  assertEquals(complaints, [
    `up to ${lines} lines of output dropped: their reader is too slow`,
  ]);
  pair.near.close();
  assertMatch((await readToEnd(pair.far)).slice(0, 2048), /^(x{1023}\n){2}$/);
});

Deno.test("EventLog keeps at most 64 MiB of one burst", async () => {
  const complaints: string[] = [];
  let bytes = 0;
  const log = new EventLog({
    write(part) {
      bytes += part.length;
      return Promise.resolve(part.length);
    },
  }, (line) => complaints.push(line));
  const lines = 2 * maxBurstChars / 1024;
  for (let i = 0; i < lines; i++) log.write(longLine);
  await log.close();
  assertLessOrEqual(bytes, maxBurstChars);
  assertEquals(complaints, [
    `${lines - bytes / 1024} lines of output dropped: their reader is too slow`,
  ]);
});

Deno.test("EventLog.flush() in time leaves the next flush its own 500 ms", async () => {
  const paper = new SlowPaper();
  const log = new EventLog(paper);
  log.write("a");
  await log.flush();
  await sleep(maxFlushMs);
  log.write("b");
  await log.close();
  assertEquals(paper.text, "a\nb\n");
});

Deno.test("EventLog drops nothing, and says nothing, where its reader comes in time", async () => {
  const complaints: string[] = [];
  const paper = new HeldPaper();
  const log = new EventLog(paper, (line) => complaints.push(line));
  for (let i = 0; i < 100; i++) log.write(`line ${i}`);
  await paper.begun.promise;
  const flushing = log.flush();
  paper.goOn.resolve();
  await flushing;
  log.write("exit");
  await log.close();
  assertEquals([paper.text.split("\n").length, complaints], [102, []]);
});

Deno.test("EventLog says once that its reader has gone, and drops what comes then", async () => {
  using pair = await socketPair();
  const complaints: string[] = [];
  const log = new EventLog(pair.near, (line) => complaints.push(line));
  pair.far.close();
  // The first write after the close is still taken; its answer is a reset.
  const deadlineMs = nowMs() + 10_000;
  for (let i = 0; complaints.length === 0 && nowMs() < deadlineMs; i++) {
    log.write(`line ${i}`);
    await sleep(25);
  }
  for (let i = 0; i < 10; i++) {
    log.write("more");
    await sleep(5);
  }
  await log.close();
  assertEquals(complaints.length, 1);
  assertMatch(complaints[0] ?? "", /^cannot write to standard output: /);
});

Deno.test("EventLog says once that a disk is full, and writes again when there is room", async () => {
  const complaints: string[] = [];
  let failures = 0;
  let text = "";
  const log = new EventLog({
    write(bytes) {
      if (++failures <= 3) return Promise.reject(new Error("No space left on device"));
      text += new TextDecoder().decode(bytes);
      return Promise.resolve(bytes.length);
    },
  }, (line) => complaints.push(line));
  const deadlineMs = nowMs() + 10_000;
  while (text === "" && nowMs() < deadlineMs) {
    log.write("line");
    await sleep(1);
  }
  await log.close();
  assertMatch(text, /^(line\n)+$/);
  assertEquals(complaints, ["cannot write to standard output: No space left on device"]);
});
