/**
 * Token and TLS with all four programs, as processes: what each client says if it is not let in, or
 * does not trust the server.
 *
 * @module
 */

import { assertEquals, assertMatch, assertNotMatch } from "@std/assert";
import { Authority, type CertificateOptions, noOpenssl } from "../lab/certificates.ts";
import { allOf } from "../lab/deadline.ts";
import {
  type Launcher,
  type Program,
  ScratchFolder,
  type ServerProgram,
  start,
  startServer,
} from "../lab/processes.ts";
import { noUnix, testUnless } from "../test_unless.ts";

const token = "correct-horse-battery-staple";
const wrong = "correct-horse-battery-stable";

/** What a consumer says after 2 s if nobody greets it: a server waits 5 s for its first word. */
const hint = "no greeting yet: is this the server's port for consumers?";

/** A server, and what its clients are given. */
interface Stage {
  readonly server: ServerProgram;
  /** Options that let a client in. */
  readonly access: { readonly token: readonly string[]; readonly tls: readonly string[] };
  /** The options of a client whose token is wrong. */
  readonly wrongToken: readonly string[];
  /** A task file of one task. */
  readonly taskFile: string;
}

/** A way of not being let in. */
interface Refusal {
  /** How the server is started: with a token and a certificate if nothing else is said. */
  readonly isPlain?: boolean;
  readonly certificate?: CertificateOptions;
  /** The host that the client connects to; 127.0.0.1 if left out. */
  readonly host?: string;
  readonly args: (stage: Stage) => readonly string[];
  /** The one line of each client; ADDRESS is where it connects to. */
  readonly says: string;
  /** What the server says of them, and of its certificate. */
  readonly serverSays: readonly RegExp[];
}

const allAccess = ({ access }: Stage) => [...access.token, ...access.tls];
const handshakeFailed = /^127\.0\.0\.1:\d+: TLS handshake failed: /;
const ofCertificate = {
  args: allAccess,
  host: "localhost",
  serverSays: [handshakeFailed],
} as const;

const refusals: Readonly<Record<string, Refusal>> = {
  "it has no token": {
    args: ({ access }) => access.tls,
    says: "the server at ADDRESS asks for a token: use --token-file FILE",
    serverSays: [/: authentication required: the first line is no AUTH$/],
  },
  "its token is wrong": {
    args: ({ access, wrongToken }) => [...access.tls, ...wrongToken],
    says: "the server at ADDRESS does not accept the token of --token-file",
    serverSays: [/^127\.0\.0\.1: authentication required: a wrong token$/],
  },
  "it does not speak TLS, and the server does": {
    args: ({ access }) => access.token,
    says: "the server at ADDRESS speaks TLS alone: use --tls",
    serverSays: [/^127\.0\.0\.1:\d+: does not speak TLS$/],
  },
  "it speaks TLS, and the server does not": {
    isPlain: true,
    args: ({ access }) => access.tls,
    says: "Cannot connect to ADDRESS: what listens there does not speak TLS: leave out --tls",
    serverSays: [/^127\.0\.0\.1:\d+: this port does not speak TLS$/],
  },
  "the server's certificate is from an unknown authority": {
    ...ofCertificate,
    args: () => ["--tls"],
    says: "Cannot connect to ADDRESS: its certificate is from no authority that is trusted here: " +
      "name one by --tls-ca",
  },
  "the server's certificate is for another name": {
    ...ofCertificate,
    certificate: { name: "queue.example" },
    says: "Cannot connect to ADDRESS: its certificate is for another name: " +
      "connect to the name that it is for",
  },
  "the server's certificate has expired": {
    ...ofCertificate,
    certificate: { valid: ["20200101000000Z", "20200201000000Z"] },
    says: "Cannot connect to ADDRESS: its certificate has expired",
    serverSays: [/^the certificate has expired: it was valid to Feb {2}1 /, handshakeFailed],
  },
  "the server's certificate is not valid yet": {
    ...ofCertificate,
    certificate: { valid: ["20490101000000Z", "20490201000000Z"] },
    says: "Cannot connect to ADDRESS: its certificate is not valid yet: check the clocks",
    serverSays: [/^the certificate is valid only from Jan {2}1 /, handshakeFailed],
  },
};

