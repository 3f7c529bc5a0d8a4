import { assertEquals } from "@std/assert";
import { formatAddress } from "../lib/address.ts";

Deno.test("formatAddress() writes what a user would type", () => {
  assertEquals(formatAddress({ hostname: "127.0.0.1", port: 5000 }), "127.0.0.1:5000");
});
