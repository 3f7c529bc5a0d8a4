/**
 * What the server should do, in the simplest form that can be checked by eye: the ready tasks are a
 * sorted array, the rest, and the consumers that wait, are lists that are searched from the start.
 * Pure.
 *
 * One of three checkers of the order, beside the event model (what the console shows of any run) and
 * the history (what clients saw of any run): only this one knows what must come next, because it is
 * told every line at the moment at which the server executes it.
 *
 * It shares no code with lib/, is told what each line means instead of parsing it, and predicts
 * every reply and every event line.
 *
 * @module
 */

import type { CommitOutcome } from "../../../lib/core/store.ts";

/** A task as the model sees it. */
export interface ModelTask {
  /** 1 leaves before 2, 2 before 3. */
  readonly priority: 1 | 2 | 3;
  /** Its task_id, which others may have too. */
  readonly name: string;
  /** Unique in a schedule, so that an `ASSIGN` line tells exactly which task it hands out. */
  readonly duration: string;
  /** The server's counter of accepted tasks. */
  readonly arrival: number;
  /** What is told to those who reserve it. */
  readonly payload: string | undefined;
  /** Its reservations that ended without completion, since it was last kicked. */
  ends: number;
  /** While it is delayed, or is to be once it is kept: when it is ready. */
  dueMs: number | undefined;
}

/** What a line means; a `nonsense` line means nothing on the port that it is sent to. */
export type Meaning =
  | {
    readonly say: "create" | "schedule";
    readonly priority: 1 | 2 | 3;
    readonly name: string;
    readonly duration: string;
    readonly payload: string | undefined;
    /** Of a scheduled task. */
    readonly delayMs: number | undefined;
  }
  | { readonly say: "nonsense" }
  | { readonly say: "kick" | "complete"; readonly name: string }
  | HasAnswer
  | Handling;

/** What waits behind a `RESERVE` that waits, because it has an answer. */
type HasAnswer =
  | { readonly say: "sync" }
  | { readonly say: "request" }
  | { readonly say: "reserve"; readonly waitMs: number | undefined };

/** What a consumer does with a task that it holds, short of completing it. */
interface Handling {
  readonly say: "release" | "fail" | "bury" | "touch";
  readonly name: string;
  readonly delayMs: number | undefined;
}

/** A reserved task. */
export interface Hold {
  /** What is reserved. */
  readonly task: ModelTask;
  /** By whom. */
  readonly consumer: number;
  /** Until when. */
  leaseEndMs: number;
  /** A counter of hand-outs. */
  readonly order: number;
}

type HandOut = { readonly task: ModelTask; readonly hold: Hold | undefined };

/** What a store must hold of a task. */
export interface ModelKept {
  /** The task, with its count of ends and the time at which it is ready, if it is delayed. */
  readonly task: ModelTask;
  /** Whether it is buried. */
  readonly isBuried: boolean;
}

/** Commands behind a wait for a task beyond which a consumer's lines are not taken. */
const maxPending = 1000;

/** The delays after the first failures, in milliseconds. */
const failureDelaysMs = [5000, 20_000, 80_000, 320_000];

/** Stands for any `ERROR` line: its wording is for the codec's own tests. */
export const anyError = "ERROR *";

/** One connection, as the model sees it. */
export class ModelPeer {
  /** Every reply that must have been given on this connection, in order. */
  readonly replies: string[] = [];
  /** What each reply hands out, by the reply's place in {@linkcode replies}. */
  readonly handOuts = new Map<number, HandOut>();
  /** What an `OK` must count: tasks that were accepted, or completed. */
  confirmed = 0;
  /** Completions of what was not reserved: they count, too. */
  needlessCompletions = 0;
  /** Malformed lines so far. */
  nonsenseLines = 0;
  /** Whether `COMPLETE` means anything. */
  hasReserved = false;
  /** Whether its last `RESERVE` waits for its answer, or for a task. */
  isWaiting = false;
  /** What was said behind that and has an answer. */
  readonly pending: (HasAnswer | { readonly say: "done" })[] = [];
  /** Whether no more of its lines are taken. */
  get isFull(): boolean {
    return this.pending.length >= maxPending;
  }
  /** Whether a `RESERVE` may still wait: not when the peer has closed its side. */
  mayWait = true;
  /** Whether it may be given tasks: not when it is told to go, or is gone. */
  mayHandOut = true;
  /** Whether the connection is gone. */
  hasEnded = false;

