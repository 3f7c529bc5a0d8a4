import type { CommitOutcome } from "../../lib/core/store.ts";
import { assertEquals, assertMatch } from "@std/assert";
import { UnreadableLine } from "../../lib/line.ts";
import {
  ConsumerSession,
  endEvent,
  maxMalformedLines,
  ProducerSession,
  type SessionOutput,
} from "../../lib/core/session.ts";
import { formatServerEvent } from "../../lib/core/events.ts";
import { MemoryTasks } from "../../lib/core/memory_tasks.ts";
import { formatReply } from "../../lib/core/protocol.ts";
import { StoredTasks } from "../../lib/core/stored_tasks.ts";
import type { Tasks } from "../../lib/core/tasks.ts";
import type { Task, TaskDescription } from "../../lib/core/task.ts";
import { TaskQueue } from "../../lib/core/task_queue.ts";
import { DrivenCommits } from "../lab/driven_commits.ts";

/*
 * A dialogue is written as one transcript, a line each:
 *
 *   C1: text           consumer 1 says this; P1: producer 1
 *   S1: text           the server answers consumer 1, SP1: producer 1
 *   E: text            an event line of the server
 *   -- C1 connects     also: disconnects, disconnects with 2 replies unsent
 *   -- 13 s pass       leases, delays and waits end
 *   -- C1 closes       it sends no more
 *   -- DONE            the server shuts down
 *   -- kept            the changes so far are committed, with this outcome
 *   (wait) (close)     what a line asks for, where it is not the next line
 *
 * The steps are run one by one; what comes out of them must stand where it stands here.
 */

/** What a dialogue begins with. */
interface Scene {
  readonly maxTasks?: number;
  /** Tasks that are in the queue, each as `CREATE` would name it. */
  readonly tasks?: readonly string[];
  /** Whether effects wait for a `-- kept` line. */
  readonly hasStore?: boolean;
}

/** Runs the steps of a transcript and writes down what they do. */
class Stage {
  readonly queue: TaskQueue;
  readonly complaints: string[] = [];
  readonly #played: string[] = [];
  readonly #sessions = new Map<string, ConsumerSession | ProducerSession>();
  readonly #consumers = new Set<ConsumerSession>();
  readonly #tasks: Tasks;
  readonly #commits = new DrivenCommits();
  #nowMs = 0;

  constructor({ maxTasks = 100, tasks = [], hasStore = false }: Scene) {
    this.queue = new TaskQueue({ maxTasks });
    for (const task of tasks) this.queue.admit(this.queue.create(parseTask(task)));
    this.#tasks = hasStore
      ? new StoredTasks(this.queue, this.#commits)
      : new MemoryTasks(this.queue);
  }

  /** Runs the steps of a transcript; returns it as it went. */
  play(transcript: string): string {
    for (const line of transcript.split("\n")) {
      const say = /^([CP]\d): (.*)$/.exec(line);
      if (say !== null) this.#say(say[1] as string, say[2] as string);
      else if (line.startsWith("-- ")) this.#direct(line.slice(3));
    }
    return this.#played.join("\n");
  }

  #say(name: string, text: string): void {
    this.#played.push(`${name}: ${text}`);
    const line = text === "<unreadable>" ? new UnreadableLine("line must be valid UTF-8") : text;
    const step = this.#session(name).receive(line, () => this.#nowMs);
    if (step !== "next") this.#played.push(`(${step})`);
  }

  #direct(direction: string): void {
    this.#played.push(`-- ${direction}`);
    const [name = "", ...words] = direction.split(" ");
    const pass = /^(\d+) s pass$/.exec(direction);
    if (pass !== null) this.#pass(Number(pass[1]));
    else if (words[0] === "connects") this.#connect(name);
    else if (words[0] === "closes") (this.#session(name) as ConsumerSession).endInput();
    else if (words[0] === "hears") (this.#session(name) as ConsumerSession).stopHandingOut();
    else if (words[0] === "disconnects") this.#disconnect(name, Number(words[2] ?? 0));
    else if (direction === "DONE") {
      for (const consumer of this.#consumers) consumer.announceShutdown();
    } else this.#commits.commit(direction as CommitOutcome);
  }

  #connect(name: string): void {
    let number = 0;
    this.#tasks.openConsumer((consumer) => number = consumer);
    assertEquals(name, `C${number}`);
    const session = new ConsumerSession(number, this.#tasks, this.#outputTo(name));
    this.#sessions.set(name, session);
    this.#consumers.add(session);
    session.open(this.#consumers.size);
  }

  #disconnect(name: string, unsentReplies: number): void {
    const session = this.#sessions.get(name) as ConsumerSession;
    this.#consumers.delete(session);
    session.end(this.#consumers.size, { unsentReplies });
  }

  #pass(seconds: number): void {
    this.#nowMs += 1000 * seconds;
    this.#tasks.endLeases(this.#nowMs, { most: Infinity }, (reservations) => {
      for (const one of reservations) this.#played.push(`E: ${formatServerEvent(endEvent(one))}`);
    });
    this.#tasks.endDelays(this.#nowMs, { most: Infinity }, (tasks) => {
      for (const { taskId } of tasks) {
        this.#played.push(`E: ${formatServerEvent({ kind: "ready", taskId })}`);
      }
    });
    this.#tasks.endWaits(this.#nowMs, { most: Infinity }, () => {});
  }

  #session(name: string): ConsumerSession | ProducerSession {
    let session = this.#sessions.get(name);
    if (session === undefined) {
      if (name.startsWith("C")) throw new Error(`${name} has not connected`);
      session = new ProducerSession(this.#tasks, this.#outputTo(name));
      this.#sessions.set(name, session);
    }
    return session;
  }

  #outputTo(name: string): SessionOutput {
    const speaker = name.startsWith("C") ? `S${name.slice(1)}` : `S${name}`;
    return {
      reply: (reply) => this.#played.push(`${speaker}: ${formatReply(reply)}`),
      send: () => {},
      event: (event) => this.#played.push(`E: ${formatServerEvent(event)}`),
      complain: (_topic, reason) => this.complaints.push(reason),
    };
  }
}

