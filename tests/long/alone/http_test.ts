/**
 * The operator's side under load, and beside the program that its metrics are for.
 *
 * @module
 */

import { assertEquals, assertGreater, assertLess } from "@std/assert";
import { pause, within } from "../../lab/deadline.ts";
import { freePort } from "../../lab/free_port.ts";
import { startHttpServer } from "../../lab/http_peer.ts";
import { hardFileLimit, manyFiles } from "../../lab/load/scenarios.ts";
import { watchedQueue } from "../../lab/load/watched_queue.ts";
import { canRun, denoRun, Program, ScratchFolder } from "../../lab/processes.ts";
import { testUnless } from "../../test_unless.ts";

const noPrometheus = await canRun("prometheus", "--version")
  ? undefined
  : "no prometheus: apt-get install -y prometheus";

const fewFiles = await hardFileLimit() < manyFiles ? `ulimit -Hn is below ${manyFiles}` : undefined;

testUnless(noPrometheus, "Prometheus scrapes the server, and answers a query", async () => {
  await using http = await startHttpServer(denoRun);
  await using producer = await http.server.producer();
  assertEquals(await producer.ask("CREATE 1 a 1\nCREATE 3 b 1\nCREATE 3 c 1\nSYNC"), "OK 3");
  await using folder = new ScratchFolder();
  const config = await folder.write(
    "prometheus.yml",
    JSON.stringify({
      scrape_configs: [{
        job_name: "taskqueue",
        scrape_interval: "1s",
        static_configs: [{ targets: [`127.0.0.1:${http.port}`] }],
      }],
    }),
  );
  const address = `127.0.0.1:${freePort()}`;
  await using _prometheus = new Program({
    file: "prometheus",
    args: [
      ...[`--config.file=${config}`, `--storage.tsdb.path=${folder.path}/data`],
      `--web.listen-address=${address}`,
    ],
  });
  const query = async (expression: string): Promise<Record<string, string>> => {
    const url = `http://${address}/api/v1/query?query=${encodeURIComponent(expression)}`;
    const { data } = await (await fetch(url)).json();
    return Object.fromEntries(
      data.result.map((
        { metric, value }: { metric: { priority?: string }; value: [number, string] },
      ) => [metric.priority ?? "", value[1]]),
    );
  };
  const scraped = async () => {
    while ((await query("up").catch(() => ({ "": "" })))[""] !== "1") await pause(200);
  };
  await within(scraped(), "a scrape", 60_000);
  assertEquals(await query("taskqueue_waiting_tasks"), { "1": "1", "2": "0", "3": "2" });
  assertEquals(await query("sum(taskqueue_created_tasks_total)"), { "": "3" });
  assertEquals(await query("count(taskqueue_wait_seconds_bucket) by (priority)"), {
    ...{ "1": "13", "2": "13", "3": "13" },
  });
});

testUnless(
  fewFiles,
  "1,000,000 tasks, 1,000 consumers, 32 viewers: a search answers, and delays a client by at most 50 ms",
  async () => {
    const load = { tasks: 1_000_000, consumers: 1000, viewers: 32, seconds: 10 };
    const { searches, polite, rss, rssWithout } = await watchedQueue(denoRun, load);
    assertGreater(searches.count, 1);
    assertLess(searches.p99Ms, 5000);
    assertLess(polite.p99Ms, 50);
    assertLess(rss - rssWithout, 100_000_000);
  },
);
