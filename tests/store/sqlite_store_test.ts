/**
 * The store on real files: reopened, in use, not ours, damaged.
 *
 * @module
 */

import type { KeptTask } from "../../lib/core/store.ts";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { createHash } from "node:crypto";
import { DatabaseSync } from "node:sqlite";
import { UsageError, UserError } from "../../lib/user_error.ts";
import { SqliteStore } from "../../lib/store/sqlite_store.ts";
import type { Priority, Task } from "../../lib/core/task.ts";
import { maxCheckpoints } from "../../lib/core/arrival_clock.ts";
import { inspectLog } from "../../lib/store/write_ahead_log.ts";
import { Random } from "../lab/random.ts";
import { testSeed } from "../lab/seed.ts";
import { stillClock, storeContract, type StorePlace } from "../core/store_contract.ts";

/** Most tries of a random test: about 5 ms each. */
const damageTries = 1200;

/** A folder for the files of one test. */
function inFolder(run: (folder: string) => void, dir?: string): () => void {
  return () => {
    const options = dir === undefined ? {} : { dir };
    const folder = Deno.makeTempDirSync({ prefix: "store test ", ...options });
    try {
      run(folder);
    } finally {
      Deno.removeSync(folder, { recursive: true });
    }
  };
}

/** A folder in memory, if the system has such: a test that syncs a thousand times is quicker there. */
function inMemory(run: (folder: string) => void): () => void {
  const memory = "/dev/shm";
  const isThere = Deno.build.os === "linux" && succeeds("test", "-w", memory);
  return inFolder(run, isThere ? memory : undefined);
}

/** Tests that have a folder. */
const test = {
  inFolder: (name: string, run: (folder: string) => void) => Deno.test(name, inFolder(run)),
  inMemory: (name: string, run: (folder: string) => void) => Deno.test(name, inMemory(run)),
};

/** Random numbers, and the seed that repeats them: `SEED=7 deno test …`. */
function seeded(): { seed: number; random: Random } {
  return { seed: testSeed, random: new Random(testSeed) };
}

function open(path: string, complaints: string[] = []): SqliteStore {
  return new SqliteStore(path, (line) => complaints.push(line), { clock: stillClock });
}

function keptIn(path: string): KeptTask[] {
  using store = open(path);
  return [...store.keptTasks()];
}

/** The one line with which a file is refused. */
function refusalOf(path: string): string {
  const { message } = assertThrows(() => keptIn(path), UserError) as UserError;
  assert(message.startsWith(`Cannot use ${path}: `), message);
  assert(!message.includes("\n"), message);
  return message.slice(`Cannot use ${path}: `.length);
}

function task(arrival: number, taskId = `task${arrival}`, priority: Priority = 2): Task {
  return { priority, taskId, duration: "1.50", arrival };
}

/** A file in a folder of its own. */
class StoreFile implements StorePlace {
  readonly #folder = Deno.makeTempDirSync({ prefix: "한글 store test " });