function parseTask(text: string): TaskDescription {
  const [priority, taskId, duration] = text.split(" ") as [string, string, string];
  return { priority: Number(priority) as Task["priority"], taskId, duration };
}

/** Registers a test that plays a transcript and compares what came out, line by line. */
function dialogue(name: string, scene: Scene, transcript: string): void {
  const lines = transcript.trim().split("\n").map((line) => line.trim()).join("\n");
  Deno.test({
    name,
    permissions: "none",
    fn: () => assertEquals(new Stage(scene).play(lines), lines),
  });
}

dialogue(
  "ProducerSession says nothing of a task that it takes, and shows it on the console",
  {},
  `
  P1: CREATE 3 task1 3.0
  E: [CREATE] 3 task1 3.0
  P1:   CREATE  1\t작업 007.5
  E: [CREATE] 1 작업 007.5
  `,
);

dialogue(
  "A session takes AUTH for malformed: the token is asked for before there is one",
  {},
  `
  P1: AUTH 0123456789abcdef
  SP1: ERROR AUTH is for the first line to a server with a token
  -- C1 connects
  S1: Consumer1
  E: [Consumer1 connected]
  E: [1 consumers online]
  C1: AUTH 0123456789abcdef
  S1: ERROR AUTH is for the first line to a server with a token
  C1: AUTH short
  S1: ERROR token must have 16 to 1018 visible ASCII characters and no blanks
  `,
);

dialogue(
  "ProducerSession refuses a wrong line alone: the next ones count",
  {},
  `
  P1: CREATE 9 task1 3.0
  SP1: ERROR priority must be 1, 2 or 3, got "9"
  P1: CREATE 3 task2 3.0
  E: [CREATE] 3 task2 3.0
  P1: <unreadable>
  SP1: ERROR line must be valid UTF-8
  P1: REQUEST
  SP1: ERROR REQUEST belongs on the consumer port: expected CREATE, SYNC or KICK
  P1: SYNC
  SP1: OK 1
  `,
);

dialogue(
  "ProducerSession confirms with SYNC what this connection sent, not what others did",
  {},
  `
  P1: SYNC
  SP1: OK 0
  P1: CREATE 1 a 0
  E: [CREATE] 1 a 0
  P2: CREATE 1 b 0
  E: [CREATE] 1 b 0
  P1: CREATE 2 c 0
  E: [CREATE] 2 c 0
  P1: SYNC
  SP1: OK 2
  P2: SYNC
  SP2: OK 1
  `,
);

dialogue(
  "ProducerSession waits at a full queue, loses nothing, and takes the line when there is room",
  { maxTasks: 1, tasks: ["2 first 0"] },
  `
  -- C1 connects
  S1: Consumer1
  E: [Consumer1 connected]
  E: [1 consumers online]
  P1: SYNC
  SP1: OK 0
  P1: CREATE 1 second 0
  (wait)
  P1: CREATE 1 second 0
  (wait)
  C1: REQUEST
  E: [ASSIGN] first - consumer1
  S1: ASSIGN first 0
  P1: CREATE 1 second 0
  E: [CREATE] 1 second 0
  P1: SYNC
  SP1: OK 1
  `,
);

dialogue(
  "ProducerSession refuses a wrong CREATE at a full queue at once",
  { maxTasks: 1, tasks: ["2 first 0"] },
  `
  P1: CREATE 9 second 0
  SP1: ERROR priority must be 1, 2 or 3, got "9"
  P1: KICK first
  SP1: ERROR no task "first" is buried
  `,
);

