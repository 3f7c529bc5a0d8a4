/**
 * The files of a running server's store: whose they are, that they are still there, that they are
 * whole; and how they are backed up.
 *
 * @module
 */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { UserError } from "../../lib/user_error.ts";
import { SqliteStore } from "../../lib/store/sqlite_store.ts";
import { pause } from "../lab/deadline.ts";
import {
  denoRunWithFiles,
  inShell,
  ScratchFolder,
  start,
  startStoreServer,
} from "../lab/processes.ts";
import { create } from "../lab/peers.ts";
import { noUnix, testUnless } from "../test_unless.ts";

/** Tasks that take a while to be read. */
const manyTasks = 400_000;

const test = {
  onUnix: (name: string, run: () => Promise<void>) => testUnless(noUnix, name, run),
};

function modeOf(path: string): string {
  return ((Deno.statSync(path).mode ?? 0) & 0o777).toString(8);
}

for (const umask of ["000", "077", "777"]) {
  test.onUnix(`a new store is its owner's alone, with its log, under umask ${umask}`, async () => {
    await using folder = new ScratchFolder();
    const path = `${folder.path}/tasks.db`;
    await using server = await startStoreServer(path, {
      launcher: inShell(denoRunWithFiles, `umask ${umask}`),
    });
    await using producer = await server.producer();
    await create(producer, ["a"]);
    assertEquals(modeOf(path), "600");
    assertEquals(modeOf(`${path}-wal`), "600");
    const files = [...Deno.readDirSync(folder.path)].map((entry) => entry.name).sort();
    assertEquals(files, ["tasks.db", "tasks.db-wal"]);
    assertEquals(server.stderr.texts, [server.stderr.texts[0], "store: 0 tasks"]);
  });
}

test.onUnix("a store that others may read is used, and a line says so", async () => {
  await using folder = new ScratchFolder();
  const path = await folder.write("tasks.db", "");
  Deno.chmodSync(path, 0o640);
  await using server = await startStoreServer(path);
  assertEquals(
    server.stderr.texts[0],
    `${path}: other users may use it (mode 640): chmod 600 keeps them out`,
  );
  await using producer = await server.producer();
  assertEquals(await create(producer, ["a"]), { errors: [], accepted: 1 });
});

const ways: Record<string, (path: string) => void> = {
  "the file is deleted": (path) => Deno.removeSync(path),
  "the file is moved": (path) => Deno.renameSync(path, `${path}.old`),
  "the file is replaced": (path) => {
    Deno.copyFileSync(path, `${path}.new`);
    Deno.renameSync(`${path}.new`, path);
  },
  "the log is deleted": (path) => Deno.removeSync(`${path}-wal`),
  "the log is moved": (path) => Deno.renameSync(`${path}-wal`, `${path}-moved`),
  "the whole folder is deleted": (path) => {
    Deno.removeSync(path.replace(/[^/]*$/, ""), { recursive: true });
  },
};

for (const [name, change] of Object.entries(ways)) {
  for (const isIdle of [true, false]) {
    test.onUnix(`${name} under ${isIdle ? "an idle" : "a busy"} server: it stops, and says so`, async () => {
      await using folder = new ScratchFolder();
      Deno.mkdirSync(`${folder.path}/store`);
      const path = `${folder.path}/store/tasks.db`;
      await using server = await startStoreServer(path);
      await using producer = await server.producer();
      await create(producer, ["a", "b"]);
      change(path);
      const dialogue = async () => {
        for (;;) await create(producer, ["c"]);
      };
      if (!isIdle) await dialogue().catch(() => {}); // it gets no more answers
      assertEquals(await server.exitCode(10_000), 1);
      const [said, ...more] = server.stderr.texts.slice(2);
      assertEquals(more, []);
      const files = [path, `${path}-wal`].filter((file) =>
        // Of a folder's files either may be missed first.
        name.includes("folder") || file.endsWith("-wal") === name.includes("log")
      );
      const reports = files.map((file) =>
        `Store ${file} failed: the file was deleted, moved or replaced under the running server. ` +
        "What was confirmed is in that file alone: put it or a copy back, then start the server again"
      );
      assert(reports.includes(said ?? ""), said);
      assertEquals(server.stdout.count(/^exit$/), 0);
    });
  }
}

test.onUnix("SqliteStore confirms nothing that it wrote to a file which is gone", async () => {
  await using folder = new ScratchFolder();
  const path = `${folder.path}/tasks.db`;
  const store = new SqliteStore(path, () => {});
  try {
    Deno.removeSync(`${path}-wal`);
    await pause(50); // the files are looked at every 20 ms
    store.add({ priority: 1, taskId: "a", duration: "1", arrival: 1 });
    assertThrows(() => store.commit(), UserError, "was deleted, moved or replaced");
  } finally {
    store[Symbol.dispose]();
  }
});

