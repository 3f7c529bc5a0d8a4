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
        const [priority, taskId = "", duration = ""] = words;
        const task = { priority: Number(priority) as Priority, taskId, duration };
        return tasks.create(task, (isKept) => told(isKept ? "kept" : "refused"));
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
        return tasks.release(Number(first), words[1] as string, (reservation) => {
          told(nameOf(reservation?.task));
        });
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

function nameOf(task: Task | undefined): string {
  return task === undefined ? "nothing" : `${task.taskId} ${task.duration}`;
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
