import { assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  type ConsumerEvent,
  formatConsumerEvent,
  formatServerEvent,
  formatWorkerEvent,
  parseConsumerEvent,
  parseServerEvent,
  parseWorkerEvent,
  type ServerEvent,
  type TaskEventKind,
  type UncompletedKind,
  type WorkerEvent,
} from "../../lib/core/events.ts";
import type { Priority } from "../../lib/core/task.ts";
import { escape } from "../../lib/quote.ts";

const options = { permissions: "none" } as const;

const serverLines: readonly (readonly [line: string, event: ServerEvent])[] = [
  ["[Consumer1 connected]", { kind: "connected", consumer: 1 }],
  ["[Consumer 1 disconnected]", { kind: "disconnected", consumer: 1 }],
  ["[0 consumers online]", { kind: "online", consumers: 0 }],
  ["[CREATE] 3 task1 3.0", {
    kind: "created",
    task: { priority: 3, taskId: "task1", duration: "3.0" },
  }],
  ["[ASSIGN] task1 - consumer1", { kind: "assigned", taskId: "task1", consumer: 1 }],
  ["[COMPLETE] task1 - consumer1", { kind: "completed", taskId: "task1", consumer: 1 }],
  ["[REQUEUE] task1 - consumer1", { kind: "requeued", taskId: "task1", consumer: 1 }],
  ["[BURY] task1 - consumer1", { kind: "buried", taskId: "task1", consumer: 1 }],
];

const consumerLines: readonly (readonly [line: string, event: ConsumerEvent])[] = [
  ["Consumer1 connected", { kind: "greeted", consumer: 1 }],
  ["Consumer1 connected (alice)", { kind: "greeted", consumer: 1, workerName: "alice" }],
  ["[REQUEST]", { kind: "asked" }],
  ["[COMPLETE] task1", { kind: "worked", taskId: "task1" }],
  ["NOTASK", { kind: "no task" }],
];

const workerLines: readonly (readonly [line: string, event: WorkerEvent])[] = [
  ["[COMPLETE] task1", { kind: "completed", taskId: "task1" }],
  ["[FAIL] task1: exit 3", { kind: "failed", taskId: "task1", why: "exit 3" }],
  ["[BURY] task1: exit 65", { kind: "buried", taskId: "task1", why: "exit 65" }],
  ["[RELEASE] a:b: exit 75", { kind: "released", taskId: "a:b", why: "exit 75" }],
  ["[LOST] task1: gone: away", { kind: "lost", taskId: "task1", why: "gone: away" }],
];

for (const [line, event] of workerLines) {
  Deno.test(`formatWorkerEvent() writes ${line}`, options, () => {
    assertEquals(formatWorkerEvent(event), line);
    assertEquals(parseWorkerEvent(line), event);
  });
}

for (const [line, event] of serverLines) {
  Deno.test(`formatServerEvent() writes ${line}`, options, () => {
    assertEquals(formatServerEvent(event), line);
  });
}

for (const [line, event] of consumerLines) {
  Deno.test(`formatConsumerEvent() writes ${line}`, options, () => {
    assertEquals(formatConsumerEvent(event), line);
  });
}

