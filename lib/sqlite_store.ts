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
import { exitCode, UserError } from "./cli.ts";
import type { CommittableStore } from "./group_commit.ts";
import type { CommitOutcome } from "./session.ts";
import type { Priority, Task } from "./task.ts";
import type { KeptTask, TaskStore } from "./task_queue.ts";

/** Marks our files: "PTQ1" in ASCII (sqlite.org/fileformat.html, 1.3.18). */
const applicationId = 0x50545131;

/** The layout of the file; a newer one is refused. */
const schemaVersion = 1;

/** Result codes of SQLite (sqlite.org/rescode.html). */
const sqlite = {
  busy: 5,
  readOnly: 8,
  corrupt: 11,
  full: 13,
  notADatabase: 26,
  /** What locking a file gives that could be opened for reading alone. */
  cannotLock: 10 | (15 << 8),
} as const;

/** The least a SQLite file has; smaller than 2 bytes counts as a new one there, but not here. */
const minFileBytes = 512;

/**
 * Pages in the write-ahead log before they move into the file: 1 MiB. A log that is written over
 * syncs a third faster than one that grows, so it should stop growing soon.
 */
const checkpointPages = 256;

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
  | ({ readonly kind: "update" } & KeptTask);

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
export class SqliteStore implements TaskStore, CommittableStore {
  readonly #path: string;
  readonly #database: DatabaseSync;
  readonly #complain: (line: string) => void;
  // Each statement is prepared: an error of exec() carries no result code.
  readonly #begin: StatementSync;
  readonly #commit: StatementSync;
  readonly #moveLog: StatementSync;
  readonly #emptyLog: StatementSync;
  readonly #logSize: StatementSync;
  readonly #insert: StatementSync;
  readonly #delete: StatementSync;
  readonly #update: StatementSync;
  #changes: Change[] = [];
  #isFull = false;

