/**
 * The reader of write-ahead logs, on logs that SQLite has written.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { DatabaseSync } from "node:sqlite";
import { inspectLog, logBytes } from "../../lib/store/write_ahead_log.ts";

/** A log of some commits, and how many frames it has after each. */
function log(commits: number): { bytes: Uint8Array; ends: number[] } {
  const folder = Deno.makeTempDirSync({ prefix: "log test " });
  try {
    using database = new DatabaseSync(`${folder}/a.db`);
    database.exec("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; CREATE TABLE t (a)");
    const ends: number[] = [];
    for (let commit = 0; commit < commits; commit++) {
      database.exec("INSERT INTO t VALUES (zeroblob(10000))");
      ends.push(Number(database.prepare("PRAGMA wal_checkpoint(NOOP)").get()?.["log"]));
    }
    return { bytes: Deno.readFileSync(`${folder}/a.db-wal`), ends };
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

const pageBytes = 4096;

Deno.test("inspectLog() finds what SQLite finds in a whole log, and nothing behind it", () => {
  const { bytes, ends } = log(5);
  const frames = ends.at(-1) as number;
  const whole = { wholeFrames: frames, endOffset: logBytes(frames, pageBytes), rest: "nothing" };
  assertEquals(inspectLog(bytes) as unknown, whole);
  const withRoom = new Uint8Array(bytes.length + 100_000);
  withRoom.set(bytes);
  assertEquals(inspectLog(withRoom) as unknown, whole);
});

Deno.test("inspectLog() takes any end of a log that was cut off for a part of one commit", () => {
  const { bytes, ends } = log(5);
  for (let length = 0; length < bytes.length; length += 97) {
    const { wholeFrames, rest } = inspectLog(bytes.subarray(0, length));
    const expected = Math.max(0, ...ends.filter((end) => logBytes(end, pageBytes) <= length));
    // The table was made before the first of these commits.
    assertEquals(Math.max(0, wholeFrames) >= expected, true);
    assertEquals(rest === "damaged commits", false, `${length} bytes`);
  }
});

Deno.test("inspectLog() takes lost pages of the last commit for a crash's, and of others for damage", () => {
  const { bytes, ends } = log(5);
  const last = ends.at(-2) as number;
  for (let frame = 0; frame < (ends.at(-1) as number); frame++) {
    const lost = bytes.slice();
    lost.fill(0, logBytes(frame, pageBytes) + 24, logBytes(frame + 1, pageBytes));
    const { rest } = inspectLog(lost);
    // A page of zeros was one before.
    if (inspectLog(bytes).wholeFrames === inspectLog(lost).wholeFrames) continue;
    assertEquals(rest, frame < last ? "damaged commits" : "part of a commit", `frame ${frame}`);
  }
});

Deno.test("inspectLog() finds damage that has turned a commit into none", () => {
  const { bytes, ends } = log(50);
  const view = new DataView(bytes.buffer);
  let turned = 0;
  for (const [commit, end] of ends.slice(0, -1).entries()) {
    const markOffset = logBytes(end - 1, pageBytes) + 4;
    const mark = view.getUint32(markOffset);
    if ((mark & (mark - 1)) !== 0) continue;
    view.setUint32(markOffset, 0);
    // With one commit behind it: it could be a part of that.
    const cut = bytes.subarray(0, logBytes(ends[commit + 1] as number, pageBytes));
    assertEquals(inspectLog(cut).rest, "damaged commits", `commit at frame ${end}`);
    view.setUint32(markOffset, mark);
    turned++;
  }
  assertEquals(turned > 1, true);
});

Deno.test("inspectLog() takes any turned high bit of the last commit's pages for a crash's", () => {
  const { bytes, ends } = log(3);
  const [first, end] = [ends.at(-2) as number, ends.at(-1) as number];
  // SQLite's checksum does not tell these bits from high bits of the commit mark.
  for (let frame = first; frame < end; frame++) {
    const page = logBytes(frame, pageBytes) + 24;
    for (let at = page; at < page + pageBytes; at++) {
      for (const bit of [0x80, 0x40]) {
        bytes[at] = (bytes[at] as number) ^ bit;
        assertEquals(inspectLog(bytes).rest, "part of a commit", `bit ${bit} at ${at}`);
        bytes[at] = (bytes[at] as number) ^ bit;
      }
    }
  }
});

Deno.test("inspectLog() takes zeros for room that is kept, and anything else without a header for damage", () => {
  assertEquals(inspectLog(new Uint8Array(0)).rest, "nothing");
  assertEquals(inspectLog(new Uint8Array(100_000)).rest, "nothing");
  const { bytes } = log(2);
  const broken = bytes.slice();
  broken[0] = 0;
  assertEquals(inspectLog(broken), { wholeFrames: 0, endOffset: 0, rest: "damaged commits" });
});
