/**
 * `deno task prove cluster-speed`, with numbers so small that they say nothing.
 *
 * @module
 */

import { assertEquals, assertMatch } from "@std/assert";
import { denoScript, Program } from "../../tests/lab/processes.ts";
import { findPostgres, installHint } from "../lab/postgres.ts";

/** How long all measurements may take on a busy machine, in milliseconds. */
const patienceMs = 300_000;

function speed(...args: readonly string[]): Program {
  const all = ["cluster-speed", ...args];
  return new Program(denoScript("tools/prove.ts", ["--allow-read", "--allow-run"], all));
}

Deno.test("prove cluster-speed has a help of its own", async () => {
  await using help = speed("--help");
  assertEquals(await help.exitCode(), 0, help.stderr.text);
  assertEquals(help.stdout.texts[0], "Usage: deno task prove cluster-speed [options]");
});

Deno.test({
  name: "prove cluster-speed measures all that it promises" +
    (findPostgres() === undefined ? ` (${installHint})` : ""),
  ignore: findPostgres() === undefined || Deno.build.os !== "linux",
  async fn() {
    const few = ["--seconds", "0.2", "--rounds", "1", "--waiting", "3000", "--connections", "30"];
    await using program = speed(...few);
    assertEquals(await program.exitCode(patienceMs), 0, program.stderr.text);
    const lines = program.stdout.texts;
    // All but the heads of tables, and what is below these.
    const rows = lines.filter((line, i) => line.startsWith("| ") && !lines[i + 1]?.includes("---"))
      .filter((line) => !line.includes("---"));
    assertEquals(rows.map((row) => row.split(" | ")[0]), [
      ...["| no tasks wait", "| 3,000 wait", "| ratio"],
      ...["| (64, 1)", "| (250, 1)", "| (64, 16)"],
      "| all have connected and asked after, s",
      "| CPU of each front, % of a core",
      "| CPU of the primary, %",
      "| memory of each front, MiB",
      "| memory of a front without them, MiB",
      "| a task created at one front is handed out after, ms (p50)",
    ]);
    for (const row of rows) assertMatch(row, /^\|[^|]+(?:\| [\d,.]* (?:\/ \d+ )?)+\|$/);
  },
});
