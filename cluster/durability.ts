/**
 * What `OK` means with an engine as it is configured: on how many disks a confirmed task is. Pure.
 *
 * @module
 */

import { counted } from "../lib/counted.ts";

/** What an engine says about when a commit is done. */
export interface Durability {
  /** Its `synchronous_standby_names`. */
  readonly standbyNames: string;
  /** Whether it has its disk sync. */
  readonly fsync: boolean;
  /** Its own name; empty if it has none. */
  readonly clusterName: string;
  /** How many standbys follow it now. */
  readonly following: number;
}

/** One line for the operator; a warning if confirmed tasks are less safe than they seem. */
export function describeDurability(durability: Durability): string {
  const { standbyNames, fsync, clusterName, following } = durability;
  if (!fsync) return "WARNING: engine: fsync is off: a power cut loses confirmed tasks";
  const quorum = parseQuorum(standbyNames);
  if (quorum === undefined) {
    return "WARNING: engine: synchronous_standby_names is empty: OK = on 1 disk, " +
      "and the end of the primary loses confirmed tasks";
  }
  const { needed, names } = quorum;
  // Without a name of its own nobody can tell which of these it is.
  const standbys = names.includes("*") || clusterName === ""
    ? following
    : names.filter((name) => name !== clusterName).length;
  const nodes = counted(standbys + 1, "node");
  return `engine: ${nodes}, OK = on ${needed + 1} of ${standbys + 1} disks`;
}

/** How many of which standbys a commit waits for; undefined if for none. */
function parseQuorum(
  setting: string,
): { readonly needed: number; readonly names: readonly string[] } | undefined {
  if (setting.trim() === "") return undefined;
  const [, number, inside] = /^\s*(?:(?:ANY|FIRST)\s+)?(\d+)\s*\((.*)\)\s*$/i.exec(setting) ?? [];
  const names = (inside ?? setting).split(",").map((name) => name.trim().replace(/^"(.*)"$/, "$1"));
  return { needed: Number(number ?? 1), names };
}
