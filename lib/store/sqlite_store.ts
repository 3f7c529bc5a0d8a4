/**
 * Keeps tasks in a SQLite file, through Deno's own `node:sqlite`.
 *
 * The file has one row per task, and some that tell when tasks arrived. SQLite is set to a write-ahead log and `synchronous = FULL`, so
 * that a commit has reached the disk when it returns, and survives kill -9 and power loss
 * (sqlite.org/wal.html, sqlite.org/pragma.html). Who has reserved a task is not stored: after a
 * restart a task that was reserved is ready. Times are stored as times of day, since the clock of a
 * process means nothing to the next one: if the system's clock is set meanwhile, they move with it.
 *
 * @module
 */

import { DatabaseSync, type StatementSync } from "node:sqlite";
import { UsageError, UserError } from "../user_error.ts";
import { ArrivalClock, type Checkpoint } from "../core/arrival_clock.ts";
import type { Priority, Task } from "../core/task.ts";
import { damaged, inUse, notAStore, readOnly, StoreFiles } from "./store_files.ts";
import {
  commitBounds,
  type CommitOutcome,
  type KeptTask,
  type TaskState,
  type TaskStore,
} from "../core/store.ts";
import { Histogram } from "../histogram.ts";
import { nowMs } from "../clock.ts";

/** Marks our files: "PTQ1" in ASCII (sqlite.org/fileformat.html, 1.3.18). */
const applicationId = 0x50545131;

/** The version of the file's layout. Older ones are brought to it; a newer one is refused. */
const schemaVersion = 2;

/** Result codes of SQLite (sqlite.org/rescode.html). */
const sqlite = {
  busy: 5,
  readOnly: 8,
  /** A write failed for any reason but a full disk (SQLITE_IOERR_WRITE). */
  cannotWrite: 10 | (3 << 8),
  corrupt: 11,
  full: 13,
  notADatabase: 26,
  /** Locking failed; so it does for a file that could only be opened for reading. */
  cannotLock: 10 | (15 << 8),
} as const;

/**
 * When the write-ahead log holds this many pages (1 MiB), they are moved into the file, and the log
 * is written over from its start. Syncing a log that is written over takes a third less time than
 * syncing one that grows, so the log should stop growing early.
 */
const checkpointPages = 256;

/**
 * Pages that the write-ahead log always has room for on the disk: 2 MiB. When half of these are
 * used, the log's pages are moved into the file. The other half is enough for the removals of one
 * turn of the event loop, even if the rest of the disk is full.
 */
const reservedPages = 2 * checkpointPages;

/** "room again" is printed only after no task was refused for this long, in milliseconds. */
const roomAgainMs = 1000;

/** How many deferred states each commit tries again; takes less than a millisecond. */
const deferredAtOnce = 100;

/** Rows per read: reading one row at a time takes three times as long. */
const rowsPerRead = 1000;

const columns = `arrival   INTEGER PRIMARY KEY,
    priority  INTEGER NOT NULL CHECK (priority IN (1, 2, 3)),
    task_id   TEXT NOT NULL,
    duration  TEXT NOT NULL,
    ends      INTEGER NOT NULL,
    is_buried INTEGER NOT NULL CHECK (is_buried IN (0, 1)),
    checksum  INTEGER NOT NULL`;

/** When tasks had arrived: all up to this one; new in version 2. */
const clockTable = `CREATE TABLE clock (
    unix_ms INTEGER PRIMARY KEY,
    arrival INTEGER NOT NULL
  ) STRICT`;

/** Arrivals of so many milliseconds share a row of the clock. */
const clockGapMs = 200;

/** What each version adds to the table, from version 2 on. A row of an older file has NULL there. */
const addedColumns = [["due INTEGER", "payload TEXT"]] as const;

