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

import { MemoryTasks } from "../../../lib/core/memory_tasks.ts";
import type { CommitOutcome, KeptTask } from "../../../lib/core/store.ts";
import { StoredTasks } from "../../../lib/core/stored_tasks.ts";
import { TaskQueue } from "../../../lib/core/task_queue.ts";
import { serve, type ServeOptions } from "../../../lib/server/serve.ts";
import { GroupCommit } from "../../../lib/store/group_commit.ts";
import { anyError, type Meaning, Model, ModelPeer } from "./model.ts";
import { type Ask, ObservedTasks } from "./observed_tasks.ts";
import type { Intent, Schedule, Step } from "./schedule.ts";
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

/** How late the end of a lease may be noticed while time passes, in milliseconds. */
const maxLeaseDelayMs = 500;

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
  /** Lines that the server has read and not executed. */
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
  /** Removed for a `REQUEST` whose answer was lost in a crash. */
  readonly #lost = new Set<string>();

  /** Prepares a run. */
  constructor(schedule: Schedule, options: SimulationOptions = {}) {
    this.#schedule = schedule;
    this.#tell = options.tell ?? (() => {});
    this.#options = options;
    this.#store = schedule.hasStore ? this.#makeStore() : undefined;
    this.#model = new Model(schedule.maxTasks, schedule.hasStore);
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
    const store = this.#store === undefined ? {} : { store: this.#store };
    const queue = new Queue({ maxTasks: this.#schedule.maxTasks, ...store });
    const life: Life = {
      ...{ clock, queue, producers: new VirtualListener(), consumers: new VirtualListener() },
      ...{ stop: new AbortController(), consumersSoFar: 0, hasEnded: false, failure: undefined },
    };
    const fail = (error: unknown) => life.failure ??= error;
    for (const kept of this.#store?.keptTasks() ?? []) queue.restore(kept);
    const tasks = this.#store === undefined
      ? new MemoryTasks(queue)
      : new StoredTasks(queue, new GroupCommit(this.#store, fail, clock));
    const options: ServeOptions = {
      clock,
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
        return this.#shutDown();
      case "connect":
        return await this.#connect(step.client);
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

  get #online(): number {
    return [...this.#wires.values()].filter(({ peer }) => peer.consumer > 0 && !peer.hasEnded)
      .length;
  }

  #send(wire: Wire, intents: readonly Intent[]): void {
    if (wire.isFinished) return;
    this.#readReplies(wire);
    const lines = intents.map((intent) => resolve(intent, wire.held));
    this.#tell(`${wire.name} sends: ${lines.map((line) => show(line.text)).join(" | ")}`);
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
      case "open consumer":
        return this.#open();
      case "end leases":
        return this.#endLeases(ask.nowMs);
      case "end delays":
      case "end waits":
      case "stop waiting":
        return;
      case "end consumer": {
        const wire = this.#consumer(ask.consumer);
        this.#followTaken(wire);
        return this.#model.end(wire.peer, this.#online - 1, wire.taken);
      }
    }
    const wire = this.#readOrder.find((wire) => {
      this.#skip(wire);
      const meaning = wire.lines[0]?.meaning;
      return meaning !== undefined && fits(ask, meaning) &&
        (!("consumer" in ask) || ask.consumer === wire.peer.consumer);
    });
    check(wire !== undefined, `nobody has said what the server does: ${JSON.stringify(ask)}`);
    const { text, meaning } = wire.lines.shift() as Said;
    this.#tell(`  ${wire.name}: ${show(text)}`);
    const step = this.#model.receive(wire.peer, meaning, this.#life.clock.nowMs());
    check(step === "next", `${show(text)} is executed, expected "${step}"`);
    if (meaning.say === "request" || meaning.say === "reserve") wire.asked.push(meaning.say);
    this.#skip(wire);
  }

  /** Executes lines that ask for nothing; what they are answered does not depend on others. */
  #skip(wire: Wire): void {
    for (let line = wire.lines[0]; line !== undefined; line = wire.lines[0]) {
      const { say } = line.meaning;
      const isIgnored = (say === "complete" && !wire.peer.hasReserved) ||
        (this.#isShuttingDown && (say === "request" || say === "reserve"));
      if (say !== "sync" && say !== "nonsense" && !isIgnored) return;
      wire.lines.shift();
      const step = this.#model.receive(wire.peer, line.meaning, this.#life.clock.nowMs());
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
    this.#model.open(wire.peer, this.#online);
  }

  #consumer(number: number): Wire {
    const wire = [...this.#wires.values()].find((wire) => wire.peer.consumer === number);
    check(wire !== undefined, `consumer ${number} is not connected`);
    return wire;
  }

  #endLeases(nowMs: number): void {
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
    this.#store.outcome = "kept";
  }

  /** The store has kept the changes so far, as the outcome says; their effects are next. */
  #noteCommit(outcome: CommitOutcome): void {
    this.#tell(`the store commits: ${outcome}`);
    try {
      const kept = (this.#store as SimulatedStore).keptTasks();
      if (outcome !== "not kept") {
        checkEqual(arrivals(kept), this.#model.arrivals(outcome), "arrivals of the kept tasks");
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

  async #pass(ms: number): Promise<void> {
    await this.#commit("kept");
    this.#tell(`${ms} ms pass`);
    if (ms >= 2 * maxLeaseDelayMs) this.#stopsInARow = 0;
    const { clock, queue } = this.#life;
    // On time at the end; before it looks may be rare, or a day would take too many of them.
    const shortMs = Math.min(ms, 2 * maxLeaseDelayMs);
    await clock.stop(ms - shortMs);
    for (let restMs = shortMs; restMs > 0; restMs -= 100) {
      await clock.pass(Math.min(100, restMs));
      // No turn lasts as long as this.
      await this.#settleTurns();
      await this.#commit("kept");
    }
    const endMs = queue.nextLeaseEndMs ?? Infinity;
    const lateMs = clock.nowMs() - endMs;
    check(
      ms < 2 * maxLeaseDelayMs || lateMs < maxLeaseDelayMs || this.#isShuttingDown,
      `a lease has been over for ${lateMs} ms`,
    );
  }

  /** The whole process is stopped for a while; what arrives meanwhile is read after the timers. */
  async #stop(ms: number, arriving: readonly number[]): Promise<void> {
    await this.#commit("kept");
    this.#tell(`the process is stopped for ${ms} ms`);
    this.#stopsInARow++;
    const wires = arriving.flatMap((client) => this.#wires.get(client) ?? []);
    for (const wire of wires) this.#arrive(wire, Infinity);
    await this.#life.clock.stop(ms);
    for (const wire of this.#wires.values()) wire.stream.poll();
    await this.#settleTurns();
  }

  async #crash(): Promise<void> {
    if (this.#store === undefined || this.#isShuttingDown) return;
    this.#tell("the server is killed and starts again");
    this.#wires.clear();
    this.#readOrder = [];
    this.#store.restart();
    const kept = this.#store.keptTasks();
    this.#model.restore(kept.map(({ task: { priority, taskId, duration, arrival }, ...state }) => ({
      task: { priority, name: taskId, duration, arrival, ends: state.ends },
      isBuried: state.isBuried,
    })));
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

  #shutDown(): void {
    if (this.#isShuttingDown) return;
    this.#isShuttingDown = true;
    this.#tell("the server shuts down");
    this.#model.shutDown([...this.#wires.values()].map(({ peer }) => peer));
    this.#life.stop.abort();
  }

  /** Without a store, turns end by themselves. */
  async #settleTurns(): Promise<void> {
    await settle();
    const { clock } = this.#life;
    await clock.stop(0);
    if (this.#store !== undefined) return;
    while (clock.isTurnOpen) await clock.endTurn();
  }

  /** Has the server do what it can do now, and compares everything. */
  async #settle(): Promise<void> {
    await this.#settleTurns();
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
    checkEqual(this.#events, this.#model.events, "event lines");
    this.#events.length = 0;
    this.#model.events.length = 0;
    const { queue, clock } = this.#life;
    for (const wire of this.#wires.values()) {
      this.#followTaken(wire);
      this.#compareReplies(wire);
      const [next] = wire.lines;
      const isStuck = next !== undefined && queue.room > 0 && wire.stream.isDrained &&
        !clock.isTurnOpen && !this.#isShuttingDown && !wire.stream.isClosed;
      check(!isStuck, `${wire.name}: ${show(next?.text ?? "")} waits, and there is room`);
    }
    check(
      queue.size === this.#model.size,
      `the queue has ${queue.size} tasks, expected ${this.#model.size}`,
    );
    check(
      queue.readyCount === this.#model.ready.length,
      `${queue.readyCount} tasks are ready, expected ${this.#model.ready.length}`,
    );
    const expected = this.#model.nextLeaseEndMs;
    check(
      queue.nextLeaseEndMs === expected,
      `next lease ends at ${queue.nextLeaseEndMs}, not ${expected}`,
    );
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
    if (!stream.isDrained || stream.isBroken || hasEnded || this.#life.clock.isTurnOpen) return;
    check(
      replies.length === expected.length,
      `${wire.name} got ${replies.length} replies, expected ${expected.length}`,
    );
  }

  /** After the last fault everything drains: the clients finish, and two more take what is left. */
  async #drain(): Promise<void> {
    this.#tell("the network heals");
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
      }
      this.#checkFates();
    }
    await this.#end();
  }

  #checkFates(): void {
    for (const [duration, fate] of this.#model.fates) {
      const isThere = this.#handedOut.has(duration) || fate.isCompleted || this.#lost.has(duration);
      check(isThere, `the task of duration ${duration} is lost`);
    }
  }

  /** Shuts the server down; with a store, what it leaves is what the model has. */
  async #end(): Promise<void> {
    this.#shutDown();
    await this.#settle();
    await this.#heal();
    await this.#pass(shutdownMs);
    await this.#commit("kept");
    await this.#settle();
    check(this.#life.hasEnded, "the server does not end");
    check(this.#wires.size === 0, "a connection is left");
    if (this.#store === undefined) return;
    this.#store[Symbol.dispose]();
    const kept = arrivals(this.#store.keptTasks());
    checkEqual(kept, this.#model.arrivals("kept"), "arrivals of the tasks at the end");
  }

  /** Delivers, commits and accepts all there is. */
  async #heal(): Promise<void> {
    for (const wire of this.#wires.values()) {
      this.#deliver(wire, Infinity);
      wire.stream.take(Infinity);
    }
    do {
      await this.#commit("kept");
      await this.#settle();
    } while (this.#life.clock.isTurnOpen);
    for (const wire of this.#wires.values()) wire.stream.stopTaking();
  }
}

/** Whether a line means what is asked. */
function fits(ask: Ask, meaning: Meaning): boolean {
  if (ask.ask !== meaning.say && (ask.ask !== "give up" || ask.how.kind !== meaning.say)) {
    return false;
  }
  if (meaning.say === "create") return "task" in ask && ask.task.duration === meaning.duration;
  return !("name" in ask) || ("name" in meaning && ask.name === meaning.name);
}

function arrivals(kept: readonly KeptTask[]): number[] {
  return kept.map(({ task }) => task.arrival);
}

/** Turns what a client wants to say into its line. */
function resolve(intent: Intent, held: string[]): Said {
  switch (intent.say) {
    case "create": {
      const { say, priority, name, tag } = intent;
      const duration = `${tag % 3}.${String(tag).padStart(6, "0")}`;
      const text = `CREATE ${priority} ${name} ${duration}`;
      return { text, meaning: { say, priority, name, duration } };
    }
    case "complete":
    case "release": {
      const [name = "b"] = held.splice(intent.which % (held.length + 1), 1);
      return { text: `${intent.say.toUpperCase()} ${name}`, meaning: { say: intent.say, name } };
    }
    case "kick":
      return { text: `KICK ${intent.name}`, meaning: intent };
    case "nonsense":
      return { text: intent.text, meaning: { say: "nonsense" } };
    case "sync":
    case "request":
    case "reserve":
      return { text: intent.say.toUpperCase(), meaning: { say: intent.say } };
    default:
      return intent satisfies never;
  }
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
