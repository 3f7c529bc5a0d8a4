import { assertEquals, assertGreater, assertStringIncludes, assertThrows } from "@std/assert";
import { noOpenssl } from "../lab/certificates.ts";
import { until } from "../lab/load/scenarios.ts";
import { denoScript, Program } from "../lab/processes.ts";
import { testUnless } from "../test_unless.ts";

function prove(...args: readonly string[]): Program {
  return new Program(denoScript("tools/prove.ts", ["--allow-read", "--allow-run"], args));
}

Deno.test("prove lists what there is, and each of it has a help of its own", async () => {
  await using list = prove();
  assertEquals(await list.exitCode(), 0);
  const names = list.stdout.texts.flatMap((line) => /^ {2}([\w-]+) {2,}\S/.exec(line)?.[1] ?? []);
  assertEquals(names.length, 11);
  for (const name of names) {
    // Its packages are not fetched with the project: cluster/tests/ has this for it.
    if (name.startsWith("cluster")) continue;
    await using help = prove(name, "--help");
    assertEquals(await help.exitCode(), 0, help.stderr.text);
    if (name === "layers") continue; // deno bench has its own
    assertEquals(help.stdout.texts[0], `Usage: deno task prove ${name} [options]`);
  }
});

Deno.test("prove says in one line that it does not know a name, and ends with 2", async () => {
  await using program = prove("nonsense", "--minutes", "1");
  assertEquals(await program.exitCode(), 2);
  assertEquals(program.stderr.lines.length, 1);
  assertStringIncludes(program.stderr.text, '"nonsense"');
});

Deno.test("prove passes options and exit codes on", async () => {
  await using wrong = prove("simulate", "--schedules", "x");
  assertEquals(await wrong.exitCode(), 2);
  assertStringIncludes(wrong.stderr.text, "--schedules must be a whole number");
});

testUnless(
  Deno.build.os === "linux" ? noOpenssl : "it needs /proc",
  "prove access measures the server plain, with a token, with TLS and with both",
  async () => {
    await using program = prove("access", "--rounds", "1", "--seconds", "0.5");
    assertEquals(await program.exitCode(120_000), 0, program.stderr.text);
    assertEquals(program.stderr.text, "");
    const rows = program.stdout.texts.map((line) => line.split(/ *\| */).slice(1, -1));
    for (const way of ["plain", "token", "TLS", "token and TLS"]) {
      const [cost, rate, share, memory, ...more] = rows.filter(([name]) => name === way);
      assertEquals(more, []);
      assertEquals([cost, rate, share, memory].map((row) => row?.length), [4, 4, 4, 2]);
      // The tasks and the connects of each were counted: the clients were let in and served.
      for (const count of rate?.slice(1) ?? []) assertGreater(Number(count.replace(",", "")), 0);
    }
  },
);

testUnless(
  Deno.build.os === "linux" ? undefined : "it needs /proc",
  "prove passes a signal on, and ends when what it started has ended",
  async () => {
    await using program = prove("simulate", "--schedules", "50000");
    const children = `/proc/${program.pid}/task/${program.pid}/children`;
    await until(() => Deno.readTextFileSync(children) !== "", "the child to start");
    const child = Number(Deno.readTextFileSync(children));
    assertEquals(await program.stop("SIGINT"), 130);
    assertThrows(() => Deno.statSync(`/proc/${child}`), Deno.errors.NotFound);
  },
);
