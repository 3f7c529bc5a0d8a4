/**
 * Pictures of real runs: the executables in a terminal, started by hand as it were.
 *
 * Each scene is one terminal window. It waits for what the programs show, never for a time. Some
 * pictures need a moment that only a quick user meets, such as a producer started between two
 * requests: such a scene looks whether it met it, and is played again if not.
 *
 * @module
 */

import { copyFile, mkdir, symlink } from "node:fs/promises";
import { join } from "node:path";
import { UserError } from "../../lib/user_error.ts";
import { runCommand } from "../tool.ts";
import { type Pane, TerminalWindow } from "./terminal.ts";
import { drawWindow } from "./terminal_svg.ts";
import { ScratchFolder } from "../../tests/lab/processes.ts";

/** Most times that a scene is played: a try that misses its moment takes some seconds. */
const maxTries = 20;

/** A scene was played right, but too slowly for the picture. */
class MissedMoment extends Error {
  override readonly name = "MissedMoment";
}

/** Where scenes are played. */
interface Stage {
  /** A folder with the executables and tasks.txt. */
  readonly folder: string;
  readonly shoot: (window: TerminalWindow, name: string) => Promise<void>;
}

/**
 * Plays every scene, all at the same time, and writes `<name>.svg` files.
 *
 * @param options.executables the folder of server, producer and consumer.
 * @param options.taskFile the assignment's task file.
 * @param options.output the folder for the pictures.
 * @throws {UserError} a program does not show what it should.
 */
export async function takeSnapshots(
  options: { readonly executables: string; readonly taskFile: string; readonly output: string },
): Promise<void> {
  await using scratch = new ScratchFolder("report-");
  const folder = scratch.path;
  for (const program of ["server", "producer", "consumer"]) {
    await symlink(join(options.executables, program), join(folder, program));
  }
  await copyFile(options.taskFile, join(folder, "tasks.txt"));
  await mkdir(options.output, { recursive: true });
  const stage: Stage = {
    folder,
    shoot: async (window, name) => {
      await Deno.writeTextFile(
        join(options.output, `snapshot_${name}.svg`),
        drawWindow(await window.view()),
      );
    },
  };
  const scenes = [oneConsumer, twoConsumers, customAddress, sockets, badInput];
  // All settled, not all: a scene that fails must not leave the others' programs running.
  const ends = await Promise.allSettled(scenes.map((scene) => playUntilMet(scene, stage)));
  const failed = ends.find((end) => end.status === "rejected");
  if (failed !== undefined) throw failed.reason;
}

/** Plays a scene, again if its moment was missed. */
async function playUntilMet(scene: (stage: Stage) => Promise<void>, stage: Stage): Promise<void> {
  for (let tries = 1;; tries++) {
    try {
      return await scene(stage);
    } catch (error) {
      if (!(error instanceof MissedMoment)) throw error;
      if (tries === maxTries) throw new UserError(`${error.message}, ${tries} times`);
    }
  }
}

/** The assignment's run with one consumer, on the ports of its slides. */
async function oneConsumer({ folder, shoot }: Stage): Promise<void> {
  const [window, server] = await TerminalWindow.open("server", { folder, columns: 100, rows: 37 });
  await using _ = window;
  const consumer = await window.split(server, { title: "consumer", where: "right", size: 37 });
  const producer = await window.split(server, { title: "producer", where: "below", size: 11 });
  await serve(server, "./server 127.0.0.1 8888 8889");
  await consumer.run("./consumer 127.0.0.1 8889");
  await producer.type("./producer 127.0.0.1 8888 tasks.txt");
  await consumer.shows(/NOTASK/);
  await producer.press("Enter");
  await consumer.until((text) => finished(text) === 8, "the end of 8 tasks");
  await stop(consumer);
  await server.shows(/0 consumers/);
  await stop(server);
  await expectOrder(consumer, "1 5 8 6 7 2 3 4", [consumer, server]);
  await shoot(window, "one_consumer");
}

