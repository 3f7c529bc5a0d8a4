/**
 * Fronts as processes.
 *
 * @module
 */

import {
  denoScript,
  listeningPorts,
  ServerProgram,
  type StartOptions,
} from "../../tests/lab/processes.ts";

/** The permissions that are enough for a front. */
export const frontFlags: readonly string[] = [
  "--no-prompt",
  "--allow-net=127.0.0.1",
  "--allow-env=PG*",
  "--allow-read",
];

/** Starts a front of an engine, on free ports. */
export function frontAt(
  engine: string,
  args: readonly string[] = [],
  options: StartOptions = {},
): ServerProgram {
  const all = ["127.0.0.1", "0", "0", "--engine", engine, ...args];
  return new ServerProgram(denoScript("cluster/server.ts", frontFlags, all), options);
}

/** Starts a front of a queue, on free ports, and waits until it listens. */
export async function startFront(
  hosts: string,
  database: string,
  args: readonly string[] = [],
  options: StartOptions = {},
): Promise<ServerProgram> {
  const front = frontAt(`postgres://front@${hosts}/${database}`, args, options);
  try {
    const { text } = await front.stderr.line(/^listening: /);
    [front.producerPort, front.consumerPort] = listeningPorts(text);
    return front;
  } catch (error) {
    await front[Symbol.asyncDispose]();
    throw error;
  }
}
