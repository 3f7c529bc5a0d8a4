/**
 * What the programs make of their arguments and task files: console.md's exit codes and lines.
 *
 * @module
 */

import { assertEquals, assertMatch, assertNotMatch } from "@std/assert";
import { allOf } from "../lab/deadline.ts";
import {
  inShell,
  type Launcher,
  listeningPorts,
  type Program,
  type Role,
  ScratchFolder,
  start,
  startConsumer,
  startProducer,
  startServer,
} from "../lab/processes.ts";
import { RawServer } from "../lab/peers.ts";
import { test } from "./register.ts";

/** A wrong command line: the role and its arguments, the exit code, the whole of stderr. */
type WrongCase = readonly [Role, readonly string[], number, string];

const usage: Readonly<Record<Role, string>> = {
  server: "Usage: server <ip> <producer_port> <consumer_port> [options]\nTry server --help.\n",
  producer: "Usage: producer <ip> <port> [task_file] [options]\nTry producer --help.\n",
  consumer: "Usage: consumer <ip> <port> [worker_name] [options]\nTry consumer --help.\n",
  worker: "Usage: worker <ip> <port> [options] -- <command> [args...]\nTry worker --help.\n",
};

const ip = "127.0.0.1";

/** The port is that of a running server: nothing but the arguments is wrong. */
function wrongArguments(port: string): readonly WrongCase[] {
  const missing = (role: Role, name: string, ...args: string[]): WrongCase => [
    role,
    args,
    2,
    `${role}: <${name}> is missing\n${usage[role]}`,
  ];
  const badPort = (role: Role, name: string, least: number, args: string[], got: string) =>
    [
      role,
      args,
      2,
      `${name} must be a whole number from ${least} to 65535, got "${got}"\n`,
    ] as const;
  const badPorts = ["65536", "80.5", "abc", "", "1e3", "0x10", " 80"];
  const ipv6 = 'ip must be an IPv4 address or a name, got the IPv6 address "::1"\n';
  return [
    missing("server", "ip"),
    missing("server", "producer_port", ip),
    missing("server", "consumer_port", ip, "0"),
    missing("producer", "ip"),
    missing("producer", "port", ip),
    missing("consumer", "ip"),
    missing("consumer", "port", ip),
    ["server", [ip, "0", "0", "x"], 2, `server: unexpected argument "x"\n${usage.server}`],
    [
      "producer",
      [ip, port, "good.txt", "x"],
      2,
      `producer: unexpected argument "x"\n${usage.producer}`,
    ],
    [
      "consumer",
      [ip, port, "anna", "x"],
      2,
      `consumer: unexpected argument "x"\n${usage.consumer}`,
    ],
    ["server", [ip, "0", "0", "--nope"], 2, `server: unknown option "--nope"\n${usage.server}`],
    [
      "producer",
      [ip, port, "good.txt", "-x"],
      2,
      `producer: unknown option "-x"\n${usage.producer}`,
    ],
    [
      "consumer",
      [ip, port, "--quite"],
      2,
      `consumer: unknown option "--quite" (did you mean --quiet?)\n${usage.consumer}`,
    ],
    ["consumer", [ip, port, "--", "x"], 2, "consumer runs no commands: see worker --help\n"],
    [
      "producer",
      [ip, port, "good.txt", "--from", "1", "--from", "2"],
      2,
      `producer: --from was given twice\n${usage.producer}`,
    ],
    [
      "server",
      [ip, "0", "0", "--http", "80x"],
      2,
      '--http\'s port must be a whole number from 0 to 65535, got "80x"\n',
    ],
    [
      "server",
      [ip, "0", "0", "--http", "0.0.0.0:8080"],
      2,
      '--http must be on this machine alone, such as 127.0.0.1:8080, got "0.0.0.0:8080": ' +
      "whoever reaches the page may remove tasks; give --token-file, or use ssh -L 8080:127.0.0.1:8080\n",
    ],
    [
      "server",
      [ip, "5000", "5001", "--http", "5001"],
      2,
      "--http's port must be another than those of the queue, got 5001\n",
    ],
    [
      "server",
      [ip, "0", "0", "--http", "127.0.0.999:0"],
      2,
      "--http's ip must be four numbers from 0 to 255, such as 127.0.0.1, or a name, " +
      'got "127.0.0.999"\n',
    ],
    [
      "server",
      [ip, "0", "0", "--http", "[::1]:0"],
      2,
      '--http\'s ip must be an IPv4 address or a name, got the IPv6 address "[::1]"\n',
    ],
    [
      "server",
      [ip, "0", "0", "--http", "0", "--http-host", "queue.example:80"],
      2,
      "--http-host must be names without ports, such as queue.example,queue, " +
      'got "queue.example:80"\n',
    ],
    [
      "server",
      [ip, "0", "0", "--http-host", "queue.example"],
      2,
      "--http-host needs --http: it says what the page's server is called\n",
    ],
    [
      "server",
      [ip, "0", "0", "--accept-damaged-store"],
      2,
      "--accept-damaged-store needs --store: it says how to open that file\n",
    ],
    [
      "server",
      [ip, "-1", "0"],
      2,
      `server: a number must not be negative, got "-1"\n${usage.server}`,
    ],
    [
      "consumer",
      [ip, "-1"],
      2,
      `consumer: a number must not be negative, got "-1"\n${usage.consumer}`,
    ],
    ...badPorts.map((got) => badPort("server", "producer_port", 0, [ip, got, "0"], got)),
    badPort("server", "consumer_port", 0, [ip, "0", "65536"], "65536"),
    badPort("producer", "port", 1, [ip, "65536", "good.txt"], "65536"),
    badPort("producer", "port", 1, [ip, "0", "good.txt"], "0"),
    badPort("consumer", "port", 1, [ip, "abc"], "abc"),
    badPort("consumer", "port", 1, [ip, "0"], "0"),
    [
      "server",
      [ip, "5000", "5000"],
      2,
      "producer_port and consumer_port must differ, got 5000 twice\n",
    ],
    ["server", ["::1", "0", "0"], 2, ipv6],
    ["producer", ["::1", port, "good.txt"], 2, ipv6],
    ["consumer", ["::1", port], 2, ipv6],
    ["server", ["a b", "0", "0"], 2, 'ip must be an IPv4 address or a name, got "a b"\n'],
    ["server", ["", "0", "0"], 2, 'ip must be an IPv4 address or a name, got ""\n'],
    [
      "server",
      [ip, "0", "0", "--max-tasks", "0"],
      2,
      '--max-tasks must be a whole number from 1 to 100000000, got "0"\n',
    ],
    [
      "server",
      [ip, "0", "0", "--max-connections", "many"],
      2,
      '--max-connections must be a whole number from 1 to 100000000, got "many"\n',
    ],
    [
      "producer",
      [ip, port, "good.txt", "--from", "0"],
      2,
      '--from must be a whole number from 1 to 9007199254740991, got "0"\n',
    ],
    // An address of RFC 5737, which no machine has.
    [
      "server",
      ["192.0.2.1", "0", "0"],
      1,
      "Cannot listen on 192.0.2.1:0: the address is not one of this machine\n",
    ],
    [
      "server",
      [ip, port, "0"],
      1,
      `Cannot listen on ${ip}:${port}: the port is in use (another server may be running: choose another port)\n`,
    ],
    [
      "producer",
      [ip, "1", "good.txt"],
      1,
      `Cannot connect to ${ip}:1: nothing listens there (start the server first, check address and port)\n`,
    ],
    [
      "consumer",
      [ip, "1"],
      1,
      `Cannot connect to ${ip}:1: nothing listens there (start the server first, check address and port)\n`,
    ],
    // A name of RFC 6761, which no name server knows.
    [
      "consumer",
      ["no-such-host.invalid", port],
      1,
      'Cannot find an IPv4 address of "no-such-host.invalid": check the name\n',
    ],
  ];
}

