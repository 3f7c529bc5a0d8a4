/**
 * The two files of a store, beside what SQLite does with them: the file and its write-ahead log.
 *
 * It refuses what is no store at sight, makes a new file private, looks for damage in the log, keeps
 * room in both for what must always be possible, and notices if they are deleted or replaced. It
 * never writes where SQLite has written, except over what SQLite has dropped.
 *
 * @module
 */

import {
  closeSync,
  fchmodSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readSync,
  writeSync,
} from "node:fs";
import { UsageError, UserError } from "../user_error.ts";
import { quote } from "../quote.ts";
import { frameHeaderBytes, inspectLog, isFrameOf, logBytes } from "./write_ahead_log.ts";

/** The least a SQLite file has; smaller than 2 bytes counts as a new one there, but not here. */
const minFileBytes = 512;

/** The size of a page, which is SQLite's default. */
const pageBytes = 4096;

/** Owner only: tasks may be anybody's secrets. */
const privateMode = 0o600;

/** How often the files are looked at while the server is idle, in milliseconds. */
const presenceCheckMs = 1000;

/** How often at most they are looked at while it is busy, in milliseconds: a look takes 50 µs. */
const minPresenceCheckMs = 20;

/** Bytes that are written at once to keep room. */
const zeros = new Uint8Array(256 * pageBytes);

/** What the system says if a file may not grow: ENOSPC, EFBIG, EDQUOT; Windows: disk full. */
const noRoomErrors: ReadonlySet<number> = new Set(
  { darwin: [28, 27, 69], windows: [112] }[Deno.build.os as string] ?? [28, 27, 122],
);

/** The files of one store, for as long as it is open. */
export class StoreFiles implements Disposable {
  /** The file's path without links, relative parts and what SQLite would take for more than a path. */
  readonly fullPath: string;
  readonly #path: string;
  /**
   * Opened by node:fs, whose fstat goes on when the permission to read is given up.
   *
   * Closed after SQLite has closed its own: the first close of any ends the process's locks on it.
   */
  readonly #file: number;
  #log: number | undefined;
  /** Holds the log, so that a second server does not take a commit under way for damage. */
  #logLock: Deno.FsFile | undefined;
  #fileBytes = 0;
  #hasReserve = false;
  #hasRest = false;
  #lastCheckMs = 0;
  #presenceTimer: ReturnType<typeof setInterval> | undefined;
  /** Made while there is the permission to read. */
  readonly #watchers = new Map<string, Deno.FsWatcher>();

