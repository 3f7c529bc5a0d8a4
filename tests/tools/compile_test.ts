import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import config from "../../deno.json" with { type: "json" };
import { UserError } from "../../lib/user_error.ts";
import { denoScript, Program } from "../lab/processes.ts";
import { taskFlags } from "../../tools/build/compile.ts";
import { findDenort, requireSha256 } from "../../tools/build/denort.ts";

const LICENSE = new URL("../../LICENSE", import.meta.url);

Deno.test("taskFlags() gives an executable exactly the flags of its task in deno.json", () => {
  for (const program of ["server", "producer", "consumer", "worker"] as const) {
    const { command } = config.tasks[program];
    const flags = taskFlags(program, command);
    assertEquals(`DENO_NO_UPDATE_CHECK=1 deno run ${flags.join(" ")} ${program}.ts`, command);
    assertEquals(flags[0], "--no-prompt");
  }
});

Deno.test("taskFlags() refuses a task that it cannot take over as it stands", () => {
  const commands = [
    "DENO_NO_UPDATE_CHECK=1 deno run --allow-net server.ts", // would prompt
    "DENO_NO_UPDATE_CHECK=1 deno run --no-prompt --allow-net producer.ts", // another program
    "DENO_NO_UPDATE_CHECK=1 deno run --no-prompt --allow-net server.ts 127.0.0.1", // has arguments
    "DENO_NO_UPDATE_CHECK=1 deno run --no-prompt '--allow-read=a b' server.ts", // needs a shell
    "DENO_NO_UPDATE_CHECK=1 deno serve --no-prompt server.ts",
    "deno run --no-prompt server.ts", // would look for updates
  ];
  for (const command of commands) {
    assertThrows(() => taskFlags("server", command), UserError, `got "${command}"`);
  }
});

Deno.test("No task looks for updates of Deno: none runs without DENO_NO_UPDATE_CHECK", () => {
  for (const task of Object.values(config.tasks)) {
    // Or it only has others run.
    const command = "command" in task ? task.command : "";
    const runs = command.matchAll(/(?:^|&& )(.*?)deno run /g);
    for (const [, before] of runs) assertEquals(before, "DENO_NO_UPDATE_CHECK=1 ", command);
  }
});

async function sourcesIn(folder: string): Promise<string[]> {
  const sources: string[] = [];
  for await (
    const { name, isDirectory } of Deno.readDir(new URL(`../../${folder}/`, import.meta.url))
  ) {
    const path = `${folder}/${name}`;
    if (isDirectory) sources.push(...await sourcesIn(path));
    else sources.push(path);
  }
  return sources;
}

Deno.test("The programs load nothing by a name that is made at run time", async () => {
  // An executable's import() asks for no permission: see README, Executables.
  const sources = [
    "server.ts",
    "producer.ts",
    "consumer.ts",
    "worker.ts",
    ...await sourcesIn("lib"),
  ];
  let found = 0;
  for (const source of sources) {
    const text = await Deno.readTextFile(new URL(`../../${source}`, import.meta.url));
    for (const [call, argument] of text.matchAll(/\bimport\(\s*(.)/g)) {
      assertEquals(argument, '"', `${source}: ${call}`);
      found++;
    }
    assertEquals(
      text.match(/\bnew Worker\b|\bnew Function\b|\beval\(|createRequire/g),
      null,
      source,
    );
  }
  assert(found > 0, "the dynamic import of SQLite is not found");
});

Deno.test("requireSha256() refuses a file that is not the one it should be", async () => {
  const bytes = await Deno.readFile(LICENSE);
  const expected = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
  await requireSha256(bytes, { expected, name: "LICENSE" });
  bytes[bytes.length - 1]! ^= 1;
  await assertRejects(
    () => requireSha256(bytes, { expected, name: "LICENSE" }),
    UserError,
    `LICENSE must have the SHA-256 ${expected}, has `,
  );
});

Deno.test("findDenort() refuses a DENORT_BIN that is no file, and looks no further", async () => {
  const before = Deno.env.get("DENORT_BIN");
  Deno.env.set("DENORT_BIN", "/no/such/denort");
  try {
    await assertRejects(
      () => findDenort(),
      UserError,
      'DENORT_BIN names "/no/such/denort", which is not a file',
    );
  } finally {
    if (before === undefined) Deno.env.delete("DENORT_BIN");
    else Deno.env.set("DENORT_BIN", before);
  }
});

Deno.test("compile.ts ends with 2 on an unknown argument, and names it", async () => {
  for (const argument of ["--taget", "x", "--target=linux"]) {
    const command = denoScript("tools/build/compile.ts", ["--no-prompt"], [argument]);
    await using tool = new Program(command);
    assertEquals(await tool.exitCode(), 2);
    const name = argument.split("=").at(-1) ?? "";
    assertStringIncludes(tool.stderr.texts[0] ?? "", `"${name}"`);
  }
});
