/**
 * The port to tasks that an engine keeps for several fronts: each answer is told after the turn that
 * holds its cause.
 *
 * Asks wait in a line. When no turn is under way, a turn is made of the first ones, and its receipt
 * answers them, in their order. So an ask takes effect when its turn is made: by then all answers
 * before that turn are known, and only the hand-outs of the same turn are not. Whoever depends on one
 * of those has the turn end before it.
 *
 * Who holds what until when, and who waits for a task, is known here alone: a front that dies takes
 * its connections with it, and the engine gives back what they held.
 *
 * @module
 */

import { type Clock, systemClock } from "../lib/clock.ts";
import { highestMaxLineBytes } from "../lib/core/protocol.ts";
import {
  type EndedReservation,
  maxReservationsPerConsumer,
  type Reservation,
  Reservations,
} from "../lib/core/reservations.ts";
import type { TaskState } from "../lib/core/store.ts";
import type { Task, TaskDescription } from "../lib/core/task.ts";
import { type CountedTotals, noTotals } from "../lib/core/task_totals.ts";
import {
  defaultMaxPayloadChars,
  defaultMaxTasks,
  endsBeforeBurial,
  failedState,
  type Fullness,
  type GivingUp,
  type QueueLimits,
  type TaskCounts,
} from "../lib/core/task_queue.ts";
import { type CompleteAnswer, earlier, type KickAnswer, type Tasks } from "../lib/core/tasks.ts";
import { WaitingConsumers } from "../lib/core/waiting_consumers.ts";
import {
  decodeReceipt,
  type EngineState,
  type EngineTask,
  maxParts,
  type Receipt,
  Turn,
  type TurnArguments,
} from "./turn.ts";

/** Without an ask, a turn is made this often, in milliseconds: it shows that this front lives. */
const heartbeatMs = 2000;

/**
 * Hand-outs asked for at least if consumers wait and some task may be there. Who is left waits for the
 * next turn, if all of these got one. With 5,000 in vain, each new task cost a front 4 ms of CPU.
 */
const takesAtNotice = 100;

/**
 * For how long a turn may wait for those whom the last one has answered, as a part of the time that it
 * took, and at most in milliseconds. Clients that wait for their answers before they go on would else
 * fall into two halves, each of which takes part in every other turn.
 */
const [gatheringPart, mostGatheringMs] = [1 / 3, 20];

/** What makes turns. */
export interface TurnMaker {
  /**
   * Makes the next turn, and tells its receipt, however long that takes.
   *
   * @throws what keeps the tasks can be trusted no more, or this front has been given up.
   */
  turn(turn: TurnArguments): Promise<string>;
}

/** How a front keeps tasks in an engine. */
export interface EngineTasksOptions extends QueueLimits {
  /** Is told when no further answer will come, and why. */
  readonly onFailure: (error: unknown) => void;
  /** Added to times that are asked for, it makes milliseconds since 1970 of them. */
  readonly epochMs: number;
  /** Tells the time since an ask, and calls back. */
  readonly clock?: Clock;
}

/** Takes part in a turn, and says what is to be done with the receipt; or belongs into the next one. */
type Ask = (turn: Turn) => Effect | undefined;
type Effect = (receipt: Receipt) => void;

const nothingYet: EngineState = {
  counts: { ready: 0, delayed: 0, reserved: 0, buried: 0 },
  payloadChars: 0,
  due: undefined,
};

