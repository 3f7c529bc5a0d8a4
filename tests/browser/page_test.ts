import { assert, assertEquals } from "@std/assert";
import type { Page } from "playwright-core";
import { testUnless } from "../test_unless.ts";
import { noDisk, SmallDisk } from "../lab/small_disk.ts";
import {
  looks,
  noBrowser,
  type PageServer,
  sidewaysPixels,
  startPageServer,
  TestBrowser,
  textOf,
  untilText,
  violationsOf,
} from "./browser.ts";

/** Names that are allowed, and that a careless page would run, break at, or not show. */
const hostileNames = [
  "<img/src=x/onerror=document.title='owned'>",
  "<script>document.title='owned'</script>",
  "javascript:alert(1)",
  "&lt;b&gt;",
  "%3Cb%3E/../..?#",
  "작".repeat(85),
  "x".repeat(255),
];

async function create(server: PageServer, lines: readonly string[]): Promise<void> {
  await using producer = await server.server.producer();
  assertEquals(
    await producer.ask(lines.map((line) => line + "\n").join("") + "SYNC"),
    `OK ${lines.length}`,
  );
}

/** Has a consumer take the first task, and bury it. */
async function bury(server: PageServer, name: string): Promise<void> {
  await using consumer = await server.server.consumer();
  assertEquals((await consumer.ask("RESERVE")).split(" ")[1], name);
  await consumer.send(`BURY ${name}\n`);
  assertEquals(await consumer.ask("SYNC"), "OK 0");
}

async function overviewOf({ address }: PageServer): Promise<Record<string, unknown>> {
  return await (await fetch(`${address}api/overview`)).json();
}

testUnless(noBrowser, "The page shows what the API tells", async () => {
  await using server = await startPageServer();
  await create(server, [
    ...["CREATE 1 first 60", "CREATE 3 low1 1.5", 'CREATE 3 low2 2 {"to":"anna@example.org"}'],
    "SCHEDULE 600 2 later 1",
  ]);
  await using consumer = await server.server.consumer();
  await using _idle = await server.server.consumer();
  assertEquals(await consumer.ask("RESERVE"), "ASSIGN first 60");
  await using browser = await TestBrowser.launch();
  const page = await browser.open(server.address);
  await untilText(page, "#live", "live");
  await untilText(page, "#waiting .figure", /^2$/);
  await untilText(page, "#work .figure", /^1 of 2$/);
  const { waiting, delayed, reserved, buried } = await overviewOf(server);
  assertEquals([waiting, delayed, reserved, buried], [[0, 0, 2], 1, 1, 0]);
  assertEquals(await page.locator("#tasks .choice").first().locator("button").allInnerTexts(), [
    ...["Waiting 2", "Delayed 1", "Reserved 1", "Buried 0"],
  ]);
  assertEquals(await textOf(page, "#dead .figure"), "0");
  await page.locator("tbody tr").nth(1).waitFor();
  assertEquals(await page.locator("tbody td.name").allInnerTexts(), [
    ...["low1", 'low2\n{"to":"anna@example.org"}'],
  ]);
  assertEquals(await page.locator(".heads li").count(), 2);
  assertEquals(await page.locator(".box").getAttribute("title"), "first, High, 60 s of work");
  await page.getByRole("button", { name: "Delayed 1" }).click();
  await untilText(page, "#next", "Due in");
  await untilText(page, "tbody tr", /later.*(?:9 min \d+ s|10 min)/s);
  assertEquals(browser.messages, []);
});

testUnless(
  noBrowser,
  "What ends becomes a bar of the past, and what takes too long is outlined",
  async () => {
    await using server = await startPageServer();
    await using browser = await TestBrowser.launch();
    const page = await browser.open(server.address);
    await untilText(page, "#timeline .none", "No consumer is connected");
    await using consumer = await server.server.consumer();
    await create(server, ["CREATE 2 quick 0.2", "CREATE 2 slow 0.1"]);
    assertEquals(await consumer.ask("RESERVE"), "ASSIGN quick 0.2");
    await page.locator('.box[title="quick, Medium, 0.2 s of work"]').waitFor();
    await consumer.send("COMPLETE quick\n");
    await page.locator('.box[title^="quick, Medium, took "]').waitFor();
    assertEquals(await consumer.ask("RESERVE"), "ASSIGN slow 0.1");
    await page.locator(".box.late").waitFor();
    consumer.close();
    await page.locator('.box.undone[title^="slow"]').or(page.locator("#timeline.empty")).first()
      .waitFor({ state: "attached" });
    assertEquals(browser.messages, []);
  },
);

