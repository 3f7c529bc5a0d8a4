/**
 * Who may see the page: a token, and TLS.
 *
 * @module
 */

import { assertEquals, assertLess, assertMatch } from "@std/assert";
import { maxHttpConnections } from "../../lib/http/http_server.ts";
import { Authority, noOpenssl } from "../lab/certificates.ts";
import { ask, EventPeer } from "../lab/http_peer.ts";
import { connectMany } from "../lab/load/scenarios.ts";
import {
  denoRunWithFiles,
  ScratchFolder,
  type ServerProgram,
  startServer,
} from "../lab/processes.ts";
import { testUnless } from "../test_unless.ts";

const token = "0123456789abcdef";

async function portOfPage(server: ServerProgram): Promise<number> {
  const { text } = await server.stderr.line(/^page: https?:/);
  return Number(/:(\d+)\/$/.exec(text)?.[1]);
}

Deno.test("With a token the page may be off this machine, and asks for it, as all of its paths do", async () => {
  await using folder = new ScratchFolder();
  const file = await folder.write("token", `${token}\n`);
  const args = ["--token-file", file, "--http", "0.0.0.0:0"];
  await using server = await startServer(denoRunWithFiles, { args });
  const port = await portOfPage(server);
  const status = async (path: string, authorization?: string) => {
    const says = authorization === undefined ? [] : [`Authorization: ${authorization}`];
    return (await ask(port, `GET ${path}`, { headers: [`Host: 127.0.0.1:${port}`, ...says] }))
      .status;
  };
  for (const path of ["/", "/page.js", "/metrics", "/api/overview", "/api/events", "/nowhere"]) {
    assertEquals(await status(path), 401, path);
  }
  assertEquals(await status("/healthz"), 200);
  const basic = (text: string) => `Basic ${btoa(text)}`;
  assertEquals(await status("/api/overview", `Bearer ${token}`), 200);
  assertEquals(await status("/api/overview", basic(`anybody:${token}`)), 200);
  await using viewer = await EventPeer.open(port, [`Authorization: Bearer ${token}`]);
  const hello = await viewer.next("hello");
  assertEquals(hello.server.clientOptions, ["--token-file token"]);
  const answer = await ask(port, "GET /");
  assertEquals(answer.headers.get("www-authenticate"), 'Basic realm="task queue"');
  // Ten wrong ones; what is no token at all does not count.
  for (const none of ["Basic !", "Basic", "Digest x", basic("no colon")]) {
    assertEquals(await status("/", none), 401, none);
  }
  for (let i = 0; i < 10; i++) assertEquals(await status("/", `Bearer wrong${i}`), 401);
  assertEquals(await status("/", `Bearer ${token}`), 429);
  await server.stderr.line(/10 wrong tokens/);
  assertEquals(server.stderr.text.includes(token), false);
});

testUnless(noOpenssl, "With a certificate the page is served over TLS", async () => {
  await using authority = await Authority.found();
  const { cert, key } = await authority.give();
  const args = ["--tls-cert", cert, "--tls-key", key, "--http", "127.0.0.1:0"];
  await using server = await startServer(denoRunWithFiles, { args });
  const { text } = await server.stderr.line(/^page: /);
  assertMatch(text, /^page: https:\/\/127\.0\.0\.1:\d+\/$/);
  const port = await portOfPage(server);
  const caCerts = [await Deno.readTextFile(authority.file)];
  using client = Deno.createHttpClient({ caCerts });
  const answer = await fetch(`https://localhost:${port}/healthz`, { client });
  assertEquals([answer.status, await answer.text()], [200, "ok\n"]);
  // Who speaks plain HTTP there is told so, and costs nobody else anything.
  const plain = await ask(port, "GET /");
  assertEquals([plain.status, plain.body], [400, "this page speaks https, not http\n"]);
  const again = await fetch(`https://localhost:${port}/healthz`, { client });
  assertEquals(await again.text(), "ok\n");
});

testUnless(
  noOpenssl,
  "Half handshakes make way for who comes, the oldest first",
  async () => {
    await using authority = await Authority.found();
    const { cert, key } = await authority.give();
    const args = ["--tls-cert", cert, "--tls-key", key, "--http", "127.0.0.1:0"];
    await using server = await startServer(denoRunWithFiles, { args });
    const port = await portOfPage(server);
    using client = Deno.createHttpClient({ caCerts: [await Deno.readTextFile(authority.file)] });
    const conns = await connectMany(port, maxHttpConnections);
    try {
      for (const conn of conns) await conn.write(Uint8Array.of(0x16, 3, 1, 2, 0, 1));
      const startMs = performance.now();
      const answer = await fetch(`https://localhost:${port}/healthz`, { client });
      assertEquals(await answer.text(), "ok\n");
      const first = await conns[0]?.read(new Uint8Array(1)).catch(() => null);
      assertEquals(first, null);
      // By itself it would have been closed after 5 s.
      assertLess(performance.now() - startMs, 4000);
    } finally {
      for (const conn of conns) conn.close();
    }
  },
);
