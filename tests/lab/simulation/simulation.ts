/**
 * Runs the sessions and the queue of lib/ under a schedule: virtual clock, faulty network, store that
 * fails. After each step everything is compared with the model. Pure.
 *
 * Two checks stand side by side. The model predicts every reply, event line and count. The fates of
 * the tasks are followed apart from it, by what the kernel took: nothing is handed out that was not
 * created, nothing again after a `REQUEST` or a kept completion, and at the end nothing is missing.
 *
 * @module
 */

import { formatReply, type Reply } from "../../../lib/core/protocol.ts";
import { formatServerEvent, type ServerEvent } from "../../../lib/core/events.ts";
import { MemoryTasks } from "../../../lib/core/memory_tasks.ts";
import { StoredTasks } from "../../../lib/core/stored_tasks.ts";
import type { Tasks } from "../../../lib/core/tasks.ts";
import type { CommitOutcome, KeptTask } from "../../../lib/core/store.ts";
import { type Line, UnreadableLine } from "../../../lib/line.ts";
import { ConsumerSession, endEvent, ProducerSession } from "../../../lib/core/session.ts";
import { TaskQueue } from "../../../lib/core/task_queue.ts";
import { SimulatedStore } from "./simulated_store.ts";
import { anyError, type Meaning, Model, ModelPeer } from "./model.ts";
import type { Intent, Schedule, Step } from "./schedule.ts";

/** What the server did is not what it should do. */
export class BrokenInvariant extends Error {
  /** Told apart by this. */
  override readonly name = "BrokenInvariant";
}

const maxLineBytes = 1024;

/** More than any schedule has tasks. */
const maxDrainRounds = 500;

/** One connection, with its network on both sides. */
interface Wire {
  readonly client: number;
  readonly name: string;
  readonly session: ProducerSession | ConsumerSession;
  readonly peer: ModelPeer;
  /** What the client has said and the server has not executed. */
  readonly said: { readonly text: string; readonly meaning: Meaning }[];
  /** Bytes on their way to the server, and those there of a line not yet whole. */
  toServer: string;
  tail: string;
  /** Whole lines that the server has not executed: it waits for room. */
  readonly lines: Line[];
  /** Every reply so far. */
  readonly replies: string[];
  /** How many of them the kernel took wholly; how much of the next one; how many the client read. */
  taken: number;
  takenBytes: number;
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
  /** The queue to try: that of lib/ where none is given. */
  readonly Queue?: typeof TaskQueue;
}

/** A run of one schedule. */
export class Simulation {
  readonly #schedule: Schedule;
  readonly #tell: (line: string) => void;
  readonly #Queue: typeof TaskQueue;
  readonly #store: SimulatedStore | undefined;
  #queue: TaskQueue;
  #tasks: Tasks;
  readonly #model: Model;
  readonly #wires = new Map<number, Wire>();
  readonly #waiting: Wire[] = [];
  readonly #events: string[] = [];
  #effects: ((outcome: CommitOutcome) => void)[] = [];
  #nowMs = 0;
  #isShuttingDown = false;
  /** By duration: how often a `REQUEST` was answered with it, as far as the kernel took it. */
  readonly #handedOut = new Set<string>();
  /** Removed for a `REQUEST` whose answer was lost in a crash. */
  readonly #lost = new Set<string>();

  /** Prepares a run. */
  constructor(schedule: Schedule, options: SimulationOptions = {}) {
    this.#schedule = schedule;
    this.#tell = options.tell ?? (() => {});
    this.#Queue = options.Queue ?? TaskQueue;
    this.#store = schedule.hasStore ? new SimulatedStore() : undefined;
    this.#queue = this.#newQueue();
    this.#tasks = this.#newTasks();
    this.#model = new Model(schedule.maxTasks, schedule.hasStore);
  }

  /**
   * Runs the schedule, then heals the network and drains the queue.
   *
   * @throws {BrokenInvariant} at the first difference; other errors are bugs of lib/ as well.
   */
  run(): void {
    for (const step of this.#schedule.steps) {
      this.#take(step);
      this.#settle();
    }
    this.#drain();
  }

