/**
 * Kills a server that keeps a store, at random moments under load, and checks what comes back.
 *
 * Each round starts the server on the same file, loads it with producers that ask for confirmation
 * and consumers of both kinds, and ends it by kill -9. Now and then, and at the end, a consumer
 * empties the server: whatever was confirmed and not handed out or completed must be there, in its
 * place, nothing else, and nothing that was handed out or confirmed completed.
 *
 * Run it with `deno task crash --rounds 1000 --seed 7`.
 *
 * @module
 */

import { Connection, ConnectionGroup, isDisconnect } from "../../lib/net/connection.ts";
import { maxLineBytes } from "../../lib/core/protocol.ts";
import { parseWholeNumber } from "../../lib/cli/arguments.ts";
import { UserError } from "../../lib/user_error.ts";
import { sleep } from "../../lib/clock.ts";
import { parseArgs } from "@std/cli/parse-args";
import { Random } from "../../tests/lab/random.ts";

const serverScript = new URL("../../server.ts", import.meta.url).pathname;

/** Clients of each kind. */
const clientsOfAKind = 2;

/** Tasks that a producer sends before it asks for confirmation, at most. */
const maxBatch = 40;

/** Batches on the way from one producer before it waits for the first answer. */
const maxBatchesWaiting = 3;

/** Requests on the way from one consumer, at most: each may cost a task at the kill. */
const maxRequests = 3;

/** The latest moment of the kill, in milliseconds after the load began. */
const maxLoadMs = 80;

/** How many rounds pass, on average, between two checks of all that is there. */
const roundsPerCheck = 3;

/** What is known of a task; the ticks count what the clients sent and heard. */
interface SentTask {
  readonly taskId: string;
  readonly priority: number;
  /** Its place among the tasks of its connection. */
  readonly connection: number;
  readonly sequence: number;
  readonly sentTick: number;
  confirmedTick: number;
  fate: "waiting" | "handed out" | "maybe completed" | "completed";
}

/** What was done and seen so far. */
export interface CrashReport {
  /** Kills. */
  rounds: number;
  /** Tasks whose confirmation came. */
  confirmed: number;
  /** Tasks that came by REQUEST. */
  handedOut: number;
  /** Tasks whose completion was confirmed. */
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
  readonly onRound?: (report: CrashReport) => void;
}

/**
 * Kills a server again and again.
 *
 * @throws {Error} where a promise was broken; its message holds the seed.
 */
