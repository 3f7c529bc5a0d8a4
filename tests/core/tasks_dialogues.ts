/**
 * Dialogues that go the same way over any tasks, whenever they answer.
 *
 * What peers say together stands together; below it stands all that comes of it.
 *
 * ```text
 * C1: text           consumer 1 says this; P1: producer 1
 * S1: text           what consumer 1 is answered; SP1: producer 1
 * -- C1 connects     also: ends, ends with 2 replies unsent
 * E: text            an event line of the server
 * ```
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { formatServerEvent } from "../../lib/core/events.ts";
import { formatReply } from "../../lib/core/protocol.ts";
import { ConsumerSession, ProducerSession, type SessionOutput } from "../../lib/core/session.ts";
import type { QueueLimits } from "../../lib/core/task_queue.ts";
import type { Register } from "./store_contract.ts";
import { goOnUntil, type TasksUnderTest } from "./tasks_desk.ts";

/** Registers the dialogues over some tasks. */
export function tasksDialogues(
  name: string,
  make: (limits: QueueLimits) => TasksUnderTest,
  register: Register,
): void {
  const dialogue = (promise: string, transcript: string) =>
    register(`${name}: ${promise}`, async () => {
      await using made = make({ maxTasks: 100 });
      const lines = transcript.trim().split("\n").map((line) => line.trim());
      assertEquals(await new Talk(made).play(lines), lines);
    });

  dialogue(
    "a producer that says all at once is answered in turn, and what SYNC confirms is there",
    `
    P1: CREATE 1 a 0
    P1: CREATE 9 b 0
    P1: CREATE 2 c 1.5
    P1: SYNC
    P1: KICK a
    P1: CREATE 3 d 0
    P1: SYNC
    E: [CREATE] 1 a 0
    SP1: ERROR priority must be 1, 2 or 3, got "9"
    E: [CREATE] 2 c 1.5
    SP1: OK 2
    SP1: ERROR no task "a" is buried
    E: [CREATE] 3 d 0
    SP1: OK 3
    -- C1 connects
    S1: Consumer1
    E: [Consumer1 connected]
    E: [1 consumers online]
    C1: REQUEST
    C1: RESERVE
    C1: REQUEST 1
    C1: COMPLETE a
    C1: COMPLETE c
    C1: REQUEST
    C1: REQUEST
    E: [ASSIGN] a - consumer1
    S1: ASSIGN a 0
    E: [ASSIGN] c - consumer1
    S1: ASSIGN c 1.5
    S1: ERROR there is a field too many: expected "REQUEST", got "REQUEST 1"
    S1: ERROR this consumer does not hold task "a"
    E: [COMPLETE] c - consumer1
    E: [ASSIGN] d - consumer1
    S1: ASSIGN d 0
    S1: NOTASK
    `,
  );

  dialogue(
    "two consumers get their tasks in the order of their asks, and what one held the other gets",
    `
    P1: CREATE 2 a 0
    P1: CREATE 2 b 0
    P1: CREATE 2 c 0
    E: [CREATE] 2 a 0
    E: [CREATE] 2 b 0
    E: [CREATE] 2 c 0
    -- C1 connects
    S1: Consumer1
    E: [Consumer1 connected]
    E: [1 consumers online]
    -- C2 connects
    S2: Consumer2
    E: [Consumer2 connected]
    E: [2 consumers online]
    C1: RESERVE
    C2: RESERVE
    C1: REQUEST
    E: [ASSIGN] a - consumer1
    S1: ASSIGN a 0
    E: [ASSIGN] b - consumer2
    S2: ASSIGN b 0
    E: [ASSIGN] c - consumer1
    S1: ASSIGN c 0
    -- C1 ends with 1 replies unsent
    C2: RELEASE b
    C2: REQUEST
    C2: REQUEST
    C2: REQUEST
    C2: REQUEST
    E: [Consumer 1 disconnected]
    E: [1 consumers online]
    E: [REQUEUE] c - consumer1
    E: [REQUEUE] a - consumer1
    E: [REQUEUE] b - consumer2
    E: [ASSIGN] a - consumer2
    S2: ASSIGN a 0
    E: [ASSIGN] b - consumer2
    S2: ASSIGN b 0
    E: [ASSIGN] c - consumer2
    S2: ASSIGN c 0
    S2: NOTASK
    `,
  );

  register(
    `${name}: a consumer that ends while answers are owed leaves nothing behind`,
    async () => {
      await using made = make({ maxTasks: 100 });
      const talk = new Talk(made);
      await talk.play(["P1: CREATE 1 a 0", "P1: CREATE 2 b 0", "P1: CREATE 3 c 0"]);
      await talk.play(["-- C1 connects"]);
      // What it is told at once has not left either.
      await talk.play(["C1: REQUEST", "C1: RESERVE", "C1: REQUEST", "-- C1 ends unread"]);
      await talk.play(["-- C2 connects"]);
      const said = await talk.play(["C2: REQUEST", "C2: REQUEST", "C2: REQUEST", "C2: REQUEST"]);
      assertEquals(said.filter((line) => line.startsWith("S2: ")), [
        "S2: ASSIGN a 0",
        "S2: ASSIGN b 0",
        "S2: ASSIGN c 0",
        "S2: NOTASK",
      ]);
    },
  );
}

