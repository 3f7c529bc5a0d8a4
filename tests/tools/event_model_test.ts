import { assertEquals } from "@std/assert";
import { EventModel } from "../lab/judges/event_model.ts";

function faultsOf(lines: readonly string[]): string[] {
  const model = new EventModel();
  for (const line of lines) model.take(line);
  return model.faults;
}

const start = [
  "[Consumer1 connected]",
  "[1 consumers online]",
  "[CREATE] 2 a 1",
  "[CREATE] 1 b 1",
  "[CREATE] 2 c 1",
  "[ASSIGN] b - consumer1",
];

const histories: readonly [string, readonly string[], readonly string[]][] = [
  ["takes a correct run", [
    "[REQUEUE] b - consumer1",
    "[ASSIGN] b - consumer1",
    "[ASSIGN] a - consumer1",
    "[COMPLETE] a - consumer1",
    "[ASSIGN] c - consumer1",
    "[Consumer 1 disconnected]",
    "[0 consumers online]",
    "[BURY] c - consumer1",
    "exit",
  ], []],
  ["finds a task handed out twice", ["[ASSIGN] b - consumer1"], [
    "[ASSIGN] b - consumer1, but it is assigned, 1",
  ]],
  ["finds a task handed out after its completion", [
    "[COMPLETE] b - consumer1",
    "[ASSIGN] b - consumer1",
  ], ["[ASSIGN] b - consumer1, but it is gone or never created"]],
  ["finds a task that comes back from another consumer", ["[REQUEUE] b - consumer2"], [
    "[REQUEUE] b - consumer2, but it is assigned, 1",
  ]],
  ["finds a tie broken wrongly", ["[ASSIGN] c - consumer1"], [
    "c was handed out before a, which is first in order",
  ]],
  ["finds a task that is not put back in its old place", [
    "[REQUEUE] b - consumer1",
    "[ASSIGN] a - consumer1",
  ], ["a was handed out before b, which is first in order"]],
  ["finds a task created twice", ["[CREATE] 1 b 1"], ["b was created twice"]],
  ["takes tasks that fail, are delayed, and are buried", [
    "[FAIL] b - consumer1",
    "[ASSIGN] a - consumer1",
    "[READY] b",
    "[ASSIGN] b - consumer2",
    "[BURY] a - consumer1",
    "[FAIL] b - consumer2",
    "[BURY] b - consumer2",
    "[ASSIGN] c - consumer1",
  ], []],
  ["finds a failed task that is handed out before its delay is over", [
    "[FAIL] b - consumer1",
    "[ASSIGN] b - consumer1",
  ], ["[ASSIGN] b - consumer1, but it is delayed, 1"]],
  ["finds a task that is ready and is not handed out first", [
    "[FAIL] b - consumer1",
    "[READY] b",
    "[ASSIGN] a - consumer1",
  ], ["a was handed out before b, which is first in order"]],
  ["finds an end of a delay that never began", ["[READY] a"], [
    "[READY] a, but it is ready, 0",
  ]],
  ["finds a burial by a consumer that does not hold the task", [
    "[FAIL] b - consumer1",
    "[BURY] b - consumer2",
  ], ["[BURY] b - consumer2, but it is delayed, 1"]],
  ["finds a failed task that is buried later than at once", [
    "[FAIL] b - consumer1",
    "[ASSIGN] a - consumer1",
    "[BURY] b - consumer1",
  ], ["[BURY] b - consumer1, but it is delayed, 1"]],
  ["finds a line that no server prints", ["oops"], ['unknown line "oops"']],
];

for (const [what, lines, faults] of histories) {
  Deno.test(`EventModel ${what}`, { permissions: "none" }, () => {
    assertEquals(faultsOf([...start, ...lines]), faults);
  });
}

Deno.test("EventModel forgets what a consumer took long after it has gone, and not before", {
  permissions: "none",
}, () => {
  const model = new EventModel();
  for (const line of [...start, "[Consumer 1 disconnected]", "[0 consumers online]"]) {
    model.take(line);
  }
  assertEquals(model.handedTo(1), ["b"]);
  for (let i = 0; i < 10_000; i++) model.take("[0 consumers online]");
  assertEquals(model.handedTo(1), undefined);
  model.take("[REQUEUE] b - consumer1");
  assertEquals(model.faults, ["[REQUEUE] b - consumer1, but it is gone or never created"]);
});

const scheduled: readonly [string, readonly string[], readonly string[]][] = [
  ["takes tasks whose delay no line tells", [
    "[ASSIGN] c - consumer1",
    "[REQUEUE] b - consumer1",
    "[READY] a",
    "[READY] b",
    "[ASSIGN] b - consumer1",
    "[ASSIGN] a - consumer1",
  ], []],
  ["finds a task that is handed out late, and was not delayed", [
    "[ASSIGN] c - consumer1",
    "[ASSIGN] a - consumer1",
  ], ["[ASSIGN] a - consumer1, but it is delayed, 0"]],
  ["finds a task that is passed over although it is said to be ready", [
    "[READY] a",
    "[ASSIGN] c - consumer1",
  ], ["c was handed out before a, which is first in order"]],
];

for (const [what, lines, faults] of scheduled) {
  Deno.test(`EventModel, where tasks may be scheduled, ${what}`, { permissions: "none" }, () => {
    const model = new EventModel({ mayDelay: true });
    for (const line of [...start, ...lines]) model.take(line);
    assertEquals(model.faults, faults);
  });
}
