/**
 * Peers in Python that know nothing but the assignment's incomplete scripts (tests/end_to_end/naive/).
 *
 * @module
 */

import { canRun, Program } from "./processes.ts";

const peersFolder = new URL("../end_to_end/naive/", import.meta.url).pathname;

/** Why they cannot run here, if they cannot. */
export const noPython: string | undefined = await canRun("python3", "--version")
  ? undefined
  : "python3 is not here";

/** Starts one of them; a producer or a consumer on this machine. */
export function python(
  script: "producer.py" | "consumer.py" | "server.py",
  args: readonly (string | number)[],
): Program {
  const withHost = script === "server.py" ? args : ["127.0.0.1", ...args];
  return new Program({
    file: "python3",
    args: ["-B", peersFolder + script, ...withHost.map(String)],
  });
}
