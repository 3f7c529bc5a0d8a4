/** TLS over a stream: what a reader gets, what it is spared, and what ends with it. */

import { assert, assertEquals, assertLess, assertRejects } from "@std/assert";
import type { Stream } from "../../lib/net/stream.ts";
import { makeSecure } from "../../lib/net/tls.ts";
import { Authority, noOpenssl } from "../lab/certificates.ts";
import { pause, within } from "../lab/deadline.ts";
import { until } from "../lab/load/scenarios.ts";
import { writeAll } from "../lab/peers.ts";
import { socketPair } from "../lab/socket_pair.ts";
import { testUnless } from "../test_unless.ts";

/** Both ends of TLS, after the handshake. */
interface Ends {
  /** The server's end, which is tested. */
  readonly near: Stream;
  /** The client's end. */
  readonly far: Deno.TlsConn;
  /** How many bytes the server's end has taken from the socket. */
  readonly taken: () => number;
  /** Has a byte of what the server's end takes next come to it changed. */
  readonly damage: () => void;
}

function test(name: string, run: (ends: Ends) => Promise<void>): void {
  testUnless(noOpenssl, name, async () => {
    await using authority = await Authority.found();
    const files = await authority.give();
    const identity = {
      cert: await Deno.readTextFile(files.cert),
      key: await Deno.readTextFile(files.key),
    };
    const caCerts = [await Deno.readTextFile(authority.file)];
    const secure = makeSecure(identity, { nowMs: Date.now(), say: () => {} });
    using pair = await socketPair();
    let taken = 0;
    let isDamaged = false;
    const outer: Stream = {
      remoteAddr: pair.near.remoteAddr,
      read: async (buffer) => {
        const count = await pair.near.read(buffer);
        taken += count ?? 0;
        // Behind the five bytes of a record's head.
        if (isDamaged) buffer[5] = ~(buffer[5] as number);
        isDamaged = false;
        return count;
      },
      write: (bytes) => pair.near.write(bytes),
      closeWrite: () => pair.near.closeWrite(),
      close: () => pair.near.close(),
    };
    const first = new Uint8Array(1024);
    const [near, far] = await Promise.all([
      pair.near.read(first).then((count) => secure(outer, first.subarray(0, count ?? 0))),
      Deno.startTls(pair.far, { hostname: "localhost", caCerts }),
    ]);
    try {
      await within(
        run({ near, far, taken: () => taken, damage: () => isDamaged = true }),
        "the test",
      );
    } finally {
      near.close();
      far.close();
      await until(() => isClosed(pair.near), "the socket's close");
    }
  });
}

function isClosed(conn: Deno.TcpConn): boolean {
  try {
    conn.setNoDelay(true);
    return false;
  } catch {
    return true;
  }
}

/** Bytes of which none is like its neighbours. */
function pattern(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => i % 251);
}

async function readToEnd(stream: Stream, bufferBytes: number): Promise<Uint8Array> {
  const parts: number[] = [];
  const buffer = new Uint8Array(bufferBytes);
  for (let count; (count = await stream.read(buffer)) !== null;) {
    assert(count > 0);
    parts.push(...buffer.subarray(0, count));
  }
  return Uint8Array.from(parts);
}

for (const bufferBytes of [1, 7, 4096, 100_000]) {
  test(`All that came is read in order, ${bufferBytes} bytes at a time`, async ({ near, far }) => {
    const sent = pattern(60_000);
    const sending = (async () => {
      for (const [from, to] of [[0, 1], [1, 3], [3, 20_000], [20_000, 60_000]] as const) {
        await writeAll(far, sent.subarray(from, to));
      }
      await far.closeWrite();
    })();
    assertEquals(await readToEnd(near, bufferBytes), sent);
    await sending;
    assertEquals(await near.read(new Uint8Array(1)), null);
  });
}

test("What the peer sent before its end is read although both sides have ended", async ({ near, far, taken }) => {
  const sent = pattern(10_000);
  await near.closeWrite();
  await writeAll(far, sent);
  await far.closeWrite();
  await until(() => taken() > sent.length, "all that the peer sent");
  assertEquals(await readToEnd(near, 4096), sent);
});

test("A peer that is not read is taken from no further than some 40 KB", async ({ near, far, taken }) => {
  const sent = pattern(1_000_000);
  const sending = writeAll(far, sent).then(() => far.closeWrite());
  await until(() => taken() > 16_384, "the first bytes");
  await pause(500); // without a limit all would have been taken long since
  assertLess(taken(), 60_000);
  const [got] = await Promise.all([readToEnd(near, 65_536), sending]);
  assertEquals(got.length, sent.length);
});

test("What waits for a peer that neither reads nor writes ends when the stream is closed", async ({ near }) => {
  let written = 0;
  const writing = (async () => {
    for (;;) written += await near.write(new Uint8Array(65_536));
  })();
  const reading = near.read(new Uint8Array(1));
  const ends = Promise.all([
    assertRejects(() => writing, Deno.errors.Interrupted),
    assertRejects(() => reading, Deno.errors.Interrupted),
  ]);
  // Until the kernel has taken all that it takes: then a write waits.
  for (let before = -1; before < written; await pause(200)) before = written;
  near.close();
  await ends;
  await assertRejects(() => near.write(Uint8Array.of(1)), Deno.errors.Interrupted);
  await assertRejects(() => near.closeWrite(), Deno.errors.Interrupted);
});

test("A record that cannot be read ends the connection on both sides", async ({ near, far, damage }) => {
  const reading = near.read(new Uint8Array(1));
  // The read that waits takes it: it has asked the socket already, and looks at what came after.
  damage();
  await writeAll(far, pattern(100));
  await assertRejects(() => reading, Error, "cannot decrypt peer's message");
  await assertRejects(() => far.read(new Uint8Array(1)), Error, "BadRecordMac");
  await assertRejects(() => near.write(Uint8Array.of(1)), Error, "cannot decrypt peer's message");
});

test("Nothing is read of a stream that was closed, although more had come", async ({ near, far, taken }) => {
  const before = taken();
  await writeAll(far, pattern(2000));
  assertEquals(await near.read(new Uint8Array(1000)), 1000);
  assert(taken() > before + 2000);
  near.close();
  await assertRejects(() => near.read(new Uint8Array(1000)), Deno.errors.Interrupted);
});
