import { assertEquals } from "@std/assert";
import { freePort } from "../lab/free_port.ts";
import { ScratchFolder } from "../lab/processes.ts";
import { testUnless } from "../test_unless.ts";
import { noBrowser, startPageServer, TestBrowser, textOf, untilText } from "./browser.ts";

testUnless(
  noBrowser,
  "A page loses its server, says so, keeps what it has, and finds the next one",
  async () => {
    const [producers, consumers, httpPort] = [freePort(), freePort(), freePort()];
    const start = () => startPageServer({ ports: [producers, consumers], httpPort });
    await using browser = await TestBrowser.launch();
    const first = await start();
    const page = await browser.open(first.address);
    await using producer = await first.server.producer();
    assertEquals(await producer.ask("CREATE 1 kept-in-sight 1\nSYNC"), "OK 1");
    await untilText(page, "tbody", "kept-in-sight");
    // The list and the figures come by different ways.
    await untilText(page, "#waiting .figure", /^1$/);
    const pause = page.getByRole("button", { name: "Pause" });
    assertEquals(await pause.isEnabled(), true);
    await first.server.crash();

    await untilText(page, "#live", /no connection for \d/);
    await untilText(page, "#banner", "The server does not answer.");
    assertEquals(await pause.isEnabled(), false);
    assertEquals(await textOf(page, "#waiting .figure"), "1");
    assertEquals(await textOf(page, "tbody td.name"), "kept-in-sight");
    assertEquals(await page.title(), "Task queue");

    await using _second = await start();
    await untilText(page, "#live", "live");
    await untilText(page, "#waiting .figure", /^0$/);
    assertEquals(await pause.isEnabled(), true);
    assertEquals(await page.locator("#banner").isHidden(), true);
    // The browser itself tells of connections that were refused, and nothing else is told.
    const others = browser.messages.filter((text) => !/net::ERR_/.test(text));
    assertEquals(others, []);
  },
);

testUnless(
  noBrowser,
  "A page says that the store has failed, also when the server is gone",
  async () => {
    await using folder = await new ScratchFolder();
    const store = `${folder.path}/tasks.db`;
    await using server = await startPageServer({ store });
    await using browser = await TestBrowser.launch();
    const page = await browser.open(server.address);
    await untilText(page, "#live", "live");
    await Deno.remove(store);
    await using producer = await server.server.producer();
    await producer.send("CREATE 1 a 1\n");
    await untilText(page, "#banner", "The store has failed, and the server has ended");
    await untilText(page, "#live", /no connection for \d/);
  },
);

testUnless(
  noBrowser,
  "A page whose name leads here by rebinding gets nothing, and does nothing",
  async () => {
    await using server = await startPageServer();
    const { port } = new URL(server.address);
    await using browser = await TestBrowser.launch(
      "--host-resolver-rules=MAP evil.example 127.0.0.1",
    );
    const page = await browser.open(`http://evil.example:${port}/`);
    const ask = (path: string, init: string) =>
      page.evaluate(`fetch("${path}", ${init}).then(answer => answer.status)`);
    const post =
      `{ method: "POST", headers: { "Content-Type": "application/json" }, body: '{"requests":true}' }`;
    assertEquals(await ask("/api/overview", "{}"), 421);
    assertEquals(await ask("/api/pause", post), 421);
    assertEquals(await page.locator("#tiles").count(), 0);
    await expectNotPaused(server.address);
  },
);

testUnless(
  noBrowser,
  "A page at another port of this machine reads nothing, and does nothing",
  async () => {
    await using server = await startPageServer();
    await using other = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen: () => {} },
      () =>
        new Response("<!DOCTYPE html><title>other</title>", {
          headers: { "Content-Type": "text/html" },
        }),
    );
    await using browser = await TestBrowser.launch();
    const page = await browser.open(`http://127.0.0.1:${other.addr.port}/`);
    const statuses: number[] = [];
    page.on("response", (answer) => {
      if (answer.url().startsWith(server.address)) {
        statuses.push(answer.status());
      }
    });
    const ask = (path: string, init: string) =>
      page.evaluate(
        `fetch("${server.address}${path}", ${init}).then(() => "read", () => "refused")`,
      );
    const body = `body: '{"requests":true}'`;
    const json = `headers: { "Content-Type": "application/json" }`;
    assertEquals(await ask("api/overview", "{}"), "refused");
    assertEquals(await ask("api/pause", `{ method: "POST", ${json}, ${body} }`), "refused");
    // This one needs no leave, so it arrives, as a form's would.
    await ask("api/pause", `{ method: "POST", mode: "no-cors", ${body} }`);
    assertEquals(statuses.filter((status) => status < 400), []);
    await expectNotPaused(server.address);
  },
);

async function expectNotPaused(address: string): Promise<void> {
  const { paused } = await (await fetch(`${address}api/overview`)).json();
  assertEquals(paused, { creates: false, requests: false });
}
