/**
 * Schedules: what the clients and the network of one simulated run do, drawn from a seed. Pure.
 *
 * A step that makes no sense when its turn comes (a send of a client that is not connected) does
 * nothing, so that any subset of a schedule is a schedule: that is what lets it be shortened.
 *
 * @module
 */

import type { CommitOutcome } from "../../../lib/core/store.ts";
import { Random } from "../random.ts";

/** What a client wants to say; names are resolved when it says it. */
export type Intent =
  | {
    readonly say: "create" | "schedule";
    readonly priority: 1 | 2 | 3;
    readonly name: string;
    readonly tag: number;
    /** Tells what is said behind the duration; none if left out. */
    readonly payload?: string;
    /** Of a scheduled task, in seconds. */
    readonly delay?: string;
  }
  | { readonly say: "sync" | "request" }
  | { readonly say: "reserve"; readonly seconds?: number }
  | { readonly say: "kick"; readonly name: string }
  /** Of the tasks that it was given, by number; a task that it never had if there is none. */
  | { readonly say: "complete" | "bury" | "touch"; readonly which: number }
  | { readonly say: "release" | "fail"; readonly which: number; readonly delay?: string }
  | { readonly say: "nonsense"; readonly text: string };

/** One step of a schedule. */
export type Step =
  | { readonly do: "connect" | "reset" | "finish"; readonly client: number }
  /** All that is under way to and from a client arrives, and is committed. */
  | { readonly do: "exchange"; readonly client: number; readonly outcome: CommitOutcome }
  | { readonly do: "send"; readonly client: number; readonly intents: readonly Intent[] }
  /** The network brings some bytes to the server, cut anywhere. */
  | { readonly do: "deliver"; readonly client: number; readonly bytes: number }
  /** The kernel takes some bytes of what waits for the client. */
  | { readonly do: "accept"; readonly client: number; readonly bytes: number }
  | { readonly do: "commit"; readonly outcome: CommitOutcome }
  | { readonly do: "pass"; readonly ms: number }
  /** The process is stopped for a while, in which all that some clients have sent arrives. */
  | { readonly do: "stop"; readonly ms: number; readonly arrivals: readonly number[] }
  /** An operator acts on the queue. */
  | { readonly do: "operate"; readonly action: Action }
  | { readonly do: "crash" | "shut down" };

/** What an operator does; tasks are chosen by number among those that there are. */
export type Action =
  | { readonly act: "pause"; readonly what: "creates" | "requests"; readonly isOn: boolean }
  | { readonly act: "kick" | "remove"; readonly which: number }
  | {
    readonly act: "clear";
    readonly state: "waiting" | "delayed" | "buried";
    readonly priority: 1 | 2 | 3;
    /** How many of the last arrivals stay. */
    readonly spared: number;
  };

/** A run: who takes part, and what happens in order. */
export interface Schedule {
  /** Clients 0 and up. */
  readonly producers: number;
  /** The clients after these. */
  readonly consumers: number;
  /** The queue's limit. */
  readonly maxTasks: number;
  /** The queue's limit of payloads, in characters. */
  readonly maxPayloadChars: number;
  /** Whether effects wait for commits, as with a store. */
  readonly hasStore: boolean;
  /** In order. */
  readonly steps: readonly Step[];
}

const names = ["a", "b", "c", "NOTASK", "__proto__"];

const nonsenseForProducers = [
  "",
  " \t",
  "create 1 a 1",
  "CREATE 4 a 1",
  "CREATE 1 a",
  "CREATE 1 a 1 1",
  "CREATE 1 a\r 1",
  "CREATE 1 a -1",
  "CREATE 1 a 1 {",
  "CREATE 1 a 1 [1] [2]",
  "SCHEDULE 1 a 1",
  "SCHEDULE -1 1 a 1",
  "FAIL a",
  "AUTH 0123456789abcdef",
  "REQUEST",
  "KICK",
  "x".repeat(1024),
];
const nonsenseForConsumers = [
  "",
  "request",
  "REQUEST 1",
  "CREATE 1 a 1",
  "COMPLETE",
  "RESERVE\0",
  "ASSIGN a 1",
  "RESERVE 0",
  "AUTH 0123456789abcdef",
  "RESERVE 61",
  "RESERVE 1.5",
  "FAIL a x",
  "BURY",
  "BURY a 1",
  "TOUCH",
  "SCHEDULE 1 1 a 1",
  "y".repeat(2000),
];

