/**
 * The programs as processes, over real sockets, as users start them: the same tests for each way
 * to start them.
 *
 * @module
 */

import type { Launcher } from "../lab/processes.ts";
import { argumentTests } from "./arguments.ts";
import { assignmentTests } from "./assignment.ts";
import { endingTests } from "./ending.ts";
import { faultTests } from "./faults.ts";
import { loadTests } from "./load.ts";
import { peerTests } from "./peers.ts";
import { timingTests } from "./timing.ts";

/** Registers all end-to-end tests for one way to start the programs. */
export async function endToEndTests(launcher: Launcher): Promise<void> {
  assignmentTests(launcher);
  await peerTests(launcher);
  loadTests(launcher);
  await endingTests(launcher);
  argumentTests(launcher);
  timingTests(launcher);
  faultTests(launcher);
}
