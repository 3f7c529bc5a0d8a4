/**
 * Tests with nodes of their own.
 *
 * @module
 */

import { pause, within } from "../../tests/lab/deadline.ts";
import type { RawPeer } from "../../tests/lab/peers.ts";
import type { ServerProgram } from "../../tests/lab/processes.ts";
import {
  findPostgres,
  installHint,
  type NodesOptions,
  type PostgresNode,
  PostgresNodes,
} from "../lab/postgres.ts";
import { startFront } from "../lab/start_front.ts";

/** A queue in nodes. */
export interface Place {
  /** Where it is. */
  readonly nodes: PostgresNodes;
  /** Its name there. */
  readonly database: string;
}

/** Registers a test with a queue: in one node, if nothing else is asked for. */
export function testWithNodes(
  name: string,
  fn: (place: Place) => Promise<void>,
  options: Partial<NodesOptions> & { readonly ignored?: string | undefined } = {},
): void {
  const { ignored = findPostgres() === undefined ? installHint : undefined, ...some } = options;
  Deno.test({
    name: ignored === undefined ? name : `${name} (${ignored})`,
    ignore: ignored !== undefined,
    async fn() {
      // Killing processes loses nothing that they have written.
      await using nodes = await PostgresNodes.start({ count: 1, fsync: false, ...some });
      await nodes.primary.createQueue("queue");
      await fn({ nodes, database: "queue" });
    },
  });
}

/** A test of a queue: a step of one that starts the node. */
export type Step = readonly [name: string, fn: (place: Place) => Promise<void>];

/** Registers tests that share a node, each with a queue of its own. */
export function testInOneNode(name: string, steps: readonly Step[]): void {
  Deno.test({
    name: findPostgres() === undefined ? `${name} (${installHint})` : name,
    ignore: findPostgres() === undefined,
    async fn(t) {
      await using nodes = await PostgresNodes.start({ count: 1, fsync: false });
      await nodes.primary.createQueue("queue0");
      for (const [i, [name, fn]] of steps.entries()) {
        const database = `queue${i + 1}`;
        await nodes.primary.query(`CREATE DATABASE ${database} TEMPLATE queue0`);
        await t.step(name, () => fn({ nodes, database }));
      }
    },
  });
}

/** Starts a front of a queue. */
export function frontOf({ nodes, database }: Place, ...args: string[]): Promise<ServerProgram> {
  return startFront(nodes.hosts, database, args);
}

/** Connects as a consumer to a front that is just about to listen again. */
export async function connected(front: ServerProgram): Promise<RawPeer> {
  for (;;) {
    try {
      return await front.consumer();
    } catch (error) {
      if (!(error instanceof Deno.errors.ConnectionRefused)) throw error;
      await pause(20);
    }
  }
}

/** Has all fronts of a queue given up, as by another one that sees them stand still. */
export async function giveUpAll(node: PostgresNode, database: string): Promise<void> {
  await node.query("SELECT queue.retire(front, 1) FROM queue.front WHERE front <> 0", database);
}

/** Waits until something is so. */
export async function until(isSo: () => Promise<boolean>, what: string): Promise<void> {
  const poll = async () => {
    while (!await isSo()) await pause(50);
  };
  await within(poll(), what);
}