const numbers = fc.nat();
const taskIds = fc.string({ unit: "grapheme", minLength: 1, maxLength: 20 })
  .filter((text) => !/[ \t\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(text));

Deno.test(
  "parseServerEvent() reads back every event that formatServerEvent() writes",
  options,
  () => {
    const events: fc.Arbitrary<ServerEvent> = fc.oneof(
      fc.record({
        kind: fc.constantFrom("connected" as const, "disconnected" as const),
        consumer: numbers,
      }),
      fc.record({ kind: fc.constant("online" as const), consumers: numbers }),
      fc.record({
        kind: fc.constant("created" as const),
        task: fc.record({
          priority: fc.constantFrom<Priority>(1, 2, 3),
          taskId: taskIds,
          duration: fc.constantFrom("0", "3.0", "007.5"),
        }),
      }),
      fc.record({
        kind: fc.constantFrom<TaskEventKind>("assigned", "completed", "requeued", "buried"),
        taskId: taskIds,
        consumer: numbers,
      }),
    );
    fc.assert(fc.property(events, (event) => {
      assertEquals(parseServerEvent(formatServerEvent(event)), event);
    }));
  },
);

Deno.test(
  "parseConsumerEvent() reads back every event that formatConsumerEvent() writes",
  options,
  () => {
    const names = fc.string({ unit: "grapheme", minLength: 1 }).map(escape);
    const events: fc.Arbitrary<ConsumerEvent> = fc.oneof(
      fc.record({ kind: fc.constant("greeted" as const), consumer: numbers }),
      fc.record({ kind: fc.constant("greeted" as const), consumer: numbers, workerName: names }),
      fc.constantFrom({ kind: "asked" } as const, { kind: "no task" } as const),
      fc.record({ kind: fc.constant("worked" as const), taskId: taskIds }),
    );
    fc.assert(fc.property(events, (event) => {
      assertEquals(parseConsumerEvent(formatConsumerEvent(event)), event);
    }));
  },
);

Deno.test(
  "parseWorkerEvent() reads back every event that formatWorkerEvent() writes",
  options,
  () => {
    const events: fc.Arbitrary<WorkerEvent> = fc.oneof(
      fc.record({ kind: fc.constant("completed" as const), taskId: taskIds }),
      fc.record({
        kind: fc.constantFrom<UncompletedKind>("failed", "buried", "released", "lost"),
        taskId: taskIds,
        why: fc.string({ unit: "grapheme" }).map(escape),
      }),
    );
    fc.assert(fc.property(events, (event) => {
      assertEquals(parseWorkerEvent(formatWorkerEvent(event)), event);
    }));
  },
);

for (const line of ["", "exit", "[Consumer 1 connected]", "[ASSIGN] a", "[LOSE] a - consumer1"]) {
  Deno.test(`parseServerEvent() takes ${JSON.stringify(line)} for none`, options, () => {
    assertEquals(parseServerEvent(line), undefined);
  });
}

/** The lines that docs/console.md promises, by program, as they stand there. */
const promised = Map.groupBy(
  (await Deno.readTextFile(new URL("../../docs/console.md", import.meta.url)))
    .matchAll(/^\| (server|producer|consumer|worker|each) +\| `(.+?)` +\|/gm)
    .map(([, program, form]) => ({ program: program as string, form: form as string })),
  ({ program }) => program,
);

/** A value for each word that docs/console.md has in angle brackets. */
const values: Readonly<Record<string, string>> = {
  n: "7",
  priority: "2",
  name: "작업",
  duration: "3.0",
  worker: "alice",
  why: "exit 3",
};

function linesOf(program: string): string[] {
  return (promised.get(program) ?? []).map(({ form }) =>
    form.replaceAll(/<(\w+)>/g, (_, word) => values[word] ?? `<${word}> is not known`)
  );
}

/** What the codec makes of the lines: each kind of event that it reads, by its line. */
function readBack<T extends { readonly kind: string }>(
  lines: readonly string[],
  { parse, format }: {
    readonly parse: (line: string) => T | undefined;
    readonly format: (event: T) => string;
  },
): T["kind"][] {
  return lines.map((line) => {
    const event = parse(line);
    assertEquals(event === undefined ? "no line of this program" : format(event), line);
    return (event as T).kind;
  });
}

const server = { parse: parseServerEvent, format: formatServerEvent };
const consumer = { parse: parseConsumerEvent, format: formatConsumerEvent };
const worker = { parse: parseWorkerEvent, format: formatWorkerEvent };

/** Every kind of event. Their types demand each of them. */
const serverKinds: Readonly<Record<ServerEvent["kind"], true>> = {
  connected: true,
  disconnected: true,
  online: true,
  created: true,
  assigned: true,
  completed: true,
  requeued: true,
  failed: true,
  ready: true,
  buried: true,
};
const consumerKinds: Readonly<Record<ConsumerEvent["kind"], true>> = {
  "greeted": true,
  "asked": true,
  "no task": true,
  "worked": true,
};

const workerKinds: Readonly<Record<WorkerEvent["kind"], true>> = {
  completed: true,
  failed: true,
  buried: true,
  released: true,
  lost: true,
};

Deno.test("docs/console.md has each line of the worker about a task, and no other", options, () => {
  const kinds = readBack(linesOf("worker"), worker);
  assertEquals(kinds.toSorted(), Object.keys(workerKinds).toSorted());
});

Deno.test("docs/console.md has each line of the server, and no other", options, () => {
  const kinds = readBack(linesOf("server"), server);
  assertEquals(kinds.toSorted(), Object.keys(serverKinds).toSorted());
});

Deno.test("docs/console.md has each line of the consumer, and no other", options, () => {
  const kinds = readBack(linesOf("consumer"), consumer);
  assertEquals([...new Set(kinds)].toSorted(), Object.keys(consumerKinds).toSorted());
});

Deno.test("docs/console.md has the producer's line, and the last line of each", options, () => {
  assertEquals(readBack(linesOf("producer"), server), ["created"]);
  assertEquals(linesOf("each"), ["exit"]);
});
