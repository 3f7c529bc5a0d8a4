import { assert, assertEquals, assertLess } from "@std/assert";
import { checkHistory, type ClientHistory, type Entry, type Fault } from "../lab/judges/history.ts";
import { Random } from "../lab/random.ts";

const options = { permissions: "none" } as const;

/** Writes a history down: for each client, what it sent and got, each with its time before it. */
function historyOf(clients: Record<string, string>): ClientHistory[] {
  return Object.entries(clients).map(([client, text]) => {
    const items = text.split(",").map((item) => item.trim()).filter((item) => item !== "");
    const isBroken = items.at(-1) === "broken";
    return { client, entries: items.slice(0, isBroken ? -1 : undefined).map(readEntry), isBroken };
  });
}

function readEntry(text: string): Entry {
  const [time, verb, first = "", second = ""] = text.split(" ");
  const at = Number(time);
  switch (verb) {
    case "CREATE":
    case "SCHEDULE":
      return { at, sent: verb, priority: Number(first), task: second };
    case "COMPLETE":
    case "RELEASE":
    case "FAIL":
    case "BURY":
    case "TOUCH":
    case "KICK":
      return { at, sent: verb, task: first };
    case "REQUEST":
    case "RESERVE":
      return { at, sent: verb };
    case "ASSIGN":
    case "CONFIRMED":
      return { at, got: verb, task: first };
    case "NOTASK":
      return { at, got: verb };
  }
  throw new RangeError(`no entry: ${text}`);
}

function faultsIn(clients: Record<string, string>, isDrained = false): Fault["invariant"][] {
  return checkHistory({ clients: historyOf(clients), isDrained }).map(({ invariant }) => invariant);
}

const bad: [string, Fault["invariant"], Record<string, string>, boolean?][] = [
  ["a task that nobody created", "handed out, not created", {
    p: "1 CREATE 1 a",
    c: "2 REQUEST, 3 ASSIGN b",
  }],
  ["a task handed out before it was sent", "handed out, not created", {
    p: "4 CREATE 1 a",
    c: "2 REQUEST, 3 ASSIGN a",
  }],
  ["a task given to two requests", "handed out twice", {
    p: "1 CREATE 1 a",
    c: "2 REQUEST, 5 ASSIGN a",
    d: "3 REQUEST, 4 ASSIGN a",
  }],
  ["a task reserved after a request got it", "handed out twice", {
    p: "1 CREATE 1 a",
    c: "2 REQUEST, 3 ASSIGN a",
    d: "4 RESERVE, 5 ASSIGN a",
  }],
  ["a task reserved again after its completion was confirmed", "handed out after its completion", {
    p: "1 CREATE 1 a",
    c: "2 RESERVE, 3 ASSIGN a, 4 COMPLETE a, 5 CONFIRMED a",
    d: "7 RESERVE, 8 ASSIGN a",
  }],
  ["a task handed out after its burial, and before a kick", "handed out after its burial", {
    p: "1 CREATE 1 a",
    k: "9 KICK a",
    c: "2 RESERVE, 3 ASSIGN a, 4 BURY a, 5 CONFIRMED a",
    d: "7 RESERVE, 8 ASSIGN a",
  }],
  ["a scheduled task that never came", "lost", { p: "1 SCHEDULE 1 a, 3 CONFIRMED a" }, true],
  ["a scheduled task before one that is as urgent and older", "first in, first out", {
    p: "1 CREATE 1 a, 2 SCHEDULE 1 b, 4 CONFIRMED a, 4 CONFIRMED b",
    c: "5 REQUEST, 6 ASSIGN b, 7 REQUEST, 8 ASSIGN a",
  }],
  ["an answer to no request", "one answer a request", { c: "1 REQUEST, 2 NOTASK, 3 NOTASK" }],
  ["a request without an answer", "one answer a request", { c: "1 REQUEST, 2 REQUEST, 3 NOTASK" }],
  ["a less urgent task first", "priority order", {
    p: "1 CREATE 2 low, 2 CREATE 1 high, 4 CONFIRMED low, 4 CONFIRMED high",
    c: "5 REQUEST, 6 ASSIGN low, 7 REQUEST, 8 ASSIGN high",
  }],
  ["a later task of another producer first", "first in, first out", {
    p: "1 CREATE 1 a, 3 CONFIRMED a",
    q: "4 CREATE 1 b",
    c: "5 REQUEST, 6 ASSIGN b, 7 REQUEST, 8 ASSIGN a",
  }],
  ["a later task of the same producer first", "first in, first out", {
    p: "1 CREATE 1 a, 2 CREATE 1 b, 10 CONFIRMED a, 10 CONFIRMED b",
    c: "5 REQUEST, 6 ASSIGN b, 7 REQUEST, 8 ASSIGN a",
  }],
  ["NOTASK while a task waits", "NOTASK while tasks wait", {
    p: "1 CREATE 1 a, 3 CONFIRMED a",
    c: "4 REQUEST, 5 NOTASK, 6 REQUEST, 7 ASSIGN a",
  }],
  ["NOTASK while one of two tasks waits at any instant", "NOTASK while tasks wait", {
    p: "1 CREATE 1 a, 3 CONFIRMED a, 5 CREATE 1 b, 7 CONFIRMED b",
    c: "8 REQUEST, 10 ASSIGN a, 12 REQUEST, 13 ASSIGN b",
    d: "4 REQUEST, 11 NOTASK",
  }],
  ["more tasks out of order than a broken request can hide", "priority order", {
    p: "1 CREATE 2 low, 2 CREATE 1 a, 2 CREATE 1 b, 4 CONFIRMED low, 4 CONFIRMED a, 4 CONFIRMED b",
    b: "5 REQUEST, broken",
    c: "6 REQUEST, 7 ASSIGN low",
  }],
  ["a confirmed task that never came", "lost", { p: "1 CREATE 1 a, 3 CONFIRMED a" }, true],
  ["a reserved task that was neither completed nor came back", "lost", {
    p: "1 CREATE 1 a, 3 CONFIRMED a",
    c: "4 RESERVE, 5 ASSIGN a, broken",
  }, true],
  ["two lost tasks where one request was cut off", "lost", {
    p: "1 CREATE 1 a, 2 CREATE 1 b, 4 CONFIRMED a, 4 CONFIRMED b",
    c: "5 REQUEST, broken",
  }, true],
];

