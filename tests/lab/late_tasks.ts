/**
 * Tasks whose answers come late, as over a network: an ask reaches the tasks at once, and its answer
 * comes some turns of the event loop after it was given, behind the answers before it.
 *
 * @module
 */

import type { EndedReservation, Reservation } from "../../lib/core/reservations.ts";
import type { Task, TaskDescription } from "../../lib/core/task.ts";
import type { Fullness, GivingUp, TaskCounts } from "../../lib/core/task_queue.ts";
import type { CompleteAnswer, KickAnswer, Tasks } from "../../lib/core/tasks.ts";
import type { Random } from "./random.ts";

/** Any tasks, answering late. */
export class LateTasks implements Tasks {
  readonly #tasks: Tasks;
  readonly #random: Random;
  readonly #underWay: (() => void)[] = [];
  #owed = 0;

  /** Puts a network between a caller and these tasks. */
  constructor(tasks: Tasks, random: Random) {
    this.#tasks = tasks;
    this.#random = random;
  }

  /** See {@linkcode Tasks.room}. */
  get room(): number {
    return this.#tasks.room;
  }

  /** See {@linkcode Tasks.fullOf}. */
  get fullOf(): Fullness | undefined {
    return this.#tasks.fullOf;
  }

  /** See {@linkcode Tasks.size}. */
  get size(): number {
    return this.#tasks.size;
  }

  /** See {@linkcode Tasks.counts}. */
  get counts(): TaskCounts {
    return this.#tasks.counts;
  }

  /** See {@linkcode Tasks.isSettled}. */
  get isSettled(): boolean {
    // Of what a waiting consumer was given nothing is known here before the tasks tell it.
    return this.#owed === 0 && this.#tasks.isSettled;
  }

  /** See {@linkcode Tasks.nextDueMs}. */
  get nextDueMs(): number | undefined {
    return this.#tasks.nextDueMs;
  }

  /** See {@linkcode Tasks.openConsumer}. */
  openConsumer(then: (consumer: number) => void): void {
    this.#tasks.openConsumer(this.#late(then));
  }

  /** See {@linkcode Tasks.create}. */
  create(task: TaskDescription, then: (isKept: boolean) => void): void {
    this.#tasks.create(task, this.#late(then));
  }

  /** See {@linkcode Tasks.schedule}. */
  schedule(task: TaskDescription, dueMs: number, then: (isKept: boolean) => void): void {
    this.#tasks.schedule(task, dueMs, this.#late(then));
  }

  /** See {@linkcode Tasks.kick}. */
  kick(taskId: string, then: (answer: KickAnswer) => void): void {
    this.#tasks.kick(taskId, this.#late(then));
  }

  /** See {@linkcode Tasks.request}. */
  request(then: (task: Task | undefined) => void): void {
    this.#tasks.request(this.#late(then));
  }

  /** See {@linkcode Tasks.reservedBy}. */
  reservedBy(consumer: number): number {
    return this.#tasks.reservedBy(consumer);
  }

  /** See {@linkcode Tasks.reserve}. */
  reserve(
    consumer: number,
    nowMs: number,
    then: (reservation: Reservation | undefined) => void,
  ): void {
    this.#tasks.reserve(consumer, nowMs, this.#late(then));
  }

  /** See {@linkcode Tasks.awaitTask}. */
  awaitTask(
    consumer: number,
    wait: { readonly nowMs: () => number; readonly waitMs: number },
    then: (reservation: Reservation | undefined) => void,
  ): void {
    // While the consumer waits, it is owed nothing.
    this.#tasks.awaitTask(consumer, wait, (reservation) => this.#late(then)(reservation));
  }

  /** See {@linkcode Tasks.stopWaiting}. */
  stopWaiting(consumer: number): void {
    this.#tasks.stopWaiting(consumer);
  }

  /** See {@linkcode Tasks.endWaits}. */
  endWaits(nowMs: number, options: { readonly most: number }, then: (ended: number) => void): void {
    this.#tasks.endWaits(nowMs, options, this.#late(then));
  }

  /** See {@linkcode Tasks.giveBack}. */
  giveBack(handOut: Task | Reservation, then: (isBack: boolean) => void): void {
    this.#tasks.giveBack(handOut, this.#late(then));
  }

  /** See {@linkcode Tasks.complete}. */
  complete(consumer: number, taskId: string, then: (answer: CompleteAnswer) => void): void {
    this.#tasks.complete(consumer, taskId, this.#late(then));
  }

  /** See {@linkcode Tasks.giveUp}. */
  giveUp(
    consumer: number,
    held: { readonly taskId: string; readonly how: GivingUp },
    then: (ended: EndedReservation | undefined) => void,
  ): void {
    this.#tasks.giveUp(consumer, held, this.#late(then));
  }

  /** See {@linkcode Tasks.touch}. */
  touch(
    consumer: number,
    held: { readonly taskId: string; readonly nowMs: number },
    then: (isHeld: boolean) => void,
  ): void {
    this.#tasks.touch(consumer, held, this.#late(then));
  }

  /** See {@linkcode Tasks.endConsumer}. */
  endConsumer(
    consumer: number,
    options: { readonly counts: boolean },
    then: (ended: readonly EndedReservation[]) => void,
  ): void {
    this.#tasks.endConsumer(consumer, options, this.#late(then));
  }

  /** See {@linkcode Tasks.endLeases}. */
  endLeases(
    nowMs: number,
    options: { readonly most: number },
    then: (ended: readonly EndedReservation[]) => void,
  ): void {
    this.#tasks.endLeases(nowMs, options, this.#late(then));
  }

  /** See {@linkcode Tasks.endDelays}. */
  endDelays(
    nowMs: number,
    options: { readonly most: number },
    then: (ready: readonly Task[]) => void,
  ): void {
    this.#tasks.endDelays(nowMs, options, this.#late(then));
  }

  /** See {@linkcode Tasks.afterAll}. */
  afterAll(then: () => void): void {
    this.#tasks.afterAll(this.#late(then));
  }

  #late<Answer extends readonly unknown[]>(
    then: (...answer: Answer) => void,
  ): (...answer: Answer) => void {
    this.#owed++;
    return (...answer) => {
      const arrive = () => {
        this.#owed--;
        then(...answer);
      };
      if (this.#underWay.push(arrive) === 1) this.#arriveSoon();
    };
  }

  /** In each turn some of what is under way arrives, or nothing. */
  #arriveSoon(): void {
    setTimeout(() => {
      for (let rest = this.#random.below(this.#underWay.length + 1); rest > 0; rest--) {
        // Taken out after it has arrived: what it asks then starts no second timer.
        this.#underWay[0]?.();
        this.#underWay.shift();
      }
      if (this.#underWay.length > 0) this.#arriveSoon();
    }, 0);
  }
}
