import { assertEquals } from "@std/assert";
import { openHttp } from "../../lib/http/open_http.ts";
import { ask } from "../lab/http_peer.ts";
import { makeOperated } from "./operated.ts";

Deno.test("A server whose store has failed is not healthy, and says why", async () => {
  for (
    const [storeState, expected] of [["full", [200, "ok\n"]], ["failed", [
      503,
      "store failed\n",
    ]]] as const
  ) {
    const http = await openHttp(makeOperated({ storeState }), {
      ...{ address: { hostname: "127.0.0.1", port: 0 }, hosts: [], say: () => {} },
    });
    const { status, body } = await ask(http.address.port, "GET /healthz");
    assertEquals([status, body], [...expected]);
    await http.shutDown();
    http.close();
  }
});