for (const [what, invariant, clients, isDrained] of bad) {
  Deno.test(`checkHistory() finds ${what}`, options, () => {
    assertEquals([...new Set(faultsIn(clients, isDrained))], [invariant]);
  });
}

const good: [string, Record<string, string>, boolean?][] = [
  ["tasks in order", {
    p: "1 CREATE 2 low, 2 CREATE 1 high, 4 CONFIRMED low, 4 CONFIRMED high",
    c: "5 REQUEST, 6 ASSIGN high, 7 REQUEST, 8 ASSIGN low, 9 REQUEST, 10 NOTASK",
  }, true],
  ["any order between requests under way at the same time", {
    p: "1 CREATE 2 low, 2 CREATE 1 high, 4 CONFIRMED low, 4 CONFIRMED high",
    c: "5 REQUEST, 8 ASSIGN low",
    d: "6 REQUEST, 7 ASSIGN high",
  }],
  ["a more urgent task that is not confirmed left behind", {
    p: "1 CREATE 2 low",
    q: "2 CREATE 1 high, 9 CONFIRMED high",
    c: "4 REQUEST, 5 ASSIGN low, 6 REQUEST, 7 ASSIGN high",
  }],
  ["an unconfirmed task that never came", { p: "1 CREATE 1 a, broken" }, true],
  ["an unconfirmed task that came", { p: "1 CREATE 1 a, broken", c: "2 REQUEST, 3 ASSIGN a" }],
  ["a task that a broken request may hold", {
    p: "1 CREATE 2 low, 2 CREATE 1 a, 4 CONFIRMED low, 4 CONFIRMED a",
    b: "5 REQUEST, broken",
    c: "6 REQUEST, 7 ASSIGN low, 8 REQUEST, 9 NOTASK",
  }, true],
  ["a reserved task that comes again after its consumer broke", {
    p: "1 CREATE 1 a, 3 CONFIRMED a",
    b: "4 RESERVE, 5 ASSIGN a, broken",
    c: "6 RESERVE, 7 ASSIGN a, 8 COMPLETE a, 9 CONFIRMED a, 10 RESERVE, 11 NOTASK",
  }, true],
  ["a completion that was not confirmed, and the task again", {
    p: "1 CREATE 1 a",
    b: "4 RESERVE, 5 ASSIGN a, 6 COMPLETE a, broken",
    c: "10 RESERVE, 11 ASSIGN a",
  }],
  ["a scheduled task that comes after others, and NOTASK before it", {
    p: "1 SCHEDULE 1 a, 2 CREATE 2 b, 3 CREATE 1 c, 5 CONFIRMED a, 5 CONFIRMED b, 5 CONFIRMED c",
    c: "6 REQUEST, 7 ASSIGN c, 8 REQUEST, 9 ASSIGN b, 10 REQUEST, 11 NOTASK, 12 REQUEST, 13 ASSIGN a",
  }, true],
  ["a task that failed, and NOTASK before it comes again", {
    p: "1 CREATE 1 a, 3 CONFIRMED a",
    c: "4 RESERVE, 5 ASSIGN a, 6 TOUCH a, 7 FAIL a, 8 RESERVE, 9 NOTASK, 10 REQUEST, 11 ASSIGN a",
  }, true],
  ["a task that was buried and kicked", {
    p: "1 CREATE 1 a",
    k: "7 KICK a",
    c: "2 RESERVE, 3 ASSIGN a, 4 BURY a, 5 CONFIRMED a, 9 RESERVE, 10 ASSIGN a",
  }],
];