/** A broken task file, and what is said of it; %s is its name. */
const brokenFiles: readonly (readonly [string | Uint8Array, string])[] = [
  ["0 1 a 1\n0 1 b 1\n0 high c 1\n", '%s:3: priority must be 1, 2 or 3, got "high"\n'],
  [
    "0 4 a 1\n\n0 1 b -1\r\n-1 1 c 1\n0 1 d\n0 1 e 1 1\n",
    '%s:1: priority must be 1, 2 or 3, got "4"\n' +
    '%s:3: duration must be seconds as digits with an optional fraction, at most 9 digits each, such as 3 or 0.25, got "-1"\n' +
    '%s:4: timestamp must be seconds as digits with an optional fraction, at most 9 digits each, such as 3 or 0.25, got "-1"\n' +
    '%s:5: expected "timestamp priority task_id duration", got 3 fields: "0 1 d"\n' +
    '%s:6: expected "timestamp priority task_id duration", got 5 fields: "0 1 e 1 1"\n',
  ],
  [
    "\ufeff0 1 a 1\n",
    '%s:1: timestamp must be seconds as digits with an optional fraction, at most 9 digits each, such as 3 or 0.25, got "\\u{feff}0"\n',
  ],
  [
    "0 1 \u001b[2J 1\n0 1 a\u202eb 1\n",
    '%s:1: task_id must have no control or format characters, got "\\u{1b}[2J"\n' +
    '%s:2: task_id must have no control or format characters, got "a\\u{202e}b"\n',
  ],
  [
    `0 1 ${"x".repeat(256)} 1\n`,
    `%s:1: task_id must have at most 255 bytes, got 256 in "${"x".repeat(64)}..."\n`,
  ],
  [new Uint8Array([0x30, 0x20, 0xff, 0xfe, 0x0a]), "%s: not a text file: it must be valid UTF-8\n"],
  [
    "0 0 a 1\n".repeat(1_000_000),
    Array.from({ length: 20 }, (_, i) => `%s:${i + 1}: priority must be 1, 2 or 3, got "0"\n`)
      .join("") + "%s: 999980 more lines with errors\n",
  ],
];

