import { assertEquals, assertThrows } from "@std/assert";
import { decodeReceipt, Turn } from "../turn.ts";

Deno.test("a receipt is read as it is written, whatever names and payloads hold", () => {
  const receipt = decodeReceipt(
    'D 3 7 0 late 1\nA 1 12 4 a\u00a0b 007.50 {"k":  "\u2028 é"}\nA 2 13 0 c 3.0\n' +
      "K 2\nN 5 9\nS 1 2 3 4 50 1700000000000.5",
  );
  const late = { priority: 3, taskId: "late", duration: "1", arrival: 7 } as const;
  const spaced = { priority: 1, taskId: "a\u00a0b", duration: "007.50", arrival: 12 } as const;
  assertEquals(receipt, {
    ready: [{ task: late, ends: 0 }],
    taken: [
      { task: { ...spaced, payload: '{"k":  "\u2028 é"}' }, ends: 4 },
      { task: { priority: 2, taskId: "c", duration: "3.0", arrival: 13 }, ends: 0 },
    ],
    kicked: new Set([1]),
    consumers: [5, 9],
    isCut: false,
    state: {
      counts: { ready: 1, delayed: 2, reserved: 3, buried: 4 },
      ...{ payloadChars: 50, due: 1_700_000_000_000.5 },
    },
  });
});

Deno.test("without a delay it is not said when the next one is over", () => {
  assertEquals(decodeReceipt("S 0 0 0 0 0").state.due, undefined);
});

Deno.test("what is no receipt is refused", () => {
  assertThrows(() => decodeReceipt("A 1 1 0 a 1\n"), Error, "no receipt");
});

Deno.test("what is put back must come before hand-outs that were asked for earlier", () => {
  const turn = new Turn();
  assertEquals([turn.isEmpty, turn.mayPutBack(), turn.mayPutBack(1)], [true, true, true]);
  assertEquals(turn.take(1), 0);
  assertEquals([turn.isEmpty, turn.mayPutBack(), turn.mayPutBack(1)], [false, false, false]);
  assertEquals([turn.mayPutBack(2), turn.mayEndDelays, turn.takesFor(1)], [true, false, 1]);
  // Nobody knows whose request it is.
  turn.take();
  assertEquals([turn.mayPutBack(2), turn.takes], [false, 2]);
});

Deno.test("a turn is full of parts, or of payloads", () => {
  const task = { priority: 1, taskId: "a", duration: "1" } as const;
  const [many, long] = [new Turn(), new Turn()];
  for (let i = 0; i < 4999; i++) many.create(task);
  assertEquals(many.isFull, false);
  many.kick("a");
  assertEquals(many.isFull, true);
  long.create({ ...task, payload: "[".padEnd(8 * 1024 * 1024) });
  assertEquals(long.isFull, true);
});
