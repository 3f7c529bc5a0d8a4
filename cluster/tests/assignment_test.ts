/**
 * The assignment's run at two fronts: the same lines as at one server.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { allOf, pause } from "../../tests/lab/deadline.ts";
import { noPython, python } from "../../tests/lab/naive_peers.ts";
import { denoRun, type ServerProgram, startServer } from "../../tests/lab/processes.ts";
import { frontOf, testWithNodes } from "./nodes.ts";

const taskFile = new URL("../../examples/tasks.txt", import.meta.url).pathname;

/** What all programs printed. */
interface Printed {
  readonly producer: readonly string[];
  /** What the consumer said and did, but for polls that found no task: how many is chance. */
  readonly consumer: readonly string[];
  /** The lines about tasks that were created. */
  readonly creates: readonly string[];
  /** All other lines. */
  readonly others: readonly string[];
}

/** Runs the assignment's tasks with a producer at one server and a consumer at another. */
async function run(
  { producersAt, consumersAt }: {
    readonly producersAt: ServerProgram;
    readonly consumersAt: ServerProgram;
  },
): Promise<Printed> {
  await using consumer = python("consumer.py", [consumersAt.consumerPort, "anna"]);
  await consumer.stdout.line(/^NOTASK$/);
  // Tasks come in the middle between two polls, not beside one.
  await pause(400);
  await using producer = python("producer.py", [producersAt.producerPort, taskFile]);
  assertEquals(await producer.exitCode(), 0, producer.stderr.text);
  await consumer.stdout.line(/^\[COMPLETE\] task4$/, { ms: 60_000 });
  assertEquals(await consumer.stop(), 0);
  await consumersAt.stdout.line(/^\[0 consumers online\]$/);
  const servers = [...new Set([producersAt, consumersAt])];
  for (const server of servers) assertEquals(await server.stop(), 0);
  const isCreate = (line: string) => line.startsWith("[CREATE]");
  const lines = servers.flatMap((server) => server.stdout.texts);
  return {
    producer: producer.stdout.texts,
    consumer: consumer.stdout.texts.filter((line) => !/^(?:NOTASK|\[REQUEST\])$/.test(line)),
    creates: lines.filter(isCreate),
    others: consumersAt.stdout.texts.filter((line) => !isCreate(line)),
  };
}

testWithNodes(
  "Naive peers in Python do the assignment's tasks at two fronts with the lines of one server",
  async (place) => {
    await using server = await startServer(denoRun);
    await using one = await frontOf(place);
    await using other = await frontOf(place);
    const [expected, printed] = await allOf([
      run({ producersAt: server, consumersAt: server }),
      run({ producersAt: one, consumersAt: other }),
    ]) as [Printed, Printed];
    assertEquals(printed, expected);
    assert(printed.creates.length === 8 && printed.others.length > 8);
    assertEquals(one.stdout.texts.filter((line) => !line.startsWith("[CREATE]")), ["exit"]);
  },
  noPython === undefined ? { count: 3 } : { count: 3, ignored: noPython },
);