  /** Makes the peer of a new connection: a consumer has a number from 1, a producer 0. */
  constructor(public consumer: number) {}
}

/** A task's fate, as far as peers can know it; kept over crashes. */
export interface Fate {
  /** Its `CREATE` was taken, and kept. */
  isCreated: boolean;
  /** Its removal by a `REQUEST` is kept, and its return is not: a crash may lose it. */
  isRequested: boolean;
  /** Its completion is kept. */
  isCompleted: boolean;
}

/** A consumer that waits until a time at most. */
interface Waiter {
  readonly peer: ModelPeer;
  readonly untilMs: number;
}

/** The whole server. */
export class Model {
  /** In the order in which they must leave. */
  ready: ModelTask[] = [];
  /** In no order. */
  delayed: ModelTask[] = [];
  /** In the order of their hand-outs. */
  holds: Hold[] = [];
  /** In no order. */
  buried: ModelTask[] = [];
  /** Those who wait for a task, in the order in which they came. */
  waiters: Waiter[] = [];
  /** Those whose time is over: told in any order. */
  #over: ModelPeer[] = [];
  /** Counted, but not ready: their commit is to come. */
  #pending: ModelTask[] = [];
  /** Those of them that are new. */
  readonly #created = new Set<ModelTask>();
  /** What waits for the next commit. */
  #effects: ((outcome: CommitOutcome) => void)[] = [];
  /** What comes next, in order: the server may be asked for something in between. */
  #due: (() => void)[] = [];
  /** By duration: what came back from a consumer that was gone when it was to be told. */
  #backUnasked: string[] = [];
  /** A consumer that ends, and what it must give back. */
  #ending: { readonly peer: ModelPeer; readonly handOuts: HandOut[] } | undefined;
  readonly #nowMs: () => number;
  #lastOrder = 0;
  #lastArrival = 0;
  /** What an operator has stopped. */
  readonly paused = { creates: false, requests: false };
  /** Ends do not count any more. */
  isShuttingDown = false;
  /** Event lines that must have been logged; those of an inner list in any order. */
  readonly events: (string | readonly string[])[] = [];
  /** By duration. */
  readonly fates = new Map<string, Fate>();

