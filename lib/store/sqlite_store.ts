/**
 * Keeps tasks in a SQLite file, through Deno's own `node:sqlite`.
 *
 * One row a task. Write-ahead log, `synchronous = FULL`: a commit has reached the disk when it
 * returns, and survives kill -9 and power loss (sqlite.org/wal.html, sqlite.org/pragma.html). A
 * reserved task is a row like a ready one, so a restart makes it ready.
 *
 * @module
 */

import { DatabaseSync, type StatementSync } from "node:sqlite";
import { UsageError, UserError } from "../user_error.ts";
import type { Priority, Task } from "../core/task.ts";
import { damaged, inUse, notAStore, readOnly, StoreFiles } from "./store_files.ts";
import type { CommitOutcome, KeptTask, TaskStore } from "../core/store.ts";

/** Marks our files: "PTQ1" in ASCII (sqlite.org/fileformat.html, 1.3.18). */
const applicationId = 0x50545131;

/** The layout of the file; a newer one is refused. */
const schemaVersion = 1;

/** Result codes of SQLite (sqlite.org/rescode.html). */
const sqlite = {
  busy: 5,
  readOnly: 8,
  /** A write that failed for any reason but a full disk. */
  cannotWrite: 10 | (3 << 8),
  corrupt: 11,
  full: 13,
  notADatabase: 26,
  /** What locking a file gives that could be opened for reading alone. */
  cannotLock: 10 | (15 << 8),
} as const;

/**
 * Pages in the write-ahead log before they move into the file: 1 MiB. A log that is written over
 * syncs a third faster than one that grows, so it should stop growing soon.
 */
const checkpointPages = 256;

/**
 * Pages that the write-ahead log has room for at any time: 2 MiB. Half of them are left when it
 * moves into the file, enough for the removals of a turn even if nothing else on the disk is free.
 */
const reservedPages = 2 * checkpointPages;

/** How long no task must be refused until it is said that there is room again, in milliseconds. */
const roomAgainMs = 1000;

/** Counts of ends that are tried again with each commit: less than a millisecond. */
const deferredAtOnce = 100;

/** Rows read at once: a row at a time takes three times as long. */
const rowsPerRead = 1000;

const table = `CREATE TABLE task (
    arrival   INTEGER PRIMARY KEY,
    priority  INTEGER NOT NULL CHECK (priority IN (1, 2, 3)),
    task_id   TEXT NOT NULL,
    duration  TEXT NOT NULL,
    ends      INTEGER NOT NULL,
    is_buried INTEGER NOT NULL CHECK (is_buried IN (0, 1)),
    checksum  INTEGER NOT NULL
  ) STRICT`;

const schema = `
  ${table};
  PRAGMA application_id = ${applicationId};
  PRAGMA user_version = ${schemaVersion};
`;

type Change =
  | { readonly kind: "add" | "remove"; readonly task: Task }
  | { readonly kind: "addBack"; readonly task: Task; readonly ends: number }
  | UpdateChange;

type UpdateChange = { readonly kind: "update" } & KeptTask;

/** A row of the table, as an array. */
type Row = [
  arrival: number,
  priority: Priority,
  taskId: string,
  duration: string,
  ends: number,
  isBuried: number,
  checksum: number,
];

/** A file of tasks; one server at a time may have it open. */
export class SqliteStore implements TaskStore {
  readonly #path: string;
  readonly #files: StoreFiles;
  readonly #database: DatabaseSync;
  readonly #complain: (line: string) => void;
  // Each statement is prepared: an error of exec() carries no result code.
  readonly #begin: StatementSync;
  readonly #commit: StatementSync;
  readonly #moveLog: StatementSync;
  readonly #restartLog: StatementSync;
  readonly #logSize: StatementSync;
  readonly #pageCount: StatementSync;
  readonly #insert: StatementSync;
  readonly #delete: StatementSync;
  readonly #update: StatementSync;
  #changes: Change[] = [];
  /** Counts of ends, by arrival, for which there was no room. */
  readonly #deferred = new Map<number, UpdateChange>();
  #isFull = false;
  #lastFullMs = 0;
  #hasFailed = false;

