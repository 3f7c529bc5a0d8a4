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
