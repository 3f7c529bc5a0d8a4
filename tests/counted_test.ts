import { assertEquals } from "@std/assert";
import { counted } from "../lib/counted.ts";

const phrases: readonly (readonly [count: number, words: readonly [string, string?], string])[] = [
  [0, ["task"], "0 tasks"],
  [1, ["task"], "1 task"],
  [2, ["task"], "2 tasks"],
  [0, ["task was sent", "tasks were sent"], "0 tasks were sent"],
  [1, ["task was sent", "tasks were sent"], "1 task was sent"],
  [1_000_000, ["task was sent", "tasks were sent"], "1000000 tasks were sent"],
];

for (const [count, words, phrase] of phrases) {
  Deno.test({
    name: `counted() writes "${phrase}"`,
    permissions: "none",
    fn: () => assertEquals(counted(count, ...words), phrase),
  });
}