/** Tasks of which each front has a part in its hands. */
export class EngineTasks implements Tasks {
  readonly #turns: TurnMaker;
  readonly #onFailure: (error: unknown) => void;
  readonly #epochMs: number;
  readonly #clock: Clock;
  readonly #maxTasks: number;
  readonly #maxPayloadChars: number;
  readonly #held = new Reservations();
  readonly #waiting = new WaitingConsumers();
  /** Consumers that wait, or will once it is known that there is no task. */
  readonly #awaiting = new Set<number>();
  /** Counts of ends of tasks that are or were in this front's hands, if any. */
  readonly #ends = new WeakMap<Task, number>();
  #asks: Ask[] = [];
  /** Asks that are not answered. */
  #owed = 0;
  #isTurning = false;
  /** If so many asks wait, the next turn waits for no more. */
  #enough = 0;
  #stopGathering: (() => void) | undefined;
  #isDue = false;
  #hasFailed = false;
  #lastTurnMs: number;
  /** Whether there seems to be a task for those who wait. */
  #mayServe = false;
  #state = nothingYet;
  /** New tasks that the state does not count yet. */
  readonly #underWay = { tasks: 0, chars: 0 };
  /** What has happened at this front. */
  readonly totals: CountedTotals = noTotals();

  /** Makes the port to an engine. */
  constructor(turns: TurnMaker, options: EngineTasksOptions) {
    this.#turns = turns;
    this.#onFailure = options.onFailure;
    this.#epochMs = options.epochMs;
    this.#clock = options.clock ?? systemClock;
    this.#maxTasks = options.maxTasks ?? defaultMaxTasks;
    this.#maxPayloadChars = options.maxPayloadChars ?? defaultMaxPayloadChars;
    this.#lastTurnMs = this.#clock.nowMs();
  }

  /** See {@linkcode Tasks.room}; as far as is known of other fronts. */
  get room(): number {
    const chars = this.#maxPayloadChars - this.#state.payloadChars - this.#underWay.chars;
    return Math.max(
      0,
      Math.min(this.#maxTasks - this.size, Math.ceil(chars / highestMaxLineBytes)),
    );
  }

  /** See {@linkcode Tasks.fullOf}. */
  get fullOf(): Fullness | undefined {
    if (this.room > 0) return undefined;
    return this.size < this.#maxTasks ? "payloads" : "tasks";
  }

  /** See {@linkcode Tasks.size}: of all fronts, as of the last turn. */
  get size(): number {
    const { ready, delayed, reserved, buried } = this.#state.counts;
    return ready + delayed + reserved + buried + this.#underWay.tasks;
  }

  /** See {@linkcode Tasks.counts}: of all fronts, as of the last turn. */
  get counts(): TaskCounts {
    return this.#state.counts;
  }

  /** See {@linkcode Tasks.isSettled}. */
  get isSettled(): boolean {
    return this.#owed === 0 && !this.#servesWaiting;
  }

  /** See {@linkcode Tasks.nextDueMs}. */
  get nextDueMs(): number | undefined {
    return earlier(this.#nextDelayEndMs, this.#waiting.nextEndMs);
  }

  /** How many consumers wait for a task at this front. */
  get waitingConsumers(): number {
    return this.#waiting.size;
  }

  get #nextDelayEndMs(): number | undefined {
    const { due } = this.#state;
    return due === undefined ? undefined : due - this.#epochMs;
  }

  get #servesWaiting(): boolean {
    return this.#mayServe && this.#waiting.size > 0;
  }

  /** To be called when another front may have made a task ready. */
  notice(): void {
    if (this.#waiting.size === 0) return;
    this.#mayServe = true;
    this.#turnSoon();
  }

  /**
   * To be called about once per second: shows that this front lives, and looks for tasks of which
   * nobody has told those who wait.
   */
  beat(): void {
    this.notice();
    if (this.#clock.nowMs() - this.#lastTurnMs >= heartbeatMs) this.refresh();
  }

  /** Makes a turn, though nothing is asked: so the counts are as of now. */
  refresh(): void {
    this.#isDue = true;
    this.#turnSoon();
  }

  /** See {@linkcode Tasks.openConsumer}. */
  openConsumer(then: (consumer: number) => void): void {
    this.#ask((turn) => {
      const index = turn.openConsumer();
      return ({ consumers }) => then(consumers[index] as number);
    });
  }

  /** See {@linkcode Tasks.create}. */
  create(task: TaskDescription, then: (isKept: boolean) => void): void {
    this.#create(task, undefined, then);
  }

  /** See {@linkcode Tasks.schedule}. */
  schedule(task: TaskDescription, dueMs: number, then: (isKept: boolean) => void): void {
    this.#create(task, dueMs + this.#epochMs, then);
  }

