/**
 * What a write-ahead log of SQLite holds, read without SQLite.
 *
 * SQLite takes a log up to its last whole commit and says nothing about what lies behind. That is
 * right after a crash in the middle of a commit, and wrong if a bit has turned: everything from
 * there on would be rolled back silently. This module tells one from the other
 * (sqlite.org/fileformat2.html, section 4).
 *
 * A commit is on the disk before the next one begins. So behind the last whole commit there is at
 * most one more, and only its last frame says that it is a commit. A commit frame with other frames
 * of this log behind it means that what comes before it was whole once, and is damaged now.
 *
 * @module
 */

/** What a log begins with, in bytes. */
const headerBytes = 32;

/** What a page in the log begins with, in bytes. */
export const frameHeaderBytes = 24;

/** The magic number; its last bit is set if checksums are made of big-endian words. */
const magic = 0x377f0682;

/** What a log holds. */
export interface LogContent {
  /** Frames up to the last whole commit: what SQLite takes. */
  readonly wholeFrames: number;
  /** The first byte that is not whole. */
  readonly endOffset: number;
  /**
   * What lies behind: nothing of this log; a part of one commit, as a crash leaves it; or commits
   * that were whole once.
   */
  readonly rest: "nothing" | "part of a commit" | "damaged commits";
}

/** The bytes of a log from the start to the end of a frame. */
export function logBytes(frames: number, pageBytes: number): number {
  return headerBytes + frames * (frameHeaderBytes + pageBytes);
}

/** Whether a frame belongs to the log that begins so, and not to one that is written over. */
export function isFrameOf(logHeader: Uint8Array, frameHeader: Uint8Array): boolean {
  const salts = (header: Uint8Array, offset: number) => header.subarray(offset, offset + 8).join();
  return salts(logHeader, 16) === salts(frameHeader, 8);
}

/** Reads a log; about 2 ms per MiB. */
export function inspectLog(log: Uint8Array): LogContent {
  const view = new DataView(log.buffer, log.byteOffset, log.byteLength);
  if (log.length < headerBytes) return { wholeFrames: 0, endOffset: 0, rest: "nothing" };
  const header = readHeader(view);
  if (header === undefined) {
    // Space that was reserved before anything was written is zeros.
    const rest = log.some((byte) => byte !== 0) ? "damaged commits" : "nothing";
    return { wholeFrames: 0, endOffset: 0, rest };
  }
  const { endOffset, wholeFrames, brokenFrame } = wholePart(view, header);
  return { endOffset, wholeFrames, rest: restBehind(view, header, wholeFrames, brokenFrame) };
}

/** The two sums of a checksum. */
type Sums = readonly [number, number];

interface LogHeader {
  readonly isLittleEndian: boolean;
  readonly pageBytes: number;
  readonly salts: Sums;
  readonly sums: Sums;
}

/** The header, or undefined if it is not whole. */
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

/** Follows the checksums, each of which includes all before it, to the first that is wrong. */
function wholePart(
  view: DataView,
  header: LogHeader,
): { endOffset: number; wholeFrames: number; brokenFrame: FrameAtEnd } {
  let endOffset = headerBytes;
  let wholeFrames = 0;
  let sums = header.sums;
  for (let frame = 0;; frame++) {
    const offset = logBytes(frame, header.pageBytes);
    if (!isOfThisLog(view, offset, header)) {
      return { endOffset, wholeFrames, brokenFrame: { offset, sums } };
    }
    const next = frameSums(view, offset, header, sums);
    if (view.getUint32(offset) === 0 || !isStoredAt(view, offset + 16, next)) {
      return { endOffset, wholeFrames, brokenFrame: { offset, sums } };
    }
    sums = next;
    if (view.getUint32(offset + 4) !== 0) {
      wholeFrames = frame + 1;
      endOffset = logBytes(wholeFrames, header.pageBytes);
    }
  }
}

/** The first frame that is not whole, and the checksum of all before it. */
interface FrameAtEnd {
  readonly offset: number;
  readonly sums: Sums;
}

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
    // Older frames of a log that is written over have other salts.
    if (!hasSalts(view, offset, header, { turnedBits: 1 })) continue;
    if (hasCommit) return "damaged commits";
    rest = "part of a commit";
    // The damage may be in the mark itself.
    hasCommit = view.getUint32(offset + 4) !== 0 ||
      offset === broken.offset && wasCommit(view, header, broken);
  }
}

/** Whether a frame would be whole if one bit of its commit mark, which is 0, were set. */
function wasCommit(view: DataView, header: LogHeader, { offset, sums }: FrameAtEnd): boolean {
  if (!isOfThisLog(view, offset, header)) return false;
  for (let bit = 0; bit < 32; bit++) {
    const marked: [number, number] = [view.getUint32(offset), 1 << bit];
    const words = new DataView(new ArrayBuffer(8));
    words.setUint32(0, marked[0]);
    words.setUint32(4, marked[1]);
    const start = checksum(words, 0, 8, header.isLittleEndian, sums);
    const end = checksum(
      view,
      offset + frameHeaderBytes,
      header.pageBytes,
      header.isLittleEndian,
      start,
    );
    if (isStoredAt(view, offset + 16, end)) return true;
  }
  return false;
}

/** Whether there is a frame at all, written since this log's header. */
function isOfThisLog(view: DataView, offset: number, header: LogHeader): boolean {
  return offset + frameHeaderBytes + header.pageBytes <= view.byteLength &&
    hasSalts(view, offset, header);
}

/** @param options.turnedBits how many bits may differ: the damage may be in the salts themselves. */
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
  // A power of two has one bit.
  const difference = (first | second) >>> 0;
  return (difference & (difference - 1)) === 0;
}

function frameSums(view: DataView, offset: number, header: LogHeader, sums: Sums): Sums {
  const { isLittleEndian, pageBytes } = header;
  const start = checksum(view, offset, 8, isLittleEndian, sums);
  return checksum(view, offset + frameHeaderBytes, pageBytes, isLittleEndian, start);
}

function isStoredAt(view: DataView, offset: number, sums: Sums): boolean {
  return view.getUint32(offset) === sums[0] && view.getUint32(offset + 4) === sums[1];
}

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