/** The tables as a file of some version has them; SQLite writes added columns just so. */
function tablesOf(version: number): string {
  const added = addedColumns.slice(0, version - 1).flat().map((column) => `, ${column}`);
  const task = `CREATE TABLE task (\n    ${columns}\n  ${added.join("")}) STRICT`;
  return version === 1 ? task : `${task},${clockTable}`;
}

const schema = `
  ${tablesOf(1)};
  ${upgradeFrom(1)}
  PRAGMA application_id = ${applicationId};
`;

function upgradeFrom(version: number): string {
  const added = addedColumns.slice(version - 1).flat();
  return added.map((column) => `ALTER TABLE task ADD COLUMN ${column};`).join("\n") +
    `${clockTable};
    PRAGMA user_version = ${schemaVersion};`;
}

/** A change that the next commit writes. */
type Change =
  | { readonly kind: "add"; readonly task: Task; readonly dueMs: number | undefined }
  | { readonly kind: "remove" | "kick"; readonly task: Task }
  | ReturnChange
  | UpdateChange;

/** "Ends" are hand-outs that ended without completion. */
type ReturnChange = { readonly kind: "addBack"; readonly task: Task; readonly ends: number };

type UpdateChange = { readonly kind: "update" } & KeptTask;

/** What tells the time of day and the time that the queue goes by, both in milliseconds. */
export interface StoreClock {
  /** Since 1970; jumps if the system's clock is set. */
  wallMs(): number;
  /** On the clock of the queue; never jumps. */
  nowMs(): number;
}

const systemClock: StoreClock = { wallMs: Date.now, nowMs };

/** A row of the table, as an array. */
type Row = [
  arrival: number,
  priority: Priority,
  taskId: string,
  duration: string,
  ends: number,
  isBuried: number,
  checksum: number,
  due: number | null,
  payload: string | null,
];

/** A store in a file. Only one server at a time can have the file open. */
export class SqliteStore implements TaskStore {
  readonly #path: string;
  readonly #files: StoreFiles;
  readonly #database: DatabaseSync;
  readonly #complain: (line: string) => void;
  readonly #clock: StoreClock;
  // All are prepared statements, since the errors of exec() carry no result code.
  readonly #begin: StatementSync;
  readonly #commit: StatementSync;
  readonly #moveLog: StatementSync;
  readonly #restartLog: StatementSync;
  readonly #logSize: StatementSync;
  readonly #pageCount: StatementSync;
  readonly #insert: StatementSync;
  readonly #delete: StatementSync;
  readonly #update: StatementSync;
  readonly #noteTime: StatementSync;
  readonly #forgetTimes: StatementSync;
  /** When tasks arrived, as times of day. */
  readonly #arrivals: ArrivalClock;
  #changes: Change[] = [];
  /** States that the disk had no room for, by the task's arrival. */
  readonly #deferred = new Map<number, UpdateChange>();
  /** Tasks that came back, by arrival, for which there was no room; older than what is deferred. */
  readonly #cameBack = new Map<number, ReturnChange>();
  #isFull = false;
  /** See {@linkcode TaskStore.commitSeconds}. */
  readonly commitSeconds: Histogram = new Histogram(commitBounds);
  #lastFullMs = 0;
  #hasFailed = false;