dialogue(
  "ConsumerSession greets, hands out in order, and then says NOTASK",
  { tasks: ["3 low 1", "1 high 0.5", "2 medium 007"] },
  `
  -- C1 connects
  S1: Consumer1
  E: [Consumer1 connected]
  E: [1 consumers online]
  C1: REQUEST
  E: [ASSIGN] high - consumer1
  S1: ASSIGN high 0.5
  C1: REQUEST
  E: [ASSIGN] medium - consumer1
  S1: ASSIGN medium 007
  C1: REQUEST
  E: [ASSIGN] low - consumer1
  S1: ASSIGN low 1
  C1: REQUEST
  S1: NOTASK
  C1: RESERVE
  S1: NOTASK
  -- C1 disconnects
  E: [Consumer 1 disconnected]
  E: [0 consumers online]
  `,
);

dialogue(
  "ConsumerSession takes COMPLETE for nothing on a connection that never reserved",
  { tasks: ["1 a 0"] },
  `
  -- C1 connects
  S1: Consumer1
  E: [Consumer1 connected]
  E: [1 consumers online]
  C1: REQUEST
  E: [ASSIGN] a - consumer1
  S1: ASSIGN a 0
  C1: COMPLETE a
  C1: COMPLETE never-seen
  C1: COMPLETE
  S1: ERROR a field is missing: expected "COMPLETE <task_id>", got "COMPLETE"
  C1: REQUEST
  S1: NOTASK
  `,
);

dialogue(
  "ConsumerSession completes and releases what it reserved, and refuses what it does not hold",
  { tasks: ["1 a 0", "1 b 0"] },
  `
  -- C1 connects
  S1: Consumer1
  E: [Consumer1 connected]
  E: [1 consumers online]
  C1: RELEASE a
  S1: ERROR this consumer does not hold task "a"
  C1: RESERVE
  E: [ASSIGN] a - consumer1
  S1: ASSIGN a 0
  C1: COMPLETE b
  S1: ERROR this consumer does not hold task "b"
  C1: COMPLETE a
  E: [COMPLETE] a - consumer1
  C1: COMPLETE a
  S1: ERROR this consumer does not hold task "a"
  C1: RESERVE
  E: [ASSIGN] b - consumer1
  S1: ASSIGN b 0
  C1: RELEASE b
  E: [REQUEUE] b - consumer1
  C1: REQUEST
  E: [ASSIGN] b - consumer1
  S1: ASSIGN b 0
  `,
);

dialogue(
  "ConsumerSession gives back what its consumer holds when it ends, to the next one",
  { tasks: ["1 a 0", "1 b 0"] },
  `
  -- C1 connects
  S1: Consumer1
  E: [Consumer1 connected]
  E: [1 consumers online]
  -- C2 connects
  S2: Consumer2
  E: [Consumer2 connected]
  E: [2 consumers online]
  C1: RESERVE
  E: [ASSIGN] a - consumer1
  S1: ASSIGN a 0
  C2: RESERVE
  E: [ASSIGN] b - consumer2
  S2: ASSIGN b 0
  -- C1 disconnects
  E: [Consumer 1 disconnected]
  E: [1 consumers online]
  E: [REQUEUE] a - consumer1
  C2: RESERVE
  E: [ASSIGN] a - consumer2
  S2: ASSIGN a 0
  `,
);

dialogue(
  "ConsumerSession refuses the completion of a task whose lease has ended, which another may do",
  { tasks: ["1 slow 1.5"] },
  `
  -- C1 connects
  S1: Consumer1
  E: [Consumer1 connected]
  E: [1 consumers online]
  -- C2 connects
  S2: Consumer2
  E: [Consumer2 connected]
  E: [2 consumers online]
  C1: RESERVE
  E: [ASSIGN] slow - consumer1
  S1: ASSIGN slow 1.5
  -- 12 s pass
  C2: RESERVE
  S2: NOTASK
  -- 1 s pass
  E: [REQUEUE] slow - consumer1
  C2: RESERVE
  E: [ASSIGN] slow - consumer2
  S2: ASSIGN slow 1.5
  C1: COMPLETE slow
  S1: ERROR this consumer does not hold task "slow"
  C2: COMPLETE slow
  E: [COMPLETE] slow - consumer2
  `,
);

dialogue(
  "A task is buried at its 5th end, and KICK makes it ready again",
  { tasks: ["1 bad 0"] },
  `
  -- C1 connects
  S1: Consumer1
  E: [Consumer1 connected]
  E: [1 consumers online]
  ${
    `C1: RESERVE
  E: [ASSIGN] bad - consumer1
  S1: ASSIGN bad 0
  -- 10 s pass
  E: [REQUEUE] bad - consumer1
  `.repeat(4)
  }C1: RESERVE
  E: [ASSIGN] bad - consumer1
  S1: ASSIGN bad 0
  -- 10 s pass
  E: [BURY] bad - consumer1
  C1: RESERVE
  S1: NOTASK
  P1: KICK bad
  SP1: OK 1
  P1: KICK bad
  SP1: ERROR no task "bad" is buried
  C1: REQUEST
  E: [ASSIGN] bad - consumer1
  S1: ASSIGN bad 0
  `,
);

