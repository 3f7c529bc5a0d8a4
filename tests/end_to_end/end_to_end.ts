/**
 * The programs as processes, over real sockets, as users start them: the same tests for each way
 * to start them.
 *
 * @module
 */

import "./assignment.ts";
import "./peers.ts";
import "./load.ts";
import "./ending.ts";
import "./arguments.ts";
import "./timing.ts";
import "./faults.ts";

export { registerTests } from "./register.ts";
