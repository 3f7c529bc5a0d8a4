/**
 * The cluster that is started to be tried by hand.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { denoScript, Program, ScratchFolder, shellCommand } from "../../tests/lab/processes.ts";
import { findPostgres, installHint } from "../lab/postgres.ts";
import { until } from "./nodes.ts";

const ignored = findPostgres() === undefined ? ` (${installHint})` : "";

Deno.test({
  name:
    `Ctrl+C ends a cluster without an error, whatever it is doing, and leaves nothing${ignored}`,
  ignore: ignored !== "",
  async fn() {
    await using folder = new ScratchFolder();
    // PostgreSQL's user must reach its data.
    await Deno.chmod(folder.path, 0o755);
    const hasInitdbBegun = () =>
      Promise.resolve([...Deno.readDirSync(folder.path)].some(({ name }) => {
        return isFile(`${folder.path}/${name}/n1/PG_VERSION`);
      }));
    for (
      const moment of [
        () => until(hasInitdbBegun, "initdb"),
        (cluster: Program) => cluster.stdout.line(/^front1 +listening/),
      ]
    ) {
      await using cluster = startCluster(folder.path);
      await moment(cluster);
      pressCtrlC(cluster);
      assertEquals(await cluster.exitCode(), 0, cluster.stderr.text);
      assertEquals(cluster.stderr.text, "starting three nodes of PostgreSQL: some five seconds\n");
      assertEquals([...Deno.readDirSync(folder.path)], []);
    }
  },
});

/** Starts it in a group of its own, as a terminal does, with a folder for its temporary files. */
function startCluster(folder: string): Program {
  const command = denoScript("cluster/local_cluster.ts", ["--no-prompt", "--allow-all"], []);
  const grouped = { ...command, file: "setsid", args: [command.file, ...command.args] };
  return new Program(shellCommand(grouped, `TMPDIR='${folder}'; export TMPDIR`));
}

/** Signals the program and all that it has started in its group, as a terminal does. */
function pressCtrlC(program: Program): void {
  Deno.kill(-program.pid, "SIGINT");
}

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}