  /**
   * Opens a file, or makes it where there is none.
   *
   * @param complain is told once when there is no room, and when there is again.
   * @throws {UserError} where the file cannot be used: it is another program's, damaged, in use.
   */
  constructor(path: string, complain: (line: string) => void) {
    this.#path = path;
    this.#complain = complain;
    try {
      refuseAtSight(path);
      this.#database = new DatabaseSync(path);
    } catch (error) {
      throw explainOpen(path, error);
    }
    try {
      this.#prepareFile();
      this.#begin = this.#database.prepare("BEGIN");
      this.#commit = this.#database.prepare("COMMIT");
      this.#moveLog = this.#database.prepare("PRAGMA wal_checkpoint(PASSIVE)");
      this.#emptyLog = this.#database.prepare("PRAGMA wal_checkpoint(TRUNCATE)");
      this.#logSize = this.#database.prepare("PRAGMA wal_checkpoint(NOOP)");
      this.#insert = this.#database.prepare(
        "INSERT OR REPLACE INTO task " +
          "(arrival, priority, task_id, duration, ends, is_buried, checksum) " +
          "VALUES (?, ?, ?, ?, ?, 0, ?)",
      );
      this.#delete = this.#database.prepare("DELETE FROM task WHERE arrival = ?");
      this.#update = this.#database.prepare(
        "UPDATE task SET ends = ?, is_buried = ?, checksum = ? WHERE arrival = ?",
      );
    } catch (error) {
      this.#database.close();
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
          throw new UserError(damaged(this.#path, `the row of task ${arrival} is not as it was`));
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
    this.#changes.push({ kind: "addBack", task, ends });
  }

  /** Notes a task that is gone for the next commit. */
  remove(task: Task): void {
    this.#changes.push({ kind: "remove", task });
  }

  /** Notes a task's changed state for the next commit. */
  update(task: Task, state: { readonly ends: number; readonly isBuried: boolean }): void {
    this.#changes.push({ kind: "update", task, ...state });
  }

  /**
   * Keeps what was noted, in one transaction. Where the disk has no room for all of it, the new
   * tasks are left out; where there is none for the rest either, nothing is kept.
   *
   * @throws {UserError} where the disk fails: the file can be trusted no more.
   */
  commit(): CommitOutcome {
    const changes = this.#changes;
    this.#changes = [];
    if (this.#keep(changes)) {
      if (changes.some((change) => change.kind === "add")) this.#setFull(false);
      return "kept";
    }
    this.#setFull(true);
    // What is in the log already moves into the file, which may make room for the rest.
    this.#attempt(() => this.#emptyLog.run());
    const old = changes.filter((change) => change.kind !== "add");
    if (this.#keep(old)) return "kept without new tasks";
    this.#changes = changesToKeepLater(changes);
    return "not kept";
  }

  /** Closes the file; what was committed is in it. */
  [Symbol.dispose](): void {
    this.#database.close();
  }

  #prepareFile(): void {
    // Before the first look: without shared memory, and no second server gets in.
    this.#query("PRAGMA locking_mode = EXCLUSIVE");
    const isNew = this.#isEmpty();
    if (!isNew) this.#refuseOthers();
    for (
      const setting of [
        "journal_mode = WAL",
        "synchronous = FULL",
        // Done here, since SQLite's own says nothing when the disk fails in it.
        "wal_autocheckpoint = 0",
      ]
    ) {
      this.#query(`PRAGMA ${setting}`);
    }
    // Taken at once, so that a second server is told so and does not start.
    this.#query("BEGIN IMMEDIATE");
    if (isNew) this.#database.exec(schema);
    this.#query("COMMIT");
    const problem = this.#query("PRAGMA quick_check(1)");
    if (problem !== "ok") throw new UserError(damaged(this.#path, String(problem)));
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
      throw new UserError(damaged(this.#path, "its table is not as it was"));
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
    const isKept = this.#attempt(() => {
      this.#begin.run();
      for (const change of changes) this.#apply(change);
      this.#commit.run();
    });
    if (isKept && Number(this.#logSize.get()?.["log"]) >= checkpointPages) {
      // Where there is no room for it the log grows on.
      this.#attempt(() => this.#moveLog.run());
    }
    return isKept;
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

  /** Runs something that may find no room; true where it found some. */
  #attempt(action: () => void): boolean {
    try {
      action();
      return true;
    } catch (error) {
      if (this.#database.isTransaction) this.#database.prepare("ROLLBACK").run();
      if (errorCode(error) === sqlite.full) return false;
      throw new UserError(
        `Store ${this.#path} failed: ${messageOf(error)}. What was confirmed is kept: ` +
          "check the disk, then start the server again",
      );
    }
  }

  #setFull(isFull: boolean): void {
    if (isFull === this.#isFull) return;
    this.#isFull = isFull;
    this.#complain(
      isFull
        ? `no room for ${this.#path}: new tasks are refused until there is`
        : `room again for ${this.#path}`,
    );
  }
}

/**
 * Of changes for which there was no room, those that the queue does not take back: tasks that came
 * back, each once however often it does meanwhile, and counted ends.
 */
function changesToKeepLater(changes: readonly Change[]): Change[] {
  const later = new Map<string, Change>();
  for (const change of changes) {
    const isEnd = change.kind === "update" && change.ends > 0;
    if (change.kind !== "addBack" && !isEnd) continue;
    const key = `${change.kind} ${change.task.arrival}`;
    // Deleted first: a Map keeps a key at its first place, and the order counts.
    later.delete(key);
    later.set(key, change);
  }
  return [...later.values()];
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

function errorCode(error: unknown): number | undefined {
  const code = error instanceof Error && "errcode" in error ? error.errcode : undefined;
  if (code === sqlite.cannotLock) return code;
  // The low byte is the primary code; the rest says where it happened.
  return typeof code === "number" ? code & 0xff : undefined;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function notAStore(path: string): string {
  return `Cannot use ${path}: it is not a store (nor any SQLite file)`;
}

function damaged(path: string, how: string): string {
  return `Cannot use ${path}: it is damaged (${how.trim().split("\n")[0]}). ` +
    "Restore a copy, or move it away to start with an empty one";
}

/** Refuses what SQLite would take for a new file, or would give no clear reason for. */
function refuseAtSight(path: string): void {
  const file = statOrUndefined(path);
  if (file?.isDirectory) throw new UserError(`Cannot use ${path}: it is a directory`);
  const size = file?.size ?? 0;
  if (file?.isFile && size > 0 && size < minFileBytes) throw new UserError(notAStore(path));
  const log = `${path}-wal`;
  if (size === 0 && (statOrUndefined(log)?.size ?? 0) > 0) {
    throw new UserError(damaged(path, `it is empty, but ${log} is not`));
  }
}

function statOrUndefined(path: string): Deno.FileInfo | undefined {
  try {
    return Deno.statSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return undefined;
  }
}

function explainOpen(path: string, error: unknown): unknown {
  if (error instanceof UserError) return error;
  if (error instanceof Deno.errors.NotCapable) {
    return new UserError(
      `--store needs file access: run with --allow-read --allow-write`,
      exitCode.usage,
    );
  }
  switch (errorCode(error)) {
    case sqlite.busy:
      return new UserError(`Cannot use ${path}: it is in use by another server`);
    case sqlite.notADatabase:
      return new UserError(notAStore(path));
    case sqlite.readOnly:
    case sqlite.cannotLock:
      return new UserError(`Cannot use ${path}: it can be read, but not written`);
    case sqlite.corrupt:
      return new UserError(damaged(path, messageOf(error)));
    default:
      return new UserError(`Cannot use ${path}: ${messageOf(error).replace(`: ${path}`, "")}`);
  }
}
