/**
 * HTTP over sockets, with a handler of the test's own.
 *
 * @module
 */

import { assertEquals, assertGreater, assertLess } from "@std/assert";
import { listenHttp, maxHttpConnections } from "../../lib/http/http_server.ts";
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

/** A server whose answers to `/wait` come when it is told so; others come at once. */
function serveWaiting() {
  const over = Promise.withResolvers<void>();
  let waiting = 0;
  const listener = listenHttp({ hostname: "127.0.0.1", port: 0 }, async ({ target }) => {
    if (target === "/wait") {
      waiting++;
      await over.promise;
    }
    return text("answer");
  }, { noteRefused() {} });
  const scope = new DisposableStack();
  scope.defer(() => listener.close());
  const { port } = listener.address;
  const connect = async () => scope.use(await Deno.connect({ port }));
  const ask = async (conn: Deno.TcpConn, target: string) => {
    const request = `GET ${target} HTTP/1.1\r\nHost: localhost\r\n\r\n`;
    await conn.write(new TextEncoder().encode(request));
  };
  const isAnswered = async (conn: Deno.TcpConn) => {
    const count = await within(conn.read(new Uint8Array(1)), "an answer or the end");
    return (count ?? 0) > 0;
  };
  const allWait = async (count: number) => {
    while (waiting < count) await pause(5);
  };
  return {
    ...{ connect, ask, isAnswered, answerAll: over.resolve },
    allWait: (count: number) => within(allWait(count), "all to wait"),
    [Symbol.dispose]: () => scope.dispose(),
  };
}

Deno.test("Connections that come at once are accepted in turns, however little they ask", async () => {
  using server = serveWaiting();
  // Until what speaks HTTP is loaded.
  const first = await server.connect();
  await server.ask(first, "/");
  await server.isAnswered(first);
  const startMs = performance.now();
  await Promise.all(Array.from({ length: 50 }, () => server.connect()));
  const last = await server.connect();
  await server.ask(last, "/");
  assertEquals(await server.isAnswered(last), true);
  // A turn lasts for 1 ms at least.
  assertGreater(performance.now() - startMs, 50);
});

Deno.test("Who has asked for nothing longest makes way for who comes", async () => {
  using server = serveWaiting();
  const waits = await server.connect();
  await server.ask(waits, "/wait");
  await server.allWait(1);
  const silent = await server.connect();
  const answered = await server.connect();
  await server.ask(answered, "/");
  assertEquals(await server.isAnswered(answered), true);
  const others: Deno.TcpConn[] = [];
  while (others.length < maxHttpConnections - 3) others.push(await server.connect());
  // Each is one too many.
  const comers = [await server.connect()];
  assertEquals(await server.isAnswered(silent), false);
  while (comers.length < others.length + 2) comers.push(await server.connect());
  await within(readBytes(answered), "the end of who was answered");
  for (const conn of others) assertEquals(await server.isAnswered(conn), false);
  const last = comers.at(-1) as Deno.TcpConn;
  for (const [conn, target] of [[last, "/"], [comers[0] as Deno.TcpConn, "/"]] as const) {
    await server.ask(conn, target);
    assertEquals(await server.isAnswered(conn), true);
  }
  server.answerAll();
  assertEquals(await server.isAnswered(waits), true);
});

Deno.test("Who comes is closed if all others wait for answers", async () => {
  using server = serveWaiting();
  const conns: Deno.TcpConn[] = [];
  while (conns.length < maxHttpConnections) {
    const conn = await server.connect();
    await server.ask(conn, "/wait");
    conns.push(conn);
  }
  await server.allWait(conns.length);
  assertEquals(await server.isAnswered(await server.connect()), false);
  server.answerAll();
  for (const conn of conns) assertEquals(await server.isAnswered(conn), true);
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
