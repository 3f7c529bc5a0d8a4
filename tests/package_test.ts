import { assertEquals, assertThrows } from "@std/assert";
import { UserError } from "../lib/cli.ts";
import { pack, parseId, unpack } from "../tools/package.ts";

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

Deno.test("unpack() gives back what pack() took, and what may be executed", async () => {
  const files = [
    { name: "report.pdf", bytes: bytes("%PDF-".repeat(1000)), isExecutable: false },
    { name: "server", bytes: bytes("#!/bin/sh\n"), isExecutable: true },
    { name: "empty", bytes: bytes(""), isExecutable: false },
  ];
  assertEquals(await unpack(await pack(files)), files);
});

Deno.test("package.ts ends with 2 on a wrong id, before it makes anything", async () => {
  const tool = new URL("../tools/package.ts", import.meta.url).href;
  for (const args of [[], ["12345"], ["2022147123", "more"]]) {
    const command = new Deno.Command(Deno.execPath(), {
      args: ["run", "--no-prompt", "--allow-env", tool, ...args],
    });
    const { code, stdout } = await command.output();
    assertEquals([code, stdout.length], [2, 0]);
  }
});