  /**
   * Opens a file. If it does not exist, it is made, and only its owner may read it.
   *
   * @param complain called with warnings; also when the disk gets full, and when it has room again.
   * @param options.acceptsDamage whether to use a damaged log up to the damage, instead of refusing
   * it.
   * @param options.clock what tells the time; the system, if left out.
   * @throws {UserError} if the file cannot be used: it belongs to another program, is damaged, or
   * is in use.
   */
  constructor(
    path: string,
    complain: (line: string) => void,
    options: { readonly acceptsDamage?: boolean; readonly clock?: StoreClock } = {},
  ) {
    this.#path = path;
    this.#clock = options.clock ?? systemClock;
    this.#complain = complain;
    try {
      this.#files = new StoreFiles(path, complain, {
        acceptsDamage: options.acceptsDamage ?? false,
      });
    } catch (error) {
      throw explainOpen(path, error);
    }
    try {
      this.#database = new DatabaseSync(this.#files.fullPath);
    } catch (error) {
      this.#files[Symbol.dispose]();
      throw explainOpen(path, error);
    }
    try {
      this.#prepareFile();
      this.#begin = this.#database.prepare("BEGIN");
      this.#commit = this.#database.prepare("COMMIT");
      this.#moveLog = this.#database.prepare("PRAGMA wal_checkpoint(PASSIVE)");
      // Sets the value that is already there. What matters is that it writes: after all pages were
      // moved into the file, the next write begins at the log's start.
      this.#restartLog = this.#database.prepare(`PRAGMA user_version = ${schemaVersion}`);
      this.#logSize = this.#database.prepare("PRAGMA wal_checkpoint(NOOP)");
      this.#pageCount = this.#database.prepare("PRAGMA page_count");
      this.#insert = this.#database.prepare(
        "INSERT OR REPLACE INTO task " +
          "(arrival, priority, task_id, duration, ends, is_buried, checksum, due, payload) " +
          "VALUES (?, ?, ?, ?, ?, 0, ?, ?, ?)",
      );
      this.#delete = this.#database.prepare("DELETE FROM task WHERE arrival = ?");
      this.#update = this.#database.prepare(
        "UPDATE task SET ends = ?, is_buried = ?, checksum = ?, due = ? WHERE arrival = ?",
      );
      this.#noteTime = this.#database.prepare(
        "INSERT OR REPLACE INTO clock (unix_ms, arrival) VALUES (?, ?)",
      );
      this.#forgetTimes = this.#database.prepare(
        "DELETE FROM clock WHERE unix_ms NOT IN (SELECT value FROM json_each(?))",
      );
      this.#arrivals = new ArrivalClock(this.#readTimes(), { leastGapMs: clockGapMs });
      this.#files.adopt({ frames: this.#framesInLog() });
      this.#tryToWrite();
    } catch (error) {
      this.#database.close();
      this.#files[Symbol.dispose]();
      throw explainOpen(path, error);
    }
  }

  /**
   * Yields every kept task, in the order of arrival. A million take about half a second.
   *
   * @throws {UserError} if a row is damaged.
   */
  *keptTasks(): Generator<KeptTask> {
    const select = this.#database.prepare(
      "SELECT arrival, priority, task_id, duration, ends, is_buried, checksum, due, payload " +
        `FROM task WHERE arrival > ? ORDER BY arrival LIMIT ${rowsPerRead}`,
    );
    // Rows as arrays take half the time of rows as objects. Deno's types lack this method.
    (select as StatementSync & { setReturnArrays(enabled: boolean): void }).setReturnArrays(true);
    let lastArrival = Number.MIN_SAFE_INTEGER;
    for (;;) {
      const rows = this.#read(select, lastArrival);
      for (const row of rows) {
        const [arrival, priority, taskId, duration, ends, buried, checksum, due, payload] = row;
        const isBuried = buried === 1;
        const task: Task = payload === null
          ? { priority, taskId, duration, arrival }
          : { priority, taskId, duration, arrival, payload };
        if (checksumOf(task, { ends, isBuried, due }) !== checksum) {
          throw damaged(this.#path, `the row of task ${arrival} is not as it was`);
        }
        lastArrival = arrival;
        yield { task, ends, isBuried, dueMs: this.#toDueMs(due) };
      }
      if (rows.length < rowsPerRead) return;
    }
  }

  /** See {@linkcode TaskStore.keptTimes}. */
  keptTimes(): Iterable<Checkpoint> {
    return this.#arrivals.checkpoints.map(({ number, timeMs }) => ({
      number,
      timeMs: this.#toDueMs(timeMs) as number,
    }));
  }

  /** Adds a new task with the next commit. */
  add(task: Task, dueMs?: number): void {
    this.#changes.push({ kind: "add", task, dueMs });
  }

  /** Adds, with the next commit, a task that came back after it was removed. */
  addBack(task: Task, ends: number): void {
    this.#changes.push({ kind: "addBack", task, ends });
  }

  /** Removes a task with the next commit. */
  remove(task: Task): void {
    this.#changes.push({ kind: "remove", task });
  }

  /** Changes a task's state with the next commit. */
  update(task: Task, state: TaskState): void {
    this.#changes.push({ kind: "update", task, ...state });
  }

  /** Makes a buried task ready with the next commit. */
  kick(task: Task): void {
    this.#changes.push({ kind: "kick", task });
  }

  /**
   * Writes all changes since the last commit in one transaction. If the disk has no room for them,
   * the new tasks are left out. If it has no room for the rest either, updates of states are left
   * out, too, and written by a later commit. Removals need no new room, so a full store can be drained.
   *
   * @throws {UserError} if the disk fails or the file is gone. Then nothing more may be confirmed.
   */
  commit(): CommitOutcome {
    const changes = this.#changes;
    this.#changes = [];
    const beginMs = changes.length === 0 ? 0 : this.#clock.nowMs();
    const outcome = this.#commitAsMuchAsFits(changes);
    if (changes.length > 0) this.commitSeconds.add((this.#clock.nowMs() - beginMs) / 1000);
    try {
      this.#files.refuseIfGone({ isBusy: true });
    } catch (error) {
      this.#hasFailed = true;
      throw error;
    }
    return outcome;
  }

  /** Whether new tasks were refused, and none was taken since. */
  get isFull(): boolean {
    return this.#isFull;
  }

  /** Checks from now on whether the file is gone, also while idle; if so, calls back once. */
  watch(onFailure: (error: unknown) => void): void {
    this.#files.watch((error) => {
      if (this.#hasFailed) return;
      this.#hasFailed = true;
      onFailure(error);
    });
  }

  /**
   * Closes the file, which then holds all that was committed.
   *
   * @throws {UserError} if the file is gone, and neither `commit` nor `watch` has reported that.
   */
  [Symbol.dispose](): void {
    try {
      if (!this.#hasFailed) this.#files.refuseIfGone({ isBusy: false });
      if (!this.#hasFailed) this.#keep([...this.#cameBack.values()]);
      while (!this.#hasFailed && this.#keepSomeDeferred());
    } finally {
      this.#database.close();
      this.#files[Symbol.dispose]();
    }
  }

  #commitAsMuchAsFits(changes: readonly Change[]): CommitOutcome {
    const all = this.#cameBack.size === 0 ? changes : [...this.#cameBack.values(), ...changes];
    if (this.#keep(all)) {
      if (changes.some((change) => change.kind === "add")) this.#setFull(false);
      this.#forgetWaiting(changes);
      return "kept";
    }
    this.#setFull(true);
    // Moving the log's pages into the file may make room: the log is then written over.
    this.#attempt(() => this.#emptyLog());
    const old = all.filter((change) => change.kind !== "add");
    if (this.#keep(old)) {
      this.#forgetWaiting(changes);
      return "kept without new tasks";
    }
    // States can be written later, as the queue does not undo them. A kick is answered after this
    // commit, so it is kept now or not at all.
    const hasKick = changes.some((change) => change.kind === "kick");
    const isKept = !hasKick && this.#keep(old.filter((change) => change.kind !== "update"));
    this.#letWait(changes, { areUpdates: isKept });
    return isKept ? "kept without new tasks" : "not kept";
  }

  /** Forgets what waited for room, and is kept or outdated now that these changes are kept. */
  #forgetWaiting(changes: readonly Change[]): void {
    this.#cameBack.clear();
    if (this.#deferred.size === 0) return;
    for (const { task } of changes) this.#deferred.delete(task.arrival);
    this.#keepSomeDeferred();
  }

  /**
   * Has changes that the queue does not take back wait for room.
   *
   * @param options.areUpdates whether only updates are not kept yet; else nothing is.
   */
  #letWait(changes: readonly Change[], options: { readonly areUpdates: boolean }): void {
    if (options.areUpdates) this.#cameBack.clear();
    for (const change of changes) {
      const { arrival } = change.task;
      if (change.kind === "update") {
        this.#deferred.set(arrival, change);
      } else if (options.areUpdates || change.kind === "addBack") {
        this.#deferred.delete(arrival);
        if (change.kind === "addBack" && !options.areUpdates) this.#cameBack.set(arrival, change);
      }
    }
  }

  /** Tries to write deferred states; only some, because there may be a million. */
  #keepSomeDeferred(): boolean {
    if (this.#deferred.size === 0) return false;
    const some = [...this.#deferred.values().take(deferredAtOnce)];
    if (!this.#keep(some)) return false;
    for (const { task } of some) this.#deferred.delete(task.arrival);
    return true;
  }

  #prepareFile(): void {
    // Set before anything is read, so that SQLite uses no shared memory and lets no other server in.
    this.#query("PRAGMA locking_mode = EXCLUSIVE");
    const isNew = this.#isEmpty();
    if (!isNew) this.#refuseOthers();
    const journal = this.#query("PRAGMA journal_mode = WAL");
    if (journal !== "wal") {
      throw new UserError(
        `Cannot use ${this.#path}: SQLite keeps no write-ahead log for it (${journal})`,
      );
    }
    this.#query("PRAGMA synchronous = FULL");
    // This class moves the log itself: if the disk fails while SQLite does, nobody is told.
    this.#query("PRAGMA wal_autocheckpoint = 0");
    // Locks the file at once, so that a second server finds it in use when it starts.
    this.#query("BEGIN IMMEDIATE");
    if (isNew) this.#database.exec(schema);
    else this.#upgrade();
    this.#query("COMMIT");
    const problem = this.#query("PRAGMA quick_check(1)");
    if (problem !== "ok") throw damaged(this.#path, String(problem));
  }

  /** Fails if the file cannot be written, unless the disk is full: a full store can be drained. */
  #tryToWrite(): void {
    try {
      this.#restartLog.run();
      this.#files.reserveFile(Number(this.#pageCount.get()?.["page_count"]));
      this.#files.reserveLog(reservedPages);
    } catch (error) {
      if (!this.#isWithoutRoom(error)) throw error;
      this.#files.dropFrames({ frames: this.#framesInLog() });
    }
  }

  #isEmpty(): boolean {
    const objects = this.#query("SELECT count(*) FROM sqlite_schema");
    return objects === 0 && this.#query("PRAGMA application_id") === 0;
  }

  /** Brings an older file to this version; nothing of what it holds is written anew. */
  #upgrade(): void {
    const version = Number(this.#query("PRAGMA user_version"));
    if (version === schemaVersion) return;
    this.#database.exec(upgradeFrom(version));
    this.#complain(
      `${this.#path} was of version ${version} and is now of version ${schemaVersion}: ` +
        "an older server cannot open it any more",
    );
  }

  /** Refuses a file of another program or version. Only reads, since the file is not ours then. */
  #refuseOthers(): void {
    if (this.#query("PRAGMA application_id") !== applicationId) {
      throw new UserError(`Cannot use ${this.#path}: it is another program's SQLite file`);
    }
    const version = Number(this.#query("PRAGMA user_version"));
    if (!(version >= 1 && version <= schemaVersion)) {
      throw new UserError(
        `Cannot use ${this.#path}: it has version ${version}, this server knows ${schemaVersion}`,
      );
    }
    if (this.#query("SELECT group_concat(sql) FROM sqlite_schema") !== tablesOf(version)) {
      throw damaged(this.#path, "its table is not as it was");
    }
  }

  /** If the system's clock was set back, earlier tasks are taken for as old as later ones. */
  *#readTimes(): Generator<Checkpoint> {
    let [last, timeMs] = [0, -Infinity];
    for (const row of this.#database.prepare("SELECT * FROM clock ORDER BY arrival").all()) {
      const number = Number(row["arrival"]);
      if (number <= last) continue;
      last = number;
      timeMs = Math.max(timeMs, Number(row["unix_ms"]));
      yield { number, timeMs };
    }
  }

  /** Notes, with the transaction that is open, that new tasks have arrived. */
  #keepTime(changes: readonly Change[]): void {
    const lastAdded = changes.findLast((change) => change.kind === "add");
    if (lastAdded === undefined) return;
    const { size } = this.#arrivals;
    this.#arrivals.mark(lastAdded.task.arrival, this.#clock.wallMs());
    const { last } = this.#arrivals;
    if (last !== undefined) this.#noteTime.run(Math.round(last.timeMs), last.number);
    if (this.#arrivals.size >= size) return;
    const kept = this.#arrivals.checkpoints.map(({ timeMs }) => Math.round(timeMs));
    this.#forgetTimes.run(JSON.stringify(kept));
  }

  #read(select: StatementSync, lastArrival: number): Row[] {
    try {
      return select.all(lastArrival) as unknown as Row[];
    } catch (error) {
      throw explainOpen(this.#path, error);
    }
  }

  /** Runs a statement, and returns the first value of its first row. */
  #query(sql: string): unknown {
    return Object.values(this.#database.prepare(sql).all()[0] ?? {})[0];
  }

  /** Writes changes in one transaction; false, with nothing written, if the disk has no room. */
  #keep(changes: readonly Change[]): boolean {
    if (changes.length === 0) return true;
    const hasNew = changes.some((change) => change.kind === "add");
    const isKept = this.#attempt(() => {
      if (hasNew && !this.#files.reserveLog(reservedPages)) throw new NoRoomError();
      this.#begin.run();
      for (const change of changes) this.#apply(change);
      this.#keepTime(changes);
      const pages = Number(this.#pageCount.get()?.["page_count"]);
      if (!this.#files.reserveFile(pages)) throw new NoRoomError();
      this.#commit.run();
    });
    if (isKept && this.#framesInLog() >= checkpointPages) this.#attempt(() => this.#emptyLog());
    return isKept;
  }

  /** Moves the log's pages into the file, and starts the log again from its beginning. */
  #emptyLog(): void {
    const moved = this.#moveLog.get();
    this.#files.noticeMovedLog();
    // Restart at once. Otherwise SQLite would replay the old log after a crash, over a file that
    // already has all its pages. If that log were damaged, older pages would replace newer ones.
    if (moved?.["log"] === moved?.["checkpointed"]) this.#restartLog.run();
  }

  #framesInLog(): number {
    return Math.max(0, Number(this.#logSize.get()?.["log"]));
  }

  #apply(change: Change): void {
    const { task } = change;
    switch (change.kind) {
      case "add":
        this.#insertRow(task, { ends: 0, dueMs: change.dueMs });
        break;
      case "addBack":
        this.#insertRow(task, { ends: change.ends, dueMs: undefined });
        break;
      case "remove":
        this.#delete.run(task.arrival);
        break;
      case "update":
        this.#updateRow(task, change);
        break;
      case "kick":
        this.#updateRow(task, { ends: 0, isBuried: false, dueMs: undefined });
        break;
      default:
        change satisfies never;
    }
  }

  #insertRow(task: Task, { ends, dueMs }: Omit<TaskState, "isBuried">): void {
    const due = this.#toDue(dueMs);
    this.#insert.run(
      task.arrival,
      task.priority,
      task.taskId,
      task.duration,
      ends,
      checksumOf(task, { ends, isBuried: false, due }),
      due,
      task.payload ?? null,
    );
  }

  #updateRow(task: Task, { ends, isBuried, dueMs }: TaskState): void {
    const due = this.#toDue(dueMs);
    const checksum = checksumOf(task, { ends, isBuried, due });
    this.#update.run(ends, isBuried ? 1 : 0, checksum, due, task.arrival);
  }

  /** A time of the queue as a time of day. */
  #toDue(dueMs: number | undefined): number | null {
    if (dueMs === undefined) return null;
    return Math.round(dueMs - this.#clock.nowMs() + this.#clock.wallMs());
  }

  #toDueMs(due: number | null): number | undefined {
    return due === null ? undefined : due - this.#clock.wallMs() + this.#clock.nowMs();
  }

  /** Runs an action, and undoes it if the disk has no room for it; true if there was room. */
  #attempt(action: () => void): boolean {
    try {
      action();
      return true;
    } catch (error) {
      if (this.#database.isTransaction) this.#database.prepare("ROLLBACK").run();
      this.#files.dropFrames({ frames: this.#framesInLog() });
      if (error instanceof NoRoomError || this.#isWithoutRoom(error)) return false;
      this.#hasFailed = true;
      throw new UserError(
        `Store ${this.#path} failed: ${messageOf(error)}. What was confirmed is kept: ` +
          "check the disk, then start the server again",
      );
    }
  }

  #isWithoutRoom(error: unknown): boolean {
    const code = errorCode(error);
    return code === sqlite.full || code === sqlite.cannotWrite && this.#files.mayNotGrow();
  }

  /** Tells the user once: a nearly full disk may have room for one task and none for the next. */
  #setFull(isFull: boolean): void {
    const nowMs = performance.now();
    if (isFull) this.#lastFullMs = nowMs;
    if (isFull === this.#isFull) return;
    if (!isFull && nowMs - this.#lastFullMs < roomAgainMs) return;
    this.#isFull = isFull;
    this.#complain(
      isFull
        ? `no room for ${this.#path}: new tasks are refused until there is`
        : `room again for ${this.#path}`,
    );
  }
}

