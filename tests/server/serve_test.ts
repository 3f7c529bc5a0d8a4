import { assertEquals, assertGreater, assertRejects } from "@std/assert";
import { SqliteStore } from "../../lib/store/sqlite_store.ts";
import { TaskQueue } from "../../lib/core/task_queue.ts";
import { GroupCommit } from "../../lib/store/group_commit.ts";
import { StoredTasks } from "../../lib/core/stored_tasks.ts";
import { serve } from "../../lib/server/serve.ts";
import { RawPeer } from "../lab/peers.ts";
import { MemoryTasks } from "../../lib/core/memory_tasks.ts";
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

Deno.test("Two servers in one process share nothing: one goes on when the other ends", async () => {
  const start = () => {
    const stop = new AbortController();
    const listeners = {
      producers: Deno.listen({ hostname: "127.0.0.1", port: 0 }),
      consumers: Deno.listen({ hostname: "127.0.0.1", port: 0 }),
    };
    const tasks = new MemoryTasks(new TaskQueue());
    const ended = serve(listeners, tasks, { signal: stop.signal, errors: { write() {} } });
    return { stop, tasks, ended, ...listeners };
  };
  const [first, second] = [start(), start()];
  const consumerOf = ({ consumers }: ReturnType<typeof start>) =>
    RawPeer.connect(consumers.addr.port);
  await using ofFirst = await consumerOf(first);
  await using ofSecond = await consumerOf(second);
  // Both are the first consumer of their server.
  assertEquals(await ofFirst.received.next(), "Consumer1");
  assertEquals(await ofSecond.received.next(), "Consumer1");
  await ofFirst.send("REQUEST\nREQ");
  assertEquals(await ofFirst.received.next(), "NOTASK");
  first.stop.abort();
  assertEquals(await ofFirst.received.next(), "DONE");
  ofFirst.close();
  await first.ended;
  await using producer = await RawPeer.connect(second.producers.addr.port);
  await producer.send("CREATE 1 a 0\nSYNC\n");
  assertEquals(await producer.received.next(), "OK 1");
  await ofSecond.send("REQUEST\n");
  assertEquals(await ofSecond.received.next(), "ASSIGN a 0");
  assertEquals([first.tasks.size, second.tasks.size], [0, 0]);
  ofSecond.close();
  producer.close();
  second.stop.abort();
  await second.ended;
});

Deno.test("serve() ends at once, with its connections and listeners, if its tasks have failed", async () => {
  const failure = Promise.withResolvers<never>();
  const producers = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const consumers = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const events: string[] = [];
  const serving = serve({ producers, consumers }, new MemoryTasks(new TaskQueue()), {
    signal: new AbortController().signal,
    log: { write: (line) => events.push(line) },
    errors: { write() {} },
    failure: failure.promise,
  });
  await using consumer = await RawPeer.connect(consumers.addr.port);
  assertEquals(await consumer.received.next(), "Consumer1");
  failure.reject(new Error("the disk is gone"));
  await assertRejects(() => serving, Error, "the disk is gone");
  assertEquals(await consumer.toEnd(), "Consumer1\n");
  await assertRejects(() => Deno.connect({ hostname: "127.0.0.1", port: consumers.addr.port }));
  assertEquals(events, ["[Consumer1 connected]", "[1 consumers online]"]);
});
