/**
 * What the page costs who looks at it.
 *
 * @module
 */

import { assert, assertEquals, assertLess } from "@std/assert";
import { pause } from "../lab/deadline.ts";
import { testUnless } from "../test_unless.ts";
import { noBrowser, type PageServer, startPageServer, TestBrowser, untilText } from "./browser.ts";

/** Has consumers work on a task each, until the scope ends. */
async function employ(server: PageServer, consumers: number): Promise<AsyncDisposableStack> {
  const stack = new AsyncDisposableStack();
  await using producer = await server.server.producer();
  const tasks = Array.from({ length: 100 * consumers }, (_, i) => `CREATE 2 task${i} 1\n`);
  await producer.ask(tasks.join("") + "SYNC");
  let isOver = false;
  const works: Promise<void>[] = [];
  for (let i = 0; i < consumers; i++) {
    const consumer = stack.use(await server.server.consumer());
    const work = async () => {
      while (!isOver) {
        await consumer.ask("REQUEST");
        await pause(600 + 20 * i);
      }
    };
    works.push(work());
  }
  // The last to be deferred is the first to be done.
  stack.defer(async () => {
    isOver = true;
    await Promise.all(works);
  });
  return stack;
}

testUnless(
  noBrowser,
  "The timeline moves by itself, unless the reader wants no motion",
  async () => {
    await using server = await startPageServer();
    await using _work = await employ(server, 2);
    await using browser = await TestBrowser.launch();
    const motions = '(document.querySelector(".strip").getAnimations() ?? [])' +
      ".map(({ effect }) => [effect.getTiming().easing, effect.getTiming().duration])";
    const moving = await browser.open(server.address, undefined, { moves: true });
    await untilText(moving, "#work .figure", "of 2");
    await moving.waitForFunction(`${motions}.length === 1`);
    const [[easing, duration]] = await moving.evaluate(motions) as [[string, number]];
    // A pixel per step, some 20 in a second.
    assert(Number(/^steps\((\d+)/.exec(easing)?.[1]) >= 10, easing);
    assert(duration > 900 && duration < 1100, String(duration));
    const still = await browser.open(server.address);
    await untilText(still, "#work .figure", "of 2");
    await still.waitForFunction('document.querySelector(".strip").style.transform !== ""');
    assertEquals(await still.evaluate(motions), []);
  },
);

testUnless(
  noBrowser,
  "With 40 consumers at work a page takes less than 10 % of a core",
  async () => {
    await using server = await startPageServer();
    await using _work = await employ(server, 40);
    await using browser = await TestBrowser.launch();
    const page = await browser.open(server.address, undefined, { moves: true });
    await untilText(page, "#work .figure", "of 40");
    const session = await page.context().newCDPSession(page);
    // The time that the page's thread worked, not that for which it waited for a core.
    await session.send("Performance.enable", { timeDomain: "threadTicks" });
    const taskSeconds = async () => {
      const { metrics } = await session.send("Performance.getMetrics");
      return metrics.find(({ name }) => name === "TaskDuration")?.value ?? NaN;
    };
    const [before, startMs] = [await taskSeconds(), performance.now()];
    await pause(5000);
    const share = 1000 * (await taskSeconds() - before) / (performance.now() - startMs);
    assertLess(share, 0.1);
    assertEquals(browser.messages, []);
  },
);

testUnless(noBrowser, "A page asks for its styles first, and for no module late", async () => {
  await using server = await startPageServer();
  await using browser = await TestBrowser.launch();
  const page = await browser.open(server.address);
  await untilText(page, "#live", "live");
  const asked = await page.evaluate(
    'performance.getEntriesByType("resource").filter(({ name }) => /\\.(?:js|css)$/.test(name))' +
      ".map(({ name, startTime, responseEnd }) => " +
      '({ name: name.split("/").at(-1), startTime, responseEnd }))',
  ) as { name: string; startTime: number; responseEnd: number }[];
  assertEquals([asked.length, asked[0]?.name], [10, "page.css"]);
  // Before any module has come whose imports would name it.
  const firstMs = Math.min(...asked.slice(1).map(({ responseEnd }) => responseEnd));
  assertEquals(asked.filter(({ startTime }) => startTime > firstMs), []);
});
