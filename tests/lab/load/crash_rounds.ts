/**
 * Kills a server that keeps a store, at random moments under load, and checks what comes back.
 *
 * Each round starts the server on the same file, loads it with producers that ask for confirmation
 * and consumers of both kinds, and ends it by kill -9. Now and then, and at the end, a consumer
 * empties the server, and all that the clients saw since the last time is judged.
 *
 * @module
 */

import { sleep } from "../../../lib/clock.ts";
import { checkHistory, type ClientHistory } from "../judges/history.ts";
import { ScratchFolder, type ServerProgram, startStoreServer } from "../processes.ts";
import { Random } from "../random.ts";
import { Recorder } from "./recorded_clients.ts";

/** Clients of each kind. */
const clientsOfAKind = 3;

/** Tasks of one producer that are not confirmed. */
const maxUnconfirmed = 30;

/** A killed server ends each connection at once: only one that hangs is waited for so long. */
const patienceMs = 4000;

/** The latest moment of the kill, in milliseconds after the load began. */
const maxLoadMs = 200;

/** How many rounds pass, on average, between two checks of all that is there. */
const roundsPerCheck = 3;

/** Requests of the one who empties the server that are under way at a time. */
const drainDepth = 100;

/** What was done and seen so far. */
export interface CrashReport {
  /** Kills. */
  rounds: number;
  /** Tasks whose confirmation came. */
  confirmed: number;
  /** Tasks that came by REQUEST or RESERVE. */
  handedOut: number;
  /** Completions sent. */
  completed: number;
  /** Tasks that were still there after a kill, found by a check. */
  survived: number;
  /** Requests that a kill left without an answer. */
  unanswered: number;
}

/** How to run {@linkcode crashRounds}. */
export interface CrashOptions {
  /** How many kills. */
  readonly rounds: number;
  /** What the random choices start from. */
  readonly seed: number;
  /** Is told after each round. */
  readonly onRound?: () => void;
}

/**
 * Kills a server again and again.
 *
 * @throws {Error} if a promise was broken; its message holds the seed.
 */
export async function crashRounds(options: CrashOptions): Promise<CrashReport> {
  await using folder = new ScratchFolder();
  const run = new CrashRun(`${folder.path}/tasks.db`, new Random(options.seed));
  try {
    while (run.report.rounds < options.rounds) {
      await run.round();
      options.onRound?.();
    }
    await run.finish();
    return run.report;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`seed ${options.seed}, round ${run.report.rounds + 1}: ${reason}`);
  }
}

class CrashRun {
  readonly report: CrashReport = {
    ...{ rounds: 0, confirmed: 0, handedOut: 0, completed: 0, survived: 0, unanswered: 0 },
  };
  readonly #path: string;
  readonly #random: Random;
  readonly #recorder = new Recorder({ patienceMs });

  constructor(path: string, random: Random) {
    this.#path = path;
    this.#random = random;
  }