/** Task files that are all right, and what the producer sends of them. */
const goodFiles: readonly (readonly [string, string])[] = [
  ["0 1 a 1.0\r\n0 2 b 2\r\n", "CREATE 1 a 1.0\nCREATE 2 b 2\n"],
  ["0 1 a 1.0\n0 2 b 2", "CREATE 1 a 1.0\nCREATE 2 b 2\n"],
  [
    "\n0\t1\t\ta   007.5\t\n  \n\n  0.0 3 작업😀 999999999.999999999\n",
    "CREATE 1 a 007.5\nCREATE 3 작업😀 999999999.999999999\n",
  ],
  [
    "0.05 1 late 1\n0 3 early1 1\n0.0 1 early2 1\n",
    "CREATE 3 early1 1\nCREATE 1 early2 1\nCREATE 1 late 1\n",
  ],
  ["", ""],
];

test("wrong arguments get their lines and exit codes, and nothing is sent", async (launcher) => {
  await using folder = new ScratchFolder();
  await folder.write("good.txt", "0 1 a 1\n");
  await using server = await startServer(launcher);
  const cases = wrongArguments(String(server.producerPort));
  await fewAtATime(cases, (wrong) => assertRefused(launcher, wrong, folder.path));
  assertEquals(await server.stop(), 0);
  assertEquals(server.stdout.text, "exit\n");
});

