/**
 * A desk at which a test asks tasks by lines of text, for the contract in tasks_contract.ts.
 *
 * Whatever a test is about, each ask must be answered once, in its turn, and `isSettled` must be
 * false exactly while an answer is owed: the desk looks at that.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import type { EndedReservation, Reservation } from "../../lib/core/reservations.ts";
import type { CommitOutcome } from "../../lib/core/store.ts";
import type { Priority, Task } from "../../lib/core/task.ts";
import type { GivingUp } from "../../lib/core/task_queue.ts";
import type { Tasks } from "../../lib/core/tasks.ts";
import { patienceMs } from "../lab/deadline.ts";

/** Tasks, and what a test must do for them. */
export interface TasksUnderTest extends AsyncDisposable {
  /** The tasks: none yet, for at most as many as was asked for. */
  readonly tasks: Tasks;
  /** Has answers come that are owed; absent if they come by themselves. */
  readonly goOn?: () => void;
}

/** Tasks that a store keeps. */
export interface KeptTasksUnderTest extends TasksUnderTest {
  /** Starts anew with what the store has kept, as after a kill. */
  readonly restart: () => Tasks;
}

/** Tasks whose store can be told what becomes of the next commits. */
export interface RefusableTasksUnderTest extends KeptTasksUnderTest {
  /** Says what becomes of commits from now on. */
  readonly setOutcome: (outcome: CommitOutcome) => void;
}

/** Makes asks that are written as text, and watches how they are answered. */
export class Desk {
  readonly #made: TasksUnderTest | RefusableTasksUnderTest;
  #tasks: Tasks;
  /** Answers by ask; undefined while one is owed. */
  #answers: (string | undefined)[] = [];
  /** Asks that are owed an answer, in their order; an opening may come out of turn. */
  readonly #owed: { readonly ask: number; readonly isOpening: boolean }[] = [];
  readonly #handOuts = new Map<string, Task | Reservation>();
  /** What consumers that wait were told, by consumer; undefined while they wait. */
  readonly #waits = new Map<string, string | undefined>();
  /** Asks that are answered by what a consumer that waits was told, or by "waits". */
  #looksAtWaits: { readonly ask: number; readonly consumer: string }[] = [];
  readonly #faults: string[] = [];

  /** Opens the desk. */
  constructor(made: TasksUnderTest) {
    this.#made = made;
    this.#tasks = made.tasks;
  }