dialogue(
  "ConsumerSession gives back, in their places, the tasks of the replies that did not leave",
  { tasks: ["1 a 0", "1 b 0", "1 c 0", "1 d 0"] },
  `
  -- C1 connects
  S1: Consumer1
  E: [Consumer1 connected]
  E: [1 consumers online]
  C1: REQUEST
  E: [ASSIGN] a - consumer1
  S1: ASSIGN a 0
  C1: REQUEST
  E: [ASSIGN] b - consumer1
  S1: ASSIGN b 0
  C1: nonsense
  S1: ERROR unknown command "nonsense": expected REQUEST, RESERVE, COMPLETE or RELEASE
  C1: RESERVE
  E: [ASSIGN] c - consumer1
  S1: ASSIGN c 0
  -- C1 disconnects with 3 replies unsent
  E: [Consumer 1 disconnected]
  E: [0 consumers online]
  E: [REQUEUE] b - consumer1
  E: [REQUEUE] c - consumer1
  -- C2 connects
  S2: Consumer2
  E: [Consumer2 connected]
  E: [1 consumers online]
  C2: REQUEST
  E: [ASSIGN] b - consumer2
  S2: ASSIGN b 0
  C2: REQUEST
  E: [ASSIGN] c - consumer2
  S2: ASSIGN c 0
  C2: REQUEST
  E: [ASSIGN] d - consumer2
  S2: ASSIGN d 0
  `,
);

dialogue(
  "ConsumerSession gives a task back once whose line did not leave and whose lease has ended",
  { tasks: ["1 a 0"] },
  `
  -- C1 connects
  S1: Consumer1
  E: [Consumer1 connected]
  E: [1 consumers online]
  C1: RESERVE
  E: [ASSIGN] a - consumer1
  S1: ASSIGN a 0
  -- 10 s pass
  E: [REQUEUE] a - consumer1
  -- C1 disconnects with 1 replies unsent
  E: [Consumer 1 disconnected]
  E: [0 consumers online]
  -- C2 connects
  S2: Consumer2
  E: [Consumer2 connected]
  E: [1 consumers online]
  C2: REQUEST
  E: [ASSIGN] a - consumer2
  S2: ASSIGN a 0
  C2: REQUEST
  S2: NOTASK
  `,
);

dialogue(
  "ConsumerSession hands out nothing after DONE, but still takes COMPLETE and RELEASE",
  { tasks: ["1 a 0", "1 b 0", "1 c 0"] },
  `
  -- C1 connects
  S1: Consumer1
  E: [Consumer1 connected]
  E: [1 consumers online]
  C1: RESERVE
  E: [ASSIGN] a - consumer1
  S1: ASSIGN a 0
  C1: RESERVE
  E: [ASSIGN] b - consumer1
  S1: ASSIGN b 0
  -- DONE
  S1: DONE
  C1: REQUEST
  C1: RESERVE
  C1: COMPLETE a
  E: [COMPLETE] a - consumer1
  C1: RELEASE b
  E: [REQUEUE] b - consumer1
  `,
);

dialogue(
  "ConsumerSession counts no end after DONE: a task is not buried because servers are stopped",
  { tasks: ["1 a 0"] },
  [1, 2, 3, 4, 5, 6].map((n) => `
  -- C${n} connects
  S${n}: Consumer${n}
  E: [Consumer${n} connected]
  E: [1 consumers online]
  C${n}: RESERVE
  E: [ASSIGN] a - consumer${n}
  S${n}: ASSIGN a 0
  -- DONE
  S${n}: DONE
  -- C${n} disconnects
  E: [Consumer ${n} disconnected]
  E: [0 consumers online]
  E: [REQUEUE] a - consumer${n}`).join(""),
);

for (const name of ["P1", "C1"]) {
  const opening = name === "P1" ? "" : "-- C1 connects\n" +
    "S1: Consumer1\nE: [Consumer1 connected]\nE: [1 consumers online]\n";
  const answer = name === "P1" ? "SP1" : "S1";
  for (const line of ["GET / HTTP/1.1", "POST /a HTTP/1.0", "Host: localhost", "host:x"]) {
    dialogue(
      `A session closes at "${line}" of ${name}, which nothing valid came before`,
      {},
      `${opening}${name}: ${line}\n${answer}: ERROR this port does not speak HTTP\n(close)`,
    );
  }
  const good = name === "P1" ? "SYNC\nSP1: OK 0" : "REQUEST\nS1: NOTASK";
  Deno.test({
    name: `A session of ${name} that has spoken the protocol takes HTTP for a malformed line`,
    permissions: "none",
    fn() {
      const transcript = `${opening}${name}: ${good}\n${name}: Host: localhost`;
      const lines = new Stage({}).play(transcript);
      assertMatch(lines, /ERROR unknown command "Host:"[^\n]*$/);
    },
  });
}