test("broken task files get a line an error, and nothing is sent", async (launcher) => {
  await using folder = new ScratchFolder();
  await Deno.mkdir(`${folder.path}/folder`);
  await using server = await startServer(launcher);
  const port = String(server.producerPort);
  const cases: WrongCase[] = [
    ["producer", [ip, port], 2, "Cannot read tasks.txt or task.txt: no such file\n"],
    ["producer", [ip, port, "none.txt"], 2, "Cannot read none.txt: no such file\n"],
    ["producer", [ip, port, "folder"], 2, "Cannot read folder: it is a directory\n"],
  ];
  for (const [index, [content, errors]] of brokenFiles.entries()) {
    const name = `broken ${index}.txt`;
    await folder.write(name, content);
    cases.push(["producer", [ip, port, name], 2, errors.replaceAll("%s", name)]);
  }
  await fewAtATime(cases, (wrong) => assertRefused(launcher, wrong, folder.path));
  assertEquals(await server.stop(), 0);
  assertEquals(server.stdout.text, "exit\n");
});

test("unusual task files are sent as they are meant", async (launcher) => {
  await using folder = new ScratchFolder();
  await fewAtATime([...goodFiles.entries()], async ([index, [content, sent]]) => {
    const file = await folder.write(`good ${index}.txt`, content);
    await using producer = await sendsTo(sent, (port) => startProducer(launcher, port, file));
    const note = sent.length === 0 ? `${file} holds no tasks\n` : "";
    assertEquals(producer.stderr.text, note);
  });
});

test("a producer takes tasks.txt, then task.txt, if no file is named; - is stdin", async (launcher) => {
  await using folder = new ScratchFolder();
  const withoutFile = (port: number) =>
    start(launcher, "producer", [ip, port], { cwd: folder.path });
  await folder.write("task.txt", "0 1 from_task 1\n");
  await using _first = await sendsTo("CREATE 1 from_task 1\n", withoutFile);
  await folder.write("tasks.txt", "0 1 from_tasks 1\n");
  await using _second = await sendsTo("CREATE 1 from_tasks 1\n", withoutFile);
  await using _third = await sendsTo("CREATE 1 from_stdin 1\n", async (port) => {
    const producer = startProducer(launcher, port, "-", { stdin: "piped" });
    await producer.type("0 1 from_st");
    await producer.type("din 1");
    await producer.closeStdin();
    return producer;
  });
});

test("--help and --version answer on stdout, whatever else is there", async (launcher) => {
  const cases: (readonly [Role, readonly string[], RegExp])[] = [];
  for (const role of ["server", "producer", "consumer"] as const) {
    const help = new RegExp(`^Usage: ${role} <ip> [^]*Exit codes: [^]*\\nExample: ${role} .*\\n$`);
    const version = new RegExp(`^${role} \\d+\\.\\d+\\.\\d+ \\(Deno \\d+\\.\\d+\\.\\d+\\)\\n$`);
    cases.push([role, ["--help"], help], [role, ["1", "-h", "--nope", "-5", "x", "y"], help]);
    cases.push([role, ["--version"], version], [role, ["127.0.0.1", "abc", "-V"], version]);
  }
  await fewAtATime(cases, async ([role, args, expected]) => {
    await using program = start(launcher, role, args);
    assertEquals(await program.exitCode(), 0, program.name);
    assertMatch(program.stdout.text, expected);
    assertEquals(program.stderr.text, "", program.name);
  });
});

