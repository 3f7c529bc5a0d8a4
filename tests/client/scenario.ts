// What a program does with the library, from its first task to its end, under any runtime: a test
// has it import what is installed there, so there is nothing in it but JavaScript.
import process from "node:process";
import {
  connectConsumer,
  connectProducer,
  DisconnectedError,
  LostTaskError,
  QueueError,
  RefusedError,
  work,
} from "../../mod.ts";

const [producerPort, consumerPort] = process.argv.slice(2, 4).map(Number);
// How else to connect, as JSON.
const access = JSON.parse(process.argv[4] ?? "{}");
const say = (...words: unknown[]) =>
  console.log(words.map((word) => JSON.stringify(word)).join(" "));

const producer = await connectProducer({ ...access, port: producerPort ?? 0 });
await producer.create({ id: "data", priority: 1, duration: 3, payload: { "ä": [1, "\u007f"] } });
try {
  await producer.create({ id: "long", payload: { x: "x".repeat(2000) } });
} catch (error) {
  say(error instanceof RefusedError, error instanceof QueueError, String(error));
}
const tasks = Array.from({ length: 3000 }, (_, i) => ({ id: `t${i}` }));
say("created", await producer.createAll(tasks));

const consumer = await connectConsumer({ ...access, port: consumerPort ?? 0 });
const data = await consumer.next();
say(data?.id, data?.duration, data?.payload);
await data?.touch();
await data?.fail({ delay: 600 });
const again = await consumer.next();
say("again", again?.id);
await again?.release();
const third = await consumer.next();
await third?.complete();
const buried = await consumer.next();
await buried?.bury();
say("buried", buried?.id);
const held = await consumer.next();
await consumer.close();
say(held?.signal.aborted, await held?.complete().catch((error) => error instanceof LostTaskError));

const stop = new AbortController();
let handled = 0;
const count = await work(
  { ...access, port: consumerPort ?? 0, concurrency: 3, signal: stop.signal, onError: () => {} },
  async () => {
    await Promise.resolve();
    if (++handled === 2998) stop.abort();
  },
);
say(count);

const waiting = await connectConsumer({ ...access, port: consumerPort ?? 0 });
const next = waiting.next();
await producer.create({ id: "late", delay: 0.2 });
const late = await next;
say("late", late?.id);
await late?.complete();
await producer.close();
await waiting.close();
say(await producer.create({ id: "x" }).catch((error) => error.message));
try {
  await connectProducer({ ...access, port: 1, retry: false });
} catch (error) {
  say(error instanceof DisconnectedError);
}
console.log("end");
