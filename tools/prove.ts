/**
 * Starts what proves or measures that the project keeps its promises, each in a process of its own
 * with just the permissions that it needs.
 *
 * @module
 */

import { exitCode } from "../lib/cli/arguments.ts";
import { quote } from "../lib/quote.ts";
import { UsageError } from "../lib/user_error.ts";
import { projectFolder } from "../tests/lab/processes.ts";
import { runTool } from "./tool.ts";

/** What there is: the name, what it shows, and the command of Deno that does it. */
const proofs: readonly (readonly [name: string, what: string, command: readonly string[]])[] = [
  ["simulate", "random schedules of the whole server, against a model", [
    ...["run", "--no-prompt", "tools/prove/simulate.ts"],
  ]],
  ["crash", "kill -9 of a server with a store, again and again", script("tools/prove/crash.ts")],
  ["cluster", "kill -9 of a cluster's primary (PostgreSQL)", script("cluster/bench/kills.ts")],
  ["soak", "load and faults against the real server", script("tools/prove/soak.ts")],
  ["reliability", "memory and waiting times under faults", script("tools/prove/reliability.ts")],
  ["field", "speed beside other servers (Linux)", script("bench/field/field.ts")],
  ["growth", "costs by number of tasks and consumers (Linux)", script("bench/field/growth.ts")],
  ["store", "what keeping tasks costs (Linux)", script("bench/field/store.ts")],
  ["access", "what a token and TLS cost (Linux)", script("bench/field/access.ts")],
  ["cluster-speed", "speed of a cluster (Linux, PostgreSQL)", script("cluster/bench/speed.ts")],
  ["layers", "speed of each layer alone", ["bench", "--allow-all", "bench/layers/"]],
];

const help = `Usage: deno task prove <what> [options]

${proofs.map(([name, what]) => `  ${name.padEnd(14)} ${what}`).join("\n")}

Example: deno task prove soak --minutes 1
Each lists its own options: deno task prove soak --help`;

function script(path: string): readonly string[] {
  return ["run", "--allow-all", path];
}

/** Runs a proof to its end; returns its exit code. */
async function prove(name: string, options: readonly string[]): Promise<number> {
  const proof = proofs.find(([known]) => known === name);
  if (proof === undefined) {
    throw new UsageError(`${quote(name)} is none: deno task prove lists what there is`);
  }
  const children: Deno.ChildProcess[] = [];
  // At Ctrl+C in a terminal the child has the signal, too; by kill only this process has.
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, () => {
      try {
        for (const child of children) child.kill(signal);
      } catch (error) {
        if (!(error instanceof TypeError)) throw error; // it has ended
      }
    });
  }
  const args = [...proof[2], ...options];
  const child = new Deno.Command(Deno.execPath(), { args, cwd: projectFolder }).spawn();
  children.push(child);
  return (await child.status).code;
}

if (import.meta.main) {
  const [name, ...options] = Deno.args;
  const line = { program: "deno task prove", help, positionals: { least: 0, most: 1 } };
  await runTool(line, async () => {
    if (name !== undefined) return await prove(name, options);
    console.log(help);
    return exitCode.ok;
  }, Deno.args.slice(0, 1));
}