testUnless(noBrowser, "Tasks are found by name and by priority", async () => {
  await using server = await startPageServer();
  await create(server, [
    ...["CREATE 1 mail-1 1", "CREATE 2 mail-2 1", "CREATE 2 report-2 1", "CREATE 3 mail-3 1"],
  ]);
  await using browser = await TestBrowser.launch();
  const page = await browser.open(server.address);
  const names = page.locator("tbody td.name");
  await names.nth(3).waitFor();
  assertEquals(await textOf(page, "#tasks h2 small"), "");
  await page.getByRole("searchbox").fill("mail");
  await untilText(page, "#tasks h2 small", "3 tasks");
  await page.getByRole("button", { name: "High", exact: true }).click();
  await untilText(page, "#tasks h2 small", "2 tasks");
  assertEquals(await names.allInnerTexts(), ["mail-2", "mail-3"]);
  await page.getByRole("searchbox").fill("nowhere");
  await untilText(page, "#tasks .none", "No waiting task has “nowhere” in its name.");
  await page.getByRole("searchbox").fill("");
  await create(server, Array.from({ length: 101 }, (_, i) => `CREATE 2 more${i} 1`));
  await untilText(page, "#tasks h2 small", "first 100 of 104");
  await page.getByRole("button", { name: "High", exact: true }).click();
  await untilText(page, "#tasks h2 small", /^first 100$/);
  assertEquals(browser.messages, []);
});

testUnless(
  noBrowser,
  "An operator kicks, removes, clears and pauses by clicks, and may think again",
  async () => {
    await using server = await startPageServer();
    await create(server, ["CREATE 1 dead1 1", "CREATE 1 dead2 1"]);
    for (const name of ["dead1", "dead2"]) await bury(server, name);
    await using browser = await TestBrowser.launch();
    const page = await browser.open(server.address);
    const dialog = page.getByRole("dialog");

    await untilText(page, "#dead .figure", /^2$/);
    await page.getByRole("button", { name: "Kick dead1" }).click();
    await untilText(page, "#notice", "dead1 waits again.");
    await untilText(page, "#dead .figure", /^1$/);

    await page.locator("#buried").getByRole("button", { name: "Remove dead2" }).click();
    await untilText(page, "#question", "Remove dead2?");
    await dialog.getByRole("button", { name: "Cancel" }).click();
    await page.locator("#buried").getByRole("button", { name: "Remove dead2" }).click();
    await dialog.getByRole("button", { name: "Remove" }).click();
    await untilText(page, "#notice", "Removed dead2.");
    await untilText(page, "#buried ul", "No task is buried.");

    // More than the list shows: the number is that of all.
    await create(server, Array.from({ length: 21 }, (_, i) => `CREATE 2 many${i} 1`));
    await using consumer = await server.server.consumer();
    for (let i = 0; i < 22; i++) {
      const [, name] = (await consumer.ask("RESERVE")).split(" ");
      await consumer.send(`BURY ${name}\n`);
    }
    await page.getByRole("button", { name: "Kick all 22" }).click();
    await untilText(page, "#notice", "22 tasks wait again.");
    await untilText(page, "#buried ul", "No task is buried.");
    for (let i = 0; i < 22; i++) await consumer.ask("REQUEST");
    await create(server, ["CREATE 1 dead1 1"]);

    await create(server, ["CREATE 3 low1 1", "CREATE 3 low2 1"]);
    await page.getByRole("button", { name: "Low 2" }).click();
    await untilText(page, "#question", "Remove the 2 waiting tasks of priority Low?");
    // One that comes while the operator thinks was never seen, so it stays.
    await create(server, ["CREATE 3 low3 1"]);
    await dialog.getByRole("button", { name: "Remove them" }).click();
    await untilText(page, "#notice", "Removed 2 tasks.");
    await untilText(page, "#waiting .figure", /^2$/);

    await page.getByRole("button", { name: "Pause" }).click();
    await untilText(page, "#banner", "Handing out is paused");
    assertEquals(await consumer.ask("REQUEST"), "NOTASK");
    await page.getByRole("button", { name: "Resume" }).click();
    await untilText(page, "#controls", "consumers get the first task");
    assertEquals(await consumer.ask("REQUEST"), "ASSIGN dead1 1");
    await page.getByRole("button", { name: "Drain" }).click();
    await untilText(page, "#banner", "The queue drains");
    assertEquals((await overviewOf(server)).paused, { creates: true, requests: false });
    assertEquals(browser.messages, []);
  },
);