dialogue(
  "ConsumerSession hands out nothing to a consumer that has gone, but takes what it completed",
  { tasks: ["1 a 0", "1 b 0"] },
  `
  -- C1 connects
  S1: Consumer1
  E: [Consumer1 connected]
  E: [1 consumers online]
  C1: RESERVE
  E: [ASSIGN] a - consumer1
  S1: ASSIGN a 0
  -- C1 hears no more
  C1: REQUEST
  C1: RESERVE
  C1: COMPLETE a
  E: [COMPLETE] a - consumer1
  `,
);

dialogue(
  "Pipelined lines of every kind are answered in order, each once",
  { tasks: ["1 a 0", "2 b 0", "3 c 0"] },
  `
  -- C1 connects
  S1: Consumer1
  E: [Consumer1 connected]
  E: [1 consumers online]
  C1: RESERVE
  E: [ASSIGN] a - consumer1
  S1: ASSIGN a 0
  C1: COMPLETE a
  E: [COMPLETE] a - consumer1
  C1: REQUEST
  E: [ASSIGN] b - consumer1
  S1: ASSIGN b 0
  C1: request
  S1: ERROR unknown command "request": expected REQUEST, RESERVE, COMPLETE or RELEASE
  C1: RESERVE
  E: [ASSIGN] c - consumer1
  S1: ASSIGN c 0
  C1: COMPLETE b
  S1: ERROR this consumer does not hold task "b"
  C1: RELEASE c
  E: [REQUEUE] c - consumer1
  C1: REQUEST
  E: [ASSIGN] c - consumer1
  S1: ASSIGN c 0
  C1: REQUEST
  S1: NOTASK
  `,
);

// With a store: effects leave only after the commit that holds them.

dialogue(
  "With a store nothing leaves before the commit, and then in the order of its causes",
  { hasStore: true },
  `
  -- C1 connects
  S1: Consumer1
  E: [Consumer1 connected]
  E: [1 consumers online]
  P1: CREATE 1 a 0
  P1: SYNC
  P1: nonsense
  C1: REQUEST
  -- kept
  E: [CREATE] 1 a 0
  SP1: OK 1
  SP1: ERROR unknown command "nonsense": expected CREATE, SYNC or KICK
  S1: NOTASK
  C1: REQUEST
  -- kept
  E: [ASSIGN] a - consumer1
  S1: ASSIGN a 0
  `,
);

dialogue(
  "With a full store new tasks are withdrawn and refused, the rest of the turn stands",
  { hasStore: true, tasks: ["2 old 0"], maxTasks: 2 },
  `
  -- C1 connects
  S1: Consumer1
  E: [Consumer1 connected]
  E: [1 consumers online]
  P1: CREATE 1 new 0
  P1: SYNC
  C1: REQUEST
  -- kept without new tasks
  SP1: ERROR store full
  SP1: OK 0
  E: [ASSIGN] old - consumer1
  S1: ASSIGN old 0
  C1: REQUEST
  P1: CREATE 1 next 0
  P1: CREATE 1 after 0
  -- kept
  S1: NOTASK
  E: [CREATE] 1 next 0
  E: [CREATE] 1 after 0
  `,
);

dialogue(
  "With a store that keeps nothing, no task is lost and no completion stands",
  { hasStore: true, tasks: ["1 a 0", "1 b 0"] },
  `
  -- C1 connects
  S1: Consumer1
  E: [Consumer1 connected]
  E: [1 consumers online]
  C1: RESERVE
  -- kept
  E: [ASSIGN] a - consumer1
  S1: ASSIGN a 0
  C1: COMPLETE a
  C1: REQUEST
  P1: CREATE 1 c 0
  -- not kept
  S1: ERROR store full
  S1: NOTASK
  SP1: ERROR store full
  C1: COMPLETE a
  C1: REQUEST
  -- kept
  E: [COMPLETE] a - consumer1
  E: [ASSIGN] b - consumer1
  S1: ASSIGN b 0
  `,
);

