/**
 * What everything that keeps tasks promises to a session, as tests: see lib/core/tasks.ts.
 *
 * A test is a transcript of asks and their answers. An ask on a line of its own is answered before
 * the next one is made; one that begins with `+` is made together with the one before it. Hand-outs
 * are written as `name duration`.
 *
 * ```text
 * consumer                     -> 1          a new consumer's number
 * create 2 a 0                 -> kept       or: refused
 * request                      -> a 0        or: nothing
 * reserve 1 at 0               -> a 0        consumer 1, when its clock shows 0 ms
 * give back a 0                -> back       what was handed out last so; or: not held
 * complete 1 a                 -> completed  or: not held, not kept, ready again
 * release 1 a                  -> a 0        or: nothing
 * kick a                       -> kicked     or: not buried, not kept
 * end 1                        -> a 0, b 0 buried    end 1 uncounted: ends that do not count
 * leases at 10000              -> a 0                leases at 10000, 2 at most
 * after all                    -> told
 * size   room   held by 1      -> 3          seen at once, not asked
 * ```
 *
 * How the lines are asked, and what is looked at in every test, is in tasks_desk.ts.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { MemoryTasks } from "../../lib/core/memory_tasks.ts";
import { maxReservationsPerConsumer } from "../../lib/core/reservations.ts";
import type { CommitOutcome } from "../../lib/core/store.ts";
import { TaskQueue } from "../../lib/core/task_queue.ts";
import { Random } from "../lab/random.ts";
import { withSeed } from "../lab/seed.ts";
import type { Register } from "./store_contract.ts";
import {
  Desk,
  type KeptTasksUnderTest,
  type RefusableTasksUnderTest,
  type TasksUnderTest,
} from "./tasks_desk.ts";
import { tasksDialogues } from "./tasks_dialogues.ts";

/** Makes tasks of which each test has its own. */
export type MakeTasks<Made> = (options: { readonly maxTasks: number }) => Made;

/** Tests that are transcripts. */
type Promises = (promise: string, transcript: string, options?: { readonly room: number }) => void;

const defaultRoom = 100;

function promisesOf<Made extends TasksUnderTest>(
  name: string,
  make: MakeTasks<Made>,
  register: Register,
): Promises {
  return (promise, transcript, { room } = { room: defaultRoom }) =>
    register(`${name}: ${promise}`, async () => {
      await using made = make({ maxTasks: room });
      await new Desk(made).play(transcript);
    });
}

/** Registers the tests of any tasks. */
export function tasksContract(
  name: string,
  make: MakeTasks<TasksUnderTest>,
  register: Register,
): void {
  const promises = promisesOf(name, make, register);
  orderPromises(promises);
  holdingPromises(promises);
  endingPromises(promises);

  register(`${name}: one consumer holds at most 1,000 tasks, another may take more`, async () => {
    await using made = make({ maxTasks: 2000 });
    const desk = new Desk(made);
    const most = maxReservationsPerConsumer;
    await desk.answers(["consumer", "consumer"]);
    await desk.answers(Array.from({ length: most + 1 }, (_, i) => `create 2 task${i} 0`));
    const reserved = await desk.answers(Array.from({ length: most }, () => "reserve 1 at 0"));
    assertEquals(reserved.at(-1), `task${most - 1} 0`);
    await desk.play(`
      held by 1        -> ${most}
      reserve 1 at 0   -> nothing
      reserve 2 at 0   -> task${most} 0
      complete 1 task0 -> completed
      release 1 task1  -> task1 0
      reserve 1 at 0   -> task1 0
      held by 1        -> ${most - 1}
    `);
  });

  register(`${name}: one by one, asks are answered as by tasks in memory`, async () => {
    await withSeed(async (seed) => {
      await using made = make({ maxTasks: 6 });
      await compareWithMemory(new Desk(made), new Random(seed));
    });
  });

  register(`${name}: nothing is lost or doubled, however much is asked together`, async () => {
    await withSeed(async (seed) => {
      await using made = make({ maxTasks: 200 });
      await askMuchTogether(made, new Random(seed));
    });
  });

  tasksDialogues(name, make, register);
}

