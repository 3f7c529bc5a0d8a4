import { assertEquals } from "@std/assert";
import { sleep } from "../../lib/clock.ts";
import { Connection, ConnectionGroup } from "../../lib/net/connection.ts";
import type { Line } from "../../lib/line.ts";
import { maxLineBytes, ProtocolError, protocolWords } from "../../lib/core/protocol.ts";
import { parseGreeting, parseLenientReply, readMessages } from "../../lib/consumer/reply_reader.ts";
import { resettableConn, socketPair } from "../lab/socket_pair.ts";
import { writeAll } from "../lab/peers.ts";

const greetings: readonly (readonly [text: string, number: number | undefined])[] = [
  ["Consumer1", 1],
  ["Consumer 12", 12],
  ["consumer3", 3],
  ["Consumer4 connected", 4],
  [" Consumer5\t", 5],
  ["6", 6],
  ["Consumer", undefined],
  ["Consumer-1", undefined],
  ["Consumer1 connected twice", undefined],
  ["ConsumerX", undefined],
  ["", undefined],
  ["NOTASK", undefined],
  ["1.0", undefined],
];

for (const [text, number] of greetings) {
  Deno.test({
    name: `parseGreeting() finds ${number} in ${JSON.stringify(text)}`,
    permissions: "none",
    fn: () => assertEquals(parseGreeting(text), number),
  });
}

const lenient: readonly (readonly [line: string, task: string | undefined])[] = [
  ["ASSIGN a 1", "a 1"],
  ["TASK a 1", "a 1"],
  ["a 1", "a 1"],
  ["작업\t3.0", "작업 3.0"],
  ["ASSIGN 2 a 1", "a 1"],
  ["ASSIGN 2 3", "2 3"],
  ["7 3", "7 3"],
  ["ASSIGN 4 a 1", undefined],
  ["ASSIGN a 1 2", undefined],
  ["TASK 2 a 1", undefined],
  ["task a 1", undefined],
  ["a -1", undefined],
  ["a", undefined],
  // Two fields that say something else.
  ["ERROR 5", undefined],
  ["error 404", undefined],
  ["Error: 404", undefined],
  ["TASK 3", undefined],
  ...protocolWords.map((word) => [`${word} 3`, undefined] as const),
  ["Consumer 2", undefined],
  ["Consumer2 3", undefined],
  ["task2 3", "task2 3"],
  ["task작업 3", "task작업 3"],
];

for (const [line, task] of lenient) {
  const what = task === undefined ? "no task" : `the task ${task}`;
  Deno.test({
    name: `parseLenientReply() finds ${what} in ${JSON.stringify(line)}`,
    permissions: "none",
    fn() {
      let found: string | undefined;
      try {
        const reply = parseLenientReply(line);
        if (reply.kind === "assign") found = `${reply.taskId} ${reply.duration}`;
      } catch (error) {
        if (!(error instanceof ProtocolError)) throw error;
      }
      assertEquals(found, task);
    },
  });
}

/**
 * Plays a server that waits for messages before it sends on.
 *
 * @param script what the server sends; a number is how many more messages it waits for first.
 */
async function messagesOf(script: readonly (string | number)[]): Promise<Line[]> {
  using pair = await socketPair();
  const messages = readMessages(new Connection(pair.near, new ConnectionGroup({ maxLineBytes })));
  const got: Line[] = [];
  const take = async (): Promise<boolean> => {
    const { done, value } = await messages.next();
    if (!done) got.push(value);
    return !done;
  };
  for (const step of script) {
    if (typeof step === "string") await writeAll(pair.far, step);
    else for (let i = 0; i < step; i++) await take();
  }
  await pair.far.closeWrite();
  while (await take());
  return got;
}

