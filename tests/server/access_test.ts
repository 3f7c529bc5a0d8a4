import { assertEquals, assertNotMatch } from "@std/assert";
import { Access, maxWrongTokens } from "../../lib/server/access.ts";
import { VirtualClock } from "../lab/simulation/virtual_clock.ts";

const right = "the right token, of 30 letters";

class Stage {
  readonly lines: string[] = [];
  readonly clock = new VirtualClock(0);

  access(): Promise<Access> {
    return Access.of(right, { say: (line) => this.lines.push(line), clock: this.clock });
  }
}

function test(name: string, fn: () => Promise<void>): void {
  Deno.test({ name, permissions: "none", fn });
}

test("Access takes its token, and nothing that is like it", async () => {
  const access = await new Stage().access();
  const others = ["", right.slice(1), right.slice(0, -1), `${right} `, right.toUpperCase()];
  for (const [i, other] of others.entries()) {
    assertEquals(await access.check(`10.0.0.${i}`, other), false, other);
  }
  assertEquals(await access.check("10.0.0.0", right), true);
});

test("Access hears an address no more for a minute after ten wrong tokens, and others as before", async () => {
  const stage = new Stage();
  const access = await stage.access();
  for (let i = 0; i < maxWrongTokens; i++) {
    assertEquals(access.isBlocked("10.0.0.1"), false);
    assertEquals(await access.check("10.0.0.1", `guess ${i}`), false);
  }
  assertEquals(access.isBlocked("10.0.0.1"), true);
  // Else who guesses in parallel would learn more.
  assertEquals(await access.check("10.0.0.1", right), false);
  assertEquals(access.isBlocked("10.0.0.2"), false);
  assertEquals(await access.check("10.0.0.2", right), true);
  await stage.clock.pass(59_999);
  assertEquals(access.isBlocked("10.0.0.1"), true);
  await stage.clock.pass(1);
  assertEquals(await access.check("10.0.0.1", right), true);
  assertEquals(stage.lines.slice(-2), [
    "10.0.0.1: 10 wrong tokens: its new connections are closed for 60 s",
    "10.0.0.1: 3 attempts were not heard meanwhile",
  ]);
});

test("Access forgets wrong tokens after a minute", async () => {
  const stage = new Stage();
  const access = await stage.access();
  for (let i = 0; i < 30; i++) {
    await access.check("10.0.0.1", "guess");
    if (i % 9 === 8) await stage.clock.pass(60_000);
  }
  assertEquals(access.isBlocked("10.0.0.1"), false);
});

test("Access remembers a thousand addresses, and forgets the first of more", async () => {
  const access = await new Stage().access();
  const guess = async (address: string) => {
    for (let i = 0; i < maxWrongTokens; i++) await access.check(address, "guess");
  };
  await guess("first");
  await guess("second");
  for (let i = 0; i < 999; i++) await access.check(`10.0.${i >> 8}.${i & 255}`, "guess");
  assertEquals(access.isBlocked("first"), false);
  assertEquals(access.isBlocked("second"), true);
});

test("Access says a few lines per address and in all, and no token", async () => {
  const stage = new Stage();
  const access = await stage.access();
  for (let i = 0; i < 50; i++) {
    for (let k = 0; k < 100; k++) {
      if (!access.isBlocked(`a${i}`)) await access.check(`a${i}`, `a secret guess ${k}`);
    }
  }
  assertEquals(stage.lines.length, 100);
  access.close();
  assertEquals(stage.lines.at(-1), "500 more lines about peers were left out");
  for (const line of stage.lines) assertNotMatch(line, /secret|right/);
});
