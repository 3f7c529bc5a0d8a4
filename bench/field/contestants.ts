/**
 * The servers that are measured, and how each is started and ended.
 *
 * None keeps its tasks on disk. Each runs on the first core, the load program on the second.
 *
 * @module
 */

import { TextLineStream } from "@std/streams/text-line-stream";
import type { Job, Measurement, Target } from "./load.ts";

/** A server that runs. */
export interface RunningServer extends Target {
  /** Its name. */
  readonly name: string;
  /** Empties the file that its output goes to. */
  clearLog(): Promise<void>;
  /** Ends it. */
  stop(): Promise<void>;
}

/** A server that can be measured. */
export interface Contestant {
  /** Its name. */
  readonly name: string;
  /** What it is, with its version; undefined where it is not installed. */
  version(): Promise<string | undefined>;
  /** Starts it; its files go to the folder. */
  start(folder: string): Promise<RunningServer>;
}

const root = new URL("../../", import.meta.url);
const deno = Deno.execPath();

/** How long a server may take to listen, in milliseconds. */
const startMs = 10_000;

/** The servers that can be measured, this project's first. */
export const contestants: readonly Contestant[] = [
  queueContestant("server", [deno, "run", "--allow-net", "server.ts"]),
  queueContestant("server --quiet", [deno, "run", "--allow-net", "server.ts"], ["--quiet"]),
  queueContestant("executable", ["./server"]),
  beanstalkd(1),
  beanstalkd(2),
  redis(1),
  redis(2),
  otherContestant("NATS JetStream", "nats", 1, ["nats-server", "--version"], (port, folder) => [
    ...["nats-server", "-js", "-a", "127.0.0.1", "-p", `${port}`, "-sd", folder],
  ]),
  otherContestant("echo", "echo", 1, [deno, "--version"], (port) => [
    ...[deno, "run", "--allow-net", "bench/field/echo.ts", `${port}`],
  ]),
  otherContestant("echo", "echo2", 2, [deno, "--version"], (port, _folder, sinkPort) => [
    ...[deno, "run", "--allow-net", "bench/field/echo.ts", `${port}`, `${sinkPort}`],
  ]),
];

/** Starts this project's server with options, for {@linkcode contestants} and the growth runs. */
export async function startQueue(
  name: string,
  command: readonly string[],
  options: readonly string[],
  folder: string,
): Promise<RunningServer> {
  const args = [...command, "127.0.0.1", "0", "0", ...options];
  const logPath = `${folder}/${name.replaceAll(" ", "")}.log`;
  const child = spawnPinned(args, logPath);
  const where = await firstLine(child.stderr);
  const ports = /producers 127\.0\.0\.1:(\d+), consumers 127\.0\.0\.1:(\d+)/.exec(where);
  if (ports === null) throw new Error(`${name} does not listen: ${where}`);
  return running(
    { name, dialect: "queue", ports: [Number(ports[1]), Number(ports[2])], connections: 2 },
    child,
    logPath,
  );
}

function queueContestant(
  name: string,
  command: readonly string[],
  options: readonly string[] = [],
): Contestant {
  return {
    name,
    version: () => firstOutputLine([...command, "--version"]),
    start: (folder) => startQueue(name, command, options, folder),
  };
}

function beanstalkd(connections: Target["connections"]): Contestant {
  return otherContestant("beanstalkd", "beanstalkd", connections, ["beanstalkd", "-v"], (port) => [
    ...["beanstalkd", "-l", "127.0.0.1", "-p", `${port}`],
  ]);
}

function redis(connections: Target["connections"]): Contestant {
  const version = ["redis-server", "--version"];
  return otherContestant("Redis", "redis", connections, version, (port, folder) => [
    ...["redis-server", "--port", `${port}`, "--bind", "127.0.0.1", "--dir", folder],
    ...["--save", "", "--appendonly", "no"],
  ]);
}

function otherContestant(
  program: string,
  dialect: Target["dialect"],
  connections: Target["connections"],
  version: readonly string[],
  command: (port: number, folder: string, sinkPort: number) => readonly string[],
): Contestant {
  const name = connections === 1 ? program : `${program} on 2 connections`;
  return {
    name,
    version: () => firstOutputLine(version),
    async start(folder) {
      const [port, sinkPort] = [freePort(), freePort()];
      const logPath = `${folder}/${dialect}${connections}.log`;
      const child = spawnPinned(command(port, folder, sinkPort), logPath);
      firstLine(child.stderr);
      await untilListens(name, port);
      if (dialect === "nats") await prepareNats(port);
      if (dialect === "echo2") await untilListens(name, sinkPort);
      const ports = [dialect === "echo2" ? sinkPort : port, port] as const;
      return running({ name, dialect, ports, connections }, child, logPath);
    },
  };
}

