/** Peers that mean harm, or have odd networks: each ends its own connection alone. */

import { assert, assertEquals, assertLess, assertMatch } from "@std/assert";
import { canReadSockets, watchPorts } from "../lab/sockets.ts";
import { denoRun, type Launcher, startConsumer, startProducer } from "../lab/processes.ts";
import { projectFolder, type Role, ScratchFolder, start, startServer } from "../lab/processes.ts";
import { RawPeer, RawServer } from "../lab/peers.ts";
import { noStrace } from "../lab/strace.ts";
import { noUnix, testUnless } from "../test_unless.ts";

/** Starts programs with a system call that fails the first time. */
function failing(systemCall: string, errorName: string): Launcher {
  return {
    name: `${denoRun.name}, ${systemCall} fails with ${errorName}`,
    command: (role, args) => {
      const command = denoRun.command(role, args);
      const inject = `inject=${systemCall}:error=${errorName}:when=1`;
      return {
        ...command,
        file: "env",
        args: [
          ...["DENO_NO_UPDATE_CHECK=1", "strace", "-D", "-f", "-qq", "-o", "/dev/null"],
          ...["-e", `trace=${systemCall}`, "-e", inject, command.file, ...command.args],
        ],
      };
    },
  };
}

for (
  const [systemCall, errorName] of [
    ["recvfrom", "EHOSTDOWN"],
    ["recvfrom", "ECONNREFUSED"],
    ["recvfrom", "EPROTO"],
    ["recvfrom", "ENOTBLK"], // nobody thinks of it
    ["sendto", "EHOSTDOWN"],
    ["sendto", "ENOPROTOOPT"],
    ["shutdown", "ENONET"],
  ] as const
) {
  testUnless(
    noStrace,
    `${systemCall} that fails with ${errorName} ends that connection, and not the server`,
    async () => {
      await using server = await startServer(failing(systemCall, errorName));
      if (systemCall === "shutdown") {
        await using peer = await server.consumer();
        await peer.send("x\n".repeat(100));
        await peer.received.line(/too many errors/);
      } else {
        await using peer = await RawPeer.connect(server.consumerPort);
        await peer.send("REQUEST\n");
        await peer.toEnd();
      }
      await server.stderr.line(/^127\.0\.0\.1:\d+: connection lost: .*\(os error \d+\)$/);
      await using other = await server.consumer();
      assertEquals(await other.ask("REQUEST"), "NOTASK");
    },
  );
}

for (const role of ["consumer", "producer"] as const) {
  testUnless(
    noStrace,
    `A ${role} whose connection fails with EHOSTDOWN says so in one line, and ends with 1`,
    async () => {
      await using folder = new ScratchFolder();
      const tasks = await folder.write("tasks.txt", "0 1 a 1\n2 1 b 1\n");
      await using server = new RawServer();
      const launcher = failing("recvfrom", "EHOSTDOWN");
      await using program = role === "consumer"
        ? startConsumer(launcher, server.port)
        : startProducer(launcher, server.port, tasks);
      const peer = await server.accept();
      await peer.send("Consumer1\n");
      assertEquals(await program.exitCode(), 1);
      assertEquals(program.stderr.lines.length, 1, program.stderr.text);
      assertMatch(program.stderr.text, /closed the connection/);
    },
  );
}

for (const port of ["producerPort", "consumerPort"] as const) {
  Deno.test(`HTTP on the ${port} gets one ERROR, and nothing in its body is executed`, async () => {
    await using server = await startServer(denoRun);
    const body = port === "producerPort" ? "CREATE 1 evil 1\n" : "REQUEST\n";
    const heads = [
      `POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${body.length}\r\n\r\n`,
      `POST / HTTP/1.0\r\n\r\n`,
      `REQUEST / HTTP/1.1\r\n\r\n`,
      // Its first line cannot be read; what a browser sends next can.
      `POST /${"x".repeat(2000)} HTTP/1.1\r\nHost: localhost\r\n\r\n`,
      `Host: localhost\r\n\r\n`,
    ];
    for (const head of heads) {
      await using peer = await RawPeer.connect(server[port]);
      await peer.send(head + body.repeat(3));
      const errors = (await peer.toEnd()).split("\n").filter((line) => line.startsWith("ERROR"));
      assertEquals(errors.at(-1), "ERROR this port does not speak HTTP", head);
      assertEquals(errors.length, head.length > 2000 ? 2 : 1);
    }
    const fetched = await fetch(`http://127.0.0.1:${server[port]}/`, { method: "POST", body })
      .then(() => "answered", () => "refused");
    assertEquals(fetched, "refused");
    await using consumer = await server.consumer();
    assertEquals(await consumer.ask("REQUEST"), "NOTASK");
    assertEquals(server.stdout.count(/CREATE|ASSIGN/), 0);
  });
}

