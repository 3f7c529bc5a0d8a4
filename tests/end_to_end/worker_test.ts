/**
 * The worker, with real commands: what becomes of a task follows from how its command ends, and
 * nothing that a command has started is left behind.
 *
 * @module
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { pause, within } from "../lab/deadline.ts";
import { RawServer } from "../lab/peers.ts";
import {
  denoRun,
  denoScript,
  Program,
  ScratchFolder,
  type ServerProgram,
  type StartOptions,
  startServer,
  startStoreServer,
} from "../lab/processes.ts";

/** Starts a server that has some tasks; each is `<priority> <task_id> <duration> [payload]`. */
async function serverWith(...tasks: string[]): Promise<ServerProgram> {
  const server = await startServer(denoRun);
  await create(server, ...tasks);
  return server;
}

async function create(server: ServerProgram, ...tasks: string[]): Promise<void> {
  await using producer = await server.producer();
  await producer.send(tasks.map((task) => `CREATE ${task}\n`).join(""));
  assertEquals(await producer.ask("SYNC"), `OK ${tasks.length}`);
}

/** Starts a worker; the arguments are its options, `--`, and the command. */
function startWorker(
  server: ServerProgram | number,
  args: readonly string[],
  options: StartOptions = {},
): Program {
  const port = typeof server === "number" ? server : server.consumerPort;
  const flags = ["--no-prompt", "--allow-net", "--allow-run"];
  return new Program(denoScript("worker.ts", flags, ["127.0.0.1", String(port), ...args]), options);
}

/** A command line for a shell: what the tests' commands do is shortest in its language. */
function sh(script: string): string[] {
  return ["--", "sh", "-c", script];
}