function orderPromises(promises: Promises): void {
  promises(
    "tasks leave by priority, and first in first out within one",
    `
    create 3 low1 0   -> kept
    create 2 medium 0 -> kept
    create 1 high1 0  -> kept
    create 3 low2 0   -> kept
    create 1 high2 0  -> kept
    consumer          -> 1
    request           -> high1 0
    reserve 1 at 0    -> high2 0
    request           -> medium 0
    reserve 1 at 0    -> low1 0
    request           -> low2 0
    request           -> nothing
    reserve 1 at 0    -> nothing
    `,
  );

  promises(
    "a task leaves as it was created",
    `
    consumer            -> 1
    create 1 작업 007.50 -> kept
    create 2 __proto__ 3.0 -> kept
    request             -> 작업 007.50
    reserve 1 at 0      -> __proto__ 3.0
    complete 1 __proto__ -> completed
    `,
  );

  promises(
    "asks made together are answered each once and in their order, whatever they are",
    `
    create 1 a 0
    + create 1 b 0
    + after all       -> told
    + create 2 c 0    -> kept
    + kick a          -> not buried
    + after all       -> told
    consumer          -> 1
    request           -> a 0
    + reserve 1 at 0  -> b 0
    + complete 1 b    -> completed
    + complete 1 b    -> not held
    + after all       -> told
    + reserve 1 at 0  -> c 0
    + release 1 c     -> c 0
    + release 1 c     -> nothing
    + leases at 99999 -> nothing
    + request         -> c 0
    + end 1           -> nothing
    + request         -> nothing
    + after all       -> told
    `,
  );

  promises(
    "consumers have numbers from 1, of which none is given twice",
    `
    consumer      -> 1
    consumer      -> 2
    end 2         -> nothing
    end 1         -> nothing
    consumer      -> 3
    + end 3       -> nothing
    + consumer    -> 4
    + consumer    -> 5
    + consumer    -> 6
    `,
  );

  promises(
    "what is ready, reserved or buried takes room; what is gone does not",
    `
    consumer         -> 1
    room             -> 4
    size             -> 0
    create 1 a 0     -> kept
    create 2 b 0     -> kept
    create 3 c 0     -> kept
    reserve 1 at 0   -> a 0
    room             -> 1
    size             -> 3
    complete 1 a     -> completed
    size             -> 2
    request          -> b 0
    size             -> 1
    give back b 0    -> back
    size             -> 2
    reserve 1 at 0   -> b 0
    release 1 b      -> b 0
    room             -> 2
    `,
    { room: 4 },
  );

  promises(
    "a task that comes back is not refused, and room is never below 0",
    `
    create 1 a 0  -> kept
    request       -> a 0
    create 1 b 0  -> kept
    give back a 0 -> back
    size          -> 2
    room          -> 0
    request       -> a 0
    room          -> 0
    request       -> b 0
    room          -> 1
    `,
    { room: 1 },
  );
}

