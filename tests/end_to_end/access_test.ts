/** Who may connect: the token, in front of everything else. */

import { assert, assertEquals, assertLess, assertMatch, assertNotMatch } from "@std/assert";
import { connect } from "node:net";
import { allOf } from "../lab/deadline.ts";
import { connectMany, openFiles, peakRss, politeClient, until } from "../lab/load/scenarios.ts";
import { RawPeer } from "../lab/peers.ts";
import {
  denoRunWithFiles,
  Program,
  ScratchFolder,
  type ServerOptions,
  type ServerProgram,
  start,
  startConsumer,
  startProducer,
  startServer,
} from "../lab/processes.ts";
import { denoScript } from "../lab/processes.ts";
import { noUnix, testUnless } from "../test_unless.ts";

/**
 * Who waits for longer is kept from the server, in milliseconds. Other tests run at the same time:
 * less would be a coin toss. tests/long/alone/ measures it closer.
 */
const lateMs = 1000;

const token = "correct-horse-battery-staple";
const wrong = "correct-horse-battery-stable";
const refused = "ERROR authentication required\n";

/** A server with a token, and the file that it and its clients read. */
async function withToken(
  test: (server: ServerProgram, tokenFile: string) => Promise<void>,
  { args = [], ...options }: ServerOptions = {},
): Promise<void> {
  await using folder = new ScratchFolder();
  const tokenFile = await folder.write("token", `${token}\n`);
  if (Deno.build.os !== "windows") await Deno.chmod(tokenFile, 0o600);
  await using server = await startServer(denoRunWithFiles, {
    ...options,
    args: ["--token-file", tokenFile, ...args],
    peers: { token },
  });
  await test(server, tokenFile);
  // Whatever was said, no secret is in it.
  for (const text of [server.stdout.text, server.stderr.text]) {
    assertNotMatch(text, /correct|battery|stable/);
  }
}

Deno.test("A server with a token greets and serves who says it first, at once and without an answer", async () => {
  await withToken(async (server) => {
    await using producer = await RawPeer.connect(server.producerPort);
    await producer.send(`AUTH ${token}\nCREATE 1 a 1\nSYNC\n`);
    assertEquals(await producer.received.next(), "OK 1");
    await using consumer = await RawPeer.connect(server.consumerPort);
    for (const part of [" AUTH\t", token.slice(0, 5), token.slice(5), " \r\nREQ", "UEST\n"]) {
      await consumer.send(part);
    }
    assertEquals(await consumer.received.next(), "Consumer1");
    assertEquals(await consumer.received.next(), "ASSIGN a 1");
    // Once is enough.
    assertEquals(
      await consumer.ask(`AUTH ${token}`),
      "ERROR AUTH is for the first line to a server with a token",
    );
    assertEquals(await consumer.ask("REQUEST"), "NOTASK");
  });
});

Deno.test("A server without a token says so to who says one", async () => {
  await using server = await startServer(denoRunWithFiles);
  await using consumer = await server.consumer(1);
  assertEquals(
    await consumer.ask(`AUTH ${token}`),
    "ERROR AUTH is for the first line to a server with a token",
  );
});

for (const port of ["producerPort", "consumerPort"] as const) {
  Deno.test(`Any other first line on the ${port} gets one ERROR, and nothing behind it is done`, async () => {
    await withToken(async (server) => {
      const lines = [
        "CREATE 1 evil 1",
        "REQUEST",
        `AUTH ${wrong}`,
        "AUTH",
        `AUTH ${token} `.repeat(2),
      ];
      lines.push(`auth ${token}`, token, "", "\xff", "x".repeat(5000), "GET / HTTP/1.1");
      for (const line of lines) {
        await using peer = await RawPeer.connect(server[port]);
        await peer.send(`${line}\nAUTH ${token}\nCREATE 1 evil 1\nREQUEST\nSYNC\n`);
        assertEquals(await peer.toEnd(), refused, line);
      }
      await using tls = await RawPeer.connect(server[port]);
      await tls.send("\x16\x03\x01");
      assertEquals(await tls.toEnd(), "ERROR this port does not speak TLS\n");
      // None of them took a number, or made a task.
      await using consumer = await server.consumer(1);
      assertEquals(await consumer.ask("REQUEST"), "NOTASK");
      assertEquals(server.stdout.count(/CREATE|ASSIGN/), 0);
    });
  });
}