function running(
  server: Pick<RunningServer, "name" | "dialect" | "ports" | "connections">,
  child: Deno.ChildProcess,
  logPath: string,
): RunningServer {
  return {
    ...server,
    pid: child.pid,
    clearLog: () => Deno.truncate(logPath),
    async stop() {
      child.kill("SIGKILL");
      await child.status;
    },
  };
}

/** Which core runs what, where there are two and `taskset` is installed. */
export const isPinned = navigator.hardwareConcurrency > 1 &&
  await firstOutputLine(["taskset", "--version"]) !== undefined;

function pinned(args: readonly string[], core: number): string[] {
  return isPinned ? ["taskset", "-c", `${core}`, ...args] : [...args];
}

function spawnPinned(args: readonly string[], outputPath: string): Deno.ChildProcess {
  // The shell gives the server a file for its output, and then becomes the server.
  return new Deno.Command("bash", {
    args: [
      "-c",
      'ulimit -n 65536 2>/dev/null; exec "${@:2}" >>"$1"',
      "bash",
      outputPath,
      ...pinned(args, 0),
    ],
    cwd: root,
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
}

/** The first line of a stream; the rest is read and dropped. */
async function firstLine(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<string> {
  const lines = stream.pipeThrough(new TextDecoderStream()).pipeThrough(new TextLineStream());
  const reader = lines.getReader();
  const { value } = await reader.read();
  const drain = async () => {
    while (!(await reader.read()).done);
  };
  drain();
  return value ?? "";
}

async function firstOutputLine(command: readonly string[]): Promise<string | undefined> {
  const [program, ...args] = command as [string, ...string[]];
  try {
    const { stdout } = await new Deno.Command(program, { args, cwd: root }).output();
    return new TextDecoder().decode(stdout).split("\n", 1)[0];
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

async function untilListens(name: string, port: number): Promise<void> {
  const deadlineMs = performance.now() + startMs;
  for (;;) {
    try {
      using _conn = await Deno.connect({ hostname: "127.0.0.1", port });
      return;
    } catch (error) {
      if (!(error instanceof Deno.errors.ConnectionRefused)) throw error;
      if (performance.now() > deadlineMs) throw new Error(`${name} does not listen`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

/** Makes the stream and the consumer: in memory, each task to be acknowledged. */
async function prepareNats(port: number): Promise<void> {
  const stream = { name: "TASKS", subjects: ["tasks"], storage: "memory", retention: "workqueue" };
  const consumer = {
    stream_name: "TASKS",
    config: { durable_name: "all", ack_policy: "explicit", max_ack_pending: -1, max_waiting: 8192 },
  };
  const publish = (subject: string, body: unknown) => {
    const text = JSON.stringify(body);
    return `PUB ${subject} answer ${text.length}\r\n${text}\r\n`;
  };
  using conn = await Deno.connect({ hostname: "127.0.0.1", port });
  const commands = 'CONNECT {"verbose":false,"pedantic":false}\r\nSUB answer 1\r\n' +
    publish("$JS.API.STREAM.CREATE.TASKS", stream) +
    publish("$JS.API.CONSUMER.DURABLE.CREATE.TASKS.all", consumer);
  await conn.write(new TextEncoder().encode(commands));
  const buffer = new Uint8Array(64 * 1024);
  for (let answers = ""; answers.split("MSG answer").length < 3;) {
    const count = await conn.read(buffer);
    answers += new TextDecoder().decode(buffer.subarray(0, count ?? 0));
    if (count === null || answers.includes('"error"')) {
      throw new Error(`NATS JetStream refuses: ${answers}`);
    }
  }
}

/** The load program, in a process of its own. */
export class LoadProgram {
  readonly #child: Deno.ChildProcess;
  readonly #jobs: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly #answers: ReadableStreamDefaultReader<string>;

  /** Starts it on the second core. */
  constructor() {
    // Deno gives /proc of other processes only to those who may do everything.
    const args = [deno, "run", "--allow-all", "bench/field/load.ts"];
    const [program, ...rest] = pinned(args, 1) as [string, ...string[]];
    this.#child = new Deno.Command("bash", {
      args: ["-c", 'ulimit -n 65536 2>/dev/null; exec "$@"', "bash", program, ...rest],
      cwd: root,
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    this.#jobs = this.#child.stdin.getWriter();
    this.#answers = this.#child.stdout.pipeThrough(new TextDecoderStream())
      .pipeThrough(new TextLineStream()).getReader();
  }

  /** Has a job done. */
  async run(job: Job): Promise<Measurement> {
    await this.#jobs.write(new TextEncoder().encode(JSON.stringify(job) + "\n"));
    const { value } = await this.#answers.read();
    if (value === undefined) throw new Error("the load program has ended; see above");
    return JSON.parse(value) as Measurement;
  }

  /** Ends it. */
  async stop(): Promise<void> {
    await this.#jobs.close();
    await this.#answers.read();
    await this.#child.status;
  }
}
