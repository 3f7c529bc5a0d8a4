import { assertEquals, assertLess } from "@std/assert";
import { ownText, TextPool } from "../lib/own_text.ts";

Deno.test("ownText() returns the same characters", { permissions: "none" }, () => {
  for (const text of ["", "task1", "x".repeat(12), "x".repeat(13), "과제-1".repeat(40)]) {
    assertEquals(ownText(text), text);
  }
});

Deno.test("TextPool.share() returns the same characters, also beyond its limit", {
  permissions: "none",
}, () => {
  const pool = new TextPool();
  for (let n = 0; n < 2000; n++) assertEquals(pool.share(`${n}.0`), `${n}.0`);
  assertEquals(pool.share("1.0"), "1.0");
});

Deno.test("ownText() keeps nothing alive of the 16 KiB that a name came with", async () => {
  const count = 4000;
  const script = `
    import { ownText } from ${JSON.stringify(new URL("../lib/own_text.ts", import.meta.url).href)};
    const keep = Deno.args[0] === "own" ? ownText : (text) => text;
    const kept = [];
    for (let n = 0; n < ${count}; n++) {
      const chunk = new TextDecoder().decode(new Uint8Array(16384).fill(65)) + n;
      kept.push(keep(chunk.slice(8000, 8020)));
    }
    gc();
    gc();
    console.log(Deno.memoryUsage().rss, kept.length);`;
  const file = await Deno.makeTempFile({ suffix: ".js" });
  await Deno.writeTextFile(file, script);
  const rss = async (how: string): Promise<number> => {
    const { stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "--no-config", "--v8-flags=--expose-gc", file, how],
    }).output();
    return Number.parseInt(new TextDecoder().decode(stdout));
  };
  assertLess(await rss("own"), await rss("slices") - count * 16384 / 2);
  await Deno.remove(file);
});
