/**
 * Makes the archive that is handed in, and tries it: unpacked into an empty folder, its programs
 * must do the assignment's run without anything of this machine's environment.
 *
 * ```sh
 * deno task package 2022147123 [--name NAME]
 * ```
 *
 * The report in it has the id, and the name if there is one, on its title page. It refuses an id that is not ten digits, and leaves no archive behind that failed its trial.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { join } from "node:path";
import { TextLineStream } from "@std/streams/text-line-stream";
import {
  configure,
  Uint8ArrayReader,
  Uint8ArrayWriter,
  ZipReader,
  ZipWriter,
} from "@zip.js/zip.js";
import { exitCode, exitCodeOf, parseCommandLine } from "../../lib/cli/arguments.ts";
import { UserError } from "../../lib/user_error.ts";
import { parseProducerCommand } from "../../lib/core/protocol.ts";
import { TaskQueue } from "../../lib/core/task_queue.ts";
import { ToolError } from "../command.ts";
import { CompileError, ensureExecutables } from "./compile.ts";
import { renderCopy, requireReportTools } from "../report/report.ts";
import { parseId, parseStudent, type Student } from "./student.ts";

const project = fileURLToPath(new URL("../../", import.meta.url));

/** The programs of the archive. */
const programs = ["server", "producer", "consumer"] as const;

/** How long the trial may take, in milliseconds: it takes about 4 s. */
const trialLimitMs = 60_000;

/** The assignment's tasks at a tenth of their times. */
const trialTasks = `0.0 3 task1 0.3
0.0 3 task2 0.3
0.0 3 task3 0.3
0.0 3 task4 0.3
0.2 1 task5 0.3
0.4 2 task6 0.3
0.4 2 task7 0.3
0.6 1 task8 0.3
`;

const help = `Usage: deno task package <id> [--name NAME]

Makes <id>_2.zip with report.pdf, server, producer and consumer, and tries it. The report's title
page has the id, and the name; for that, what deno task report needs must be installed.

  <id>         the student's id, ten digits
  --name NAME  the student's name`;

// Its workers would be started from blob: URLs, for four files.
configure({ useWebWorkers: false });

/** One file of an archive. */
export interface PackedFile {
  /** Its name; no folder. */
  readonly name: string;
  /** What it holds. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Whether it may be executed once it is unpacked. */
  readonly isExecutable: boolean;
}

/**
 * How hard deflate tries, its most: 4 % smaller than its usual 6, so that the archive stays well
 * below the 100 MiB of many upload forms. Formats that pack better are not unpacked everywhere.
 */
const level = 9;

/** Packs files. Their mode is kept: unzip restores it. About 5 s per 100 MB. */
export async function pack(files: readonly PackedFile[]): Promise<Uint8Array<ArrayBuffer>> {
  const writer = new ZipWriter(new Uint8ArrayWriter());
  for (const { name, bytes, isExecutable } of files) {
    const mode = 0o100000 | (isExecutable ? 0o755 : 0o644);
    await writer.add(name, new Uint8ArrayReader(bytes), {
      // Made on Unix (3): only then do the upper 16 bits count as its mode.
      versionMadeBy: (3 << 8) | 20,
      externalFileAttributes: (mode << 16) >>> 0,
      msDosCompatible: false,
      level,
    });
  }
  return await writer.close() as Uint8Array<ArrayBuffer>;
}

/** Unpacks an archive. */
export async function unpack(archive: Uint8Array): Promise<PackedFile[]> {
  const reader = new ZipReader(new Uint8ArrayReader(archive));
  const files: PackedFile[] = [];
  for (const entry of await reader.getEntries()) {
    if (entry.directory) throw new Error(`the archive holds the folder ${entry.filename}`);
    const bytes = await entry.getData(new Uint8ArrayWriter()) as Uint8Array<ArrayBuffer>;
    const isExecutable = ((entry.externalFileAttributes >>> 16) & 0o111) !== 0;
    files.push({ name: entry.filename, bytes, isExecutable });
  }
  await reader.close();
  return files;
}