test("-q leaves no line on stdout but exit, for all three", async (launcher) => {
  await using folder = new ScratchFolder();
  const file = await folder.write("tasks.txt", "0 1 a 0\n0 1 b 0\n");
  await using server = await startServer(launcher, { args: ["-q"] });
  await using producer = startProducer(launcher, server.producerPort, file, { args: ["-q"] });
  assertEquals(await producer.exitCode(), 0, producer.stderr.text);
  assertEquals([producer.stdout.text, producer.stderr.text], ["exit\n", ""]);
  await using played = new RawServer();
  await using consumer = startConsumer(launcher, played.port, { args: ["--quiet"] });
  const peer = await played.accept();
  await peer.send("Consumer1\n");
  for (const answer of ["ASSIGN a 0", "NOTASK"]) {
    assertEquals(await peer.received.next(), "REQUEST");
    await peer.send(`${answer}\n`);
  }
  assertEquals(await peer.received.next(), "REQUEST");
  assertEquals(await consumer.stop(), 0);
  assertEquals([consumer.stdout.text, consumer.stderr.text], ["exit\n", ""]);
  await using other = await server.consumer(1);
  assertEquals(await other.ask("REQUEST"), "ASSIGN a 0");
  other.close();
  assertEquals(await server.stop(), 0);
  assertEquals(server.stdout.text, "exit\n");
});

test("localhost is 127.0.0.1, for all three", async (launcher) => {
  await using folder = new ScratchFolder();
  const file = await folder.write("tasks.txt", "0 1 a 0\n");
  await using server = await startServer(launcher, { ip: "localhost" });
  await using consumer = start(launcher, "consumer", ["localhost", server.consumerPort, "anna"]);
  await using producer = start(launcher, "producer", ["localhost", server.producerPort, file]);
  assertEquals(await producer.exitCode(), 0, producer.stderr.text);
  await consumer.stdout.line(/^\[COMPLETE\] a$/);
  assertEquals(consumer.stdout.texts[0], "Consumer1 connected (anna)");
  assertEquals(await consumer.stop(), 0);
  assertEquals(await server.stop(), 0);
});

test("the programs need no stdin, no writable folder and no lax umask", async (launcher) => {
  await using folder = new ScratchFolder();
  const file = await folder.write("tasks.txt", "0 1 a 0\n");
  await Deno.chmod(folder.path, 0o555);
  const bare = (role: Role, args: readonly (string | number)[]) => {
    const shell = inShell(launcher, "umask 077; exec <&-");
    return start(shell, role, args, { cwd: folder.path });
  };
  await using server = bare("server", [ip, 0, 0]);
  const { text } = await server.stderr.line(/^listening/);
  const [producerPort, consumerPort] = listeningPorts(text);
  await using producer = bare("producer", [ip, producerPort, file]);
  assertEquals(await producer.exitCode(), 0, producer.stderr.text);
  await using consumer = bare("consumer", [ip, consumerPort]);
  await consumer.stdout.line(/^\[COMPLETE\] a$/);
  assertEquals(await consumer.stop(), 0);
  assertEquals(await server.stop(), 0);
});

async function assertRefused(
  launcher: Launcher,
  [role, args, code, stderr]: WrongCase,
  cwd: string,
): Promise<void> {
  await using program = start(launcher, role, args, { cwd });
  const actual = {
    code: await program.exitCode(),
    stdout: program.stdout.text,
    stderr: program.stderr.text,
  };
  assertEquals(actual, { code, stdout: "", stderr }, program.name);
  assertNotMatch(program.stderr.text, /^ {4}at /m);
}

/** Starts a producer of a server that records, and checks what that got, to the last byte. */
async function sendsTo(
  sent: string,
  startProducer: (port: number) => Program | Promise<Program>,
): Promise<Program> {
  await using server = new RawServer();
  const producer = await startProducer(server.port);
  try {
    const peer = await server.accept();
    assertEquals(await peer.toEnd(), sent);
    peer.close();
    assertEquals(await producer.exitCode(), 0, producer.stderr.text);
    assertEquals(producer.stdout.text, sent.replaceAll("CREATE", "[CREATE]") + "exit\n");
    return producer;
  } catch (error) {
    await producer[Symbol.asyncDispose]();
    throw error;
  }
}

/** Does something for all items, four at a time: each is a process. */
async function fewAtATime<T>(items: readonly T[], run: (item: T) => Promise<void>): Promise<void> {
  const left = items.values();
  await allOf(Array.from({ length: 4 }, async () => {
    for (const item of left) await run(item);
  }));
}
