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
import {
  configure,
  Uint8ArrayReader,
  Uint8ArrayWriter,
  ZipReader,
  ZipWriter,
} from "@zip.js/zip.js";
import { UserError } from "../../lib/user_error.ts";
import { within } from "../../tests/lab/deadline.ts";
import { EventModel } from "../../tests/lab/judges/event_model.ts";
import {
  executables,
  type Program,
  startConsumer,
  startProducer,
  startServer,
} from "../../tests/lab/processes.ts";
import { runTool } from "../tool.ts";
import { ensureExecutables } from "./compile.ts";
import { renderCopy, requireReportTools } from "../report/report.ts";
import { parseId, parseStudent, type Student } from "./student.ts";
import { ScratchFolder } from "../../tests/lab/processes.ts";

const project = fileURLToPath(new URL("../../", import.meta.url));

/** The programs of the archive. */
const programs = ["server", "producer", "consumer"] as const;

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

/**
 * Does the assignment's run, at a tenth of its times, with the programs in a folder, each with an
 * empty environment.
 *
 * @throws {UserError} a program fails, a task is not done exactly once, or the order is wrong.
 */
async function tryPrograms(folder: string): Promise<void> {
  const launcher = executables(folder, folder);
  await Deno.writeTextFile(join(folder, "tasks.txt"), trialTasks);
  const taskCount = trialTasks.trim().split("\n").length;
  const completed: string[] = [];
  const allCompleted = Promise.withResolvers<void>();
  const onLine = (line: string) => {
    if (line.startsWith("[COMPLETE] ")) completed.push(line);
    if (completed.length >= taskCount) allCompleted.resolve();
  };
  await using server = await startServer(launcher);
  const model = new EventModel();
  const { producerPort, consumerPort } = server;
  await using first = startConsumer(launcher, consumerPort, { onLine });
  await first.stdout.line(/^NOTASK$/);
  await using second = startConsumer(launcher, consumerPort, { onLine });
  await second.stdout.line(/^NOTASK$/);
  await using producer = startProducer(launcher, producerPort, "tasks.txt");
  expectEnd(producer, await producer.exitCode());
  await within(allCompleted.promise, "the tasks to be completed");
  for (const program of [first, second, server]) expectEnd(program, await program.stop());
  for (const line of server.stdout.texts) model.take(line);
  if (model.faults.length > 0) throw new UserError(model.faults.join("\n"));
  if (new Set(completed).size !== taskCount) {
    throw new UserError(`tasks were not completed once each:\n${completed.join("\n")}`);
  }
}

function expectEnd({ name, stdout, stderr }: Program, code: number): void {
  if (code === 0 && stdout.texts.at(-1) === "exit") return;
  throw new UserError(
    `${name} ended with exit code ${code}; it said:\n${stdout.text}${stderr.text}`,
  );
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
    if (!(error instanceof UserError) || student.name !== undefined) throw error;
    console.error(`report.pdf is docs/report.pdf as it is, whoever its title page names.`);
    console.error(`One of your own needs more. ${error.message}`);
    return join(project, "docs/report.pdf");
  }
  const report = join(folder, "report.pdf");
  await renderCopy(report, student);
  return report;
}

async function collect(student: Student): Promise<PackedFile[]> {
  const made = await ensureExecutables();
  if ("missing" in made) throw new UserError(made.missing);
  await using folder = new ScratchFolder();
  return await readFiles(await reportFor(student, folder.path), made.dir);
}

async function readFiles(report: string, programFolder: string): Promise<PackedFile[]> {
  const files = [{ name: "report.pdf", path: report, isExecutable: false }].concat(
    programs.map((name) => ({ name, path: join(programFolder, name), isExecutable: true })),
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
  await using folder = new ScratchFolder();
  for (const { name, bytes, isExecutable } of await unpack(archive)) {
    await Deno.writeFile(join(folder.path, name), bytes, { mode: isExecutable ? 0o755 : 0o644 });
  }
  await tryPrograms(folder.path);
}

async function makePackage(student: Student & { readonly id: string }): Promise<void> {
  const name = `${student.id}_2.zip`;
  const files = await collect(student);
  const archive = await pack(files);
  await tryArchive(archive);
  const path = join(project, name);
  await Deno.writeFile(`${path}.new`, archive);
  await Deno.rename(`${path}.new`, path);
  for (const file of files) console.log(`  ${file.name.padEnd(12)} ${megabytes(file.bytes)}`);
  const mebibytes = (archive.length / 2 ** 20).toFixed(1);
  console.log(`made: ${name}, ${megabytes(archive)} (${mebibytes} MiB)`);
  console.log("tried: unpacked into an empty folder, the programs did the assignment's run");
}

function megabytes(bytes: Uint8Array): string {
  return `${(bytes.length / 1e6).toFixed(1)} MB`;
}

if (import.meta.main) {
  const positionals = { least: 1, most: 1 };
  await runTool(
    { program: "deno task package", help, positionals, options: ["name"] },
    async (args) => {
      const id = parseId(args.positionals[0] as string);
      await makePackage({ ...parseStudent(args.options), id });
    },
  );
}