for (const [what, clients, isDrained] of good) {
  Deno.test(`checkHistory() takes ${what}`, options, () => {
    assertEquals(faultsIn(clients, isDrained), []);
  });
}

/** The history of a correct server: producers in turn, consumers in turn, requests overlapping. */
function drawHistory(tasks: number, random: Random): ClientHistory[] {
  const producers: Entry[][] = Array.from({ length: 8 }, () => []);
  const consumers: Entry[][] = Array.from({ length: 8 }, () => []);
  const ready: string[][] = [[], [], [], []];
  const heads = [0, 0, 0, 0];
  const next = () => {
    const priority = [1, 2, 3].find((p) => (heads[p] as number) < (ready[p] as string[]).length);
    if (priority === undefined) return undefined;
    return (ready[priority] as string[])[(heads[priority] as number)++] as string;
  };
  let at = 0;
  let created = 0;
  for (let handedOut = 0; handedOut < tasks;) {
    if (created < tasks && random.chance(52)) {
      const entries = random.pick(producers);
      const priority = 1 + random.below(3);
      const task = `task${created++}`;
      entries.push({ at: ++at, sent: "CREATE", task, priority });
      (ready[priority] as string[]).push(task);
      entries.push({ at: ++at, got: "CONFIRMED", task });
      continue;
    }
    const [first, second] = [random.pick(consumers), random.pick(consumers)];
    const asked = first === second ? [first] : [first, second];
    for (const entries of asked) entries.push({ at: ++at, sent: "REQUEST" });
    for (const entries of asked) {
      const task = next();
      if (task !== undefined) handedOut++;
      entries.push(
        task === undefined ? { at: ++at, got: "NOTASK" } : { at: ++at, got: "ASSIGN", task },
      );
    }
  }
  const named = (kind: string) => (entries: Entry[], index: number) => ({
    client: `${kind} ${index}`,
    entries,
    isBroken: false,
  });
  return [...producers.map(named("producer")), ...consumers.map(named("consumer"))];
}

Deno.test("checkHistory() takes a correct run of 1,300,000 operations in seconds", options, () => {
  const clients = drawHistory(500_000, new Random(1));
  const operations = clients
    .reduce((sum, { entries }) => sum + entries.filter((entry) => "sent" in entry).length, 0);
  assertLess(1_300_000, operations);
  const startMs = performance.now();
  assertEquals(checkHistory({ clients, isDrained: true }), []);
  const seconds = (performance.now() - startMs) / 1000;
  assertLess(seconds, 30);
});

Deno.test("checkHistory() finds two answers that were swapped in a long run", options, () => {
  const seed = Date.now() % 1_000_000_000;
  const random = new Random(seed);
  const clients = drawHistory(20_000, random);
  const entries = (clients.at(-1) as ClientHistory).entries as Entry[];
  const places = entries.flatMap((entry, i) => "got" in entry && entry.got === "ASSIGN" ? [i] : []);
  const [early, late] = [places[10] as number, places[places.length - 10] as number];
  const [first, last] = [entries[early] as Entry, entries[late] as Entry];
  entries[early] = { ...last, at: first.at };
  entries[late] = { ...first, at: last.at };
  assert(checkHistory({ clients, isDrained: true }).length > 0, `seed ${seed}`);
});