function holdingPromises(promises: Promises): void {
  promises(
    "a consumer completes and releases what it holds, and nothing else",
    `
    consumer       -> 1
    consumer       -> 2
    create 1 a 0   -> kept
    complete 1 a   -> not held
    release 1 a    -> nothing
    reserve 1 at 0 -> a 0
    held by 1      -> 1
    held by 2      -> 0
    complete 2 a   -> not held
    release 2 a    -> nothing
    complete 1 b   -> not held
    complete 1 a   -> completed
    held by 1      -> 0
    complete 1 a   -> not held
    release 1 a    -> nothing
    request        -> nothing
    `,
  );

  promises(
    "of several tasks of a name the one handed out first is meant",
    `
    consumer        -> 1
    create 2 same 1 -> kept
    create 2 same 2 -> kept
    create 2 same 3 -> kept
    reserve 1 at 0  -> same 1
    reserve 1 at 0  -> same 2
    reserve 1 at 0  -> same 3
    complete 1 same -> completed
    release 1 same  -> same 2
    request         -> same 2
    release 1 same  -> same 3
    request         -> same 3
    request         -> nothing
    `,
  );

  promises(
    "what is given back is in its old place, requested or reserved",
    `
    consumer       -> 1
    create 2 a 0   -> kept
    create 2 b 0   -> kept
    create 2 c 0   -> kept
    request        -> a 0
    reserve 1 at 0 -> b 0
    give back b 0  -> back
    held by 1      -> 0
    give back a 0  -> back
    request        -> a 0
    request        -> b 0
    request        -> c 0
    `,
  );

  promises(
    "that very reservation is given back, and only while it is held",
    `
    consumer        -> 1
    create 2 same 1 -> kept
    create 2 same 2 -> kept
    reserve 1 at 0  -> same 1
    reserve 1 at 0  -> same 2
    give back same 2 -> back
    give back same 2 -> not held
    complete 1 same  -> completed
    give back same 1 -> not held
    reserve 1 at 0   -> same 2
    leases at 14000  -> same 2
    give back same 2 -> not held
    request          -> same 2
    request          -> nothing
    `,
  );

  promises(
    "a released task is in its old place, and never buried for it",
    ["consumer -> 1", "create 1 a 0 -> kept", "create 1 b 0 -> kept"].join("\n") +
      "\nreserve 1 at 0 -> a 0\nrelease 1 a -> a 0".repeat(7) + "\nrequest -> a 0",
  );
}

function endingPromises(promises: Promises): void {
  promises(
    "a consumer's end gives back what it alone holds, in the order of the hand-outs",
    `
    consumer       -> 1
    consumer       -> 2
    create 1 c 0   -> kept
    create 2 b 0   -> kept
    create 2 a 0   -> kept
    create 3 c 1   -> kept
    reserve 1 at 0 -> c 0
    reserve 2 at 0 -> b 0
    reserve 1 at 0 -> a 0
    reserve 1 at 0 -> c 1
    end 1          -> c 0, a 0, c 1
    held by 1      -> 0
    held by 2      -> 1
    end 1          -> nothing
    request        -> c 0
    request        -> a 0
    request        -> c 1
    request        -> nothing
    complete 2 b   -> completed
    `,
  );

  promises(
    "a lease is twice the duration and ten seconds by the given clock: neither less nor more",
    `
    consumer         -> 1
    create 1 a 3.0   -> kept
    reserve 1 at 500 -> a 3.0
    leases at 16499  -> nothing
    held by 1        -> 1
    leases at 16500  -> a 3.0
    held by 1        -> 0
    complete 1 a     -> not held
    request          -> a 3.0
    `,
  );

  promises(
    "leases end the earliest first, as many as may",
    `
    consumer        -> 1
    create 1 a 60   -> kept
    create 2 b 1    -> kept
    create 3 c 5    -> kept
    reserve 1 at 0  -> a 60
    reserve 1 at 0  -> b 1
    reserve 1 at 0  -> c 5
    leases at 999999, 2 at most -> b 1, c 5
    leases at 999999, 2 at most -> a 60
    leases at 999999, 2 at most -> nothing
    `,
  );

  promises(
    "a task is buried at its 5th end, of a lease or a consumer, however it was handed out between",
    `
    create 1 bad 0  -> kept
    create 1 good 0 -> kept
    consumer        -> 1
    reserve 1 at 0  -> bad 0
    end 1           -> bad 0
    consumer        -> 2
    reserve 2 at 0  -> bad 0
    leases at 10000 -> bad 0
    request         -> bad 0
    give back bad 0 -> back
    reserve 2 at 0  -> bad 0
    give back bad 0 -> back
    reserve 2 at 0  -> bad 0
    release 2 bad   -> bad 0
    reserve 2 at 0  -> bad 0
    end 2           -> bad 0
    consumer        -> 3
    reserve 3 at 0  -> bad 0
    end 3           -> bad 0
    consumer        -> 4
    reserve 4 at 0  -> bad 0
    leases at 10000 -> bad 0 buried
    size            -> 2
    reserve 4 at 0  -> good 0
    request         -> nothing
    `,
  );

  promises(
    "ends that do not count never lead to burial",
    ["consumer -> 1", "create 1 a 0 -> kept"].join("\n") +
      "\nreserve 1 at 0 -> a 0\nend 1 uncounted -> a 0".repeat(7) + "\nrequest -> a 0",
  );

  promises(
    "a kicked task is ready in its old place, with a clean count, the first of its name",
    `
    create 2 bad 1   -> kept
    create 1 bad 2   -> kept
    consumer         -> 1
    ${bury("bad 2")}
    ${bury("bad 1")}
    create 2 later 0 -> kept
    kick later       -> not buried
    kick bad         -> kicked
    kick bad         -> kicked
    kick bad         -> not buried
    reserve 1 at 0   -> bad 2
    end 1            -> bad 2
    request          -> bad 2
    request          -> bad 1
    request          -> later 0
    kick bad         -> not buried
    `,
  );
}

