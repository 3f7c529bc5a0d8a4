/**
 * The examples in other languages, as processes against the real server: what their first lines
 * and examples/README.md promise.
 *
 * @module
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import {
  canRun,
  denoRun,
  Program,
  projectFolder,
  ScratchFolder,
  startServer,
  startStoreServer,
} from "../lab/processes.ts";
import { RawServer } from "../lab/peers.ts";
import { testUnless } from "../test_unless.ts";

/** A language: its program, and the examples in it. */
interface Language {
  readonly name: string;
  readonly file: string;
  readonly flags: readonly string[];
  readonly producer: string;
  readonly worker: string;
  /** Why its tests cannot run here, if they cannot. */
  readonly missing: string | undefined;
}

async function missing(program: string): Promise<string | undefined> {
  return await canRun(program, "--version") ? undefined : `${program} is not here`;
}

const python: Language = {
  name: "Python",
  file: "python3",
  flags: ["-B"],
  producer: "python/producer.py",
  worker: "python/worker.py",
  missing: await missing("python3"),
};

const node: Language = {
  name: "Node",
  file: "node",
  flags: [],
  producer: "node/producer.mjs",
  worker: "node/worker.mjs",
  missing: await missing("node"),
};

const noBash = await missing("bash");

function example(
  { file, flags = [] }: { readonly file: string; readonly flags?: readonly string[] },
  script: string,
  port: number,
  ...args: readonly string[]
): Program {
  const path = `${projectFolder}examples/${script}`;
  return new Program({ file, args: [...flags, path, "127.0.0.1", String(port), ...args] });
}

function bash(script: string, port: number, ...args: readonly string[]): Program {
  return example({ file: "bash" }, `shell/${script}`, port, ...args);
}

