import { assertEquals } from "@std/assert";
import { type CommandEnd, judge, type Verdict } from "../../lib/worker/verdict.ts";

const verdicts: readonly (readonly [what: string, end: CommandEnd, say: Verdict["say"]])[] = [
  ["exit 0", { kind: "exited", code: 0 }, "complete"],
  ["exit 1", { kind: "exited", code: 1 }, "fail"],
  ["exit 64", { kind: "exited", code: 64 }, "fail"],
  ["exit 65", { kind: "exited", code: 65 }, "bury"],
  ["exit 75", { kind: "exited", code: 75 }, "release"],
  ["exit 126", { kind: "exited", code: 126 }, "give up"],
  ["exit 127", { kind: "exited", code: 127 }, "give up"],
  ["exit 128", { kind: "exited", code: 128 }, "fail"],
  ["exit 255", { kind: "exited", code: 255 }, "fail"],
  ["a signal", { kind: "killed", signal: "SIGKILL" }, "fail"],
  ["too long a time", { kind: "timed out", afterMs: 5000 }, "fail"],
  ["an order to stop", { kind: "told to stop" }, "release"],
  ["no such program", { kind: "not started", problem: "?", isForGood: true }, "give up"],
  ["too few processes", { kind: "not started", problem: "?", isForGood: false }, "release"],
];

for (const [what, end, say] of verdicts) {
  Deno.test(`judge() answers ${what} with ${say}`, { permissions: "none" }, () => {
    assertEquals(judge(end).say, say);
  });
}

Deno.test("judge() lets a task rest that is to be tried later", { permissions: "none" }, () => {
  const verdict = judge({ kind: "exited", code: 75 });
  assertEquals(verdict, { say: "release", why: "exit 75", delaySeconds: 10 });
});