  /**
   * Makes an empty one.
   *
   * @param isDeferred whether effects wait for {@linkcode commit}.
   * @param nowMs tells when the lease of a consumer begins that has waited.
   */
  constructor(readonly maxTasks: number, readonly isDeferred: boolean, nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** Tasks that count against the limit. */
  get size(): number {
    return this.ready.length + this.delayed.length + this.holds.length + this.buried.length +
      this.#pending.length;
  }

  /** How many new tasks fit. */
  get room(): number {
    return this.paused.creates ? 0 : Math.max(0, this.maxTasks - this.size);
  }

  /** When the next lease ends. */
  get nextLeaseEndMs(): number | undefined {
    return earliest(this.holds.map((hold) => hold.leaseEndMs));
  }

  /** When the next delay or wait is over. */
  get nextDueMs(): number | undefined {
    return earliest([
      ...this.delayed.map((task) => task.dueMs as number),
      ...this.waiters.map((waiter) => waiter.untilMs),
    ]);
  }

  /** What a store must hold once the changes so far are kept, in the order of arrival. */
  kept(outcome: CommitOutcome): ModelKept[] {
    const others = [...this.ready, ...this.delayed, ...this.holds.map((h) => h.task)];
    return [...others, ...this.#pending].map((task) => ({ task, isBuried: false }))
      .concat(this.buried.map((task) => ({ task, isBuried: true })))
      .filter(({ task }) => outcome === "kept" || !this.#created.has(task))
      .sort((a, b) => a.task.arrival - b.task.arrival);
  }

  /** Starts again with what a store kept: nobody is connected. */
  restore(kept: readonly ModelKept[]): void {
    this.paused.creates = this.paused.requests = false;
    this.holds = [];
    this.waiters = [];
    this.#over = [];
    this.#pending = [];
    this.#created.clear();
    this.#effects = [];
    this.#due = [];
    this.#backUnasked = [];
    this.#ending = undefined;
    this.ready = [];
    const [buried, others] = [true, false].map((is) => kept.filter((k) => k.isBuried === is));
    this.buried = (buried ?? []).map((k) => k.task);
    this.delayed = (others ?? []).map((k) => k.task).filter((task) => task.dueMs !== undefined);
    for (const { task } of others ?? []) if (task.dueMs === undefined) this.#makeReady(task);
    this.#lastArrival = Math.max(0, ...kept.map((k) => k.task.arrival));
  }

  /** Lets the effects out: they happen in order, some of them when {@linkcode release} says so. */
  commit(outcome: CommitOutcome): void {
    this.release();
    this.#due = this.#effects.map((effect) => () => effect(outcome));
    this.#effects = [];
  }

  /** Whether something comes next that {@linkcode release} would let out. */
  get hasDue(): boolean {
    return this.#due.length + this.#over.length > 0;
  }

  /** Whatever is next has happened. */
  release(): void {
    for (let next = this.#due.shift(); next !== undefined; next = this.#due.shift()) next();
    for (const peer of this.#over.splice(0)) this.#tell(peer, undefined);
  }

  /** A consumer is told now how its wait has ended: what comes before that has happened. */
  releaseFor(peer: ModelPeer): void {
    while (peer.isWaiting && !this.#over.includes(peer)) {
      const next = this.#due.shift();
      if (next === undefined) return;
      next();
    }
    if (!this.#over.includes(peer)) return;
    drop(this.#over, peer);
    this.#tell(peer, undefined);
  }

  /** A consumer has connected. */
  open(peer: ModelPeer, online: number): void {
    this.#reply(peer, `Consumer${peer.consumer}`);
    this.events.push(`[Consumer${peer.consumer} connected]`, `[${online} consumers online]`);
  }

  /** The server tells all its peers to go. */
  shutDown(peers: Iterable<ModelPeer>): void {
    this.isShuttingDown = true;
    for (const peer of peers) {
      this.stopWaiting(peer, { mayHandOut: false });
      if (peer.isWaiting) peer.pending.push({ say: "done" });
      else this.#after(() => this.#reply(peer, "DONE"));
    }
  }

  /** A consumer waits no more: it has closed its side; or it is not even given anything any more. */
  stopWaiting(peer: ModelPeer, { mayHandOut }: { readonly mayHandOut: boolean }): void {
    if (mayHandOut) peer.mayWait = false;
    else peer.mayHandOut = false;
    if (this.#endWait(peer)) this.#after(() => this.#tell(peer, undefined));
  }

  /** So late is it now: who has waited for too long is told so. */
  endWaits(nowMs: number): void {
    const over = this.waiters.filter((waiter) => waiter.untilMs <= nowMs).map(({ peer }) => peer);
    for (const peer of over) this.#endWait(peer);
    if (over.length > 0) this.#after(() => this.#over.push(...over));
  }

  /** So late is it now: delayed tasks are ready. */
  endDelays(nowMs: number): void {
    const over = this.delayed.filter((task) => (task.dueMs as number) <= nowMs);
    const inTurn = Map.groupBy(over, (task) => task.dueMs as number);
    for (const task of over) {
      drop(this.delayed, task);
      task.dueMs = undefined;
      this.#makeReady(task);
    }
    const lines = [...inTurn].sort(([a], [b]) => a - b)
      .map(([, tasks]) => tasks.map((task) => `[READY] ${task.name}`));
    this.#after(() => this.events.push(...lines));
    this.#serveWaiting();
  }

  /** The last arrival. */
  get lastArrival(): number {
    return this.#lastArrival;
  }

  /** An operator stops or resumes something. */
  pause(what: "creates" | "requests", isOn: boolean): void {
    this.paused[what] = isOn;
    this.#after(() => {});
    this.#serveWaiting();
  }

  /** An operator has a buried task tried again; nothing if there is none such. */
  kickArrival(arrival: number): void {
    const task = this.buried.find((task) => task.arrival === arrival);
    if (task === undefined) this.#after(() => {});
    else this.#kickTask(task, () => {});
  }

  /** An operator removes tasks for good. */
  remove(isMeant: (task: ModelTask, state: "waiting" | "delayed" | "buried") => boolean): void {
    const removed = ([["waiting", this.ready], ["delayed", this.delayed], [
      "buried",
      this.buried,
    ]] as const).flatMap(([state, tasks]) =>
      tasks.filter((task) => isMeant(task, state)).map((task) => ({ task, tasks, state }))
    );
    const ends = removed.map(({ task }) => task.ends);
    for (const { task, tasks } of removed) drop(tasks, task);
    this.#after((outcome) => {
      for (const [index, { task, state }] of removed.entries()) {
        const fate = this.fates.get(task.duration);
        if (outcome !== "not kept") {
          if (fate !== undefined) fate.isCompleted = true;
          continue;
        }
        task.ends = ends[index] as number;
        if (state === "waiting") this.#makeReady(task);
        else this[state].push(task);
      }
      this.#serveWaiting();
    });
    this.#serveWaiting();
  }

  /** What a line must do. @returns what the server must do next, as a session says it. */
  receive(peer: ModelPeer, meaning: Meaning, nowMs: number): "next" | "wait" | "close" {
    if (meaning.say === "nonsense") {
      peer.nonsenseLines++;
      return this.#refuseNonsense(peer, peer.nonsenseLines >= 100);
    }
    if (peer.isFull) return "wait";
    switch (meaning.say) {
      case "create":
      case "schedule":
        return this.#create(peer, meaning, nowMs);
      case "kick":
        this.#kick(peer, meaning.name);
        break;
      case "sync":
      case "request":
      case "reserve":
        if (meaning.say !== "sync" && !peer.mayHandOut) break;
        if (peer.isWaiting) peer.pending.push(meaning);
        else this.#answer(peer, meaning, nowMs);
        break;
      case "complete":
        if (peer.hasReserved) this.#complete(peer, meaning.name);
        else peer.needlessCompletions++;
        break;
      case "release":
      case "fail":
      case "bury":
      case "touch":
        this.#handle(peer, meaning, nowMs);
        break;
      default:
        return meaning satisfies never;
    }
    return "next";
  }

  /** The wait of a consumer has ended: what it said next and was not yet answered is answered. */
  goOn(peer: ModelPeer, nowMs: number): void {
    const meaning = peer.pending.shift();
    if (meaning !== undefined && meaning.say !== "done") this.#answer(peer, meaning, nowMs);
    this.#answerUnasked(peer);
  }

  /**
   * A consumer has ended; of its replies the kernel took the first `sentReplies` wholly. What was
   * handed out with the others comes back, one by one.
   */
  beginEnd(peer: ModelPeer, online: number, sentReplies: number): void {
    peer.hasEnded = true;
    peer.pending.length = 0;
    this.events.push(`[Consumer ${peer.consumer} disconnected]`, `[${online} consumers online]`);
    const unsent = [...peer.handOuts].filter(([index]) => index >= sentReplies);
    this.#ending = { peer, handOuts: unsent.map(([, handOut]) => handOut) };
  }

  /** The consumer that is ending, if one is. */
  get ending(): ModelPeer | undefined {
    return this.#ending?.peer;
  }

  /** The consumer that ends gives back the next task. @returns its duration; undefined if none. */
  giveBackNext(): string | undefined {
    const handOut = this.#ending?.handOuts.shift();
    if (this.#ending === undefined || handOut === undefined) return undefined;
    this.#giveBack(this.#ending.peer, handOut);
    return handOut.task.duration;
  }

  /** A consumer that has long ended gives back a task: had it to? */
  giveBackLate(duration: string): boolean {
    while (!this.#backUnasked.includes(duration)) {
      const next = this.#due.shift();
      if (next === undefined) return false;
      next();
    }
    drop(this.#backUnasked, duration);
    return true;
  }

  /** A consumer has given back what it must: what it holds comes back, too. */
  finishEnd(peer: ModelPeer): void {
    this.#ending = undefined;
    const ended = this.holds.filter((hold) => hold.consumer === peer.consumer);
    const lines = ended.map((hold) => this.#endHold(hold, !this.isShuttingDown));
    this.#after(() => this.events.push(...lines));
    this.#serveWaiting();
  }

  /** So late is it now. */
  endLeases(nowMs: number): void {
    const over = this.holds.filter((hold) => hold.leaseEndMs <= nowMs)
      .sort((a, b) => a.leaseEndMs - b.leaseEndMs);
    const lines = over.map((hold) => this.#endHold(hold, true));
    this.#after(() => this.events.push(...lines));
    this.#serveWaiting();
  }

  #create(peer: ModelPeer, meaning: Meaning & { say: "create" | "schedule" }, nowMs: number) {
    if (this.room === 0) return "wait";
    const { priority, name, duration, payload, delayMs } = meaning;
    const dueMs = delayMs === undefined ? undefined : nowMs + delayMs;
    const task = {
      ...{ priority, name, duration, payload, dueMs },
      ...{ arrival: ++this.#lastArrival, ends: 0 },
    };
    this.#pending.push(task);
    this.#created.add(task);
    this.#after((outcome) => {
      drop(this.#pending, task);
      this.#created.delete(task);
      if (outcome !== "kept") {
        this.#reply(peer, anyError);
        return;
      }
      peer.confirmed++;
      if (dueMs === undefined) this.#makeReady(task);
      else this.delayed.push(task);
      this.fates.set(duration, { isCreated: true, isRequested: false, isCompleted: false });
      this.events.push(`[CREATE] ${priority} ${name} ${duration}`);
      this.#serveWaiting();
    });
    return "next";
  }

  #kick(peer: ModelPeer, name: string): void {
    const [task] = this.buried.filter((t) => t.name === name).sort(inOrder);
    if (task === undefined) {
      this.#after(() => this.#reply(peer, anyError));
      return;
    }
    this.#kickTask(task, (isKept) => this.#reply(peer, isKept ? "OK 1" : anyError));
  }

  #kickTask(task: ModelTask, tell: (isKept: boolean) => void): void {
    drop(this.buried, task);
    this.#pending.push(task);
    const { ends } = task;
    task.ends = 0;
    this.#after((outcome) => {
      drop(this.#pending, task);
      const isKept = outcome !== "not kept";
      if (isKept) {
        this.#makeReady(task);
      } else {
        task.ends = ends;
        this.buried.push(task);
      }
      tell(isKept);
      this.#serveWaiting();
    });
  }

  /** Answers what has its turn: the consumer does not wait. */
  #answer(peer: ModelPeer, meaning: HasAnswer, nowMs: number): void {
    if (meaning.say === "sync") {
      const needless = peer.needlessCompletions;
      this.#after(() => this.#reply(peer, `OK ${needless + peer.confirmed}`));
    } else if (meaning.say === "request") {
      this.#request(peer);
    } else {
      this.#reserve(peer, meaning.waitMs, nowMs);
    }
  }

  /** Answers those commands for which the server need not ask for a task. */
  #answerUnasked(peer: ModelPeer): void {
    while (!peer.isWaiting) {
      const meaning = peer.pending[0];
      if (meaning === undefined) return;
      const isUnasked = meaning.say === "sync" || meaning.say === "done" || !peer.mayHandOut;
      if (!isUnasked) return;
      peer.pending.shift();
      if (meaning.say === "sync") this.#answer(peer, meaning, 0);
      else if (meaning.say === "done") this.#after(() => this.#reply(peer, "DONE"));
      else this.#reply(peer, "NOTASK");
    }
  }

  #request(peer: ModelPeer): void {
    const task = this.paused.requests ? undefined : this.ready.shift();
    this.#after((outcome) => {
      if (task === undefined) return this.#reply(peer, "NOTASK");
      if (outcome !== "not kept") return this.#assign(peer, { task, hold: undefined });
      this.#makeReady(task);
      this.#reply(peer, "NOTASK");
      this.#serveWaiting();
    });
  }

  #reserve(peer: ModelPeer, waitMs: number | undefined, nowMs: number): void {
    peer.hasReserved = true;
    if (this.#mayHandOut) {
      const handOut = this.#hold(peer, nowMs);
      if (waitMs === undefined || !peer.mayWait) this.#after(() => this.#assign(peer, handOut));
      else {
        peer.isWaiting = true;
        this.#after(() => this.#tell(peer, handOut));
      }
    } else if (waitMs === undefined || !peer.mayWait) {
      this.#after(() => this.#reply(peer, "NOTASK"));
    } else {
      peer.isWaiting = true;
      this.waiters.push({ peer, untilMs: nowMs + waitMs });
    }
  }

