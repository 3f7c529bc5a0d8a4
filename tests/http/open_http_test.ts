import { assertEquals, assertGreaterOrEqual } from "@std/assert";
import { openHttp } from "../../lib/http/open_http.ts";
import { ask, EventPeer } from "../lab/http_peer.ts";
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

Deno.test("Whoever is shown times looks at the clock of the status; a health check does not", async () => {
  let looks = 0;
  const look = () => ++looks;
  const http = await openHttp(makeOperated({ look }), {
    ...{ address: { hostname: "127.0.0.1", port: 0 }, hosts: [], say: () => {} },
  });
  try {
    await ask(http.address.port, "GET /healthz");
    assertEquals(looks, 0);
    for (const path of ["/", "/metrics", "/api/overview", "/api/tasks", "/api/consumers"]) {
      looks = 0;
      const { status } = await ask(http.address.port, `GET ${path}`);
      assertEquals(status, 200);
      assertGreaterOrEqual(looks, 1, path);
    }
    looks = 0;
    await using viewer = await EventPeer.open(http.address.port);
    await viewer.next("hello");
    assertGreaterOrEqual(looks, 1);
  } finally {
    await http.shutDown();
    http.close();
  }
});