  #newQueue(): TaskQueue {
    const { maxTasks } = this.#schedule;
    return new this.#Queue(
      this.#store === undefined ? { maxTasks } : { maxTasks, store: this.#store },
    );
  }

  #newTasks(): Tasks {
    if (this.#store === undefined) return new MemoryTasks(this.#queue);
    return new StoredTasks(this.#queue, {
      afterCommit: (effect) => this.#effects.push(effect),
      isSettled: false,
    });
  }

  #take(step: Step): void {
    switch (step.do) {
      case "commit":
        return this.#commit(step.outcome);
      case "pass":
        return this.#pass(step.ms);
      case "crash":
        return this.#crash();
      case "shut down":
        return this.#shutDown();
      case "connect":
        return this.#connect(step.client);
    }
    const wire = this.#wires.get(step.client);
    if (wire === undefined) return;
    switch (step.do) {
      case "send":
        return this.#send(wire, step.intents);
      case "deliver":
        return this.#deliver(wire, step.bytes);
      case "accept":
        return this.#accept(wire, step.bytes);
      case "exchange":
        this.#deliver(wire, Infinity);
        this.#commit("kept");
        // Only replies that still wait are compared.
        this.#compareReplies(wire);
        return this.#accept(wire, Infinity);
      case "finish":
        this.#tell(`${wire.name} half-closes`);
        wire.isFinished = true;
        return this.#deliver(wire, Infinity);
      case "reset":
        this.#tell(`${wire.name}'s connection is reset`);
        return this.#end(wire);
    }
  }

  #connect(client: number): void {
    if (this.#wires.has(client) || this.#isShuttingDown) return;
    const isProducer = client < this.#schedule.producers;
    let number = 0;
    if (!isProducer) this.#tasks.openConsumer((consumer) => number = consumer);
    const name = isProducer ? `producer ${client}` : `consumer ${client} (number ${number})`;
    const replies: string[] = [];
    const output = {
      reply: (reply: Reply) => {
        const line = formatReply(reply);
        replies.push(line);
        this.#followFate(line);
        this.#tell(`    server -> ${name}: ${line}`);
      },
      event: (event: ServerEvent) => {
        const line = formatServerEvent(event);
        this.#events.push(line);
        this.#tell(`    ${line}`);
      },
      complain: () => {},
    };
    this.#tell(`${name} connects`);
    const session = isProducer
      ? new ProducerSession(this.#tasks, output)
      : new ConsumerSession(number, this.#tasks, output);
    const peer = new ModelPeer(number);
    this.#wires.set(client, {
      ...{ client, name, session, peer, replies, said: [], toServer: "", tail: "", lines: [] },
      ...{ taken: 0, takenBytes: 0, read: 0, asked: [], held: [] },
      ...{ isFinished: false, isClosing: false },
    });
    if (session instanceof ConsumerSession) {
      session.open(this.#online);
      this.#model.open(peer, this.#online);
    }
  }

  get #online(): number {
    return [...this.#wires.values()].filter((wire) => wire.peer.consumer > 0).length;
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
    for (const reply of wire.replies.slice(wire.read, wire.taken)) {
      const [verb, name] = reply.split(" ");
      if (verb === "ASSIGN") wire.held.push(name as string);
    }
    wire.read = wire.taken;
  }

  #deliver(wire: Wire, bytes: number): void {
    const arrived = wire.toServer.slice(0, bytes);
    wire.toServer = wire.toServer.slice(arrived.length);
    if (wire.isClosing || arrived === "") return;
    this.#tell(`the network delivers ${arrived.length} bytes of ${wire.name}`);
    const lines = (wire.tail + arrived).split("\n");
    wire.tail = lines.pop() as string;
    wire.lines.push(
      ...lines.map((line) =>
        line.length >= maxLineBytes ? new UnreadableLine("line is too long") : line
      ),
    );
    if (wire.session instanceof ConsumerSession) {
      wire.session.repliesLeft(wire.replies.length - wire.taken);
    }
    if (!this.#waiting.includes(wire)) this.#execute(wire);
  }

  /** Executes the lines that have come. @returns false where one waits for room. */
  #execute(wire: Wire): boolean {
    for (let line = wire.lines[0]; line !== undefined; line = wire.lines[0]) {
      const { text, meaning } = wire.said[0] as Wire["said"][number];
      if (typeof line === "string") {
        check(line === text, `line ${show(line)} must be ${show(text)}`);
      }
      const step = wire.session.receive(line, () => this.#nowMs);
      const expected = this.#model.receive(wire.peer, meaning, this.#nowMs);
      check(step === expected, `after ${show(text)} comes "${step}", expected "${expected}"`);
      if (step === "wait") {
        if (!this.#waiting.includes(wire)) this.#waiting.push(wire);
        return false;
      }
      wire.lines.shift();
      wire.said.shift();
      if (!this.#isShuttingDown && (meaning.say === "request" || meaning.say === "reserve")) {
        wire.asked.push(meaning.say);
      }
      if (step === "close") {
        wire.isClosing = true;
        wire.lines.length = 0;
      }
    }
    return true;
  }

  #accept(wire: Wire, bytes: number): void {
    const before = wire.taken;
    let rest = bytes;
    for (let reply = wire.replies[wire.taken]; reply !== undefined && rest > 0;) {
      const wanted = reply.length + 1 - wire.takenBytes;
      if (rest < wanted) {
        wire.takenBytes += rest;
        break;
      }
      rest -= wanted;
      wire.taken++;
      wire.takenBytes = 0;
      this.#followTaken(wire, reply);
      reply = wire.replies[wire.taken];
    }
    if (wire.taken > before) {
      this.#tell(`the kernel takes ${wire.taken - before} replies to ${wire.name}`);
    }
  }

  /** A reply is made: does it fit what became of its task so far? */
  #followFate(reply: string): void {
    const [verb, , duration] = reply.split(" ");
    if (verb !== "ASSIGN") return;
    check(!this.#handedOut.has(duration as string), `${show(reply)} was handed out before`);
    const fate = this.#model.fates.get(duration as string);
    check(fate?.isCompleted !== true, `${show(reply)} was completed before`);
  }

  /** A reply is out of the server's hands. */
  #followTaken(wire: Wire, reply: string): void {
    const [verb, , duration] = reply.split(" ");
    if (verb !== "ASSIGN" && verb !== "NOTASK") return;
    const asked = wire.asked.shift();
    check(asked !== undefined, `${show(reply)} answers nothing`);
    if (verb === "NOTASK") return;
    check(
      this.#model.fates.get(duration as string)?.isCreated === true,
      `${show(reply)} hands out what was not created`,
    );
    // The line of a reserved task may be taken after its lease has ended: that it is repeated then
    // is what reserving allows.
    if (asked === "reserve") return;
    check(!this.#handedOut.has(duration as string), `${show(reply)} was taken before`);
    this.#handedOut.add(duration as string);
  }

  /** Ends a connection as the server does when it finds it gone. */
  #end(wire: Wire): void {
    this.#wires.delete(wire.client);
    const place = this.#waiting.indexOf(wire);
    if (place !== -1) this.#waiting.splice(place, 1);
    this.#compareReplies(wire);
    if (wire.session instanceof ConsumerSession) {
      wire.session.end(this.#online, { unsentReplies: wire.replies.length - wire.taken });
    }
    this.#model.end(wire.peer, this.#online, wire.taken);
  }

  #commit(outcome: CommitOutcome): void {
    if (this.#store === undefined) return;
    const arrivals = (kept: readonly KeptTask[]) => kept.map(({ task }) => task.arrival);
    const before = arrivals(this.#store.keptTasks());
    const expected = outcome === "not kept" ? before : this.#model.arrivals(outcome);
    this.#tell(`the store commits: ${outcome}`);
    this.#store.outcome = outcome;
    this.#store.commit();
    const kept = this.#store.keptTasks();
    checkEqual(arrivals(kept), expected, "arrivals of the kept tasks");
    for (const { task } of kept) {
      const fate = this.#model.fates.get(task.duration);
      if (fate !== undefined) fate.isRequested = false;
    }
    const effects = this.#effects;
    this.#effects = [];
    for (const effect of effects) effect(outcome);
    this.#model.commit(outcome);
  }

  #pass(ms: number): void {
    this.#tell(`${ms} ms pass`);
    this.#nowMs += ms;
    this.#tasks.endLeases(this.#nowMs, { most: Infinity }, (ended) => {
      for (const line of ended.map((one) => formatServerEvent(endEvent(one)))) {
        this.#events.push(line);
        this.#tell(`    ${line}`);
      }
    });
    this.#model.endLeases(this.#nowMs);
  }

  #crash(): void {
    if (this.#store === undefined || this.#isShuttingDown) return;
    this.#tell("the server is killed and starts again");
    this.#wires.clear();
    this.#waiting.length = 0;
    this.#effects = [];
    this.#store.restart();
    this.#queue = this.#newQueue();
    this.#tasks = this.#newTasks();
    const kept = this.#store.keptTasks();
    for (const task of kept) this.#queue.restore(task);
    this.#model.restore(kept.map(({ task: { priority, taskId, duration, arrival }, ...state }) => ({
      task: { priority, name: taskId, duration, arrival, ends: state.ends },
      isBuried: state.isBuried,
    })));
    this.#checkRecovery(new Set(kept.map(({ task }) => task.duration)));
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
    const consumers = [...this.#wires.values()].filter((wire) => wire.peer.consumer > 0);
    for (const { session } of consumers) {
      if (session instanceof ConsumerSession) session.announceShutdown();
    }
    this.#model.shutDown(consumers.map((wire) => wire.peer));
  }

  /** What the server does at the end of each turn; then everything is compared. */
  #settle(): void {
    while (this.#waiting.length > 0 && this.#queue.room > 0) {
      const wire = this.#waiting[0] as Wire;
      this.#tell(`there is room for ${wire.name}`);
      if (!this.#execute(wire)) break;
      this.#waiting.shift();
    }
    for (const wire of [...this.#wires.values()]) {
      const hasEnded = wire.isFinished || wire.isClosing;
      if (!hasEnded || wire.lines.length > 0 || this.#effects.length > 0) continue;
      if (wire.taken === wire.replies.length) this.#end(wire);
    }
    this.#compare();
  }

  #compare(): void {
    checkEqual(this.#events, this.#model.events, "event lines");
    this.#events.length = 0;
    this.#model.events.length = 0;
    for (const wire of this.#wires.values()) this.#compareReplies(wire);
    check(
      this.#queue.size === this.#model.size,
      `the queue has ${this.#queue.size} tasks, expected ${this.#model.size}`,
    );
    check(
      this.#queue.readyCount === this.#model.ready.length,
      `${this.#queue.readyCount} tasks are ready, expected ${this.#model.ready.length}`,
    );
    const { nextLeaseEndMs } = this.#queue;
    const expected = this.#model.nextLeaseEndMs;
    check(nextLeaseEndMs === expected, `next lease ends at ${nextLeaseEndMs}, not ${expected}`);
  }

  #compareReplies(wire: Wire): void {
    const { replies, peer: { replies: expected } } = wire;
    check(
      replies.length === expected.length,
      `${wire.name} got ${replies.length} replies, expected ${expected.length}`,
    );
    for (let i = wire.taken; i < replies.length; i++) {
      const reply = replies[i] as string;
      const isSame = expected[i] === anyError ? reply.startsWith("ERROR ") : reply === expected[i];
      check(isSame, `${wire.name} got ${show(reply)}, expected ${show(expected[i] as string)}`);
    }
  }

  /** After the last fault everything drains: the clients finish, and two more take what is left. */
  #drain(): void {
    this.#tell("the network heals");
    this.#commit("kept");
    this.#settle();
    if (this.#isShuttingDown) return;
    const kicker = -1;
    const drainer = this.#schedule.producers + this.#schedule.consumers;
    this.#connect(kicker);
    this.#connect(drainer);
    const helpers = [kicker, drainer].map((client) => this.#wires.get(client) as Wire);
    const clients = [...this.#wires.values()].filter((wire) => !helpers.includes(wire));
    for (const wire of clients) wire.isFinished = true;
    for (let round = 0; this.#wires.size > helpers.length || this.#model.size > 0; round++) {
      check(round < maxDrainRounds, "the queue does not drain");
      this.#send(helpers[0] as Wire, this.#model.buried.map(({ name }) => ({ say: "kick", name })));
      this.#send(helpers[1] as Wire, Array.from({ length: 5 }, () => ({ say: "request" })));
      this.#heal();
    }
    for (const [duration, fate] of this.#model.fates) {
      const isThere = this.#handedOut.has(duration) || fate.isCompleted || this.#lost.has(duration);
      check(isThere, `the task of duration ${duration} is lost`);
    }
  }

  /** Delivers, commits and accepts all there is. */
  #heal(): void {
    for (const wire of [...this.#wires.values()]) {
      this.#deliver(wire, Infinity);
      this.#commit("kept");
      this.#settle();
    }
    for (const wire of [...this.#wires.values()]) this.#accept(wire, Infinity);
    this.#settle();
  }
}

/** Turns what a client wants to say into its line. */
function resolve(intent: Intent, held: string[]): { text: string; meaning: Meaning } {
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
