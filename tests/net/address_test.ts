import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { exitCodeOf, parsePort } from "../../lib/cli/arguments.ts";
import { connect, listen, resolveHost } from "../../lib/net/address.ts";
import { UserError } from "../../lib/user_error.ts";
import { freePort } from "../lab/free_port.ts";

const never = new AbortController().signal;

for (const host of ["127.0.0.1", "0.0.0.0", "255.255.255.255", "10.20.30.40"]) {
  Deno.test(`resolveHost() takes ${host} as it is`, async () => {
    assertEquals(await resolveHost(host), host);
  });
}

Deno.test("resolveHost() finds 127.0.0.1 for localhost", async () => {
  assertEquals(await resolveHost("localhost"), "127.0.0.1");
});

const notHosts = {
  "::1": 'ip must be an IPv4 address or a name, got the IPv6 address "::1"',
  "": 'ip must be an IPv4 address or a name, got ""',
  "a b": 'ip must be an IPv4 address or a name, got "a b"',
  "\x1b[2J": 'ip must be an IPv4 address or a name, got "\\u{1b}[2J"',
  "http//x": 'ip must be an IPv4 address or a name, got "http//x"',
  ...Object.fromEntries(
    // Of some of these the C library makes an address: none that is meant.
    ["300.1.1.1", "1.2.3.4.5", "127.1", "1", "01.2.3.4", "0x7f.0.0.1", "host.0x1", "1.2.3.4."]
      .map((host) => [
        host,
        `ip must be four numbers from 0 to 255, such as 127.0.0.1, or a name, got "${host}"`,
      ]),
  ),
};

for (const [host, message] of Object.entries(notHosts)) {
  Deno.test(`resolveHost() refuses ${JSON.stringify(host)} with exit code 2`, async () => {
    const error = await assertRejects(() => resolveHost(host), UserError);
    assertEquals([error.message, exitCodeOf(error)], [message, 2]);
  });
}

Deno.test({
  name: "resolveHost() gives up a look-up at its signal, with the signal's reason",
  // The look-up itself goes on.
  sanitizeOps: false,
  async fn() {
    const stop = new AbortController();
    // A look-up takes at least a turn of the event loop.
    const resolving = resolveHost("localhost", stop.signal);
    stop.abort();
    assertEquals(await resolving.catch((error) => error), stop.signal.reason);
  },
});

Deno.test({
  name: "connect() gives up the look-up of a name at its signal",
  // The look-up itself goes on.
  sanitizeOps: false,
  async fn() {
    const stop = new AbortController();
    const connecting = connect({ hostname: "localhost", port: freePort() }, stop.signal);
    stop.abort();
    assertEquals(await connecting, undefined);
  },
});

// Malformed names: the resolver refuses them without asking the network.
for (const host of ["a..b", "x".repeat(64)]) {
  Deno.test(`resolveHost() says that ${host} has no address, with exit code 1`, async () => {
    const error = await assertRejects(() => resolveHost(host), UserError);
    assertEquals([error.message, exitCodeOf(error)], [
      `Cannot find an IPv4 address of "${host}": check the name`,
      1,
    ]);
  });
}

for (const [text, port] of [["0", 0], ["5000", 5000], ["65535", 65535]] as const) {
  Deno.test(`parsePort() takes ${text}`, () => {
    assertEquals(parsePort(text, "port", { least: 0 }), port);
  });
}

for (const text of ["-1", "65536", "80.5", "abc", ""]) {
  Deno.test(`parsePort() refuses ${JSON.stringify(text)} with exit code 2`, () => {
    const error = assertThrows(() => parsePort(text, "producer_port", { least: 0 }), UserError);
    assertEquals([error.message, exitCodeOf(error)], [
      `producer_port must be a whole number from 0 to 65535, got "${text}"`,
      2,
    ]);
  });
}

Deno.test("listen() lets the system choose the port 0", () => {
  using listener = listen({ hostname: "127.0.0.1", port: 0 });
  assert(listener.addr.port > 0);
});

Deno.test("listen() says that a port is in use, with exit code 1", () => {
  using taken = listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = taken.addr;
  const error = assertThrows(() => listen({ hostname: "127.0.0.1", port }), UserError);
  assertEquals([error.message, exitCodeOf(error)], [
    `Cannot listen on 127.0.0.1:${port}: the port is in use ` +
    "(another server may be running: choose another port)",
    1,
  ]);
});

Deno.test("listen() says that an address is not of this machine", () => {
  // 192.0.2.0/24 is for documentation: no machine has it (RFC 5737).
  assertThrows(
    () => listen({ hostname: "192.0.2.1", port: 0 }),
    UserError,
    "Cannot listen on 192.0.2.1:0: the address is not one of this machine",
  );
});

Deno.test({
  name: "listen() names the flag where the network is not allowed",
  permissions: { net: false },
  fn() {
    assertThrows(
      () => listen({ hostname: "127.0.0.1", port: 0 }),
      UserError,
      "Cannot listen on 127.0.0.1:0: network access is not allowed (run with --allow-net)",
    );
  },
});

Deno.test("connect() reaches a listener", async () => {
  using listener = listen({ hostname: "127.0.0.1", port: 0 });
  const [near, far] = await Promise.all([connect(listener.addr, never), listener.accept()]);
  using accepted = far;
  assert(near !== undefined);
  using connected = near;
  assertEquals(connected.localAddr, accepted.remoteAddr);
});

Deno.test("connect() says that nothing listens there, with exit code 1", async () => {
  const port = freePort();
  const error = await assertRejects(
    () => connect({ hostname: "127.0.0.1", port }, never),
    UserError,
  );
  assertEquals([error.message, exitCodeOf(error)], [
    `Cannot connect to 127.0.0.1:${port}: nothing listens there ` +
    "(start the server first, check address and port)",
    1,
  ]);
});

Deno.test("connect() returns undefined where the signal comes first", async () => {
  const address = { hostname: "127.0.0.1", port: freePort() };
  assertEquals(await connect(address, AbortSignal.abort()), undefined);
});

for (const error of [new Error("EHWPOISON"), new TypeError("never\nheard of"), "no error at all"]) {
  Deno.test(`connect() says in one line whatever the system refuses: ${error}`, async () => {
    const connectOfDeno = Deno.connect;
    Object.assign(Deno, { connect: () => Promise.reject(error) });
    try {
      const refusal = await assertRejects(
        () => connect({ hostname: "127.0.0.1", port: 5000 }, never),
        UserError,
      );
      assertEquals(exitCodeOf(refusal), 1);
      assertMatch(refusal.message, /^Cannot connect to 127\.0\.0\.1:5000: [ -~]+$/);
    } finally {
      Deno.connect = connectOfDeno;
    }
  });
}

Deno.test({
  name: "connect() names the flag where the network is not allowed",
  permissions: { net: false },
  async fn() {
    await assertRejects(
      () => connect({ hostname: "127.0.0.1", port: 5000 }, never),
      UserError,
      "Cannot connect to 127.0.0.1:5000: network access is not allowed (run with --allow-net)",
    );
  },
});
