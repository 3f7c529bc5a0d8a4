/** TLS on both ports: whom it lets in, what each side says if the other speaks something else. */

import { assert, assertEquals, assertLess, assertMatch } from "@std/assert";
import { connectConsumer, connectProducer } from "../../mod.ts";
import { Authority, type CertificateOptions, noOpenssl } from "../lab/certificates.ts";
import { freePort } from "../lab/free_port.ts";
import { connectMany, openFiles, peakRss, politeClient, until } from "../lab/load/scenarios.ts";
import { RawPeer } from "../lab/peers.ts";
import {
  denoRunWith,
  denoRunWithFiles,
  denoScript,
  Program,
  ScratchFolder,
  type ServerProgram,
  start,
  startConsumer,
  startProducer,
  startServer,
} from "../lab/processes.ts";
import { testUnless } from "../test_unless.ts";
import { registerSecureTests } from "./secure.ts";

/**
 * Who waits for longer is kept from the server, in milliseconds. Other tests run at the same time:
 * less would be a coin toss. tests/long/alone/ measures it closer.
 */
const lateMs = 1000;

/** A server with TLS, and the authority that vouches for it. */
interface Stage {
  readonly server: ServerProgram;
  readonly authority: Authority;
  readonly caCerts: readonly string[];
}

function test(
  name: string,
  run: (stage: Stage) => Promise<void>,
  { args: others = [], certificate }: {
    readonly args?: readonly string[];
    readonly certificate?: CertificateOptions;
  } = {},
): void {
  testUnless(noOpenssl, name, async () => {
    await using authority = await Authority.found();
    const { cert, key } = await authority.give(certificate);
    const caCerts = [await Deno.readTextFile(authority.file)];
    const args = ["--tls-cert", cert, "--tls-key", key, ...others];
    await using server = await startServer(denoRunWithFiles, { args, peers: { caCerts } });
    await run({ server, authority, caCerts });
  });
}

test("Over TLS both ports say what they say without, in pieces and pipelined", async ({ server }) => {
  await using producer = await server.producer();
  await producer.send(`CREATE 1 a 1\n${"CREATE 2 b 0.5\n".repeat(5000)}SY`);
  assertEquals(await producer.ask("NC"), "OK 5001");
  await using consumer = await server.consumer(1);
  assertEquals(await consumer.ask("REQUEST"), "ASSIGN a 1");
  await consumer.send("REQUEST\n".repeat(5001));
  for (let i = 0; i < 5000; i++) assertEquals(await consumer.received.next(), "ASSIGN b 0.5");
  assertEquals(await consumer.received.next(), "NOTASK");
  await producer.send("SYNC\n");
  await producer.closeWrite();
  assertEquals(await producer.received.next(), "OK 5001");
  assertEquals(await producer.toEnd(), "OK 5001\nOK 5001\n");
  server.kill("SIGINT");
  assertEquals(await consumer.received.next(), "DONE");
});

test("Producer, consumer, worker and library speak TLS", async (stage) => {
  const { server: { producerPort, consumerPort }, authority, caCerts } = stage;
  await using folder = new ScratchFolder();
  const tasks = await folder.write("tasks.txt", "0 1 a 0\n");
  const args = ["--tls", "--tls-ca", authority.file];
  for (const more of [[], ["--sync"]]) {
    await using producer = startProducer(denoRunWithFiles, producerPort, tasks, {
      args: [...args, ...more],
    });
    assertEquals(await producer.exitCode(), 0, producer.stderr.text);
  }
  await using consumer = startConsumer(denoRunWithFiles, consumerPort, { args });
  await consumer.stdout.line(/^NOTASK$/);
  assertEquals(consumer.stdout.count(/^\[COMPLETE\] a$/), 2);
  assertEquals(await consumer.stop(), 0);

  const options = { hostname: "localhost", tls: { caCerts }, retry: false } as const;
  const library = await connectProducer({ ...options, port: producerPort });
  await library.create({ id: "b", payload: { x: 1 } });
  await library.close();
  await using worker = new Program(
    denoScript("worker.ts", ["--no-prompt", "--allow-net", "--allow-read", "--allow-run"], [
      ...["127.0.0.1", String(consumerPort), ...args, "--until-empty", "--", "cat"],
    ]),
  );
  assertEquals(await worker.exitCode(), 0, worker.stderr.text);
  assertEquals(worker.stdout.text, '{"x":1}\n');
  const other = await connectConsumer({ ...options, port: consumerPort });
  assertEquals(await other.next({ waitMs: 0 }), undefined);
  await other.close();
});

