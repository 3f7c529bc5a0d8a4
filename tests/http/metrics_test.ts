/**
 * The metrics: what the document promises, and what Prometheus' own tool says of them.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { ask, startHttpServer } from "../lab/http_peer.ts";
import { canRun, denoRunWithFiles, ScratchFolder, type ServerOptions } from "../lab/processes.ts";
import { testUnless } from "../test_unless.ts";

const document = await Deno.readTextFile(new URL("../../docs/operations.md", import.meta.url));
const noPromtool = await canRun("promtool", "--version")
  ? undefined
  : "no promtool: apt-get install -y prometheus";

/** The metrics of a server that has done a bit of everything. */
async function scrape(options: ServerOptions = {}): Promise<string> {
  await using http = await startHttpServer(denoRunWithFiles, options);
  await using producer = await http.server.producer();
  await using consumer = await http.server.consumer();
  await producer.send('CREATE 1 a 1\nCREATE 3 "b" 2\nNONSENSE\nSYNC\n');
  while (!(await producer.received.next()).startsWith("OK"));
  await consumer.ask("RESERVE");
  await consumer.send("COMPLETE a\n");
  await consumer.ask("REQUEST");
  const { status, headers, body } = await ask(http.port, "GET /metrics");
  assertEquals([status, headers.get("content-type")], [
    200,
    "text/plain; version=0.0.4; charset=utf-8",
  ]);
  return body;
}

/** Samples by name and labels. */
function samplesOf(text: string): Map<string, number> {
  const lines = text.trimEnd().split("\n").filter((line) => !line.startsWith("#"));
  return new Map(lines.map((line) => {
    const [, name, value] = /^([a-z_]+(?:\{[^}]*\})?) (\S+)$/.exec(line) ?? [];
    assert(name !== undefined && Number.isFinite(Number(value)), line);
    return [name, Number(value)];
  }));
}

Deno.test("The metrics are those of docs/operations.md, and count what happened", async () => {
  const text = await scrape();
  const told = [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, kind]) =>
    `${name} ${kind}`
  );
  const promised = [...document.matchAll(/^\| `((?:taskqueue|process)_\w+)` +\| (\w+)/gm)]
    .map(([, name, kind]) => `${name} ${kind}`);
  assertEquals(told.sort(), promised.sort());
  const samples = samplesOf(text);
  const expected: Readonly<Record<string, number>> = {
    'taskqueue_created_tasks_total{priority="1"}': 1,
    'taskqueue_created_tasks_total{priority="2"}': 0,
    'taskqueue_handed_out_tasks_total{priority="1",by="reserve"}': 1,
    'taskqueue_handed_out_tasks_total{priority="3",by="request"}': 1,
    "taskqueue_completed_tasks_total": 1,
    "taskqueue_gone_tasks_total": 2,
    'taskqueue_refused_lines_total{why="malformed"}': 1,
    'taskqueue_waiting_tasks{priority="3"}': 0,
    'taskqueue_oldest_waiting_age_seconds{priority="1"}': 0,
    'taskqueue_connections{port="consumers"}': 1,
    'taskqueue_wait_seconds_count{priority="1"}': 1,
    taskqueue_event_lines_dropped_total: 0,
    'taskqueue_wait_seconds_bucket{priority="1",le="+Inf"}': 1,
  };
  for (const [name, value] of Object.entries(expected)) {
    assertEquals(samples.get(name), value, name);
  }
});

Deno.test("The metrics count the commits of a store", async () => {
  await using folder = await new ScratchFolder();
  const args = ["--store", `${folder.path}/tasks`];
  const samples = samplesOf(await scrape({ args }));
  const commits = samples.get("taskqueue_store_commit_seconds_count") ?? 0;
  // CREATE and COMPLETE are told at different times; a request and a scrape may be beside them.
  assert(commits >= 2 && commits <= 4, `${commits} commits`);
  assert((samples.get("taskqueue_store_commit_seconds_sum") ?? 0) > 0);
  const empty = samplesOf(await scrape());
  assertEquals(empty.get("taskqueue_store_commit_seconds_count"), 0);
});

testUnless(noPromtool, "promtool finds nothing wrong with the metrics and the alerts", async () => {
  await using folder = await new ScratchFolder();
  const metrics = await folder.write("metrics.txt", await scrape());
  const [, rules = ""] = /```yaml\n(groups:[^]*?)```/.exec(document) ?? [];
  const file = await folder.write("rules.yml", rules);
  const run = async (script: string) => {
    const { code, stdout, stderr } = await new Deno.Command("/bin/sh", { args: ["-c", script] })
      .output();
    const decoder = new TextDecoder();
    return [code, decoder.decode(stdout) + decoder.decode(stderr)];
  };
  assertEquals(await run(`promtool check metrics < '${metrics}'`), [0, ""]);
  const [code, said] = await run(`promtool check rules '${file}'`);
  assertEquals([code, String(said).includes("4 rules found")], [0, true], String(said));
});
