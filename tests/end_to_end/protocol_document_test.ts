/** The dialogues of docs/protocol.md, run against the real server as they stand. */

import { assert } from "@std/assert";
import { TaskQueue } from "../../lib/core/task_queue.ts";
import { MemoryTasks } from "../../lib/core/memory_tasks.ts";
import { Access } from "../../lib/server/access.ts";
import { serve } from "../../lib/server/serve.ts";
import { readDialogues, speak } from "../lab/dialogues.ts";

const dialogues = await readDialogues();

Deno.test("docs/protocol.md holds dialogues", () => {
  assert(dialogues.length >= 4);
});

for (const dialogue of dialogues) {
  Deno.test(`The server speaks the dialogue in docs/protocol.md, line ${dialogue.line}`, async () => {
    const stop = new AbortController();
    const address = { hostname: "127.0.0.1", port: 0 };
    const listeners = { producers: Deno.listen(address), consumers: Deno.listen(address) };
    const ports = {
      producers: listeners.producers.addr.port,
      consumers: listeners.consumers.addr.port,
    };
    const ignore = { write: () => {} };
    const serving = serve(listeners, new MemoryTasks(new TaskQueue()), {
      signal: stop.signal,
      log: ignore,
      errors: ignore,
      access: dialogue.token === undefined
        ? undefined
        : await Access.of(dialogue.token, { say: () => {} }),
    });
    try {
      await speak(dialogue, ports);
    } finally {
      stop.abort();
      await serving;
    }
  });
}