/** Runs a test with a server, and looks afterwards whether it has told the token. */
async function withStage(
  launcher: Launcher,
  run: (stage: Stage) => Promise<void>,
  { isPlain = false, certificate = {} }: Partial<Refusal> = {},
): Promise<void> {
  await using authority = await Authority.found();
  await using folder = new ScratchFolder();
  const secretFile = async (name: string, text: string) => {
    const path = await folder.write(name, text);
    await Deno.chmod(path, 0o600);
    return ["--token-file", path];
  };
  const access = {
    token: await secretFile("token", `${token}\n`),
    tls: ["--tls", "--tls-ca", authority.file],
  };
  const { cert, key } = await authority.give(certificate);
  await using server = await startServer(launcher, {
    args: isPlain ? [] : [...access.token, "--tls-cert", cert, "--tls-key", key],
  });
  const taskFile = await folder.write("tasks.txt", "0 1 a 0\n");
  await run({ server, access, wrongToken: await secretFile("wrong", wrong), taskFile });
  assertEquals(await server.stop(), 0);
  expectNoToken(server.stdout.text + server.stderr.text);
}

function expectNoToken(text: string): void {
  assertNotMatch(text, /correct|battery|stable|staple/);
}

/** The clients, and how each is started for one task. */
const clients = ["producer", "consumer", "worker"] as const;

/** Starts a client of a server, with options of access. */
function startClient(
  launcher: Launcher,
  client: typeof clients[number],
  { stage: { server, taskFile }, access, host = "127.0.0.1" }: {
    readonly stage: Stage;
    readonly access: readonly string[];
    readonly host?: string;
  },
): Program {
  const { producerPort, consumerPort } = server;
  const args = {
    producer: [host, producerPort, taskFile, ...access],
    consumer: [host, consumerPort, ...access],
    worker: [host, consumerPort, "--until-empty", ...access, "--", "/bin/echo", "did {}"],
  }[client];
  return start(launcher, client, args);
}

/** Registers the tests for one way to start the programs, which must be allowed to read files. */
export function registerSecureTests(launcher: Launcher): void {
  const test = (name: string, run: () => Promise<void>) =>
    testUnless(noOpenssl ?? noUnix, `${launcher.name}: ${name}`, run);

  test("With token and TLS server, producer, consumer and worker do their work", async () => {
    await withStage(launcher, async (stage) => {
      const options = { stage, access: allAccess(stage) };
      const produce = async () => {
        await using producer = startClient(launcher, "producer", options);
        assertEquals(await producer.exitCode(), 0, producer.stderr.text);
        assertEquals(producer.stdout.text, "[CREATE] 1 a 0\nexit\n");
      };
      await produce();
      await using consumer = startClient(launcher, "consumer", options);
      await consumer.stdout.line(/^NOTASK$/);
      assertEquals(await consumer.stop(), 0, consumer.stderr.text);
      assertMatch(consumer.stdout.text, /^Consumer1 connected\n[^]*\[COMPLETE\] a\n/);
      await produce();
      await using worker = startClient(launcher, "worker", options);
      assertEquals(await worker.exitCode(), 0, worker.stderr.text);
      assertEquals(worker.stdout.text, "did a\n");
    });
  });

  for (const [what, refusal] of Object.entries(refusals)) {
    test(`Each client ends with 1 and says in one line that ${what}`, async () => {
      await withStage(launcher, async (stage) => {
        const { args, host = "127.0.0.1", says, serverSays } = refusal;
        await allOf(clients.map(async (client) => {
          const options = { stage, access: args(stage), host };
          await using program = startClient(launcher, client, options);
          assertEquals(await program.exitCode(), 1, program.stderr.text);
          const { producerPort, consumerPort } = stage.server;
          const address = `${host}:${client === "producer" ? producerPort : consumerPort}`;
          const said = program.stderr.texts.filter((line) => line !== hint);
          assertEquals(said, [says.replace("ADDRESS", address)], client);
          expectNoToken(program.stdout.text);
        }));
        for (const line of serverSays) await stage.server.stderr.line(line);
        assertEquals(stage.server.stdout.count(/CREATE|ASSIGN/), 0);
      }, refusal);
    });
  }
}