Deno.test("Who says nothing is closed after 5 s, and told why", async () => {
  await withToken(async (server) => {
    const startMs = performance.now();
    await using silent = await RawPeer.connect(server.consumerPort);
    await using slow = await RawPeer.connect(server.producerPort);
    await slow.send(`AUTH ${token}`);
    assertEquals([await silent.toEnd(), await slow.toEnd()], [refused, refused]);
    const tookMs = performance.now() - startMs;
    assert(tookMs > 4900 && tookMs < 15_000, `${tookMs}`);
    await server.stderr.line(/^127\.0\.0\.1:\d+: no token within 5 s$/);
  });
});

/** Connects from another address of this machine; resolves with all that the server says. */
function sayFrom(localAddress: string, port: number, text: string): Promise<string> {
  return new Promise((resolve) => {
    let said = "";
    const socket = connect({ host: "127.0.0.1", port, localAddress });
    socket.on("connect", () => socket.write(text));
    socket.on("data", (bytes) => said += String(bytes));
    socket.on("error", () => {});
    socket.on("close", () => resolve(said));
  });
}

testUnless(
  Deno.build.os === "linux" ? undefined : "it needs 127.0.0.2",
  "Ten wrong tokens close an address's new connections, and nobody else's",
  async () => {
    await withToken(async (server) => {
      const guess = () => sayFrom("127.0.0.2", server.producerPort, `AUTH ${wrong}\n`);
      for (let i = 0; i < 10; i++) assertEquals(await guess(), refused);
      assertEquals(await guess(), "");
      assertEquals(await sayFrom("127.0.0.2", server.producerPort, `AUTH ${token}\nKICK a\n`), "");
      await server.stderr.line(/^127\.0\.0\.2: 10 wrong tokens: its new connections are closed/);
      await using consumer = await server.consumer(1);
      assertEquals(await consumer.ask("REQUEST"), "NOTASK");
    });
  },
);

testUnless(
  Deno.build.os === "linux" ? undefined : "it needs 127.0.0.2",
  "5,000 guesses are 10 that are looked at; others are served meanwhile",
  async () => {
    await withToken(async (server) => {
      const polite = politeClient(server, 3);
      let looked = 0;
      const rss = await peakRss(server.pid, async () => {
        for (let i = 0; i < 50; i++) {
          const answers = await allOf(
            Array.from(
              { length: 100 },
              (_, k) => sayFrom("127.0.0.2", server.producerPort, `AUTH ${wrong}${i}.${k}\n`),
            ),
          );
          looked += answers.filter((answer) => answer === refused).length;
        }
      });
      // Those under way when the tenth was found wrong are told the same.
      assertLess(looked, 111);
      assertLess((await polite).p99Ms, lateMs);
      assertLess(rss, 130e6);
      assertEquals(await sayFrom("127.0.0.2", server.producerPort, `AUTH ${token}\n`), "");
      assertLess(server.stderr.lines.length, 120);
      await using consumer = await server.consumer();
      assertEquals(await consumer.ask("REQUEST"), "NOTASK");
    });
  },
);

testUnless(
  Deno.build.os === "linux" ? undefined : "it reads /proc",
  "1,000 peers that never say AUTH take nobody's place, little memory, and go after 5 s",
  async () => {
    await withToken(async (server) => {
      await using consumer = await server.consumer(1);
      const filesBefore = openFiles(server.pid);
      let conns: Deno.TcpConn[] = [];
      const rss = await peakRss(server.pid, async () => {
        conns = [
          ...await connectMany(server.producerPort, 500),
          ...await connectMany(server.consumerPort, 500),
        ];
        // The limit of connections is 12, and they have taken none.
        const { p99Ms } = await politeClient(server, 2);
        assertLess(p99Ms, lateMs);
        await using late = await server.consumer(3);
        assertEquals(await late.ask("REQUEST"), "NOTASK");
        assertLess(openFiles(server.pid), filesBefore + 110);
        await until(() => openFiles(server.pid) <= filesBefore + 1, "the strangers' end");
      });
      assertLess(rss, 130e6);
      for (const conn of conns) conn.close();
      await until(() => openFiles(server.pid) <= filesBefore, "all descriptors");
      assertEquals(await consumer.ask("REQUEST"), "NOTASK");
    }, { args: ["--max-connections", "12"] });
  },
);