  #create(
    description: TaskDescription,
    due: number | undefined,
    then: (isKept: boolean) => void,
  ): void {
    if (this.room === 0) throw new RangeError("the queue is full");
    const chars = description.payload?.length ?? 0;
    this.#underWay.tasks++;
    this.#underWay.chars += chars;
    this.#ask((turn) => {
      turn.create(description, due);
      return () => {
        this.totals.created[description.priority]++;
        then(true);
      };
    });
  }

  /** See {@linkcode Tasks.kick}. */
  kick(taskId: string, then: (answer: KickAnswer) => void): void {
    this.#ask((turn) => {
      const index = turn.kick(taskId);
      return ({ kicked }) => {
        const isKicked = kicked.has(index);
        if (isKicked) this.totals.kicked++;
        then(isKicked ? "kicked" : "not buried");
      };
    });
  }

  /** See {@linkcode Tasks.request}. */
  request(then: (task: Task | undefined) => void): void {
    this.#ask((turn) => {
      const index = turn.take();
      return ({ taken }) => {
        const task = this.#remember(taken[index], this.totals.requested);
        if (task === undefined) this.totals.emptyRequests++;
        then(task);
      };
    });
  }

  /** See {@linkcode Tasks.reservedBy}. */
  reservedBy(consumer: number): number {
    return this.#held.countOf(consumer);
  }

  /** See {@linkcode Tasks.reserve}; the lease begins when the task is handed out. */
  reserve(
    consumer: number,
    nowMs: number,
    then: (reservation: Reservation | undefined) => void,
  ): void {
    const askedMs = this.#clock.nowMs();
    this.#ask((turn) =>
      this.#take(consumer, turn, (taken, isAtLimit) => {
        if (taken === undefined && !isAtLimit) this.totals.emptyRequests++;
        const leaseStartMs = nowMs + this.#clock.nowMs() - askedMs;
        then(taken && this.#held.hold(taken, consumer, leaseStartMs));
      })
    );
  }

  /** See {@linkcode Tasks.awaitTask}. */
  awaitTask(
    consumer: number,
    wait: { readonly nowMs: () => number; readonly waitMs: number },
    then: (reservation: Reservation | undefined) => void,
  ): void {
    const { nowMs, waitMs } = wait;
    const untilMs = nowMs() + waitMs;
    this.#awaiting.add(consumer);
    const tell = (reservation: Reservation | undefined) => {
      this.#awaiting.delete(consumer);
      then(reservation);
    };
    const join = () => this.#waiting.add({ consumer, nowMs, then: tell }, untilMs);
    this.#ask((turn) => {
      if (this.#waiting.size > 0 && !this.#isAtLimit(consumer)) {
        // Behind those who wait longer.
        join();
        return () => {};
      }
      turn.waiting = true;
      return this.#take(consumer, turn, (taken, isAtLimit) => {
        if (taken !== undefined) tell(this.#held.hold(taken, consumer, nowMs()));
        else if (isAtLimit) tell(undefined);
        else join();
      });
    });
  }

  /** See {@linkcode Tasks.stopWaiting}. */
  stopWaiting(consumer: number): void {
    if (!this.#awaiting.has(consumer)) return;
    this.#ask((turn) => {
      if (turn.takesFor(consumer) > 0) return undefined;
      const waiter = this.#waiting.end(consumer);
      return () => waiter?.then(undefined);
    });
  }

  /** See {@linkcode Tasks.endWaits}. */
  endWaits(nowMs: number, options: { readonly most: number }, then: (ended: number) => void): void {
    this.#askIf((this.#waiting.nextEndMs ?? Infinity) <= nowMs, () => {
      const ended = this.#waiting.endOver(nowMs, options);
      return () => {
        for (const waiter of ended) waiter.then(undefined);
        then(ended.length);
      };
    }, () => then(0));
  }

  /** See {@linkcode Tasks.giveBack}. */
  giveBack(handOut: Task | Reservation, then: (isBack: boolean) => void): void {
    this.#ask((turn) => {
      if (!("task" in handOut)) {
        if (!turn.mayPutBack()) return undefined;
        turn.giveBack({ task: handOut, ends: this.#endsOf(handOut) });
        this.totals.returned.unsent++;
        this.totals.requestsUndone++;
        return () => then(true);
      }
      if (!turn.mayPutBack(handOut.consumer)) return undefined;
      const isBack = this.#held.letGo(handOut);
      if (isBack) {
        this.#putBack(turn, handOut);
        this.totals.returned.unsent++;
      }
      return () => then(isBack);
    });
  }

  /** See {@linkcode Tasks.complete}. */
  complete(consumer: number, taskId: string, then: (answer: CompleteAnswer) => void): void {
    this.#ask((turn) => {
      const held = this.#held.letGoNamed(consumer, taskId);
      if (held === undefined && turn.takesFor(consumer) > 0) return undefined;
      if (held !== undefined) {
        turn.complete(held.task);
        this.totals.completed++;
      }
      return () => then(held === undefined ? "not held" : "completed");
    });
  }

  /** See {@linkcode Tasks.giveUp}. */
  giveUp(
    consumer: number,
    { taskId, how }: { readonly taskId: string; readonly how: GivingUp },
    then: (ended: EndedReservation | undefined) => void,
  ): void {
    this.#ask((turn) => {
      if (!turn.mayPutBack(consumer)) return undefined;
      const held = this.#held.letGoNamed(consumer, taskId);
      const ended = held && this.#putBack(turn, held, stateAfter(how, this.#endsOf(held.task)));
      if (ended !== undefined && how.kind === "release") this.totals.returned.released++;
      if (ended !== undefined && how.kind === "fail") this.totals.failed++;
      return () => then(ended);
    });
  }

  /** See {@linkcode Tasks.touch}. */
  touch(
    consumer: number,
    { taskId, nowMs }: { readonly taskId: string; readonly nowMs: number },
    then: (isHeld: boolean) => void,
  ): void {
    this.#ask((turn) => {
      const isHeld = this.#held.touch(consumer, taskId, nowMs);
      return !isHeld && turn.takesFor(consumer) > 0 ? undefined : () => then(isHeld);
    });
  }

  /** See {@linkcode Tasks.endConsumer}. */
  endConsumer(
    consumer: number,
    options: { readonly counts: boolean },
    then: (ended: readonly EndedReservation[]) => void,
  ): void {
    this.#ask((turn) => {
      if (!turn.mayPutBack(consumer)) return undefined;
      const ended = this.#held.letGoAll(consumer).map((held) =>
        this.#countEnd("gone", options.counts ? this.#end(turn, held) : this.#putBack(turn, held))
      );
      return () => then(ended);
    });
  }

  /** See {@linkcode Tasks.endLeases}. */
  endLeases(
    nowMs: number,
    { most }: { readonly most: number },
    then: (ended: readonly EndedReservation[]) => void,
  ): void {
    this.#askIf((this.#held.nextLeaseEndMs ?? Infinity) <= nowMs, (turn) => {
      if ((this.#held.nextLeaseEndMs ?? Infinity) <= nowMs && !turn.mayPutBack()) return undefined;
      const ended: EndedReservation[] = [];
      while (ended.length < most) {
        const held = this.#held.letGoEnded(nowMs);
        if (held === undefined) break;
        ended.push(this.#countEnd("lease", this.#end(turn, held)));
      }
      return () => then(ended);
    }, () => then([]));
  }

  /** See {@linkcode Tasks.endDelays}; of all fronts one makes a task ready. */
  endDelays(
    nowMs: number,
    { most }: { readonly most: number },
    then: (ready: readonly Task[]) => void,
  ): void {
    this.#askIf((this.#nextDelayEndMs ?? Infinity) <= nowMs, (turn) => {
      if (!turn.mayEndDelays) return undefined;
      turn.endDelays(nowMs + this.#epochMs, Math.min(most, maxDelaysAtOnce));
      return ({ ready }) => then(ready.map(({ task }) => task));
    }, () => then([]));
  }

  /** See {@linkcode Tasks.afterAll}. */
  afterAll(then: () => void): void {
    this.#askIf(false, () => then, then);
  }

  /** Has a consumer take the first task, if it may hold one more. */
  #take(
    consumer: number,
    turn: Turn,
    then: (taken: Task | undefined, isAtLimit: boolean) => void,
  ): Effect | undefined {
    if (this.#isAtLimit(consumer)) return () => then(undefined, true);
    const most = maxReservationsPerConsumer - turn.takesFor(consumer);
    if (this.#held.countOf(consumer) >= most) return undefined;
    const index = turn.take(consumer);
    return ({ taken }) => then(this.#remember(taken[index], this.totals.reserved), false);
  }

  #isAtLimit(consumer: number): boolean {
    return this.#held.countOf(consumer) >= maxReservationsPerConsumer;
  }

  #remember(
    taken: EngineTask | undefined,
    handedOut: CountedTotals["requested"],
  ): Task | undefined {
    if (taken === undefined) return undefined;
    handedOut[taken.task.priority]++;
    if (taken.ends > 0) this.#ends.set(taken.task, taken.ends);
    return taken.task;
  }

  #endsOf(task: Task): number {
    return this.#ends.get(task) ?? 0;
  }

  /** Ends an attempt that was not completed: this counts, and may bury the task. */
  #end(turn: Turn, held: Reservation): EndedReservation {
    const ends = this.#endsOf(held.task) + 1;
    const isBuried = ends >= endsBeforeBurial;
    return this.#putBack(turn, held, { ends, isBuried, dueMs: undefined });
  }

  /** Counts why a task is held no more, unless it is buried. */
  #countEnd(why: "lease" | "gone", ended: EndedReservation): EndedReservation {
    if (!ended.isBuried) this.totals.returned[why]++;
    return ended;
  }

  /** Puts back a task that is held no more; left out: ready, and counted as before. */
  #putBack(turn: Turn, { task, consumer }: Reservation, state?: TaskState): EndedReservation {
    const { ends = this.#endsOf(task), isBuried = false, dueMs } = state ?? {};
    const due = dueMs === undefined ? undefined : dueMs + this.#epochMs;
    turn.putBack(task, { ends, isBuried, dueMs: due });
    if (isBuried) this.totals.burials++;
    return { task, consumer, isBuried };
  }

  /**
   * Answers at once what is asked for several times per second if there is nothing to do for it, and
   * nothing that was asked earlier must be answered first.
   */
  #askIf(hasToDo: boolean, ask: Ask, atOnce: () => void): void {
    if (hasToDo || !this.isSettled) this.#ask(ask);
    else atOnce();
  }

  #ask(ask: Ask): void {
    this.#owed++;
    this.#asks.push(ask);
    if (this.#asks.length >= this.#enough) this.#stopGathering?.();
    this.#turnSoon();
  }

  /** Makes a turn once the input that is ready is read, or else when the one under way is over. */
  #turnSoon(): void {
    if (this.#isTurning || this.#hasFailed) return;
    this.#isTurning = true;
    this.#clock.afterInput(() => this.#makeTurn());
  }

  async #makeTurn(): Promise<void> {
    let gatheringMs = 0;
    try {
      const turn = new Turn(this.#state.payloadChars / Math.max(1, this.size));
      const effects = this.#gather(turn);
      const isNeeded = this.#isDue || !turn.isEmpty;
      this.#isDue = false;
      if (isNeeded) {
        const startMs = this.#lastTurnMs = this.#clock.nowMs();
        const receipt = await this.#receiptOf(turn);
        const tookMs = this.#clock.nowMs() - startMs;
        gatheringMs = Math.min(Math.floor(tookMs * gatheringPart), mostGatheringMs);
        this.#enough = Math.min(this.#asks.length + effects.length, maxParts);
        this.#settle(turn, receipt, effects);
      } else {
        this.#settle(turn, { ...noReceipt, state: this.#state }, effects);
      }
    } catch (error) {
      this.#hasFailed = true;
      this.#onFailure(error);
      return;
    }
    if (gatheringMs > 0 && this.#asks.length > 0) await this.#gatherMore(gatheringMs);
    this.#isTurning = false;
    if (this.#asks.length > 0 || this.#servesWaiting || this.#isDue) this.#turnSoon();
  }

  /** Asks the engine, again and again if payloads have no room in one receipt. */
  async #receiptOf(turn: Turn): Promise<Receipt> {
    let receipt = decodeReceipt(await this.#turns.turn(turn.encode()));
    while (receipt.isCut) {
      const rest = turn.takesAfter(receipt.taken.length);
      const { taken, isCut, state } = decodeReceipt(await this.#turns.turn(rest.encode()));
      receipt = { ...receipt, taken: [...receipt.taken, ...taken], isCut, state };
    }
    return receipt;
  }

  /** Waits until those who were just answered have asked again, but only for some milliseconds. */
  async #gatherMore(ms: number): Promise<void> {
    if (this.#asks.length >= this.#enough) return;
    const gathered = Promise.withResolvers<void>();
    this.#stopGathering = gathered.resolve;
    const cancel = this.#clock.after(ms, gathered.resolve);
    await gathered.promise;
    cancel();
    this.#stopGathering = undefined;
  }

  /** Has the first asks take part in a turn, and then those who wait. */
  #gather(turn: Turn): Effect[] {
    const effects: Effect[] = [];
    for (const ask of this.#asks) {
      const effect = turn.isFull ? undefined : ask(turn);
      if (effect === undefined) break;
      effects.push((receipt) => {
        this.#owed--;
        effect(receipt);
      });
    }
    this.#asks = this.#asks.slice(effects.length);
    if (this.#servesWaiting) {
      const first = turn.takes;
      const most = first + Math.max(this.#state.counts.ready, takesAtNotice);
      for (const consumer of this.#waiting.consumers) {
        if (turn.isFull || turn.takes === most) break;
        turn.take(consumer);
      }
      this.#owed++;
      effects.push(({ taken }) => {
        this.#owed--;
        this.#grant(taken.slice(first));
      });
      this.#mayServe = false;
    }
    turn.waiting ||= this.#waiting.size > 0;
    return effects;
  }

  /** Hands tasks out to those who wait longest. */
  #grant(taken: readonly EngineTask[]): void {
    let next = 0;
    const grants = this.#waiting.grant({
      get readyCount() {
        return taken.length - next;
      },
      reserve: (consumer, nowMs) => {
        const task = this.#remember(taken[next++], this.totals.reserved);
        return task && this.#held.hold(task, consumer, nowMs);
      },
    });
    for (const { then, reservation } of grants) then(reservation);
  }

  #settle(turn: Turn, receipt: Receipt, effects: readonly Effect[]): void {
    this.#state = receipt.state;
    this.#underWay.tasks -= turn.created.tasks;
    this.#underWay.chars -= turn.created.chars;
    for (const effect of effects) effect(receipt);
    // If hand-outs were asked for and some got nothing, there is only what came after them.
    const hasMore = receipt.taken.length === turn.takes || turn.makesReadyLate;
    if (hasMore && receipt.state.counts.ready > 0 && !turn.isEmpty) this.#mayServe = true;
  }
}

/** Most delays ended in one turn. */
const maxDelaysAtOnce = 5000;

/** The receipt of a turn that the engine need not hear of. */
const noReceipt = {
  ...{ taken: [], ready: [], kicked: new Set<number>(), consumers: [] },
  isCut: false,
};

/** The state of a task that its consumer gives up, after so many ends. */
function stateAfter(how: GivingUp, ends: number): TaskState {
  switch (how.kind) {
    case "release":
      return { ends, isBuried: false, dueMs: how.dueMs };
    case "fail":
      return failedState(ends + 1, how);
    case "bury":
      return { ends, isBuried: true, dueMs: undefined };
    default:
      return how satisfies never;
  }
}