/** A program of the archive, started in its folder with an empty environment. */
class TriedProgram {
  readonly lines: string[] = [];
  readonly #name: string;
  readonly #child: Deno.ChildProcess;
  readonly #reading: Promise<unknown>;

  constructor(folder: string, name: string, args: readonly string[]) {
    this.#name = name;
    this.#child = new Deno.Command(join(folder, name), {
      args: [...args],
      cwd: folder,
      clearEnv: true,
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#reading = Promise.all([this.#read(this.#child.stdout), this.#read(this.#child.stderr)]);
  }

  /** Waits until it has said enough. */
  async until(isEnough: (lines: readonly string[]) => boolean, signal: AbortSignal): Promise<void> {
    while (!isEnough(this.lines)) {
      if (signal.aborted) throw new UserError(this.#tell("did not do its part in time"));
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Ends it, as Ctrl+C does, or waits for its own end. */
  async end(signal?: Deno.Signal): Promise<void> {
    if (signal !== undefined) this.#child.kill(signal);
    const { code } = await this.#child.status;
    await this.#reading;
    if (code !== 0) throw new UserError(this.#tell(`ended with exit code ${code}`));
    if (this.lines.at(-1) !== "exit") throw new UserError(this.#tell("did not say exit"));
  }

  /** Ends it whatever it is doing; does nothing where it has ended. */
  kill(): void {
    try {
      this.#child.kill("SIGKILL");
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // it has ended
    }
  }

  #tell(problem: string): string {
    return `the archive's ${this.#name} ${problem}; it said:\n${this.lines.join("\n")}`;
  }

  async #read(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<void> {
    const lines = stream.pipeThrough(new TextDecoderStream()).pipeThrough(new TextLineStream());
    for await (const line of lines) this.lines.push(line);
  }
}

/**
 * Does the assignment's run, at a tenth of its times, with the programs in a folder.
 *
 * @throws {UserError} a program fails, a task is not done exactly once, or the order is wrong.
 */
async function tryPrograms(folder: string): Promise<void> {
  const timeUp = AbortSignal.timeout(trialLimitMs);
  await Deno.writeTextFile(join(folder, "tasks.txt"), trialTasks);
  const started: TriedProgram[] = [];
  const start = (name: string, ...args: string[]) => {
    const program = new TriedProgram(folder, name, args);
    started.push(program);
    return program;
  };
  timeUp.addEventListener("abort", () => started.forEach((program) => program.kill()));
  try {
    const server = start("server", "127.0.0.1", "0", "0");
    await server.until((lines) => lines.length > 0, timeUp);
    const ports = [...(server.lines[0] as string).matchAll(/:(\d+)/g)].map((match) => match[1]);
    const [producerPort, consumerPort] = ports as [string, string];
    const consumers: TriedProgram[] = [];
    for (let number = 1; number <= 2; number++) {
      const consumer = start("consumer", "127.0.0.1", consumerPort);
      await consumer.until((lines) => lines.includes("NOTASK"), timeUp);
      consumers.push(consumer);
    }
    await start("producer", "127.0.0.1", producerPort, "tasks.txt").end();
    const completed = () => consumers.flatMap(({ lines }) => lines).filter(isCompletion);
    const taskCount = trialTasks.trim().split("\n").length;
    await server.until(() => completed().length >= taskCount, timeUp);
    for (const consumer of consumers) await consumer.end("SIGINT");
    await server.end("SIGINT");
    checkOrder(server.lines);
    if (new Set(completed()).size !== taskCount) {
      throw new UserError(`tasks were not completed once each:\n${completed().join("\n")}`);
    }
  } finally {
    for (const program of started) program.kill();
  }
}

function isCompletion(line: string): boolean {
  return line.startsWith("[COMPLETE] ");
}

/** Follows the server's lines with a queue of its own. */
function checkOrder(lines: readonly string[]): void {
  const queue = new TaskQueue();
  for (const line of lines) {
    const [verb, taskId] = line.split(" ");
    if (verb === "[CREATE]") {
      const command = parseProducerCommand(line.replaceAll(/[[\]]/g, ""));
      if (command.kind === "create") queue.admit(queue.create(command.task));
    } else if (verb === "[ASSIGN]") {
      const first = queue.request()?.taskId;
      if (first === taskId) continue;
      throw new UserError(`${taskId} was handed out when ${first ?? "nothing"} was first`);
    }
  }
}

/**
 * The report with the student's title page; if its tools are missing, the one that is there.
 *
 * @returns the PDF's path: in `folder`, or docs/report.pdf.
 */
async function reportFor(student: Student, folder: string): Promise<string> {
  try {
    await requireReportTools(student);
  } catch (error) {
    // A name is not asked for lightly: only the id has the archive's name beside it.
    if (!(error instanceof ToolError) || student.name !== undefined) throw error;
    console.error(`report.pdf is docs/report.pdf as it is, whoever its title page names.`);
    console.error(`One of your own needs more. ${error.message}`);
    return join(project, "docs/report.pdf");
  }
  const report = join(folder, "report.pdf");
  await renderCopy(report, student);
  return report;
}

async function collect(student: Student): Promise<PackedFile[]> {
  const executables = await ensureExecutables();
  if ("missing" in executables) throw new CompileError(executables.missing);
  const folder = await Deno.makeTempDir();
  try {
    return await readFiles(await reportFor(student, folder), executables.dir);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function readFiles(report: string, executables: string): Promise<PackedFile[]> {
  const files = [{ name: "report.pdf", path: report, isExecutable: false }].concat(
    programs.map((name) => ({ name, path: join(executables, name), isExecutable: true })),
  );
  return await Promise.all(files.map(async ({ name, path, isExecutable }) => {
    try {
      return { name, bytes: await Deno.readFile(path), isExecutable };
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      throw new UserError(`There is no ${path}: make it with deno task report`);
    }
  }));
}

async function tryArchive(archive: Uint8Array): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    for (const { name, bytes, isExecutable } of await unpack(archive)) {
      await Deno.writeFile(join(folder, name), bytes, { mode: isExecutable ? 0o755 : 0o644 });
    }
    await tryPrograms(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function main(): Promise<number> {
  const args = parseCommandLine(Deno.args, {
    program: "package",
    help,
    positionals: { least: 1, most: 1 },
    options: ["name"],
  });
  if (typeof args === "string") {
    console.log(args);
    return exitCode.ok;
  }
  const id = parseId(args.positionals[0] as string);
  const name = `${id}_2.zip`;
  const files = await collect({ ...parseStudent(args.options), id });
  const archive = await pack(files);
  await tryArchive(archive);
  const path = join(project, name);
  await Deno.writeFile(`${path}.new`, archive);
  await Deno.rename(`${path}.new`, path);
  for (const file of files) console.log(`  ${file.name.padEnd(12)} ${megabytes(file.bytes)}`);
  const mebibytes = (archive.length / 2 ** 20).toFixed(1);
  console.log(`made: ${name}, ${megabytes(archive)} (${mebibytes} MiB)`);
  console.log("tried: unpacked into an empty folder, the programs did the assignment's run");
  return exitCode.ok;
}

function megabytes(bytes: Uint8Array): string {
  return `${(bytes.length / 1e6).toFixed(1)} MB`;
}

if (import.meta.main) {
  try {
    Deno.exit(await main());
  } catch (error) {
    const isUsers = error instanceof UserError || error instanceof ToolError ||
      error instanceof CompileError;
    if (!isUsers) throw error;
    console.error(error.message);
    Deno.exit(exitCodeOf(error));
  }
}