registerSecureTests(denoRunWithFiles);

for (const key of [["rsa:2048"], ["ed25519"], ["ec", "-pkeyopt", "ec_paramgen_curve:P-521"]]) {
  test(`A server takes a key of ${key.at(-1)}`, async ({ server }) => {
    await using consumer = await server.consumer(1);
    assertEquals(await consumer.ask("REQUEST"), "NOTASK");
  }, { certificate: { key } });
}

test("Plain text on a TLS port gets one ERROR, and each side says what the other speaks", async ({ server }) => {
  await using producer = await RawPeer.connect(server.producerPort);
  await producer.send("CREATE 1 evil 1\nCREATE 1 evil 1\n");
  assertEquals(await producer.toEnd(), "ERROR this port speaks TLS alone\n");
  await server.stderr.line(/^127\.0\.0\.1:\d+: does not speak TLS$/);
  // A consumer waits to be greeted, and a TLS server to be spoken to.
  await using consumer = startConsumer(denoRunWithFiles, server.consumerPort);
  assertEquals(await consumer.exitCode(), 1);
  assertMatch(consumer.stderr.text, /the server at \S+ speaks TLS alone: use --tls\n$/);
  assertEquals(server.stdout.count(/CREATE/), 0);
});

testUnless(noOpenssl, "A server names what is wrong with its certificate or key", async () => {
  await using authority = await Authority.found();
  const [one, other] = [await authority.give(), await authority.give()];
  await using folder = new ScratchFolder("keys");
  const bad = await folder.write("bad.pem", "-----BEGIN CERTIFICATE-----\nx\n");
  const closed = await folder.write("key.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nx\n");
  const weak = await authority.give({ key: ["rsa:1024"] });
  const odd = await authority.give({ key: ["ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"] });
  const cases = [
    [["--tls-cert", one.cert], "--tls-cert needs --tls-key"],
    [["--tls-key", one.key], "--tls-key needs --tls-cert"],
    [["--tls-cert", one.cert, "--tls-key", other.key], "do not belong together"],
    [["--tls-cert", one.key, "--tls-key", one.key], "--tls-cert holds none in PEM"],
    [["--tls-cert", one.cert, "--tls-key", one.cert], "--tls-key holds none in PEM"],
    [["--tls-cert", bad, "--tls-key", one.key], "--tls-cert holds none in PEM"],
    [["--tls-cert", `${bad}x`, "--tls-key", one.key], "no such file"],
    [["--tls-cert", `${bad}\x1b`, "--tls-key", one.key], "bad.pem\\u{1b}: no such file"],
    [["--tls-cert", one.cert, "--tls-key", closed], "--tls-key is protected by a password"],
    [["--tls-cert", weak.cert, "--tls-key", weak.key], "cannot be used: error:"],
    [["--tls-cert", odd.cert, "--tls-key", odd.key], 'on a curve that TLS has, got "secp256k1"'],
  ] as const;
  for (const [args, problem] of cases) {
    await using server = start(denoRunWithFiles, "server", ["127.0.0.1", 0, 0, ...args]);
    assertEquals(await server.exitCode(), 2);
    assertEquals(server.stderr.lines.filter(({ text }) => !/chmod/.test(text)).length, 1);
    assert(server.stderr.text.includes(problem), server.stderr.text);
  }
});

