import { assertEquals, assertGreater } from "@std/assert";
import { SqliteStore } from "../../lib/store/sqlite_store.ts";
import { TaskQueue } from "../../lib/core/task_queue.ts";
import { GroupCommit } from "../../lib/store/group_commit.ts";
import { StoredTasks } from "../../lib/core/stored_tasks.ts";
import { serve } from "../../lib/server/serve.ts";
import { ScratchFolder } from "../lab/processes.ts";

Deno.test("serve() resolves only when what its last connections gave back is kept", async () => {
  await using folder = new ScratchFolder();
  const path = `${folder.path}/tasks.db`;
  const count = 60_000;
  let assigned = 0;
  let requeued = 0;
  {
    using store = new SqliteStore(path, () => {});
    const queue = new TaskQueue({ store });
    for (let i = 0; i < count; i++) {
      queue.admit(
        queue.create({ priority: 1, taskId: `task${i}`.padEnd(200, "x"), duration: "1" }),
      );
    }
    store.commit();
    using producers = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    using consumers = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const stop = new AbortController();
    const commits = new GroupCommit(store, (error) => {
      throw error;
    });
    const backlogged = Promise.withResolvers<void>();
    let quiet: ReturnType<typeof setTimeout> | undefined;
    const serving = serve({ producers, consumers }, new StoredTasks(queue, commits), {
      signal: stop.signal,
      log: {
        write(line) {
          if (line.startsWith("[ASSIGN]")) assigned++;
          if (line.startsWith("[REQUEUE]")) requeued++;
          // Nothing is handed out any more: the consumer's buffers are full.
          clearTimeout(quiet);
          quiet = setTimeout(backlogged.resolve, 500);
        },
      },
      errors: { write() {} },
    });
    using consumer = await Deno.connect({ hostname: "127.0.0.1", port: consumers.addr.port });
    const asking = consumer.write(new TextEncoder().encode("REQUEST\n".repeat(count)))
      .catch(() => {}); // it reads nothing
    await backlogged.promise;
    stop.abort();
    await serving;
    clearTimeout(quiet);
    await asking;
  }
  assertGreater(requeued, 0);
  using store = new SqliteStore(path, () => {});
  assertEquals([...store.keptTasks()].length, count - assigned + requeued);
});