Deno.test("Producer, consumer and worker say the token of --token-file, and name the option without", async () => {
  await withToken(async (server, tokenFile) => {
    await using folder = new ScratchFolder();
    const tasks = await folder.write("tasks.txt", "0 1 a 0\n0 1 b 0\n");
    const args = ["--token-file", tokenFile];
    const { producerPort, consumerPort } = server;
    const produce = async (...more: string[]) => {
      await using producer = startProducer(denoRunWithFiles, producerPort, tasks, {
        args: [...args, ...more],
      });
      assertEquals(await producer.exitCode(), 0, producer.stderr.text);
    };
    await produce();
    await using consumer = startConsumer(denoRunWithFiles, consumerPort, { args });
    await consumer.stdout.line(/^\[COMPLETE\] b$/);
    assertEquals(await consumer.stop(), 0);
    await produce("--sync");
    await using worker = new Program(
      denoScript("worker.ts", ["--no-prompt", "--allow-net", "--allow-read", "--allow-run"], [
        ...["127.0.0.1", String(consumerPort), ...args, "--until-empty", "--", "echo", "did {}"],
      ]),
    );
    assertEquals(await worker.exitCode(), 0, worker.stderr.text);
    assertEquals(worker.stdout.lines.length, 2);

    const address = `127.0.0.1:${producerPort}`;
    await using none = startProducer(denoRunWithFiles, producerPort, tasks, { args: ["--retry"] });
    assertEquals(await none.exitCode(), 1);
    assertEquals(
      none.stderr.text,
      `the server at ${address} asks for a token: use --token-file FILE\n`,
    );
    const other = await folder.write("token", wrong);
    await Deno.chmod(other, 0o600);
    await using bad = startConsumer(denoRunWithFiles, consumerPort, {
      args: ["--token-file", other, "--retry"],
    });
    assertEquals(await bad.exitCode(), 1);
    assertMatch(bad.stderr.text, /^the server at \S+ does not accept the token of --token-file\n$/);
  });
});

Deno.test("A consumer without the token learns from the server, not from silence", async () => {
  await withToken(async (server) => {
    await using consumer = startConsumer(denoRunWithFiles, server.consumerPort);
    assertEquals(await consumer.exitCode(), 1);
    assertMatch(consumer.stderr.text, /asks for a token: use --token-file FILE\n$/);
  });
});

for (const role of ["server", "consumer"] as const) {
  testUnless(
    noUnix,
    `A ${role} names what is wrong with a token's file, and not the token`,
    async () => {
      await using folder = new ScratchFolder("token ");
      const cases: readonly (readonly [string, string])[] = [
        ["x".repeat(15), "token must have 16 to 1018 visible ASCII characters and no blanks"],
        ["x".repeat(1019), "token must have 16 to 1018 visible ASCII characters and no blanks"],
        ["secret token with blanks", "token must have 16 to 1018 visible"],
        ["secretsecretsécret", "token must have 16 to 1018 visible"],
        ["", "token must have 16 to 1018 visible"],
        ["secretsecretsecret\nsecretsecretsecret\n", "must hold one line: the token"],
        ["x".repeat(2_000_000), "is longer than 1 MiB"],
      ];
      const run = async (path: string): Promise<string> => {
        const ports = role === "server" ? [0, 0] : [1];
        await using program = start(denoRunWithFiles, role, [
          ...["127.0.0.1", ...ports, "--token-file", path],
        ]);
        assertEquals(await program.exitCode(), 2);
        assertNotMatch(program.stderr.text, /secret/);
        return program.stderr.text;
      };
      for (const [content, problem] of cases) {
        const said = await run(await folder.write("token", content));
        assert(said.includes(problem), said);
        assertMatch(said, /^[^\n]+\n$|chmod 600.*\n[^\n]+\n$/);
      }
      assertMatch(await run(`${folder.path}/none`), /^Cannot read .*: no such file\n$/);
      assertMatch(
        await run(folder.path),
        /^Cannot read .*: (?:it is a directory|.*directory.*)\n$/,
      );
    },
  );
}

testUnless(noUnix, "A token's file that others may read is used, and a line says so", async () => {
  await using folder = new ScratchFolder("token");
  const path = await folder.write("token", token);
  await Deno.chmod(path, 0o640);
  await using server = await startServer(denoRunWithFiles, { args: ["--token-file", path] });
  assertEquals(server.stderr.lines[0]?.text, `${path} may be read by others: chmod 600 ${path}`);
});

Deno.test("A server without a token says once that all who reach it may do everything, but not on loopback", async () => {
  await using folder = new ScratchFolder();
  const tokenFile = await folder.write("token", token);
  if (Deno.build.os !== "windows") await Deno.chmod(tokenFile, 0o600);
  const said = /^whoever reaches \S+ may create and take tasks: see --token-file$/;
  for (
    const [ip, args, count] of [
      ["0.0.0.0", [], 1],
      ["0.0.0.0", ["--token-file", tokenFile], 0],
      ["127.0.0.1", [], 0],
    ] as const
  ) {
    await using server = await startServer(denoRunWithFiles, { ip, args });
    assertEquals(await server.stop(), 0);
    assertEquals(server.stderr.count(said), count);
    assertEquals(server.stdout.text, "exit\n");
  }
});
