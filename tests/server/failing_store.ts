/**
 * A server whose store fails once the server shuts down.
 *
 * @module
 */

import { runProgram } from "../../lib/cli/program.ts";
import type { CommitOutcome } from "../../lib/core/store.ts";
import { openTasks } from "../../lib/server/open_tasks.ts";
import { serve } from "../../lib/server/serve.ts";
import { UserError } from "../../lib/user_error.ts";
import { SimulatedStore } from "../lab/simulation/simulated_store.ts";

await runProgram({ program: "server", help: "", positionals: { least: 0, most: 0 } }, async (
  { log, errors, stopped },
) => {
  const producers = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const consumers = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  errors.write(`producers ${producers.addr.port}`);
  class FailingStore extends SimulatedStore {
    override commit(): CommitOutcome {
      if (stopped.aborted) throw new UserError("the disk is gone");
      return super.commit();
    }
  }
  const { tasks, failure } = await openTasks({
    maxTasks: 1000,
    store: new FailingStore(),
    signal: stopped,
  });
  await serve({ producers, consumers }, tasks, {
    signal: stopped,
    log,
    errors,
    failure: failure as Promise<never>,
  });
  return 0;
});
