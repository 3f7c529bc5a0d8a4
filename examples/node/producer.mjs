// A producer: creates a task per file, and says which of them the server has taken.
//
//     node producer.mjs 127.0.0.1 5000 photos/*.jpg
//
// The task has the name of the file, priority 2, 3 seconds of work, and the file's path as payload.
// Exit code 0: the server has all tasks. 1: it refused some, or it is not known whether it has them.

import { connect } from "node:net";
import { basename } from "node:path";

const [host, port, ...paths] = process.argv.slice(2);

function createLine(path, seconds = 3) {
  // Not String(seconds): for 0.0000001 that is 1e-7, which the server refuses.
  const line = `CREATE 2 ${basename(path)} ${seconds.toFixed(6)} ${JSON.stringify({ path })}`;
  // A line feed in a name would end the command, and what follows it would be the next one.
  if (line.includes("\n")) throw new Error(`not a name for a task: ${JSON.stringify(path)}`);
  return line;
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

// Node reads while it writes: so all can be sent at once, with a SYNC after each CREATE to tell
// which of them is refused. (A blocking socket must send some, read the answers, and send more.)
const commands = paths.map((path) => `${createLine(path)}\nSYNC\n`).join("");
const socket = connect({ host, port: Number(port), noDelay: true });
let [accepted, answered, reason] = [0, 0, ""];
try {
  socket.write(commands);
  if (paths.length === 0) socket.end();
  for await (const line of linesOf(socket)) {
    const [word] = line.split(" ", 1);
    if (word === "DONE") break; // the server is about to go
    if (word === "ERROR") reason = line.slice(6); // stands before the OK of its own line
    if (word !== "OK") continue;
    const path = paths[answered++];
    if (Number(line.slice(3)) > accepted) accepted++;
    else console.error(`refused: ${path}: ${reason}`);
    // No more commands: the server closes, which ends the loop.
    if (answered === paths.length) socket.end();
  }
} catch (error) {
  console.error(error.message);
}
if (answered < paths.length) {
  console.error(`the server has gone: perhaps not created: ${paths.length - answered} tasks`);
}
console.log(`created ${accepted} of ${paths.length} tasks`);
process.exitCode = accepted === paths.length ? 0 : 1;
