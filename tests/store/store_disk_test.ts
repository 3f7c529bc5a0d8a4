/**
 * A server whose store meets the limits of its disk: full, over quota, failing.
 *
 * @module
 */

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { SqliteStore } from "../../lib/store/sqlite_store.ts";
import type { Task } from "../../lib/core/task.ts";
import { maxReservationsPerConsumer } from "../../lib/core/reservations.ts";
import { inspectLog } from "../../lib/store/write_ahead_log.ts";
import {
  denoRunWith,
  inShell,
  ScratchFolder,
  type ServerProgram,
  startStoreServer,
} from "../lab/processes.ts";
import { create, longNames } from "../lab/peers.ts";
import { noDisk, SmallDisk } from "../lab/small_disk.ts";
import { fullStoreContract, type LimitedPlace, stillClock } from "../core/store_contract.ts";
import { noStrace, Strace } from "../lab/strace.ts";
import { noUnix, testUnless } from "../test_unless.ts";

type Run = () => Promise<void>;

/** Tests that not every machine can run. */
const test = {
  onDisk: (name: string, run: Run) => testUnless(noDisk, name, run),
  traced: (name: string, run: Run) => testUnless(noStrace, name, run),
  onUnix: (name: string, run: Run) => testUnless(noUnix, name, run),
};

/** Creates tasks until not even one fits; the names of those that were taken, in order. */
async function fill(server: ServerProgram, prefix: string): Promise<string[]> {
  await using producer = await server.producer();
  let accepted = 0;
  for (const count of [100, 1]) {
    for (let batch = 0, before = -1; accepted > before; batch++) {
      before = accepted;
      const answer = await create(producer, longNames(`${prefix}${count}-${batch}-`, count));
      assertEquals(new Set(answer.errors).isSubsetOf(new Set(["ERROR store full"])), true);
      assertEquals(answer.accepted - before + answer.errors.length, count);
      accepted = answer.accepted;
    }
  }
  if (accepted > 0) await server.stdout.line(/^\[CREATE\]/, { nth: accepted });
  return server.stdout.texts.filter((line) => line.startsWith("[CREATE]"))
    .map((line) => line.split(" ")[2] as string);
}

test.onDisk("a full disk refuses new tasks alone, and room is all that it takes to go on", async () => {
  await using disk = new SmallDisk(4);
  const path = `${disk.path}/tasks.db`;
  let kept: string[];
  {
    await using server = await startStoreServer(path);
    kept = await fill(server, "a");
    assertEquals(server.stderr.count(/^no room for .*tasks\.db: new tasks are refused/), 1);
    await using consumer = await server.consumer();
    for (const name of kept.splice(0, 20)) {
      assertEquals(await consumer.ask("REQUEST"), `ASSIGN ${name} 0.5`);
    }
    disk.grow();
    await using producer = await server.producer();
    // Said when no task was refused for a second.
    for (let i = 0; server.stderr.count(/^room again for /) === 0; i++) {
      assertEquals((await create(producer, [`after${i}`])).errors, []);
      kept.push(`after${i}`);
    }
    assertEquals(server.stderr.count(/^(no room|room again)/), 2);
    await server.crash();
  }
  await using server = await startStoreServer(path);
  assertEquals(await server.drain(), kept);
});

for (const verb of ["REQUEST", "RESERVE"] as const) {
  for (const restart of ["", ", after kill -9", ", after a stop"] as const) {
    test.onDisk(`a disk that a store has filled is drained by ${verb}${restart}`, async () => {
      await using disk = new SmallDisk(7);
      const path = `${disk.path}/tasks.db`;
      let server = await startStoreServer(path);
      try {
        const kept = await fill(server, "a");
        // More than the log holds: it is moved into the file again and again.
        assert(kept.length > 5000, `${kept.length} tasks filled the disk`);
        // Nor is the rest of the disk of any help.
        disk.fill();
        if (restart !== "") {
          if (restart === ", after kill -9") await server.crash();
          else assertEquals(await server.stop("SIGTERM"), 0);
          await server[Symbol.asyncDispose]();
          server = await startStoreServer(path);
          // What it needs it has taken at the start.
          disk.fill();
        }
        assertEquals(await server.drain(verb), kept);
        await using producer = await server.producer();
        const again = longNames("again", 1000);
        assertEquals(await create(producer, again), { errors: [], accepted: 1000 });
        await server.crash();
        await server[Symbol.asyncDispose]();
        server = await startStoreServer(path);
        assertEquals(await server.drain(verb), again);
      } finally {
        await server[Symbol.asyncDispose]();
      }
    });
  }
}