/** Sessions over the tasks, and what comes of what their peers say. */
class Talk {
  readonly #made: TasksUnderTest;
  readonly #sessions = new Map<string, ProducerSession | ConsumerSession>();
  /** How many replies each peer was sent. */
  readonly #replies = new Map<string, number>();
  /** What came of what was said since the last line. */
  #came: string[] = [];
  #online = 0;

  constructor(made: TasksUnderTest) {
    this.#made = made;
  }

  /** Runs the lines that peers say; returns them with what came of them. */
  async play(lines: readonly string[]): Promise<string[]> {
    const said: string[] = [];
    for (const [i, line] of lines.entries()) {
      if (!/^([CP]\d: |-- )/.test(line)) continue;
      said.push(line);
      await this.#take(line);
      // What stands together is said together.
      if (/^([CP]\d: |-- C\d ends)/.test(lines[i + 1] ?? "")) continue;
      await this.#settle();
      said.push(...this.#came.splice(0));
    }
    return said;
  }

  async #take(line: string): Promise<void> {
    const [, name = "", text = ""] = /^(?:-- )?([CP]\d):? (.*)$/.exec(line) ?? [];
    if (text === "connects") return await this.#connect(name);
    if (text.startsWith("ends")) return this.#end(name, text);
    let session = this.#sessions.get(name);
    if (session === undefined) {
      session = new ProducerSession(this.#made.tasks, this.#outputTo(name));
      this.#sessions.set(name, session);
    }
    assertEquals(session.receive(text, () => 0), "next");
  }

  async #connect(name: string): Promise<void> {
    const { tasks } = this.#made;
    let number = 0;
    tasks.openConsumer((consumer) => number = consumer);
    await this.#settle();
    assertEquals(`C${number}`, name);
    const session = new ConsumerSession(number, tasks, this.#outputTo(name));
    this.#sessions.set(name, session);
    session.open(++this.#online);
  }

  #end(name: string, how: string): void {
    const session = this.#sessions.get(name) as ConsumerSession;
    // All but the greeting.
    const unread = (this.#replies.get(name) ?? 0) - 1;
    const unsentReplies = how === "ends unread" ? unread : Number(how.split(" ")[2] ?? 0);
    session.end(--this.#online, { unsentReplies });
  }

  async #settle(): Promise<void> {
    await goOnUntil(this.#made, () => this.#made.tasks.isSettled, "the tasks to settle");
  }

  #outputTo(name: string): SessionOutput {
    return {
      reply: (reply) => {
        this.#replies.set(name, (this.#replies.get(name) ?? 0) + 1);
        this.#came.push(`S${name.replace("C", "")}: ${formatReply(reply)}`);
      },
      send: () => {},
      event: (event) => this.#came.push(`E: ${formatServerEvent(event)}`),
      complain: () => {},
    };
  }
}
