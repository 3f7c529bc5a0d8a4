/**
 * What the server should do, in the simplest form that can be checked by eye: the ready tasks are a
 * sorted array, the rest are lists that are searched from the start. Pure.
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
  /** Its reservations that ended without completion, since it was last kicked. */
  ends: number;
}

/** What a line means; a `nonsense` line means nothing on the port that it is sent to. */
export type Meaning =
  | {
    readonly say: "create";
    readonly priority: 1 | 2 | 3;
    readonly name: string;
    duration: string;
  }
  | { readonly say: "sync" | "request" | "reserve" | "nonsense" }
  | { readonly say: "kick" | "complete" | "release"; readonly name: string };

/** A reserved task. */
export interface Hold {
  /** What is reserved. */
  readonly task: ModelTask;
  /** By whom. */
  readonly consumer: number;
  /** Until when. */
  readonly leaseEndMs: number;
  /** A counter of hand-outs. */
  readonly order: number;
}

type HandOut = { readonly task: ModelTask; readonly hold: Hold | undefined };

/** Stands for any `ERROR` line: its wording is for the codec's own tests. */
export const anyError = "ERROR *";

/** One connection, as the model sees it. */
export class ModelPeer {
  /** Every reply that must have been given on this connection, in order. */
  readonly replies: string[] = [];
  /** What each reply hands out, by the reply's place in {@linkcode replies}. */
  readonly handOuts = new Map<number, HandOut>();
  /** What an `OK` must count. */
  acceptedTasks = 0;
  /** Malformed lines so far. */
  nonsenseLines = 0;
  /** Whether `COMPLETE` means anything. */
  hasReserved = false;
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

/** The whole server. */
export class Model {
  /** In the order in which they must leave. */
  ready: ModelTask[] = [];
  /** In the order of their hand-outs. */
  holds: Hold[] = [];
  /** In no order. */
  buried: ModelTask[] = [];
  /** Counted, but not ready: their commit is to come. */
  #pending: ModelTask[] = [];
  /** Those of them that are new. */
  readonly #created = new Set<ModelTask>();
  #effects: ((outcome: CommitOutcome) => void)[] = [];
  #lastOrder = 0;
  #lastArrival = 0;
  /** Nothing is handed out any more. */
  isShuttingDown = false;
  /** Event lines that must have been logged. */
  readonly events: string[] = [];
  /** By duration. */
  readonly fates = new Map<string, Fate>();

  /** Makes an empty one; `isDeferred` where effects wait for {@linkcode commit}. */
  constructor(readonly maxTasks: number, readonly isDeferred: boolean) {}

  /** Tasks that count against the limit. */
  get size(): number {
    return this.ready.length + this.holds.length + this.buried.length + this.#pending.length;
  }

  /** How many new tasks fit. */
  get room(): number {
    return Math.max(0, this.maxTasks - this.size);
  }

  /** When the next lease ends. */
  get nextLeaseEndMs(): number | undefined {
    return this.holds.length === 0 ? undefined : Math.min(...this.holds.map((h) => h.leaseEndMs));
  }

