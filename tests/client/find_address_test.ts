import { assertEquals } from "@std/assert";
import { findIpv4 } from "../../lib/client/find_address.ts";
import { connectProducer } from "../../mod.ts";
import { denoRun, startServer } from "../lab/processes.ts";

Deno.test("findIpv4() finds the IPv4 address of a name, and nothing else", async () => {
  assertEquals(await findIpv4("localhost"), "127.0.0.1");
  assertEquals(await findIpv4("127.0.0.1"), undefined);
  assertEquals(await findIpv4("::1"), undefined);
  assertEquals(await findIpv4("no-such-host.invalid"), undefined);
});

Deno.test("findIpv4() waits no longer than until its signal", async () => {
  assertEquals(await findIpv4("localhost", AbortSignal.abort()), undefined);
});

Deno.test({
  name: "findIpv4() finds nothing without the permission, and does not fail",
  permissions: { net: ["localhost:1"] },
  fn: async () => assertEquals(await findIpv4("localhost"), undefined),
});

Deno.test("A client connects to a server by its name", async () => {
  await using server = await startServer(denoRun);
  const { producerPort: port } = server;
  await using producer = await connectProducer({ hostname: "localhost", port, retry: false });
  await producer.create({ id: "a" });
});