test.onDisk("a full store is drained though all its tasks have come back before", async () => {
  await using disk = new SmallDisk(5);
  const path = `${disk.path}/tasks.db`;
  await using server = await startStoreServer(path);
  const kept = await fill(server, "a");
  disk.fill();
  // Each count that is written makes its row a little longer: there is no room for all of them.
  for (let end = 1; end <= 3; end++) {
    await using consumers = new AsyncDisposableStack();
    for (let rest = kept.length; rest > 0; rest -= maxReservationsPerConsumer) {
      const consumer = consumers.use(await server.consumer());
      const count = Math.min(rest, maxReservationsPerConsumer);
      await consumer.send("RESERVE\n".repeat(count));
      await consumer.received.atLeast(1 + count);
    }
    await consumers.disposeAsync();
    await server.stdout.line(/^\[REQUEUE\]/, { nth: end * kept.length });
  }
  assertEquals(await server.drain(), kept);
});

test.onDisk("a log without room to grow is moved into the file, and written over", async () => {
  await using disk = new SmallDisk(4);
  const path = `${disk.path}/tasks.db`;
  const sent = longNames("task", 20);
  {
    await using server = await startStoreServer(path);
    await using producer = await server.producer();
    await create(producer, sent);
    await server.crash();
  }
  // As a server of an earlier version leaves it: no longer than what is in it.
  const log = Deno.readFileSync(`${path}-wal`);
  Deno.truncateSync(`${path}-wal`, log.findLastIndex((byte) => byte !== 0) + 1);
  disk.fill();
  await using server = await startStoreServer(path);
  assertEquals(await server.drain(), sent);
});