for (const port of ["producerPort", "consumerPort"] as const) {
  Deno.test(`TLS on the ${port} gets one ERROR, and no command in it is executed`, async () => {
    await using server = await startServer(denoRun);
    const command = port === "producerPort" ? "CREATE 1 evil 1" : "REQUEST";
    // A session ticket is the server's text that a browser sends back: to another server, too.
    const hello = `\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 ticket\n${command}\n${command}\n`;
    for (const text of [hello, "\x16"]) {
      await using peer = await RawPeer.connect(server[port]);
      await peer.send(text);
      const errors = (await peer.toEnd()).split("\n").filter((line) => line.startsWith("ERROR"));
      assertEquals(errors, ["ERROR this port does not speak TLS"]);
    }
    assertEquals(server.stdout.count(/CREATE|ASSIGN/), 0);
  });
}

for (const args of [[], ["--quiet"]]) {
  Deno.test(`A peer's million refusals are a few lines of stderr ${args.join()}`, async () => {
    await using server = await startServer(denoRun, { args });
    const conn = await Deno.connect({ port: server.producerPort });
    const bytes = new TextEncoder().encode("KICK x\n".repeat(1000));
    const answers = conn.readable.pipeTo(new WritableStream());
    const refusals = 100_000;
    for (let i = 0; i < refusals / 1000; i++) {
      for (let sent = 0; sent < bytes.length;) sent += await conn.write(bytes.subarray(sent));
    }
    await conn.closeWrite();
    await answers;
    await server.stderr.line(new RegExp(`: ${refusals - 10} more of these: not buried$`));
    assertEquals(server.stderr.count(/KICK|buried/), 11, server.stderr.text);
  });
}

Deno.test("A consumer that reserves without end gets 1,000 tasks, then NOTASK, and is named once", async () => {
  await using server = await startServer(denoRun);
  await using producer = await server.producer();
  await producer.send("CREATE 1 a 1\n".repeat(1010));
  assertEquals(await producer.ask("SYNC"), "OK 1010");
  await using consumer = await server.consumer();
  await consumer.send("RESERVE\n".repeat(1005));
  const answers: string[] = [];
  while (answers.length < 1005) answers.push((await consumer.received.next()).split(" ")[0] ?? "");
  assertEquals(answers, [...Array(1000).fill("ASSIGN"), ...Array(5).fill("NOTASK")]);
  assertMatch(await consumer.ask("COMPLETE a\nRESERVE"), /^ASSIGN/);
  assertEquals(server.stderr.count(/consumer1 holds 1000 tasks/), 1, server.stderr.text);
});

Deno.test("A peer that ends no line is told of on stderr, once", async () => {
  await using server = await startServer(denoRun);
  await using student = await server.consumer();
  await student.send("REQUEST");
  await server.stderr.line(/: "REQUEST" waits for the LF that ends a line$/);
  await student.send("\nREQUEST");
  assertEquals(await student.received.next(), "NOTASK");
  // Another peer's hint comes 3 looks later, and by then a second one of the first would be there.
  await using other = await server.producer();
  await other.send("SYNC");
  await server.stderr.line(/: "SYNC" waits for the LF that ends a line$/);
  assertEquals(server.stderr.lines.length, 3, server.stderr.text);
});

testUnless(
  canReadSockets ? undefined : "it needs /proc/net/tcp",
  "A server that stops says DONE to producers, and leaves TIME_WAIT to those that close at it",
  async () => {
    await using server = await startServer(denoRun);
    const sockets = await watchPorts([server.producerPort, server.consumerPort]);
    await using producer = await server.producer();
    assertEquals(await producer.ask("CREATE 1 a 1\nSYNC"), "OK 1");
    server.kill("SIGINT");
    assertEquals(await producer.received.next(), "DONE");
    producer.close();
    assertEquals(await server.exitCode(), 0);
    const atServer = (await sockets()).filter(({ localPort }) =>
      [server.producerPort, server.consumerPort].includes(localPort)
    );
    assertEquals(atServer, []);
  },
);

