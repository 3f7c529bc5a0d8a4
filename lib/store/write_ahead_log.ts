/**
 * Reads a write-ahead log of SQLite without SQLite, to tell a crash from damage.
 *
 * A log is a header and then frames. A frame is a page with a header of its own; the last frame of a
 * commit is marked (sqlite.org/fileformat2.html, section 4). When SQLite opens a log, it uses the
 * frames up to the last whole commit, and silently ignores the rest. That is right if a crash has
 * interrupted the last commit. But if a bit has flipped on the disk, SQLite in this way drops all
 * commits from there on without a word, though they were confirmed.
 *
 * What tells one from the other: a commit is on the disk before the next one begins. So a crash
 * leaves at most one unfinished commit, and nothing behind it. If there is a frame with a commit
 * mark, and other frames of this log follow it, the commit was whole once, and is damaged now.
 *
 * @module
 */

/** The length of a log's header. */
const headerBytes = 32;

/** The length of a frame's header. */
export const frameHeaderBytes = 24;

/** The number that a log begins with; its last bit is set if checksums use big-endian words. */
const magic = 0x377f0682;

/** What a log holds. */
export interface LogContent {
  /** How many frames there are up to the last whole commit: those that SQLite uses. */
  readonly wholeFrames: number;
  /** The offset of the first byte behind those frames. */
  readonly endOffset: number;
  /**
   * What lies behind those frames: nothing that belongs to this log; a part of one commit, which is
   * what a crash leaves; or commits that were whole once.
   */
  readonly rest: "nothing" | "part of a commit" | "damaged commits";
}

/** The length in bytes of a log with this many frames. */
export function logBytes(frames: number, pageBytes: number): number {
  return headerBytes + frames * (frameHeaderBytes + pageBytes);
}

/**
 * Whether a frame was written after this log header. SQLite writes over an old log without erasing
 * it; header and frames have the same two numbers, the salts, which change each time it begins anew.
 */
export function isFrameOf(logHeader: Uint8Array, frameHeader: Uint8Array): boolean {
  const salts = (header: Uint8Array, offset: number) => header.subarray(offset, offset + 8).join();
  return salts(logHeader, 16) === salts(frameHeader, 8);
}

/** Examines a log. Takes about 2 ms per MiB. */
export function inspectLog(log: Uint8Array): LogContent {
  const view = new DataView(log.buffer, log.byteOffset, log.byteLength);
  if (log.length < headerBytes) return { wholeFrames: 0, endOffset: 0, rest: "nothing" };
  const header = readHeader(view);
  if (header === undefined) {
    // A log of nothing but zeros is reserved room that SQLite has not written to yet.
    const rest = log.some((byte) => byte !== 0) ? "damaged commits" : "nothing";
    return { wholeFrames: 0, endOffset: 0, rest };
  }
  const { endOffset, wholeFrames, brokenFrame } = wholePart(view, header);
  return { endOffset, wholeFrames, rest: restBehind(view, header, wholeFrames, brokenFrame) };
}

/** A checksum of a log, which consists of two sums. Also used for the two salts. */
type Sums = readonly [number, number];

interface LogHeader {
  readonly isLittleEndian: boolean;
  readonly pageBytes: number;
  readonly salts: Sums;
  readonly sums: Sums;
}

/** Reads the header of a log; undefined if it is damaged. */
function readHeader(view: DataView): LogHeader | undefined {
  const first = view.getUint32(0);
  const isLittleEndian = first === magic;
  const sums = checksum(view, 0, 24, isLittleEndian, [0, 0]);
  const isWhole = (isLittleEndian || first === magic + 1) && isStoredAt(view, 24, sums);
  if (!isWhole) return undefined;
  return {
    isLittleEndian,
    pageBytes: view.getUint32(8),
    salts: [view.getUint32(16), view.getUint32(20)],
    sums,
  };
}

/**
 * Finds the whole frames. The checksum of each frame includes everything before it, so the first
 * wrong one ends the search.
 */
function wholePart(
  view: DataView,
  header: LogHeader,
): { endOffset: number; wholeFrames: number; brokenFrame: FrameAtEnd } {
  let endOffset = headerBytes;
  let wholeFrames = 0;
  let filePages: number | undefined;
  let sums = header.sums;
  for (let frame = 0;; frame++) {
    const offset = logBytes(frame, header.pageBytes);
    const brokenFrame = { offset, sums, filePages };
    if (!isOfThisLog(view, offset, header)) return { endOffset, wholeFrames, brokenFrame };
    const next = frameSums(view, offset, header, sums);
    if (view.getUint32(offset) === 0 || !isStoredAt(view, offset + 16, next)) {
      return { endOffset, wholeFrames, brokenFrame };
    }
    sums = next;
    const mark = view.getUint32(offset + 4);
    if (mark !== 0) {
      filePages = mark;
      wholeFrames = frame + 1;
      endOffset = logBytes(wholeFrames, header.pageBytes);
    }
  }
}

