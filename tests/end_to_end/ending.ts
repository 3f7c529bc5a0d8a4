/**
 * How the programs end: by Ctrl+C and its like in every state, by DONE, and what netstat shows then.
 *
 * @module
 */

import { assertEquals, assertLess, assertMatch } from "@std/assert";
import { allOf, pause, within } from "../lab/deadline.ts";
import {
  findScript,
  inTerminal,
  type Launcher,
  listeningPorts,
  type Program,
  ScratchFolder,
  type ServerProgram,
  startConsumer,
  startProducer,
  startServer,
} from "../lab/processes.ts";
import { RawPeer, RawServer } from "../lab/peers.ts";
import { test } from "./register.ts";
import { canReadSockets, watchPorts } from "../lab/sockets.ts";

/** A state to end a consumer and a server in. */
interface State {
  readonly name: string;
  /** Brings them there; what it opens goes with the stack, which is disposed when both ended. */
  reach(
    launcher: Launcher,
    server: ServerProgram,
    consumer: Program,
    stack: AsyncDisposableStack,
  ): Promise<void>;
}

const states: readonly State[] = [
  {
    name: "waiting after NOTASK",
    reach: async (_launcher, _server, consumer) => {
      await consumer.stdout.line(/^NOTASK$/);
    },
  },
  {
    name: "working",
    reach: async (_launcher, server, _consumer, stack) => {
      const producer = stack.use(await server.producer());
      await producer.send("CREATE 1 long 1000\nCREATE 1 waiting 1\n");
      await server.stdout.line(/^\[ASSIGN\] long - consumer1$/);
      producer.close();
    },
  },
  {
    name: "under load",
    reach: async (_launcher, server, consumer, stack) => {
      const producer = stack.use(await server.producer());
      // Goes on until the server is gone; what is sent waits in the kernel where it is not read.
      const tasks = Array.from({ length: 1000 }, (_, i) => `CREATE 2 task${i} 0\n`).join("");
      const load = (async () => {
        for (let i = 0; i < 200; i++) await producer.send(tasks);
      })().catch(() => {});
      stack.defer(() => load);
      await consumer.stdout.line(/^\[COMPLETE\]/, { nth: 50 });
    },
  },
];

const needsSockets = canReadSockets ? {} : { ignored: "it needs /proc/net/tcp" };
const script = await findScript();
const needsScript = {
  ignored: script === undefined ? "script (util-linux) is not here" : undefined,
};

for (const state of states) {
  test(`SIGINT and SIGTERM end consumer, then server, ${state.name}`, async (launcher) => {
    await allOf([
      endConsumerThenServer(launcher, state, "SIGINT"),
      endConsumerThenServer(launcher, state, "SIGTERM"),
    ]);
  }, needsSockets);
}

test("SIGINT and SIGTERM end an idle server", async (launcher) => {
  await allOf((["SIGINT", "SIGTERM"] as const).map(async (signal) => {
    await using server = await startServer(launcher);
    const sockets = await watchPorts([server.producerPort, server.consumerPort]);
    assertEquals(await server.stop(signal), 0);
    assertEquals(server.stdout.text, "exit\n");
    assertEquals(server.stderr.lines.length, 1);
    assertEquals(await sockets(), []);
  }));
}, needsSockets);

test("a server without a terminal, as under nohup, serves on after SIGHUP", async (launcher) => {
  await using server = await startServer(launcher);
  await using producer = await server.producer();
  server.kill("SIGHUP");
  assertEquals(await producer.ask("SYNC"), "OK 0");
  producer.close();
  assertEquals(await server.stop(), 0);
  assertEquals(server.stdout.text, "exit\n");
});

test("a server waits a second at most for peers that ignore its end", async (launcher) => {
  await using server = await startServer(launcher);
  await using consumer = await RawPeer.connect(server.consumerPort);
  await using producer = await server.producer();
  assertEquals(await consumer.received.next(), "Consumer1");
  assertEquals(await producer.ask("SYNC"), "OK 0");
  assertEquals(await server.stop(), 0);
  assertEquals(await consumer.toEnd(), "Consumer1\nDONE\n");
  assertEquals(server.stdout.texts.at(-1), "exit");
});

