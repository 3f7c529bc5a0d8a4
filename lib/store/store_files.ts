/**
 * Looks after the two files of a store, the file itself and its write-ahead log, as SQLite does not.
 *
 * This module refuses a path that cannot be a store, makes a new file private, looks for damage in
 * the log, reserves room in both files so that a full store can be drained, and notices if one is
 * deleted or replaced. It writes only beyond the end of what SQLite has written, and over what
 * SQLite no longer uses.
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

/** A SQLite file is at least this long. SQLite takes one of 1 byte for a new file; we refuse it. */
const minFileBytes = 512;

/** The size of a page, which is SQLite's default. */
const pageBytes = 4096;

/** The mode of a new file: only its owner may read it, as tasks may hold secrets. */
const privateMode = 0o600;

/** While the server is idle, it checks this often whether the files are there, in milliseconds. */
const presenceCheckMs = 1000;

/** While the server is busy, it checks at most this often, in milliseconds: a check takes 50 µs. */
const minPresenceCheckMs = 20;

/** Zeros to write: how room is reserved, and how old bytes are wiped. */
const zeros = new Uint8Array(256 * pageBytes);

/** Error numbers that say that a file may not grow: ENOSPC, EFBIG, EDQUOT; Windows: disk full. */
const noRoomErrors: ReadonlySet<number> = new Set(
  { darwin: [28, 27, 69], windows: [112] }[Deno.build.os as string] ?? [28, 27, 122],
);

/** The files of one store, while it is open. */
export class StoreFiles implements Disposable {
  /** The absolute path of the file, without links: SQLite cannot mistake it for a URI. */
  readonly fullPath: string;
  readonly #path: string;
  /**
   * The file, opened with node:fs: its fstat works even after the permission to read is given up.
   *
   * Closed only after SQLite has closed its own descriptor, since any close of the file ends all
   * locks that this process has on it.
   */
  readonly #file: number;
  #log: number | undefined;
  /** Locks the log, so that a second server does not take a commit under way for damage. */
  #logLock: Deno.FsFile | undefined;
  /** The length of the file, with the room that was reserved in it. */
  #fileBytes = 0;
  /** Whether room was reserved in the log. */
  #hasReserve = false;
  /** Whether the log has bytes behind its last whole commit, which SQLite ignores. */
  #hasRest = false;
  #lastCheckMs = 0;
  #presenceTimer: ReturnType<typeof setInterval> | undefined;
  /** By path. Made early, because later there is no permission to read any more. */
  readonly #watchers = new Map<string, Deno.FsWatcher>();

