/**
 * Runs the real server of lib/ under a schedule: virtual streams and clock, a store that fails. After
 * each step everything is compared with the model.
 *
 * The order in which the server executes lines is not predicted, but observed at the port to the
 * tasks: each ask is found among the lines that the server has read, and the model is told at that
 * moment. Two checks stand side by side. The model predicts every reply, event line and count. The
 * fates of the tasks are followed apart from it, by what the kernel took: nothing is handed out that
 * was not created, nothing again after a `REQUEST` or a kept completion, and at the end nothing is
 * missing.
 *
 * @module
 */

import type { Inspection } from "../../../lib/core/inspection.ts";
import { MemoryTasks } from "../../../lib/core/memory_tasks.ts";
import type { CommitOutcome, KeptTask } from "../../../lib/core/store.ts";
import { StoredTasks } from "../../../lib/core/stored_tasks.ts";
import type { Reservation } from "../../../lib/core/reservations.ts";
import type { Task } from "../../../lib/core/task.ts";
import { TaskQueue } from "../../../lib/core/task_queue.ts";
import { goneOf, sumOf } from "../../../lib/core/task_totals.ts";
import type { Tasks } from "../../../lib/core/tasks.ts";
import { serve, type ServeOptions } from "../../../lib/server/serve.ts";
import { ServerStatus } from "../../../lib/server/status.ts";
import { GroupCommit } from "../../../lib/store/group_commit.ts";
import { anyError, type Meaning, Model, type ModelKept, ModelPeer } from "./model.ts";
import { type Ask, ObservedTasks } from "./observed_tasks.ts";
import type { Action, Intent, Schedule, Step } from "./schedule.ts";
import { SimulatedStore } from "./simulated_store.ts";
import { settle, VirtualClock } from "./virtual_clock.ts";
import { VirtualListener, VirtualStream } from "./virtual_network.ts";

/** What the server did is not what it should do. */
export class BrokenInvariant extends Error {
  /** Told apart by this. */
  override readonly name = "BrokenInvariant";
}

/** More than any schedule has tasks. */
const maxDrainRounds = 500;

/** Most lines that are told of those that a client sends at once. */
const maxToldLines = 12;

/** How late the end of a lease may be noticed while time passes, in milliseconds. */
const maxLeaseDelayMs = 500;

/** How late a delay or a wait may be ended while time passes, in milliseconds. */
const maxDueDelayMs = 250;

/** How much time passes between two commits, in milliseconds. */
const commitMs = 100;

/** How many pauses in a row may keep the server from ending leases. */
const maxLateLooks = 5;

/** What a peer may still do after a shutdown: the server waits 1 s for it twice. */
const shutdownMs = 3000;

type Said = { readonly text: string; readonly meaning: Meaning };

/** One connection, with its network on both sides. */
interface Wire {
  readonly client: number;
  readonly name: string;
  readonly stream: VirtualStream;
  readonly peer: ModelPeer;
  /** What the client has said and the server has not read to its end. */
  readonly said: Said[];
  /** Bytes on their way to the server, and those that it has read of a line not yet whole. */
  toServer: string;
  tail: string;
  /** Lines that the server has read and not executed: at most those of its last read. */
  readonly lines: Said[];
  /** How many replies were compared, how many the kernel took wholly, how many the client read. */
  compared: number;
  taken: number;
  read: number;
  /** What was asked and not yet answered, in order. */
  readonly asked: ("request" | "reserve")[];
  /** Names of the tasks that the client holds, as far as it has read. */
  readonly held: string[];
  isFinished: boolean;
  isClosing: boolean;
}

/** How a schedule is run. */
export interface SimulationOptions {
  /** Takes the dialogue as it goes. */
  readonly tell?: (line: string) => void;
  /** The queue to try: that of lib/ if none is given. */
  readonly Queue?: typeof TaskQueue;
}

/** A life of the server: from its start to its end, or to a crash. */
interface Life {
  readonly clock: VirtualClock;
  readonly producers: VirtualListener;
  readonly consumers: VirtualListener;
  readonly stop: AbortController;
  readonly queue: TaskQueue;
  readonly tasks: Tasks & { readonly inspection: Inspection };
  readonly status: ServerStatus;
  consumersSoFar: number;
  hasEnded: boolean;
  failure: unknown;
}

/** A run of one schedule. */
export class Simulation {
  readonly #schedule: Schedule;
  readonly #tell: (line: string) => void;
  readonly #options: SimulationOptions;
  readonly #store: SimulatedStore | undefined;
  readonly #model: Model;
  #life: Life;
  readonly #wires = new Map<number, Wire>();
  /** The consumers of this life, by number. */
  readonly #peers = new Map<number, ModelPeer>();
  /** The wires in the order in which the server has last read from them. */
  #readOrder: Wire[] = [];
  readonly #events: string[] = [];
  #connecting: Wire | undefined;
  #port = 1024;
  #fault: Error | undefined;
  #isShuttingDown = false;
  #stopsInARow = 0;
  /** By duration: what a `REQUEST` was answered with, as far as the kernel took it. */
  readonly #handedOut = new Set<string>();
  /** Whom the server is telling how their waits ended, the last one last. */
  #told: ModelPeer[] = [];
  /** Whether the server's loops wait for a commit. */
  #hasEndingsUnderWay = false;
  /** Removed for a `REQUEST` whose answer was lost in a crash. */
  readonly #lost = new Set<string>();

