/**
 * Group commit: what shares a commit, and what waits for it.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { setImmediate } from "node:timers";
import { GroupCommit } from "../../lib/store/group_commit.ts";

Deno.test("GroupCommit keeps all of a turn at once, however many microtasks lie in between", async () => {
  const told: string[] = [];
  const store = {
    watch: () => {},
    commit: () => {
      told.push("commit");
      return "kept" as const;
    },
  };
  const group = new GroupCommit(store, (error) => told.push(String(error)));
  group.afterCommit(() => told.push("first effect"));
  // As much as two connections' lines take to get through their streams.
  for (let i = 0; i < 1000; i++) await Promise.resolve();
  group.afterCommit(() => told.push("second effect"));
  assertEquals(told, []);
  await new Promise<void>((resolve) => group.afterCommit(() => resolve()));
  assertEquals(told, ["commit", "first effect", "second effect"]);
});

Deno.test("GroupCommit lets no effect out of a store that has failed, and says so once", async () => {
  const told: string[] = [];
  const failed = Promise.withResolvers<void>();
  let isLost = false;
  const store = {
    watch: () => {},
    commit: () => {
      // It would come back, without what the first commit lost.
      if (isLost) return "kept" as const;
      isLost = true;
      throw new Error("the disk is gone");
    },
  };
  const group = new GroupCommit(store, (error) => {
    told.push(String(error));
    failed.resolve();
  });
  group.afterCommit(() => told.push("effect"));
  await failed.promise;
  group.afterCommit(() => told.push("later effect"));
  await new Promise<void>((resolve) => setImmediate(resolve));
  assertEquals([told, group.isSettled], [["Error: the disk is gone"], false]);
});

Deno.test("GroupCommit passes on that a store was lost while nothing is committed, and stops", async () => {
  const told: unknown[] = [];
  const store = {
    commit: () => "kept" as const,
    watch: (onFailure: (error: unknown) => void) => onFailure("lost"),
  };
  const group = new GroupCommit(store, (error) => told.push(error));
  group.afterCommit(() => told.push("effect"));
  await new Promise<void>((resolve) => setImmediate(resolve));
  assertEquals(told, ["lost"]);
});
