/**
 * HTTP over sockets, with a handler of the test's own.
 *
 * @module
 */

import { assertEquals, assertGreater, assertLess } from "@std/assert";
import { listenHttp } from "../../lib/http/http_server.ts";
import { text } from "../../lib/http/message.ts";
import { pause, within } from "../lab/deadline.ts";
import { ask } from "../lab/http_peer.ts";
import { canReadSockets, watchPorts } from "../lab/sockets.ts";

/** More than the system takes for a peer that reads nothing: some 4 MB. */
const muchText = "x".repeat(32_000_000);

/** A server whose answer to `/much` is long; it notes what it is asked. */
function serveMuch() {
  const asked: string[] = [];
  const listener = listenHttp({ hostname: "127.0.0.1", port: 0 }, ({ target }) => {
    asked.push(target);
    return Promise.resolve(text(target === "/much" ? muchText : "little"));
  }, { noteRefused() {} });
  const { port } = listener.address;
  return { asked, port, [Symbol.dispose]: () => listener.close() };
}

/** Asks, and reads the first bytes of the answer alone. */
async function askAndStop(port: number, ...targets: readonly string[]): Promise<Deno.TcpConn> {
  const conn = await Deno.connect({ port });
  const requests = targets.map((target) => `GET ${target} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
  await conn.write(new TextEncoder().encode(requests.join("")));
  await conn.read(new Uint8Array(1));
  return conn;
}

/** Reads until nothing comes any more, or enough has come; returns how much that was. */
async function readBytes(conn: Deno.TcpConn, isEnough = () => false): Promise<number> {
  const buffer = new Uint8Array(65_536);
  for (let bytes = 0;;) {
    const count = isEnough() ? null : await conn.read(buffer).catch(() => null);
    if (count === null) return bytes;
    bytes += count;
  }
}

Deno.test("Who has not taken an answer is given no further one", async () => {
  using server = serveMuch();
  const { asked, port } = server;
  using conn = await askAndStop(port, "/much", "/next");
  // Requests have their turns as they come: it would have been asked before this one.
  assertEquals((await ask(port, "GET /other")).body, "little");
  assertEquals(asked, ["/much", "/other"]);
  await within(readBytes(conn, () => asked.length === 3), "the next request to be answered");
  assertEquals(asked, ["/much", "/other", "/next"]);
});

Deno.test({
  name: "Who does not take an answer for 10 s is closed",
  ignore: !canReadSockets,
  async fn() {
    using server = serveMuch();
    const startMs = performance.now();
    using conn = await askAndStop(server.port, "/much");
    const sockets = await watchPorts([server.port]);
    const isOpen = async () =>
      (await sockets()).some(({ localPort, state }) =>
        localPort === server.port && state === "ESTABLISHED"
      );
    const closed = async () => {
      while (await isOpen()) await pause(50);
    };
    await within(closed(), "the end of the connection");
    assertGreater(performance.now() - startMs, 9000);
    assertLess(await within(readBytes(conn), "what the system had taken"), muchText.length / 2);
  },
});