  open(): SqliteStore {
    return open(`${this.#folder}/작업 tasks.db`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.#folder, { recursive: true });
  }
}

storeContract("SqliteStore", () => new StoreFile());

test.inFolder("SqliteStore gives back tasks in the order of arrival, which restores them the quickest", (folder) => {
  const path = `${folder}/tasks.db`;
  {
    using store = open(path);
    for (const arrival of [3, 1, 2]) store.add(task(arrival));
    store.commit();
  }
  assertEquals(keptIn(path).map((kept) => kept.task.arrival), [1, 2, 3]);
});

test.inFolder("SqliteStore refuses a file that is in use", (folder) => {
  const path = `${folder}/tasks.db`;
  using _store = open(path);
  assertEquals(refusalOf(path), "it is in use by another server");
});

test.inFolder("SqliteStore refuses another program's SQLite file, and leaves it as it is", (folder) => {
  const path = `${folder}/other.db`;
  const other = new DatabaseSync(path);
  other.exec("CREATE TABLE task (a); INSERT INTO task VALUES (1)");
  other.close();
  const before = Deno.readFileSync(path);
  assertEquals(refusalOf(path), "it is another program's SQLite file");
  assertEquals(Deno.readFileSync(path), before);
});

test.inFolder("SqliteStore refuses an empty SQLite file that another program has marked as its own", (folder) => {
  const path = `${folder}/other.db`;
  const other = new DatabaseSync(path);
  other.exec("PRAGMA application_id = 7");
  other.close();
  assertEquals(refusalOf(path), "it is another program's SQLite file");
});

for (const length of [1, 20, 600, 100_000]) {
  test.inFolder(`SqliteStore refuses a text file of ${length} bytes, and leaves it as it is`, (folder) => {
    const path = `${folder}/tasks.txt`;
    const text = "1.0 1 task1 3.0\n".repeat(length / 16 + 1).slice(0, length);
    Deno.writeTextFileSync(path, text);
    assertEquals(refusalOf(path), "it is not a store (nor any SQLite file)");
    assertEquals(Deno.readTextFileSync(path), text);
  });
}

test.inFolder("SqliteStore takes an empty file for a new store", (folder) => {
  const path = `${folder}/tasks.db`;
  Deno.writeTextFileSync(path, "");
  assertEquals(keptIn(path), []);
});

for (const name of ["", ":memory:", "file:tasks.db", "file::memory:?cache=shared"]) {
  Deno.test(`SqliteStore refuses ${JSON.stringify(name)}, which SQLite takes for something else`, () => {
    const { message } = assertThrows(() => open(name), UsageError);
    assert(message.startsWith(`Cannot use "${name}": name a file`), message);
  });
}

Deno.test({
  name: "SqliteStore refuses what is not a regular file, and leaves it as it is",
  ignore: Deno.build.os === "windows",
  fn: inFolder((folder) => {
    assert(succeeds("mkfifo", `${folder}/fifo`));
    for (const path of ["/dev/null", "/dev/zero", `${folder}/fifo`]) {
      assertEquals(refusalOf(path), "it is not a regular file");
    }
  }),
});

test.inFolder("SqliteStore keeps a file whose name begins as a URI, if it is named with its folder", (folder) => {
  assertEquals(keptIn(`${folder}/file:tasks.db?mode=memory`), []);
  assert(Deno.statSync(`${folder}/file:tasks.db?mode=memory`).size > 0);
});

test.inFolder("SqliteStore refuses at the start a file that SQLite would read, but never write", (folder) => {
  const { file } = closedStore(`${folder}/closed.db`);
  const writeVersionOffset = 18;
  const path = `${folder}/newer.db`;
  Deno.writeFileSync(path, flipped(file, 8 * writeVersionOffset + 7));
  assertEquals(refusalOf(path), "it can be read, but not written");
});

test.inFolder("SqliteStore refuses a directory, and a file in a folder that is not there", (folder) => {
  assertEquals(refusalOf(folder), "it is a directory");
  assertEquals(refusalOf(`${folder}/no/tasks.db`), "no such file or directory");
});

test.inFolder("SqliteStore opens the file of version 1.0.0, loses nothing of it, and says so", (folder) => {
  const path = `${folder}/tasks.db`;
  Deno.copyFileSync(new URL("../stores/1.0.0.db", import.meta.url), path);
  Deno.chmodSync(path, 0o600);
  const kept = [
    ["1 first 3.0", 0, false],
    ["2 second 0.25", 0, false],
    ["3 third 7", 0, false],
    ["2 완료 10", 0, false],
    ["1 poison 0", 5, true],
    ["3 twice-ended 2.5", 2, false],
  ];
  for (const isFirst of [true, false]) {
    const said: string[] = [];
    using store = open(path, said);
    assertEquals(
      [...store.keptTasks()].map(({ task: { priority, taskId, duration }, ends, isBuried }) => [
        `${priority} ${taskId} ${duration}`,
        ends,
        isBuried,
      ]),
      isFirst ? kept : [...kept, ["2 new 1.50", 0, false]],
    );
    const upgraded = `${path} was of version 1 and is now of version 2: ` +
      "an older server cannot open it any more";
    assertEquals(said, isFirst ? [upgraded] : []);
    if (!isFirst) continue;
    store.add({ ...task(1000, "new"), payload: "[1]" }, 5);
    assertEquals(store.commit(), "kept");
  }
});

test.inFolder("SqliteStore refuses the file of a newer version", (folder) => {
  const path = `${folder}/tasks.db`;
  open(path)[Symbol.dispose]();
  const database = new DatabaseSync(path);
  database.exec("PRAGMA user_version = 3");
  database.close();
  assertEquals(refusalOf(path), "it has version 3, this server knows 2");
});

Deno.test({
  name: "SqliteStore refuses a file that it may not write (root: a frozen file)",
  ignore: Deno.build.os !== "linux",
  fn: inFolder((folder) => {
    const path = `${folder}/tasks.db`;
    open(path)[Symbol.dispose]();
    // Root may write whatever the mode says, but not what is marked immutable.
    const isRoot = Deno.uid() === 0;
    const [freeze, thaw] = isRoot ? ["+i", "-i"] as const : ["a-w", "u+w"] as const;
    const change = (how: string) => succeeds(isRoot ? "chattr" : "chmod", how, path);
    if (!change(freeze)) return console.error("ignored: chattr does not work here");
    try {
      assertEquals(refusalOf(path), "it can be read, but not written");
    } finally {
      change(thaw);
    }
  }),
});

function succeeds(program: string, ...args: string[]): boolean {
  return new Deno.Command(program, { args, stderr: "null" }).outputSync().success;
}

test.inFolder("SqliteStore refuses an empty file beside a log that is not: SQLite would drop the log", (folder) => {
  const path = `${folder}/tasks.db`;
  const { log } = busyStore(`${folder}/busy.db`);
  Deno.writeFileSync(`${path}-wal`, log);
  assert(refusalOf(path).startsWith("it is damaged (it is empty, but "));
  Deno.writeTextFileSync(path, "");
  assert(refusalOf(path).startsWith("it is damaged (it is empty, but "));
});

/** A store's files, and what it held after each commit. */
interface BusyStore {
  /** The file. */
  readonly file: Uint8Array;
  /** The write-ahead log, without the room that is kept behind it. */
  readonly log: Uint8Array;
  /** Where in the log the last commit begins, in bytes. */
  readonly lastCommitOffset: number;
  /** What it held before the last commit. */
  readonly stateBefore: string;
  /** What a reader may find: from nothing at all to everything. */
  readonly states: ReadonlySet<string>;
  /** The last of these. */
  readonly lastState: string;
}

/** Does some of everything to a store, and takes its files as a kill -9 would leave them. */
function busyStore(path: string): BusyStore {
  using store = open(path);
  const kept = new Map<number, KeptTask>();
  const states = [stateOf([])];
  let arrival = 0;
  let lastCommitOffset = 0;
  for (let turn = 0; turn < 12; turn++) {
    for (let i = 0; i < 30; i++) {
      const added = task(++arrival, `task${arrival}-${"x".repeat(arrival % 50)}`);
      store.add(added);
      kept.set(arrival, { task: added, ends: 0, isBuried: false, dueMs: undefined });
    }
    for (const { task: old } of [...kept.values()].filter((each) => each.task.arrival % 3 === 0)) {
      store.remove(old);
      kept.delete(old.arrival);
    }
    const last = (kept.get(arrival - 1) as KeptTask).task;
    const state = { ends: 1 + turn % 5, isBuried: turn % 5 === 4, dueMs: undefined };
    store.update(last, state);
    kept.set(last.arrival, { task: last, ...state });
    lastCommitOffset = usedLog(path).length;
    store.commit();
    states.push(stateOf([...kept.values()]));
  }
  return {
    file: Deno.readFileSync(path),
    log: usedLog(path),
    lastCommitOffset,
    states: new Set(states),
    stateBefore: states.at(-2) as string,
    lastState: states.at(-1) as string,
  };
}

/** A log up to the page in which its last byte is. */
function usedLog(path: string): Uint8Array {
  const log = Deno.readFileSync(`${path}-wal`);
  const [headerBytes, frameBytes] = [32, 24 + 4096];
  const frames = Math.ceil(
    (log.findLastIndex((byte) => byte !== 0) + 1 - headerBytes) / frameBytes,
  );
  return log.subarray(0, headerBytes + Math.max(0, frames) * frameBytes);
}

/** The same store, closed: all in one file. */
function closedStore(path: string): BusyStore {
  const busy = busyStore(path);
  return { ...busy, file: Deno.readFileSync(path), log: new Uint8Array() };
}

/** All that there is to know of kept tasks, short enough for a message. */
function stateOf(kept: readonly KeptTask[]): string {
  const rows = kept.map(({ task, ends, isBuried }) =>
    [task.arrival, task.priority, task.taskId, task.duration, ends, isBuried].join(" ")
  );
  return `${rows.length} tasks ${createHash("sha256").update(rows.join("\n")).digest("hex")}`;
}

/** What a store makes of damaged files: the state it finds, or undefined if it refuses. */
function findIn(
  path: string,
  file: Uint8Array,
  log: Uint8Array,
  options: { readonly acceptsDamage: boolean } = { acceptsDamage: false },
): string | undefined {
  Deno.writeFileSync(path, file);
  Deno.writeFileSync(`${path}-wal`, log);
  try {
    using store = new SqliteStore(path, () => {}, options);
    const state = stateOf([...store.keptTasks()]);
    // What it takes it must be able to go on with.
    store.add(task(1_000_000));
    assertEquals(store.commit(), "kept");
    return state;
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    assert(error.message.startsWith("Cannot use ") && !error.message.includes("\n"));
    return undefined;
  }
}

/** Lengths to cut to: each near the ends and the page borders, and some in between. */
function cuts(length: number): number[] {
  const lengths = new Set<number>();
  for (let border = 0; border <= length; border += 4096) {
    for (const near of [-1, 0, 1, 24, 32]) lengths.add(border + near);
  }
  for (let i = 0; i < 300; i++) lengths.add(Math.floor(length * i / 300));
  lengths.add(length - 1);
  return [...lengths].filter((each) => each >= 0 && each < length);
}

test.inMemory("SqliteStore finds a state that was committed, or refuses, however its log is cut", (folder) => {
  const { file, log, states, lastState } = busyStore(`${folder}/busy.db`);
  assertEquals(findIn(`${folder}/whole.db`, file, log), lastState);
  for (const length of cuts(log.length)) {
    const state = findIn(`${folder}/${length}.db`, file, log.subarray(0, length));
    assert(state !== undefined && states.has(state), `log cut to ${length} bytes: ${state}`);
  }
});

test.inMemory("SqliteStore loses nothing silently, however its file is cut", (folder) => {
  const closed = closedStore(`${folder}/closed.db`);
  for (const length of cuts(closed.file.length)) {
    const state = findIn(`${folder}/${length}.db`, closed.file.subarray(0, length), closed.log);
    // A file of no bytes is a new one; and a page that holds nothing may be missing.
    if (length === 0 || state === closed.lastState) continue;
    assertEquals(state, undefined, `file cut to ${length} bytes`);
  }
  const busy = busyStore(`${folder}/busy.db`);
  for (const length of cuts(busy.file.length)) {
    const state = findIn(`${folder}/b${length}.db`, busy.file.subarray(0, length), busy.log);
    assert(
      state === undefined || state === busy.lastState,
      `file cut to ${length} bytes: ${state}`,
    );
  }
});

test.inMemory("SqliteStore loses and invents nothing, whichever bit of its file flips", (folder) => {
  const { seed, random } = seeded();
  const { file, log, lastState } = closedStore(`${folder}/closed.db`);
  let refused = 0;
  for (let i = 0; i < damageTries; i++) {
    const bit = random.below(8 * file.length);
    const state = findIn(`${folder}/flip.db`, flipped(file, bit), log);
    if (state === undefined) refused++;
    else assertEquals(state, lastState, `seed ${seed}: bit ${bit} of ${file.length} bytes`);
  }
  assert(refused > damageTries / 4, `seed ${seed}: refused ${refused} of ${damageTries}`);
});

/** Bits of a log: some of each field of each header, and of each page. */
function bitsOf(log: Uint8Array, random: Random): number[] {
  const [headerBytes, frameHeaderBytes, pageBytes] = [32, 24, 4096];
  const bits: number[] = [];
  for (let field = 0; field < headerBytes; field += 4) bits.push(8 * field + random.below(32));
  for (let at = headerBytes; at < log.length; at += frameHeaderBytes + pageBytes) {
    for (let field = 0; field < frameHeaderBytes; field += 4) {
      bits.push(8 * (at + field) + random.below(32));
    }
    for (let i = 0; i < 2; i++) {
      bits.push(8 * (at + frameHeaderBytes) + random.below(8 * pageBytes));
    }
    // The mark of a commit is a number of pages: turn the bits that it is made of.
    for (let bit = 0; bit < 8; bit++) bits.push(8 * (at + 7) + bit);
  }
  return bits;
}

test.inMemory("SqliteStore refuses a log with a flipped bit, and says so if it may be a crash's", (folder) => {
  const { seed, random } = seeded();
  const { file, log, lastCommitOffset, stateBefore } = busyStore(`${folder}/busy.db`);
  const path = `${folder}/flip.db`;
  for (const bit of bitsOf(log, random)) {
    const damage = `seed ${seed}: bit ${bit} of the log, ${log.length} bytes`;
    Deno.writeFileSync(path, file);
    Deno.writeFileSync(`${path}-wal`, flipped(log, bit));
    if (bit < 8 * lastCommitOffset) {
      const refusal = refusalOf(path);
      assert(refusal.startsWith(`its log ${path}-wal is damaged at byte `), damage + refusal);
      assertEquals(Deno.readFileSync(`${path}-wal`), flipped(log, bit), damage);
    } else {
      const said: string[] = [];
      using store = open(path, said);
      assertEquals(stateOf([...store.keptTasks()]), stateBefore, damage);
      assert(said[0]?.startsWith(`${path}-wal: its last commit is not whole`), damage + said[0]);
    }
  }
});

test.inMemory("SqliteStore that is told to accept damage finds the state before it, and goes on", (folder) => {
  const { seed, random } = seeded();
  const { file, log, states } = busyStore(`${folder}/busy.db`);
  for (const bit of bitsOf(log, random)) {
    const state = findIn(`${folder}/flip.db`, file, flipped(log, bit), { acceptsDamage: true });
    assert(state !== undefined && states.has(state), `seed ${seed}: bit ${bit}: ${state}`);
    // What it dropped does not come back, nor is it damage again.
    assertEquals(keptIn(`${folder}/flip.db`).at(-1)?.task.arrival, 1_000_000);
  }
});

test.inMemory("SqliteStore leaves nothing in a log that it has moved into the file", (folder) => {
  const { seed, random } = seeded();
  const path = `${folder}/busy.db`;
  using store = open(path);
  const kept: KeptTask[] = [];
  let log = usedLog(path);
  // Until the log begins anew: its header changes.
  for (let header = log.slice(0, 32); log.slice(0, 32).join() === header.join();) {
    for (let i = 0; i < 500; i++) {
      const added = task(kept.length + 1);
      store.add(added);
      kept.push({ task: added, ends: 0, isBuried: false, dueMs: undefined });
    }
    store.commit();
    log = usedLog(path);
    if (kept.length === 500) header = log.slice(0, 32);
  }
  assert(kept.length > 1000);
  const file = Deno.readFileSync(path);
  for (let i = 0; i < damageTries / 10; i++) {
    const bit = random.below(8 * log.length);
    const state = findIn(`${folder}/flip.db`, file, flipped(log, bit));
    assert(
      state === undefined || state === stateOf(kept),
      `seed ${seed}: bit ${bit} of the log, ${log.length} bytes: ${state}`,
    );
  }
});

test.inMemory("SqliteStore takes what power failures leave, one after the other, for no damage", (folder) => {
  const path = `${folder}/tasks.db`;
  let [file, log] = [new Uint8Array(), new Uint8Array()];
  let expected: KeptTask[] = [];
  // Each leaves a commit whose first page was lost; the next commits are shorter.
  for (let failure = 0; failure < 5; failure++) {
    Deno.writeFileSync(path, file);
    Deno.writeFileSync(`${path}-wal`, log);
    using store = open(path);
    assertEquals([...store.keptTasks()], expected);
    store.add(task(10_000 * failure));
    store.commit();
    expected = [...store.keptTasks()];
    const { endOffset } = inspectLog(Deno.readFileSync(`${path}-wal`));
    for (let i = 1; i < 1000 * (5 - failure); i++) store.add(task(10_000 * failure + i));
    store.commit();
    [file, log] = [Deno.readFileSync(path), Deno.readFileSync(`${path}-wal`)];
    log.fill(0, endOffset, endOffset + 4096);
  }
});

test.inMemory("SqliteStore finds the state before the damage, or refuses, at several flips in both files", (folder) => {
  const { seed, random } = seeded();
  const { file, log, states } = busyStore(`${folder}/busy.db`);
  for (let i = 0; i < damageTries / 3; i++) {
    let [damagedFile, damagedLog] = [file, log];
    const flips: string[] = [];
    for (let rest = 1 + random.below(8); rest > 0; rest--) {
      const bit = random.below(8 * (file.length + log.length));
      flips.push(String(bit));
      if (bit < 8 * file.length) damagedFile = flipped(damagedFile, bit);
      else damagedLog = flipped(damagedLog, bit - 8 * file.length);
    }
    const state = findIn(`${folder}/flip.db`, damagedFile, damagedLog);
    assert(
      state === undefined || states.has(state),
      `seed ${seed}: bits ${flips.join(" ")} of ${file.length} + ${log.length} bytes: ${state}`,
    );
  }
});

function flipped(bytes: Uint8Array, bit: number): Uint8Array {
  const copy = bytes.slice();
  copy[bit >> 3] = (copy[bit >> 3] as number) ^ (1 << (bit & 7));
  return copy;
}

test.inMemory("SqliteStore knows when tasks arrived, to a fifth of a second, also after days", (folder) => {
  const path = `${folder}/tasks.db`;
  let wallMs = 1_800_000_000_000;
  const clock = { wallMs: () => wallMs, nowMs: () => 0 };
  const openIt = () => new SqliteStore(path, () => {}, { clock });
  const startMs = wallMs;
  const arrivalsMs = [0, 50, 3_600_000, 3_600_100, 3_600_300];
  {
    using store = openIt();
    assertEquals([...store.keptTimes()], []);
    for (const [index, afterMs] of arrivalsMs.entries()) {
      wallMs = startMs + afterMs;
      store.add(task(index + 1, "a"));
      store.commit();
    }
  }
  wallMs = startMs + 10_000_000;
  using store = openIt();
  assertEquals([...store.keptTimes()], [
    { number: 2, timeMs: -10_000_000 },
    { number: 4, timeMs: 3_600_000 - 10_000_000 },
    { number: 5, timeMs: 3_600_300 - 10_000_000 },
  ]);
});

test.inMemory("SqliteStore forgets times rather than to grow", (folder) => {
  const path = `${folder}/tasks.db`;
  let wallMs = 1_800_000_000_000;
  const clock = { wallMs: () => wallMs, nowMs: () => 0 };
  {
    using store = new SqliteStore(path, () => {}, { clock });
    for (let arrival = 1; arrival <= maxCheckpoints + 1; arrival++) {
      wallMs += 1000;
      store.add(task(arrival, "a"));
      store.commit();
    }
  }
  const database = new DatabaseSync(path);
  const rows = Number(database.prepare("SELECT count(*) AS n FROM clock").get()?.["n"]);
  database.close();
  using store = new SqliteStore(path, () => {}, { clock });
  assertEquals([...store.keptTimes()].length, rows);
  assert(rows < maxCheckpoints && rows > 500, `${rows} rows`);
});
