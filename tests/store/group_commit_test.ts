/**
 * Group commit: what shares a commit, and what waits for it.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
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
  const store = {
    watch: () => {},
    commit: () => {
      throw new Error("the disk is gone");
    },
  };
  const group = new GroupCommit(store, (error) => {
    told.push(String(error));
    failed.resolve();
  });
  group.afterCommit(() => told.push("effect"));
  await failed.promise;
  assertEquals(told, ["Error: the disk is gone"]);
});

Deno.test("GroupCommit passes on that a store was lost while nothing is committed", () => {
  const told: unknown[] = [];
  const store = {
    commit: () => "kept" as const,
    watch: (onFailure: (error: unknown) => void) => onFailure("lost"),
  };
  new GroupCommit(store, (error) => told.push(error));
  assertEquals(told, ["lost"]);
});