/** Lines at whose end the first task is buried. */
function bury(task: string): string {
  const end = `reserve 1 at 0 -> ${task}\nend 1 -> ${task}\n`;
  return end.repeat(4) + `reserve 1 at 0 -> ${task}\nend 1 -> ${task} buried`;
}

/** Registers the tests of tasks that a store keeps: what an answer tells outlives a kill. */
export function keptTasksContract(
  name: string,
  make: MakeTasks<KeptTasksUnderTest>,
  register: Register,
): void {
  const promises = promisesOf(name, make, register);
  promises(
    "after a restart there is what was kept: places, burial and counts; nobody holds anything",
    `
    consumer         -> 1
    create 1 bad 0   -> kept
    ${bury("bad 0")}
    create 3 a 1     -> kept
    create 2 b 1.50  -> kept
    create 2 gone 1  -> kept
    create 2 done 1  -> kept
    reserve 1 at 0   -> b 1.50
    request          -> gone 1
    reserve 1 at 0   -> done 1
    complete 1 done  -> completed
    restart
    size             -> 3
    held by 1        -> 0
    create 2 c 0     -> kept
    request          -> b 1.50
    request          -> c 0
    request          -> a 1
    request          -> nothing
    kick bad         -> kicked
    restart
    request          -> bad 0
    restart
    size             -> 0
    `,
  );

  promises(
    "ends add up over restarts, also of a task that came back",
    `
    consumer         -> 1
    create 1 a 0     -> kept
    reserve 1 at 0   -> a 0
    end 1            -> a 0
    restart
    consumer         -> 1
    reserve 1 at 0   -> a 0
    leases at 10000  -> a 0
    request          -> a 0
    give back a 0    -> back
    restart
    consumer         -> 1
    reserve 1 at 0   -> a 0
    end 1            -> a 0
    reserve 1 at 0   -> a 0
    end 1            -> a 0
    reserve 1 at 0   -> a 0
    end 1            -> a 0 buried
    restart
    request          -> nothing
    kick a           -> kicked
    `,
  );
}