test.onUnix("SqliteStore that is closed after its file has gone says so", async () => {
  await using folder = new ScratchFolder();
  const path = `${folder.path}/tasks.db`;
  const store = new SqliteStore(path, () => {});
  Deno.removeSync(path);
  assertThrows(() => store[Symbol.dispose](), UserError, "was deleted, moved or replaced");
});

test.onUnix("a store that was restored under the running server is left as it is", async () => {
  await using folder = new ScratchFolder();
  const path = `${folder.path}/tasks.db`;
  const copy = `${folder.path}/copy.db`;
  {
    await using server = await startStoreServer(copy);
    await using producer = await server.producer();
    await create(producer, ["restored"]);
    await server.crash();
  }
  {
    await using server = await startStoreServer(path);
    await using producer = await server.producer();
    await create(producer, ["a", "b"]);
    for (const suffix of ["", "-wal"]) Deno.renameSync(copy + suffix, path + suffix);
    assertEquals(await server.exitCode(10_000), 1);
  }
  await using server = await startStoreServer(path);
  assertEquals(await server.drain(), ["restored"]);
});

for (const end of ["a stop", "kill -9"]) {
  test.onUnix(`a backup made after ${end} as README says is restored as README says`, async () => {
    await using folder = new ScratchFolder();
    const path = `${folder.path}/tasks.db`;
    const shell = (command: string) => {
      const options = { args: ["-ec", command], cwd: folder.path };
      const { success, stderr } = new Deno.Command("sh", options).outputSync();
      assert(success, new TextDecoder().decode(stderr));
    };
    {
      await using server = await startStoreServer(path);
      await using producer = await server.producer();
      await create(producer, ["a", "b"]);
      if (end === "kill -9") await server.crash();
      else assertEquals(await server.stop("SIGTERM"), 0);
    }
    shell("mkdir backup && cp -p tasks.db* backup/");
    {
      await using server = await startStoreServer(path);
      assertEquals(await server.drain(), ["a", "b"]);
      await server.crash();
    }
    shell("rm -f tasks.db tasks.db-wal && cp -p backup/tasks.db* .");
    await using server = await startStoreServer(path);
    assertEquals(await server.drain(), ["a", "b"]);
  });
}

test.onUnix("a damaged log is refused, and used up to the damage with --accept-damaged-store", async () => {
  await using folder = new ScratchFolder();
  const path = `${folder.path}/tasks.db`;
  {
    await using server = await startStoreServer(path);
    await using producer = await server.producer();
    for (const name of ["a", "b", "c", "d"]) await create(producer, [name]);
    await server.crash();
  }
  const log = Deno.readFileSync(`${path}-wal`);
  const text = new TextDecoder("latin1").decode(log);
  // In the commit of c.
  const at = text.indexOf("c0.5");
  log[at] = "x".charCodeAt(0);
  Deno.writeFileSync(`${path}-wal`, log);
  {
    await using server = start(denoRunWithFiles, "server", ["127.0.0.1", 0, 0, "--store", path]);
    assertEquals(await server.exitCode(), 1);
    const [line, ...others] = server.stderr.texts;
    assertEquals(others, []);
    assert(line?.startsWith(`Cannot use ${path}: its log ${path}-wal is damaged at byte `), line);
    assert(line?.includes("--accept-damaged-store"), line);
  }
  await using server = await startStoreServer(path, { args: ["--accept-damaged-store"] });
  assert(server.stderr.texts[0]?.startsWith(`${path}-wal is damaged at byte `));
  assertEquals(await server.drain(), ["a", "b"]);
});

test.onUnix("a server that reads a big store ends at the first Ctrl+C", async () => {
  await using folder = new ScratchFolder();
  const path = `${folder.path}/tasks.db`;
  {
    using store = new SqliteStore(path, () => {});
    for (let arrival = 1; arrival <= manyTasks; arrival++) {
      store.add({ priority: 1, taskId: `task${arrival}`, duration: "1", arrival });
    }
    store.commit();
  }
  await using server = start(denoRunWithFiles, "server", ["127.0.0.1", 0, 0, "--store", path]);
  // The log is there from when the store is opened on; then the tasks are read.
  while (!fileExists(`${path}-wal`)) await pause(1);
  assertEquals(await server.stop("SIGINT"), 0);
  assertEquals(server.stderr.texts, []);
  assertEquals(server.stdout.texts, ["exit"]);
});

function fileExists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}
