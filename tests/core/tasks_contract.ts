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
 * release 1 a                  -> a 0        or: nothing; also: release 1 a until 5000
 * fail 1 a at 0                -> a 0        or: nothing, a 0 buried; also: fail 1 a at 0 for 3000
 * bury 1 a                     -> a 0 buried or: nothing
 * touch 1 a at 500             -> held       or: not held
 * schedule 2 a 0 due 5000      -> kept       or: refused
 * delays at 5000               -> a 0        those that are ready then; delays at 5000, 2 at most
 * await 1 at 0 for 1000        -> a 0        or: waits, nothing
 * waited 1                     -> a 0        what it was told since; or: waits
 * stop 1                       -> nothing    ends its wait
 * waits at 1000                -> 2 ended    whose time is over; waits at 1000, 2 at most
 * kick a                       -> kicked     or: not buried, not kept
 * end 1                        -> a 0, b 0 buried    end 1 uncounted: ends that do not count
 * leases at 10000              -> a 0                leases at 10000, 2 at most
 * after all                    -> told
 * size   room   held by 1      -> 3          seen at once, not asked; so are counts
 * full of                      -> tasks      or: payloads, undefined
 * due                          -> 5000       when a delay or a wait is over next; or: never
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
import { type QueueLimits, TaskQueue } from "../../lib/core/task_queue.ts";
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
export type MakeTasks<Made> = (limits: QueueLimits) => Made;

/** Tests that are transcripts. */
type Promises = (promise: string, transcript: string, limits?: QueueLimits) => void;

