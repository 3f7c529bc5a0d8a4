import { assertEquals } from "@std/assert";
import { startsInSeconds, workSeconds } from "../../lib/core/prediction.ts";

/** Durations, when consumers are free, and when the tasks start. */
const cases: readonly (readonly [readonly number[], readonly number[], readonly number[]])[] = [
  [[], [0], []],
  [[3, 1, 2], [0], [0, 3, 4]],
  [[3, 1, 2], [0, 0], [0, 0, 1]],
  [[3, 1, 2], [5, 0.5], [0.5, 3.5, 4.5]],
  [[0, 0, 7, 1], [2, 2], [2, 2, 2, 2]],
  [[3, 1], [], [Infinity, Infinity]],
];

for (const [durations, free, expected] of cases) {
  Deno.test({
    name: `Tasks of ${durations} s start in ${expected} s, if consumers are free in ${free} s`,
    permissions: "none",
    fn: () => assertEquals(startsInSeconds(durations, free), expected),
  });
}

Deno.test({
  name: "workSeconds() takes tasks that are not looked at for the mean of the others",
  permissions: "none",
  fn() {
    assertEquals(workSeconds([], 0), 0);
    assertEquals(workSeconds([1, 2], 2), 3);
    assertEquals(workSeconds([1, 2], 10), 15);
  },
});