dialogue(
  "A completion that is not kept makes the task ready where its consumer has gone meanwhile",
  { hasStore: true, tasks: ["1 a 0"] },
  `
  -- C1 connects
  S1: Consumer1
  E: [Consumer1 connected]
  E: [1 consumers online]
  -- C2 connects
  S2: Consumer2
  E: [Consumer2 connected]
  E: [2 consumers online]
  C1: RESERVE
  -- kept
  E: [ASSIGN] a - consumer1
  S1: ASSIGN a 0
  C1: COMPLETE a
  -- C1 disconnects
  E: [Consumer 1 disconnected]
  E: [1 consumers online]
  -- not kept
  E: [REQUEUE] a - consumer1
  C2: REQUEST
  -- kept
  E: [ASSIGN] a - consumer2
  S2: ASSIGN a 0
  `,
);

dialogue(
  "A task is handed to nobody who has gone before the commit: the next one gets it",
  { hasStore: true, tasks: ["1 a 0", "1 b 0"] },
  `
  -- C1 connects
  S1: Consumer1
  E: [Consumer1 connected]
  E: [1 consumers online]
  -- C2 connects
  S2: Consumer2
  E: [Consumer2 connected]
  E: [2 consumers online]
  C1: REQUEST
  -- C1 disconnects
  E: [Consumer 1 disconnected]
  E: [1 consumers online]
  -- kept
  -- kept
  E: [REQUEUE] a - consumer1
  C2: REQUEST
  -- kept
  E: [ASSIGN] a - consumer2
  S2: ASSIGN a 0
  `,
);

dialogue(
  "A KICK that is not kept leaves the task buried",
  { hasStore: true, tasks: ["1 bad 0"] },
  `
  -- C1 connects
  S1: Consumer1
  E: [Consumer1 connected]
  E: [1 consumers online]
  ${
    `C1: RESERVE
  -- kept
  E: [ASSIGN] bad - consumer1
  S1: ASSIGN bad 0
  -- 10 s pass
  -- kept
  E: [REQUEUE] bad - consumer1
  `.repeat(4)
  }C1: RESERVE
  -- kept
  E: [ASSIGN] bad - consumer1
  S1: ASSIGN bad 0
  -- 10 s pass
  -- kept
  E: [BURY] bad - consumer1
  P1: KICK bad
  -- not kept
  SP1: ERROR store full
  C1: REQUEST
  P1: KICK bad
  -- kept
  S1: NOTASK
  SP1: OK 1
  C1: REQUEST
  -- kept
  E: [ASSIGN] bad - consumer1
  S1: ASSIGN bad 0
  `,
);

for (const name of ["P1", "C1"]) {
  const what = name === "P1" ? "ProducerSession" : "ConsumerSession";
  const opening = name === "P1" ? "" : "-- C1 connects\n";
  const answer = name === "P1" ? "SP1" : "S1";

  Deno.test({
    name: `${what} says "too many errors" and closes at the 100th malformed line`,
    permissions: "none",
    fn() {
      const lines = new Stage({}).play(opening + `${name}: x\n`.repeat(maxMalformedLines))
        .split("\n");
      assertEquals(maxMalformedLines, 100);
      const errors = lines.filter((line) =>
        line.startsWith(`${answer}: ERROR unknown command "x"`)
      );
      assertEquals(errors.length, 100);
      assertEquals(lines.indexOf("(close)"), lines.length - 1);
      assertEquals(lines.at(-2), `${answer}: ERROR too many errors`);
    },
  });

  Deno.test({
    name: `${what} goes on after 99 malformed lines, however many good ones are between`,
    permissions: "none",
    fn() {
      const good = name === "P1" ? "SYNC" : "REQUEST";
      const lines = new Stage({}).play(opening + `${name}: x\n${name}: ${good}\n`.repeat(99));
      assertEquals(lines.includes("(close)"), false);
      assertMatch(lines, name === "P1" ? /SP1: OK 0$/ : /S1: NOTASK$/);
    },
  });

  Deno.test({
    name: `${what} does not count refusals by state as malformed lines`,
    permissions: "none",
    fn() {
      const command = name === "P1" ? "KICK a" : "RELEASE a";
      const lines = new Stage({}).play(opening + `${name}: ${command}\n`.repeat(1000)).split("\n");
      assertEquals(lines.filter((line) => line.startsWith(`${answer}: ERROR `)).length, 1000);
      assertEquals(lines.includes("(close)"), false);
    },
  });
}

Deno.test({
  name: "Sessions tell the operator of each refusal what they tell the peer",
  permissions: "none",
  fn() {
    const stage = new Stage({});
    stage.play("-- C1 connects\nC1: RELEASE a\nC1: REQUEST\nP1: CREATE 4 a 1\nP1: CREATE 1 a 1");
    assertEquals(stage.complaints, [
      'this consumer does not hold task "a"',
      'priority must be 1, 2 or 3, got "4"',
    ]);
  },
});

