import { assertEquals, assertLess, assertMatch } from "@std/assert";
import { cpuSeconds } from "../lab/proc.ts";
import { sleep } from "../../lib/clock.ts";
import { Random } from "../lab/random.ts";
import { connectMany, Flood, limited, openFiles } from "../lab/load/scenarios.ts";
import type { FloodOrder } from "../lab/load/flood_worker.ts";
import { denoRun, type ServerProgram, startServer } from "../lab/processes.ts";
import { RawPeer, writeAll } from "../lab/peers.ts";
import { ResettingPeer } from "../lab/load/resets.ts";

/** Creates tasks and waits until the server has taken them. */
async function create(server: ServerProgram, tasks: readonly string[]): Promise<void> {
  await using producer = await server.producer();
  const lines = tasks.map((task) => `CREATE 2 ${task} 1\n`).join("");
  assertEquals(await producer.ask(`${lines}SYNC`), `OK ${tasks.length}`);
}

Deno.test("A server gives a dialogue the same answers, however it is cut into segments", async () => {
  await using server = await startServer(denoRun);
  const dialogue = new TextEncoder().encode("CREATE 9 a 1\r\nSYNC\nSYNC 작업\nKICK b\nSYNC\n");
  const expected = [
    'ERROR priority must be 1, 2 or 3, got "9"',
    "OK 0",
    'ERROR there is a field too many: expected "SYNC", got "SYNC 작업"',
    'ERROR no task "b" is buried',
    "OK 0\n",
  ].join("\n");
  const sendCut = async (cuts: readonly number[]) => {
    using conn = await Deno.connect({ port: server.producerPort });
    conn.setNoDelay(true);
    for (const [index, end] of [...cuts, dialogue.length].entries()) {
      await conn.write(dialogue.subarray(cuts[index - 1] ?? 0, end));
      await sleep(1);
    }
    await conn.closeWrite();
    assertEquals(await new Response(conn.readable).text(), expected);
  };
  const everywhere = Array.from({ length: dialogue.length - 1 }, (_, index) => index + 1);
  await sendCut([]);
  await sendCut(everywhere);
  await Promise.all(everywhere.map((cut) => sendCut([cut])));
});

Deno.test("A server gives 100 commands in one segment 100 answers, in order", async () => {
  await using server = await startServer(denoRun);
  await create(server, Array.from({ length: 30 }, (_, index) => `task${index}`));
  await using consumer = await server.consumer();
  // A completion with no task of its own, glued to a request: both count.
  await consumer.send(
    "REQUEST\nNONSENSE\nCOMPLETE task0\nREQUEST\n".repeat(25) + "REQUEST\n".repeat(25),
  );
  const expected: string[] = [];
  for (let request = 0, task = 0; request < 75; request++) {
    expected.push(task < 30 ? `ASSIGN task${task++} 1` : "NOTASK");
    if (request % 2 === 0 && request < 50) expected.push("ERROR");
  }
  const answers: string[] = [];
  while (answers.length < expected.length) {
    answers.push((await consumer.received.next()).replace(/^ERROR.*/, "ERROR"));
  }
  assertEquals(answers, expected);
});

Deno.test("A server executes no line without its LF, whether FIN or RST follows", async () => {
  await using server = await startServer(denoRun);
  await using producer = await server.producer();
  await producer.send("CREATE 1 whole 1\nCREATE 1 fin 1");
  await producer.closeWrite();
  assertEquals(await producer.toEnd(), "");
  const resetting = await ResettingPeer.connect(server.producerPort);
  await resetting.send("CREATE 1 whole 1\nCREATE 1 reset 1");
  await server.stdout.line(/whole/, { nth: 2 });
  await resetting.reset();
  assertEquals(await server.drain(), ["whole", "whole"]);
});

