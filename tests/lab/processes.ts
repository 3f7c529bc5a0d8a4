/**
 * Programs as processes: the launcher that every test, tool and bench uses, and the one reader of
 * the line in which a server says where it listens.
 *
 * @module
 */

import { within } from "./deadline.ts";
import { LineLog } from "./line_log.ts";
import { type PeerOptions, RawPeer } from "./peers.ts";

/** The programs. */
export type Role = "server" | "producer" | "consumer" | "worker";

/** A command line, and the environment that it gets. */
export interface Command {
  /** The executable file. */
  readonly file: string;
  /** Its arguments. */
  readonly args: readonly string[];
  /** True if the program starts with no environment at all, as under `env -i`. */
  readonly clearEnv?: boolean;
  /** The folder to start in if no test names another. */
  readonly cwd?: string;
}

/** A way to start the programs. */
export interface Launcher {
  /** What the tests' names call it. */
  readonly name: string;
  /** The command line that starts a role. */
  command(role: Role, args: readonly string[]): Command;
}

/** The project's folder, with a slash at its end. */
export const projectFolder: string = new URL("../../", import.meta.url).pathname;

/** The command that runs a script of the project by `deno run` with flags. */
export function denoScript(
  script: string,
  flags: readonly string[],
  args: readonly string[] = [],
): Command {
  return { file: Deno.execPath(), args: ["run", ...flags, projectFolder + script, ...args] };
}

/** `deno run` with flags of one's own for each role. */
export function denoRunWith(flags: (role: Role) => readonly string[]): Launcher {
  return {
    name: "deno run",
    command: (role, args) => denoScript(`${role}.ts`, flags(role), args),
  };
}

/** `deno run` with the permissions that console.md promises to be enough. */
export const denoRun: Launcher = denoRunWith((role) => [
  "--allow-net",
  ...(role === "producer" ? ["--allow-read"] : []),
  ...(role === "worker" ? ["--allow-run"] : []),
]);

/** `deno run` with the permissions that a store needs, and with no question about another. */
export const denoRunWithFiles: Launcher = denoRunWith((role) => [
  ...["--no-prompt", "--allow-net", "--allow-read", "--allow-write"],
  ...(role === "worker" ? ["--allow-run"] : []),
]);

/** The executables in a folder: started from an empty folder, with an empty environment. */
export function executables(folder: string, emptyFolder: string): Launcher {
  return {
    name: "executable",
    command: (role, args) => ({
      file: `${folder}/${role}`,
      args,
      clearEnv: true,
      cwd: emptyFolder,
    }),
  };
}

/** The same programs, started by a shell that runs a script before: limits, traps, redirections. */
export function inShell(launcher: Launcher, script: string): Launcher {
  return {
    name: `${launcher.name}, ${script}`,
    command: (role, args) => shellCommand(launcher.command(role, args), script),
  };
}

/** A command that a shell becomes after it has run a script. */
export function shellCommand(command: Command, script: string): Command {
  const args = ["-c", `${script}; exec "$0" "$@"`, command.file, ...command.args];
  return { ...command, file: "/bin/sh", args };
}

/** How a program is started. */
export interface StartOptions {
  /** The folder that it is started in. */
  readonly cwd?: string;
  /**
   * What reads its stdout: the test; nobody, so that the pipe fills up; or nobody any more, so
   * that the pipe is broken.
   */
  readonly stdout?: "read" | "stalled" | "closed";
  /** Its stdin: none, or what the test writes to {@linkcode Program.stdin}. */
  readonly stdin?: "null" | "piped";
  /** Is told each line of its stdout that is read, and of its stderr, as it comes. */
  readonly onLine?: (line: string, end: "stdout" | "stderr") => void;
}

/** A running program; it is ended, if it has not by itself, when its scope is left. */
export class Program implements AsyncDisposable {
  /** What it prints. */
  readonly stdout: LineLog;
  /** What it says beside. */
  readonly stderr: LineLog;
  /** What it is called in errors. */
  readonly name: string;

  readonly #child: Deno.ChildProcess;
  readonly #stdin: WritableStreamDefaultWriter<Uint8Array> | undefined;
  #unread: ReadableStream<Uint8Array> | undefined;
  #hasExited = false;

