/**
 * The servers that are measured, and how each is started and ended.
 *
 * None keeps its tasks on disk. Each runs on the first core, the load program on the second.
 *
 * @module
 */

import {
  denoScript,
  executables,
  inShell,
  type Launcher,
  Program,
  projectFolder,
  type Role,
  shellCommand,
  startServer,
} from "../../tests/lab/processes.ts";
import { sleep } from "../../lib/clock.ts";
import type { Job, Measurement, Target } from "./load.ts";

/** A server that runs. */
export interface RunningServer extends Target, AsyncDisposable {
  /** Its name. */
  readonly name: string;
  /** Empties the file that its output goes to. */
  clearLog(): Promise<void>;
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

const deno = Deno.execPath();

/** How long a server may take to listen, in milliseconds. */
const startMs = 10_000;

/** This project's executable. */
export const executable: Launcher = executables(projectFolder, projectFolder);

/** `deno run` with the flags of a checkout's task: those of its executable. */
function asByTask(name: string, folder: string): Launcher {
  const { tasks } = JSON.parse(Deno.readTextFileSync(`${folder}/deno.json`));
  // "NAME=VALUE deno run FLAGS SCRIPT"
  const flags = (role: Role): string[] => tasks[role].command.split(" ").slice(3, -1);
  return {
    name,
    command: (role, args) => ({
      file: deno,
      args: ["run", ...flags(role), `${folder}/${role}.ts`, ...args],
    }),
  };
}

/** This checkout, by `deno run` with the flags of its executables. */
export const byTask: Launcher = asByTask("deno run", projectFolder.slice(0, -1));

/** The servers that can be measured, this project's first. */
export const contestants: readonly Contestant[] = [
  queueContestant("server", byTask),
  queueContestant("server --quiet", byTask, ["--quiet"]),
  queueContestant("server --http", byTask, ["--http", "0"]),
  queueContestant("executable", executable),
  beanstalkd(1),
  beanstalkd(2),
  redis(1),
  redis(2),
  otherContestant("NATS JetStream", "nats", 1, ["nats-server", "--version"], (port, folder) => [
    ...["nats-server", "-js", "-a", "127.0.0.1", "-p", `${port}`, "-sd", folder],
  ]),
  otherContestant("echo", "echo", 1, [deno, "--version"], (port) => echo(port)),
  otherContestant("echo", "echo2", 2, [deno, "--version"], (port, _folder, sinkPort) => [
    ...echo(port, sinkPort),
  ]),
];

/** Starts this project's server with options, for {@linkcode contestants} and the growth runs. */
export async function startQueue(
  name: string,
  launcher: Launcher,
  options: readonly string[],
  folder: string,
): Promise<RunningServer> {
  const logPath = `${folder}/${name.replaceAll(" ", "")}.log`;
  const server = await startServer(inShell(launcher, onCore(0, logPath)), { args: options });
  const ports = [server.producerPort, server.consumerPort] as const;
  return running({ name, dialect: "queue", ports, connections: 2 }, server, logPath);
}

/** The server of another checkout of this project, to compare a change with what was before. */
export function otherCheckout(folder: string): Contestant {
  return queueContestant("beside", asByTask("beside", folder));
}

function queueContestant(
  name: string,
  launcher: Launcher,
  options: readonly string[] = [],
): Contestant {
  const { file, args } = launcher.command("server", ["--version"]);
  return {
    name,
    version: () => firstOutputLine([file, ...args]),
    start: (folder) => startQueue(name, launcher, options, folder),
  };
}

function echo(...ports: readonly number[]): string[] {
  const { file, args } = denoScript("bench/field/echo.ts", ["--allow-net"], ports.map(String));
  return [file, ...args];
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
      const [file, ...args] = command(port, folder, sinkPort) as [string, ...string[]];
      const child = new Program(shellCommand({ file, args }, onCore(0, logPath)));
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
  program: Program,
  logPath: string,
): RunningServer {
  return {
    ...server,
    pid: program.pid,
    clearLog: () => Deno.truncate(logPath),
    [Symbol.asyncDispose]: () => program[Symbol.asyncDispose](),
  };
}

/** Whether each side has a core of its own: there are two, and `taskset` is installed. */
export const isPinned = navigator.hardwareConcurrency > 1 &&
  await firstOutputLine(["taskset", "--version"]) !== undefined;

/** What a shell does before it becomes a program: descriptors, the core, a file for the output. */
function onCore(core: number, outputPath?: string): string {
  return "ulimit -n 65536 2>/dev/null" +
    (isPinned ? `; taskset -pc ${core} $$ >/dev/null` : "") +
    (outputPath === undefined ? "" : `; exec >>'${outputPath}'`);
}

/** Keeps this process to the second core: for a run that is its own load program. */
export async function pinToSecondCore(): Promise<void> {
  if (!isPinned) return;
  await new Deno.Command("taskset", { args: ["-apc", "1", `${Deno.pid}`], stdout: "null" })
    .output();
}

async function firstOutputLine(command: readonly string[]): Promise<string | undefined> {
  const [program, ...args] = command as [string, ...string[]];
  try {
    const { stdout } = await new Deno.Command(program, { args, cwd: projectFolder }).output();
    return new TextDecoder().decode(stdout).split("\n", 1)[0];
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** A port of 127.0.0.1 that nothing uses. */
export function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

/** Waits until something listens on a port of 127.0.0.1. */
export async function untilListens(name: string, port: number): Promise<void> {
  const deadlineMs = performance.now() + startMs;
  for (;;) {
    try {
      using _conn = await Deno.connect({ hostname: "127.0.0.1", port });
      return;
    } catch (error) {
      if (!(error instanceof Deno.errors.ConnectionRefused)) throw error;
      if (performance.now() > deadlineMs) throw new Error(`${name} does not listen`);
      await sleep(20);
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
export class LoadProgram implements AsyncDisposable {
  readonly #program: Program;

  /** Starts it on the second core. */
  constructor() {
    // Deno gives /proc of other processes only to those who may do everything.
    const command = denoScript("bench/field/load.ts", ["--allow-all"]);
    this.#program = new Program(shellCommand(command, onCore(1)), { stdin: "piped" });
  }

  /** Has a job done. */
  async run(job: Job): Promise<Measurement> {
    await this.#program.type(JSON.stringify(job) + "\n");
    const answer = await this.#program.stdout.nextOrEnd();
    if (answer !== undefined) return JSON.parse(answer) as Measurement;
    throw new Error(`the load program has ended: ${this.#program.stderr.text}`);
  }

  /** Ends it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#program.closeStdin();
    await this.#program.exitCode();
  }
}