  /**
   * Looks at a store's files, and makes the file if there is none.
   *
   * @param complain takes warnings.
   * @param options.acceptsDamage whether a damaged log is used up to the damage.
   * @throws {UserError} they cannot be a store's, or their log is damaged.
   */
  constructor(
    path: string,
    complain: (line: string) => void,
    options: { readonly acceptsDamage: boolean },
  ) {
    this.#path = path;
    refuseAtSight(path);
    this.fullPath = makeIfMissing(path);
    this.#file = openToWrite(this.fullPath, path);
    this.#watchMoves(this.fullPath);
    try {
      this.#lockLog();
      this.#inspectLog(complain, options);
      for (const name of [path, this.#logPath]) warnIfOpenToOthers(name, complain);
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  /**
   * Takes up what SQLite has made of the files.
   *
   * @param options.frames how many frames SQLite takes from the log.
   */
  adopt(options: { readonly frames: number }): void {
    // SQLite may have made a new one.
    this.#lockLog();
    this.#log ??= openSync(this.#logPath, "r+");
    this.#watchMoves(this.#logPath);
    this.noticeMovedLog();
    const offset = logBytes(options.frames, pageBytes);
    if (this.#hasRest) overwrite(this.#log, offset, fstatSync(this.#log).size);
    this.#hasRest = false;
  }

  /**
   * Keeps room in the log for commits that only remove: it is written over from the start whenever it
   * has been moved into the file, and never shrinks.
   *
   * @param frames how many frames the log must hold.
   * @returns false if there is no room.
   */
  reserveLog(frames: number): boolean {
    const log = this.#log as number;
    this.#hasReserve ||= extend(log, fstatSync(log).size, logBytes(frames, pageBytes));
    return this.#hasReserve;
  }

  /**
   * Keeps room in the file for pages that are in the log, so that they can always be moved.
   *
   * @returns false if there is no room.
   */
  reserveFile(pages: number): boolean {
    const bytes = pages * pageBytes;
    if (bytes <= this.#fileBytes) return true;
    const hasRoom = extend(this.#file, this.#fileBytes, bytes);
    if (hasRoom) this.#fileBytes = bytes;
    return hasRoom;
  }

  /** Takes note that SQLite has moved the log into the file, and cut the file to its size. */
  noticeMovedLog(): void {
    this.#fileBytes = fstatSync(this.#file).size;
  }

  /**
   * Wipes what a transaction that was rolled back has left in the log behind the last commit: the
   * next commit may be shorter, and what would be left behind it looks like damage.
   */
  dropFrames(options: { readonly frames: number }): void {
    const log = this.#log as number;
    const offset = logBytes(options.frames, pageBytes);
    const start = new Uint8Array(logBytes(0, pageBytes));
    const next = new Uint8Array(frameHeaderBytes);
    try {
      readSync(log, start, 0, start.length, 0);
      readSync(log, next, 0, next.length, offset);
      if (isFrameOf(start, next)) overwrite(log, offset, fstatSync(log).size);
    } catch {
      // The next commit says what is wrong with the disk.
    }
  }

  /**
   * Finds out, after a failed write, whether a file may not grow. For all but a full disk SQLite says
   * no more than that writing failed.
   */
  mayNotGrow(): boolean {
    return [this.#file, this.#log].some((file) => {
      if (file === undefined) return false;
      const { size } = fstatSync(file);
      try {
        overwrite(file, size, size + pageBytes);
      } catch (error) {
        return isNoRoom(error);
      } finally {
        ftruncateSync(file, size);
      }
      return false;
    });
  }

  /**
   * Looks whether the files are still where they were; while busy not at every call.
   *
   * @throws {UserError} they are not: what is written now is gone with the server.
   */
  refuseIfGone(options: { readonly isBusy: boolean }): void {
    const nowMs = performance.now();
    if (options.isBusy && nowMs - this.#lastCheckMs < minPresenceCheckMs) return;
    this.#lastCheckMs = nowMs;
    const files = [[this.#file, this.#path], [this.#log, this.#logPath]] as const;
    for (const [file, name] of files) {
      if (file !== undefined && fstatSync(file).nlink === 0) throw gone(name);
    }
  }

  /** Looks after the files while nothing is committed. */
  watch(onGone: (error: unknown) => void): void {
    const timer = setInterval(() => {
      try {
        this.refuseIfGone({ isBusy: false });
      } catch (error) {
        onGone(error);
      }
    }, presenceCheckMs);
    Deno.unrefTimer(timer);
    this.#presenceTimer = timer;
    for (const [path, watcher] of this.#watchers) followMoves(watcher, () => onGone(gone(path)));
  }

  /** Lets the files go; after SQLite has. */
  [Symbol.dispose](): void {
    clearInterval(this.#presenceTimer);
    for (const watcher of this.#watchers.values()) watcher.close();
    if (this.#log !== undefined) closeSync(this.#log);
    // A process that is just being started may hold a copy of the open file, and so the lock.
    this.#logLock?.unlockSync();
    this.#logLock?.close();
    closeSync(this.#file);
  }

  get #logPath(): string {
    return `${this.fullPath}-wal`;
  }

  #watchMoves(path: string): void {
    if (this.#watchers.has(path)) return;
    const watcher = watchFile(path);
    if (watcher !== undefined) this.#watchers.set(path, watcher);
  }

  #lockLog(): void {
    const isThere = statOrUndefined(this.#logPath) !== undefined;
    if (this.#logLock !== undefined || !isThere) return;
    this.#logLock = Deno.openSync(this.#logPath, { read: true, write: true });
    if (!this.#logLock.tryLockSync(true)) throw inUse(this.#path);
  }

  #inspectLog(
    complain: (line: string) => void,
    options: { readonly acceptsDamage: boolean },
  ): void {
    if (this.#logLock === undefined) return;
    const { rest, endOffset } = inspectLog(Deno.readFileSync(this.#logPath));
    this.#hasRest = rest !== "nothing";
    const name = this.#logPath;
    if (rest === "part of a commit") {
      complain(
        `${name}: its last commit is not whole, and is left out ` +
          "(nothing confirmed is in it if the server or the machine has crashed)",
      );
    } else if (rest === "damaged commits" && options.acceptsDamage) {
      complain(`${name} is damaged at byte ${endOffset}: what was confirmed after that is lost`);
    } else if (rest === "damaged commits") {
      throw new UserError(
        `Cannot use ${this.#path}: its log ${name} is damaged at byte ${endOffset}. Restore a copy ` +
          "of both, or start with --accept-damaged-store: what was confirmed after that is lost",
      );
    }
  }
}

/** The file is used by another server. */
export function inUse(path: string): UserError {
  return new UserError(`Cannot use ${path}: it is in use by another server`);
}

/** The file may be read alone. */
export function readOnly(path: string): UserError {
  return new UserError(`Cannot use ${path}: it can be read, but not written`);
}

/** The file is no SQLite file. */
export function notAStore(path: string): UserError {
  return new UserError(`Cannot use ${path}: it is not a store (nor any SQLite file)`);
}

/** The file is damaged. */
export function damaged(path: string, how: string): UserError {
  return new UserError(
    `Cannot use ${path}: it is damaged (${how.trim().split("\n")[0]}). ` +
      "Restore a copy, or move it away to start with an empty one",
  );
}

function gone(path: string): UserError {
  return new UserError(
    `Store ${path} failed: the file was deleted, moved or replaced under the running server. ` +
      "What was confirmed is in that file alone: put it or a copy back, then start the server again",
  );
}

/** Refuses what SQLite would take for something else than a file, or gives no clear reason for. */
function refuseAtSight(path: string): void {
  if (path === "" || path === ":memory:" || path.startsWith("file:")) {
    throw new UsageError(
      `Cannot use ${quote(path)}: name a file (./${path} if it is called so)`,
    );
  }
  const file = statOrUndefined(path);
  if (file?.isDirectory) throw new UserError(`Cannot use ${path}: it is a directory`);
  if (file !== undefined && !file.isFile) {
    throw new UserError(`Cannot use ${path}: it is not a regular file`);
  }
  const size = file?.size ?? 0;
  if (size > 0 && size < minFileBytes) throw notAStore(path);
  const log = `${file === undefined ? path : Deno.realPathSync(path)}-wal`;
  if (size === 0 && (statOrUndefined(log)?.size ?? 0) > 0) {
    throw damaged(path, `it is empty, but ${log} is not`);
  }
}

/** Makes the file, readable by its owner alone; returns its full path. */
function makeIfMissing(path: string): string {
  if (statOrUndefined(path) === undefined) {
    const file = openSync(path, "wx", privateMode);
    // The umask may have taken the owner's rights; SQLite gives the log the same mode.
    if (Deno.build.os !== "windows") fchmodSync(file, privateMode);
    closeSync(file);
  }
  return Deno.realPathSync(path);
}

/** SQLite would open it for reading alone, and fail later. */
function openToWrite(fullPath: string, path: string): number {
  try {
    return openSync(fullPath, "r+");
  } catch (error) {
    let canRead = false;
    try {
      closeSync(openSync(fullPath, "r"));
      canRead = true;
    } catch {
      // The first error says why.
    }
    if (canRead && !(error instanceof Deno.errors.NotCapable)) throw readOnly(path);
    throw error;
  }
}

function warnIfOpenToOthers(path: string, complain: (line: string) => void): void {
  const mode = statOrUndefined(path)?.mode ?? 0;
  if ((mode & 0o077) === 0 || Deno.build.os === "windows") return;
  const octal = (mode & 0o777).toString(8);
  complain(`${path}: other users may use it (mode ${octal}): chmod 600 keeps them out`);
}

function statOrUndefined(path: string): Deno.FileInfo | undefined {
  try {
    return Deno.statSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return undefined;
  }
}

/** Writes zeros from one offset to another; false if there is no room for them. */
function extend(file: number, from: number, to: number): boolean {
  try {
    overwrite(file, from, to);
    return true;
  } catch (error) {
    if (isNoRoom(error)) return false;
    throw error;
  }
}

function overwrite(file: number, from: number, to: number): void {
  for (let at = from; at < to;) {
    at += writeSync(file, zeros, 0, Math.min(zeros.length, to - at), at);
  }
}

function isNoRoom(error: unknown): boolean {
  // Deno's errors have a code for the usual of these alone.
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  const number = /\(os error (\d+)\)/.exec(error instanceof Error ? error.message : "")?.[1];
  return code === "ENOSPC" || noRoomErrors.has(Number(number ?? NaN));
}

/** Undefined if the system watches no more files, or not these. */
function watchFile(path: string): Deno.FsWatcher | undefined {
  try {
    return Deno.watchFs(path, { recursive: false });
  } catch {
    return undefined;
  }
}

/** Calls back when the file is moved, which does not show in the open file. */
async function followMoves(
  watcher: AsyncIterable<Deno.FsEvent>,
  onMoved: () => void,
): Promise<void> {
  for await (const { kind } of watcher) {
    if (kind === "remove" || kind === "rename") onMoved();
  }
}