  /** Starts the server, checks it now and then, loads it, kills it. */
  async round(): Promise<void> {
    await using server = await this.#start();
    const random = this.#random;
    if (random.below(roundsPerCheck) === 0) await this.#check(server);
    let isLoaded = true;
    const behaviour = { random, goesOn: () => isLoaded };
    const { producerPort, consumerPort } = server;
    // Consumers end after some requests: others must find something to do.
    const requests = () => random.below(300);
    const load = Promise.all(
      Array.from({ length: clientsOfAKind }, () => [
        this.#recorder.produce(producerPort, {
          ...behaviour,
          ...{ tasks: Infinity, window: maxUnconfirmed },
        }),
        this.#recorder.request(consumerPort, { ...behaviour, requests: requests() }),
        this.#recorder.reserve(consumerPort, { ...behaviour, requests: requests() }),
      ]).flat(),
    );
    await Promise.race([load, sleep(random.below(maxLoadMs * 10) / 10)]);
    isLoaded = false;
    await server.crash();
    await load;
    this.report.rounds++;
  }

  /** Checks all that is there at the end. */
  async finish(): Promise<void> {
    await using server = await this.#start();
    await this.#check(server);
  }

  #start(): Promise<ServerProgram> {
    return startStoreServer(this.#path, { args: ["--quiet"] });
  }

  /** Takes all tasks from the server and compares them with what was promised. */
  async #check(server: ServerProgram): Promise<void> {
    const { clients } = this.#recorder;
    const found = await this.#recorder.drain(server.consumerPort, { depth: drainDepth });
    await this.#recorder.kick(server.producerPort, unseenTasks(clients));
    const buried = await this.#recorder.drain(server.consumerPort);
    this.#count(clients);
    this.report.survived += found.length + buried.length;
    const [fault] = checkHistory({ clients, isDrained: true });
    if (fault !== undefined) throw new Error(`${fault.invariant}: ${fault.message}`);
    checkOrder(found, clients);
    // Nothing of all this may come again: what comes now and is not sent anew was never created.
    clients.length = 0;
  }

  #count(clients: readonly ClientHistory[]): void {
    for (const { entries } of clients) {
      const sent = entries.flatMap((entry) => "sent" in entry ? [entry.sent] : []);
      const got = entries.flatMap((entry) => "got" in entry ? [entry] : []);
      const asked = sent.filter((verb) => verb === "REQUEST" || verb === "RESERVE").length;
      const answered = got.filter(({ got }) => got === "ASSIGN" || got === "NOTASK").length;
      const isProducer = sent.includes("CREATE");
      const confirmed = got.filter(({ got }) => got === "CONFIRMED").length;
      this.report.confirmed += isProducer ? confirmed : 0;
      this.report.handedOut += got.filter(({ got }) => got === "ASSIGN").length;
      this.report.completed += sent.filter((verb) => verb === "COMPLETE").length;
      this.report.unanswered += asked - answered;
    }
  }
}

/** The tasks that nobody got for good, as far as the clients know: they may be buried, or lost. */
export function unseenTasks(clients: readonly ClientHistory[]): string[] {
  const unseen = new Set<string>();
  for (const { entries } of clients) {
    for (const entry of entries) if ("task" in entry) unseen.add(entry.task);
  }
  for (const { entries } of clients) {
    const isReserving = entries.some((entry) => "sent" in entry && entry.sent === "RESERVE");
    for (const entry of entries) {
      if (!("task" in entry)) continue;
      const isGone = "got" in entry
        ? entry.got === "ASSIGN" && !isReserving
        : entry.sent === "COMPLETE";
      if (isGone) unseen.delete(entry.task);
    }
  }
  return [...unseen];
}

/** What a client knows of a task that it has created. */
interface CreatedTask {
  readonly task: string;
  readonly priority: number;
  readonly producer: ClientHistory;
  readonly at: number;
  confirmedAt: number;
}

/**
 * Tasks that are there after a restart must come by priority, and in the order in which they
 * certainly arrived. The history alone would let as many be out of place as requests had no answer.
 *
 * @throws {Error} that names a task out of its place.
 */
export function checkOrder(found: readonly string[], clients: readonly ClientHistory[]): void {
  const created = new Map<string, CreatedTask>();
  for (const producer of clients) {
    for (const entry of producer.entries) {
      if ("sent" in entry && entry.sent === "CREATE") {
        created.set(entry.task, { ...entry, producer, confirmedAt: Infinity });
      } else if ("got" in entry && entry.got === "CONFIRMED") {
        const task = created.get(entry.task);
        if (task?.producer === producer) task.confirmedAt = entry.at;
      }
    }
  }
  // From the last to the first: no task that comes later may have been there before.
  const firstConfirmed = [Infinity, Infinity, Infinity, Infinity];
  const firstSent = new Map<string, number>();
  let leastPriority = 3;
  for (const { task, priority, producer, at, confirmedAt } of found.toReversed().map(lookUp)) {
    const key = `${priority} ${clients.indexOf(producer)}`;
    if (priority > leastPriority) throw new Error(`${task} came before one of higher priority`);
    if (at > (firstSent.get(key) ?? Infinity)) throw new Error(`${task} is out of its place`);
    if (at > (firstConfirmed[priority] as number)) {
      throw new Error(`${task} came before an older task of its priority`);
    }
    leastPriority = priority;
    firstSent.set(key, at);
    firstConfirmed[priority] = Math.min(firstConfirmed[priority] as number, confirmedAt);
  }

  function lookUp(name: string): CreatedTask {
    const task = created.get(name);
    if (task === undefined) throw new Error(`${name} was never sent, or is long gone`);
    return task;
  }
}