  /** Runs a transcript; an error shows the first asks that are answered otherwise. */
  async play(transcript: string): Promise<void> {
    const lines = transcript.trim().split("\n").map((line) => line.trim().replace(/ +->/, " ->"));
    for (let start = 0, end = 1; start < lines.length; start = end++) {
      while (lines[end]?.startsWith("+ ")) end++;
      const expected = lines.slice(start, end).map((line) => line.replace("+ ", ""));
      const asks = expected.map((line) => line.split(" -> ")[0] as string);
      const answers = await this.answers(asks);
      const actual = asks.map((ask, i) =>
        expected[i]?.includes(" -> ") ? `${ask} -> ${answers[i]}` : ask
      );
      assertEquals(actual, expected, `line ${start + 1} of\n${lines.join("\n")}`);
    }
    // An answer that is told again may come a turn later.
    this.#made.goOn?.();
    await nextTurn();
    assertEquals(this.#faults, []);
  }

  /** Makes asks together, and tells their answers when all have come. */
  async answers(asks: readonly string[]): Promise<string[]> {
    this.#answers = [];
    for (const ask of asks) {
      this.#ask(ask);
      this.#checkSettled(`after ${ask}`);
    }
    await goOnUntil(this.#made, () => this.#owed.length === 0, `the answers to ${asks}`);
    if (this.#looksAtWaits.length > 0) {
      await goOnUntil(this.#made, () => this.#tasks.isSettled, "what is told to those who wait");
    }
    for (const { ask, consumer } of this.#looksAtWaits.splice(0)) {
      this.#answers[ask] = this.#waits.get(consumer) ?? "waits";
    }
    assertEquals(this.#faults, []);
    return this.#answers as string[];
  }

  #ask(text: string): void {
    const tasks = this.#tasks;
    const [verb = "", ...words] = text.split(" ");
    const [first = ""] = words;
    switch (verb) {
      case "size":
      case "room":
        return void this.#answers.push(String(tasks[verb]));
      case "full":
        return void this.#answers.push(String(tasks.fullOf));
      case "due":
        return void this.#answers.push(String(tasks.nextDueMs ?? "never"));
      case "counts":
        return void this.#answers.push(
          Object.entries(tasks.counts).map(([state, count]) => `${count} ${state}`).join(", "),
        );
      case "await":
        return this.#await(words);
      case "waited":
        return this.#lookAtWait(first);
      case "stop":
        tasks.stopWaiting(Number(first));
        return this.#lookAtWait(first);
      case "held":
        return void this.#answers.push(String(tasks.reservedBy(Number(words[1]))));
      case "restart":
        this.#tasks = (this.#made as KeptTasksUnderTest).restart();
        return void this.#answers.push("");
      case "outcome:":
        (this.#made as RefusableTasksUnderTest).setOutcome(words.join(" ") as CommitOutcome);
        return void this.#answers.push("");
    }
    const told = this.#expectAnswer(text);
    switch (verb) {
      case "consumer":
        return tasks.openConsumer((consumer) => told(String(consumer)));
      case "create": {
        const task = taskOf(words);
        return tasks.create(task, (isKept) => told(isKept ? "kept" : "refused"));
      }
      case "schedule": {
        const due = words.indexOf("due");
        const task = taskOf(words.slice(0, due));
        return tasks.schedule(task, Number(words[due + 1]), (isKept) => {
          told(isKept ? "kept" : "refused");
        });
      }
      case "request":
        return tasks.request((task) => told(this.#noteHandOut(task, task)));
      case "reserve":
        return tasks.reserve(Number(first), Number(words[2]), (reservation) => {
          assertEquals(reservation?.consumer ?? Number(first), Number(first));
          told(this.#noteHandOut(reservation?.task, reservation));
        });
      case "give": {
        const handOut = this.#handOuts.get(words.slice(1).join(" "));
        assert(handOut !== undefined, `${text}: nothing was handed out so`);
        return tasks.giveBack(handOut, (isBack) => told(isBack ? "back" : "not held"));
      }
      case "complete":
        return tasks.complete(Number(first), words[1] as string, told);
      case "release":
      case "fail":
      case "bury": {
        const held = { taskId: words[1] as string, how: givingUpOf(text) };
        return tasks.giveUp(Number(first), held, (ended) => {
          told(listOf(ended === undefined ? [] : [ended]));
        });
      }
      case "touch": {
        const held = { taskId: words[1] as string, nowMs: Number(words[3]) };
        return tasks.touch(Number(first), held, (isHeld) => told(isHeld ? "held" : "not held"));
      }
      case "delays": {
        const [, time, most] = /at (\d+)(?:, (\d+) at most)?/.exec(text) ?? [];
        const options = { most: Number(most ?? Infinity) };
        return tasks.endDelays(Number(time), options, (ready) => {
          told(ready.map(nameOf).join(", ") || "nothing");
        });
      }
      case "waits": {
        const [, time, most] = /at (\d+)(?:, (\d+) at most)?/.exec(text) ?? [];
        const options = { most: Number(most ?? Infinity) };
        return tasks.endWaits(Number(time), options, (ended) => told(`${ended} ended`));
      }
      case "kick":
        return tasks.kick(first, told);
      case "end": {
        const counts = words[1] !== "uncounted";
        return tasks.endConsumer(Number(first), { counts }, (ended) => told(listOf(ended)));
      }
      case "leases": {
        const [, time, most] = /at (\d+)(?:, (\d+) at most)?/.exec(text) ?? [];
        const options = { most: Number(most ?? Infinity) };
        return tasks.endLeases(Number(time), options, (ended) => told(listOf(ended)));
      }
      case "after":
        return tasks.afterAll(() => told("told"));
      default:
        throw new Error(`no such ask: ${text}`);
    }
  }

  /** Has a consumer wait: `await 1 at 0 for 1000`. It may be told at once, or much later. */
  #await([consumer = "", , now, , waitMs]: readonly string[]): void {
    const nowMs = () => Number(now);
    this.#waits.set(consumer, undefined);
    this.#tasks.awaitTask(Number(consumer), { nowMs, waitMs: Number(waitMs) }, (reservation) => {
      if (this.#waits.get(consumer) !== undefined) this.#faults.push(`${consumer} is told again`);
      this.#waits.set(consumer, this.#noteHandOut(reservation?.task, reservation));
    });
    this.#lookAtWait(consumer);
  }

  #lookAtWait(consumer: string): void {
    this.#looksAtWaits.push({ ask: this.#answers.push("") - 1, consumer });
  }

  /** Makes what takes an answer; it must be called once, and in its turn. */
  #expectAnswer(text: string): (answer: string) => void {
    const answers = this.#answers;
    const ask = answers.push(undefined) - 1;
    const owed = { ask, isOpening: text === "consumer" };
    this.#owed.push(owed);
    return (answer) => {
      if (answers[ask] !== undefined) this.#faults.push(`${text} is answered again: ${answer}`);
      const isInTurn = this.#owed.find((other) => other.isOpening === owed.isOpening) === owed;
      if (!isInTurn) this.#faults.push(`${text} is answered out of its turn: ${answer}`);
      answers[ask] = answer;
      const at = this.#owed.indexOf(owed);
      if (at >= 0) this.#owed.splice(at, 1);
      this.#checkSettled(`when ${text} is answered`);
    };
  }

  #checkSettled(moment: string): void {
    const { isSettled } = this.#tasks;
    // Who waits may be owed an answer since somebody else's ask.
    if (this.#waits.size > 0) return;
    if (isSettled !== (this.#owed.length === 0)) {
      this.#faults.push(`${moment} ${this.#owed.length} answers are owed, isSettled ${isSettled}`);
    }
  }

  #noteHandOut(task: Task | undefined, handOut: Task | Reservation | undefined): string {
    const name = nameOf(task);
    if (handOut !== undefined) this.#handOuts.set(name, handOut);
    return name;
  }
}

function taskOf([priority, taskId = "", duration = "", ...payload]: readonly string[]) {
  const task = { priority: Number(priority) as Priority, taskId, duration };
  return payload.length === 0 ? task : { ...task, payload: payload.join(" ") };
}

/** Reads `release 1 a`, `release 1 a until 5`, `fail 1 a at 0`, `fail 1 a at 0 for 5`, `bury 1 a`. */
function givingUpOf(text: string): GivingUp {
  const [, kind, until, now, delay] =
    /^(\w+) \d+ \S+(?: until (\d+))?(?: at (\d+))?(?: for (\d+))?$/.exec(text) ?? [];
  switch (kind) {
    case "release":
      return { kind, dueMs: until === undefined ? undefined : Number(until) };
    case "fail":
      return { kind, nowMs: Number(now), delayMs: delay === undefined ? undefined : Number(delay) };
    default:
      return { kind: "bury" };
  }
}

function nameOf(task: Task | undefined): string {
  if (task === undefined) return "nothing";
  const { taskId, duration, payload } = task;
  return [taskId, duration, ...payload === undefined ? [] : [payload]].join(" ");
}

function listOf(ended: readonly EndedReservation[]): string {
  const names = ended.map(({ task, isBuried }) => nameOf(task) + (isBuried ? " buried" : ""));
  return names.join(", ") || "nothing";
}

/** Lets time pass, turn by turn, until something is so. */
export async function goOnUntil(
  made: TasksUnderTest,
  isSo: () => boolean,
  what: string,
): Promise<void> {
  const endMs = performance.now() + patienceMs;
  while (!isSo()) {
    assert(performance.now() < endMs, `waited ${patienceMs} ms for ${what}`);
    made.goOn?.();
    if (!isSo()) await nextTurn();
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}