/** What begins like TLS, and what is wrong with it. */
const brokenHellos: Readonly<Record<string, Uint8Array>> = {
  "a record of another version": bytesOf("16 41 55 54 48 20 78 0a"),
  "empty records": bytesOf("16 03 01 00 00 16 03 01 00 00"),
  "a message too short for what it says": bytesOf("16 03 01 00 06 01 00 00 02 03 03"),
  "a server's first message": bytesOf("16 03 03 00 04 02 00 00 00"),
  "a record that is too long": bytesOf("16 03 03 ff ff 01"),
  "random bytes in a record": bytesOf("16 03 01 00 08 de ad be ef 01 02 03 04"),
  "an alert behind half a message": bytesOf("16 03 01 00 04 01 00 01 00 15 03 03 00 02 02 28"),
};

function bytesOf(hex: string): Uint8Array {
  return Uint8Array.from(hex.split(" "), (byte) => parseInt(byte, 16));
}

test("What only begins like TLS ends its own connection, and nothing else", async ({ server }) => {
  await using consumer = await server.consumer(1);
  for (const [what, bytes] of Object.entries(brokenHellos)) {
    for (const port of [server.producerPort, server.consumerPort]) {
      await using peer = await RawPeer.connect(port);
      await peer.send(bytes);
      assertEquals(await peer.toEnd(), "", what);
    }
    assertEquals(await consumer.ask("REQUEST"), "NOTASK", what);
  }
  await server.stderr.line(/^127\.0\.0\.1:\d+: TLS handshake failed: /);
});

test("A handshake that its client breaks off leaves nothing behind, and the server ends in order", async ({ server }) => {
  const filesBefore = openFiles(server.pid);
  const peers: RawPeer[] = [];
  for (let i = 0; i < 20; i++) {
    const peer = await RawPeer.connect(server.consumerPort);
    await peer.send(bytesOf("16 03 01 02 00 01"));
    await peer.closeWrite();
    peers.push(peer);
  }
  for (const peer of peers) {
    assertEquals(await peer.toEnd(), "");
    await peer[Symbol.asyncDispose]();
  }
  await until(() => openFiles(server.pid) <= filesBefore, "their descriptors");
  // Who goes by itself is no matter for the operator.
  assertEquals(server.stderr.count(/handshake/), 0);
  assertEquals(await server.stop(), 0);
});

test("1,000 peers that never finish their handshake keep no descriptor, and hold up nobody", async ({ server }) => {
  await using consumer = await server.consumer(1);
  const filesBefore = openFiles(server.pid);
  let conns: Deno.TcpConn[] = [];
  const rss = await peakRss(server.pid, async () => {
    conns = [
      ...await connectMany(server.producerPort, 500),
      ...await connectMany(server.consumerPort, 500),
    ];
    // Half of them begin one.
    const hello = Uint8Array.of(0x16, 3, 1, 2, 0, 1);
    for (const [i, conn] of conns.entries()) {
      if (i % 2 === 0) await conn.write(hello).catch(() => {});
    }
    const { p99Ms } = await politeClient(server, 2);
    assertLess(p99Ms, lateMs);
    await using late = await server.consumer(3);
    assertEquals(await late.ask("REQUEST"), "NOTASK");
    assertLess(openFiles(server.pid), filesBefore + 110);
    // Their own ends stay open all the while.
    await until(() => openFiles(server.pid) <= filesBefore + 1, "the end of handshakes");
  });
  assertLess(rss, 150e6);
  for (const conn of conns) conn.close();
  assertEquals(await consumer.ask("REQUEST"), "NOTASK");
});

test("A peer that reads nothing gives its descriptor back when it is closed", async ({ server }) => {
  const filesBefore = openFiles(server.pid);
  const peers = await Promise.all(
    Array.from({ length: 20 }, () => RawPeer.connect(server.consumerPort, server.peers)),
  );
  for (const peer of peers) await peer.send("REQUEST\n".repeat(100));
  for (const peer of peers) peer.close();
  await until(() => openFiles(server.pid) <= filesBefore, "their descriptors");
});