const scripts: readonly {
  readonly what: string;
  readonly script: readonly (string | number)[];
  readonly messages: readonly Line[];
}[] = [
  {
    what: "the lines of a server that ends them",
    script: ["Consumer1\n", 1, "ASSIGN task1 3.0\r\n", 1, "NOTASK\nDONE\n"],
    messages: ["Consumer1", "ASSIGN task1 3.0", "NOTASK", "DONE"],
  },
  {
    what: "greeting and replies without LF, each when nothing follows",
    script: ["Consumer1", 1, "NOTASK", 1, "ASSIGN task1 3.0", 1, "DONE", 1],
    messages: ["Consumer1", "NOTASK", "ASSIGN task1 3.0", "DONE"],
  },
  {
    what: "a greeting without LF, then lines",
    script: ["Consumer1", 1, "NOTASK\n", 1, "ASSIGN task1 3.0\n", 1],
    messages: ["Consumer1", "NOTASK", "ASSIGN task1 3.0"],
  },
  {
    what: "a greeting whose LF comes late once",
    script: ["Consumer1", 1, "\n", "NOTASK\n", 1],
    messages: ["Consumer1", "NOTASK"],
  },
  {
    what: "a greeting whose second half comes late once",
    script: ["Consumer1", 1, " connected\n", "NOTASK\n", 1],
    messages: ["Consumer1", "NOTASK"],
  },
  {
    what: "replies without LF after a greeting with one",
    script: ["Consumer1\n", 1, "NOTASK", 1, "ASSIGN task1 3.0", 1],
    messages: ["Consumer1", "NOTASK", "ASSIGN task1 3.0"],
  },
  {
    what: "replies whose LF comes late",
    script: ["Consumer1", 1, "\n", "NOTASK", 1, "\n", "ASSIGN task1 3.0", 1, "\r\n", "DONE\n"],
    messages: ["Consumer1", "NOTASK", "ASSIGN task1 3.0", "DONE"],
  },
  {
    what: "a last whole message before the end, also of a server that ended the others",
    script: ["Consumer1\n", 1, "NOTASK\n", 1, "DONE"],
    messages: ["Consumer1", "NOTASK", "DONE"],
  },
  {
    what: "a last ASSIGN before the end",
    script: ["Consumer1\nASSIGN task1 3.0"],
    messages: ["Consumer1", "ASSIGN task1 3.0"],
  },
  {
    what: "no last text before the end that is no whole message",
    script: ["Consumer1\nNOTASK\nASSIGN task1"],
    messages: ["Consumer1", "NOTASK"],
  },
  {
    what: "tasks in other words, once they are ended",
    script: ["Consumer1\n", 1, "TASK a 1\n", 1, "b 2.5"],
    messages: ["Consumer1", "TASK a 1"],
  },
  {
    what: "a reply without LF only when it is whole",
    script: ["Consumer1", 1, "ASSIGN task1", " 3.0", 1],
    messages: ["Consumer1", "ASSIGN task1 3.0"],
  },
  {
    what: "a reply in two pieces as one",
    script: ["Consumer1\n", 1, "ASSIGN task1 3", ".0\n", 1],
    messages: ["Consumer1", "ASSIGN task1 3.0"],
  },
  {
    what: "wrong replies as they are, once a line has come",
    script: ["Consumer1\nHello\n\nNOTASK\n"],
    messages: ["Consumer1", "Hello", "", "NOTASK"],
  },
  {
    what: "no greeting that no form knows, without LF",
    script: ["Welcome"],
    messages: [],
  },
  {
    what: "an ERROR without LF in place of the greeting",
    script: ["ERROR too many connections", 1],
    messages: ["ERROR too many connections"],
  },
  {
    what: "nothing of a server that closes at once",
    script: [],
    messages: [],
  },
];

for (const { what, script, messages } of scripts) {
  Deno.test(`readMessages() yields ${what}`, async () => {
    assertEquals(await messagesOf(script), messages);
  });
}

Deno.test("readMessages() waits for the LF of a server that has once ended a reply", async () => {
  using pair = await socketPair();
  const messages = readMessages(new Connection(pair.near, new ConnectionGroup({ maxLineBytes })));
  await writeAll(pair.far, "Consumer1\nNOTASK\n");
  assertEquals((await messages.next()).value, "Consumer1");
  assertEquals((await messages.next()).value, "NOTASK");
  const next = messages.next();
  await writeAll(pair.far, "ASSIGN task1 3");
  // Twice as long as it takes a whole message without LF to be taken.
  const timeUp = new AbortController();
  const taken = await Promise.race([next, sleep(600, timeUp.signal)]);
  timeUp.abort();
  assertEquals(taken, true);
  await writeAll(pair.far, ".5\n");
  assertEquals((await next).value, "ASSIGN task1 3.5");
  await pair.far.closeWrite();
  assertEquals((await messages.next()).done, true);
});

Deno.test("readMessages() takes no last text of a connection that breaks off", async () => {
  using pair = await socketPair();
  const messages = readMessages(new Connection(pair.near, new ConnectionGroup({ maxLineBytes })));
  await writeAll(pair.far, "Consumer1\nNOTASK\nASSIGN task1 3");
  assertEquals((await messages.next()).value, "Consumer1");
  assertEquals((await messages.next()).value, "NOTASK");
  const next = messages.next();
  pair.near.close();
  assertEquals((await next).done, true);
});

Deno.test("readMessages() ends quietly at a reset", async () => {
  using peer = await resettableConn();
  const messages = readMessages(new Connection(peer.near, new ConnectionGroup({ maxLineBytes })));
  const next = messages.next();
  await peer.reset();
  assertEquals((await next).done, true);
});