Deno.test("A server that stops does not wait longer than 2 s for a producer that stays", async () => {
  await using server = await startServer(denoRun, { args: ["--max-tasks", "1"] });
  await using idle = await server.producer();
  await using waiting = await server.producer();
  await waiting.send("CREATE 1 a 1\nCREATE 1 b 1\n");
  await server.stderr.line(/^the queue is full/);
  const stoppedMs = performance.now();
  assertEquals(await server.stop("SIGINT"), 0);
  assertLess(performance.now() - stoppedMs, 5000);
  assertEquals([await idle.toEnd(), await waiting.toEnd()], ["DONE\n", "DONE\n"]);
});

/**
 * A build that somebody has changed: on SIGUSR1 it tries what it may not do, and says what came of it.
 * It has every permission at its start.
 */
function spied(folder: string, spy: string): Launcher {
  return {
    name: "spied",
    command: (role, args) => {
      const command = denoRun.command(role, args);
      const [, , ...rest] = command.args.filter((arg) => !arg.startsWith("--allow-"));
      const flags = ["--no-prompt", "--allow-all", "--preload", spy];
      return {
        ...command,
        args: ["run", ...flags, `${projectFolder}${role}.ts`, ...rest],
        cwd: folder,
      };
    },
  };
}

const spySource = `Deno.addSignalListener("SIGUSR1", async () => {
  const attempts = {
    read: () => Deno.readTextFile("secret"),
    write: () => Deno.writeTextFile("left", "x"),
    net: () => Deno.connect({ port: 9 }),
    listen: async () => Deno.listen({ port: 0 }).close(),
    run: async () => await new Deno.Command("true").output(),
    env: async () => Deno.env.get("HOME"),
    sys: async () => Deno.hostname(),
    ffi: async () => Deno.dlopen("libc.so.6", {}).close(),
    import: () => import("http://127.0.0.1:9/".concat(Math.random())),
  };
  const done = [];
  for (const [name, attempt] of Object.entries(attempts)) {
    await attempt().then(() => done.push(name), (error) => {
      if (!/^Requires /.test(error.message)) done.push(name + " " + error.name);
    });
  }
  console.error("spy: " + done.join());
});`;

for (
  const [role, may] of [
    ["server", ""],
    ["producer", "net ConnectionRefused,listen"],
    ["consumer", "net ConnectionRefused,listen"],
    ["worker", "net ConnectionRefused,listen,run"],
  ] as const
) {
  testUnless(
    noUnix,
    `A ${role} that somebody has taken over may do nothing more than it needs`,
    async () => {
      await using folder = new ScratchFolder("spied");
      const spy = await folder.write("spy.ts", spySource);
      await folder.write("secret", "x");
      await folder.write("tasks.txt", "0 1 a 0\n60 1 b 0\n");
      const token = await folder.write("token", "correct-horse-battery-staple");
      const launcher = spied(folder.path, spy);
      await using server = await startServer(launcher, {
        args: ["--store", `${folder.path}/tasks.db`, "--token-file", token],
        peers: { token: "correct-horse-battery-staple" },
      });
      const port = role === "producer" ? server.producerPort : server.consumerPort;
      const args = ["127.0.0.1", port, ...role === "producer" ? ["tasks.txt"] : []];
      const command = role === "worker" ? ["--", "echo", "{}"] : [];
      await using client = role === "server"
        ? undefined
        : start(launcher, role as Role, [...args, "--token-file", token, ...command]);
      if (role === "producer") await client?.stdout.line(/CREATE/);
      else if (role !== "server") await server.stdout.line(/^\[Consumer1 connected\]$/);
      const program = client ?? server;
      program.kill("SIGUSR1");
      const { text } = await program.stderr.line(/^spy: /);
      assertEquals(text, `spy: ${may}`);
      await using consumer = await server.consumer();
      assertMatch(await consumer.ask("REQUEST"), /^NOTASK$|^ASSIGN a 0$/);
      assert(program.isRunning);
    },
  );
}