for (const language of [python, node]) {
  const { name, missing, producer, worker } = language;

  testUnless(
    missing,
    `${name}: the producer names each refused task, and counts the others`,
    async () => {
      await using server = await startServer(denoRun);
      const good = Array.from({ length: 150 }, (_, i) => `/in/photo${i}.jpg`);
      const paths = ["/in/a b.jpg", ...good.slice(0, 120), `/in/${"x".repeat(256)}`]
        .concat(good.slice(120), "/in/작업.jpg");
      await using program = example(language, producer, server.producerPort, ...paths);
      assertEquals(await program.exitCode(), 1);
      assertEquals(program.stdout.text, "created 151 of 153 tasks\n");
      const [blank = "", long = "", ...more] = program.stderr.texts;
      assertMatch(blank, /^refused: \/in\/a b\.jpg: there is a field too many: /);
      assertMatch(long, /^refused: \/in\/x{256}: task_id must have at most 255 bytes/);
      assertEquals(more, []);

      await using consumer = await server.consumer();
      assertMatch(
        await consumer.ask("RESERVE"),
        /^ASSIGN photo0\.jpg 3\.000000 \{"path": ?"\/in\/photo0\.jpg"\}$/,
      );
      assertEquals(await server.drain(), [
        ...good.slice(1).map((path) => path.slice("/in/".length)),
        "작업.jpg",
      ]);
    },
  );

  testUnless(missing, `${name}: the producer ends with 0 if the server has all tasks`, async () => {
    await using server = await startServer(denoRun);
    await using program = example(language, producer, server.producerPort, "/in/a", "/in/b");
    assertEquals(await program.exitCode(), 0, program.stderr.text);
    assertEquals(program.stdout.text, "created 2 of 2 tasks\n");
    assertEquals(await server.drain(), ["a", "b"]);
  });

  testUnless(
    missing,
    `${name}: the producer sends nothing if a name would be a command`,
    async () => {
      await using server = await startServer(denoRun);
      const paths = ["/in/a", "/in/x 1\nCREATE 1 evil 1"];
      await using program = example(language, producer, server.producerPort, ...paths);
      assertEquals(await program.exitCode(), 1);
      assertMatch(program.stderr.text, /not a name for a task/);
      assertEquals(await server.drain(), []);
    },
  );

  for (const last of ["", "DONE\n"]) {
    const how = last === "" ? "goes away" : "says DONE";
    testUnless(
      missing,
      `${name}: the producer counts what is unknown if the server ${how}`,
      async () => {
        await using server = new RawServer();
        await using program = example(language, producer, server.port, "/in/a", "/in/b", "/in/c");
        const peer = await server.accept();
        await peer.received.line(/^SYNC$/, { nth: 3 });
        // Two answers in three pieces, the second of them cut off.
        for (const piece of ["O", "K 1\nO", last === "" ? "K 2" : `K 2\n${last}`]) {
          await peer.send(piece);
        }
        if (last === "") peer.close();
        const known = last === "" ? 1 : 2;
        assertEquals(await program.exitCode(), 1);
        assertEquals(program.stdout.text, `created ${known} of 3 tasks\n`);
        assertMatch(program.stderr.text, new RegExp(`perhaps not created: ${3 - known} tasks`));
      },
    );
  }

  testUnless(
    missing,
    `${name}: the worker completes and fails tasks, and gives one back at Ctrl+C`,
    async () => {
      await using folder = new ScratchFolder();
      const path = await folder.write("작업.txt", "12345");
      await using server = await startServer(denoRun);
      await using peer = await server.producer();
      const separators = JSON.stringify({ path, note: "\u2028\u2029" });
      await peer.send(`CREATE 1 a\u00a0b 1 ${separators}\n`);
      await peer.send(`CREATE 1 missing 1 {"path": "${folder.path}/none"}\nCREATE 2 quick 0\n`);
      await peer.send("CREATE 3 slow 60\n");
      assertEquals(await peer.ask("SYNC"), "OK 4");
      await using program = example(language, worker, server.consumerPort);
      await server.stdout.line(/^\[ASSIGN\] slow - consumer1$/);
      assertEquals(await program.stop(), 0);
      assertEquals(program.stdout.texts, [
        "Consumer1 connected",
        `${path} has 5 bytes`,
        "COMPLETE a\u00a0b",
        "FAIL missing",
        "COMPLETE quick",
      ]);
      assertMatch(program.stderr.text, /^missing failed: .*\n$/);
      await server.stdout.line(/^\[0 consumers online\]$/);
      assertEquals(server.stdout.texts.filter((line) => /^\[(?:COM|FAIL|REQ)/.test(line)), [
        "[COMPLETE] a\u00a0b - consumer1",
        "[FAIL] missing - consumer1",
        "[COMPLETE] quick - consumer1",
        "[REQUEUE] slow - consumer1",
      ]);
    },
  );

  testUnless(
    missing,
    `${name}: the worker that waits for a task ends at once at SIGTERM`,
    async () => {
      await using server = await startServer(denoRun);
      await using program = example(language, worker, server.consumerPort);
      await program.stdout.line(/^Consumer1 connected$/);
      assertEquals(await program.stop("SIGTERM"), 0);
      assertEquals(program.stderr.text, "");
    },
  );

  testUnless(
    missing,
    `${name}: the worker reads lines in pieces, and errors before an answer`,
    async () => {
      await using server = new RawServer();
      await using program = example(language, worker, server.port);
      const peer = await server.accept();
      await peer.send("Consu");
      await peer.send("mer7\n");
      assertEquals(await peer.received.next(), "RESERVE 60");
      const [start, end] = [`ASSIGN t 0 {"path": "/작`, `업/none"}\nERROR unexpected\n`];
      const bytes = new TextEncoder().encode(start);
      await peer.send(bytes.slice(0, -1));
      await peer.send(bytes.slice(-1));
      await peer.send(end);
      assertEquals(await peer.received.next(), "FAIL t");
      assertEquals(await peer.received.next(), "RESERVE 60");
      await peer.send("ERROR this consumer does not hold task\nNOTASK\n");
      assertEquals(await peer.received.next(), "RESERVE 60");
      await peer.send("DONE\n");
      assertEquals(await peer.received.nextOrEnd(), undefined);
      await using again = await server.accept();
      assertEquals(again.received.lines, []);
      // This server does not close when the worker does: the worker ends all the same.
      assertEquals(await program.stop(), 0);
      assertMatch(
        program.stderr.text,
        /ERROR unexpected\nERROR this consumer does not hold task\n/,
      );
    },
  );

  testUnless(
    missing,
    `${name}: the worker goes on after a kill -9 and after a stop of its server`,
    async () => {
      await using folder = new ScratchFolder();
      const store = `${folder.path}/tasks.db`;
      await using servers = new AsyncDisposableStack();
      let server = servers.use(await startStoreServer(store));
      const ports = [server.producerPort, server.consumerPort] as const;
      await using program = example(language, worker, server.consumerPort);
      for (const end of ["SIGKILL", "SIGINT"] as const) {
        await using peer = await server.producer();
        await peer.send(`CREATE 1 held-${end} 1\nCREATE 2 waiting-${end} 0\n`);
        assertEquals(await peer.ask("SYNC"), "OK 2");
        await server.stdout.line(new RegExp(`^\\[ASSIGN\\] held-${end} `));
        peer.close();
        await server.stop(end);
        server = servers.use(await startStoreServer(store, { ports }));
        await server.stdout.line(new RegExp(`^\\[COMPLETE\\] waiting-${end} `));
      }

      assertEquals(await program.stop(), 0);
      assertEquals(await server.drain(), []);
      for (const task of ["held-SIGKILL", "held-SIGINT"]) {
        // Once if it could not send COMPLETE any more, and once for the next server.
        assert(program.stdout.count(new RegExp(`^COMPLETE ${task}$`)) >= 1);
      }
    },
  );
}

for (const [from, to] of [[python, node], [node, python]] as const) {
  testUnless(
    from.missing ?? to.missing,
    `${from.name}'s producer feeds two workers of ${to.name}, each task done once`,
    async () => {
      await using folder = new ScratchFolder();
      const paths: string[] = [];
      for (let i = 0; i < 100; i++) paths.push(await folder.write(`file${i}`, "x".repeat(i)));
      await using server = await startServer(denoRun);
      await using first = example(to, to.worker, server.consumerPort);
      await using second = example(to, to.worker, server.consumerPort);
      // Else one may do all, and the other be stopped while it is still being loaded.
      await server.stdout.line(/^\[2 consumers online\]$/);
      await using producer = example(from, from.producer, server.producerPort, ...paths);
      assertEquals(await producer.exitCode(), 0, producer.stderr.text);
      await server.stdout.line(/^\[COMPLETE\]/, { nth: paths.length });
      for (const worker of [first, second]) assertEquals(await worker.stop(), 0);
      const done = [...first.stdout.texts, ...second.stdout.texts].filter((line) =>
        line.startsWith("/") || line.includes(" has ")
      );
      assertEquals(done.toSorted(), paths.map((path, i) => `${path} has ${i} bytes`).toSorted());
    },
  );
}

testUnless(noBash, "bash: create_task.sh says whether the server has taken the task", async () => {
  await using server = await startServer(denoRun);
  const payload = '{"path": "/in/4 2.jpg",  "x": "*"}';
  await using good = bash("create_task.sh", server.producerPort, "1", "thumb:42", "3", payload);
  assertEquals(await good.exitCode(), 0, good.stderr.text);
  assertEquals(good.stdout.text, `created: 1 thumb:42 3 ${payload}\n`);
  await using bad = bash("create_task.sh", server.producerPort, "9", "thumb:42", "3");
  assertEquals(await bad.exitCode(), 1);
  assertEquals(bad.stderr.text, 'ERROR priority must be 1, 2 or 3, got "9"\n');
  await using two = bash("create_task.sh", server.producerPort, "1", "x 1\nCREATE 1 evil", "1");
  assertEquals(await two.exitCode(), 1);
  await using consumer = await server.consumer();
  assertEquals(await consumer.ask("RESERVE"), `ASSIGN thumb:42 3 ${payload}`);
  assertEquals(await consumer.ask("RESERVE"), "NOTASK");
});

testUnless(
  noBash,
  "bash: create_task.sh does not know if the server goes, or says DONE",
  async () => {
    for (const last of ["OK", "DONE\n"]) {
      await using server = new RawServer();
      await using program = bash("create_task.sh", server.port, "1", "a", "3");
      const peer = await server.accept();
      await peer.received.line(/^SYNC$/);
      await peer.send(last);
      await peer.closeWrite();
      assertEquals(await program.exitCode(), 2);
      assertEquals(program.stderr.text, "no answer: perhaps not created: 1 a 3\n");
    }
  },
);

testUnless(
  noBash,
  "bash: do_one_task.sh completes a task, or fails it if its command fails",
  async () => {
    await using server = await startServer(denoRun);
    await using peer = await server.producer();
    const payload = '{"path": "/in/4 2\\\\.jpg",  "x": "*"}';
    await peer.send(`CREATE 1 a 0.5 ${payload}\nCREATE 2 b 1\n`);
    assertEquals(await peer.ask("SYNC"), "OK 2");
    const show = ["sh", "-c", 'printf "%s " "$TASK" "$SECONDS_OF_WORK"; cat; echo'];
    await using done = bash("do_one_task.sh", server.consumerPort, ...show);
    assertEquals(await done.exitCode(), 0, done.stderr.text);
    assertEquals(done.stdout.text, `a 0.5 ${payload}\nCOMPLETE a\n`);
    await using failed = bash("do_one_task.sh", server.consumerPort, "false");
    assertEquals(await failed.exitCode(), 1);
    assertEquals(failed.stdout.text, "FAIL b\n");
    await server.stdout.line(/^\[COMPLETE\] a - consumer1$/);
    await server.stdout.line(/^\[FAIL\] b - consumer2$/);
  },
);

testUnless(
  noBash,
  "bash: do_one_task.sh does not say that a task is done whose lease had ended",
  async () => {
    await using server = new RawServer();
    await using program = bash("do_one_task.sh", server.port, "true");
    const peer = await server.accept();
    await peer.send("Consumer1\n");
    assertEquals(await peer.received.next(), "RESERVE 60");
    await peer.send("ASSIGN a 1\n");
    assertEquals(await peer.received.next(), "COMPLETE a");
    assertEquals(await peer.received.next(), "SYNC");
    await peer.send('ERROR this consumer does not hold task "a"\nOK 0\n');
    assertEquals(await program.exitCode(), 1);
  },
);

testUnless(python.missing, "The figures of docs/writing_a_client.md can be measured", async () => {
  await using server = await startServer(denoRun, { args: ["--quiet"] });
  const script = `${projectFolder}bench/clients/habits.py`;
  const ports = [server.producerPort, server.consumerPort].map(String);
  await using program = new Program({
    file: "python3",
    args: ["-B", script, "127.0.0.1", ...ports, "sync", "pieces", "lines"],
  });
  assertEquals(await program.exitCode(), 0, program.stderr.text);
  assertEquals(program.stdout.lines.length, 3 + 1 + 7);
  assertEquals(program.stdout.count(/ a payload of 1003 bytes$/), 1);
  assertEquals(await server.drain(), []);
});