  /** Prepares a run. */
  constructor(schedule: Schedule, options: SimulationOptions = {}) {
    this.#schedule = schedule;
    this.#tell = options.tell ?? (() => {});
    this.#options = options;
    this.#store = schedule.hasStore ? this.#makeStore() : undefined;
    const nowMs = () => this.#life.clock.nowMs();
    this.#model = new Model(schedule, schedule.hasStore, nowMs);
    this.#life = this.#start();
  }

  /**
   * Runs the schedule, heals the network, drains the queue and shuts the server down.
   *
   * @throws {BrokenInvariant} at the first difference; other errors are bugs of lib/ as well.
   */
  async run(): Promise<void> {
    for (const step of this.#schedule.steps) {
      await this.#take(step);
      await this.#settle();
    }
    await this.#drain();
  }

  /** A store of which the model is told each commit. */
  #makeStore(): SimulatedStore {
    const beforeEffects = (outcome: CommitOutcome) => this.#noteCommit(outcome);
    return new class extends SimulatedStore {
      override commit(): CommitOutcome {
        const outcome = super.commit();
        beforeEffects(outcome);
        return outcome;
      }
    }();
  }

  #start(startMs = 0): Life {
    const clock = new VirtualClock(startMs);
    const Queue = this.#options.Queue ?? TaskQueue;
    const { maxTasks, maxPayloadChars } = this.#schedule;
    const queue = new Queue({ maxTasks, maxPayloadChars, store: this.#store });
    const fail = (error: unknown) => life.failure ??= error;
    for (const kept of this.#store?.keptTasks() ?? []) {
      queue.restore(kept, clock.nowMs());
    }
    const tasks = this.#store === undefined
      ? new MemoryTasks(queue)
      : new StoredTasks(queue, new GroupCommit(this.#store, fail, clock));
    const life: Life = {
      ...{
        clock,
        queue,
        tasks,
        status: new ServerStatus(queue, {
          clock: { nowMs: () => clock.nowMs(), look: () => clock.nowMs() },
        }),
        producers: new VirtualListener(),
        consumers: new VirtualListener(),
      },
      ...{ stop: new AbortController(), consumersSoFar: 0, hasEnded: false, failure: undefined },
    };
    const options: ServeOptions = {
      clock,
      status: life.status,
      signal: life.stop.signal,
      log: {
        write: (line) => {
          this.#events.push(line);
          this.#tell(`    ${line}`);
        },
      },
      errors: {
        write: (line) => {
          if (line.includes("internal error")) fail(new Error(line));
        },
      },
    };
    const observed = new ObservedTasks(tasks, (ask) => {
      if (life === this.#life) this.#note(ask);
    });
    serve(life, observed, options).then(() => {
      life.hasEnded = true;
      if (clock.isTurnOpen) fail(new BrokenInvariant("the server ends before its last commit"));
    }, fail);
    return life;
  }

  async #take(step: Step): Promise<void> {
    switch (step.do) {
      case "commit":
        return await this.#commit(step.outcome);
      case "pass":
        return await this.#pass(step.ms);
      case "stop":
        return await this.#stop(step.ms, step.arrivals);
      case "crash":
        return await this.#crash();
      case "shut down":
        return await this.#shutDown();
      case "connect":
        return await this.#connect(step.client);
      case "operate":
        return this.#operate(step.action);
    }
    const wire = this.#wires.get(step.client);
    if (wire === undefined) return;
    switch (step.do) {
      case "send":
        return this.#send(wire, step.intents);
      case "deliver":
        return this.#deliver(wire, step.bytes);
      case "accept":
        return await this.#accept(wire, step.bytes);
      case "exchange":
        this.#deliver(wire, Infinity);
        await this.#commit(step.outcome);
        return await this.#accept(wire, Infinity);
      case "finish":
        return this.#finish(wire);
      case "reset":
        this.#tell(`${wire.name}'s connection is reset`);
        wire.toServer = "";
        return wire.stream.reset();
    }
  }

  async #connect(client: number): Promise<void> {
    if (this.#wires.has(client) || this.#isShuttingDown) return;
    const isProducer = client < this.#schedule.producers;
    const name = `${isProducer ? "producer" : "consumer"} ${client}`;
    const wire: Wire = {
      ...{ client, name, peer: new ModelPeer(0), said: [], toServer: "", tail: "", lines: [] },
      ...{ compared: 0, taken: 0, read: 0, asked: [], held: [] },
      ...{ isFinished: false, isClosing: false },
      stream: new VirtualStream(this.#port++, (text) => this.#noteRead(wire, text)),
    };
    this.#tell(`${name} connects`);
    this.#wires.set(client, wire);
    this.#connecting = wire;
    this.#life[isProducer ? "producers" : "consumers"].connect(wire.stream);
    await settle();
  }

  /** An operator acts: the model first, since who waits for a task may be told at once. */
  #operate(action: Action): void {
    if (this.#isShuttingDown) return;
    this.#tell(`an operator: ${JSON.stringify(action)}`);
    const model = this.#model;
    model.release();
    this.#skipAll();
    const { tasks: { inspection }, status } = this.#life;
    const then = () => {};
    switch (action.act) {
      case "pause":
        model.pause(action.what, action.isOn);
        inspection.pause({ [action.what]: action.isOn });
        break;
      case "kick": {
        const arrival = pickArrival(model.buried, action.which);
        model.kickArrival(arrival);
        inspection.kick([arrival], then);
        break;
      }
      case "remove": {
        const all = [...model.ready, ...model.delayed, ...model.holds.map((h) => h.task)];
        const arrival = pickArrival([...all, ...model.buried], action.which);
        model.remove((task) => task.arrival === arrival);
        inspection.remove([arrival], then);
        break;
      }
      case "clear": {
        const { state, priority, spared } = action;
        const upToArrival = model.lastArrival - spared;
        model.remove((task, itsState) =>
          itsState === state && task.priority === priority && task.arrival <= upToArrival
        );
        const steps = inspection.clear({ state, priority, upToArrival }, { most: Infinity });
        // The first step takes all of so few, the second ends it.
        for (let step = 1; step <= 2; step++) steps.next(then);
        break;
      }
      default:
        action satisfies never;
    }
    status.server.offerRoom();
  }

  get #online(): number {
    return [...this.#wires.values()].filter(({ peer }) => peer.consumer > 0 && !peer.hasEnded)
      .length;
  }

  #send(wire: Wire, intents: readonly Intent[]): void {
    if (wire.isFinished) return;
    this.#readReplies(wire);
    const lines = intents.map((intent) => resolve(intent, wire.held));
    const texts = lines.slice(0, maxToldLines).map((line) => show(line.text));
    if (lines.length > maxToldLines) texts.push(`... (${lines.length} lines)`);
    this.#tell(`${wire.name} sends: ${texts.join(" | ")}`);
    wire.said.push(...lines);
    wire.toServer += lines.map((line) => line.text + "\n").join("");
  }

  /** The client reads what the kernel has of its replies. */
  #readReplies(wire: Wire): void {
    for (const reply of wire.peer.replies.slice(wire.read, wire.taken)) {
      const [verb, name] = reply.split(" ");
      if (verb === "ASSIGN") wire.held.push(name as string);
    }
    wire.read = wire.taken;
  }

  #deliver(wire: Wire, bytes: number): void {
    this.#arrive(wire, bytes);
    wire.stream.poll();
  }

  #arrive(wire: Wire, bytes: number): void {
    const arrived = wire.toServer.slice(0, bytes);
    wire.toServer = wire.toServer.slice(arrived.length);
    if (arrived === "") return;
    this.#tell(`the network delivers ${arrived.length} bytes of ${wire.name}`);
    wire.stream.arrive(arrived);
  }

  #finish(wire: Wire): void {
    if (wire.isFinished) return;
    this.#tell(`${wire.name} half-closes`);
    wire.isFinished = true;
    this.#arrive(wire, Infinity);
    wire.stream.finish();
    wire.stream.poll();
  }

  async #accept(wire: Wire, bytes: number): Promise<void> {
    wire.stream.take(bytes);
    await settle();
    wire.stream.stopTaking();
  }

  /** The server reads: whole lines of it are executed next, in this order. */
  #noteRead(wire: Wire, text: string): void {
    const lines = (wire.tail + text).split("\n");
    wire.tail = lines.pop() as string;
    if (wire.isClosing) return;
    for (const line of lines) {
      const said = wire.said.shift() as Said;
      check(line === said.text, `line ${show(line)} must be ${show(said.text)}`);
      wire.lines.push(said);
    }
    this.#readOrder = [...this.#readOrder.filter((other) => other !== wire), wire];
    if (wire.peer.isWaiting) this.#skip(wire);
  }

  /** The server asks for something: which line does it execute? */
  #note(ask: Ask): void {
    try {
      this.#execute(ask);
    } catch (error) {
      // Thrown to the server, it would be taken for a fault of the connection.
      this.#fault ??= error as Error;
    }
  }

  #execute(ask: Ask): void {
    switch (ask.ask) {
      case "tell":
      case "told":
        return this.#noteTelling(ask.consumer, ask.ask === "tell");
      case "give back":
        return this.#giveBack(ask.handOut);
      case "request":
      case "reserve":
      case "await task": {
        const peer = this.#told.at(-1);
        if (peer !== undefined) return this.#executePending(peer, ask);
      }
    }
    this.#model.release();
    this.#skipAll();
    switch (ask.ask) {
      case "stop waiting":
        return this.#stopWaiting(ask.consumer);
      case "open consumer":
        return this.#open();
      case "end leases":
        return this.#endLeases(ask.nowMs);
      case "end delays":
        this.#hasEndingsUnderWay = true;
        return this.#model.endDelays(ask.nowMs);
      case "end waits":
        this.#hasEndingsUnderWay = true;
        return this.#model.endWaits(ask.nowMs);
      case "end consumer": {
        const { peer } = this.#consumer(ask.consumer);
        if (this.#model.ending !== peer) this.#beginEnd(peer);
        const missing = this.#model.giveBackNext();
        check(missing === undefined, `task ${missing} is not given back`);
        return this.#model.finishEnd(peer);
      }
    }
    const isSaidBy = (wire: Wire) => {
      const meaning = wire.lines[0]?.meaning;
      return meaning !== undefined && fits(ask, meaning, wire.peer) &&
        (!("consumer" in ask) || ask.consumer === wire.peer.consumer);
    };
    const wire = this.#readOrder.find(isSaidBy);
    check(wire !== undefined, `nobody has said what the server does: ${JSON.stringify(ask)}`);
    const { text, meaning } = wire.lines.shift() as Said;
    this.#tell(`  ${wire.name}: ${show(text)}`);
    const step = this.#model.receive(wire.peer, meaning, this.#life.clock.nowMs());
    check(step === "next", `${show(text)} is executed, expected "${step}"`);
    if (meaning.say === "request" || meaning.say === "reserve") wire.asked.push(meaning.say);
    this.#skip(wire);
  }

  /** While a consumer is told, its session executes what was said behind its wait. */
  #noteTelling(consumer: number, isBefore: boolean): void {
    if (isBefore) {
      // One that is gone may be told when nobody knows its connection any more.
      const peer = this.#peers.get(consumer) as ModelPeer;
      this.#model.releaseFor(peer);
      this.#told.push(peer);
    } else {
      this.#checkPending(this.#told.pop() as ModelPeer);
    }
  }

  #checkPending(peer: ModelPeer): void {
    const left = peer.isWaiting || peer.hasEnded ? 0 : peer.pending.length;
    check(left === 0, `consumer ${peer.consumer} waits no more, but ${left} commands still do`);
  }

  #executePending(peer: ModelPeer, ask: Ask): void {
    const meaning = peer.pending.shift();
    check(
      meaning !== undefined && meaning.say !== "done" && fits(ask, meaning, peer),
      `${JSON.stringify(ask)} is not what consumer ${peer.consumer} has said behind its wait`,
    );
    this.#tell(`  consumer ${peer.consumer}, in turn: ${meaning.say.toUpperCase()}`);
    this.#model.goOn(peer, meaning, this.#life.clock.nowMs());
  }

  /** The server ends a consumer's wait: it must have a reason. */
  #stopWaiting(consumer: number): void {
    const { peer, stream } = this.#consumer(consumer);
    const hasEnded = stream.hasReadEnd || stream.isReset || !peer.mayHandOut;
    check(
      hasEnded || !peer.isWaiting || peer.hasManyPending,
      `the wait of consumer ${consumer} is ended, and it is still there`,
    );
    const why = stream.isReset ? "is gone" : hasEnded ? "has ended" : "has many pending";
    this.#model.stopWaiting(peer, why);
  }

  /** A line never left, or came too late: which consumer gives its task back? */
  #giveBack(handOut: Task | Reservation): void {
    const isReserved = "task" in handOut;
    const { duration } = isReserved ? handOut.task : handOut;
    if (this.#model.ending === undefined) {
      const wire = [...this.#wires.values()].find(({ peer, taken }) =>
        peer.consumer > 0 && !peer.hasEnded &&
        (!isReserved || handOut.consumer === peer.consumer) &&
        [...peer.handOuts].some(([index, { task, hold }]) =>
          index >= taken && task.duration === duration && (hold !== undefined) === isReserved
        )
      );
      if (wire === undefined) {
        const isDue = this.#model.giveBackLate(duration);
        return check(isDue, `task ${duration} is given back, but nobody has lost it`);
      }
      this.#model.release();
      this.#beginEnd(wire.peer);
    }
    const expected = this.#model.giveBackNext();
    check(expected === duration, `task ${duration} is given back, expected ${expected}`);
  }

  #beginEnd(peer: ModelPeer): void {
    const wire = this.#consumer(peer.consumer);
    this.#followTaken(wire);
    this.#model.beginEnd(peer, this.#online - 1, wire.taken);
  }

  /**
   * Executes lines for which the server does not ask the tasks for anything that shows here. Those of
   * a consumer that waits are the only ones for which it matters when; no others are read meanwhile.
   */
  #skip(wire: Wire): void {
    const { peer } = wire;
    // The server tells it first.
    if (peer.isWaiting && this.#model.hasDue) return;
    for (let line = wire.lines[0]; line !== undefined; line = wire.lines[0]) {
      const { meaning } = line;
      if (isAskedFor(meaning, peer) || this.#model.mustStopWaiting(peer, meaning)) return;
      const step = this.#model.receive(peer, meaning, this.#life.clock.nowMs());
      wire.lines.shift();
      const isHandOut = meaning.say === "request" || meaning.say === "reserve";
      if (isHandOut && peer.mayHandOut) wire.asked.push(meaning.say);
      if (step === "close") {
        wire.isClosing = true;
        wire.lines.length = 0;
      }
    }
  }

  #skipAll(): void {
    for (const wire of this.#wires.values()) this.#skip(wire);
  }

  #open(): void {
    const wire = this.#connecting as Wire;
    wire.peer.consumer = ++this.#life.consumersSoFar;
    this.#peers.set(wire.peer.consumer, wire.peer);
    this.#model.open(wire.peer, this.#online);
  }

  #consumer(number: number): Wire {
    const wire = [...this.#wires.values()].find((wire) => wire.peer.consumer === number);
    check(wire !== undefined, `consumer ${number} is not connected`);
    return wire;
  }

  #endLeases(nowMs: number): void {
    this.#hasEndingsUnderWay = true;
    for (const { consumer, task } of this.#model.holds.filter((h) => h.leaseEndMs <= nowMs)) {
      const { stream } = this.#consumer(consumer);
      check(
        this.#stopsInARow > maxLateLooks || !stream.isReading ||
          !stream.unread.includes(`COMPLETE ${task.name}\n`),
        `the lease of ${task.name} is ended, but its completion has arrived`,
      );
    }
    this.#model.endLeases(nowMs);
  }

  /** Counts the replies that the kernel has taken wholly: they are out of the server's hands. */
  #followTaken(wire: Wire): void {
    const replies = wire.stream.written.slice(0, wire.stream.takenChars).split("\n").slice(0, -1);
    for (const reply of replies.slice(wire.taken)) this.#followReply(wire, reply);
    wire.taken = replies.length;
  }

  #followReply(wire: Wire, reply: string): void {
    const [verb, , duration] = reply.split(" ");
    if (verb !== "ASSIGN" && verb !== "NOTASK") return;
    const asked = wire.asked.shift();
    check(asked !== undefined, `${show(reply)} answers nothing`);
    if (verb === "NOTASK") return;
    const fate = this.#model.fates.get(duration as string);
    check(fate?.isCreated === true, `${show(reply)} hands out what was not created`);
    // The line of a reserved task may be taken after its lease has ended: that it is repeated then
    // is what reserving allows.
    if (asked === "reserve") return;
    check(!this.#handedOut.has(duration as string), `${show(reply)} was taken before`);
    this.#handedOut.add(duration as string);
  }

  async #commit(outcome: CommitOutcome): Promise<void> {
    await settle();
    this.#skipAll();
    if (this.#store === undefined || !this.#life.clock.isTurnOpen) return;
    this.#store.outcome = outcome;
    await this.#life.clock.endTurn();
    this.#model.release();
    this.#store.outcome = "kept";
  }

  /** The store has kept the changes so far, as the outcome says; their effects are next. */
  #noteCommit(outcome: CommitOutcome): void {
    this.#tell(`the store commits: ${outcome}`);
    this.#hasEndingsUnderWay = false;
    try {
      const kept = (this.#store as SimulatedStore).keptTasks();
      if (outcome !== "not kept") {
        this.#checkKept(kept, this.#model.kept(outcome));
      }
      for (const { task } of kept) {
        const fate = this.#model.fates.get(task.duration);
        if (fate !== undefined) fate.isRequested = false;
      }
      this.#model.commit(outcome);
    } catch (error) {
      this.#fault ??= error as Error;
    }
  }

  /** What is kept must be enough to start again. A time that has passed means nothing. */
  #checkKept(kept: readonly KeptTask[], expected: readonly ModelKept[]): void {
    const nowMs = this.#life.clock.nowMs();
    checkEqual(
      kept.map(({ task: { arrival, payload }, ends, isBuried, dueMs }) => {
        const { task } = expected.find(({ task }) => task.arrival === arrival) ?? {};
        const isOver = !isBuried && task?.dueMs === undefined && (dueMs ?? 0) <= nowMs;
        return showKept({ arrival, payload, ends, isBuried, dueMs: isOver ? undefined : dueMs });
      }),
      expected.map(({ task, isBuried }) => showKept({ ...task, isBuried })),
      "kept tasks",
    );
  }

  async #pass(ms: number): Promise<void> {
    await this.#commit("kept");
    this.#tell(`${ms} ms pass`);
    if (ms >= 2 * maxLeaseDelayMs) this.#stopsInARow = 0;
    const { clock, queue } = this.#life;
    // On time at the end; before it looks may be rare, or a day would take too many of them.
    const shortMs = Math.min(ms, 2 * maxLeaseDelayMs);
    await clock.stop(ms - shortMs);
    const startMs = clock.nowMs();
    for (let restMs = shortMs; restMs > 0; restMs -= commitMs) {
      await clock.pass(Math.min(commitMs, restMs));
      // No turn lasts as long as this.
      await this.#settleTurns();
      await this.#commit("kept");
      this.#checkDue(startMs);
    }
    const endMs = queue.nextLeaseEndMs ?? Infinity;
    const lateMs = clock.nowMs() - endMs;
    check(
      ms < 2 * maxLeaseDelayMs || lateMs < maxLeaseDelayMs || this.#isShuttingDown,
      `a lease has been over for ${lateMs} ms`,
    );
  }

  /** What is due, be it since before the timers were on time again, must have happened soon. */
  #checkDue(onTimeSinceMs: number): void {
    if (this.#isShuttingDown) return;
    const nowMs = this.#life.clock.nowMs();
    const lateMs = nowMs - Math.max(this.#model.nextDueMs ?? Infinity, onTimeSinceMs);
    // Delays end first, and their commit is waited for.
    const mostMs = maxDueDelayMs + (this.#store === undefined ? 0 : commitMs);
    check(lateMs <= mostMs, `a delay or a wait has been over for ${lateMs} ms`);
  }

  /** The whole process is stopped for a while; what arrives meanwhile is read after the timers. */
  async #stop(ms: number, arriving: readonly number[]): Promise<void> {
    await this.#commit("kept");
    this.#tell(`the process is stopped for ${ms} ms`);
    this.#stopsInARow++;
    const wires = arriving.flatMap((client) => this.#wires.get(client) ?? []);
    for (const wire of wires) this.#arrive(wire, Infinity);
    await this.#life.clock.stop(ms);
    await this.#settleTurns();
  }

  async #crash(): Promise<void> {
    if (this.#store === undefined || this.#isShuttingDown) return;
    this.#tell("the server is killed and starts again");
    this.#wires.clear();
    this.#peers.clear();
    this.#told = [];
    this.#hasEndingsUnderWay = false;
    this.#readOrder = [];
    this.#store.restart();
    const kept = this.#store.keptTasks();
    this.#model.restore(kept.map(({ task, ends, isBuried, dueMs }) => {
      const { priority, taskId: name, duration, arrival, payload } = task;
      return { task: { priority, name, duration, arrival, payload, ends, dueMs }, isBuried };
    }));
    this.#checkRecovery(new Set(kept.map(({ task }) => task.duration)));
    this.#life = this.#start(this.#life.clock.nowMs());
    await settle();
  }

  /** After a crash nothing is back that was gone, and nothing is missing but what a REQUEST took. */
  #checkRecovery(kept: ReadonlySet<string>): void {
    for (const [duration, fate] of this.#model.fates) {
      const isGone = fate.isCompleted || this.#handedOut.has(duration);
      if (kept.has(duration)) check(!isGone, `task ${duration} is back from the dead`);
      else if (fate.isRequested) this.#lost.add(duration);
      else check(isGone || this.#lost.has(duration), `task ${duration} did not survive the crash`);
    }
  }

  async #shutDown(): Promise<void> {
    if (this.#isShuttingDown) return;
    // The server first lets its loops end: nobody knows when, if they wait for a commit.
    while (this.#hasEndingsUnderWay && this.#life.clock.isTurnOpen) await this.#commit("kept");
    this.#isShuttingDown = true;
    this.#tell("the server shuts down");
    this.#skipAll();
    this.#model.shutDown([...this.#wires.values()].map(({ peer }) => peer));
    this.#life.stop.abort();
  }

  /** Without a store, turns end by themselves. */
  async #settleTurns(): Promise<void> {
    const { clock } = this.#life;
    await this.#readAll();
    await clock.stop(0);
    await this.#readAll();
    if (this.#store !== undefined) return;
    while (clock.isTurnOpen) {
      await clock.endTurn();
      await this.#readAll();
    }
  }

  /** The server reads what has come, one connection after the other. */
  async #readAll(): Promise<void> {
    await settle();
    for (let hasRead = true; hasRead;) {
      hasRead = false;
      for (const { stream } of this.#wires.values()) {
        if (!stream.isReadable) continue;
        hasRead = true;
        stream.poll();
        await settle();
      }
    }
  }

  /** Has the server do what it can do now, and compares everything. */
  async #settle(): Promise<void> {
    await this.#settleTurns();
    this.#model.release();
    this.#skipAll();
    if (this.#fault !== undefined) throw this.#fault;
    if (this.#life.failure !== undefined) throw this.#life.failure;
    this.#compare();
    for (const [client, wire] of this.#wires) {
      const { stream, peer } = wire;
      if (!stream.isClosed || (peer.consumer > 0 && !peer.hasEnded)) continue;
      const isOwed = stream.takenChars < stream.written.length ||
        wire.compared < peer.replies.length;
      const isOrderly = wire.isFinished && !wire.isClosing && !stream.isReset;
      check(
        !isOrderly || !isOwed || this.#isShuttingDown,
        `${wire.name} is closed before it has got its replies`,
      );
      this.#readOrder = this.#readOrder.filter((other) => other.client !== client);
      this.#wires.delete(client);
    }
  }

  #compare(): void {
    this.#compareEvents();
    const { queue, clock } = this.#life;
    for (const wire of this.#wires.values()) {
      this.#followTaken(wire);
      this.#compareReplies(wire);
      const [next] = wire.lines;
      const isStuck = next !== undefined && queue.room > 0 && wire.stream.isDrained &&
        !wire.peer.isWaiting && !clock.isTurnOpen && !this.#isShuttingDown && !wire.stream.isClosed;
      check(!isStuck, `${wire.name}: ${show(next?.text ?? "")} waits, and there is room`);
      this.#checkPending(wire.peer);
      check(
        next === undefined || !this.#model.mustStopWaiting(wire.peer, next.meaning),
        `${wire.name} waits, and has said more than may wait`,
      );
      check(
        !wire.peer.isWaiting || !wire.stream.hasReadEnd || clock.isTurnOpen,
        `${wire.name} waits for a task, but has closed its side`,
      );
    }
    check(
      (queue.room === 0) === this.#model.isFull,
      `the queue has room for ${queue.room}, expected ${this.#model.isFull ? "none" : "some"}`,
    );
    check(
      queue.size === this.#model.size,
      `the queue has ${queue.size} tasks, expected ${this.#model.size}`,
    );
    const { ready, delayed, holds, buried } = this.#model;
    const counts = [ready.length, delayed.length, holds.length, buried.length];
    const { counts: actual } = queue;
    checkEqual(
      [actual.ready, actual.delayed, actual.reserved, actual.buried],
      counts,
      "ready, delayed, reserved and buried tasks",
    );
    const { totals } = queue;
    const came = totals.restored + sumOf(totals.created);
    check(
      queue.size + goneOf(totals) === came,
      `${queue.size} tasks and ${goneOf(totals)} gone ones are not the ${came} that came`,
    );
    const expected = this.#model.nextLeaseEndMs;
    check(
      queue.nextLeaseEndMs === expected,
      `next lease ends at ${queue.nextLeaseEndMs}, not ${expected}`,
    );
    const { nextDueMs } = this.#life.tasks;
    check(
      nextDueMs === this.#model.nextDueMs,
      `the next delay or wait ends at ${nextDueMs}, not ${this.#model.nextDueMs}`,
    );
  }

  #compareEvents(): void {
    let index = 0;
    for (const expected of this.#model.events.splice(0)) {
      const lines = typeof expected === "string" ? [expected] : [...expected].sort();
      const actual = this.#events.slice(index, index += lines.length).sort();
      checkEqual(actual, lines, "event lines");
    }
    checkEqual(this.#events.splice(0).slice(index), [], "event lines after those expected");
  }

  /** What was handed to the network must be predicted, and all of it if nothing holds it up. */
  #compareReplies(wire: Wire): void {
    const { stream, peer: { replies: expected, hasEnded } } = wire;
    const replies = stream.written.split("\n").slice(0, -1);
    for (const [index, reply] of replies.entries()) {
      if (index < wire.compared) continue;
      const wanted = expected[index];
      const isSame = wanted === anyError ? reply.startsWith("ERROR ") : reply === wanted;
      check(isSame, `${wire.name} got ${show(reply)}, expected ${show(wanted ?? "nothing")}`);
      this.#tell(`    server -> ${wire.name}: ${reply}`);
    }
    wire.compared = replies.length;
    const { clock } = this.#life;
    if (!stream.isDrained || stream.isBroken || hasEnded || clock.isTurnOpen) return;
    // One that is closed may be told to go, or not any more.
    if (wire.isClosing && this.#isShuttingDown) return;
    check(
      replies.length === expected.length,
      `${wire.name} got ${replies.length} replies, expected ${expected.length}`,
    );
  }

  /** After the last fault everything drains: the clients finish, and two more take what is left. */
  async #drain(): Promise<void> {
    this.#tell("the network heals");
    for (const what of ["creates", "requests"] as const) {
      this.#operate({ act: "pause", what, isOn: false });
    }
    await this.#heal();
    if (!this.#isShuttingDown) {
      const kicker = -1;
      const drainer = this.#schedule.producers + this.#schedule.consumers;
      const clients = [...this.#wires.values()];
      await this.#connect(kicker);
      await this.#connect(drainer);
      const helpers = [kicker, drainer].map((client) => this.#wires.get(client) as Wire);
      for (const wire of clients) this.#finish(wire);
      for (let round = 0; this.#wires.size > helpers.length || this.#model.size > 0; round++) {
        check(round < maxDrainRounds, "the queue does not drain");
        const buried = this.#model.buried.map(({ name }) => ({ say: "kick", name } as const));
        this.#send(helpers[0] as Wire, buried);
        this.#send(helpers[1] as Wire, Array.from({ length: 5 }, () => ({ say: "request" })));
        await this.#heal();
        // What a peer cannot know: one that is closed gently gets a second.
        if (round % 10 === 9) await this.#pass(1000);
        await this.#passDue();
      }
      this.#checkFates();
    }
    await this.#end();
  }

  /** If only time can bring anything, lets it pass: to a delay's end, or that of an endless wait. */
  async #passDue(): Promise<void> {
    const { ready, delayed, nextDueMs } = this.#model;
    if (nextDueMs === undefined || ready.length > 0 || delayed.length === 0) return;
    await this.#pass(Math.ceil(Math.max(0, nextDueMs - this.#life.clock.nowMs())) + 1000);
  }

  #checkFates(): void {
    for (const [duration, fate] of this.#model.fates) {
      const isThere = this.#handedOut.has(duration) || fate.isCompleted || this.#lost.has(duration);
      check(isThere, `the task of duration ${duration} is lost`);
    }
  }

  /** Shuts the server down; with a store, what it leaves is what the model has. */
  async #end(): Promise<void> {
    await this.#shutDown();
    await this.#settle();
    await this.#heal();
    await this.#pass(shutdownMs);
    await this.#commit("kept");
    await this.#settle();
    check(this.#life.hasEnded, "the server does not end");
    check(this.#wires.size === 0, "a connection is left");
    if (this.#store === undefined) return;
    this.#store[Symbol.dispose]();
    this.#checkKept(this.#store.keptTasks(), this.#model.kept("kept"));
  }

  /** Delivers, commits and accepts all there is. */
  async #heal(): Promise<void> {
    for (const wire of this.#wires.values()) {
      this.#arrive(wire, Infinity);
      await this.#readAll();
      wire.stream.take(Infinity);
      await this.#readAll();
    }
    do {
      await this.#commit("kept");
      await this.#settle();
    } while (this.#life.clock.isTurnOpen);
    for (const wire of this.#wires.values()) wire.stream.stopTaking();
  }
}

/** Whether a line means what is asked. */
function fits(ask: Ask, meaning: Meaning, peer: ModelPeer): boolean {
  switch (ask.ask) {
    case "create":
    case "schedule":
      return "duration" in meaning && ask.ask === meaning.say &&
        ask.task.duration === meaning.duration;
    case "reserve":
      return meaning.say === "reserve" &&
        (meaning.waitMs === undefined || !peer.mayWait || peer.hasManyPending);
    case "await task":
      return meaning.say === "reserve" && meaning.waitMs === ask.waitMs;
    case "give up":
      return meaning.say === ask.how.kind && meaning.name === ask.name;
    case "request":
      return meaning.say === "request";
    case "kick":
    case "complete":
    case "touch":
      return meaning.say === ask.ask && meaning.name === ask.name;
    default:
      return false;
  }
}

/** Whether the tasks are asked for something when a line is executed. */
function isAskedFor({ say }: Meaning, peer: ModelPeer): boolean {
  switch (say) {
    case "nonsense":
    case "sync":
      return false;
    case "request":
    case "reserve":
      return peer.mayHandOut && !peer.isWaiting;
    case "complete":
      return peer.hasReserved;
    default:
      return true;
  }
}

function showKept(
  { arrival, payload, ends, isBuried, dueMs }: {
    readonly arrival: number;
    readonly payload?: string | undefined;
    readonly ends: number;
    readonly isBuried: boolean;
    readonly dueMs: number | undefined;
  },
): string {
  return [`task ${arrival}`, `${ends} ends`, isBuried ? "buried" : dueMs, payload].join(", ");
}

/** Turns what a client wants to say into its line. */
function resolve(intent: Intent, held: string[]): Said {
  switch (intent.say) {
    case "create":
    case "schedule": {
      const { say, priority, name, tag, payload, delay } = intent;
      const duration = `${tag % 3}.${String(tag).padStart(6, "0")}`;
      const fields = [say.toUpperCase(), delay, priority, name, duration, payload];
      const text = fields.filter((field) => field !== undefined).join(" ");
      return { text, meaning: { say, priority, name, duration, payload, delayMs: toMs(delay) } };
    }
    case "complete": {
      const name = take(intent.which, held);
      return { text: `COMPLETE ${name}`, meaning: { say: "complete", name } };
    }
    case "release":
    case "fail":
    case "bury":
    case "touch": {
      const { say, which } = intent;
      const name = say === "touch" ? held[which % (held.length + 1)] ?? "b" : take(which, held);
      const delay = "delay" in intent ? intent.delay : undefined;
      const text = `${say.toUpperCase()} ${name}${delay === undefined ? "" : ` ${delay}`}`;
      return { text, meaning: { say, name, delayMs: toMs(delay) } };
    }
    case "kick":
      return { text: `KICK ${intent.name}`, meaning: { say: "kick", name: intent.name } };
    case "nonsense":
      return { text: intent.text, meaning: { say: "nonsense" } };
    case "reserve": {
      const { say, seconds } = intent;
      const text = seconds === undefined ? "RESERVE" : `RESERVE ${seconds}`;
      return { text, meaning: { say, waitMs: toMs(seconds) } };
    }
    case "sync":
    case "request":
      return { text: intent.say.toUpperCase(), meaning: { say: intent.say } };
    default:
      return intent satisfies never;
  }
}

/** The arrival of one of some tasks; one that none has if there are none. */
function pickArrival(tasks: readonly { readonly arrival: number }[], which: number): number {
  const arrivals = tasks.map(({ arrival }) => arrival).sort((a, b) => a - b);
  return arrivals[which % Math.max(1, arrivals.length)] ?? 0;
}

/** Takes one of the names that a client holds; one that it never had if there is none. */
function take(which: number, held: string[]): string {
  const [name = "b"] = held.splice(which % (held.length + 1), 1);
  return name;
}

function toMs(seconds: string | number | undefined): number | undefined {
  return seconds === undefined ? undefined : Number(seconds) * 1000;
}

function show(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 40)}... (${text.length})` : text);
}

function check(condition: boolean, message: string): asserts condition {
  if (!condition) throw new BrokenInvariant(message);
}

function checkEqual<T>(actual: readonly T[], expected: readonly T[], what: string): void {
  const isEqual = actual.length === expected.length && actual.every((a, i) => a === expected[i]);
  check(isEqual, `${what}: got ${JSON.stringify(actual)}, expected ${JSON.stringify(expected)}`);
}
