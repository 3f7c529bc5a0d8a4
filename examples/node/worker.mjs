// A worker: takes one task after the other and works on it, until Ctrl+C (or SIGTERM).
//
//     node worker.mjs 127.0.0.1 5001
//
// If the server goes away, it connects again each second. A task that it held then comes back, to
// it or to another worker: so each task is done at least once, and in rare cases twice.

import { stat } from "node:fs/promises";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

const [host, port] = process.argv.slice(2);
const silenceMs = 90_000; // RESERVE 60 is answered within 60 s: after 90 the server is out of reach
const touchMs = 4_000; // a lease is 10 s at least: two of these may be late
const stop = new AbortController();
let leave = () => {}; // ends the connection, if there is one
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => (stop.abort(), leave()));

/** Your work stands here. If it throws, the task has failed and comes back later. */
async function work(_name, seconds, payload) {
  if (payload === undefined) await sleep(seconds * 1000, undefined, { signal: stop.signal });
  else console.log(`${payload.path} has ${(await stat(payload.path)).size} bytes`);
}

/** The lines of a socket, each as soon as its LF is there. node:readline splits at U+2028, too. */
async function* linesOf(socket) {
  socket.setEncoding("utf8"); // puts characters together whose bytes come in two chunks
  let text = "";
  for await (const chunk of socket) {
    const lines = (text + chunk).split("\n");
    text = lines.pop();
    yield* lines;
  }
}

/** No more commands: the server reads all that was sent, and closes; after 2 s we do. */
function endBy(socket, lastCommand = "") {
  socket.setTimeout(2000);
  socket.end(lastCommand);
}

/** Does the task of an ASSIGN, and returns the command that says how it ended. */
async function doTask(socket, line) {
  const [, name, seconds] = line.split(" ", 3);
  const payload = line.slice(`ASSIGN ${name} ${seconds} `.length);
  // Back to its place at once, and not counted as a failure.
  leave = () => endBy(socket, `RELEASE ${name}\n`);
  // Starts the lease anew, for work that takes longer than twice its duration and 10 s.
  const touching = setInterval(() => socket.write(`TOUCH ${name}\n`), touchMs);
  try {
    await work(name, Number(seconds), payload === "" ? undefined : JSON.parse(payload));
    return `COMPLETE ${name}\n`;
  } catch (error) {
    if (!stop.signal.aborted) console.error(`${name} failed: ${error.message}`);
    return `FAIL ${name}\n`;
  } finally {
    clearInterval(touching);
    leave = () => endBy(socket);
  }
}

async function takeTasks(socket) {
  leave = () => endBy(socket);
  for await (const line of linesOf(socket)) {
    const [word] = line.split(" ", 1);
    if (word === "DONE") return; // the server is about to go
    if (word === "ERROR") console.error(line); // at any time; it refuses an earlier command
    if (word.startsWith("Consumer")) console.log(`${line} connected`);
    const end = word === "ASSIGN" && !stop.signal.aborted ? await doTask(socket, line) : "";
    if (word === "ERROR" || stop.signal.aborted) continue; // reads on, until the server closes
    process.stdout.write(end);
    socket.write(`${end}RESERVE 60\n`); // one write: of two, the second would wait for 40 ms
  }
}

while (!stop.signal.aborted) {
  const socket = connect({ host, port: Number(port), noDelay: true });
  socket.setTimeout(silenceMs, () => socket.destroy(new Error("the server is silent")));
  socket.on("error", () => {}); // the loop over the lines throws it
  await takeTasks(socket).catch((error) => console.error(error.message));
  if (stop.signal.aborted) break;
  console.error("the server has gone: connecting again");
  await sleep(1000, undefined, { signal: stop.signal }).catch(() => {});
}