testUnless(
  noBrowser,
  "A held view stands still while the queue goes on, and then catches up",
  async () => {
    await using server = await startPageServer();
    await using browser = await TestBrowser.launch();
    const page = await browser.open(server.address);
    await untilText(page, "#waiting .figure", /^0$/);
    await page.getByRole("button", { name: "Hold view" }).click();
    await untilText(page, "#live", "held");
    await create(server, ["CREATE 1 unseen 1"]);
    const other = await browser.open(server.address);
    await untilText(other, "#waiting .figure", /^1$/);
    assertEquals(await textOf(page, "#waiting .figure"), "0");
    await page.getByRole("button", { name: "Hold view" }).click();
    await untilText(page, "#waiting .figure", /^1$/);
    await untilText(page, "#live", "live");
  },
);

testUnless(
  noBrowser,
  "The page says for how long the server runs, also when it stays open",
  async () => {
    await using server = await startPageServer();
    await using browser = await TestBrowser.launch();
    const page = await browser.open(server.address);
    await untilText(page, "footer", /up \d/);
    const [first = ""] = /up .* s/.exec(await textOf(page, "footer")) ?? [];
    await page.locator("footer").filter({ hasNotText: first }).filter({ hasText: /up \d/ })
      .waitFor();
    assertEquals(browser.messages, []);
  },
);

testUnless(
  noBrowser,
  "What is said of a control has its room, however much is counted",
  async () => {
    await using server = await startPageServer();
    const each = Array.from(
      { length: 1000 },
      (_, i) => [1, 2, 3].map((n) => `CREATE ${n} t${i} 1`),
    );
    await create(server, each.flat());
    await using browser = await TestBrowser.launch();
    for (const look of looks) {
      const page = await browser.open(server.address, look);
      await untilText(page, "#controls", "High 1,000");
      const texts = page.locator("#controls p");
      for (let i = 0; i < await texts.count(); i++) {
        const { width = 0 } = await texts.nth(i).boundingBox() ?? {};
        assert(width >= 150, `${await texts.nth(i).innerText()}: ${width} px of ${look.width}`);
      }
      await page.close();
    }
  },
);

testUnless(noBrowser, "Hostile names are text, and do not widen the page", async () => {
  await using server = await startPageServer();
  await create(server, hostileNames.map((name) => `CREATE 2 ${name} 30`));
  await using consumer = await server.server.consumer();
  assertEquals(await consumer.ask("RESERVE"), `ASSIGN ${hostileNames[0]} 30`);
  await using browser = await TestBrowser.launch();
  for (const look of looks) {
    const page = await browser.open(server.address, look);
    await page.locator("tbody tr").nth(hostileNames.length - 2).waitFor();
    const shown = await page.locator("td.name span").allTextContents();
    assertEquals(shown, hostileNames.slice(1));
    await page.locator(".box").waitFor();
    assertEquals(await sidewaysPixels(page), 0);
    // A million tasks of each state must not do so either.
    const many = "all => all.forEach(one => one.textContent = 'Reserved 1,000,000')";
    await page.evaluate(`(${many})(document.querySelectorAll(".choice button"))`);
    assertEquals(await sidewaysPixels(page), 0);
    await page.getByRole("button", { name: "Remove x" }).click();
    await page.getByRole("dialog").waitFor();
    assertEquals(await sidewaysPixels(page), 0);
    assertEquals(await page.title(), "Task queue");
    assertEquals(await page.locator("main img, main script").count(), 0);
    await page.close();
  }
  assertEquals(browser.messages, []);
});