/**
 * The checksum of a row: 32-bit FNV-1a of its values. SQLite itself checks only the structure of a
 * file, not its content (Fowler, Noll, Vo: the FNV non-cryptographic hash algorithm). If a row uses no
 * column of version 2, it is the checksum that version 1 gave it.
 */
function checksumOf(
  { arrival, priority, taskId, duration, payload }: Task,
  { ends, isBuried, due }: { ends: number; isBuried: boolean; due: number | null },
): number {
  const old = `${arrival} ${priority} ${taskId} ${duration} ${ends} ${isBuried}`;
  const text = due === null && payload === undefined ? old : `${old} ${due} ${payload}`;
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) {
    hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  }
  return hash >>> 0;
}

/** The disk has no room to reserve for later: for the log, or for the pages it moves. */
class NoRoomError extends Error {}

function errorCode(error: unknown): number | undefined {
  const code = error instanceof Error && "errcode" in error ? error.errcode : undefined;
  if (code === sqlite.cannotLock || code === sqlite.cannotWrite) return code;
  // The low byte is the primary code; the other bits only give details.
  return typeof code === "number" ? code & 0xff : undefined;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function explainOpen(path: string, error: unknown): unknown {
  if (error instanceof UserError) return error;
  if (error instanceof Deno.errors.NotCapable) {
    return new UsageError(
      `--store needs file access: run with --allow-read --allow-write`,
    );
  }
  switch (errorCode(error)) {
    case sqlite.busy:
      return inUse(path);
    case sqlite.notADatabase:
      return notAStore(path);
    case sqlite.readOnly:
    case sqlite.cannotLock:
      return readOnly(path);
    case sqlite.corrupt:
      return damaged(path, messageOf(error));
    default: {
      const reason = messageOf(error)
        .replace(`: ${path}`, "")
        // Keeps only the middle of "ENOENT: no such file or directory, open 'tasks.db'".
        .replace(/^E[A-Z]+: (.*), \w+ '.*'$/s, "$1");
      return new UserError(`Cannot use ${path}: ${reason}`);
    }
  }
}
