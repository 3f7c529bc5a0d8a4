import { assert, assertEquals, assertGreater, assertMatch } from "@std/assert";
import { ensureExecutables } from "../../../tools/build/compile.ts";
import {
  connectMany,
  hardFileLimit,
  limited,
  manyFiles,
  openFiles,
  until,
} from "../../lab/load/scenarios.ts";
import { executables, startServer } from "../../lab/processes.ts";
import { RawPeer } from "../../lab/peers.ts";
import { testUnless } from "../../test_unless.ts";

const made = await ensureExecutables();
const ignored = "missing" in made
  ? made.missing.replaceAll(/\s+/g, " ")
  : await hardFileLimit() < manyFiles
  ? `ulimit -Hn is below ${manyFiles}`
  : undefined;
const emptyFolder = await Deno.makeTempDir();
const launcher = executables("missing" in made ? "" : made.dir, emptyFolder);
Deno.test.afterAll(() => Deno.remove(emptyFolder));

testUnless(
  ignored,
  "executable: at ulimit -n 1024 it serves about 1,000 connections, says once what is wrong, and recovers",
  async () => {
    await using server = await startServer(limited(launcher, 1024));
    await using served = await server.consumer();
    const conns = await connectMany(server.producerPort, 1500);
    await server.stderr.line(/^out of file descriptors: raise ulimit -n$/);
    assertGreater(openFiles(server.pid), 1000);
    assertEquals(await served.ask("REQUEST"), "NOTASK");
    for (const conn of conns) conn.close();
    await until(() => openFiles(server.pid) < 100, "the server to close all");
    await using after = await server.producer();
    assertEquals(await after.ask("SYNC"), "OK 0");
    assertEquals(server.stderr.count(/./), 2, server.stderr.text);
  },
);

testUnless(
  ignored,
  "executable: at a raised ulimit -n it serves 10,000 connections, and refuses the next",
  async () => {
    await using server = await startServer(limited(launcher, manyFiles));
    // A tenth is kept for consumers.
    const conns = [
      ...await connectMany(server.producerPort, 9000),
      ...await connectMany(server.consumerPort, 999),
    ];
    try {
      await using last = await RawPeer.connect(server.consumerPort);
      assertMatch(await last.received.next(), /^Consumer1000$/);
      assertEquals(await last.ask("REQUEST"), "NOTASK");
      // Each port accepts by itself: a producer that still waits is not counted yet.
      await until(() => openFiles(server.pid) > conns.length, "all to be accepted");
      await using refused = await RawPeer.connect(server.consumerPort);
      assertEquals(await refused.toEnd(), "ERROR too many connections\n");
      assert(server.stderr.count(/descriptors/) === 0, server.stderr.text);
    } finally {
      for (const conn of conns) conn.close();
    }
  },
);
