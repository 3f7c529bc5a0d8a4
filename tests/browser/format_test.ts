import { assert, assertEquals } from "@std/assert";
import {
  clientCommand,
  count,
  counted,
  cut,
  duration,
  rate,
  shortCount,
} from "../../lib/http/web/format.js";
import { compact } from "../../lib/http/page.ts";

/** What the page may weigh as it is sent: over a bad line too it is there within a second. */
const mostBytes = 61 * 1024;

Deno.test("Durations have their two largest units", () => {
  const cases: readonly (readonly [number, string])[] = [
    [-1, "0.0 s"],
    [0.44, "0.4 s"],
    [9.94, "9.9 s"],
    [9.96, "10 s"],
    [59.4, "59 s"],
    [59.6, "1 min"],
    [228, "3 min 48 s"],
    [3600, "1 h"],
    [9071, "2 h 31 min"],
    [86_399.9, "1 d"],
    [936_000, "10 d 20 h"],
    [400_000_000, "4,629 d 15 h"],
  ];
  for (const [seconds, text] of cases) assertEquals(duration(seconds), text);
});

Deno.test("Numbers are grouped, and short on an axis", () => {
  assertEquals(count(999_989), "999,989");
  assertEquals([0, 7.5, 950, 9_999, 12_345, 999_499, 1_500_000].map(shortCount), [
    ...["0", "7.5", "950", "9,999", "12 k", "999 k", "1.5 M"],
  ]);
  assertEquals([0, 3.62, 9.96, 1234.5].map(rate), ["0.0", "3.6", "10", "1,235"]);
  assertEquals([counted(1, "try", "tries"), counted(2, "try", "tries")], ["1 try", "2 tries"]);
});

Deno.test("Texts are cut between characters, never within one", () => {
  assertEquals([cut("작업작업", 4), cut("작업작업", 3), cut("👍👍👍", 2)], [
    ...["작업작업", "작업…", "👍…"],
  ]);
});

Deno.test("A command leads to the server by the name by which the reader reached it", () => {
  const command = (address: string, options: readonly string[]) =>
    clientCommand("consumer", address, { hostname: "queue.example", options });
  assertEquals(command("127.0.0.1:5000", []), "./consumer 127.0.0.1 5000");
  assertEquals(command("0.0.0.0:5000", ["--tls"]), "./consumer queue.example 5000 --tls");
});

Deno.test("What is sent lacks comments of whole lines and indentation, and no code", () => {
  const source = "/**\n * a\n */\nx();\n  /** @type {b} */ (y);\n  // c\n  z('//');\n\n/* d */\n";
  assertEquals(compact(source), "x();\n(y);\nz('//');\n");
});

Deno.test("The page is small, and all its own: no other host, no inline style or script", async () => {
  const folder = new URL("../../lib/http/web/", import.meta.url);
  let bytes = 0;
  for await (const { name } of Deno.readDir(folder)) {
    if (name === "deno.json") continue;
    const text = await Deno.readTextFile(new URL(name, folder));
    bytes += new TextEncoder().encode(compact(text)).length;
    const foreign = text.replaceAll("http://www.w3.org/2000/svg", "").match(/https?:\/\//g);
    assertEquals(foreign, null, name);
    assertEquals(text.match(/innerHTML|outerHTML|insertAdjacent|document\.write/g), null, name);
    if (name.endsWith(".html")) assertEquals(text.match(/ style=| on\w+=|<style/g), null);
  }
  assert(bytes > 10_000 && bytes <= mostBytes, `the page has ${bytes} bytes`);
});