export async function crashRounds(options: CrashOptions): Promise<CrashReport> {
  const folder = await Deno.makeTempDir({ prefix: "crash " });
  const run = new CrashRun(`${folder}/tasks.db`, new Random(options.seed));
  try {
    for (let round = 1; round <= options.rounds; round++) {
      await run.round();
      options.onRound?.(run.report);
    }
    await run.finish();
    return run.report;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`seed ${options.seed}, round ${run.report.rounds + 1}: ${reason}`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

class CrashRun {
  readonly report: CrashReport = {
    rounds: 0,
    confirmed: 0,
    handedOut: 0,
    completed: 0,
    survived: 0,
    unanswered: 0,
  };
  readonly #path: string;
  readonly #random: Random;
  /** Every task sent since the last check. */
  readonly #tasks = new Map<string, SentTask>();
  #tick = 0;
  #connections = 0;
  #unansweredSinceCheck = 0;
  #isLoaded = false;

  constructor(path: string, random: Random) {
    this.#path = path;
    this.#random = random;
  }

  /** Starts the server, checks it now and then, loads it, kills it. */
  async round(): Promise<void> {
    await using server = await RunningServer.start(this.#path);
    if (this.#random.below(roundsPerCheck) === 0) await this.#check(server);
    this.#isLoaded = true;
    const clients: Promise<void>[] = [];
    for (let i = 0; i < clientsOfAKind; i++) {
      clients.push(
        this.#produce(server.producerPort),
        this.#request(server.consumerPort),
        this.#reserve(server.consumerPort),
      );
    }
    const load = Promise.all(clients);
    // A client that notices a broken promise ends the wait.
    await Promise.race([load, sleep(this.#random.below(maxLoadMs * 10) / 10)]);
    this.#isLoaded = false;
    await server.kill();
    await load;
    this.report.rounds++;
  }

  /** Checks all that is there at the end. */
  async finish(): Promise<void> {
    await using server = await RunningServer.start(this.#path);
    await this.#check(server);
  }

  /** Takes all tasks from the server and compares them with what was promised. */
  async #check(server: RunningServer): Promise<void> {
    const found = new Set<SentTask>();
    await using client = await Client.connect(server.consumerPort);
    if (await client?.nextLine() === undefined || client === undefined) {
      throw new Error("the server does not greet");
    }
    for (;;) {
      client.send(...Array(100).fill("REQUEST"));
      let isEmpty = false;
      for (let i = 0; i < 100; i++) {
        const line = await client.nextLine();
        if (line === undefined) throw new Error("the server closed while it was emptied");
        if (line === "NOTASK") isEmpty = true;
        else found.add(this.#takeHandOut(line));
      }
      if (isEmpty) break;
    }
    checkOrder([...found]);
    const missing = [...this.#tasks.values()].filter((task) =>
      task.confirmedTick < Infinity && task.fate === "waiting" && !found.has(task)
    );
    if (missing.length > this.#unansweredSinceCheck) {
      throw new Error(
        `${missing.length} confirmed tasks are lost, the first is ${missing[0]?.taskId}; ` +
          `at most ${this.#unansweredSinceCheck} can have been handed out unseen`,
      );
    }
    this.report.survived += found.size;
    this.report.handedOut += found.size;
    this.#unansweredSinceCheck = 0;
    // Nothing of all this may come again, neither what was found nor what was not.
    this.#tasks.clear();
  }

  /** The task that an ASSIGN names, which must be one that may come. */
  #takeHandOut(line: string): SentTask {
    const taskId = /^ASSIGN (\S+) 0\.5$/.exec(line)?.[1];
    if (taskId === undefined) throw new Error(`unexpected answer: ${line}`);
    const task = this.#tasks.get(taskId);
    if (task === undefined) throw new Error(`${taskId} was never sent, or is long gone`);
    if (task.fate === "handed out" || task.fate === "completed") {
      throw new Error(`${taskId} came back: it was ${task.fate}`);
    }
    return task;
  }

  async #produce(port: number): Promise<void> {
    await using client = await Client.connect(port);
    if (client === undefined) return;
    const connection = ++this.#connections;
    const sent: SentTask[] = [];
    let batchesWaiting = 0;
    let confirmed = 0;
    while (this.#isLoaded) {
      while (batchesWaiting < maxBatchesWaiting) {
        const batch = Array.from(
          { length: 1 + this.#random.below(maxBatch) },
          (_, i) => this.#newTask(connection, sent.length + i),
        );
        sent.push(...batch);
        const lines = batch.map((task) => `CREATE ${task.priority} ${task.taskId} 0.5`);
        client.send(...lines, "SYNC");
        batchesWaiting++;
      }
      const answer = await client.nextLine();
      if (answer === undefined) return;
      const count = Number(/^OK (\d+)$/.exec(answer)?.[1] ?? NaN);
      if (!(count > confirmed && count <= sent.length)) throw new Error(`producer got: ${answer}`);
      const tick = ++this.#tick;
      this.report.confirmed += count - confirmed;
      for (; confirmed < count; confirmed++) (sent[confirmed] as SentTask).confirmedTick = tick;
      batchesWaiting--;
    }
  }

  #newTask(connection: number, sequence: number): SentTask {
    const task: SentTask = {
      taskId: `task-${connection}-${sequence}`,
      priority: 1 + this.#random.below(3),
      connection,
      sequence,
      sentTick: ++this.#tick,
      confirmedTick: Infinity,
      fate: "waiting",
    };
    this.#tasks.set(task.taskId, task);
    return task;
  }

  async #request(port: number): Promise<void> {
    await using client = await Client.connect(port);
    if (await client?.nextLine() === undefined || client === undefined) return;
    let waiting = 0;
    // Others must find something to do.
    for (let rest = this.#random.below(300); rest > 0 && this.#isLoaded;) {
      const more = Math.min(1 + this.#random.below(maxRequests), maxRequests - waiting);
      client.send(...Array(more).fill("REQUEST"));
      waiting += more;
      const answer = await client.nextLine();
      if (answer === undefined) break;
      waiting--;
      rest--;
      if (answer === "NOTASK") continue;
      this.#takeHandOut(answer).fate = "handed out";
      this.report.handedOut++;
    }
    while (waiting > 0) {
      const answer = await client.nextLine();
      if (answer === undefined) break;
      waiting--;
      if (answer === "NOTASK") continue;
      this.#takeHandOut(answer).fate = "handed out";
      this.report.handedOut++;
    }
    this.#unansweredSinceCheck += waiting;
    this.report.unanswered += waiting;
  }

  async #reserve(port: number): Promise<void> {
    await using client = await Client.connect(port);
    if (await client?.nextLine() === undefined || client === undefined) return;
    let completing: SentTask | undefined;
    for (let rest = this.#random.below(300); rest > 0 && this.#isLoaded; rest--) {
      client.send("RESERVE");
      const answer = await client.nextLine();
      if (answer === undefined) return;
      if (completing !== undefined) {
        completing.fate = "completed";
        this.report.completed++;
        completing = undefined;
      }
      if (answer === "NOTASK") continue;
      const task = this.#takeHandOut(answer);
      if (this.#random.chance(10)) {
        client.send(`RELEASE ${task.taskId}`);
      } else if (this.#random.chance(90)) {
        completing = task;
        task.fate = "maybe completed";
        client.send(`COMPLETE ${task.taskId}`);
      }
    }
  }
}

/** Tasks must come by priority, and in the order in which they certainly arrived. */
function checkOrder(tasks: readonly SentTask[]): void {
  const lastSequence = new Map<string, number>();
  tasks.forEach((task, i) => {
    const before = tasks[i - 1];
    if (before !== undefined && before.priority > task.priority) {
      throw new Error(`${task.taskId} came after ${before.taskId}, of lower priority`);
    }
    const key = `${task.priority} ${task.connection}`;
    if ((lastSequence.get(key) ?? -1) > task.sequence) {
      throw new Error(`${task.taskId} is out of its place`);
    }
    lastSequence.set(key, task.sequence);
  });
  for (const priority of [1, 2, 3]) {
    let firstConfirmedTick = Infinity;
    for (const task of tasks.filter((task) => task.priority === priority).reverse()) {
      // One that comes later was confirmed before this one was sent.
      if (firstConfirmedTick < task.sentTick) {
        throw new Error(`${task.taskId} came before an older task of its priority`);
      }
      firstConfirmedTick = Math.min(firstConfirmedTick, task.confirmedTick);
    }
  }
}

/** One end of a dialogue. */
class Client implements AsyncDisposable {
  readonly #connection: Connection;
  #lines: string[] = [];

  private constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** Connects; undefined where the server is gone already. */
  static async connect(port: number): Promise<Client | undefined> {
    try {
      return new Client(
        new Connection(
          await Deno.connect({ hostname: "127.0.0.1", port }),
          new ConnectionGroup({ maxLineBytes }),
        ),
      );
    } catch (error) {
      if (!(error instanceof Deno.errors.ConnectionRefused || isDisconnect(error))) throw error;
      return undefined;
    }
  }

  send(...lines: string[]): void {
    for (const line of lines) this.#connection.send(line);
    this.#connection.flush();
  }

  /** The next line; undefined where the server is gone. */
  async nextLine(): Promise<string | undefined> {
    while (this.#lines.length === 0) {
      const lines = await this.#connection.readLines();
      if (lines === undefined) return undefined;
      this.#lines = lines.map(String);
    }
    return this.#lines.shift();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#connection.close();
    await this.#connection.drained();
  }
}

/** A server process. */
class RunningServer implements AsyncDisposable {
  readonly producerPort: number;
  readonly consumerPort: number;
  readonly #child: Deno.ChildProcess;
  readonly #stderr: ReadableStreamDefaultReader<string>;

  private constructor(
    child: Deno.ChildProcess,
    stderr: ReadableStreamDefaultReader<string>,
    ports: readonly [number, number],
  ) {
    this.#child = child;
    this.#stderr = stderr;
    [this.producerPort, this.consumerPort] = ports;
  }

  /** Starts a server on a store, and waits until it listens. */
  static async start(path: string): Promise<RunningServer> {
    const child = new Deno.Command(Deno.execPath(), {
      args: [
        ...["run", "--no-prompt", "--allow-net", "--allow-read", "--allow-write", serverScript],
        ...["127.0.0.1", "0", "0", "--quiet", "--store", path],
      ],
      stdout: "null",
      stderr: "piped",
    }).spawn();
    const stderr = child.stderr.pipeThrough(new TextDecoderStream()).getReader();
    let said = "";
    for (;;) {
      const ports = /listening: producers \S+:(\d+), consumers \S+:(\d+)\n/.exec(said);
      if (ports !== null) {
        return new RunningServer(child, stderr, [Number(ports[1]), Number(ports[2])]);
      }
      const { value, done } = await stderr.read();
      if (done) {
        await child.status;
        throw new Error(`the server did not start again: ${said}`);
      }
      said += value;
    }
  }

  /** Ends it by kill -9, if that was not done. */
  async kill(): Promise<void> {
    try {
      this.#child.kill("SIGKILL");
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // it has ended
    }
    await this.#child.status;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await this.#stderr.cancel();
  }
}

async function main(): Promise<void> {
  const args = parseArgs(Deno.args, { string: ["rounds", "seed"] });
  const number = (name: string, standard: number) =>
    parseWholeNumber(String(args[name] ?? standard), { name: `--${name}`, least: 1, most: 1e9 });
  const rounds = number("rounds", 200);
  const seed = number("seed", 1 + Date.now() % 1e9);
  console.log(`seed ${seed}`);
  const isTerminal = Deno.stdout.isTerminal();
  const startMs = performance.now();
  const report = await crashRounds({
    rounds,
    seed,
    onRound: (report) => {
      if (!isTerminal) return;
      Deno.stdout.writeSync(new TextEncoder().encode(`\r${report.rounds} of ${rounds} kills `));
    },
  });
  const ms = (performance.now() - startMs) / rounds;
  console.log(
    `${isTerminal ? "\r" : ""}${rounds} kills, ${ms.toFixed(0)} ms each: ` +
      `${report.confirmed} tasks confirmed, ${report.survived} found after a kill, ` +
      `${report.handedOut} handed out, ${report.completed} completed, ` +
      `${report.unanswered} requests unanswered; 0 lost, 0 invented, 0 back`,
  );
}

if (import.meta.main) {
  try {
    await main();
  } catch (error) {
    console.error(error instanceof UserError || error instanceof Error ? error.message : error);
    Deno.exit(1);
  }
}