async function endConsumerThenServer(
  launcher: Launcher,
  state: State,
  signal: Deno.Signal,
): Promise<void> {
  await using server = await startServer(launcher);
  const ports = [server.producerPort, server.consumerPort] as [number, number];
  const sockets = await watchPorts(ports);
  await using consumer = startConsumer(launcher, server.consumerPort);
  await using stack = new AsyncDisposableStack();
  await state.reach(launcher, server, consumer, stack);

  assertEquals(await consumer.stop(signal), 0);
  assertEndsWithExitOnce(consumer);
  assertEquals(consumer.stderr.text, "");
  await server.stdout.line(/^\[Consumer 1 disconnected\]$/);
  await server.stdout.line(/^\[0 consumers online\]$/);
  const connected = async () =>
    (await sockets()).filter((socket) =>
      socket.state !== "LISTEN" &&
      [socket.localPort, socket.remotePort].includes(server.consumerPort)
    );
  // The server says that the consumer has gone just before it closes its own end.
  const closing = async () => {
    while ((await connected()).some(({ state }) => state !== "TIME_WAIT")) await pause(20);
  };
  await within(closing(), "the server to close a connection that its consumer has closed");
  // The consumer closed first: what remains is its end, in TIME_WAIT; or nothing, where the
  // server's answer met its close, which resets the connection.
  for (const { state, remotePort } of await connected()) {
    assertEquals([state, remotePort], ["TIME_WAIT", server.consumerPort]);
  }

  assertEquals(await server.stop(signal), 0);
  assertEndsWithExitOnce(server);
  await stack.disposeAsync();
  const left = await sockets();
  assertEquals(left.filter((socket) => socket.state !== "TIME_WAIT"), []);
  assertEquals(left.filter((socket) => socket.localPort === server.consumerPort), []);

  await using again = await startServer(launcher, { ports });
  assertEquals([again.producerPort, again.consumerPort], ports);
}

test("SIGINT ends a consumer that waits for a greeting, and one that waits for an answer", async (launcher) => {
  await using server = new RawServer();
  for (const greeting of [undefined, "Consumer7\n"]) {
    await using consumer = startConsumer(launcher, server.port);
    const peer = await server.accept();
    if (greeting !== undefined) {
      await peer.send(greeting);
      assertEquals(await peer.received.next(), "REQUEST");
      await consumer.stdout.line(/^\[REQUEST\]$/);
    }
    // Its handler of signals stands before it connects.
    assertEquals(await consumer.stop(), 0);
    const expected = greeting === undefined ? "exit\n" : "Consumer7 connected\n[REQUEST]\nexit\n";
    assertEquals(consumer.stdout.text, expected);
    assertEquals(consumer.stderr.text, "");
  }
});

test("a server that ends says DONE: an idle consumer ends", async (launcher) => {
  await using server = await startServer(launcher);
  const sockets = await watchPorts([server.producerPort, server.consumerPort]);
  await using consumer = startConsumer(launcher, server.consumerPort);
  await consumer.stdout.line(/^NOTASK$/);
  assertEquals(await server.stop(), 0);
  assertEquals(await consumer.exitCode(), 0);
  assertEndsWithExitOnce(consumer);
  assertEquals(consumer.stderr.text, "");
  assertEquals(server.stdout.texts.slice(-3), [
    "[Consumer 1 disconnected]",
    "[0 consumers online]",
    "exit",
  ]);
  // The consumer closed first, so that the server's port keeps nothing.
  const left = await sockets();
  assertEquals(left.filter((socket) => socket.localPort === server.consumerPort), []);
  assertEquals(left.filter((socket) => socket.state !== "TIME_WAIT"), []);
}, needsSockets);

test("a server that ends says DONE: a working consumer closes, completes its task and ends", async (launcher) => {
  await using server = await startServer(launcher);
  await using consumer = startConsumer(launcher, server.consumerPort);
  await using producer = await server.producer();
  // The work cannot begin sooner; when it does, a busy test may be late to see.
  const sentMs = performance.now();
  await producer.send("CREATE 1 work 4\n");
  await server.stdout.line(/^\[ASSIGN\] work - consumer1$/);
  assertEquals(await server.stop(), 0);
  assertEquals(server.stdout.texts.slice(-3), [
    "[Consumer 1 disconnected]",
    "[0 consumers online]",
    "exit",
  ]);
  // The server did not wait for the work, only for the close.
  assertEquals(consumer.stdout.count(/^\[COMPLETE\]/), 0);
  assertEquals(await consumer.exitCode(), 0);
  assertEquals(consumer.stdout.texts.slice(-2), ["[COMPLETE] work", "exit"]);
  const { atMs } = await consumer.stdout.line(/^\[COMPLETE\] work$/);
  assertLess(3999, atMs - sentMs);
  assertEquals(consumer.stderr.text, "the connection has ended: finishing work first\n");
});