/** Draws a schedule. Equal seeds give equal schedules. */
export function drawSchedule(seed: number): Schedule {
  const random = new Random(seed);
  const producers = 1 + random.below(3);
  const consumers = 1 + random.below(4);
  const hasStore = random.chance(50);
  // Five ends of one task, and what comes after, are too rare to be left to chance.
  const isBurying = random.chance(30);
  const kinds = drawKinds(random, { hasStore, isBurying });
  const intents = drawIntents(random, { producers, isBurying });
  const steps: Step[] = [];
  const length = 20 + random.below(isBurying ? 280 : 140);
  for (let client = 0; client < producers + consumers; client++) {
    steps.push({ do: "connect", client });
  }
  while (steps.length < length) {
    steps.push(drawStep(random.pick(kinds), random, { clients: producers + consumers, intents }));
  }
  const maxTasks = random.pick([1, 3, 10, 1000]);
  const maxPayloadChars = random.pick([1, 16, 60, 1_000_000]);
  return { producers, consumers, hasStore, maxTasks, maxPayloadChars, steps };
}

/** Each run leans to other steps than the next: an even mix would visit few corners. */
function drawKinds(
  random: Random,
  { hasStore, isBurying }: { hasStore: boolean; isBurying: boolean },
): Step["do"][] {
  const kinds: Step["do"][] = [];
  const add = (kind: Step["do"], most: number) => {
    for (let count = random.below(most + 1); count > 0; count--) kinds.push(kind);
  };
  for (let i = 0; i < 6; i++) kinds.push("send", "deliver", "accept");
  kinds.push("connect");
  add("connect", 4);
  add("reset", 3);
  add("finish", 1);
  add("pass", 3);
  add("stop", 2);
  add("send", 6);
  add("exchange", 6);
  if (isBurying) {
    for (let i = 0; i < 3; i++) kinds.push("connect", "reset", "pass");
    for (let i = 0; i < 8; i++) kinds.push("send", "exchange");
  }
  if (hasStore) {
    kinds.push("commit", "commit");
    add("commit", 8);
    if (random.chance(40)) kinds.push("crash");
  }
  if (random.chance(10)) kinds.push("shut down");
  if (random.chance(30)) add("operate", 6);
  return kinds;
}

type DrawIntent = (client: number) => Intent[];

