/**
 * What a token and TLS cost: the server plain, with a token, with TLS, and with both, in turns.
 *
 * The load program of load.ts has raw sockets, and so no TLS. Here one client, on Deno's own
 * connections, drives all four alike, so that its own cost cancels out of the server's. Linux only.
 *
 * @module
 */

import type { Arguments } from "../../lib/cli/arguments.ts";
import { sleep } from "../../lib/clock.ts";
import { Authority } from "../../tests/lab/certificates.ts";
import { allOf, within } from "../../tests/lab/deadline.ts";
import { decimalOption, wholeOption } from "../../tests/lab/options.ts";
import { openConn, type PeerOptions, writeAll } from "../../tests/lab/peers.ts";
import { cpuSeconds, rssBytes } from "../../tests/lab/proc.ts";
import { ScratchFolder } from "../../tests/lab/processes.ts";
import { Progress } from "../../tests/lab/progress.ts";
import { Random } from "../../tests/lab/random.ts";
import {
  byTask,
  isPinned,
  pinToSecondCore,
  type RunningServer,
  startQueue,
} from "./contestants.ts";
import { type Dialect, indexOfLf, makeDialect, type Meaning, Outbox } from "./dialects.ts";
import { describeMachine, median, medianRatio, runBench, table } from "./report.ts";

const help = `Usage: deno task prove access [options]

Measures what --token-file and TLS cost, and prints Markdown; takes about 2 minutes.
It needs Linux, and openssl for a certificate.

Options:
  --seconds <s>  time for each figure of each server in each round (1)
  --rounds <n>   rounds; medians of all are shown (5)
  -h, --help     print this help
  -V, --version  print the version

Exit codes: 0 measured, 1 failed, 2 wrong arguments`;

/** Clients, and tasks that each has in flight. */
const grid = [[1, 1], [16, 16]] as const;

/** Tasks that wait all the time, so that no request meets an empty queue. */
const waitingTasks = 1000;

/** The time before each figure in which nothing is counted, as a share of the time that is. */
const warmUpShare = 0.25;

/** Clients that connect at the same time, when connects are counted. */
const connecting = 16;

/** Connections that are opened before memory is looked at, and those that are then opened. */
const [firstConnections, idleConnections] = [50, 400];

/** Longer than all answers to what one client has in flight. */
const inputBytes = 16 * 1024;

/** How long anything may take that takes no longer than it is given, in milliseconds. */
const graceMs = 30_000;

/** A way to let peers in: the server's options for it, and what its peers do. */
interface Way {
  readonly name: string;
  readonly options: readonly string[];
  readonly peers: PeerOptions;
}

/** A connection that sends what was gathered in one write, and reads line by line. */
class Link implements Disposable {
  readonly out = new Outbox();
  readonly #conn: Deno.TcpConn | Deno.TlsConn;
  readonly #input = new Uint8Array(inputBytes);
  #length = 0;

  private constructor(conn: Deno.TcpConn | Deno.TlsConn) {
    this.#conn = conn;
  }

  static async open(port: number, peers: PeerOptions): Promise<Link> {
    return new Link(await openConn(port, peers));
  }