test("two signals at one moment end a server as one does", async (launcher) => {
  await using server = await startServer(launcher);
  // It is waited for, for a second: it does not close after DONE.
  await using peer = await server.consumer(1);
  // Stopped, the server finds both when it goes on: together, on however busy a machine.
  server.kill("SIGSTOP");
  server.kill("SIGINT");
  server.kill("SIGTERM");
  server.kill("SIGCONT");
  assertEquals(await server.exitCode(), 0);
  assertEquals(await peer.toEnd(), "Consumer1\nDONE\n");
  assertEndsWithExitOnce(server);
});

test("a server whose terminal closes ends in order", async (launcher) => {
  const command = launcher.command("server", ["127.0.0.1", "0", "0"]);
  await using terminal = inTerminal(script as string, command);
  const { text } = await terminal.stdout.line(/^listening: /);
  await using consumer = await RawPeer.connect(listeningPorts(text)[1]);
  assertEquals(await consumer.received.next(), "Consumer1");
  terminal.kill("SIGKILL");
  assertEquals(await consumer.received.next(), "DONE");
  consumer.close();
}, needsScript);

test("a server starts again on its ports right after kill -9 with 50 live connections", async (launcher) => {
  await using stack = new AsyncDisposableStack();
  const server = stack.use(await startServer(launcher));
  const ports = [server.producerPort, server.consumerPort] as [number, number];
  for (let i = 0; i < 50; i++) {
    stack.use(await RawPeer.connect(ports[i % 2] as number));
  }
  await server.stdout.line(/^\[25 consumers online\]$/);
  await server.stop("SIGKILL");
  await using again = await startServer(launcher, { ports });
  await using _consumer = await again.consumer(1);
});

test("a producer that is interrupted says how far it came", async (launcher) => {
  await using folder = new ScratchFolder();
  const file = await folder.write("tasks.txt", "0 1 a 1\n0 1 b 1\n1000 1 c 1\n2000 1 d 1\n");
  await using server = await startServer(launcher);
  await using producer = startProducer(launcher, server.producerPort, file);
  await producer.stdout.line(/^\[CREATE\] 1 b 1$/);
  assertEquals(await producer.stop(), 130);
  assertEquals(producer.stdout.text, "[CREATE] 1 a 1\n[CREATE] 1 b 1\nexit\n");
  assertEquals(
    producer.stderr.text,
    "interrupted: 2 tasks were sent, the first left out is c\n",
  );
});

test("in a terminal ^C is followed by exit on its own line", async (launcher) => {
  await using server = await startServer(launcher);
  const args = ["127.0.0.1", server.consumerPort];
  await using consumer = inTerminal(
    script as string,
    launcher.command("consumer", args.map(String)),
  );
  await consumer.stdout.line(/^NOTASK\r$/);
  await consumer.type("\x03");
  assertEquals(await consumer.exitCode(), 0);
  assertMatch(consumer.stdout.text, /^Consumer1 connected\r\n\[REQUEST\]\r\nNOTASK\r\n/);
  assertEquals(consumer.stdout.texts.slice(-2), ["^C\r", "exit\r"]);
  assertEquals(consumer.stdout.count(/exit/), 1);

  await using other = inTerminal(
    script as string,
    launcher.command("server", ["127.0.0.1", "0", "0"]),
  );
  await other.stdout.line(/^listening: /);
  await other.type("\x03");
  assertEquals(await other.exitCode(), 0);
  assertEquals(other.stdout.texts.slice(1), ["^C\r", "exit\r"]);
}, needsScript);

function assertEndsWithExitOnce(program: Program): void {
  assertEquals(program.stdout.texts.at(-1), "exit");
  assertEquals(program.stdout.count(/^exit$/), 1);
  assertEquals(program.stdout.text.endsWith("\nexit\n"), true);
}
