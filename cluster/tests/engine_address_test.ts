import { assertEquals, assertThrows } from "@std/assert";
import { UsageError } from "../../lib/user_error.ts";
import { parseEngineAddress } from "../engine_address.ts";

Deno.test("the address of an engine names its nodes, the user and the database", () => {
  assertEquals(parseEngineAddress("postgres://front@a,10.0.0.2:5433/queue", "secret"), {
    hosts: [{ hostname: "a", port: 5432 }, { hostname: "10.0.0.2", port: 5433 }],
    ...{ user: "front", database: "queue", password: "secret", usesTls: false },
  });
  const secure = parseEngineAddress("postgresql://front@a/queue?sslmode=verify-full");
  assertEquals(secure.usesTls, true);
});

for (
  const [address, said] of [
    ["", "--engine must be like"],
    ["postgres://a/queue", "--engine must be like"],
    ["postgres://front:secret@a/queue", "--engine must be like"],
    ["postgres://front@a", "--engine must be like"],
    ["postgres://front@a/queue?sslmode=require", "sslmode must be verify-full or disable"],
    ["postgres://front@a:0/queue", "--engine's port must be"],
    ["postgres://front@a:1:2/queue", "--engine's host must be host:port"],
    ["postgres://front@a,/queue", "ip must be"],
  ] as const
) {
  Deno.test(`the address of an engine cannot be ${JSON.stringify(address)}`, () => {
    assertThrows(() => parseEngineAddress(address), UsageError, said);
  });
}
