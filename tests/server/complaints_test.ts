import { assertEquals } from "@std/assert";
import { Complaints } from "../../lib/server/complaints.ts";

/** Complaints at a time that the test sets. */
class Record {
  readonly lines: string[] = [];
  nowMs = 0;
  readonly complaints = new Complaints((line) => this.lines.push(line), () => this.nowMs);
}

function test(name: string, fn: () => void): void {
  Deno.test({ name, permissions: "none", fn });
}

test("Complaints says ten lines per peer and topic, and how many more there were at its end", () => {
  const { complaints, lines } = new Record();
  for (let i = 1; i <= 1000; i++) complaints.add("peer", "typos", `typo ${i}`);
  complaints.add("peer", "tricks", "trick 1");
  complaints.add("other", "typos", "typo of another");
  const typos = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10].map((i) => `peer: typo ${i}`);
  assertEquals(lines, [...typos, "peer: trick 1", "other: typo of another"]);
  complaints.end("peer");
  assertEquals(lines.slice(12), ["peer: 990 more of these: typos"]);
});

test("Complaints forgets a peer that has ended", () => {
  const { complaints, lines } = new Record();
  for (let i = 1; i <= 11; i++) complaints.add("peer", "typos", "first");
  complaints.end("peer");
  complaints.end("peer");
  complaints.add("peer", "typos", "second");
  assertEquals(lines.slice(10), ["peer: 1 more of these: typos", "peer: second"]);
});

test("Complaints says at most 100 lines in 10 s, however many peers come and go", () => {
  const record = new Record();
  for (let i = 0; i < 1000; i++) {
    record.complaints.add(`peer${i}`, "typos", "typo");
    record.complaints.end(`peer${i}`);
  }
  assertEquals(record.lines.length, 100);
  record.nowMs = 10_000;
  record.complaints.add("late", "typos", "typo");
  assertEquals(record.lines.slice(100), ["900 more lines about peers were left out", "late: typo"]);
  record.complaints.close();
  assertEquals(record.lines.length, 102);
});

test("Complaints says at the end what was left out", () => {
  const { complaints, lines } = new Record();
  for (let i = 0; i < 101; i++) complaints.add(`peer${i}`, "typos", "typo");
  complaints.close();
  complaints.close();
  assertEquals(lines.slice(100), ["1 more lines about peers were left out"]);
});