  /**
   * Checks a store's files before SQLite opens them, and makes the file if there is none.
   *
   * @param complain called with warnings.
   * @param options.acceptsDamage whether to use a damaged log up to the damage, instead of refusing
   * it.
   * @throws {UserError} if they cannot be a store's files, or their log is damaged.
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
   * Must be called once SQLite has opened the files. Opens the log, and wipes what SQLite ignores
   * in it.
   *
   * @param options.frames how many frames of the log SQLite uses.
   */
  adopt(options: { readonly frames: number }): void {
    // SQLite may have made a new log, which is not locked yet.
    this.#lockLog();
    this.#log ??= openSync(this.#logPath, "r+");
    this.#watchMoves(this.#logPath);
    this.noticeMovedLog();
    const offset = logBytes(options.frames, pageBytes);
    if (this.#hasRest) overwrite(this.#log, offset, fstatSync(this.#log).size);
    this.#hasRest = false;
  }

  /**
   * Reserves room in the log, so that commits that only remove tasks are possible on a full disk.
   * Once is enough: the log never shrinks, and is written over when its pages have been moved.
   *
   * @param frames how many frames the log must hold.
   * @returns false if the disk has no room.
   */
  reserveLog(frames: number): boolean {
    const log = this.#log as number;
    this.#hasReserve ||= extend(log, fstatSync(log).size, logBytes(frames, pageBytes));
    return this.#hasReserve;
  }

  /**
   * Reserves room in the file for pages that are still in the log, so that they can be moved into
   * the file even if the disk is full by then.
   *
   * @param pages how many pages the file must hold.
   * @returns false if the disk has no room.
   */
  reserveFile(pages: number): boolean {
    const bytes = pages * pageBytes;
    if (bytes <= this.#fileBytes) return true;
    const hasRoom = extend(this.#file, this.#fileBytes, bytes);
    if (hasRoom) this.#fileBytes = bytes;
    return hasRoom;
  }

  /**
   * Must be called after SQLite has moved the log into the file: it then cuts the file to its true
   * size, and with that gives up the room reserved in it.
   */
  noticeMovedLog(): void {
    this.#fileBytes = fstatSync(this.#file).size;
  }

  /**
   * Wipes what a transaction that was rolled back has left in the log behind the last commit. The
   * next commit may be shorter, and the old bytes behind it would then look like damage.
   *
   * @param options.frames how many frames of the log SQLite uses.
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
      // If the disk fails, the next commit reports it.
    }
  }

  /**
   * Finds out, after a write of SQLite has failed, whether a file may not grow any more. SQLite has
   * a code for a full disk; for a quota or a limit of file sizes it only says that writing failed.
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
   * Checks whether the files are still in their places.
   *
   * @param options.isBusy if true, the check is left out if the last one was less than 20 ms ago.
   * @throws {UserError} if a file was deleted: what is written to it now is lost when the server
   * ends.
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

  /** Checks the files from now on also while nothing is committed; calls back if one is gone. */
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

  /** Closes the files. Only after SQLite has closed its own descriptors. */
  [Symbol.dispose](): void {
    clearInterval(this.#presenceTimer);
    for (const watcher of this.#watchers.values()) watcher.close();
    if (this.#log !== undefined) closeSync(this.#log);
    // Unlock before closing: a process that is just being started may have a copy of the
    // descriptor, which would keep the lock.
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

/** The error for a file that another server uses. */
export function inUse(path: string): UserError {
  return new UserError(`Cannot use ${path}: it is in use by another server`);
}

/** The error for a file that may only be read. */
export function readOnly(path: string): UserError {
  return new UserError(`Cannot use ${path}: it can be read, but not written`);
}

/** The error for a file that is not a SQLite file. */
export function notAStore(path: string): UserError {
  return new UserError(`Cannot use ${path}: it is not a store (nor any SQLite file)`);
}

/** The error for a damaged file. */
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

/**
 * Refuses a path before SQLite sees it: SQLite would not take some for a file, and refuses others
 * without a clear reason.
 */
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

/** Makes the file if it is missing, so that only its owner may read it; returns its full path. */
function makeIfMissing(path: string): string {
  if (statOrUndefined(path) === undefined) {
    const file = openSync(path, "wx", privateMode);
    // Set again, because the umask may have taken rights away even from the owner. SQLite gives the
    // log the mode of the file.
    if (Deno.build.os !== "windows") fchmodSync(file, privateMode);
    closeSync(file);
  }
  return Deno.realPathSync(path);
}

/** Opens a file to write. SQLite would open one that is read-only as such, and fail only later. */
function openToWrite(fullPath: string, path: string): number {
  try {
    return openSync(fullPath, "r+");
  } catch (error) {
    let canRead = false;
    try {
      closeSync(openSync(fullPath, "r"));
      canRead = true;
    } catch {
      // It cannot be read either; the error of opening it to write says why.
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

/** Writes zeros from one offset to another; false if the disk has no room for them. */
function extend(file: number, from: number, to: number): boolean {
  try {
    overwrite(file, from, to);
    return true;
  } catch (error) {
    if (isNoRoom(error)) return false;
    throw error;
  }
}

/** Writes zeros from one offset to another. */
function overwrite(file: number, from: number, to: number): void {
  for (let at = from; at < to;) {
    at += writeSync(file, zeros, 0, Math.min(zeros.length, to - at), at);
  }
}

function isNoRoom(error: unknown): boolean {
  // Deno sets a code only for the most common of these errors; the message has the number of all.
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  const number = /\(os error (\d+)\)/.exec(error instanceof Error ? error.message : "")?.[1];
  return code === "ENOSPC" || noRoomErrors.has(Number(number ?? NaN));
}

/** Watches a file; undefined if the system cannot, such as at its limit of watched files. */
function watchFile(path: string): Deno.FsWatcher | undefined {
  try {
    return Deno.watchFs(path, { recursive: false });
  } catch {
    return undefined;
  }
}

/** Calls back when the file is moved: the open descriptor does not show that. */
async function followMoves(
  watcher: AsyncIterable<Deno.FsEvent>,
  onMoved: () => void,
): Promise<void> {
  for await (const { kind } of watcher) {
    if (kind === "remove" || kind === "rename") onMoved();
  }
}