/** Whether a process runs; one that is dead, but not yet reaped by its parent, does not. */
async function runs(pid: number): Promise<boolean> {
  try {
    const stat = await Deno.readTextFile(`/proc/${pid}/stat`);
    return !/^.*\) [ZX]/.test(stat);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

async function untilDead(pid: number): Promise<void> {
  const dead = async () => {
    while (await runs(pid)) await pause(20);
  };
  await within(dead(), `the end of process ${pid}`);
}

Deno.test("The exit code of a command says what becomes of its task", async () => {
  await using server = await serverWith("1 ok 9", "1 three 9", "1 later 9", "1 never 9", "1 hit 9");
  await using worker = startWorker(server, [
    "--until-empty",
    ...sh(
      "case $TASK_ID in three) exit 3;; later) exit 75;; never) exit 65;; hit) kill -9 $$;; esac",
    ),
  ]);
  assertEquals(await worker.exitCode(), 1);
  assertEquals(worker.stderr.texts, [
    "[COMPLETE] ok",
    "[FAIL] three: exit 3",
    "[RELEASE] later: exit 75, again in 10 s",
    "[BURY] never: exit 65",
    "[FAIL] hit: killed by SIGKILL",
  ]);
  assertEquals(worker.stdout.text, "");
  await server.stdout.line(/^\[FAIL\] hit /);
  const said = server.stdout.texts.filter((line) => /\[(?!CREATE|ASSIGN|Cons|\d)/.test(line));
  assertEquals(said, [
    "[COMPLETE] ok - consumer1",
    "[FAIL] three - consumer1",
    "[REQUEUE] later - consumer1",
    "[BURY] never - consumer1",
    "[FAIL] hit - consumer1",
  ]);
});

Deno.test("A worker whose command cannot be run ends with 2, and no task pays for it", async () => {
  await using scratch = new ScratchFolder();
  const noProgram = await scratch.write("no program", "text");
  await using server = await serverWith("1 first 9", "2 second 9");
  const commands: readonly (readonly [command: string[], why: RegExp])[] = [
    [["--", "no-such-program", "{}"], /cannot run "no-such-program": it is not found/],
    [["--", noProgram], /it cannot be executed/],
    [sh("exit 126"), /exit 126: it cannot be executed/],
    [sh("no-such-program"), /exit 127: it is not found/],
    [["--until-empty", "-j", "3", ...sh("exit 127")], /exit 127: it is not found/],
  ];
  for (const [command, why] of commands) {
    await using worker = startWorker(server, command);
    assertEquals(await worker.exitCode(), 2);
    assertMatch(worker.stderr.text, why);
    assertMatch(worker.stderr.text, /^\[RELEASE\] first: /m);
  }
  // Five ends that count would have buried it.
  assertEquals((await server.drain("REQUEST")).slice(0, 2), ["first", "second"]);
  assertEquals(server.stdout.count(/^\[(?:FAIL|BURY)\]/), 0);
});

Deno.test("{} is the task's name, also within an argument, and no shell ever reads it", async () => {
  await using scratch = new ScratchFolder();
  const name = "$(touch${IFS}x);rm'\"`id`&|>y*?{}$&$1";
  await using server = await serverWith(`1 ${name} 9`);
  const command = ["--until-empty", "--", "printf", "%s\\n", "{}", "a{}b{}", "plain", "{}"];
  await using worker = startWorker(server, command, { cwd: scratch.path });
  assertEquals(await worker.exitCode(), 0);
  assertEquals(worker.stdout.texts, [name, `a${name}b${name}`, "plain", name]);
  assertEquals([...Deno.readDirSync(scratch.path)], []);
});

Deno.test("The program to be run is never chosen by a task's name", async () => {
  await using server = await serverWith("1 true 9");
  await using worker = startWorker(server, ["--until-empty", "--", "{}"]);
  assertEquals(await worker.exitCode(), 2);
  assertMatch(worker.stderr.text, /cannot run "\{\}": it is not found/);
});

Deno.test("A command finds its task in the environment, which it shares otherwise", async () => {
  await using server = await serverWith("1 작업 2.50");
  await using worker = startWorker(server, ["--until-empty", "--", "env"]);
  assertEquals(await worker.exitCode(), 0);
  const lines = worker.stdout.texts;
  const added = ["TASK_DURATION=2.5", "TASK_ID=작업", "TASK_LEASE=15", "WORKER=1"];
  assertEquals(lines.filter((line) => /^(?:TASK|WORKER)/.test(line)).sort(), added);
  assert(lines.includes(`PATH=${Deno.env.get("PATH")}`), worker.stdout.text);
});

Deno.test("A command reads the payload from standard input, to its end", async () => {
  const payload = `{"path": "/in/42", "이름": [1, 2.50, "${"x".repeat(800)}"]}`;
  await using server = await serverWith(`1 a 9 ${payload}`);
  await using worker = startWorker(server, ["--until-empty", "--", "cat"]);
  assertEquals(await worker.exitCode(), 0);
  assertEquals(worker.stdout.text, `${payload}\n`);
});

Deno.test("A payload in a task file reaches the command", async () => {
  await using server = await serverWith();
  await using producer = new Program(
    denoScript("producer.ts", ["--no-prompt", "--allow-net", "--allow-read"], [
      ...["127.0.0.1", String(server.producerPort), "-", "--sync"],
    ]),
    { stdin: "piped" },
  );
  await producer.type('0 2 pic7 5 {"path": "holiday 7.png"}\n');
  await producer.closeStdin();
  assertEquals(await producer.exitCode(), 0, producer.stderr.text);
  assertEquals(producer.stdout.text, "[CREATE] 2 pic7 5\nexit\n");
  await using worker = startWorker(server, ["--until-empty", "--", "cat"]);
  assertEquals(await worker.exitCode(), 0);
  assertEquals(worker.stdout.text, '{"path": "holiday 7.png"}\n');
});

Deno.test("A command that does not read its payload does not fail for it", async () => {
  const payload = `["${"x".repeat(60_000)}"]`;
  await using server = await startServer(denoRun, { args: ["--max-line", "65536"] });
  await create(server, `1 a 9 ${payload}`, `1 b 9 ${payload}`);
  await using worker = startWorker(server, ["--until-empty", ...sh("exec <&-; true")]);
  assertEquals(await worker.exitCode(), 0);
});

Deno.test("Without a payload standard input is empty, whatever the worker's own is", async () => {
  await using server = await serverWith("1 a 9");
  await using worker = startWorker(server, ["--until-empty", "--", "cat"], { stdin: "piped" });
  await worker.type("typed\n");
  assertEquals(await worker.exitCode(), 0);
  assertEquals(worker.stdout.text, "");
});

Deno.test("A command that runs too long is ended in time, and what it started, too", async () => {
  await using server = await serverWith("1 renewed 0");
  // Its lease is 10 s, as is that of the others.
  await using patient = startWorker(server, ["--until-empty", "--touch", "--", "sleep", "11"]);
  await server.stdout.line(/^\[ASSIGN\] renewed /);
  await create(server, "1 gives-in 0", "1 refuses 0");
  // The first shell dies of SIGTERM; the second and its child ignore it.
  await using worker = startWorker(server, [
    ...["-j", "2", "--until-empty", "--tag"],
    ...sh("[ {} = refuses ] && trap '' TERM; sleep 1000 & echo $!; wait"),
  ]);
  assertEquals(await worker.exitCode(), 1);
  const lines = worker.stderr.texts.toSorted();
  assertEquals(lines.length, 2, worker.stderr.text);
  assertMatch(lines[0] as string, /^\[FAIL\] gives-in: ended after 5 s: too long$/);
  assertMatch(lines[1] as string, /^\[FAIL\] refuses: ended after 5 s: too long$/);
  // In time: the server takes it for a failure, not for the end of a lease.
  await server.stdout.line(/^\[FAIL\] (?:gives-in|refuses) - consumer/, { nth: 2 });
  for (const line of worker.stdout.texts) await untilDead(Number(line.split("\t")[1]));
  assertEquals(worker.stdout.lines.length, 2);
  assertEquals(await patient.exitCode(), 0);
  assertEquals(patient.stderr.text, "[COMPLETE] renewed\n");
});

Deno.test("-j 4 runs four commands at a time, each in a place of its own", async () => {
  await using scratch = new ScratchFolder();
  await using server = await serverWith(...Array.from({ length: 12 }, (_, i) => `1 t${i} 60`));
  // The first four wait for each other; afterwards a place that is used twice would show.
  await using worker = startWorker(server, [
    ...["-j", "4", "--until-empty"],
    ...sh(
      "mkdir place$WORKER && touch at$WORKER || exit 1; " +
        "while [ $(ls -d at* | wc -l) -lt 4 ]; do sleep 0.02; done; rmdir place$WORKER",
    ),
  ], { cwd: scratch.path });
  assertEquals(await worker.exitCode(), 0, worker.stderr.text);
  assertEquals(worker.stderr.count(/^\[COMPLETE\]/), 12);
  const places = [...Deno.readDirSync(scratch.path)].map(({ name }) => name).sort();
  assertEquals(places, ["at1", "at2", "at3", "at4"]);
});

Deno.test("The output of commands that run at the same time is not mixed", async () => {
  await using server = await serverWith("1 a 60", "1 b 60", "1 c 60");
  await using worker = startWorker(server, [
    ...["-j", "3", "--until-empty"],
    ...sh("for i in 1 2 3 4 5; do echo {} $i; echo {} $i >&2; sleep 0.1; done"),
  ]);
  assertEquals(await worker.exitCode(), 0);
  for (const { texts } of [worker.stdout, worker.stderr]) {
    const runs = texts.join("\n").match(/(?:^([abc]) \d\n?){5}/gm) ?? [];
    const expected = (name: string) => [1, 2, 3, 4, 5].map((i) => `${name} ${i}`).join("\n");
    const found = runs.map((run) => run.trimEnd()).sort();
    assertEquals(found, ["a", "b", "c"].map(expected), texts.join("\n"));
  }
  // The worker's line stands behind the output of its task.
  assertMatch(worker.stderr.text, /^a 5\n\[COMPLETE\] a$/m);
});

Deno.test("Much output at the same time is neither mixed nor lost", async () => {
  await using server = await serverWith("1 a 60", "1 b 60", "1 c 60");
  const lines = 200;
  await using worker = startWorker(server, [
    ...["-j", "3", "--until-empty"],
    ...sh(`head -c ${lines * 60_000} /dev/zero | tr '\\0' {} | fold -w 60000; echo`),
  ]);
  assertEquals(await worker.exitCode(), 0);
  const order = worker.stdout.texts.map((line) => line[0]).join("");
  assertMatch(order, /^(a+|b+|c+){3}$/);
  for (const name of ["a", "b", "c"]) {
    assertEquals(worker.stdout.count(new RegExp(`^${name}{60000}$`)), lines);
  }
});

Deno.test("--tag begins each line with the task's name, as soon as it comes", async () => {
  await using scratch = new ScratchFolder();
  await using server = await serverWith("1 a 60");
  await using worker = startWorker(server, [
    ...["--tag", "--until-empty"],
    ...sh("echo one; echo two >&2; while [ ! -e go ]; do sleep 0.02; done; printf three"),
  ], { cwd: scratch.path });
  await worker.stdout.line(/^a\tone$/);
  await worker.stderr.line(/^a\ttwo$/);
  await scratch.write("go", "");
  assertEquals(await worker.exitCode(), 0);
  assertEquals(worker.stdout.text, "a\tone\na\tthree\n");
  assertEquals(worker.stderr.text, "a\ttwo\n[COMPLETE] a\n");
});

Deno.test("--quiet leaves the commands' output, and the exit code", async () => {
  await using server = await serverWith("1 a 60", "1 b 60");
  await using worker = startWorker(server, ["-q", "--until-empty", ...sh("echo {}; [ {} = a ]")]);
  assertEquals(await worker.exitCode(), 1);
  assertEquals(worker.stdout.text, "a\nb\n");
  assertEquals(worker.stderr.text, "");
});

Deno.test("--until-empty ends with 0 on an empty queue, and after tasks that others create", async () => {
  await using server = await serverWith();
  await using idle = startWorker(server, ["--until-empty", ...sh("true")]);
  assertEquals(await idle.exitCode(), 0);
  assertEquals(idle.stderr.text, "");
  await using scratch = new ScratchFolder();
  await create(server, "1 first 60");
  // The queue is empty while the first one runs, and is not any more when it has ended.
  await using worker = startWorker(server, [
    ...["-j", "2", "--until-empty"],
    ...sh("[ {} = second ] || while [ ! -e go ]; do sleep 0.02; done"),
  ], { cwd: scratch.path });
  await server.stdout.line(/^\[ASSIGN\] first /);
  await create(server, "1 second 60");
  await worker.stderr.line(/^\[COMPLETE\] second$/);
  await scratch.write("go", "");
  assertEquals(await worker.exitCode(), 0);
  assertEquals(worker.stderr.texts, ["[COMPLETE] second", "[COMPLETE] first"]);
});

Deno.test("--until-empty leaves no task undone, and gives none back, however many work at a time", async () => {
  await using server = await startServer(denoRun);
  for (const count of [3, 5, 7, 11]) {
    await create(server, ...Array.from({ length: count }, (_, i) => `1 t${i} 60`));
    await using worker = startWorker(server, ["-j", "4", "--until-empty", "--", "true"]);
    assertEquals(await worker.exitCode(), 0, worker.stderr.text);
    assertEquals(worker.stderr.count(/^\[COMPLETE\]/), count);
  }
  assertEquals(server.stdout.count(/^\[REQUEUE\]/), 0);
});

Deno.test("At Ctrl+C a worker takes no more, and waits for what runs", async () => {
  await using scratch = new ScratchFolder();
  await using server = await serverWith("1 first 60", "2 second 60");
  await using worker = startWorker(
    server,
    sh("echo started; while [ ! -e go ]; do sleep 0.02; done; echo finished"),
    { cwd: scratch.path },
  );
  await worker.stdout.line(/^started$/);
  worker.kill("SIGINT");
  await worker.stderr.line(
    /^waiting for 1 command, 25 s at most; Ctrl\+C again gives its task back$/,
  );
  await scratch.write("go", "");
  assertEquals(await worker.exitCode(), 0);
  assertEquals(worker.stdout.text, "started\nfinished\n");
  assertEquals(worker.stderr.texts.slice(1), ["[COMPLETE] first"]);
  assertEquals(await server.drain(), ["second"]);
});

for (
  const [how, options, isPressed] of [
    ["a second Ctrl+C", [], true],
    ["the end of --grace", ["--grace", "1"], false],
  ] as const
) {
  Deno.test(`At ${how} commands are ended, and their tasks given back: 130`, async () => {
    await using server = await serverWith("1 a 60", "1 b 60");
    await using worker = startWorker(server, [
      ...["-j", "2", ...options],
      ...sh("sleep 1000 & echo $! >&2; trap 'echo told {}; exit 0' TERM; wait"),
    ]);
    await server.stdout.line(/^\[ASSIGN\]/, { nth: 2 });
    // The output of commands comes at their end, so nothing tells that they have set the trap.
    await pause(500);
    worker.kill("SIGTERM");
    await worker.stderr.line(/^waiting for 2 commands, /);
    if (isPressed) {
      // Within this time it would be the same key press.
      await pause(600);
      worker.kill("SIGINT");
    }
    assertEquals(await worker.exitCode(), 130);
    assertEquals(worker.stdout.texts.toSorted(), ["told a", "told b"]);
    const lines = worker.stderr.texts.toSorted();
    const told = lines.filter((line) => line.startsWith("["));
    assertEquals(told, ["[RELEASE] a: told to stop", "[RELEASE] b: told to stop"]);
    for (const line of lines) if (/^\d+$/.test(line)) await untilDead(Number(line));
    await server.stdout.line(/^\[REQUEUE\] [ab] - consumer/, { nth: 2 });
    assertEquals((await server.drain()).toSorted(), ["a", "b"]);
  });
}

Deno.test("A worker that waits for tasks ends at once at Ctrl+C, with 0", async () => {
  await using server = await serverWith();
  await using worker = startWorker(server, ["--", "true"]);
  await server.stdout.line(/^\[Consumer1 connected\]$/);
  assertEquals(await worker.stop("SIGTERM"), 0);
  assertEquals([worker.stdout.text, worker.stderr.text], ["", ""]);
});

Deno.test("A worker goes on when its server was killed and started again", async () => {
  await using scratch = new ScratchFolder();
  const store = `${scratch.path}/tasks.db`;
  await using first = await startStoreServer(store);
  await create(first, "1 a 60", "2 b 60");
  // The first attempt at `a` does not end by itself.
  await using worker = startWorker(
    first,
    sh("[ {} = a ] && ! [ -e again ] && { touch again; echo {} $$; sleep 1000; }; true"),
    { cwd: scratch.path },
  );
  await worker.stdout.line(/^a \d+$/);
  await first.crash();
  await worker.stderr.line(/^no connection: /);
  await worker.stderr.line(/^\[LOST\] a: /);
  await untilDead(Number(worker.stdout.texts[0]?.split(" ")[1]));
  const ports: [number, number] = [first.producerPort, first.consumerPort];
  await using second = await startStoreServer(store, { ports });
  await worker.stderr.line(/^\[COMPLETE\] b$/);
  assertEquals(worker.stderr.texts.slice(-2), ["[COMPLETE] a", "[COMPLETE] b"]);
  await create(second, "1 c 60");
  await worker.stderr.line(/^\[COMPLETE\] c$/);
  assertEquals(await worker.stop(), 0);
});

Deno.test("A worker that ends by itself ends with 1 if there is no server", async () => {
  const server = await serverWith();
  const { consumerPort } = server;
  await server[Symbol.asyncDispose]();
  await using worker = startWorker(consumerPort, ["--until-empty", "--", "true"]);
  assertEquals(await worker.exitCode(), 1);
  assertMatch(worker.stderr.text, /^127\.0\.0\.1:\d+: .*refused/);
});

Deno.test("A worker looks its server's name up again until there is one", async () => {
  await using worker = new Program(
    denoScript("worker.ts", ["--no-prompt", "--allow-net", "--allow-run"], [
      ...["no-such-host.invalid", "5001", "--", "true"],
    ]),
  );
  const { text } = await worker.stderr.line(/^no connection: /);
  assertMatch(text, /no-such-host\.invalid:5001: .*: trying again until there is one$/);
  worker.kill("SIGINT");
  assertEquals(await worker.exitCode(), 0);
});

Deno.test("--until-empty ends by the server's NOTASK alone, and by no lost connection", async () => {
  await using server = new RawServer();
  await using worker = startWorker(server.port, ["--until-empty", "--", "true"]);
  for (let consumer = 1; consumer <= 3; consumer++) {
    const peer = await server.accept();
    await peer.send(`Consumer${consumer}\nOK 0\n`);
    await peer.received.line(/^RESERVE$/);
    if (consumer === 3) await peer.send("NOTASK\n");
    else if (consumer === 2) await peer.send("ASSIGN a 60\nDONE\n");
    peer.close();
  }
  assertEquals(await worker.exitCode(), 0);
});

Deno.test("A worker waits for its turn at a server with too many connections", async () => {
  await using server = await startServer(denoRun, { args: ["--max-connections", "1"] });
  await using guest = await server.consumer();
  await using worker = startWorker(server, ["--", "true"]);
  const { text } = await worker.stderr.line(/too many connections/);
  assertMatch(text, /^no connection: 127\.0\.0\.1:\d+ .*: trying again until there is one$/);
  guest.close();
  await server.stdout.line(/^\[Consumer2 connected\]$/);
  assertEquals(await worker.stop(), 0);
});

Deno.test("A folder of files is compressed, four at a time", async () => {
  await using scratch = new ScratchFolder();
  const names = Array.from({ length: 40 }, (_, i) => `file-${i}`);
  for (const name of names) await scratch.write(name, name.repeat(1000));
  await using server = await serverWith(...names.map((name) => `2 ${name} 5`));
  const command = ["-j", "4", "--until-empty", "--", "gzip", "--", "{}"];
  await using worker = startWorker(server, command, { cwd: scratch.path });
  assertEquals(await worker.exitCode(), 0, worker.stderr.text);
  const found = [...Deno.readDirSync(scratch.path)].map(({ name }) => name).sort();
  assertEquals(found, names.map((name) => `${name}.gz`).sort());
  await server.stdout.line(/^\[COMPLETE\]/, { nth: 40 });
});

Deno.test("A command's daemon that keeps its output open does not hold the worker up", async () => {
  await using server = await serverWith("1 a 60");
  await using worker = startWorker(server, [
    ...["--tag", "--until-empty"],
    ...sh("setsid sleep 60 & echo $!; exit 0"),
  ]);
  assertEquals(await worker.exitCode(20_000), 0);
  assertMatch(worker.stdout.text, /^a\t\d+\n$/);
  // It has left the group on purpose.
  const daemon = Number(worker.stdout.text.split("\t")[1]);
  assert(await runs(daemon));
  Deno.kill(daemon, "SIGKILL");
});

const refusals: readonly (readonly [args: string[], flags: string[], line: RegExp])[] = [
  [["127.0.0.1", "1"], [], /^worker: <command> is missing: it stands behind --$/],
  [["127.0.0.1", "1", "echo"], [], /^worker: <command> is missing/],
  [["127.0.0.1", "1", "--"], [], /^worker: <command> is missing/],
  [["127.0.0.1", "--", "echo"], [], /^worker: <port> is missing$/],
  [["127.0.0.1", "1", "x", "--", "echo"], [], /^worker: unexpected argument "x"$/],
  [["127.0.0.1", "1", "-j", "0", "--", "echo"], [], /^--parallel must be a whole number from 1 /],
  [["127.0.0.1", "1", "--grace", "x", "--", "echo"], [], /^--grace must be a whole number from 0 /],
  [["127.0.0.1", "1", "--tags", "--", "echo"], [], /"--tags" \(did you mean --tag\?\)$/],
  [["127.0.0.1", "1", "--", "echo"], ["--allow-net"], /^running "echo" .* --allow-run\)$/],
  [["127.0.0.1", "1", "--", "echo"], ["--allow-run"], /^network access .* --allow-net\)$/],
];

for (const [args, flags, line] of refusals) {
  Deno.test(`worker ${args.join(" ")} ${flags.join(" ")}: ends with 2, and says why`, async () => {
    const permissions = flags.length > 0 ? flags : ["--allow-net", "--allow-run"];
    await using worker = new Program(
      denoScript("worker.ts", ["--no-prompt", ...permissions], args),
    );
    assertEquals(await worker.exitCode(), 2);
    assertMatch(worker.stderr.texts[0] ?? "", line);
  });
}