  async flush(): Promise<void> {
    const { bytes, length } = this.out;
    this.out.length = 0;
    await writeAll(this.#conn, bytes.subarray(0, length));
  }

  /** Takes the lines that come next; returns what each of them means. */
  async take(dialect: Dialect): Promise<Meaning[]> {
    const count = await this.#conn.read(this.#input.subarray(this.#length));
    if (count === null) throw new Error("the server has closed a connection");
    const length = this.#length + count;
    const meanings: Meaning[] = [];
    let start = 0;
    for (let end; (end = indexOfLf(this.#input, start, length)) !== -1; start = end + 1) {
      meanings.push(dialect.read(this.#input, start, end, this.out));
    }
    this.#input.copyWithin(0, start, length);
    this.#length = length - start;
    return meanings;
  }

  /** Waits for one line. */
  async takeLine(dialect: Dialect): Promise<void> {
    while ((await this.take(dialect)).length === 0);
  }

  [Symbol.dispose](): void {
    this.#conn.close();
  }
}

/** Says when it is over, and counts what was done until then. */
interface Run {
  done: number;
  isOver: boolean;
}

/** Draws the priorities, the same in each run. */
const random = new Random(20_260_101);

/** A client: a connection for creating tasks, and one for asking for them. */
class Client implements Disposable {
  readonly #dialect = makeDialect("queue", 0);
  readonly #creates: Link;
  readonly #requests: Link;
  #number = 0;

  private constructor(creates: Link, requests: Link) {
    this.#creates = creates;
    this.#requests = requests;
  }

  static async open({ ports }: RunningServer, peers: PeerOptions): Promise<Client> {
    return new Client(await Link.open(ports[0], peers), await Link.open(ports[1], peers));
  }

  /** Creates tasks that stay. */
  async fill(tasks: number): Promise<void> {
    this.#create(tasks);
    this.#creates.out.add(new TextEncoder().encode(this.#dialect.barrier));
    await this.#creates.flush();
    await this.#creates.takeLine(this.#dialect);
  }

  /** Keeps tasks in flight until the run is over, and takes all of them in. */
  async drive(inFlight: number, run: Run): Promise<void> {
    let waiting = 0;
    for (let [creates, requests] = [inFlight, inFlight]; requests > 0 || waiting > 0;) {
      this.#create(creates);
      for (let i = 0; i < requests; i++) this.#dialect.request(this.#requests.out);
      waiting += requests;
      if (creates > 0) await this.#creates.flush();
      if (requests > 0) await this.#requests.flush();
      const meanings = await this.#requests.take(this.#dialect);
      const tasks = meanings.filter((meaning) => meaning === "task").length;
      // A request that found the queue empty, as creates were still under way, is sent again.
      const answered = tasks + meanings.filter((meaning) => meaning === "no task").length;
      run.done += tasks;
      waiting -= answered;
      [creates, requests] = run.isOver ? [0, 0] : [tasks, answered];
    }
  }

  #create(tasks: number): void {
    for (let i = 0; i < tasks; i++) {
      this.#number = (this.#number + 1) % 100_000_000;
      this.#dialect.create(this.#creates.out, 1 + random.below(3), this.#number);
    }
  }

  [Symbol.dispose](): void {
    this.#creates[Symbol.dispose]();
    this.#requests[Symbol.dispose]();
  }
}

/** What was done in the measured time, and what CPU time that took. */
interface Measurement {
  readonly perSecond: number;
  /** CPU time of the server for each that was done, in microseconds. */
  readonly cpuUs: number;
  /** CPU time of the server and of this process, in percent of a core. */
  readonly serverPercent: number;
  readonly loadPercent: number;
}

/** Measures what some do at the same time, after a warm-up. */
async function measure(
  pid: number,
  seconds: number,
  workers: readonly ((run: Run) => Promise<void>)[],
): Promise<Measurement> {
  const run: Run = { done: 0, isOver: false };
  const look = () => ({
    done: run.done,
    server: cpuSeconds(pid),
    load: cpuSeconds("self"),
    ms: performance.now(),
  });
  const watch = async () => {
    await sleep(1000 * warmUpShare * seconds);
    const before = look();
    await sleep(1000 * seconds);
    const after = look();
    run.isOver = true;
    const [done, ms] = [after.done - before.done, after.ms - before.ms];
    const serverSeconds = after.server - before.server;
    return {
      perSecond: 1000 * done / ms,
      cpuUs: 1e6 * serverSeconds / done,
      serverPercent: 1e5 * serverSeconds / ms,
      loadPercent: 1e5 * (after.load - before.load) / ms,
    };
  };
  const watching = watch();
  const all = allOf<unknown>([watching, ...workers.map((work) => work(run))]);
  await within(all, "the last answers", 1000 * (1 + warmUpShare) * seconds + graceMs);
  return await watching;
}

/** Has clients keep tasks in flight. */
async function measureTasks(
  { server, way, seconds }: Measured,
  [clients, inFlight]: readonly [number, number],
): Promise<Measurement> {
  using scope = new DisposableStack();
  const workers: ((run: Run) => Promise<void>)[] = [];
  for (let i = 0; i < clients; i++) {
    const client = scope.use(await Client.open(server, way.peers));
    workers.push((run) => client.drive(inFlight, run));
  }
  return await measure(server.pid, seconds, workers);
}

/** Connects as a consumer, up to the greeting: whoever is greeted was let in. */
async function connect({ server, way }: Omit<Measured, "seconds">): Promise<Link> {
  const link = await Link.open(server.ports[1], way.peers);
  await link.takeLine(makeDialect("queue", 0));
  return link;
}

/** Has clients connect, be greeted and leave; no session of TLS is resumed. */
async function measureConnects(measured: Measured): Promise<Measurement> {
  const work = async (run: Run) => {
    for (; !run.isOver; run.done++) (await connect(measured))[Symbol.dispose]();
  };
  const workers = Array.from({ length: connecting }, () => work);
  return await measure(measured.server.pid, measured.seconds, workers);
}

/** Resident bytes that a connection costs which only waits, in a server that has just started. */
async function measureMemory(way: Way, folder: string): Promise<number> {
  await using server = await startWay(way, folder);
  using scope = new DisposableStack();
  const open = async (connections: number) => {
    for (let i = 0; i < connections; i++) scope.use(await connect({ server, way }));
  };
  await within(open(firstConnections), "the first connections", graceMs);
  const before = rssBytes(server.pid);
  await within(open(idleConnections), "the connections", graceMs);
  return (rssBytes(server.pid) - before) / idleConnections;
}

/** What is measured. */
interface Measured {
  readonly server: RunningServer;
  readonly way: Way;
  readonly seconds: number;
}

/** The figures that have a rate and a cost. */
const columns: readonly {
  readonly name: string;
  readonly measure: (measured: Measured) => Promise<Measurement>;
}[] = [
  ...grid.map((cell) => ({
    name: `task at (${cell.join(", ")})`,
    measure: (measured: Measured) => measureTasks(measured, cell),
  })),
  { name: "connect", measure: measureConnects },
];

/** All that was measured of one way: each round's numbers, those of the columns in their order. */
interface Result {
  readonly way: Way;
  readonly columns: readonly Measurement[][];
  readonly bytes: number[];
}

/** Starts the server of a way, with tasks that wait. */
async function startWay(way: Way, folder: string): Promise<RunningServer> {
  const server = await startQueue(way.name, byTask, way.options, folder);
  try {
    using client = await Client.open(server, way.peers);
    await within(client.fill(waitingTasks), "the server to take tasks", graceMs);
    return server;
  } catch (error) {
    await server[Symbol.asyncDispose]();
    throw error;
  }
}

async function measureAll(
  ways: readonly Way[],
  folder: string,
  { seconds, rounds }: { seconds: number; rounds: number },
): Promise<Result[]> {
  const progress = new Progress(rounds * ways.length * (columns.length + 1));
  const results = ways.map((way) => ({ way, columns: columns.map(() => []), bytes: [] }) as Result);
  const servers = new Map<Way, RunningServer>();
  await using stack = new AsyncDisposableStack();
  stack.defer(() => progress.end());
  for (const way of ways) servers.set(way, stack.use(await startWay(way, folder)));
  for (let round = 0; round < rounds; round++) {
    // Turned with each round: none is always the one after a busy neighbour.
    const turns = ways.map((_, turn) => results[(turn + round) % ways.length] as Result);
    for (const [i, column] of columns.entries()) {
      for (const result of turns) {
        const { way } = result;
        const server = servers.get(way) as RunningServer;
        progress.step(`${way.name}: ${column.name}`);
        result.columns[i]?.push(await column.measure({ server, way, seconds }));
        await server.clearLog();
      }
    }
    for (const { way, bytes } of turns) {
      progress.step(`${way.name}: memory`);
      bytes.push(await measureMemory(way, folder));
    }
  }
  return results;
}

/** The tables of a run, in Markdown; the first result is what the others are compared with. */
function toMarkdown(results: readonly Result[]): string {
  const whole = (value: number) => Math.round(value).toLocaleString("en");
  const show = (cell: (rounds: readonly Measurement[], column: number) => string) =>
    table(
      ["server", ...columns.map(({ name }) => name)],
      results.map(({ way, columns }) => [way.name, ...columns.map(cell)]),
    );
  const cpuUs = (rounds: readonly Measurement[]) => rounds.map(({ cpuUs }) => cpuUs);
  return `Server CPU per task and per connect, in microseconds (times the first row's: medians
of the rounds' ratios):

${
    show((rounds, column) => {
      const us = median(cpuUs(rounds));
      const ratio = medianRatio(cpuUs(rounds), cpuUs(results[0]?.columns[column] ?? []));
      return `${us.toFixed(us < 10 ? 2 : 1)} (${ratio.toFixed(2)})`;
    })
  }
Tasks and connects per second:

${show((rounds) => whole(median(rounds.map(({ perSecond }) => perSecond))))}
CPU in percent of a core, server / clients. If the server is far below 100, the rates above are
those of the clients:

${
    show((rounds) =>
      [
        median(rounds.map(({ serverPercent }) => serverPercent)),
        median(rounds.map(({ loadPercent }) => loadPercent)),
      ].map(whole).join(" / ")
    )
  }
${
    table(
      ["server", "RSS per idle connection, KB"],
      results.map(({ way, bytes }) => [way.name, (median(bytes) / 1000).toFixed(1)]),
    )
  }`;
}

/** The four ways, for which a certificate and a token are made. */
async function makeWays(authority: Authority, folder: ScratchFolder): Promise<Way[]> {
  const token = "t".repeat(32);
  const tokenFile = await folder.write("token", `${token}\n`);
  await Deno.chmod(tokenFile, 0o600);
  const { cert, key } = await authority.give();
  const caCerts = [await Deno.readTextFile(authority.file)];
  const [withToken, withTls] = [["--token-file", tokenFile], [
    "--tls-cert",
    cert,
    "--tls-key",
    key,
  ]];
  return [
    { name: "plain", options: [], peers: {} },
    { name: "token", options: withToken, peers: { token } },
    { name: "TLS", options: withTls, peers: { caCerts } },
    { name: "token and TLS", options: [...withToken, ...withTls], peers: { token, caCerts } },
  ];
}

async function run(args: Arguments): Promise<void> {
  const seconds = decimalOption(args, "seconds", { standard: 1, most: 60 });
  const rounds = wholeOption(args, "rounds", { standard: 5, least: 1, most: 100 });
  const loadAverage = Deno.loadavg()[0] ?? NaN;
  await pinToSecondCore();
  await using folder = new ScratchFolder();
  await using authority = await Authority.found();
  const ways = await makeWays(authority, folder);
  const results = await measureAll(ways, folder.path, { seconds, rounds });
  console.log(
    `${describeMachine()}, ${new Date().toISOString().slice(0, 10)}. Medians of ${rounds} rounds ` +
      `of ${seconds} s, the servers in turns.\n${
        isPinned ? "Server on one core, clients on the other." : "Not pinned to cores."
      } Load average before: ${loadAverage.toFixed(1)}.\n\n${toMarkdown(results).trimEnd()}`,
  );
}

if (import.meta.main) {
  await runBench(
    { program: "deno task prove access", help, options: ["seconds", "rounds"] },
    run,
  );
}