/** Registers the tests of tasks whose store may have no room. */
export function refusedTasksContract(
  name: string,
  make: MakeTasks<RefusableTasksUnderTest>,
  register: Register,
): void {
  const promises = promisesOf(name, make, register);
  promises(
    "without room for new tasks these are refused, and all else goes on",
    `
    consumer        -> 1
    create 1 bad 0  -> kept
    ${bury("bad 0")}
    create 1 a 0    -> kept
    create 1 b 0    -> kept
    reserve 1 at 0  -> a 0
    outcome: kept without new tasks
    create 1 c 0    -> refused
    + kick bad      -> kicked
    + complete 1 a  -> completed
    + request       -> b 0
    + create 1 d 0  -> refused
    + after all     -> told
    size            -> 1
    request         -> bad 0
    request         -> nothing
    outcome: kept
    create 1 e 0    -> kept
    request         -> e 0
    restart
    size            -> 0
    `,
  );

  promises(
    "a task that is not kept makes room again, and is never handed out",
    `
    outcome: not kept
    create 1 a 0  -> refused
    room          -> 2
    outcome: kept without new tasks
    create 1 a 0  -> refused
    size          -> 0
    outcome: kept
    request       -> nothing
    restart
    size          -> 0
    `,
    { room: 2 },
  );

  promises(
    "a request that is not kept gets nothing, and the task stays in its place",
    `
    create 2 a 0   -> kept
    create 2 b 0   -> kept
    outcome: not kept
    request        -> nothing
    + request      -> nothing
    + request      -> nothing
    size           -> 2
    outcome: kept
    request        -> a 0
    restart
    request        -> b 0
    request        -> nothing
    `,
  );

  promises(
    "a task whose completion is not kept is held as before: its place, its lease, its end",
    `
    consumer        -> 1
    create 1 a 1    -> kept
    create 1 a 2    -> kept
    reserve 1 at 0  -> a 1
    reserve 1 at 0  -> a 2
    outcome: not kept
    complete 1 a    -> not kept
    held by 1       -> 2
    size            -> 2
    outcome: kept
    leases at 11999 -> nothing
    leases at 12000 -> a 1
    reserve 1 at 0  -> a 1
    outcome: not kept
    complete 1 a    -> not kept
    outcome: kept
    release 1 a     -> a 2
    complete 1 a    -> completed
    request         -> a 2
    request         -> nothing
    `,
  );

  promises(
    "a task whose completion is not kept is ready again when its consumer has ended meanwhile",
    `
    consumer        -> 1
    consumer        -> 2
    create 1 a 0    -> kept
    create 1 b 0    -> kept
    reserve 1 at 0  -> a 0
    outcome: not kept
    complete 1 a    -> not kept
    + complete 2 a  -> not held
    complete 1 a    -> ready again
    + end 1         -> nothing
    + reserve 2 at 0 -> b 0
    held by 1       -> 0
    outcome: kept
    reserve 2 at 0  -> a 0
    complete 2 a    -> completed
    restart
    request         -> b 0
    request         -> nothing
    `,
  );

  promises(
    "a kick that is not kept leaves the task buried",
    `
    consumer        -> 1
    create 1 bad 0  -> kept
    ${bury("bad 0")}
    outcome: not kept
    kick bad        -> not kept
    + kick bad      -> not buried
    request         -> nothing
    kick good       -> not buried
    kick bad        -> not kept
    restart
    request         -> nothing
    consumer        -> 1
    kick bad        -> not kept
    outcome: kept
    kick bad        -> kicked
    reserve 1 at 0  -> bad 0
    end 1           -> bad 0
    request         -> bad 0
    `,
  );

  promises(
    "what needs no room is answered as ever, and what it says outlives the commits that failed",
    `
    consumer        -> 1
    create 1 a 0    -> kept
    create 1 b 0    -> kept
    request         -> a 0
    reserve 1 at 0  -> b 0
    end 1           -> b 0
    reserve 1 at 0  -> b 0
    outcome: not kept
    give back a 0   -> back
    + reserve 1 at 0 -> a 0
    + release 1 a   -> a 0
    + leases at 10000 -> b 0
    + after all     -> told
    reserve 1 at 0  -> a 0
    reserve 1 at 0  -> b 0
    end 1           -> a 0, b 0
    request         -> nothing
    outcome: kept
    after all       -> told
    restart
    consumer        -> 1
    size            -> 2
    reserve 1 at 0  -> a 0
    complete 1 a    -> completed
    reserve 1 at 0  -> b 0
    end 1           -> b 0
    reserve 1 at 0  -> b 0
    end 1           -> b 0 buried
    `,
  );

  register(`${name}: nothing is lost or doubled, however often the store fails`, async () => {
    await withSeed(async (seed) => {
      await using made = make({ maxTasks: 200 });
      await askMuchTogether(made, new Random(seed), (outcome) => made.setOutcome(outcome));
    });
  });
}
/** An ask of a random test: of consumer 1 or 2, and of one of these names. */
function randomAsk(random: Random, names: readonly string[]): string {
  const consumer = 1 + random.below(2);
  const name = random.pick(names);
  switch (random.below(8)) {
    case 0:
      return "request";
    case 1:
    case 2:
    case 3:
      return `reserve ${consumer} at 0`;
    case 4:
    case 5:
      return `${random.pick(["complete", "complete", "release"])} ${consumer} ${name}`;
    case 6:
      return random.pick([`end ${consumer}`, `end ${consumer} uncounted`, "leases at 12000"]);
    default:
      return random.pick([`kick ${name}`, "after all"]);
  }
}