function drawIntents(
  random: Random,
  { producers, isBurying }: { producers: number; isBurying: boolean },
): DrawIntent {
  let tag = 0;
  const reserving = isBurying ? 100 : random.below(101);
  const waiting = random.pick([0, 20, 60]);
  const delaying = random.pick([0, 10, 40]);
  const someNames = isBurying ? names.slice(0, 1 + random.below(2)) : names;
  const nonsense = random.pick([0, 0, 5, 30]);
  const producerIntent = (): Intent => {
    if (random.chance(nonsense)) return say(random.pick(nonsenseForProducers));
    if (random.chance(8)) return { say: "sync" };
    const name = random.pick(someNames);
    if (random.chance(isBurying ? 30 : 8)) return { say: "kick", name };
    const task = {
      ...{ priority: random.pick([1, 2, 3] as const), name, tag: ++tag },
      ...random.chance(20) ? { payload: random.pick(payloads) } : {},
    };
    if (!random.chance(delaying)) return { say: "create", ...task };
    return { say: "schedule", ...task, delay: random.pick(delays) };
  };
  const reserve = (): Intent =>
    random.chance(waiting) ? { say: "reserve", seconds: random.pick(waits) } : { say: "reserve" };
  const delay = () => random.chance(delaying) ? { delay: random.pick(delays) } : {};
  const consumerIntent = (): Intent => {
    if (random.chance(nonsense)) return say(random.pick(nonsenseForConsumers));
    if (random.chance(4)) return { say: "sync" };
    if (!random.chance(reserving)) return { say: "request" };
    if (random.chance(isBurying ? 70 : 40)) return reserve();
    const which = random.below(4);
    return random.pick<Intent>([
      { say: "complete", which },
      { say: "complete", which },
      { say: "release", which, ...delay() },
      { say: "release", which, ...delay() },
      { say: "fail", which, ...delay() },
      { say: "fail", which, ...isBurying ? { delay: "0" } : {} },
      { say: "bury", which },
      { say: "touch", which },
    ]);
  };
  return (client) => {
    const draw = client < producers ? producerIntent : consumerIntent;
    // More than may be said behind a wait.
    if (client >= producers && waiting > 0 && random.chance(3)) {
      const pending = random.pick<Intent[]>([[{ say: "sync" }], [reserve()], [reserve(), draw()]]);
      const many = Array.from({ length: 60 + random.below(80) }, () => random.pick(pending));
      return [{ say: "reserve", seconds: 5 }, ...many];
    }
    if (nonsense > 0 && random.chance(2)) return Array.from({ length: 101 }, () => say(""));
    return Array.from({ length: 1 + random.below(random.pick([1, 3, 8])) }, draw);
  };
}

const payloads = ["{}", '{"to": "a  b"}', "[1, [2]]"];
const delays = ["0", "0.3", "3", "20.000001", "200"];
const waits = [1, 2, 5, 20, 60];

function say(text: string): Intent {
  return { say: "nonsense", text };
}

const outcomes: readonly CommitOutcome[] = [
  ...["kept", "kept", "kept", "kept without new tasks", "not kept"] as const,
];

function drawStep(
  kind: Step["do"],
  random: Random,
  { clients, intents }: { clients: number; intents: DrawIntent },
): Step {
  const client = random.below(clients);
  switch (kind) {
    case "connect":
    case "reset":
    case "finish":
      return { do: kind, client };
    case "exchange": {
      const outcome = random.chance(90) ? "kept" : random.pick(outcomes);
      return { do: kind, client, outcome };
    }
    case "send":
      return { do: kind, client, intents: intents(client) };
    case "deliver":
    case "accept":
      return { do: kind, client, bytes: random.pick([1, 7, 20, 100, 5000]) };
    case "commit":
      return {
        do: kind,
        outcome: random.pick(outcomes),
      };
    case "pass":
      return { do: kind, ms: random.pick([1, 200, 1000, 5000, 15_000, 100_000]) };
    case "stop": {
      const arrivals = Array.from({ length: clients }, (_, client) => client);
      const some = arrivals.filter(() => random.chance(50));
      return { do: kind, ms: random.pick([500, 15_000, 100_000]), arrivals: some };
    }
    case "operate":
      return { do: kind, action: drawAction(random) };
    case "crash":
    case "shut down":
      return { do: kind };
    default:
      return kind satisfies never;
  }
}

function drawAction(random: Random): Action {
  const act = random.pick(["pause", "pause", "kick", "remove", "remove", "clear"] as const);
  switch (act) {
    case "pause":
      return { act, what: random.pick(["creates", "requests"] as const), isOn: random.chance(50) };
    case "kick":
    case "remove":
      return { act, which: random.below(100) };
    case "clear": {
      const state = random.pick(["waiting", "delayed", "buried"] as const);
      return { act, state, priority: random.pick([1, 2, 3] as const), spared: random.below(3) };
    }
    default:
      return act satisfies never;
  }
}