/** The assignment's run with two consumers, and its end by Ctrl+C in the assignment's order. */
async function twoConsumers({ folder, shoot }: Stage): Promise<void> {
  const [window, server] = await TerminalWindow.open("server", { folder, columns: 100, rows: 44 });
  await using _ = window;
  const first = await window.split(server, { title: "consumer 1", where: "right", size: 37 });
  const second = await window.split(first, { title: "consumer 2", where: "below", size: 21 });
  const producer = await window.split(server, { title: "producer", where: "below", size: 11 });
  await serve(server, "./server 127.0.0.1 5000 5001");
  await producer.type("./producer 127.0.0.1 5000 tasks.txt");
  await first.run("./consumer 127.0.0.1 5001");
  await second.type("./consumer 127.0.0.1 5001");
  // Each asks once per second, consumer 2 soon after consumer 1. If the producer is started soon
  // after a request of consumer 2, the next one is consumer 1's.
  await first.shows(/NOTASK/);
  await second.press("Enter");
  await second.shows(/NOTASK/);
  await producer.press("Enter");
  await server.shows(/\[ASSIGN\] task2/);
  if (!/task1 - consumer1\n[^]*task2 - consumer2$/m.test(await server.text())) {
    await interrupt([first, second, producer, server]);
    throw new MissedMoment("the producer was not started before consumer 1's next request");
  }
  await server.until(
    (text) => text.match(/ASSIGN/g)?.length === 8,
    "all tasks assigned",
  );
  await first.until((text) => isIdle(text), "no task");
  await second.until((text) => isIdle(text), "no task");
  await expectOrder(first, "1 5 8 7", [first, second, producer, server]);
  await expectOrder(second, "2 3 6 4", [first, second, producer, server]);

  await stop(first);
  await server.shows(/1 disconnected\]\n\[1 consumers/);
  await stop(second);
  await server.shows(/2 disconnected\]\n\[0 consumers/);
  await stop(server);
  for (const pane of [first, second, server]) await pane.finish("echo exit code $?");
  await shoot(window, "two_consumers");
}

/** Another address of this machine, other ports, a name, and a task file of its own. */
async function customAddress({ folder, shoot }: Stage): Promise<void> {
  await Deno.writeTextFile(join(folder, "short.txt"), "0.0 2 alpha 0.5\n0.2 1 beta 0.5\n");
  const [window, server] = await TerminalWindow.open("server", { folder, columns: 100, rows: 19 });
  await using _ = window;
  const consumer = await window.split(server, { title: "consumer", where: "right", size: 35 });
  const producer = await window.split(server, { title: "producer", where: "below", size: 5 });
  await serve(server, "./server 127.0.0.2 61000 62000");
  await consumer.run("./consumer 127.0.0.2 62000 alice");
  await consumer.shows(/NOTASK/);
  await producer.finish("./producer 127.0.0.2 61000 short.txt");
  await consumer.shows(/(?:COMPLETE[^]*){2}NOTASK/);
  await stop(consumer);
  await server.shows(/0 consumers/);
  await stop(server);
  await shoot(window, "custom_address");
}

/** netstat before, during and after a run, and the server started again at once. */
async function sockets({ folder, shoot }: Stage): Promise<void> {
  await Deno.writeTextFile(join(folder, "slow.txt"), "0.0 1 task1 1.0\n3.0 1 task2 1.0\n");
  const size = { folder, columns: 100, rows: 22 };
  const [window, shell] = await TerminalWindow.open("shell", size);
  await using _ = window;
  const [otherWindow, server] = await TerminalWindow.open("server", size);
  await using _others = otherWindow;
  const consumer = await otherWindow.split(server, {
    title: "consumer",
    where: "right",
    size: 40,
  });
  const producer = await otherWindow.split(server, {
    title: "producer",
    where: "below",
    size: 5,
  });
  const port = await quietPort();
  const netstat = `netstat -tanp 2>/dev/null | grep ':${port / 10}[01]' | cut -c 21-`;
  const look = async (when: string) => {
    await shell.finish(`# ${when}`);
    await shell.finish(netstat);
  };
  await look(`before: nothing on ports ${port} and ${port + 1}`);
  await serve(server, `./server 127.0.0.1 ${port} ${port + 1}`);
  await consumer.run(`./consumer 127.0.0.1 ${port + 1}`);
  await consumer.shows(/NOTASK/);
  await producer.run(`./producer 127.0.0.1 ${port} slow.txt`);
  await consumer.shows(/task1/);
  await look("during: two listening sockets; a consumer and a producer, both ends of each");
  if ((await shell.text()).match(/ESTABLISHED/g)?.length !== 4) {
    await interrupt([consumer, producer, server]);
    throw new MissedMoment("netstat did not run while all were connected");
  }
  await producer.shows(/exit\n\$/);
  await consumer.shows(/task2\n\[REQUEST\]\nNOTASK/);
  await stop(consumer);
  await server.shows(/0 consumers/);
  await stop(server);
  await look("after Ctrl+C of consumer and server: TIME_WAIT on the clients' ports alone");
  await server.run(`./server 127.0.0.1 ${port} ${port + 1}`);
  await server.until((text) => text.match(/listening/g)?.length === 2, "listen again");
  await look("the server started again at once on the same ports");
  await server.press("C-c");
  await server.until((text) => text.match(/exit\n\$/g)?.length === 2, "end again");
  await shoot(window, "netstat");
}

