import { assertEquals, assertGreater } from "@std/assert";
import { TaskQueue } from "../../lib/core/task_queue.ts";
import { MemoryTasks } from "../../lib/core/memory_tasks.ts";
import { serve } from "../../lib/server/serve.ts";
import { checkHistory } from "../lab/judges/history.ts";
import { Random } from "../lab/random.ts";
import { testSeed } from "../lab/seed.ts";
import { FaultProxy, type NetworkFault } from "../lab/fault_proxy.ts";
import { Recorder } from "../lab/load/recorded_clients.ts";
import { until } from "../lab/load/scenarios.ts";
import { denoRun, startServer } from "../lab/processes.ts";

/** How long a client waits before it gives its connection up: a black hole answers nothing. */
const patienceMs = 1000;

/** A server to be tried, and what it prints. */
interface RunningServer extends AsyncDisposable {
  readonly producerPort: number;
  readonly consumerPort: number;
  readonly stdout: { readonly texts: readonly string[] };
}

function serveInProcess(): RunningServer {
  const producers = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const consumers = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const stop = new AbortController();
  const events: string[] = [];
  const serving = serve({ producers, consumers }, new MemoryTasks(new TaskQueue()), {
    signal: stop.signal,
    log: { write: (line) => void events.push(line) },
    errors: { write: () => {} },
  });
  return {
    producerPort: producers.addr.port,
    consumerPort: consumers.addr.port,
    stdout: { texts: events },
    [Symbol.asyncDispose]: () => {
      stop.abort();
      return serving;
    },
  };
}

/** Runs clients through faults, drains, and checks what they saw. */
async function runThrough(
  server: RunningServer,
  drawFault: (random: Random) => NetworkFault,
): Promise<Recorder> {
  const random = new Random(testSeed);
  const recorder = new Recorder({ patienceMs });
  {
    await using producers = new FaultProxy(server.producerPort, () => drawFault(random));
    await using consumers = new FaultProxy(server.consumerPort, () => drawFault(random));
    const clients = Array.from({ length: 6 }, async (_, i) => {
      for (let connection = 0; connection < 4; connection++) {
        if (i < 3) await recorder.produce(producers.port, { tasks: 60, random });
        else if (i === 3) await recorder.request(consumers.port, { requests: 50, random });
        else await recorder.reserve(consumers.port, { requests: 50, random });
      }
    });
    await Promise.all(clients);
  }
  // When the server has noticed the end of each consumer, all their tasks are back.
  await until(
    () => online(server.stdout.texts) === "[0 consumers online]",
    "the server to notice the end of all consumers",
  );
  const buried = server.stdout.texts.filter((line) => line.startsWith("[BURY]"))
    .map((line) => line.split(" ")[1] as string);
  assertEquals(await recorder.kick(server.producerPort, buried), buried.length);
  await recorder.drain(server.consumerPort);
  const history = { clients: recorder.clients, isDrained: true };
  assertEquals(checkHistory(history), [], `seed ${testSeed}`);
  return recorder;
}

function online(events: readonly string[]): string | undefined {
  return events.findLast((line) => line.endsWith("consumers online]"));
}

const faults: Record<NetworkFault["kind"], (random: Random) => NetworkFault> = {
  "none": () => ({ kind: "none" }),
  "delay": (random) => ({ kind: "delay", ms: random.below(5) }),
  "single bytes": () => ({ kind: "single bytes" }),
  "reset": (random) => ({ kind: "reset", afterBytes: 1 + random.below(1500) }),
  "blackhole": (random) => ({ kind: "blackhole", afterBytes: 1 + random.below(1500) }),
};

for (const [kind, drawFault] of Object.entries(faults)) {
  Deno.test(`The invariants hold through a network with fault: ${kind}`, async () => {
    await using server = serveInProcess();
    const { clients } = await runThrough(server, drawFault);
    const broken = clients.filter((client) => client.isBroken).length;
    // The fault must have struck where it cuts connections, and nothing else may have.
    if (kind === "reset" || kind === "blackhole") assertGreater(broken, 0);
    else assertEquals(broken, 0);
  });
}

Deno.test("The invariants hold for a server process through a network with every fault", async () => {
  await using server = await startServer(denoRun);
  const draw = (random: Random) => random.pick(Object.values(faults))(random);
  await runThrough(server, draw);
});
