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
const sqlite = { busy: 5, full: 13, notADatabase: 26 } as const;

/**
 * Pages in the write-ahead log before they move into the file: 16 MiB, so that the move, which
 * syncs twice, comes seldom.
 */
const checkpointPages = 4096;

const schema = `
  CREATE TABLE task (
    arrival   INTEGER PRIMARY KEY,
    priority  INTEGER NOT NULL CHECK (priority IN (1, 2, 3)),
    task_id   TEXT NOT NULL,
    duration  TEXT NOT NULL,
    checksum  INTEGER NOT NULL,
    ends      INTEGER NOT NULL DEFAULT 0,
    is_buried INTEGER NOT NULL DEFAULT 0 CHECK (is_buried IN (0, 1))
  ) STRICT;
  PRAGMA application_id = ${applicationId};
  PRAGMA user_version = ${schemaVersion};
`;

type Change =
  | { readonly kind: "add" | "addBack" | "remove"; readonly task: Task }
  | {
    readonly kind: "update";
    readonly task: Task;
    readonly ends: number;
    readonly isBuried: boolean;
  };

/** A file of tasks; one server at a time may have it open. */
export class SqliteStore implements TaskStore, CommittableStore {
  readonly #path: string;
  readonly #database: DatabaseSync;
  readonly #complain: (line: string) => void;
  // Each statement is prepared: an error of exec() carries no result code.
  readonly #begin: StatementSync;
  readonly #commit: StatementSync;
  readonly #checkpoint: StatementSync;
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
      this.#database = new DatabaseSync(path);
    } catch (error) {
      throw explainOpen(path, error);
    }
    try {
      this.#prepareFile();
      this.#begin = this.#database.prepare("BEGIN");
      this.#commit = this.#database.prepare("COMMIT");
      this.#checkpoint = this.#database.prepare("PRAGMA wal_checkpoint(TRUNCATE)");
      this.#insert = this.#database.prepare(
        "INSERT OR REPLACE INTO task (arrival, priority, task_id, duration, checksum) " +
          "VALUES (?, ?, ?, ?, ?)",
      );
      this.#delete = this.#database.prepare("DELETE FROM task WHERE arrival = ?");
      this.#update = this.#database.prepare(
        "UPDATE task SET ends = ?, is_buried = ? WHERE arrival = ?",
      );
    } catch (error) {
      this.#database.close();
      throw explainOpen(path, error);
    }
  }

  /**
   * Every kept task, in the order of arrival; a million take about a second.
   *
   * @throws {UserError} where a row is damaged.
   */
  *keptTasks(): Generator<KeptTask> {
    const select = this.#database.prepare(
      "SELECT arrival, priority, task_id, duration, checksum, ends, is_buried " +
        "FROM task ORDER BY arrival",
    );
    // Arrays halve the time; Deno's types do not know this method yet.
    (select as StatementSync & { setReturnArrays(enabled: boolean): void }).setReturnArrays(true);
    for (const row of select.iterate()) {
      const [arrival, priority, taskId, duration, checksum, ends, isBuried] = row as unknown as [
        number,
        Priority,
        string,
        string,
        number,
        number,
        number,
      ];
      const task: Task = { priority, taskId, duration, arrival };
      if (checksumOf(task) !== checksum) {
        throw new UserError(damaged(this.#path, `the row of task ${arrival} is not as it was`));
      }
      yield { task, ends, isBuried: isBuried === 1 };
    }
  }

  /** Notes a new task for the next commit. */
  add(task: Task): void {
    this.#changes.push({ kind: "add", task });
  }

  /** Notes a task that came back for the next commit. */
  addBack(task: Task): void {
    this.#changes.push({ kind: "addBack", task });
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
    this.#attempt(() => this.#checkpoint.all());
    const old = changes.filter((change) => change.kind !== "add");
    if (this.#keep(old)) return "kept without new tasks";
    // What the sessions do not take back must get into the file when there is room again.
    this.#changes = changes.filter((change) =>
      change.kind === "addBack" || (change.kind === "update" && change.ends > 0)
    );
    return "not kept";
  }

  /** Closes the file; what was committed is in it. */
  [Symbol.dispose](): void {
    this.#database.close();
  }

  #prepareFile(): void {
    // Exclusive before WAL: without shared memory, and no second server gets in.
    for (
      const setting of [
        "locking_mode = EXCLUSIVE",
        "journal_mode = WAL",
        "synchronous = FULL",
        `wal_autocheckpoint = ${checkpointPages}`,
      ]
    ) {
      this.#query(`PRAGMA ${setting}`);
    }
    const version = this.#query("PRAGMA user_version");
    const id = this.#query("PRAGMA application_id");
    const objects = this.#query("SELECT count(*) FROM sqlite_schema");
    // Taken at once, so that a second server is told so and does not start.
    this.#query("BEGIN IMMEDIATE");
    if (objects === 0 && id === 0) {
      this.#database.exec(`${schema} COMMIT`);
      return;
    }
    this.#query("COMMIT");
    if (id !== applicationId) {
      throw new UserError(`Cannot use ${this.#path}: it is another program's SQLite file`);
    }
    if (version !== schemaVersion) {
      throw new UserError(
        `Cannot use ${this.#path}: it has version ${version}, this server knows ${schemaVersion}`,
      );
    }
    const problem = this.#query("PRAGMA quick_check(1)");
    if (problem !== "ok") throw new UserError(damaged(this.#path, String(problem)));
  }

  /** The first value of the first row. */
  #query(sql: string): unknown {
    return Object.values(this.#database.prepare(sql).all()[0] ?? {})[0];
  }

  #keep(changes: readonly Change[]): boolean {
    if (changes.length === 0) return true;
    return this.#attempt(() => {
      this.#begin.run();
      for (const change of changes) this.#apply(change);
      this.#commit.run();
    });
  }

  #apply(change: Change): void {
    const { task } = change;
    switch (change.kind) {
      case "add":
      case "addBack":
        this.#insert.run(
          task.arrival,
          task.priority,
          task.taskId,
          task.duration,
          checksumOf(task),
        );
        break;
      case "remove":
        this.#delete.run(task.arrival);
        break;
      case "update":
        this.#update.run(change.ends, change.isBuried ? 1 : 0, task.arrival);
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
 * FNV-1a of what must not change in a row: SQLite checks a file's structure, not its content
 * (Fowler, Noll, Vo: the FNV non-cryptographic hash algorithm, 32 bit).
 */
function checksumOf({ arrival, priority, taskId, duration }: Task): number {
  const text = `${arrival} ${priority} ${taskId} ${duration}`;
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) {
    hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  }
  return hash >>> 0;
}

function errorCode(error: unknown): number | undefined {
  const code = error instanceof Error && "errcode" in error ? error.errcode : undefined;
  // The low byte is the primary code; the rest says where it happened.
  return typeof code === "number" ? code & 0xff : undefined;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function damaged(path: string, how: string): string {
  return `Cannot use ${path}: it is damaged (${how.trim().split("\n")[0]}). ` +
    "Restore a copy, or move it away to start with an empty one";
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
      return new UserError(`Cannot use ${path}: it is not a store (nor any SQLite file)`);
    default:
      return new UserError(`Cannot use ${path}: ${messageOf(error)}`);
  }
}