/** Expects that a state has no barrier, and no width but the window's, whatever the look. */
async function expectGood(
  page: Page,
  state: string,
  [selector, text]: readonly [selector: string, text: string | RegExp],
): Promise<void> {
  await untilText(page, selector, text);
  for (const look of looks) {
    // High enough to show all: what is out of sight is not styled anew when the theme changes.
    await page.setViewportSize({ width: look.width, height: 3000 });
    await page.emulateMedia({ colorScheme: look.theme });
    const where = `${state} ${JSON.stringify(look)}`;
    assertEquals(await violationsOf(page), [], where);
    assertEquals(await sidewaysPixels(page), 0, where);
  }
}

testUnless(
  noBrowser,
  "No state has a barrier in any theme or width: busy, held, paused, disconnected",
  async () => {
    await using server = await startPageServer();
    const tasks = [1, 2, 3].flatMap((priority) =>
      [1, 2, 3, 4].map((n) => `CREATE ${priority} task${priority}-${n} 30`)
    );
    await create(server, ["CREATE 1 dead 1", "SCHEDULE 100 1 later 1", ...tasks]);
    await bury(server, "dead");
    await using first = await server.server.consumer();
    await using second = await server.server.consumer();
    for (const consumer of [first, second]) await consumer.ask("RESERVE");
    await using browser = await TestBrowser.launch();
    const page = await browser.open(server.address);
    const hold = page.getByRole("button", { name: "Hold view" });
    await expectGood(page, "busy", ["tbody tr", "task1-3"]);
    await hold.click();
    await expectGood(page, "held", ["#live", "held"]);
    await hold.click();
    await page.getByRole("button", { name: "Pause" }).click();
    await expectGood(page, "paused", ["#banner", "paused"]);
    await page.getByRole("button", { name: "Remove task1-3" }).click();
    await expectGood(page, "asking", ["#question", "Remove task1-3?"]);
    await page.getByRole("button", { name: "Cancel" }).click();
    assertEquals(browser.messages, []);
    await server.server.crash();
    await expectGood(page, "disconnected", ["#banner", "The server does not answer."]);
  },
);

testUnless(
  noBrowser,
  "No state has a barrier in any theme or width: empty, queue full",
  async () => {
    await using server = await startPageServer({ args: ["--max-tasks", "3"] });
    await using browser = await TestBrowser.launch();
    const page = await browser.open(server.address);
    await expectGood(page, "empty", ["#tasks .none", /\.\/producer 127\.0\.0\.1 \d+ tasks\.txt/]);
    await using producer = await server.server.producer();
    await producer.send("CREATE 1 a 1\nCREATE 2 b 1\nCREATE 3 c 1\nCREATE 3 d 1\n");
    const full = "The queue is full at 3 tasks: 1 producer waits. Nothing is lost.";
    await expectGood(page, "queue full", ["#banner", full]);
    assertEquals(browser.messages, []);
  },
);

testUnless(
  noBrowser ?? noDisk,
  "No state has a barrier in any theme or width: store full",
  async () => {
    await using disk = new SmallDisk(8);
    await using server = await startPageServer({ store: `${disk.path}/tasks.db` });
    await create(server, ["CREATE 1 kept 1"]);
    disk.fill();
    await using producer = await server.server.producer();
    const payload = `{"x":"${"x".repeat(900)}"}`;
    while (!(await producer.ask(`CREATE 1 large 1 ${payload}\nSYNC`)).includes("store full"));
    await using browser = await TestBrowser.launch();
    const page = await browser.open(server.address);
    await expectGood(page, "store full", ["#banner", "The store has no room"]);
    assertEquals(browser.messages, []);
  },
);