dialogue(
  "ConsumerSession that waits is answered when there is a task, with its payload",
  {},
  `
  -- C1 connects
  S1: Consumer1
  E: [Consumer1 connected]
  E: [1 consumers online]
  C1: RESERVE 5
  P1: CREATE 2 a 1.5 {"k": "v"}
  E: [CREATE] 2 a 1.5
  E: [ASSIGN] a - consumer1
  S1: ASSIGN a 1.5 {"k": "v"}
  C1: RESERVE 5
  -- 4 s pass
  -- 1 s pass
  S1: NOTASK
  P1: CREATE 2 b 0 []
  E: [CREATE] 2 b 0
  C1: REQUEST
  E: [ASSIGN] b - consumer1
  S1: ASSIGN b 0
  `,
);

dialogue(
  "ConsumerSession that waits does at once what has no answer, and the rest in turn",
  { tasks: ["1 a 0", "1 b 0"] },
  `
  -- C1 connects
  S1: Consumer1
  E: [Consumer1 connected]
  E: [1 consumers online]
  C1: RESERVE
  E: [ASSIGN] a - consumer1
  S1: ASSIGN a 0
  C1: RESERVE 9
  E: [ASSIGN] b - consumer1
  S1: ASSIGN b 0
  C1: RESERVE 9
  C1: SYNC
  C1: COMPLETE a
  E: [COMPLETE] a - consumer1
  C1: SYNC
  C1: REQUEST
  C1: RESERVE 1
  C1: TOUCH a
  S1: ERROR this consumer does not hold task "a"
  C1: NONSENSE
  S1: ERROR unknown command "NONSENSE": expected REQUEST, RESERVE, COMPLETE or RELEASE
  C1: FAIL b 2
  E: [FAIL] b - consumer1
  -- 1 s pass
  -- 1 s pass
  E: [READY] b
  E: [ASSIGN] b - consumer1
  S1: ASSIGN b 0
  S1: OK 0
  S1: OK 1
  S1: NOTASK
  -- 1 s pass
  S1: NOTASK
  `,
);

dialogue(
  "ConsumerSession that waits gets NOTASK when the server shuts down, and then DONE",
  {},
  `
  -- C1 connects
  S1: Consumer1
  E: [Consumer1 connected]
  E: [1 consumers online]
  C1: RESERVE 9
  C1: RESERVE
  C1: SYNC
  -- DONE
  S1: NOTASK
  S1: NOTASK
  S1: OK 0
  S1: DONE
  `,
);

dialogue(
  "ConsumerSession waits no more when its peer sends no more",
  {},
  `
  -- C1 connects
  S1: Consumer1
  E: [Consumer1 connected]
  E: [1 consumers online]
  C1: RESERVE 9
  C1: RESERVE 9
  C1: COMPLETE a
  S1: ERROR this consumer does not hold task "a"
  -- C1 closes
  S1: NOTASK
  S1: NOTASK
  -- C1 disconnects
  E: [Consumer 1 disconnected]
  E: [0 consumers online]
  `,
);

dialogue(
  "ConsumerSession that ends while it waits gets no task, nor does what it asked for behind that",
  {},
  `
  -- C1 connects
  S1: Consumer1
  E: [Consumer1 connected]
  E: [1 consumers online]
  C1: RESERVE 9
  C1: REQUEST
  -- C1 disconnects
  E: [Consumer 1 disconnected]
  E: [0 consumers online]
  P1: CREATE 1 a 0
  E: [CREATE] 1 a 0
  -- 9 s pass
  -- C2 connects
  S2: Consumer2
  E: [Consumer2 connected]
  E: [1 consumers online]
  C2: REQUEST
  E: [ASSIGN] a - consumer2
  S2: ASSIGN a 0
  `,
);

dialogue(
  "ConsumerSession fails, delays, buries and touches what it holds",
  { tasks: ["1 a 0", "1 b 0", "1 c 0", "1 d 0"] },
  `
  -- C1 connects
  S1: Consumer1
  E: [Consumer1 connected]
  E: [1 consumers online]
  C1: RESERVE
  E: [ASSIGN] a - consumer1
  S1: ASSIGN a 0
  C1: RESERVE
  E: [ASSIGN] b - consumer1
  S1: ASSIGN b 0
  C1: RESERVE
  E: [ASSIGN] c - consumer1
  S1: ASSIGN c 0
  C1: FAIL a
  E: [FAIL] a - consumer1
  C1: RELEASE b 7.5
  E: [REQUEUE] b - consumer1
  C1: BURY c
  E: [BURY] c - consumer1
  C1: RESERVE
  E: [ASSIGN] d - consumer1
  S1: ASSIGN d 0
  -- 5 s pass
  E: [READY] a
  C1: TOUCH d
  C1: BURY a
  S1: ERROR this consumer does not hold task "a"
  -- 3 s pass
  E: [READY] b
  -- 6 s pass
  -- 1 s pass
  E: [REQUEUE] d - consumer1
  P1: KICK c
  SP1: OK 1
  `,
);