  get #mayHandOut(): boolean {
    return this.ready.length > 0 && !this.paused.requests;
  }

  #hold(peer: ModelPeer, nowMs: number): HandOut {
    const task = this.ready.shift() as ModelTask;
    const hold = {
      ...{ task, consumer: peer.consumer, leaseEndMs: leaseEndMs(task, nowMs) },
      order: ++this.#lastOrder,
    };
    this.holds.push(hold);
    return { task, hold };
  }

  /** Has the consumer wait no more; false if it does not wait for a task. */
  #endWait(peer: ModelPeer): boolean {
    const waiter = this.waiters.find((waiter) => waiter.peer === peer);
    if (waiter === undefined) return false;
    drop(this.waiters, waiter);
    return true;
  }

  /** Who came first is served first; all are served before anybody is told. */
  #serveWaiting(): void {
    while (this.#mayHandOut) {
      const waiter = this.waiters.shift();
      if (waiter === undefined) return;
      const handOut = this.#hold(waiter.peer, this.#nowMs());
      const tell = () => this.#tell(waiter.peer, handOut);
      if (this.isDeferred) this.#effects.push(tell);
      else this.#due.push(tell);
    }
  }

  /** The wait of a consumer has ended: it is answered, and then what it said behind. */
  #tell(peer: ModelPeer, handOut: HandOut | undefined): void {
    peer.isWaiting = false;
    if (handOut === undefined) this.#reply(peer, "NOTASK");
    else this.#assign(peer, handOut);
    this.#answerUnasked(peer);
  }

  #assign(peer: ModelPeer, handOut: HandOut): void {
    const { task, hold } = handOut;
    const fate = this.fates.get(task.duration);
    if (fate !== undefined && hold === undefined) fate.isRequested = true;
    if (peer.hasEnded) {
      this.#backUnasked.push(task.duration);
      return this.#giveBack(peer, handOut);
    }
    this.events.push(`[ASSIGN] ${task.name} - consumer${peer.consumer}`);
    peer.handOuts.set(peer.replies.length, handOut);
    const payload = hold === undefined || task.payload === undefined ? "" : ` ${task.payload}`;
    this.#reply(peer, `ASSIGN ${task.name} ${task.duration}${payload}`);
  }

  #complete(peer: ModelPeer, name: string): void {
    const hold = this.#heldBy(peer, name);
    if (hold === undefined) {
      this.#after(() => this.#reply(peer, anyError));
      return;
    }
    drop(this.holds, hold);
    const { ends } = hold.task;
    hold.task.ends = 0;
    this.#after((outcome) => {
      const fate = this.fates.get(hold.task.duration);
      if (outcome !== "not kept") {
        if (fate !== undefined) fate.isCompleted = true;
        peer.confirmed++;
        this.events.push(`[COMPLETE] ${name} - consumer${peer.consumer}`);
        return;
      }
      hold.task.ends = ends;
      if (peer.hasEnded) {
        this.#makeReady(hold.task);
        this.events.push(`[REQUEUE] ${name} - consumer${peer.consumer}`);
        this.#serveWaiting();
        return;
      }
      this.holds = [...this.holds, hold].sort((a, b) => a.order - b.order);
      this.#reply(peer, anyError);
    });
  }

  /** What a consumer does with a task that it holds, short of completing it. */
  #handle(
    peer: ModelPeer,
    { name, say, delayMs }: Handling,
    nowMs: number,
  ): void {
    const hold = this.#heldBy(peer, name);
    if (hold === undefined) {
      this.#after(() => this.#reply(peer, anyError));
      return;
    }
    const { task } = hold;
    if (say === "touch") {
      hold.leaseEndMs = leaseEndMs(task, nowMs);
      this.#after(() => {});
      return;
    }
    drop(this.holds, hold);
    const words = [];
    if (say === "fail") {
      task.ends++;
      words.push("FAIL");
    }
    if (say === "bury" || (say === "fail" && task.ends >= 5)) {
      this.buried.push(task);
      words.push("BURY");
    } else {
      if (say === "release") words.push("REQUEUE");
      const standardMs = say === "fail" ? failureDelaysMs[task.ends - 1] : undefined;
      const afterMs = delayMs ?? standardMs;
      this.#comeBack(task, afterMs === undefined ? undefined : nowMs + afterMs);
    }
    const lines = words.map((word) => `[${word}] ${name} - consumer${peer.consumer}`);
    this.#after(() => this.events.push(...lines));
    this.#serveWaiting();
  }

  #comeBack(task: ModelTask, dueMs: number | undefined): void {
    task.dueMs = dueMs;
    if (dueMs === undefined) this.#makeReady(task);
    else this.delayed.push(task);
  }

  #giveBack(peer: ModelPeer, { task, hold }: HandOut): void {
    if (hold === undefined || this.holds.includes(hold)) {
      if (hold !== undefined) drop(this.holds, hold);
      this.#makeReady(task);
      this.#after(() => this.events.push(`[REQUEUE] ${task.name} - consumer${peer.consumer}`));
    } else {
      // Completed, given up or over: not his to give back.
      this.#after(() => {});
    }
    this.#serveWaiting();
  }

  #endHold(hold: Hold, counts: boolean): string {
    drop(this.holds, hold);
    if (counts) hold.task.ends++;
    const isBuried = counts && hold.task.ends >= 5;
    if (isBuried) this.buried.push(hold.task);
    else this.#makeReady(hold.task);
    return `[${isBuried ? "BURY" : "REQUEUE"}] ${hold.task.name} - consumer${hold.consumer}`;
  }

  #refuseNonsense(peer: ModelPeer, isLast: boolean): "next" | "close" {
    // Who is told to go waits for nothing.
    if (isLast) this.stopWaiting(peer, { mayHandOut: false });
    this.#after(() => {
      this.#reply(peer, anyError);
      if (isLast) this.#reply(peer, "ERROR too many errors");
    });
    return isLast ? "close" : "next";
  }

  #heldBy(peer: ModelPeer, name: string): Hold | undefined {
    return this.holds.find((hold) => hold.consumer === peer.consumer && hold.task.name === name);
  }

  #makeReady(task: ModelTask): void {
    this.ready.push(task);
    this.ready.sort(inOrder);
  }

  #reply(peer: ModelPeer, line: string): void {
    peer.replies.push(line);
  }

  #after(effect: (outcome: CommitOutcome) => void): void {
    if (this.isDeferred) this.#effects.push(effect);
    else effect("kept");
  }
}

function inOrder(a: ModelTask, b: ModelTask): number {
  return a.priority - b.priority || a.arrival - b.arrival;
}

/** A task may be held for so long: twice its duration and 10 s, at most a day. */
function leaseEndMs(task: ModelTask, nowMs: number): number {
  return nowMs + Math.min(2 * Number(task.duration) * 1000 + 10_000, 86_400_000);
}

function earliest(times: readonly number[]): number | undefined {
  return times.length === 0 ? undefined : Math.min(...times);
}

function drop<T>(items: T[], item: T): void {
  items.splice(items.indexOf(item), 1);
}