test.onDisk("without room for anything nothing is handed out, completed or lost", async () => {
  await using disk = new SmallDisk(4);
  const path = `${disk.path}/tasks.db`;
  {
    await using server = await startStoreServer(path);
    await using producer = await server.producer();
    await create(producer, ["buried", "held", "a", "b", "c"]);
    for (let end = 0; end < 5; end++) {
      await using consumer = await server.consumer();
      assertEquals(await consumer.ask("RESERVE"), "ASSIGN buried 0.5");
      consumer.close();
      await server.stdout.line(/^\[(REQUEUE|BURY)\]/, { nth: end + 1 });
    }
    assertEquals(await server.stop("SIGTERM"), 0);
  }
  // Others take all that there is while no server keeps room for itself.
  disk.fill();
  {
    await using server = await startStoreServer(path);
    await using producer = await server.producer();
    await using consumer = await server.consumer();
    assertEquals(await consumer.ask("RESERVE"), "ASSIGN held 0.5");
    await server.stdout.line(/^\[ASSIGN\] held /);
    const printed = server.stdout.lines.length;
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
  await using server = await startStoreServer(path);
  assertEquals(await server.drain(), ["buried", "b", "c"]);
});

/** A store on a small disk, of which others take all that it has not reserved. */
class SmallDiskPlace implements LimitedPlace {
  readonly #disk = new SmallDisk(4);

  open(): SqliteStore {
    return new SqliteStore(`${this.#disk.path}/tasks.db`, () => {}, { clock: stillClock });
  }

  takeRoom(): void {
    this.#disk.fill();
  }

  giveRoom(): void {
    this.#disk.free();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#disk[Symbol.asyncDispose]();
  }
}

fullStoreContract("SqliteStore", () => new SmallDiskPlace(), test.onDisk);

test.onDisk("SqliteStore keeps at its end that a task came back, if there is room then", async () => {
  await using place = new SmallDiskPlace();
  const task: Task = { priority: 1, taskId: "a", duration: "0", arrival: 1 };
  place.open()[Symbol.dispose]();
  place.takeRoom();
  {
    using store = place.open();
    store.addBack(task, 1);
    assertEquals(store.commit(), "not kept");
    place.giveRoom();
    store.add({ ...task, arrival: 2 });
  }
  using store = place.open();
  assertEquals([...store.keptTasks()], [{ task, ends: 1, isBuried: false, dueMs: undefined }]);
});

/** A store that has filled its disk, and all that is in it. */
function fullStore(disk: SmallDisk): { store: SqliteStore; tasks: Task[] } {
  const store = new SqliteStore(`${disk.path}/tasks.db`, () => {});
  const tasks: Task[] = [];
  for (let isFull = false; !isFull;) {
    const some = Array.from({ length: 100 }, (_, i): Task => {
      const arrival = tasks.length + i + 1;
      return { priority: 1, taskId: `task${arrival}`, duration: "0", arrival };
    });
    for (const task of some) store.add(task);
    isFull = store.commit() !== "kept";
    if (!isFull) tasks.push(...some);
  }
  disk.fill();
  return { store, tasks };
}

test.onDisk("SqliteStore keeps removals without room for the counts of the same turn, but not a kick", async () => {
  await using disk = new SmallDisk(6);
  const { store, tasks } = fullStore(disk);
  try {
    // Longer rows need more pages.
    for (const task of tasks) store.update(task, { ends: 2, isBuried: false, dueMs: undefined });
    for (const task of tasks.slice(0, 10)) store.remove(task);
    assertEquals(store.commit(), "kept without new tasks");
    // Of what was tried before nothing is left behind it, which would look like damage.
    assertEquals(inspectLog(Deno.readFileSync(`${disk.path}/tasks.db-wal`)).rest, "nothing");

    for (const task of tasks.slice(20)) {
      store.update(task, { ends: 4, isBuried: false, dueMs: undefined });
    }
    for (const task of tasks.slice(10, 20)) store.remove(task);
    store.kick(tasks.at(-1) as Task);
    assertEquals(store.commit(), "not kept");
    disk.grow();
    assertEquals([...store.keptTasks()].map((kept) => kept.task), tasks.slice(10));
  } finally {
    store[Symbol.dispose]();
  }
  using reopened = new SqliteStore(`${disk.path}/tasks.db`, () => {});
  // At the end there was room for what had waited.
  const ends = [...reopened.keptTasks()].map((kept) => kept.ends);
  assertEquals(new Set(ends.slice(10, -1)), new Set([4]));
});

test.onUnix("a limit of file sizes is a full disk: new tasks are refused, and the rest goes on", async () => {
  await using folder = new ScratchFolder();
  const path = `${folder.path}/tasks.db`;
  // 6 MiB; Deno's own cache of compiled code is larger.
  const launcher = denoRunWith(() => [
    ...["--no-prompt", "--no-code-cache", "--allow-net", "--allow-read", "--allow-write"],
  ]);
  await using server = await startStoreServer(path, {
    launcher: inShell(launcher, "ulimit -f 12288"),
  });
  const kept = await fill(server, "a");
  assert(kept.length > 5000, `${kept.length} tasks filled the file`);
  assertEquals(server.stderr.count(/^no room for /), 1);
  assertEquals(await server.drain("RESERVE"), kept);
  await using producer = await server.producer();
  assertEquals(await create(producer, ["again"]), { errors: [], accepted: 1 });
  assertEquals(await server.stop("SIGTERM"), 0);
});

test.traced("a quota that is used up is a full disk, and room is all that it takes to go on", async () => {
  await using folder = new ScratchFolder();
  const path = `${folder.path}/tasks.db`;
  await using server = await startStoreServer(path);
  await using producer = await server.producer();
  assertEquals(await create(producer, ["a"]), { errors: [], accepted: 1 });
  const strace = await Strace.attach(server.pid, `${folder.path}/calls`, {
    calls: "pwrite64",
    inject: "pwrite64:error=EDQUOT",
  });
  await using _attached = strace;
  assertEquals(await create(producer, ["b"]), { errors: ["ERROR store full"], accepted: 1 });
  assertNotEquals(await strace.detach(), []);
  assertEquals(await create(producer, ["c"]), { errors: [], accepted: 2 });
  assertEquals(await server.drain(), ["a", "c"]);
});

for (const call of ["fsync,fdatasync", "pwrite64"]) {
  test.traced(`a disk that fails at ${call} ends the server with 1 and a reason, and what was confirmed is kept`, async () => {
    await using folder = new ScratchFolder();
    const path = `${folder.path}/tasks.db`;
    {
      await using server = await startStoreServer(path);
      await using producer = await server.producer();
      assertEquals((await create(producer, longNames("task", 100))).accepted, 100);
      await using _strace = await Strace.attach(server.pid, `${folder.path}/calls`, {
        calls: call,
        inject: `${call}:error=EIO`,
      });
      await producer.send("CREATE 1 lost 0.5\nSYNC\n");
      assertEquals(await server.exitCode(), 1);
      assertEquals(producer.received.texts.length, 1, "the failed commit was answered");
      const said = server.stderr.texts.filter((line) => !/^(store|listening):/.test(line));
      assertEquals(said.length, 1, said.join("\n"));
      assert(said[0]?.startsWith(`Store ${path} failed: disk I/O error. `), said[0]);
      assertEquals(server.stdout.count(/^exit$/), 0);
    }
    await using server = await startStoreServer(path);
    // The task whose commit failed may be there: it was neither confirmed nor refused.
    assertEquals((await server.drain()).slice(0, 100), longNames("task", 100));
  });
}

test.traced("a confirmed task is on the disk, not only in the system's memory", async () => {
  await using folder = new ScratchFolder();
  await using server = await startStoreServer(`${folder.path}/tasks.db`);
  await using producer = await server.producer();
  await create(producer, ["first"]);
  const strace = await Strace.attach(server.pid, `${folder.path}/calls`, {
    calls: "fdatasync,fsync,pwrite64",
  });
  await using _attached = strace;
  await create(producer, ["second"]);
  const calls = await strace.detach();
  const isSync = (line: string) => /\bf(data)?sync\(/.test(line);
  assert(
    calls.findLastIndex(isSync) > calls.findLastIndex((line) => /pwrite64\(/.test(line)),
    calls.join("\n"),
  );
});
