/**
 * A server with a store, as a process: restarts, a full disk, a failing one, its shutdown.
 *
 * @module
 */

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { StoreServer } from "./store_server.ts";
import { Program, ScratchFolder } from "./support/programs.ts";
import { RawPeer } from "./support/raw_peer.ts";

const ballastBytes = 4096;

/** Sends CREATEs and SYNC; the answers up to the OK, and what that counts. */
async function create(
  producer: RawPeer,
  names: readonly string[],
): Promise<{ errors: string[]; accepted: number }> {
  await producer.send(names.map((name) => `CREATE 1 ${name} 0.5\n`).join("") + "SYNC\n");
  const errors: string[] = [];
  for (;;) {
    const answer = await producer.received.next();
    if (answer.startsWith("OK ")) return { errors, accepted: Number(answer.slice(3)) };
    errors.push(answer);
  }
}

function names(prefix: string, count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${prefix}${i}-${"x".repeat(200)}`);
}

Deno.test("server --store takes up after kill -9 where it was, reserved tasks ready", async () => {
  await using folder = new ScratchFolder();
  const path = `${folder.path}/tasks.db`;
  {
    await using server = await StoreServer.start(path);
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
  await using server = await StoreServer.start(path);
  await server.stderr.line(/^store: 4 tasks$/);
  assertEquals(server.stderr.texts[1], "store: 4 tasks");
  await using producer = await server.producer();
  await producer.send("CREATE 2 g 0.5\n");
  assertEquals(await producer.ask("SYNC"), "OK 1");
  assertEquals(await server.drain(), ["c", "e", "g", "a", "f"]);
});

Deno.test("server --store keeps waiting tasks over Ctrl+C, and says nothing is dropped", async () => {
  await using folder = new ScratchFolder();
  const path = `${folder.path}/tasks.db`;
  {
    await using server = await StoreServer.start(path);
    await using producer = await server.producer();
    await create(producer, ["a", "b"]);
    assertEquals(await server.stop("SIGINT"), 0);
    assertEquals(server.stderr.count(/dropped/), 0);
  }
  await using server = await StoreServer.start(path);
  assertEquals(await server.drain(), ["a", "b"]);
});

Deno.test("a second server on one store ends with one line, and the first serves on", async () => {
  await using folder = new ScratchFolder();
  const path = `${folder.path}/tasks.db`;
  await using first = await StoreServer.start(path);
  await using second = new Program({
    file: Deno.execPath(),
    args: [
      ...["run", "--no-prompt", "--allow-net", "--allow-read", "--allow-write"],
      ...[new URL("../server.ts", import.meta.url).pathname, "127.0.0.1", "0", "0"],
      ...["--store", path],
    ],
    clearEnv: false,
  });
  assertEquals(await second.exitCode(), 1);
  assertEquals(second.stderr.texts, [`Cannot use ${path}: it is in use by another server`]);
  await using producer = await first.producer();
  assertEquals(await create(producer, ["a"]), { errors: [], accepted: 1 });
});

for (const permission of ["--allow-read", "--allow-write"]) {
  Deno.test(`server --store with ${permission} alone ends with 2 and names what it needs`, async () => {
    await using folder = new ScratchFolder();
    await using server = new Program({
      file: Deno.execPath(),
      args: [
        ...["run", "--no-prompt", "--allow-net", permission],
        ...[new URL("../server.ts", import.meta.url).pathname, "127.0.0.1", "0", "0"],
        ...["--store", `${folder.path}/tasks.db`],
      ],
      clearEnv: false,
    });
    assertEquals(await server.exitCode(), 2);
    assertEquals(server.stderr.texts, [
      "--store needs file access: run with --allow-read --allow-write",
    ]);
  });
}

/** A disk of 3 MiB in memory, where this test may mount one. */
class SmallDisk implements AsyncDisposable {
  readonly #folder = new ScratchFolder();
  readonly #isMounted: boolean;
  /** Where it is. */
  readonly path: string = this.#folder.path;

  constructor() {
    this.#isMounted = this.#mount("size=3m");
  }

  /** True where disks can be mounted. */
  static async isPossible(): Promise<boolean> {
    if (Deno.build.os !== "linux" || Deno.uid() !== 0) return false;
    await using disk = new SmallDisk();
    return disk.#isMounted;
  }

  /** Makes it larger. */
  grow(): void {
    assert(this.#mount("remount,size=64m"));
  }

  /** Takes all room that there is. */
  fill(): void {
    using ballast = Deno.openSync(`${this.path}/ballast`, { append: true, create: true });
    try {
      for (;;) ballast.writeSync(new Uint8Array(ballastBytes));
    } catch (error) {
      assert(error instanceof Error && "code" in error && error.code === "ENOSPC", String(error));
    }
  }

  /** Gives back what {@linkcode fill} took. */
  free(): void {
    Deno.removeSync(`${this.path}/ballast`);
  }

  #mount(options: string): boolean {
    return run("mount", "-t", "tmpfs", "-o", options, "tmpfs", this.path);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isMounted) assert(run("umount", this.path));
    await this.#folder[Symbol.asyncDispose]();
  }
}

function run(program: string, ...args: string[]): boolean {
  return new Deno.Command(program, { args, stderr: "null" }).outputSync().success;
}

const canMount = await SmallDisk.isPossible();

function diskTest(name: string, fn: () => Promise<void>): void {
  const reason = canMount ? "" : " (ignored: only root may mount a small disk)";
  Deno.test({ name: name + reason, ignore: !canMount, fn });
}

diskTest(
  "a full disk refuses new tasks alone, and room is all that it takes to go on",
  async () => {
    await using disk = new SmallDisk();
    const path = `${disk.path}/tasks.db`;
    const kept: string[] = [];
    const handedOut: string[] = [];
    {
      await using server = await StoreServer.start(path);
      await using producer = await server.producer();
      let refused = 0;
      // Until a batch is refused as a whole.
      for (let batch = 1, accepted = 0, rest = 200; rest > 0 && refused < 100; batch++, rest--) {
        const sent = names(`batch${batch}-`, 100);
        const answer = await create(producer, sent);
        refused = answer.errors.length;
        assertEquals(answer.accepted - accepted + refused, 100);
        assertEquals(new Set(answer.errors), new Set(refused > 0 ? ["ERROR store full"] : []));
        // A turn is kept or refused as a whole, so a batch may be split at turns.
        accepted = answer.accepted;
        await server.stdout.line(/^\[CREATE\]/, { nth: Math.max(accepted, 1) });
        assertEquals(server.stdout.count(/^\[CREATE\]/), accepted);
      }
      assertEquals(refused, 100);
      await server.stderr.line(/^no room for .*tasks\.db: new tasks are refused/);
      kept.push(...server.stdout.texts.map((line) => line.split(" ")[2] as string));

      await using consumer = await server.consumer();
      for (let i = 0; i < 20; i++) {
        const [verb, name] = (await consumer.ask("REQUEST")).split(" ");
        if (verb === "ASSIGN") handedOut.push(name as string);
      }
      assertEquals(handedOut, kept.slice(0, handedOut.length));

      disk.grow();
      const before = kept.length;
      const { errors, accepted } = await create(producer, ["after1", "after2"]);
      assertEquals([errors, accepted], [[], before + 2]);
      await server.stderr.line(/^room again for /);
      assertEquals(server.stderr.count(/^(no room|room again)/), 2);
      kept.push("after1", "after2");
      assertEquals(await consumer.ask("REQUEST"), `ASSIGN ${kept[handedOut.length]} 0.5`);
      handedOut.push(kept[handedOut.length] as string);
      await server.crash();
    }
    await using server = await StoreServer.start(path);
    assertEquals(await server.drain(), kept.slice(handedOut.length));
  },
);

diskTest("without room for anything nothing is handed out, completed or lost", async () => {
  await using disk = new SmallDisk();
  const path = `${disk.path}/tasks.db`;
  {
    await using server = await StoreServer.start(path);
    await using producer = await server.producer();
    await create(producer, ["buried", "held", "a", "b", "c"]);
    for (let end = 0; end < 5; end++) {
      await using consumer = await server.consumer();
      assertEquals(await consumer.ask("RESERVE"), "ASSIGN buried 0.5");
      consumer.close();
      await server.stdout.line(/^\[(REQUEUE|BURY)\]/, { nth: end + 1 });
    }
    await using consumer = await server.consumer();
    assertEquals(await consumer.ask("RESERVE"), "ASSIGN held 0.5");
    await server.stdout.line(/^\[ASSIGN\] held /);
    const printed = server.stdout.lines.length;

    // Refusing the task may make room for the rest: what is in the log moves into the file.
    disk.fill();
    assertEquals((await create(producer, ["refused"])).errors, ["ERROR store full"]);
    disk.fill();
    for (let i = 0; i < 300; i++) assertEquals(await consumer.ask("REQUEST"), "NOTASK");
    assertEquals(await consumer.ask("COMPLETE held"), "ERROR store full");
    assertEquals(await producer.ask("KICK buried"), "ERROR store full");
    assertEquals((await create(producer, ["refused"])).errors, ["ERROR store full"]);
    assertEquals(server.stdout.lines.length, printed, "what was not done was printed");

    disk.free();
    await consumer.send("COMPLETE held\n");
    assertEquals(await consumer.ask("REQUEST"), "ASSIGN a 0.5");
    assertEquals(await producer.ask("KICK buried"), "OK 1");
    await server.crash();
  }
  await using server = await StoreServer.start(path);
  assertEquals(await server.drain(), ["buried", "b", "c"]);
});

Deno.test({
  name: "a disk that fails ends the server with 1 and a reason, and what was confirmed is kept",
  ignore: Deno.build.os === "windows",
  fn: async () => {
    await using folder = new ScratchFolder();
    const path = `${folder.path}/tasks.db`;
    let confirmed = 0;
    {
      // Files of at most 1 MiB: for SQLite the limit is an I/O error, not a full disk.
      await using server = await StoreServer.start(path, { shell: "trap '' XFSZ; ulimit -f 2048" });
      await using producer = await server.producer();
      const dialogue = async () => {
        for (;;) {
          ({ accepted: confirmed } = await create(producer, names(`task${confirmed}-`, 100)));
        }
      };
      await dialogue().catch(() => {}); // no more answers
      assertEquals(await server.exitCode(), 1);
      const said = server.stderr.texts.filter((line) => !/^(store|listening):/.test(line));
      assertEquals(said.length, 1, said.join("\n"));
      assert(said[0]?.startsWith(`Store ${path} failed: disk I/O error. `), said[0]);
      assertEquals(server.stdout.count(/^exit$/), 0);
    }
    assertNotEquals(confirmed, 0);
    await using server = await StoreServer.start(path);
    const found = (await server.drain()).length;
    // A batch whose confirmation was never sent may be there.
    assert(found >= confirmed && found <= confirmed + 100, `${found} of ${confirmed} confirmed`);
  },
});

Deno.test("a store that fails during the shutdown ends the server with 1", async () => {
  await using server = new Program({
    file: Deno.execPath(),
    args: ["run", "--allow-net", new URL("peers/failing_store.ts", import.meta.url).pathname],
    clearEnv: false,
  });
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
    await using server = await StoreServer.start(path);
    await using producer = await server.producer();
    for (let i = 0; i < count; i += 1000) await create(producer, names(`task${i}-`, 1000));
    const conn = await Deno.connect({ hostname: "127.0.0.1", port: server.consumerPort });
    await using _closed = { [Symbol.asyncDispose]: () => Promise.resolve(conn.close()) };
    const requests = new TextEncoder().encode("REQUEST\n".repeat(count));
    const flood = conn.write(requests).catch(() => {}); // it reads nothing
    // Until the server has stopped reading it: nothing moves any more.
    for (let assigned = -1; assigned !== server.stdout.count(/^\[ASSIGN\]/);) {
      assigned = server.stdout.count(/^\[ASSIGN\]/);
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
    assertEquals(await server.stop("SIGTERM"), 0);
    await flood;
    const requeued = server.stdout.count(/^\[REQUEUE\]/);
    assert(requeued > 0, "the consumer got everything");
    left = count - server.stdout.count(/^\[ASSIGN\]/) + requeued;
    assertEquals(server.stdout.texts.at(-1), "exit");
  }
  await using server = await StoreServer.start(path);
  await server.stderr.line(new RegExp(`^store: ${left} tasks$`));
});
