import { assertEquals } from "@std/assert";
import { pause } from "../lab/deadline.ts";
import {
  type Command,
  denoScript,
  findScript,
  inTerminal,
  Program,
  projectFolder,
  shellCommand,
} from "../lab/processes.ts";
import { testUnless } from "../test_unless.ts";

function endless(how: string): Command {
  return denoScript("tests/cli/endless_program.ts", ["--allow-read"], [how]);
}

Deno.test("runProgram() takes two signals at one moment for one", async () => {
  await using program = new Program(endless("slowly"));
  await program.stdout.line(/^ready$/);
  // Stopped, it finds both when it goes on: together, on however busy a machine.
  program.kill("SIGSTOP");
  program.kill("SIGINT");
  program.kill("SIGTERM");
  program.kill("SIGCONT");
  assertEquals(await program.exitCode(), 0);
  assertEquals(program.stdout.text, "ready\nstopped\nexit\n");
});

Deno.test("runProgram() ends at once at a second signal 500 ms after the first", async () => {
  await using program = new Program(endless("never"));
  await program.stdout.line(/^ready$/);
  program.kill("SIGINT");
  await program.stdout.line(/^stopped$/);
  await pause(500);
  program.kill("SIGINT");
  assertEquals(await program.exitCode(), 130);
  assertEquals(program.stdout.text, "ready\nstopped\n");
});

Deno.test("runProgram() ends in order if the reason of the signal is thrown", async () => {
  await using program = new Program(endless("by reason"));
  await program.stdout.line(/^ready$/);
  assertEquals(await program.stop(), 0);
  assertEquals(program.stdout.text, "ready\nstopped\nexit\n");
  assertEquals(program.stderr.text, "");
});

Deno.test("runProgram() prints exit after all that it says on stderr", async () => {
  // One pipe for both, as a terminal is.
  await using program = new Program(shellCommand(endless("loudly"), "exec 2>&1"));
  assertEquals(await program.exitCode(), 0);
  assertEquals(program.stdout.texts.slice(0, 2), ["first", "first"]);
  assertEquals(program.stdout.texts.slice(2), ["last", "last", "exit"]);
});

const script = await findScript();
testUnless(
  script === undefined ? "script (util-linux) is not here" : undefined,
  "deno task server ends in order at one Ctrl+C, which reaches it twice",
  async () => {
    const task = {
      file: Deno.execPath(),
      args: ["task", "server", "127.0.0.1", "0", "0"],
      cwd: projectFolder,
    };
    // It has shown up in about every other run.
    for (let run = 0; run < 5; run++) {
      await using server = inTerminal(script as string, task);
      await server.stdout.line(/^listening: /);
      await server.type("\x03");
      assertEquals(await server.exitCode(), 0, server.stdout.text);
      assertEquals(server.stdout.texts.slice(-2), ["^C\r", "exit\r"]);
    }
  },
);
