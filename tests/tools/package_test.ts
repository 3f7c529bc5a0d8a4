import { deflateRawSync } from "node:zlib";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { UserError } from "../../lib/user_error.ts";
import { denoScript, Program } from "../lab/processes.ts";
import { pack, unpack } from "../../tools/build/package.ts";
import { parseId, parseName } from "../../tools/build/student.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

Deno.test("parseId() takes ten digits and nothing else", () => {
  assertEquals(parseId("2022147123"), "2022147123");
  for (
    const wrong of [
      "",
      "202214712",
      "20221471234",
      "2022147 23",
      "2022147-12",
      "２０２２１４７１２３",
    ]
  ) {
    assertThrows(() => parseId(wrong), UserError, `got "${wrong}"`);
  }
});

Deno.test("parseName() takes a name of any script, and nothing that would break the title page", () => {
  for (const name of ["Ada Lovelace", "홍길동", "O'Neil <x>", "a".repeat(60)]) {
    assertEquals(parseName(` ${name} `), name);
  }
  for (const wrong of ["", "  ", "a\nb", "a\u202eb", "a".repeat(61)]) {
    assertThrows(() => parseName(wrong), UserError, "name must be 1 to 60");
  }
});

Deno.test("pack() deflates as well as zlib can: the archive must stay below 100 MiB", async () => {
  // Text that a faster level packs worse, as denort is.
  const text = Array.from({ length: 20_000 }, (_, i) => `${i * 7919 % 1000} task${i * i % 977}\n`);
  const file = { name: "server", bytes: bytes(text.join("")), isExecutable: true };
  const best = deflateRawSync(file.bytes, { level: 9 }).length;
  assert(deflateRawSync(file.bytes, { level: 6 }).length > best * 1.005, "no difference to see");
  assert((await pack([file])).length < best * 1.002 + 500);
});

Deno.test("unpack() gives back what pack() took, and what may be executed", async () => {
  const files = [
    { name: "report.pdf", bytes: bytes("%PDF-".repeat(1000)), isExecutable: false },
    { name: "server", bytes: bytes("#!/bin/sh\n"), isExecutable: true },
    { name: "empty", bytes: bytes(""), isExecutable: false },
  ];
  assertEquals(await unpack(await pack(files)), files);
});

Deno.test("package.ts ends with 2 on a wrong id, before it makes anything", async () => {
  for (const args of [[], ["12345"], ["2022147123", "more"]]) {
    const flags = ["--no-prompt", "--allow-env"];
    await using tool = new Program(denoScript("tools/build/package.ts", flags, args));
    assertEquals([await tool.exitCode(), tool.stdout.text], [2, ""], tool.stderr.text);
  }
});
