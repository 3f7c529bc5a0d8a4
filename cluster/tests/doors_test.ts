/**
 * Who is served at a front, by the server's token and TLS; and with which engine a front speaks.
 *
 * @module
 */

import { assertEquals, assertMatch, assertNotMatch } from "@std/assert";
import { Authority, noOpenssl } from "../../tests/lab/certificates.ts";
import { RawPeer } from "../../tests/lab/peers.ts";
import { denoScript, ScratchFolder, ServerProgram } from "../../tests/lab/processes.ts";
import { frontAt, frontFlags } from "../lab/start_front.ts";
import { frontOf, testWithNodes } from "./nodes.ts";

const token = "correct-horse-battery-staple";

testWithNodes(
  "A front with a token and a certificate serves who says the one over the other, and nobody else",
  async (place) => {
    await using authority = await Authority.found();
    const { cert, key } = await authority.give();
    const caCerts = [await Deno.readTextFile(authority.file)];
    await using folder = new ScratchFolder();
    const tokenFile = await folder.write("token", `${token}\n`);
    await Deno.chmod(tokenFile, 0o600);
    const args = ["--token-file", tokenFile, "--tls-cert", cert, "--tls-key", key];
    await using front = await frontOf(place, ...args);
    await using other = await frontOf(place);

    front.peers = { token, caCerts };
    await using producer = await front.producer();
    await producer.send("CREATE 1 a 0\nSYNC\n");
    assertEquals(await producer.received.next(), "OK 1");
    await using consumer = await other.consumer();
    assertEquals(await consumer.ask("REQUEST"), "ASSIGN a 0");

    await using stranger = await RawPeer.connect(front.producerPort, { caCerts });
    await stranger.send("CREATE 1 b 0\n");
    assertEquals(await stranger.received.next(), "ERROR authentication required");
    await using plain = await RawPeer.connect(front.producerPort);
    assertMatch(await plain.ask("CREATE 1 c 0"), /^ERROR .*TLS/);
    assertEquals(await consumer.ask("REQUEST"), "NOTASK");
    assertNotMatch(front.stderr.text, /correct|battery/);
  },
  noOpenssl === undefined ? {} : { ignored: noOpenssl },
);

testWithNodes(
  "With sslmode=verify-full a front speaks with an engine whose certificate is right, and no other",
  async ({ nodes, database }) => {
    await using authority = await Authority.found();
    const engine = `postgres://front@${nodes.hosts}/${database}`;
    const startWith = (sslmode: string, flags: readonly string[] = []) => {
      const args = ["127.0.0.1", "0", "0", "--engine", `${engine}?sslmode=${sslmode}`];
      return new ServerProgram(
        denoScript("cluster/server.ts", [...flags, ...frontFlags], args),
        {},
      );
    };
    const trusting = ["--cert", authority.file];
    await nodes.primary.encrypt(await authority.give());
    {
      await using front = startWith("verify-full", trusting);
      await front.stderr.line(/^listening: /);
      await using stranger = startWith("verify-full");
      await stranger.stderr.line(
        /^engine: .*unable to verify the first certificate: clients wait$/,
      );
      await using plain = startWith("disable");
      await plain.stderr.line(/^The engine refuses: .*: check the user, and pg_hba\.conf$/);
    }
    await nodes.primary.encrypt(await authority.give({ name: "elsewhere" }));
    await using misled = startWith("verify-full", trusting);
    await misled.stderr.line(/^engine: .*does not match certificate's altnames.*: clients wait$/);
  },
  noOpenssl === undefined ? {} : { ignored: noOpenssl },
);

testWithNodes("A front has its password of a file or of the environment", async (place) => {
  const { nodes, database } = place;
  await nodes.primary.query("CREATE ROLE secret LOGIN PASSWORD 'pass word' IN ROLE queue_front");
  await nodes.primary.askPasswordOf("secret");
  await using folder = new ScratchFolder();
  const file = await folder.write("password", "pass word\n");
  await Deno.chmod(file, 0o644);
  const engine = `postgres://secret@${nodes.hosts}/${database}`;
  await using reader = frontAt(engine, ["--engine-password-file", file]);
  await reader.stderr.line(/password may be read by others: chmod 600/);
  await reader.stderr.line(/^listening: /);
  const args = ["127.0.0.1", "0", "0", "--engine", engine];
  const command = denoScript("cluster/server.ts", frontFlags, args);
  const inEnvironment = ["PGPASSWORD=pass word", command.file, ...command.args];
  await using heir = new ServerProgram({ file: "env", args: inEnvironment }, {});
  await heir.stderr.line(/^listening: /);
});

testWithNodes("A front says what is wrong with its options as the server does", async (place) => {
  for (
    const [args, said] of [
      [["--tls-key", "key.pem"], /--tls-key needs --tls-cert/],
      [["--token-file", "/nowhere"], /Cannot read .*nowhere.*: no such file/],
      [["--engine-password-file", "/nowhere"], /Cannot read .*nowhere.*: no such file/],
      [["--max-tasks", "0"], /--max-tasks must be/],
    ] as const
  ) {
    await using front = frontAt(`postgres://front@${place.nodes.hosts}/${place.database}`, args);
    assertEquals(await front.exitCode(), 2);
    assertMatch(front.stderr.text, said);
  }
});