/** Makes the same asks of tasks in memory, and compares all that can be seen. */
async function compareWithMemory(desk: Desk, random: Random): Promise<void> {
  const memory = new MemoryTasks(new TaskQueue({ maxTasks: 6 }));
  const model = new Desk({ tasks: memory, async [Symbol.asyncDispose]() {} });
  const seen = ["size", "room", "held by 1", "held by 2"];
  let requested = "nothing";
  for (let i = 0; i < 300; i++) {
    let ask = randomAsk(random, ["a", "b"]);
    if (i < 2) ask = "consumer";
    else if (requested !== "nothing" && random.chance(30)) ask = `give back ${requested}`;
    else if (memory.room > 0 && random.chance(40)) {
      // No two hand-outs look alike.
      ask = `create ${1 + random.below(3)} ${random.pick(["a", "b"])} ${i % 3}.${i}`;
    }
    const actual = [ask, ...await desk.answers([ask]), ...await desk.answers(seen)];
    const expected = [ask, ...await model.answers([ask]), ...await model.answers(seen)];
    assertEquals(actual, expected);
    if (ask === "request") requested = actual[1] as string;
    else if (ask.startsWith("give")) requested = "nothing";
  }
}

/** What became of tasks, as far as answers tell: each is created once and gone once. */
class Fates {
  readonly created = new Set<string>();
  readonly requested = new Set<string>();
  readonly completed = new Set<string>();

  /** Takes note of an answer. */
  note(ask: string, answer: string): void {
    const [verb, ...words] = ask.split(" ");
    if (verb === "create" && answer === "kept") this.created.add(words.slice(1).join(" "));
    if (verb === "give" && answer === "back") this.requested.delete(words.slice(1).join(" "));
    if (verb === "complete" && answer === "completed") this.completed.add(`${words[1]} 0`);
    if (/^(request|reserve)$/.test(verb ?? "") && answer !== "nothing") {
      assert(this.left().includes(answer), `${answer} is handed out, though it is not there`);
      if (verb === "request") this.requested.add(answer);
    }
  }

  /** The tasks that must still be there. */
  left(): string[] {
    return [...this.created.difference(this.requested).difference(this.completed)].sort();
  }
}

/** Asks much together, of tasks with names of their own, and then has everything come out. */
async function askMuchTogether(
  made: TasksUnderTest,
  random: Random,
  setOutcome: (outcome: CommitOutcome) => void = () => {},
): Promise<void> {
  const desk = new Desk(made);
  const fates = new Fates();
  const names = ["none"];
  await desk.answers(["consumer", "consumer"]);
  for (let round = 0; round < 60; round++) {
    const asks: string[] = [];
    for (let rest = 1 + random.below(12); rest > 0; rest--) {
      const isNew = names.length < 150 && random.chance(30);
      if (isNew) names.push(`task${names.length}`);
      const create = `create ${1 + random.below(3)} ${names.at(-1)} 0`;
      asks.push(isNew ? create : randomAsk(random, names.slice(-12)));
    }
    if (fates.requested.size > 0 && random.chance(50)) {
      asks.splice(random.below(asks.length), 0, `give back ${random.pick([...fates.requested])}`);
    }
    setOutcome(random.pick(["kept", "kept without new tasks", "not kept"]));
    const answers = await desk.answers(asks);
    for (const [i, ask] of asks.entries()) fates.note(ask, answers[i] as string);
  }
  setOutcome("kept");
  const asks = ["leases at 999999", ...names.map((name) => `kick ${name}`)];
  const answers = await desk.answers([...asks, ...names.map(() => "request")]);
  const more = await desk.answers(names.map(() => "request"));
  const drained = [...answers.slice(asks.length), ...more].filter((name) => name !== "nothing");
  assertEquals(drained.sort(), fates.left());
  assertEquals(await desk.answers(["size"]), ["0"]);
}