function promisesOf<Made extends TasksUnderTest>(
  name: string,
  make: MakeTasks<Made>,
  register: Register,
): Promises {
  return (promise, transcript, limits = { maxTasks: 100 }) =>
    register(`${name}: ${promise}`, async () => {
      await using made = make(limits);
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
  failingPromises(promises);
  delayPromises(promises);
  waitingPromises(promises);

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

  register(`${name}: a consumer's asks together are answered as by tasks in memory`, async () => {
    await withSeed(async (seed) => {
      await using made = make({ maxTasks: 1000 });
      await compareTogether(new Desk(made), new Random(seed));
    });
  });

  register(
    `${name}: no consumer gets more than 1,000 tasks by asking for all together`,
    async () => {
      await using made = make({ maxTasks: 2000 });
      const desk = new Desk(made);
      const most = maxReservationsPerConsumer;
      await desk.answers(["consumer"]);
      await desk.answers(Array.from({ length: most + 2 }, (_, i) => `create 2 task${i} 0`));
      const reserved = await desk.answers(Array.from({ length: most + 1 }, () => "reserve 1 at 0"));
      assertEquals(reserved.slice(-2), [`task${most - 1} 0`, "nothing"]);
    },
  );

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
    { maxTasks: 4 },
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
    full of       -> tasks
    request       -> a 0
    room          -> 0
    request       -> b 0
    room          -> 1
    full of       -> undefined
    `,
    { maxTasks: 1 },
  );

  promises(
    "payloads take room, whatever becomes of their task, until it is gone",
    `
    consumer                     -> 1
    create 1 a 0 {"n": 1}        -> kept
    full of                      -> undefined
    schedule 1 b 0 [1] due 5000  -> kept
    room                         -> 0
    full of                      -> payloads
    reserve 1 at 0               -> a 0 {"n": 1}
    room                         -> 0
    bury 1 a                     -> a 0 {"n": 1} buried
    room                         -> 0
    delays at 5000               -> b 0 [1]
    request                      -> b 0 [1]
    room                         -> 1
    give back b 0 [1]            -> back
    room                         -> 0
    reserve 1 at 0               -> b 0 [1]
    complete 1 b                 -> completed
    room                         -> 1
    kick a                       -> kicked
    create 1 long 0 [12345678]   -> kept
    room                         -> 0
    request                      -> a 0 {"n": 1}
    room                         -> 0
    request                      -> long 0 [12345678]
    room                         -> 1
    `,
    { maxPayloadChars: 10 },
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

function failingPromises(promises: Promises): void {
  promises(
    "a task that fails comes back after 5, 20, 80 and 320 s, and is buried at the 5th",
    `
    consumer          -> 1
    create 1 bad 0    -> kept
    create 2 good 0   -> kept
    reserve 1 at 0    -> bad 0
    fail 1 bad at 0   -> bad 0
    reserve 1 at 0    -> good 0
    release 1 good    -> good 0
    delays at 4999    -> nothing
    delays at 5000    -> bad 0
    reserve 1 at 5000 -> bad 0
    fail 1 bad at 5000 -> bad 0
    delays at 24999   -> nothing
    delays at 25000   -> bad 0
    reserve 1 at 25000 -> bad 0
    fail 1 bad at 25000 -> bad 0
    delays at 104999  -> nothing
    delays at 105000  -> bad 0
    reserve 1 at 105000 -> bad 0
    fail 1 bad at 105000 -> bad 0
    delays at 424999  -> nothing
    delays at 425000  -> bad 0
    reserve 1 at 425000 -> bad 0
    fail 1 bad at 425000 -> bad 0 buried
    counts            -> 1 ready, 0 delayed, 0 reserved, 1 buried
    delays at 9999999 -> nothing
    kick bad          -> kicked
    reserve 1 at 0    -> bad 0
    fail 1 bad at 0 for 7000 -> bad 0
    counts            -> 1 ready, 1 delayed, 0 reserved, 0 buried
    delays at 6999    -> nothing
    delays at 7000    -> bad 0
    `,
  );

  promises(
    "failures and other ends count together",
    `
    consumer        -> 1
    create 1 a 0    -> kept
    reserve 1 at 0  -> a 0
    fail 1 a at 0 for 0 -> a 0
    delays at 0     -> a 0
    reserve 1 at 0  -> a 0
    leases at 10000 -> a 0
    reserve 1 at 0  -> a 0
    fail 1 a at 0   -> a 0
    delays at 20000 -> nothing
    delays at 80000 -> a 0
    reserve 1 at 0  -> a 0
    end 1           -> a 0
    reserve 1 at 0  -> a 0
    fail 1 a at 0   -> a 0 buried
    `,
  );

  promises(
    "a task is buried at its consumer's wish, whatever its count, and kicked with a clean one",
    `
    consumer        -> 1
    create 1 a 0    -> kept
    reserve 1 at 0  -> a 0
    bury 1 a        -> a 0 buried
    bury 1 a        -> nothing
    request         -> nothing
    kick a          -> kicked
    reserve 1 at 0  -> a 0
    fail 1 a at 0   -> a 0
    delays at 5000  -> a 0
    request         -> a 0
    `,
  );

  promises(
    "only who holds a task can fail, bury, delay or touch it, and of a name the first",
    `
    consumer        -> 1
    consumer        -> 2
    create 1 same 1 -> kept
    create 1 same 2 -> kept
    reserve 1 at 0  -> same 1
    reserve 1 at 0  -> same 2
    fail 2 same at 0 -> nothing
    bury 2 same     -> nothing
    release 2 same until 5 -> nothing
    touch 2 same at 0 -> not held
    touch 1 same at 1000 -> held
    leases at 12999 -> nothing
    leases at 13000 -> same 1
    bury 1 same     -> same 2 buried
    touch 1 same at 0 -> not held
    `,
  );

  promises(
    "a touched lease starts anew, and the others end in their order",
    `
    consumer         -> 1
    create 1 a 0     -> kept
    create 1 b 1     -> kept
    create 1 c 2     -> kept
    reserve 1 at 0   -> a 0
    reserve 1 at 0   -> b 1
    reserve 1 at 0   -> c 2
    touch 1 a at 3000 -> held
    leases at 99999  -> b 1, a 0, c 2
    `,
  );
}

function delayPromises(promises: Promises): void {
  promises(
    "a scheduled task is ready at its time, in the place that its arrival gives it",
    `
    schedule 2 late 0 due 5000 -> kept
    schedule 2 soon 0 due 3000 -> kept
    create 2 now 0   -> kept
    size             -> 3
    counts           -> 1 ready, 2 delayed, 0 reserved, 0 buried
    due              -> 3000
    delays at 2999   -> nothing
    request          -> now 0
    request          -> nothing
    create 2 next 0  -> kept
    delays at 9000   -> soon 0, late 0
    due              -> never
    request          -> late 0
    request          -> soon 0
    request          -> next 0
    `,
  );

  promises(
    "a delayed task takes room, and is not kicked",
    `
    schedule 1 a 0 due 5000 -> kept
    create 1 b 0  -> kept
    room          -> 0
    kick a        -> not buried
    delays at 9999, 1 at most -> a 0
    request       -> a 0
    room          -> 1
    `,
    { maxTasks: 2 },
  );

  promises(
    "delays end the earliest first, as many as may",
    `
    schedule 1 a 0 due 3 -> kept
    schedule 1 b 0 due 1 -> kept
    schedule 1 c 0 due 2 -> kept
    delays at 9, 2 at most -> b 0, c 0
    delays at 9, 2 at most -> a 0
    delays at 9, 2 at most -> nothing
    `,
  );

  promises(
    "a task that is released for later is back then, and was not counted",
    ["consumer -> 1", "create 1 a 0 -> kept", "create 1 b 0 -> kept"].join("\n") +
      ("\nreserve 1 at 0 -> a 0\nrelease 1 a until 500 -> a 0\ncounts -> " +
        "1 ready, 1 delayed, 0 reserved, 0 buried\ndelays at 499 -> nothing\n" +
        "delays at 500 -> a 0").repeat(7) +
      "\nrequest -> a 0",
  );

  promises(
    "a payload goes with its task, as it was sent, wherever that goes",
    `
    consumer            -> 1
    create 1 a 1 {"k": [1,  2]} -> kept
    schedule 2 b 2.0 [] due 5 -> kept
    reserve 1 at 0      -> a 1 {"k": [1,  2]}
    fail 1 a at 0       -> a 1 {"k": [1,  2]}
    delays at 5         -> b 2.0 []
    request             -> b 2.0 []
    give back b 2.0 []  -> back
    delays at 5000      -> a 1 {"k": [1,  2]}
    reserve 1 at 0      -> a 1 {"k": [1,  2]}
    bury 1 a            -> a 1 {"k": [1,  2]} buried
    kick a              -> kicked
    request             -> a 1 {"k": [1,  2]}
    request             -> b 2.0 []
    `,
  );
}

function waitingPromises(promises: Promises): void {
  const threeWait = `
    consumer              -> 1
    consumer              -> 2
    consumer              -> 3
    await 2 at 0 for 9000 -> waits
    await 1 at 0 for 5000 -> waits
    await 3 at 0 for 7000 -> waits
  `.trim();

  promises(
    "who waits is given the next task, the longest waiting first",
    `
    ${threeWait}
    create 3 a 0 -> kept
    waited 1     -> waits
    waited 2     -> a 0
    create 3 b 0 -> kept
    + create 3 c 0 -> kept
    waited 1     -> b 0
    waited 3     -> c 0
    held by 3    -> 1
    request      -> nothing
    complete 2 a -> completed
    await 2 at 0 for 1000 -> waits
    `,
  );

  promises(
    "who finds a task does not wait",
    `
    consumer              -> 1
    create 2 a 0          -> kept
    await 1 at 0 for 1000 -> a 0
    due                   -> never
    held by 1             -> 1
    `,
  );

  promises(
    "a wait that is over, or stopped, is told nothing, and gets no task later",
    `
    ${threeWait}
    due           -> 5000
    waits at 4999 -> 0 ended
    waits at 8000, 1 at most -> 1 ended
    waited 1      -> nothing
    waited 3      -> waits
    waits at 8000 -> 1 ended
    waited 3      -> nothing
    due           -> 9000
    stop 2        -> nothing
    due           -> never
    create 1 a 0  -> kept
    waits at 9999 -> 0 ended
    request       -> a 0
    `,
  );

  const wakes = (what: string, lines: string) =>
    promises(
      `who waits is given a task that is ready by ${what}`,
      `
      consumer -> 1
      consumer -> 2
      create 1 a 0 -> kept
      reserve 1 at 0 -> a 0
      ${lines.trim().split(" // ")[0]}
      await 2 at 0 for 5000 -> waits
      ${lines.trim().split(" // ")[1]}
      waited 2 -> a 0
      held by 2 -> 1
      `,
    );
  wakes("a release", "release 1 a -> a 0\nreserve 1 at 0 -> a 0 // release 1 a -> a 0");
  wakes("the end of a consumer", "held by 1 -> 1 // end 1 -> a 0");
  wakes("the end of a lease", "held by 1 -> 1 // leases at 10000 -> a 0");
  wakes("the end of a delay", "fail 1 a at 0 -> a 0 // delays at 5000 -> a 0");
  wakes("a kick", "bury 1 a -> a 0 buried // kick a -> kicked");
  wakes("a line that never left", "held by 1 -> 1 // give back a 0 -> back");

  promises(
    "who holds as many tasks as it may is told so at once",
    "consumer -> 1\n" + "create 1 a 0 -> kept\n".repeat(maxReservationsPerConsumer) +
      "reserve 1 at 0 -> a 0\n".repeat(maxReservationsPerConsumer) +
      "await 1 at 0 for 9000 -> nothing",
    { maxTasks: maxReservationsPerConsumer },
  );

  promises(
    "the lease of a task begins when it is handed out, not when the wait begins",
    `
    consumer               -> 1
    await 1 at 7000 for 60000 -> waits
    create 1 a 0           -> kept
    leases at 16999        -> nothing
    leases at 17000        -> a 0
    `,
  );
}

/**
 * Registers the tests of tasks that no other process has a part of. What several servers share gives
 * those who wait what was created together in the order of the queue.
 */
export function unsharedTasksContract(
  name: string,
  make: MakeTasks<TasksUnderTest>,
  register: Register,
): void {
  promisesOf(name, make, register)(
    "who waits is given each task as it is created, and not the more urgent one behind it",
    `
    consumer              -> 1
    consumer              -> 2
    await 1 at 0 for 5000 -> waits
    await 2 at 0 for 7000 -> waits
    create 3 b 0   -> kept
    + create 1 c 0 -> kept
    waited 1       -> b 0
    waited 2       -> c 0
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
    "after a restart payloads, delays, failures and burials are as they were",
    `
    consumer          -> 1
    create 1 a 1 {"k": 1} -> kept
    create 1 bad 0    -> kept
    create 1 late 0   -> kept
    create 1 dead 0   -> kept
    schedule 2 b 2 [1, 2] due 9000 -> kept
    reserve 1 at 0    -> a 1 {"k": 1}
    reserve 1 at 0    -> bad 0
    reserve 1 at 0    -> late 0
    reserve 1 at 0    -> dead 0
    fail 1 bad at 0   -> bad 0
    release 1 late until 7000 -> late 0
    bury 1 dead       -> dead 0 buried
    restart
    counts            -> 1 ready, 3 delayed, 0 reserved, 1 buried
    request           -> a 1 {"k": 1}
    delays at 4999    -> nothing
    delays at 5000    -> bad 0
    consumer          -> 1
    reserve 1 at 5000 -> bad 0
    fail 1 bad at 5000 -> bad 0
    delays at 24999   -> late 0, b 2 [1, 2]
    restart
    delays at 24999   -> late 0, b 2 [1, 2]
    delays at 25000   -> bad 0
    kick dead         -> kicked
    restart
    delays at 99999   -> late 0, b 2 [1, 2], bad 0
    request           -> bad 0
    request           -> late 0
    request           -> dead 0
    `,
  );

  promises(
    "after a restart payloads take room as before",
    `
    create 1 a 0 [1]      -> kept
    restart
    full of               -> payloads
    request               -> a 0 [1]
    restart
    full of               -> undefined
    `,
    { maxPayloadChars: 3 },
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
    + schedule 1 s 0 due 5 -> refused
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
    { maxTasks: 2 },
  );

  promises(
    "a payload that is not kept makes room again, and one that is not gone takes it",
    `
    consumer              -> 1
    outcome: not kept
    create 1 a 0 [1]      -> refused
    + full of             -> payloads
    full of               -> undefined
    schedule 1 a 0 [1] due 5 -> refused
    full of               -> undefined
    outcome: kept
    create 1 a 0 [1]      -> kept
    outcome: not kept
    request               -> nothing
    full of               -> payloads
    reserve 1 at 0        -> a 0 [1]
    complete 1 a          -> not kept
    full of               -> payloads
    outcome: kept
    complete 1 a          -> completed
    full of               -> undefined
    `,
    { maxPayloadChars: 3 },
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
      return random.pick([
        `complete ${consumer} ${name}`,
        `complete ${consumer} ${name}`,
        `release ${consumer} ${name}`,
        `release ${consumer} ${name} until 5000`,
        `fail ${consumer} ${name} at 0`,
        `fail ${consumer} ${name} at 0 for 0`,
        `bury ${consumer} ${name}`,
        `touch ${consumer} ${name} at 7000`,
      ]);
    case 6:
      return random.pick([`end ${consumer}`, `end ${consumer} uncounted`, "leases at 12000"]);
    default:
      return random.pick([`kick ${name}`, "after all", "delays at 6000"]);
  }
}

/** What one consumer asks, of tasks of one of these names. */
function randomAsksOfOne(random: Random, names: readonly string[]): string[] {
  const asks = Array.from({ length: 1 + random.below(5) }, () => {
    const name = random.pick(names);
    return random.pick([
      ...["request", "reserve 1 at 0", "reserve 1 at 0", "after all"],
      ...[`complete 1 ${name}`, `release 1 ${name}`, `fail 1 ${name} at 0`, `bury 1 ${name}`],
      ...[`touch 1 ${name} at 7000`, random.chance(20) ? "end 1" : `complete 1 ${name}`],
    ]);
  });
  return random.chance(30) ? [...asks, "await 1 at 0 for 1000", "stop 1"] : asks;
}

/** Makes several asks of one consumer together, and the same asks of tasks in memory. */
async function compareTogether(desk: Desk, random: Random): Promise<void> {
  const memory = new MemoryTasks(new TaskQueue({ maxTasks: 1000 }));
  const model = new Desk({ tasks: memory, async [Symbol.asyncDispose]() {} });
  const both = async (asks: readonly string[]) => {
    const [actual, expected] = [await desk.answers(asks), await model.answers(asks)];
    assertEquals(asks.map((ask, i) => [ask, actual[i]]), asks.map((ask, i) => [ask, expected[i]]));
  };
  await both(["consumer"]);
  for (let i = 0; i < 200; i++) {
    const name = random.pick(["a", "b"]);
    await both([`create ${1 + random.below(3)} ${name} 0.${i}`, `kick ${name}`]);
    await both(randomAsksOfOne(random, ["a", "b"]));
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
    // All delays end at one time here, in an order that nothing promises.
    if (ask.startsWith("delays")) { for (const seen of [actual, expected]) sortAnswer(seen); }
    assertEquals(actual, expected);
    if (ask === "request") requested = actual[1] as string;
    else if (ask.startsWith("give")) requested = "nothing";
  }
}

function sortAnswer(seen: string[]): void {
  seen[1] = seen[1]?.split(", ").sort().join(", ") ?? "";
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
  const asks = ["leases at 999999", "delays at 999999", ...names.map((name) => `kick ${name}`)];
  const answers = await desk.answers([...asks, ...names.map(() => "request")]);
  const more = await desk.answers(names.map(() => "request"));
  const drained = [...answers.slice(asks.length), ...more].filter((name) => name !== "nothing");
  assertEquals(drained.sort(), fates.left());
  assertEquals(await desk.answers(["size"]), ["0"]);
}