/**
 * A port that no socket has, nor the one after it: after an earlier try or build, the clients' ports
 * of theirs are in TIME_WAIT for a minute.
 */
async function quietPort(): Promise<number> {
  const sockets = await runCommand("netstat", { args: ["-tan"] });
  const isQuiet = (port: number) => !sockets.includes(`:${port} `);
  for (let port = 7000; port < 7100; port += 10) {
    if (isQuiet(port) && isQuiet(port + 1)) return port;
  }
  throw new UserError("A picture needs two ports from 7000 to 7099 that no socket has");
}

/** What a wrong task file, a malformed line, a wrong port and wrong arguments get. */
async function badInput({ folder, shoot }: Stage): Promise<void> {
  await Deno.writeTextFile(
    join(folder, "broken.txt"),
    "0.0 3 task1 3.0\n0.0 high task2 3.0\n2.0 1 task3 three\n4.0 2 task4\n",
  );
  const [window, server] = await TerminalWindow.open("server", { folder, columns: 110, rows: 30 });
  await using _ = window;
  const shell = await window.split(server, { title: "shell", where: "below", size: 20 });
  await serve(server, "./server 127.0.0.1 7777 7778");
  await shell.finish("./producer 127.0.0.1 7777 broken.txt; echo exit code $?");
  await shell.finish("exec 3<>/dev/tcp/127.0.0.1/7777   # a malformed line, then a good one");
  await shell.finish("printf 'CREATE 9 bad 1.0\\nCREATE 1 good 1.0\\n' >&3; head -n 1 <&3");
  await server.shows(/good/);
  await shell.finish("./server 127.0.0.1 7777 7778; echo exit code $?   # ports in use");
  await shell.finish("./consumer 127.0.0.1 99999; echo exit code $?");
  await shell.finish("./consumer 127.0.0.1 7779; echo exit code $?   # no server there");
  await server.press("C-c");
  await server.shows(/exit\n[^]*\$$/); // between them: a waiting task was dropped
  await shoot(window, "bad_input");
}

/** Ends a program by Ctrl+C and waits for its last line. */
async function stop(pane: Pane): Promise<void> {
  await pane.press("C-c");
  await pane.shows(/exit\n\$/);
}

/** Starts a server and waits until it listens: on the slides' ports, which others may hold. */
async function serve(server: Pane, command: string): Promise<void> {
  await server.run(command);
  await server.shows(/listening|Cannot listen/);
  const text = await server.text();
  if (/Cannot listen/.test(text)) throw new UserError(`A picture needs these ports:\n${text}`);
}

/** How many tasks a consumer has completed before the server had no more. */
function finished(text: string): number {
  return isIdle(text) ? text.match(/COMPLETE/g)?.length ?? 0 : 0;
}

/** Whether the last answer that a consumer shows is that there is no task, after some task. */
function isIdle(text: string): boolean {
  return /COMPLETE[^]*NOTASK/.test(text) && /NOTASK(?:\n\[REQUEST\])?$/.test(text);
}

/** Ends what runs in panes, so that the next try finds their ports free. */
async function interrupt(panes: readonly Pane[]): Promise<void> {
  for (const pane of panes) {
    if (!isAtPrompt(await pane.text())) await pane.press("C-c");
    await pane.until(isAtPrompt, "the end of its program");
  }
}

function isAtPrompt(text: string): boolean {
  return /(?:^|\n)\$ *$/.test(text);
}

/** Checks that a consumer completed tasks in this order; a wrong picture must not be shown. */
async function expectOrder(consumer: Pane, order: string, panes: readonly Pane[]): Promise<void> {
  const completed = (await consumer.text()).matchAll(/\[COMPLETE\] task(\d+)/g);
  const actual = [...completed].map((match) => match[1]).join(" ");
  if (actual === order) return;
  await interrupt(panes);
  throw new MissedMoment(`${consumer.title} completed tasks ${actual} and not ${order}`);
}