  /** Arrivals of the tasks that a store must hold once the changes so far are kept. */
  arrivals(outcome: CommitOutcome): number[] {
    const all = [...this.ready, ...this.holds.map((h) => h.task), ...this.buried, ...this.#pending];
    return all.filter((task) => outcome === "kept" || !this.#created.has(task))
      .map((task) => task.arrival).sort((a, b) => a - b);
  }

  /** Starts again with what a store kept: nobody is connected. */
  restore(kept: readonly { task: ModelTask; isBuried: boolean }[]): void {
    this.holds = [];
    this.#pending = [];
    this.#created.clear();
    this.#effects = [];
    this.ready = [];
    this.buried = kept.filter((k) => k.isBuried).map((k) => k.task);
    for (const k of kept) if (!k.isBuried) this.#makeReady(k.task);
    this.#lastArrival = Math.max(0, ...kept.map((k) => k.task.arrival));
  }

  /** Lets the effects out, in order. */
  commit(outcome: CommitOutcome): void {
    const effects = this.#effects;
    this.#effects = [];
    for (const effect of effects) effect(outcome);
  }

  /** A consumer has connected. */
  open(peer: ModelPeer, online: number): void {
    this.#reply(peer, `Consumer${peer.consumer}`);
    this.events.push(`[Consumer${peer.consumer} connected]`, `[${online} consumers online]`);
  }

  /** The server says `DONE` to its consumers. */
  shutDown(peers: Iterable<ModelPeer>): void {
    this.isShuttingDown = true;
    for (const peer of peers) this.#after(() => this.#reply(peer, "DONE"));
  }

  /** What a line must do. @returns what the server must do next, as a session says it. */
  receive(peer: ModelPeer, meaning: Meaning, nowMs: number): "next" | "wait" | "close" {
    switch (meaning.say) {
      case "nonsense":
        peer.nonsenseLines++;
        return this.#refuseNonsense(peer, peer.nonsenseLines >= 100);
      case "create":
        return this.#create(peer, meaning);
      case "sync":
        this.#after(() => this.#reply(peer, `OK ${peer.acceptedTasks}`));
        break;
      case "kick":
        this.#kick(peer, meaning.name);
        break;
      case "request":
        if (!this.isShuttingDown) this.#request(peer);
        break;
      case "reserve":
        if (!this.isShuttingDown) this.#reserve(peer, nowMs);
        break;
      case "complete":
        if (peer.hasReserved) this.#complete(peer, meaning.name);
        break;
      case "release":
        this.#release(peer, meaning.name);
        break;
    }
    return "next";
  }

  /** The connection has ended; of its replies the kernel took the first `sentReplies` wholly. */
  end(peer: ModelPeer, online: number, sentReplies: number): void {
    peer.hasEnded = true;
    if (peer.consumer === 0) return;
    this.events.push(`[Consumer ${peer.consumer} disconnected]`, `[${online} consumers online]`);
    for (const [index, handOut] of peer.handOuts) {
      if (index >= sentReplies) this.#giveBack(peer, handOut);
    }
    const ended = this.holds.filter((hold) => hold.consumer === peer.consumer);
    const lines = ended.map((hold) => this.#endHold(hold, !this.isShuttingDown));
    this.#after(() => this.events.push(...lines));
  }

  /** So late is it now. */
  endLeases(nowMs: number): void {
    const over = this.holds.filter((hold) => hold.leaseEndMs <= nowMs)
      .sort((a, b) => a.leaseEndMs - b.leaseEndMs);
    const lines = over.map((hold) => this.#endHold(hold, true));
    this.#after(() => this.events.push(...lines));
  }

  #create(peer: ModelPeer, { priority, name, duration }: Meaning & { say: "create" }) {
    if (this.room === 0) return "wait";
    const task = { priority, name, duration, arrival: ++this.#lastArrival, ends: 0 };
    this.#pending.push(task);
    this.#created.add(task);
    this.#after((outcome) => {
      drop(this.#pending, task);
      this.#created.delete(task);
      if (outcome !== "kept") {
        this.#reply(peer, anyError);
        return;
      }
      peer.acceptedTasks++;
      this.#makeReady(task);
      this.fates.set(duration, { isCreated: true, isRequested: false, isCompleted: false });
      this.events.push(`[CREATE] ${priority} ${name} ${duration}`);
    });
    return "next";
  }

  #kick(peer: ModelPeer, name: string): void {
    const [task] = this.buried.filter((t) => t.name === name).sort(inOrder);
    if (task === undefined) {
      this.#after(() => this.#reply(peer, anyError));
      return;
    }
    drop(this.buried, task);
    this.#pending.push(task);
    const { ends } = task;
    task.ends = 0;
    this.#after((outcome) => {
      drop(this.#pending, task);
      if (outcome === "not kept") {
        task.ends = ends;
        this.buried.push(task);
        this.#reply(peer, anyError);
      } else {
        this.#makeReady(task);
        this.#reply(peer, "OK 1");
      }
    });
  }

  #request(peer: ModelPeer): void {
    const task = this.ready.shift();
    this.#after((outcome) => {
      if (task === undefined) return this.#reply(peer, "NOTASK");
      if (outcome !== "not kept") return this.#assign(peer, { task, hold: undefined });
      this.#makeReady(task);
      this.#reply(peer, "NOTASK");
    });
  }

  #reserve(peer: ModelPeer, nowMs: number): void {
    peer.hasReserved = true;
    const task = this.ready.shift();
    if (task === undefined) {
      this.#after(() => this.#reply(peer, "NOTASK"));
      return;
    }
    const leaseEndMs = nowMs + (2 * Number(task.duration) * 1000 + 10_000);
    const hold = { task, consumer: peer.consumer, leaseEndMs, order: ++this.#lastOrder };
    this.holds.push(hold);
    this.#after(() => this.#assign(peer, { task, hold }));
  }

  #assign(peer: ModelPeer, handOut: HandOut): void {
    const { task, hold } = handOut;
    const fate = this.fates.get(task.duration);
    if (fate !== undefined && hold === undefined) fate.isRequested = true;
    if (peer.hasEnded) return this.#giveBack(peer, handOut);
    this.events.push(`[ASSIGN] ${task.name} - consumer${peer.consumer}`);
    peer.handOuts.set(peer.replies.length, handOut);
    this.#reply(peer, `ASSIGN ${task.name} ${task.duration}`);
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
        this.events.push(`[COMPLETE] ${name} - consumer${peer.consumer}`);
        return;
      }
      hold.task.ends = ends;
      if (peer.hasEnded) {
        this.#makeReady(hold.task);
        this.events.push(`[REQUEUE] ${name} - consumer${peer.consumer}`);
        return;
      }
      this.holds = [...this.holds, hold].sort((a, b) => a.order - b.order);
      this.#reply(peer, anyError);
    });
  }

  #release(peer: ModelPeer, name: string): void {
    const hold = this.#heldBy(peer, name);
    if (hold === undefined) {
      this.#after(() => this.#reply(peer, anyError));
      return;
    }
    drop(this.holds, hold);
    this.#makeReady(hold.task);
    this.#after(() => this.events.push(`[REQUEUE] ${name} - consumer${peer.consumer}`));
  }

  #giveBack(peer: ModelPeer, { task, hold }: HandOut): void {
    if (hold !== undefined) {
      if (!this.holds.includes(hold)) return; // completed, released or over: not his to give back
      drop(this.holds, hold);
    }
    this.#makeReady(task);
    this.#after(() => this.events.push(`[REQUEUE] ${task.name} - consumer${peer.consumer}`));
  }

  #endHold(hold: Hold, counts: boolean): string {
    drop(this.holds, hold);
    if (counts) hold.task.ends++;
    const isBuried = hold.task.ends >= 5;
    if (isBuried) this.buried.push(hold.task);
    else this.#makeReady(hold.task);
    return `[${isBuried ? "BURY" : "REQUEUE"}] ${hold.task.name} - consumer${hold.consumer}`;
  }

  #refuseNonsense(peer: ModelPeer, isLast: boolean): "next" | "close" {
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

function drop<T>(items: T[], item: T): void {
  items.splice(items.indexOf(item), 1);
}