/** The place of the first frame that is not whole, and what is known from everything before it. */
interface FrameAtEnd {
  readonly offset: number;
  /** The checksum of everything before it. */
  readonly sums: Sums;
  /** How many pages the file has after the last whole commit; undefined if there is none. */
  readonly filePages: number | undefined;
}

/** Finds out what lies behind the whole commits. */
function restBehind(
  view: DataView,
  header: LogHeader,
  wholeFrames: number,
  broken: FrameAtEnd,
): LogContent["rest"] {
  let rest: LogContent["rest"] = "nothing";
  let hasCommit = false;
  for (let frame = wholeFrames;; frame++) {
    const offset = logBytes(frame, header.pageBytes);
    if (offset + frameHeaderBytes > view.byteLength) return rest;
    // Frames of an older log, which this one has not written over yet, have other salts. A salt may
    // itself be damaged, so that one bit may differ.
    if (!hasSalts(view, offset, header, { turnedBits: 1 })) continue;
    if (hasCommit) return "damaged commits";
    rest = "part of a commit";
    hasCommit = offset === broken.offset
      ? wasCommit(view, header, broken)
      : view.getUint32(offset + 4) !== 0;
  }
}

/**
 * Whether a broken frame had a commit mark: the bit that has flipped may be one of the mark itself,
 * set or cleared. Then the frame is whole with that bit turned back.
 */
function wasCommit(view: DataView, header: LogHeader, broken: FrameAtEnd): boolean {
  const { offset, sums } = broken;
  const mark = view.getUint32(offset + 4);
  if (!isOfThisLog(view, offset, header)) return mark !== 0;
  for (let bit = 0; bit < 32; bit++) {
    const turned = (mark ^ 1 << bit) >>> 0;
    if (!mayBeMark(turned, view, header, broken)) continue;
    const words = new DataView(new ArrayBuffer(8));
    words.setUint32(0, view.getUint32(offset));
    words.setUint32(4, turned);
    const start = checksum(words, 0, 8, header.isLittleEndian, sums);
    const end = checksum(
      view,
      offset + frameHeaderBytes,
      header.pageBytes,
      header.isLittleEndian,
      start,
    );
    if (isStoredAt(view, offset + 16, end)) return turned !== 0;
  }
  return mark !== 0;
}

/** The pages of the largest file that is thought of, 64 GiB, if no commit tells its size. */
const maxFilePages = 2 ** 24;

/**
 * Whether a number can be the mark of a frame: 0, or a number of pages that the file can have after
 * this commit. Without this test every 50th flipped bit of a page would be taken for one of the
 * mark: SQLite's checksum does not tell two high bits in different words apart.
 */
function mayBeMark(
  mark: number,
  view: DataView,
  { pageBytes }: LogHeader,
  { filePages }: FrameAtEnd,
): boolean {
  if (mark === 0) return true;
  if (filePages === undefined) return mark <= maxFilePages;
  // A store's file never shrinks, and a commit adds at most as many pages as it has frames.
  return mark >= filePages && mark <= filePages + view.byteLength / pageBytes;
}

/** Whether a frame of this log begins at an offset, and the log is long enough to hold it. */
function isOfThisLog(view: DataView, offset: number, header: LogHeader): boolean {
  return offset + frameHeaderBytes + header.pageBytes <= view.byteLength &&
    hasSalts(view, offset, header);
}

/**
 * Whether a frame has the salts of the log's header.
 *
 * @param options.turnedBits how many bits may differ, since a salt itself may be damaged.
 */
function hasSalts(
  view: DataView,
  offset: number,
  { salts }: LogHeader,
  options: { readonly turnedBits: 0 | 1 } = { turnedBits: 0 },
): boolean {
  const first = view.getUint32(offset + 8) ^ salts[0];
  const second = view.getUint32(offset + 12) ^ salts[1];
  if (first === 0 && second === 0) return true;
  if (options.turnedBits === 0 || first !== 0 && second !== 0) return false;
  // True if exactly one bit is set: then clearing the lowest set bit leaves 0.
  const difference = (first | second) >>> 0;
  return (difference & (difference - 1)) === 0;
}

/** The checksum of a frame, given the checksum of everything before it. */
function frameSums(view: DataView, offset: number, header: LogHeader, sums: Sums): Sums {
  const { isLittleEndian, pageBytes } = header;
  const start = checksum(view, offset, 8, isLittleEndian, sums);
  return checksum(view, offset + frameHeaderBytes, pageBytes, isLittleEndian, start);
}

function isStoredAt(view: DataView, offset: number, sums: Sums): boolean {
  return view.getUint32(offset) === sums[0] && view.getUint32(offset + 4) === sums[1];
}

/** Continues a checksum over some bytes (sqlite.org/fileformat2.html, 4.2). */
function checksum(
  view: DataView,
  offset: number,
  length: number,
  isLittleEndian: boolean,
  [first, second]: Sums,
): Sums {
  for (let at = offset; at < offset + length; at += 8) {
    first = (first + view.getUint32(at, isLittleEndian) + second) | 0;
    second = (second + view.getUint32(at + 4, isLittleEndian) + first) | 0;
  }
  return [first >>> 0, second >>> 0];
}
