import { assertEquals, assertStringIncludes } from "@std/assert";
import { Authority, noOpenssl } from "../lab/certificates.ts";
import {
  denoRun,
  denoRunWithFiles,
  Program,
  projectFolder,
  ScratchFolder,
  type ServerProgram,
  startServer,
} from "../lab/processes.ts";
import { findBun, findNode, findTsc, installPackage, packageName, run } from "../lab/runtimes.ts";
import { testUnless } from "../test_unless.ts";

const [node, bun, tsc, npm] = await Promise.all([
  findNode(),
  findBun(),
  findTsc(),
  run(["npm", "--version"]),
]);
const noNpm = npm.code === 0 ? undefined : npm.output;

/** What the scenario says, under any runtime. */
const said =
  `true true "RefusedError: the server refuses task \\"long\\": line must have at most 1024 bytes with its LF"
"created" 3000
"data" 3 {"ä":[1,"\u007f"]}
"again" "t0"
"buried" "t1"
true true
{"completed":2998,"failed":0}
"late" "late"
"the producer is closed"
true
end
`;

/** A process that has nothing left to do must end: the lease of a task is 10 s at least. */
const exitLimitMs = 5000;

/** Runs the scenario; the process must end by itself. */
async function tryScenario(words: readonly string[], script: string, cwd: string): Promise<void> {
  await using server = await startServer(denoRun);
  await tryWith(server, [...words, script], { cwd, access: {} });
}

/** Runs the scenario against a server that asks for all that it can ask for. */
async function tryWithTls(words: readonly string[], script: string, cwd: string): Promise<void> {
  await using authority = await Authority.found();
  const { cert, key } = await authority.give();
  const token = "correct-horse-battery-staple";
  await using folder = new ScratchFolder();
  const args = ["--token-file", await folder.write("token", token), "--tls-cert", cert];
  await using server = await startServer(denoRunWithFiles, { args: [...args, "--tls-key", key] });
  const caCerts = [await Deno.readTextFile(authority.file)];
  await tryWith(server, [...words, script], {
    cwd,
    access: { hostname: "localhost", token, tls: { caCerts } },
  });
}

async function tryWith(
  server: ServerProgram,
  words: readonly string[],
  { cwd, access }: { readonly cwd: string; readonly access: object },
): Promise<void> {
  const [file = "", ...args] = [
    ...words,
    `${server.producerPort}`,
    `${server.consumerPort}`,
    JSON.stringify(access),
  ];
  await using program = new Program({ file, args, cwd });
  await program.stdout.line(/^end$/);
  assertEquals(await program.exitCode(exitLimitMs), 0);
  assertEquals(program.stdout.text, said);
}

Deno.test("Under Deno the library does all that it promises, with --allow-net alone", async () => {
  const script = `${projectFolder}tests/client/scenario.ts`;
  await tryScenario([Deno.execPath(), "run", "--no-prompt", "--allow-net"], script, projectFolder);
});

testUnless(noOpenssl, "Under Deno the library does the same over TLS, with a token", async () => {
  const script = `${projectFolder}tests/client/scenario.ts`;
  await tryWithTls([Deno.execPath(), "run", "--no-prompt", "--allow-net"], script, projectFolder);
});

for (const runtime of [node, bun]) {
  testUnless(
    runtime.missing ?? noNpm,
    `Under ${runtime.name} the installed package does all that it promises`,
    async () => {
      await using scratch = new ScratchFolder();
      await installPackage(scratch.path);
      const source = await Deno.readTextFile(`${projectFolder}tests/client/scenario.ts`);
      const plain = source.replace('"../../mod.ts"', `"${packageName}"`)
        .replaceAll(": unknown[]", "");
      const script = await scratch.write("scenario.js", plain);
      await tryScenario(runtime.words, script, scratch.path);
      if (noOpenssl === undefined) await tryWithTls(runtime.words, script, scratch.path);
    },
  );
}

/** A program that uses every export, with a mistake that the types must find. */
const program = `
import {
  connectConsumer, connectProducer, work,
  DisconnectedError, LostTaskError, QueueError, RefusedError,
  type ConnectOptions, type Consumer, type ConsumerOptions, type Json, type NewTask,
  type Producer, type Task, type TlsOptions, type WorkCount, type WorkOptions,
} from "${packageName}";

const tls: TlsOptions = { caCerts: ["a"] };
const options: ConnectOptions = { port: 5000, token: "0123456789abcdef", tls, retry: { firstMs: 1 }, onDisconnect: () => {} };
const producer: Producer = await connectProducer(options);
const task: NewTask = { id: "a", priority: 1, payload: { a: [1] } };
await producer.create(task);
const created: number = await producer.createAll([task]);
const consumerOptions: ConsumerOptions = { ...options, pollMs: 1 };
const consumer: Consumer = await connectConsumer(consumerOptions);
for await (const task of consumer) {
  const payload: Json | undefined = task.payload;
  await task.fail({ delay: payload === undefined ? created : 1 });
}
const workOptions: WorkOptions = { ...options, concurrency: 2, onError: (_, task: Task) => task.id };
const count: WorkCount = await work(workOptions, async (task) => await task.touch());
const errors = [DisconnectedError, LostTaskError, QueueError, RefusedError];
errors.some((one) => count instanceof one);
await producer[Symbol.asyncDispose]();
`;

testUnless(
  tsc.missing ?? noNpm,
  "The installed package's types pass tsc --strict, and find mistakes",
  async () => {
    await using scratch = new ScratchFolder();
    await installPackage(scratch.path);
    const compilerOptions = {
      strict: true,
      noEmit: true,
      exactOptionalPropertyTypes: true,
      target: "es2022",
      lib: ["es2023", "esnext.disposable", "dom"],
      module: "nodenext",
      types: [],
    };
    const files = ["program.ts"];
    await scratch.write("tsconfig.json", JSON.stringify({ compilerOptions, files }));
    const check = async (source: string) => {
      await scratch.write("program.ts", source);
      return await run(tsc.words, scratch.path);
    };
    assertEquals(await check(program), { code: 0, output: "" });
    const wrong = await check(program.replace("priority: 1", "priority: 4"));
    assertStringIncludes(wrong.output, "TS2322");
  },
);

Deno.test("The package can be published: no slow types, and nothing is missing in it", async () => {
  const { code, output } = await run([Deno.execPath(), "publish", "--dry-run", "--allow-dirty"]);
  assertEquals(code, 0, output);
  assertStringIncludes(output, "Success Dry run complete");
});