  /** Starts a command. */
  constructor(command: Command, options: StartOptions = {}) {
    const cwd = options.cwd ?? command.cwd;
    this.name = [command.file.replace(/.*\//, ""), ...command.args].join(" ");
    this.#child = new Deno.Command(command.file, {
      args: [...command.args],
      clearEnv: command.clearEnv ?? false,
      // `deno run` would look for an update some time later: it opens files, and reaches for the network.
      env: command.clearEnv === true ? {} : { DENO_NO_UPDATE_CHECK: "1" },
      ...(cwd === undefined ? {} : { cwd }),
      stdin: options.stdin ?? "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    if (options.stdin === "piped") this.#stdin = this.#child.stdin.getWriter();
    const take = (end: "stdout" | "stderr") => (line: string) => options.onLine?.(line, end);
    this.stderr = new LineLog(this.#child.stderr, `stderr of ${this.name}`, take("stderr"));
    if ((options.stdout ?? "read") === "read") {
      this.stdout = new LineLog(this.#child.stdout, `stdout of ${this.name}`, take("stdout"));
    } else {
      this.stdout = new LineLog(new ReadableStream({ start: (end) => end.close() }), "nothing");
      this.#unread = this.#child.stdout;
      if (options.stdout === "closed") this.closeStdout();
    }
    this.#child.status.then(() => this.#hasExited = true);
  }

  /** Its process id. */
  get pid(): number {
    return this.#child.pid;
  }

  /** True until its end was noticed. */
  get isRunning(): boolean {
    return !this.#hasExited;
  }

  /** Sends a signal to this process alone. */
  kill(signal: Deno.Signal): void {
    this.#child.kill(signal);
  }

  /** Writes to its stdin. */
  async type(text: string): Promise<void> {
    await this.#stdin?.write(new TextEncoder().encode(text));
  }

  /** Ends its stdin. */
  async closeStdin(): Promise<void> {
    await this.#stdin?.close();
  }

  /** Closes the reading end of a stdout that is not read: the next write breaks the pipe. */
  closeStdout(): void {
    this.#unread?.cancel();
    this.#unread = undefined;
  }

  /** Reads at last what a stalled reader has left in the pipe, to the end. */
  async unstall(): Promise<string> {
    const unread = this.#unread as ReadableStream<Uint8Array>;
    this.#unread = undefined;
    return await new Response(unread).text();
  }

  /** Waits for its end and the end of its output; returns the exit code. */
  async exitCode(ms?: number): Promise<number> {
    const { code } = await within(this.#child.status, `the end of ${this.name}`, ms);
    await within(
      Promise.all([this.stdout.ended, this.stderr.ended]),
      `the end of the output of ${this.name}`,
      ms,
    );
    return code;
  }

  /** Sends a signal and waits for the end; returns the exit code. */
  async stop(signal: Deno.Signal = "SIGINT"): Promise<number> {
    this.kill(signal);
    return await this.exitCode();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#hasExited) {
      try {
        this.kill("SIGKILL");
      } catch {
        // It ended meanwhile.
      }
    }
    await this.#child.status;
    this.closeStdout();
    await this.#stdin?.close().catch(() => {});
    // Something that it has started may live on, and keep its output open.
    const ends = Promise.all([this.stdout.ended, this.stderr.ended]);
    await within(ends, `the end of the output of ${this.name}, which has ended`);
  }
}

/** Starts a role. */
export function start(
  launcher: Launcher,
  role: Role,
  args: readonly (string | number)[],
  options: StartOptions = {},
): Program {
  return new Program(launcher.command(role, args.map(String)), options);
}

/** Requests that are sent at once to empty a server: one commit for all. */
const drainAtOnce = 200;

/** A running server and where it listens. */
export class ServerProgram extends Program {
  /** The port for producers. */
  producerPort = 0;
  /** The port for consumers. */
  consumerPort = 0;
  /** How its peers connect. */
  peers: PeerOptions = {};

  /** Connects as a producer. */
  producer(): Promise<RawPeer> {
    return RawPeer.connect(this.producerPort, this.peers);
  }

  /** Connects as a consumer, and takes the greeting; `number` is what must be in it. */
  async consumer(number?: number): Promise<RawPeer> {
    const consumer = await RawPeer.connect(this.consumerPort, this.peers);
    const greeting = await consumer.received.next();
    if (new RegExp(`^Consumer${number ?? "\\d+"}$`).test(greeting)) return consumer;
    consumer.close();
    throw new Error(`the server greets with ${greeting}`);
  }

  /** Kills it as `kill -9` does. */
  async crash(): Promise<void> {
    await this.stop("SIGKILL");
  }

  /**
   * Takes all ready tasks; their names in the order in which they came.
   *
   * @param verb whether they are taken for good, or completed one by one.
   */
  async drain(verb: "REQUEST" | "RESERVE" = "REQUEST"): Promise<string[]> {
    await using consumer = await this.consumer();
    const names: string[] = [];
    for (let isEmpty = false; !isEmpty;) {
      await consumer.send(`${verb}\n`.repeat(drainAtOnce));
      const got: string[] = [];
      for (let i = 0; i < drainAtOnce; i++) {
        const [answer, name] = (await consumer.received.next()).split(" ");
        if (answer === "ASSIGN") got.push(name as string);
        else if (answer === "NOTASK") isEmpty = true;
        else throw new Error(`${verb} was answered ${answer} ${name}`);
      }
      if (verb === "RESERVE") {
        await consumer.send(got.map((name) => `COMPLETE ${name}\n`).join(""));
      }
      names.push(...got);
    }
    return names;
  }
}

/** The ports that a server names in its line `listening: …`, on stderr. */
export function listeningPorts(line: string): [producers: number, consumers: number] {
  const ports = /^listening: producers \S+:(\d+), consumers \S+:(\d+)\r?$/.exec(line);
  if (ports === null) throw new Error(`the server says: ${line}`);
  return [Number(ports[1]), Number(ports[2])];
}

/** How a server is started. */
export interface ServerOptions extends StartOptions {
  /** The ports, where the system must not choose them. */
  readonly ports?: readonly [number, number];
  /** Where it listens; 127.0.0.1 by default. */
  readonly ip?: string;
  /** Options of the command line. */
  readonly args?: readonly string[];
  /** How its peers connect, if these options ask for more than usual. */
  readonly peers?: PeerOptions;
}

/** Starts a server, on free ports of 127.0.0.1 by default, and waits until it listens. */
export async function startServer(
  launcher: Launcher,
  options: ServerOptions = {},
): Promise<ServerProgram> {
  const [producers, consumers] = options.ports ?? [0, 0];
  const args = [options.ip ?? "127.0.0.1", producers, consumers, ...options.args ?? []];
  const server = new ServerProgram(launcher.command("server", args.map(String)), options);
  try {
    const { text } = await server.stderr.line(/^listening: /);
    [server.producerPort, server.consumerPort] = listeningPorts(text);
    server.peers = options.peers ?? {};
    return server;
  } catch (error) {
    await server[Symbol.asyncDispose]();
    throw error;
  }
}

/** Starts a server that keeps its tasks in a file. */
export function startStoreServer(
  store: string,
  options: ServerOptions & { readonly launcher?: Launcher } = {},
): Promise<ServerProgram> {
  const args = ["--store", store, ...options.args ?? []];
  return startServer(options.launcher ?? denoRunWithFiles, { ...options, args });
}

/** Starts a consumer of a server on this machine. */
export function startConsumer(
  launcher: Launcher,
  port: number,
  options: StartOptions & { readonly args?: readonly string[] } = {},
): Program {
  return start(launcher, "consumer", ["127.0.0.1", port, ...options.args ?? []], options);
}

/** Starts a producer of a server on this machine. */
export function startProducer(
  launcher: Launcher,
  port: number,
  taskFile: string,
  options: StartOptions & { readonly args?: readonly string[] } = {},
): Program {
  const args = ["127.0.0.1", port, taskFile, ...options.args ?? []];
  return start(launcher, "producer", args, options);
}

/** Starts a command in a pseudo-terminal of its own, by util-linux's script. */
export function inTerminal(script: string, command: Command): Program {
  const words = [command.file, ...command.args].map((word) => `'${word.replaceAll("'", `'\\''`)}'`);
  const line = `exec ${words.join(" ")}`;
  return new Program({ ...command, file: script, args: ["-qec", line, "/dev/null"] }, {
    stdin: "piped",
  });
}

/** Whether a program is installed, and does not fail at these arguments. */
export async function canRun(program: string, ...args: string[]): Promise<boolean> {
  const command = new Deno.Command(program, { args, stdout: "null", stderr: "null" });
  try {
    return (await command.output()).success;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false; // thrown, not rejected
    throw error;
  }
}

/** Finds util-linux's script, whose option -c runs a command in a pseudo-terminal. */
export async function findScript(): Promise<string | undefined> {
  for (const path of ["/usr/bin/script", "/bin/script"]) {
    try {
      const version = await new Deno.Command(path, { args: ["--version"], stderr: "null" })
        .output();
      if (new TextDecoder().decode(version.stdout).includes("util-linux")) return path;
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
}

/** A folder that goes with the scope in which it was made. */
export class ScratchFolder implements AsyncDisposable {
  /** Its path. */
  readonly path: string;

  /** Makes one; its name has blanks, as users' folders have, if nothing else is asked for. */
  constructor(prefix = "priority task queue ") {
    this.path = Deno.makeTempDirSync({ prefix });
  }

  /** Writes a file into it and returns the file's path. */
  async write(name: string, content: string | Uint8Array): Promise<string> {
    const path = `${this.path}/${name}`;
    await (typeof content === "string"
      ? Deno.writeTextFile(path, content)
      : Deno.writeFile(path, content));
    return path;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.path, { recursive: true });
  }
}
