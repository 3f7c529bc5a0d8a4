/**
 * A program on the client library for ./kill_rounds.ts: it creates tasks until its stdin ends, works
 * on 4 at a time, and ends by itself when all that were confirmed are done. A process of its own,
 * so that a timer or a connection that the library forgets keeps it alive, and is noticed.
 *
 * It prints `confirmed`, `started` and `done` with a task's name, and `lost` with the number of the
 * attempt each time that the worker has no connection.
 *
 * @module
 */

import { connectProducer, work } from "../../../mod.ts";
import { nowMs, sleep } from "../../../lib/clock.ts";
import { patienceMs } from "../deadline.ts";

/** Tasks that are confirmed and not done, above which no more are created. */
const maxBacklog = 200;

/** Tasks that are created at once. */
const batchSize = 10;

/** How long a task is worked on, in milliseconds: some are always in hand. */
const workMs = 2;

const [producerPort = 0, consumerPort = 0] = Deno.args.map(Number);
const retry = { firstMs: 10, mostMs: 50 };
/** Confirmed, and not done. */
const open = new Set<string>();
const done = new Set<string>();
const stop = new AbortController();
let isCreating = true;

const working = work(
  {
    ...{ port: consumerPort, concurrency: 4, signal: stop.signal, retry },
    onDisconnect: (_, attempt) => console.log(`lost ${attempt}`),
    onError: () => {}, // the loss of what was in hand
  },
  async (task) => {
    console.log(`started ${task.id}`);
    await sleep(workMs);
    if (task.signal.aborted) return;
    console.log(`done ${task.id}`);
    done.add(task.id);
    open.delete(task.id);
  },
);
await Promise.all([create(), readToEnd()]);
for (const endMs = nowMs() + patienceMs / 2; open.size > 0 && nowMs() < endMs;) await sleep(workMs);
stop.abort();
await working;

async function create(): Promise<void> {
  await using producer = await connectProducer({ port: producerPort, retry });
  for (let last = 0; isCreating;) {
    const ids = Array.from({ length: batchSize }, () => `t${++last}`);
    await Promise.allSettled(ids.map(async (id) => {
      await producer.create({ id });
      console.log(`confirmed ${id}`);
      if (!done.has(id)) open.add(id);
    }));
    while (isCreating && open.size > maxBacklog) await sleep(workMs);
  }
}

async function readToEnd(): Promise<void> {
  for await (const _ of Deno.stdin.readable); // nothing is said there
  isCreating = false;
}