  /**
   * Opens a file, or makes it if there is none, for its owner alone.
   *
   * @param complain takes warnings; it is told once when there is no room, and when there is again.
   * @param options.acceptsDamage whether a damaged log is used up to the damage.
   * @throws {UserError} the file cannot be used: it is another program's, damaged, in use.
   */
  constructor(
    path: string,
    complain: (line: string) => void,
    options: { readonly acceptsDamage: boolean } = { acceptsDamage: false },
  ) {
    this.#path = path;
    this.#complain = complain;
    try {
      this.#files = new StoreFiles(path, complain, options);
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
      // Changes nothing, but writes, which is what starts the log anew.
      this.#restartLog = this.#database.prepare(`PRAGMA user_version = ${schemaVersion}`);
      this.#logSize = this.#database.prepare("PRAGMA wal_checkpoint(NOOP)");
      this.#pageCount = this.#database.prepare("PRAGMA page_count");
      this.#insert = this.#database.prepare(
        "INSERT OR REPLACE INTO task " +
          "(arrival, priority, task_id, duration, ends, is_buried, checksum) " +
          "VALUES (?, ?, ?, ?, ?, 0, ?)",
      );
      this.#delete = this.#database.prepare("DELETE FROM task WHERE arrival = ?");
      this.#update = this.#database.prepare(
        "UPDATE task SET ends = ?, is_buried = ?, checksum = ? WHERE arrival = ?",
      );
      this.#files.adopt({ frames: this.#framesInLog() });
      this.#tryToWrite();
    } catch (error) {
      this.#database.close();
      this.#files[Symbol.dispose]();
      throw explainOpen(path, error);
    }
  }

  /**
   * Every kept task, in the order of arrival; a million take about half a second.
   *
   * @throws {UserError} where a row is damaged.
   */
  *keptTasks(): Generator<KeptTask> {
    const select = this.#database.prepare(
      "SELECT arrival, priority, task_id, duration, ends, is_buried, checksum " +
        `FROM task WHERE arrival > ? ORDER BY arrival LIMIT ${rowsPerRead}`,
    );
    // Arrays halve the time; Deno's types do not know this method yet.
    (select as StatementSync & { setReturnArrays(enabled: boolean): void }).setReturnArrays(true);
    let lastArrival = Number.MIN_SAFE_INTEGER;
    for (;;) {
      const rows = this.#read(select, lastArrival);
      for (const [arrival, priority, taskId, duration, ends, isBuried, checksum] of rows) {
        const kept = {
          task: { priority, taskId, duration, arrival },
          ends,
          isBuried: isBuried === 1,
        };
        if (checksumOf(kept) !== checksum) {
          throw damaged(this.#path, `the row of task ${arrival} is not as it was`);
        }
        lastArrival = arrival;
        yield kept;
      }
      if (rows.length < rowsPerRead) return;
    }
  }

  /** Notes a new task for the next commit. */
  add(task: Task): void {
    this.#changes.push({ kind: "add", task });
  }

  /** Notes a task that came back, with its count of ends, for the next commit. */
  addBack(task: Task, ends: number): void {
    this.#deferred.delete(task.arrival);
    this.#changes.push({ kind: "addBack", task, ends });
  }

  /** Notes a task that is gone for the next commit. */
  remove(task: Task): void {
    this.#deferred.delete(task.arrival);
    this.#changes.push({ kind: "remove", task });
  }

  /** Notes a task's changed state for the next commit. */
  update(task: Task, state: { readonly ends: number; readonly isBuried: boolean }): void {
    this.#deferred.delete(task.arrival);
    this.#changes.push({ kind: "update", task, ...state });
  }

  /**
   * Keeps what was noted, in one transaction. If the disk has no room for all of it, the new tasks
   * are left out; if there is none for the rest either, counts of ends are, which are kept later.
   * Removals need no room, so a full store can always be drained.
   *
   * @throws {UserError} the disk fails or the file is gone: it can be trusted no more.
   */
  commit(): CommitOutcome {
    const changes = this.#changes;
    this.#changes = [];
    const outcome = this.#commitAsMuchAsFits(changes);
    try {
      this.#files.refuseIfGone({ isBusy: true });
    } catch (error) {
      this.#hasFailed = true;
      throw error;
    }
    return outcome;
  }

  /** Calls back, once, if the file is found to be gone while nothing is committed. */
  watch(onFailure: (error: unknown) => void): void {
    this.#files.watch((error) => {
      if (this.#hasFailed) return;
      this.#hasFailed = true;
      onFailure(error);
    });
  }

  /**
   * Closes the file; what was committed is in it.
   *
   * @throws {UserError} the file is gone, and nobody has been told.
   */
  [Symbol.dispose](): void {
    try {
      if (!this.#hasFailed) this.#files.refuseIfGone({ isBusy: false });
      // What came back while there was no room: there may be some now.
      if (!this.#hasFailed && this.#changes.length > 0) this.commit();
      while (!this.#hasFailed && this.#keepSomeDeferred());
    } finally {
      this.#database.close();
      this.#files[Symbol.dispose]();
    }
  }

  #commitAsMuchAsFits(changes: readonly Change[]): CommitOutcome {
    if (this.#keep(changes)) {
      if (changes.some((change) => change.kind === "add")) this.#setFull(false);
      this.#keepSomeDeferred();
      return "kept";
    }
    this.#setFull(true);
    // What is in the log moves into the file if that has room: the log is written over.
    this.#attempt(() => this.#emptyLog());
    const old = changes.filter((change) => change.kind !== "add");
    if (this.#keep(old)) {
      this.#keepSomeDeferred();
      return "kept without new tasks";
    }
    // What the queue does not take back. A kick is kept now or not at all, since it is answered.
    const updates = changes.filter((change) => change.kind === "update");
    const withoutUpdates = old.filter((change) => change.kind !== "update");
    const isKept = updates.every((update) => update.ends > 0) && this.#keep(withoutUpdates);
    for (const update of updates) {
      if (update.ends > 0) this.#deferred.set(update.task.arrival, update);
    }
    if (isKept) return "kept without new tasks";
    // Each task once, however often it comes back meanwhile.
    const cameBack = changes.filter((change) => change.kind === "addBack");
    this.#changes = [...new Map(cameBack.map((change) => [change.task.arrival, change])).values()];
    return "not kept";
  }

  /** Tries counts of ends for which there was no room; some, since all may be a million. */
  #keepSomeDeferred(): boolean {
    if (this.#deferred.size === 0) return false;
    const some = [...this.#deferred.values().take(deferredAtOnce)];
    if (!this.#keep(some)) return false;
    for (const { task } of some) this.#deferred.delete(task.arrival);
    return true;
  }

  #prepareFile(): void {
    // Before the first look: without shared memory, and no second server gets in.
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
    // Done here, since SQLite's own says nothing when the disk fails in it.
    this.#query("PRAGMA wal_autocheckpoint = 0");
    // Taken at once, so that a second server is told so and does not start.
    this.#query("BEGIN IMMEDIATE");
    if (isNew) this.#database.exec(schema);
    this.#query("COMMIT");
    const problem = this.#query("PRAGMA quick_check(1)");
    if (problem !== "ok") throw damaged(this.#path, String(problem));
  }

  /** Finds out now if the file takes no writes at all; without room it can still be drained. */
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

  /** Looks without a change: the file may belong to another program. */
  #refuseOthers(): void {
    if (this.#query("PRAGMA application_id") !== applicationId) {
      throw new UserError(`Cannot use ${this.#path}: it is another program's SQLite file`);
    }
    const version = this.#query("PRAGMA user_version");
    if (version !== schemaVersion) {
      throw new UserError(
        `Cannot use ${this.#path}: it has version ${version}, this server knows ${schemaVersion}`,
      );
    }
    if (this.#query("SELECT group_concat(sql) FROM sqlite_schema") !== table) {
      throw damaged(this.#path, "its table is not as it was");
    }
  }

  #read(select: StatementSync, lastArrival: number): Row[] {
    try {
      return select.all(lastArrival) as unknown as Row[];
    } catch (error) {
      throw explainOpen(this.#path, error);
    }
  }

  /** The first value of the first row. */
  #query(sql: string): unknown {
    return Object.values(this.#database.prepare(sql).all()[0] ?? {})[0];
  }

  #keep(changes: readonly Change[]): boolean {
    if (changes.length === 0) return true;
    const hasNew = changes.some((change) => change.kind === "add");
    const isKept = this.#attempt(() => {
      if (hasNew && !this.#files.reserveLog(reservedPages)) throw new NoRoomError();
      this.#begin.run();
      for (const change of changes) this.#apply(change);
      const pages = Number(this.#pageCount.get()?.["page_count"]);
      if (!this.#files.reserveFile(pages)) throw new NoRoomError();
      this.#commit.run();
    });
    if (isKept && this.#framesInLog() >= checkpointPages) this.#attempt(() => this.#emptyLog());
    return isKept;
  }

  /** Moves the log into the file, and begins it anew. */
  #emptyLog(): void {
    const moved = this.#moveLog.get();
    this.#files.noticeMovedLog();
    // At once: a log that is read again over a file which is ahead of it must be whole to the end.
    if (moved?.["log"] === moved?.["checkpointed"]) this.#restartLog.run();
  }

  #framesInLog(): number {
    return Math.max(0, Number(this.#logSize.get()?.["log"]));
  }

  #apply(change: Change): void {
    const { task } = change;
    switch (change.kind) {
      case "add":
      case "addBack": {
        const ends = change.kind === "addBack" ? change.ends : 0;
        this.#insert.run(
          task.arrival,
          task.priority,
          task.taskId,
          task.duration,
          ends,
          checksumOf({ task, ends, isBuried: false }),
        );
        break;
      }
      case "remove":
        this.#delete.run(task.arrival);
        break;
      case "update":
        this.#update.run(
          change.ends,
          change.isBuried ? 1 : 0,
          checksumOf(change),
          task.arrival,
        );
        break;
      default:
        change satisfies never;
    }
  }

  /** Runs something that may find no room; true if it found some. */
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

  /** Says it once: a nearly full disk may have room for one task and none for the next. */
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
 * FNV-1a of what must not change in a row: SQLite checks a file's structure, not its content
 * (Fowler, Noll, Vo: the FNV non-cryptographic hash algorithm, 32 bit).
 */
function checksumOf({ task, ends, isBuried }: KeptTask): number {
  const { arrival, priority, taskId, duration } = task;
  const text = `${arrival} ${priority} ${taskId} ${duration} ${ends} ${isBuried}`;
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) {
    hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  }
  return hash >>> 0;
}

/** There is no room for what a transaction will need later. */
class NoRoomError extends Error {}

function errorCode(error: unknown): number | undefined {
  const code = error instanceof Error && "errcode" in error ? error.errcode : undefined;
  if (code === sqlite.cannotLock || code === sqlite.cannotWrite) return code;
  // The low byte is the primary code; the rest says where it happened.
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
        // Of "ENOENT: no such file or directory, open 'tasks.db'" the middle.
        .replace(/^E[A-Z]+: (.*), \w+ '.*'$/s, "$1");
      return new UserError(`Cannot use ${path}: ${reason}`);
    }
  }
}
