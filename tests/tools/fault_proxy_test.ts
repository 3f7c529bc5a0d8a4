import { assertEquals, assertGreater } from "@std/assert";
import { sleep } from "../../lib/clock.ts";
import { TaskQueue } from "../../lib/core/task_queue.ts";
import { MemoryTasks } from "../../lib/core/memory_tasks.ts";
import { serve } from "../../lib/server/serve.ts";
import { checkHistory } from "../lab/judges/history.ts";
import { Random } from "../lab/random.ts";
import { FaultProxy, type NetworkFault } from "../lab/fault_proxy.ts";
import { Recorder } from "../lab/load/recorded_clients.ts";

const deadlineMs = 20_000;

/** A server to be tried, and what it logs. */
interface RunningServer extends AsyncDisposable {
  readonly producerPort: number;
  readonly consumerPort: number;
  readonly events: readonly string[];
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
    events,
    [Symbol.asyncDispose]: () => {
      stop.abort();
      return serving;
    },
  };
}

async function serveAsProcess(): Promise<RunningServer> {
  const path = new URL("../../server.ts", import.meta.url).pathname;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "--allow-net", path, "127.0.0.1", "0", "0"],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const events: string[] = [];
  const errors: string[] = [];
  const listening = Promise.withResolvers<[number, number]>();
  const reading = Promise.all([
    readLines(child.stdout, (line) => void events.push(line)),
    readLines(child.stderr, (line) => {
      errors.push(line);
      const ports = /producers \S+:(\d+), consumers \S+:(\d+)/.exec(line);
      if (ports !== null) listening.resolve([Number(ports[1]), Number(ports[2])]);
    }).then(() => listening.reject(new Error(errors.join("\n")))),
  ]);
  const [producerPort, consumerPort] = await listening.promise;
  return {
    ...{ producerPort, consumerPort, events },
    [Symbol.asyncDispose]: async () => {
      child.kill("SIGTERM");
      await Promise.all([reading, child.status]);
    },
  };
}

async function readLines(
  stream: ReadableStream<Uint8Array<ArrayBuffer>>,
  take: (line: string) => void,
): Promise<void> {
  let tail = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (tail + text).split("\n");
    tail = lines.pop() as string;
    lines.forEach(take);
  }
}

/** Runs clients through faults, drains, and checks what they saw. */
async function runThrough(
  server: RunningServer,
  drawFault: (random: Random) => NetworkFault,
  seed: number,
): Promise<Recorder> {
  const random = new Random(seed);
  const recorder = new Recorder();
  {
    await using producers = new FaultProxy(server.producerPort, () => drawFault(random));
    await using consumers = new FaultProxy(server.consumerPort, () => drawFault(random));
    const clients = Array.from({ length: 6 }, async (_, i) => {
      for (let connection = 0; connection < 4; connection++) {
        if (i < 3) await recorder.produce(producers.port, { tasks: 60, random });
        else await recorder.consume(consumers.port, { requests: 50, isReserving: i > 3, random });
      }
    });
    await Promise.all(clients);
  }
  await allConsumersGone(server.events);
  await kickBuried(server);
  await recorder.drain(server.consumerPort);
  const history = { clients: recorder.clients, isDrained: true };
  assertEquals(checkHistory(history), [], `seed ${seed}`);
  return recorder;
}

/** Waits until the server has noticed the end of each consumer: then all their tasks are back. */
async function allConsumersGone(events: readonly string[]): Promise<void> {
  const untilMs = performance.now() + deadlineMs;
  const online = () => events.findLast((line) => line.endsWith("consumers online]"));
  while (online() !== "[0 consumers online]") {
    if (performance.now() > untilMs) throw new Error(`still ${online()}`);
    await sleep(10);
  }
}

/** A task may have been with five consumers whose connections were cut. */
async function kickBuried({ events, producerPort }: RunningServer): Promise<void> {
  const buried = events.filter((line) => line.startsWith("[BURY]")).map((line) =>
    line.split(" ")[1]
  );
  using conn = await Deno.connect({ hostname: "127.0.0.1", port: producerPort });
  await conn.write(new TextEncoder().encode(buried.map((task) => `KICK ${task}\n`).join("")));
  await conn.closeWrite();
  const answers = await new Response(conn.readable).text();
  assertEquals(answers, "OK 1\n".repeat(buried.length));
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
    const seed = Date.now() % 1_000_000_000;
    const { clients } = await runThrough(server, drawFault, seed);
    const broken = clients.filter((client) => client.isBroken).length;
    // The fault must have struck where it cuts connections, and nothing else may have.
    if (kind === "reset" || kind === "blackhole") assertGreater(broken, 0);
    else assertEquals(broken, 0);
  });
}

Deno.test("The invariants hold for a server process through a network with every fault", async () => {
  await using server = await serveAsProcess();
  const draw = (random: Random) => random.pick(Object.values(faults))(random);
  await runThrough(server, draw, Date.now() % 1_000_000_000);
});
