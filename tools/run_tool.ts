/**
 * How a tool of the project ends: with its exit code, or with one line for a user's mistake.
 *
 * @module
 */

import { exitCodeOf } from "../lib/cli/arguments.ts";
import { UserError } from "../lib/user_error.ts";

/** Runs a tool and exits with what it returns; a {@linkcode UserError} shows its message alone. */
export async function runTool(main: () => Promise<number>): Promise<never> {
  try {
    Deno.exit(await main());
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    console.error(error.message);
    Deno.exit(exitCodeOf(error));
  }
}
