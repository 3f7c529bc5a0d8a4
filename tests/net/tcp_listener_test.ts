import { assertEquals, assertLess } from "@std/assert";
import { listen } from "../../lib/net/address.ts";
import { connectMany } from "../lab/load/scenarios.ts";
import { socketPair } from "../lab/socket_pair.ts";

Deno.test("While many connections wait to be accepted, what open ones send is read in between", async () => {
  const count = 800;
  using listener = listen({ hostname: "127.0.0.1", port: 0 });
  const clients = await connectMany(listener.addr.port, count);
  using pair = await socketPair();
  let accepted = 0;
  const reading = (async () => {
    const buffer = new Uint8Array(10);
    for (let rest = 10; rest > 0; rest--) {
      await pair.far.write(buffer.subarray(0, 1));
      assertEquals(await pair.near.read(buffer), 1);
    }
    return accepted;
  })();
  while (accepted < count) {
    (await listener.accept()).close();
    accepted++;
  }
  assertLess(await reading, count);
  for (const client of clients) client.close();
});
