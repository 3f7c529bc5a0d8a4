/**
 * A server whose store fails once the server shuts down.
 *
 * @module
 */

import { UserError } from "../../lib/user_error.ts";
import { runProgram } from "../../lib/cli/program.ts";
import { TaskQueue } from "../../lib/core/task_queue.ts";
import { serve } from "../../server.ts";

await runProgram({ program: "server", help: "", positionals: { least: 0, most: 0 } }, async (
  { log, errors, stopped },
) => {
  const producers = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const consumers = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  errors.write(`producers ${producers.addr.port}`);
  await serve({ producers, consumers }, new TaskQueue(), {
    signal: stopped,
    log,
    errors,
    store: {
      watch: () => {},
      commit: () => {
        if (stopped.aborted) throw new UserError("the disk is gone");
        return "kept";
      },
    },
  });
  return 0;
});
