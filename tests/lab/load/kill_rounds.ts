/**
 * Kills a server that keeps a store, at random moments, while a program on the client library
 * creates tasks and works on 4 at a time, and judges what that program went through.
 *
 * @module
 */

import { sleep } from "../../../lib/clock.ts";
import { denoScript, Program, ScratchFolder, startStoreServer } from "../processes.ts";
import { Random } from "../random.ts";
import { freePort } from "../free_port.ts";

/** How many tasks ./kill_client.ts works on at a time. */
export const inFlight = 4;

/** The latest moment of the kill, in milliseconds after the first task was handed out. */
const maxLoadMs = 200;

/** What was done and seen. */
export interface KillReport {
  /** Tasks whose creation was confirmed; all of them were done. */
  readonly confirmed: number;
  /** Hand-outs of tasks that had been handed out before. */
  readonly repeated: number;
  /** The most of these whose earlier hand-out was in the same round. */
  readonly mostPerRound: number;
}

/** How to run {@linkcode killRounds}. */
export interface KillOptions {
  /** How many kills. */
  readonly rounds: number;
  /** What the random moments start from. */
  readonly seed: number;
  /** Is told after each round. */
  readonly onRound?: () => void;
}

/**
 * Kills a server again and again.
 *
 * @throws {Error} if a promise was broken, or a process does not end; its message holds the seed.
 */
export async function killRounds(options: KillOptions): Promise<KillReport> {
  try {
    return await run(options);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`seed ${options.seed}: ${reason}`);
  }
}

async function run({ rounds, seed, onRound }: KillOptions): Promise<KillReport> {
  const random = new Random(seed);
  await using folder = new ScratchFolder();
  const ports = [freePort(), freePort()] as const;
  const start = () => startStoreServer(`${folder.path}/tasks.db`, { ports, args: ["--quiet"] });
  const script = "tests/lab/load/kill_client.ts";
  await using client = new Program(denoScript(script, ["--allow-net"], ports.map(String)), {
    stdin: "piped",
  });
  /** How many lines the client had printed before each start of the server. */
  const starts: number[] = [];
  for (let round = 0; round < rounds; round++) {
    starts.push(client.stdout.lines.length);
    const started = client.stdout.count(/^started /);
    await using server = await start();
    await client.stdout.line(/^started /, { nth: started + 1 });
    await sleep(random.below(maxLoadMs * 10) / 10);
    const lost = client.stdout.count(/^lost /);
    await server.crash();
    // After a further attempt, nothing that the killed server has sent is unread.
    await client.stdout.line(/^lost /, { nth: lost + 2 });
    onRound?.();
  }
  starts.push(client.stdout.lines.length);
  await using server = await start();
  await client.closeStdin();
  const code = await client.exitCode();
  if (code !== 0) throw new Error(`the client ended with ${code}: ${client.stderr.text}`);
  const left = await server.drain();
  if (await server.stop() !== 0) throw new Error(`the server failed: ${server.stderr.text}`);
  return judge(client.stdout.texts, { starts, left });
}

function judge(
  lines: readonly string[],
  { starts, left }: { readonly starts: readonly number[]; readonly left: readonly string[] },
): KillReport {
  const confirmed = new Set<string>();
  const done = new Set<string>();
  /** The round of each task's last hand-out. */
  const startedIn = new Map<string, number>();
  const repeated = starts.map(() => 0);
  let round = -1;
  for (const [index, line] of lines.entries()) {
    while (index >= (starts[round + 1] ?? Infinity)) round++;
    const [what, task = ""] = line.split(" ");
    if (what === "confirmed") confirmed.add(task);
    else if (what === "done") done.add(task);
    else if (what === "started") {
      const earlier = startedIn.get(task);
      if (earlier !== undefined) (repeated[earlier] as number)++;
      startedIn.set(task, round);
    }
  }
  const lost = [...confirmed].filter((task) => !done.has(task));
  if (lost.length > 0) throw new Error(`${lost.length} confirmed tasks were not done: ${lost[0]}`);
  const back = left.find((task) => confirmed.has(task));
  if (back !== undefined) throw new Error(`${back} was done, and is in the queue`);
  const mostPerRound = Math.max(...repeated);
  if (mostPerRound > inFlight) {
    throw new Error(`${mostPerRound} tasks in flight were handed out again after one kill`);
  }
  const sum = repeated.reduce((sum, count) => sum + count, 0);
  return { confirmed: confirmed.size, repeated: sum, mostPerRound };
}