Deno.test("A server takes a line of 1024 bytes, and answers one of 1025 with one ERROR", async () => {
  await using server = await startServer(denoRun);
  await using producer = await server.producer();
  const padded = (bytes: number) => "CREATE 1 a 1".padEnd(bytes - 1, " ");
  assertEquals(await producer.ask(`${padded(1024)}\nSYNC`), "OK 1");
  assertEquals(
    await producer.ask(`${padded(1025)}\nSYNC`),
    "ERROR line must have at most 1024 bytes with its LF",
  );
  assertEquals(await producer.received.next(), "OK 1");
});

Deno.test("A server answers other protocols with errors, closes after 100, and echoes nothing raw", async () => {
  const seed = Date.now() % 1_000_000_000;
  const random = new Random(seed);
  const randomBytes = Uint8Array.from({ length: 64 * 1024 }, () => random.below(256));
  randomBytes[0] = 0x21; // not as TLS begins
  // More LFs than 100 for sure, and not only in a line that is too long.
  for (let i = 0; i < 64; i++) randomBytes.fill(0x0a, i * 1024, i * 1024 + 2);
  const resp = "*1\r\n$4\r\nPING\r\n";
  await using server = await startServer(denoRun);
  for (const port of [server.producerPort, server.consumerPort]) {
    for (const input of [resp.repeat(34), randomBytes]) {
      const conn = await Deno.connect({ port });
      const bytes = typeof input === "string"
        ? Uint8Array.from(input, (char) => char.charCodeAt(0))
        : input;
      const answer = new Response(conn.readable).text();
      await writeAll(conn, bytes);
      const lines = (await answer).split("\n").filter((line) => !/^Consumer\d/.test(line));
      assertEquals(lines.pop(), "");
      assertEquals(lines.length, 101, `seed ${seed}`);
      assertEquals(lines.pop(), "ERROR too many errors");
      for (const line of lines) {
        assertMatch(line, /^ERROR [^\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+$/u, `seed ${seed}`);
      }
    }
  }
  for (const { text } of [...server.stderr.lines, ...server.stdout.lines]) {
    assertMatch(text, /^[^\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+$/u);
  }
});

Deno.test("A server answers a peer that half-closes at once, and survives one that says nothing", async () => {
  await using server = await startServer(denoRun);
  for (const port of [server.producerPort, server.consumerPort]) {
    (await Deno.connect({ port })).close();
  }
  await using _silent = await server.producer();
  await create(server, ["a"]);
  await using consumer = await RawPeer.connect(server.consumerPort);
  await consumer.send("REQUEST\n");
  await consumer.closeWrite();
  assertMatch(await consumer.toEnd(), /^Consumer\d+\nASSIGN a 1\n$/);
});

Deno.test("A server takes names in any script, and those that mean something to a program", async () => {
  await using server = await startServer(denoRun);
  const names = [
    "작업-1",
    "👨🏽",
    "__proto__",
    "constructor",
    "NOTASK",
    "DONE",
    "%s%d%c",
    "é".repeat(127),
  ];
  await create(server, names);
  assertEquals(await server.drain(), names);
  for (const name of names) await server.stdout.line(new RegExp(`^\\[CREATE\\] 2 ${name} 1$`, "u"));
});

Deno.test("A server lets no control or format character of a peer onto its terminal", async () => {
  await using server = await startServer(denoRun);
  const splinters = [
    "\x1b[2J",
    "\x1b]52;c;QQ==\x07",
    "\x7f",
    "\u009b",
    "\u202e",
    "\u2028",
    "\ufeff",
  ];
  for (const splinter of splinters) {
    // New peers for each: of one peer's mistakes only a few are said.
    await using producer = await server.producer();
    await using consumer = await server.consumer();
    assertMatch(await producer.ask(`CREATE 1 a${splinter} 1`), /^ERROR [\x20-\x7e]+$/);
    assertMatch(await producer.ask(`${splinter}CREATE 1 a 1`), /^ERROR [\x20-\x7e]+$/);
    assertMatch(await consumer.ask(`COMPLETE ${splinter}`), /^ERROR [\x20-\x7e]+$/);
  }
  await server.stderr.atLeast(1 + 3 * splinters.length);
  assertMatch(server.stderr.text, /^[\x20-\x7e\n]+$/);
  assertEquals(server.stdout.count(/^\[CREATE\]/), 0);
});

Deno.test("A reset ends its own connection alone, in whatever state it comes", async () => {
  await using server = await startServer(denoRun);
  await using bystander = await server.consumer();
  const states: readonly [string, "producerPort" | "consumerPort", string][] = [
    ["idle producer", "producerPort", ""],
    ["idle consumer", "consumerPort", ""],
    ["half a line", "producerPort", "CREATE 1 ha"],
    ["after a command, before its reply is read", "producerPort", "SYNC\n"],
    ["in the middle of many replies", "consumerPort", "REQUEST\n".repeat(200_000)],
  ];
  for (const [state, port, text] of states) {
    const files = openFiles(server.pid);
    const peer = await ResettingPeer.connect(server[port]);
    const sending = peer.send(text); // in the last state it need not end
    if (text.length < 100) await sending;
    else await sleep(50);
    await peer.reset();
    for (let i = 0; openFiles(server.pid) > files; i++) {
      assertLess(i, 1000, `the server keeps the connection after a reset: ${state}`);
      await sleep(10);
    }
    assertEquals(await bystander.ask("REQUEST"), "NOTASK", state);
  }
  assertEquals(server.stderr.lines.length, 1, server.stderr.text);
});

Deno.test("A consumer's reservations are back as soon as it is reset, in their old place", async () => {
  await using server = await startServer(denoRun);
  await create(server, ["a", "b", "c", "d"]);
  const peer = await ResettingPeer.connect(server.consumerPort);
  await peer.send("RESERVE\nRESERVE\nRESERVE\nCOMPLETE b\nRESERVE\n");
  await server.stdout.line(/^\[ASSIGN\] d - consumer1$/);
  await peer.reset();
  await server.stdout.line(/^\[REQUEUE\] d - consumer1$/);
  assertEquals(await server.drain(), ["a", "c", "d"]);
});

Deno.test("Two consumers that race for one task: one gets it, every time", async () => {
  await using server = await startServer(denoRun);
  await using first = await server.consumer();
  await using second = await server.consumer();
  await using producer = await server.producer();
  for (let round = 1; round <= 200; round++) {
    assertEquals(await producer.ask(`CREATE 1 task${round} 1\nSYNC`), `OK ${round}`);
    const answers = await Promise.all([first.ask("REQUEST"), second.ask("REQUEST")]);
    assertEquals(answers.sort(), [`ASSIGN task${round} 1`, "NOTASK"]);
  }
});

Deno.test("Each of 20,000 tasks goes to one consumer, while consumers come, go and are reset", async () => {
  await using server = await startServer(denoRun);
  const tasks = Array.from({ length: 20_000 }, (_, index) => `task${index}`);
  await create(server, tasks);
  const completed: string[] = [];
  const comeAndGo = async (isReset: boolean) => {
    while (completed.length < tasks.length) {
      if (isReset) {
        const peer = await ResettingPeer.connect(server.consumerPort);
        await peer.send("RESERVE\n".repeat(3));
        await peer.reset();
        continue;
      }
      await using consumer = await server.consumer();
      for (let round = 0; round < 10; round++) {
        await consumer.send("RESERVE\n".repeat(50));
        let complete = "";
        for (let i = 0; i < 50; i++) {
          const [verb, task] = (await consumer.received.next()).split(" ");
          if (verb === "ASSIGN") complete += `COMPLETE ${task}\n`;
        }
        if (complete === "") continue;
        // The SYNC of consumers: a request's answer confirms what was completed before.
        const answer = await consumer.ask(`${complete}RESERVE`);
        completed.push(...complete.match(/task\d+/g) as string[]);
        if (answer !== "NOTASK") await consumer.send(`RELEASE ${answer.split(" ")[1]}\n`);
      }
    }
  };
  await Promise.all([...Array.from({ length: 6 }, () => comeAndGo(false)), comeAndGo(true)]);
  // A task that resets made come back for the fifth time is buried; none is lost.
  assertEquals(completed.length, tasks.length);
  assertEquals(new Set(completed).size, tasks.length);
});

Deno.test("A server serves its limit of connections, and tells the next one why it does not", async () => {
  await using server = await startServer(denoRun, { args: ["--max-connections", "3"] });
  await using producer = await server.producer();
  assertEquals(await producer.ask("SYNC"), "OK 0");
  await using second = await server.consumer();
  await using third = await server.consumer();
  for (const port of [server.producerPort, server.consumerPort]) {
    await using refused = await RawPeer.connect(port);
    assertEquals(await refused.toEnd(), "ERROR too many connections\n");
  }
  third.close();
  await server.stdout.line(/^\[1 consumers online\]$/, { nth: 2 });
  await using _next = await server.consumer();
  assertEquals(await second.ask("REQUEST"), "NOTASK");
});

Deno.test("A server holds its limit of tasks: the next waits, is said once, and is not lost", async () => {
  await using server = await startServer(denoRun, { args: ["--max-tasks", "2"] });
  await using producer = await server.producer();
  assertEquals(await producer.ask("CREATE 1 a 1\nCREATE 1 b 1\nSYNC"), "OK 2");
  await producer.send("CREATE 1 c 1\nCREATE 1 d 1\nSYNC\n");
  await server.stderr.line(/^the queue is full at 2 tasks: producers wait$/);
  await using other = await server.producer();
  assertEquals(await other.ask("SYNC"), "OK 0");
  await using consumer = await server.consumer();
  assertEquals(await consumer.ask("REQUEST"), "ASSIGN a 1");
  await server.stdout.line(/^\[CREATE\] 1 c 1$/);
  assertEquals(producer.received.count(/OK/), 1);
  assertEquals(await consumer.ask("REQUEST"), "ASSIGN b 1");
  assertEquals(await producer.received.next(), "OK 4");
  assertEquals(server.stderr.lines.length, 2, server.stderr.text);
});

Deno.test("A server out of descriptors says so once, serves on, and recovers", async () => {
  await using server = await startServer(limited(denoRun, 100));
  await using served = await server.consumer();
  const conns = await connectMany(server.producerPort, 120);
  try {
    await server.stderr.line(/^out of file descriptors: raise ulimit -n$/);
    // Longer than the first ten pauses of the accept loop together.
    for (const endMs = performance.now() + 1000; performance.now() < endMs;) {
      assertEquals(await served.ask("REQUEST"), "NOTASK");
    }
  } finally {
    for (const conn of conns) conn.close();
  }
  await create(server, ["a"]);
  assertEquals(await server.drain(), ["a"]);
  assertEquals(server.stderr.count(/out of file descriptors/), 1, server.stderr.text);
});

const crowds: Record<string, Omit<FloodOrder, "port">> = {
  "100 floods": { connections: 100, line: "REQUEST" },
  // Each of them sends too little at a time to be a flood by its bytes.
  "300 peers that wait for their answers": {
    connections: 300,
    line: "RELEASE a",
    linesPerWrite: 102,
    waitsForAnswers: true,
  },
};

for (const [crowd, order] of Object.entries(crowds)) {
  Deno.test(`A polite client beside ${crowd} waits for one of them, not for each`, async () => {
    await using server = await startServer(denoRun, { args: ["--quiet"] });
    await using polite = await server.consumer();
    using _flood = await Flood.start({ port: server.consumerPort, ...order });
    const workSeconds: number[] = [];
    for (let asked = 0; asked < 300; asked++) {
      const before = cpuSeconds(server.pid);
      assertEquals(await polite.ask("REQUEST"), "NOTASK");
      workSeconds.push(cpuSeconds(server.pid) - before);
    }
    // What the server does between question and answer, not how long it takes: that also depends on
    // what else the machine does. 10 ms, the step of this clock; 200 and more if it serves each one.
    workSeconds.sort((a, b) => a - b);
    assertLess(workSeconds[296] as number, 0.1);
    // Of all 300 together: about 1 s, and 15 s if the crowd is served in between.
    assertLess(workSeconds.reduce((sum, seconds) => sum + seconds), 5);
  });
}