testUnless(noOpenssl, "However long a dialogue over TLS is, it leaves nothing behind", async () => {
  await using authority = await Authority.found();
  const { cert, key } = await authority.give();
  const caCerts = [await Deno.readTextFile(authority.file)];
  // A server that kept as much as half a kilobyte per answer would have no memory left.
  const launcher = denoRunWith(() => ["-A", "--no-prompt", "--v8-flags=--max-old-space-size=24"]);
  const args = ["--tls-cert", cert, "--tls-key", key, "--quiet"];
  await using server = await startServer(launcher, { args, peers: { caCerts } });
  const consumers = await Promise.all(Array.from({ length: 16 }, () => server.consumer()));
  await Promise.all(consumers.map(async (consumer) => {
    for (let i = 0; i < 2000; i++) assertEquals(await consumer.ask("REQUEST"), "NOTASK");
    consumer.close();
  }));
  assert(server.isRunning);
});

testUnless(
  noOpenssl,
  "The dialogues by hand in docs/protocol.md go as they stand there",
  async () => {
    await using authority = await Authority.found();
    const { cert, key } = await authority.give();
    await using folder = new ScratchFolder("token");
    await folder.write("token", "correct-horse-battery-staple");
    await using server = await startServer(denoRunWithFiles, {
      args: ["--tls-cert", cert, "--tls-key", key, "--token-file", `${folder.path}/token`],
    });
    const document = await Deno.readTextFile(new URL("../../docs/protocol.md", import.meta.url));
    const blocks = /^```sh\nopenssl (s_client .*)\n```\n\n```text\n((?:[<>] .*\n)+)```$/gm;
    const ports: Readonly<Record<string, number>> = {
      "127.0.0.1:5000": server.producerPort,
      "127.0.0.1:5001": server.consumerPort,
    };
    let dialogues = 0;
    for (const [, command = "", steps = ""] of document.matchAll(blocks)) {
      const args = command.split(" ").map((word) =>
        word in ports ? `127.0.0.1:${ports[word]}` : word === "ca.pem" ? authority.file : word
      );
      await using openssl = new Program({ file: "openssl", args }, { stdin: "piped" });
      for (const step of steps.trim().split("\n")) {
        if (step.startsWith("> ")) await openssl.type(`${step.slice(2)}\n`);
        else assertEquals(await openssl.stdout.next(), step.slice(2));
      }
      openssl.kill("SIGTERM");
      dialogues++;
    }
    assertEquals(dialogues, 2);
  },
);

testUnless(
  noOpenssl,
  "A renewed certificate is shown after a restart, over which a worker and its tasks go on",
  async () => {
    await using old = await Authority.found();
    await using young = await Authority.found();
    await using folder = new ScratchFolder();
    const [cert, key, store] = ["cert", "key", "tasks"].map((name) => `${folder.path}/${name}`);
    const trusted = await folder.write(
      "trusted",
      await Deno.readTextFile(old.file) + await Deno.readTextFile(young.file),
    );
    const install = async (authority: Authority) => {
      const files = await authority.give();
      await Deno.copyFile(files.cert, cert as string);
      await Deno.copyFile(files.key, key as string);
    };
    await install(old);
    const ports = [freePort(), freePort()] as const;
    const serve = (authority: Authority) =>
      startServer(denoRunWithFiles, {
        ports,
        args: ["--tls-cert", `${cert}`, "--tls-key", `${key}`, "--store", `${store}`],
        peers: { caCerts: [Deno.readTextFileSync(authority.file)] },
      });
    const create = async (server: ServerProgram, name: string) => {
      await using producer = await server.producer();
      assertEquals(await producer.ask(`CREATE 1 ${name} 1\nSYNC`), "OK 1");
    };
    await using worker = start(denoRunWithFiles, "worker", [
      ...["127.0.0.1", ports[1], "--tls", "--tls-ca", trusted, "--", "/bin/echo", "{}"],
    ]);
    // It waits for the server: this is its first attempt's failure.
    await worker.stderr.line(/^no connection: /);
    {
      await using server = await serve(old);
      await create(server, "a");
      await worker.stdout.line(/^a$/);
      await install(young);
      await create(server, "b");
      await worker.stdout.line(/^b$/);
      assertEquals(await server.stop(), 0);
    }
    await using server = await serve(young);
    await create(server, "c");
    await worker.stdout.line(/^c$/);
  },
);
