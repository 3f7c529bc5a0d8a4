/**
 * Peers in Python that know nothing but the assignment's incomplete scripts (tests/end_to_end/naive/).
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { noPython, python } from "../lab/naive_peers.ts";
import {
  type Program,
  ScratchFolder,
  startConsumer,
  startProducer,
  startServer,
} from "../lab/processes.ts";
import { test } from "./register.ts";

const needsPython = { ignored: noPython };

test(
  "ten peers in Python and three of ours share a server, each task done once",
  async (launcher) => {
    await using folder = new ScratchFolder();
    await using server = await startServer(launcher);
    await using stack = new AsyncDisposableStack();
    const consumers = ["complete", "complete", "complete", "anna", "ben", "cleo"].map((name) =>
      stack.use(python("consumer.py", [server.consumerPort, name]))
    );
    consumers.push(stack.use(startConsumer(launcher, server.consumerPort)));
    consumers.push(stack.use(startConsumer(launcher, server.consumerPort)));
    for (const consumer of consumers) await consumer.stdout.line(/^NOTASK$/);

    const tasks: string[] = [];
    const producers: Program[] = [];
    for (let producer = 0; producer < 5; producer++) {
      const ids = Array.from({ length: 20 }, (_, task) => `p${producer}t${task}`);
      const lines = ids.map((id, task) => `0.${task % 4} ${task % 3 + 1} ${id} 0.0${task % 5}`);
      const file = await folder.write(`${producer}.txt`, lines.sort().join("\n") + "\n");
      producers.push(stack.use(
        producer < 4
          ? python("producer.py", [server.producerPort, file])
          : startProducer(launcher, server.producerPort, file),
      ));
      tasks.push(...ids);
    }
    for (const producer of producers) {
      assertEquals(await producer.exitCode(), 0, producer.stderr.text);
      assertEquals(producer.stdout.count(/^\[CREATE\]/), 20);
    }
    await server.stdout.line(/^\[ASSIGN\]/, { nth: tasks.length });
    // Whoever asks again after the last task has completed all of its own.
    const soFar = consumers.map((consumer) => consumer.stdout.count(/^NOTASK$/));
    for (const [index, consumer] of consumers.entries()) {
      await consumer.stdout.line(/^NOTASK$/, { nth: soFar[index] as number + 2 });
    }
    for (const consumer of consumers) assertEquals(await consumer.stop(), 0);

    const completed = consumers.flatMap((consumer) =>
      consumer.stdout.texts.filter((line) => line.startsWith("[COMPLETE]"))
    );
    assertEquals(completed.toSorted(), tasks.map((task) => `[COMPLETE] ${task}`).toSorted());
    assertEquals(server.stderr.lines.length, 1, server.stderr.text);
    assertEquals(await server.stop(), 0);
  },
  needsPython,
);

test("a producer feeds a server in Python with nothing but CREATE lines", async (launcher) => {
  await using folder = new ScratchFolder();
  const file = await folder.write("tasks.txt", "0 3 a 1.0\n0.2 1 b 2\n\n0 2 작업 007.5\n");
  await using server = python("server.py", ["lf", "lf"]);
  const [producerPort] = await listeningPorts(server);
  await using producer = startProducer(launcher, producerPort, file);
  assertEquals(await producer.exitCode(), 0, producer.stderr.text);
  assertEquals(
    producer.stdout.text,
    "[CREATE] 3 a 1.0\n[CREATE] 2 작업 007.5\n[CREATE] 1 b 2\nexit\n",
  );
  assertEquals(producer.stderr.text, "");
  await server.stdout.line(/^producers b''$/);
  assertEquals(
    server.stdout.texts.slice(1).map(pythonBytes).join(""),
    "CREATE 3 a 1.0\nCREATE 2 작업 007.5\nCREATE 1 b 2\n",
  );
}, needsPython);

for (const answers of ["lf", "nothing"]) {
  for (const greeting of ["lf", "nothing"]) {
    test(
      `a consumer works for a server in Python that ends its greeting with ${greeting}, its answers with ${answers}`,
      async (launcher) => {
        await using folder = new ScratchFolder();
        const file = await folder.write("tasks.txt", "0 3 low 0.1\n0 1 high 0.1\n");
        await using server = python("server.py", [greeting, answers]);
        const [producerPort, consumerPort] = await listeningPorts(server);
        await using producer = python("producer.py", [producerPort, file]);
        assertEquals(await producer.exitCode(), 0);
        await server.stdout.line(/^producers b''$/);

        await using consumer = startConsumer(launcher, consumerPort);
        await consumer.stdout.line(/^NOTASK$/);
        await consumer.stdout.line(/^\[REQUEST\]$/, { nth: 4 });
        assertEquals(await consumer.stop(), 0);
        const [answered, last] = [consumer.stdout.texts.slice(0, 8), consumer.stdout.texts.at(-1)];
        assertEquals(answered, [
          "Consumer1 connected",
          "[REQUEST]",
          "[COMPLETE] high",
          "[REQUEST]",
          "[COMPLETE] low",
          "[REQUEST]",
          "NOTASK",
          "[REQUEST]",
        ]);
        assertEquals(last, "exit");
        assertEquals(consumer.stderr.text, "");

        await server.stdout.line(/^consumers b''$/);
        const commands = server.stdout.texts.filter((line) => line.startsWith("consumers"));
        // A recv was one command each time, to the last byte.
        assertEquals(new Set(commands), new Set(["consumers b'REQUEST\\n'", "consumers b''"]));
        assertEquals(commands.length - 1, consumer.stdout.count(/^\[REQUEST\]$/));
      },
      needsPython,
    );
  }
}

async function listeningPorts(server: Program): Promise<[number, number]> {
  const { text } = await server.stdout.line(/^listening \d+ \d+$/);
  return text.split(" ").slice(1).map(Number) as [number, number];
}

/** The bytes in a line such as `producers b'CREATE 1 a 2\n'`, as text. */
function pythonBytes(line: string): string {
  const literal = line.replace(/^\w+ b(['"])(.*)\1$/, "$2");
  const bytes = literal.replace(/\\n/g, "\n").replace(
    /\\x([0-9a-f]{2})/g,
    (_, code) => String.fromCharCode(parseInt(code, 16)),
  );
  return new TextDecoder().decode(Uint8Array.from(bytes, (char) => char.charCodeAt(0)));
}