dialogue(
  "ConsumerSession says of a fifth failure that it buries the task",
  { tasks: ["1 a 0"] },
  [
    "-- C1 connects",
    "S1: Consumer1",
    "E: [Consumer1 connected]",
    "E: [1 consumers online]",
    ...[1, 2, 3, 4, 5].flatMap((failure) => [
      "C1: RESERVE",
      "E: [ASSIGN] a - consumer1",
      "S1: ASSIGN a 0",
      "C1: FAIL a 1",
      "E: [FAIL] a - consumer1",
      ...failure < 5 ? ["-- 1 s pass", "E: [READY] a"] : ["E: [BURY] a - consumer1"],
    ]),
    "C1: RESERVE",
    "S1: NOTASK",
  ].join("\n"),
);

dialogue(
  "ProducerSession confirms what is scheduled, and waits for room for it",
  { maxTasks: 1 },
  `
  P1: SCHEDULE 2 1 a 0 {"late": true}
  E: [CREATE] 1 a 0
  P1: SYNC
  SP1: OK 1
  P1: SCHEDULE 2 1 b 0
  (wait)
  -- 1 s pass
  -- 1 s pass
  E: [READY] a
  `,
);

dialogue(
  "ConsumerSession over a store answers a wait after what was asked before it",
  { hasStore: true },
  `
  -- C1 connects
  S1: Consumer1
  E: [Consumer1 connected]
  E: [1 consumers online]
  C1: SYNC
  C1: RESERVE 1
  C1: SYNC
  -- 1 s pass
  -- kept
  S1: OK 0
  S1: NOTASK
  -- kept
  S1: OK 0
  C1: RESERVE 9
  P1: CREATE 1 a 0
  -- kept
  E: [CREATE] 1 a 0
  -- kept
  E: [ASSIGN] a - consumer1
  S1: ASSIGN a 0
  `,
);

Deno.test({
  name: "ConsumerSession ends its wait if more than 64 commands would wait behind it",
  permissions: "none",
  fn() {
    for (const command of ["REQUEST", "SYNC", "RESERVE", "RESERVE 9"]) {
      const said = ["-- C1 connects", "C1: RESERVE 9", ...Array(64).fill(`C1: ${command}`)];
      const before = new Stage({}).play(said.join("\n")).split("\n");
      assertEquals(before.filter((line) => line.startsWith("S1: ")), ["S1: Consumer1"]);
      const answers = new Stage({}).play([...said, `C1: ${command}`].join("\n")).split("\n")
        .filter((line) => line.startsWith("S1: ")).slice(1);
      // If the next one waits as well, it has as many behind it as may wait.
      const rest = Array(command === "RESERVE 9" ? 0 : 65);
      assertEquals(answers, [
        "S1: NOTASK",
        ...rest.fill(command === "SYNC" ? "S1: OK 0" : "S1: NOTASK"),
      ]);
    }
  },
});

Deno.test({
  name: "ConsumerSession over a store lets no more wait than one batch of lines and 64 commands",
  permissions: "none",
  fn() {
    const stage = new Stage({ hasStore: true });
    const batch = Array(500).fill("C1: RESERVE 9");
    const answered = (lines: readonly string[]) =>
      stage.play(lines.join("\n")).split("\n").filter((line) => line === "S1: NOTASK").length;
    // The first commit ends the wait, the second brings what need not wait any more.
    assertEquals(answered(["-- C1 connects", ...batch, "-- kept", "-- kept"]), 500 - 64);
    assertEquals(answered([...batch, "-- kept", "-- kept"]), 1000 - 64);
  },
});

Deno.test({
  name:
    "ConsumerSession says when it keeps many payloads for replies, until it knows that they left",
  permissions: "none",
  fn() {
    for (const command of ["REQUEST", "RESERVE"]) {
      const tasks = new MemoryTasks(new TaskQueue());
      const output = { reply() {}, send() {}, event() {}, complain() {} };
      const producer = new ProducerSession(tasks, output);
      const consumer = new ConsumerSession(1, tasks, output);
      const payload = `["${"x".repeat(900)}"]`;
      for (let i = 0; i < 9; i++) producer.receive(`CREATE 2 task${i} 0 ${payload}`, () => 0);
      const keeps = [];
      for (let i = 0; i < 5; i++) {
        consumer.receive(command, () => 0);
        consumer.receive(`COMPLETE task${i}`, () => 0);
        keeps.push(consumer.keepsMuch);
      }
      assertEquals(keeps, [false, false, false, false, true]);
      consumer.noteUnsent(5);
      assertEquals(consumer.keepsMuch, true);
      consumer.noteUnsent(4);
      assertEquals(consumer.keepsMuch, false);
      consumer.receive(command, () => 0);
      assertEquals(consumer.keepsMuch, true);
      consumer.noteUnsent(0);
      assertEquals(consumer.keepsMuch, false);
    }
  },
});
