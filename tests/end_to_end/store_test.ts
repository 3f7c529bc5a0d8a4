/**
 * A server with a store, as a process: restarts, its shutdown.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import {
  denoRunWith,
  denoRunWithFiles,
  denoScript,
  Program,
  ScratchFolder,
  start,
  startStoreServer,
} from "../lab/processes.ts";
import { create, longNames, RawPeer } from "../lab/peers.ts";
import { pause } from "../lab/deadline.ts";

Deno.test("server --store takes up after kill -9 where it was, reserved tasks ready", async () => {
  await using folder = new ScratchFolder();
  const path = `${folder.path}/tasks.db`;
  {
    await using server = await startStoreServer(path);
    await using producer = await server.producer();
    const tasks = ["3 a", "1 b", "2 c", "1 d", "2 e", "3 f"];
    await producer.send(tasks.map((task) => `CREATE ${task} 0.5\n`).join(""));
    assertEquals(await producer.ask("SYNC"), "OK 6");
    await using consumer = await server.consumer();
    assertEquals(await consumer.ask("REQUEST"), "ASSIGN b 0.5");
    assertEquals(await consumer.ask("RESERVE"), "ASSIGN d 0.5");
    assertEquals(await consumer.ask("RESERVE"), "ASSIGN c 0.5");
    await consumer.send("COMPLETE d\n");
    assertEquals(await consumer.ask("RESERVE"), "ASSIGN e 0.5");
    await server.crash();
  }
  await using server = await startStoreServer(path);
  await server.stderr.line(/^store: 4 tasks$/);
  assertEquals(server.stderr.texts[1], "store: 4 tasks");
  await using producer = await server.producer();
  await producer.send("CREATE 2 g 0.5\n");
  assertEquals(await producer.ask("SYNC"), "OK 1");
  assertEquals(await server.drain(), ["c", "e", "g", "a", "f"]);
});

Deno.test("server --store keeps waiting tasks over Ctrl+C, and says how many", async () => {
  await using folder = new ScratchFolder();
  const path = `${folder.path}/tasks.db`;
  {
    await using server = await startStoreServer(path);
    await using producer = await server.producer();
    await create(producer, ["a", "b"]);
    assertEquals(await server.stop("SIGINT"), 0);
    assertEquals(server.stderr.count(/dropped/), 0);
    assertEquals(server.stderr.texts.at(-1), "store: 2 tasks kept");
  }
  await using server = await startStoreServer(path);
  assertEquals(await server.drain(), ["a", "b"]);
});

Deno.test("a second server on one store ends with one line, and the first serves on", async () => {
  await using folder = new ScratchFolder();
  const path = `${folder.path}/tasks.db`;
  await using first = await startStoreServer(path);
  const args = ["127.0.0.1", 0, 0, "--store", path];
  await using second = start(denoRunWithFiles, "server", args);
  assertEquals(await second.exitCode(), 1);
  assertEquals(second.stderr.texts, [`Cannot use ${path}: it is in use by another server`]);
  await using producer = await first.producer();
  assertEquals(await create(producer, ["a"]), { errors: [], accepted: 1 });
});

for (const permission of ["--allow-read", "--allow-write"]) {
  Deno.test(`server --store with ${permission} alone ends with 2 and names what it needs`, async () => {
    await using folder = new ScratchFolder();
    const launcher = denoRunWith(() => ["--no-prompt", "--allow-net", permission]);
    const args = ["127.0.0.1", 0, 0, "--store", `${folder.path}/tasks.db`];
    await using server = start(launcher, "server", args);
    assertEquals(await server.exitCode(), 2);
    assertEquals(server.stderr.texts, [
      "--store needs file access: run with --allow-read --allow-write",
    ]);
  });
}

Deno.test("a store that fails during the shutdown ends the server with 1", async () => {
  const command = denoScript("tests/server/failing_store.ts", ["--allow-net"]);
  await using server = new Program(command);
  const { text } = await server.stderr.line(/^producers \d+$/);
  await using producer = await RawPeer.connect(Number(text.split(" ")[1]));
  assertEquals(await producer.ask("SYNC"), "OK 0");
  server.kill("SIGTERM");
  // The shutdown has begun when the server closes its side.
  await producer.toEnd();
  await producer.send("CREATE 1 a 0.5\n");
  assertEquals(await server.exitCode(), 1);
  assertEquals(server.stderr.texts.slice(1), ["the disk is gone"]);
});

Deno.test("a server that stops keeps the tasks whose lines its consumer never took", async () => {
  await using folder = new ScratchFolder();
  const path = `${folder.path}/tasks.db`;
  const count = 60_000;
  let left = 0;
  {
    await using server = await startStoreServer(path);
    await using producer = await server.producer();
    for (let i = 0; i < count; i += 1000) await create(producer, longNames(`task${i}-`, 1000));
    const conn = await Deno.connect({ hostname: "127.0.0.1", port: server.consumerPort });
    await using _closed = { [Symbol.asyncDispose]: () => Promise.resolve(conn.close()) };
    const requests = new TextEncoder().encode("REQUEST\n".repeat(count));
    const flood = conn.write(requests).catch(() => {}); // it reads nothing
    // Until the server has stopped reading it: nothing moves any more.
    for (let assigned = -1; assigned !== server.stdout.count(/^\[ASSIGN\]/);) {
      assigned = server.stdout.count(/^\[ASSIGN\]/);
      await pause(500);
    }
    assertEquals(await server.stop("SIGTERM"), 0);
    await flood;
    const requeued = server.stdout.count(/^\[REQUEUE\]/);
    assert(requeued > 0, "the consumer got everything");
    left = count - server.stdout.count(/^\[ASSIGN\]/) + requeued;
    assertEquals(server.stdout.texts.at(-1), "exit");
  }
  await using server = await startStoreServer(path);
  await server.stderr.line(new RegExp(`^store: ${left} tasks$`));
});
