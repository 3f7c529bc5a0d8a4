/** A stream as node:stream has them: nothing is lost or changed on its way to a late reader. */

import { assertEquals } from "@std/assert";
import { once } from "node:events";
import { duplexOf } from "../../lib/net/duplex.ts";
import { within } from "../lab/deadline.ts";
import { until } from "../lab/load/scenarios.ts";
import { writeAll } from "../lab/peers.ts";
import { socketPair } from "../lab/socket_pair.ts";

const bytesOf = (text: string) => new TextEncoder().encode(text);

for (const readerCopies of [false, true]) {
  Deno.test(`What waits in a duplex stays as it came, readerCopies ${readerCopies}`, async () => {
    using pair = await socketPair();
    const duplex = duplexOf(pair.near, { readerCopies });
    const parts = ["first part", "second", "and the third one"];
    // Nobody takes them until all have come.
    duplex.read(0);
    let length = 0;
    for (const part of parts) {
      await writeAll(pair.far, bytesOf(part));
      length += part.length;
      await until(() => duplex.readableLength === length, `"${part}" to come`);
    }
    assertEquals(String(duplex.read(length)), parts.join(""));
    const closed = once(duplex, "close");
    duplex.destroy();
    await within(closed, "the end", 5000);
  });
}
