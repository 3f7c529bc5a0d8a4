import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  type CommandLine,
  exitCodeOf,
  parseCommandLine,
  parseWholeNumber,
} from "../../lib/cli/arguments.ts";
import { UserError } from "../../lib/user_error.ts";

const line: CommandLine = {
  program: "producer",
  help: "Usage: producer <ip> <port> [task_file] [options]\n\nSends tasks.",
  positionals: { least: 2, most: 3 },
  flags: ["sync", "quiet"],
  options: ["from"],
  letters: { q: "quiet" },
};

/** What a command line holds, as plain data. */
async function parse(...args: string[]): Promise<unknown> {
  const parsed = await parseCommandLine(args, line);
  assert(typeof parsed !== "string", "help or version is not expected");
  const { positionals, flags, options } = parsed;
  return { positionals, flags: [...flags], options: Object.fromEntries(options) };
}

/** What is said of a command line that is refused; its exit code must be 2. */
async function refusal(args: readonly string[], of: CommandLine = line): Promise<string> {
  const error = await assertRejects(() => parseCommandLine(args, of), UserError);
  assertEquals(exitCodeOf(error), 2);
  return error.message;
}

const taken: readonly (readonly [args: readonly string[], parsed: unknown])[] = [
  [["127.0.0.1", "5000"], { positionals: ["127.0.0.1", "5000"], flags: [], options: {} }],
  [["a", "007", "1e3"], { positionals: ["a", "007", "1e3"], flags: [], options: {} }],
  [["a", "1", "-"], { positionals: ["a", "1", "-"], flags: [], options: {} }],
  [["a", "1", "--", "--odd name"], {
    positionals: ["a", "1", "--odd name"],
    flags: [],
    options: {},
  }],
  [["--sync", "a", "1", "tasks.txt"], {
    positionals: ["a", "1", "tasks.txt"],
    flags: ["sync"],
    options: {},
  }],
  [["a", "1", "--from", "3"], { positionals: ["a", "1"], flags: [], options: { from: "3" } }],
  [["-q", "a", "1"], { positionals: ["a", "1"], flags: ["quiet"], options: {} }],
  [["a", "1", "--sync", "--quiet", "-q"], {
    positionals: ["a", "1"],
    flags: ["sync", "quiet"],
    options: {},
  }],
  [["a", "1", "--from=007"], { positionals: ["a", "1"], flags: [], options: { from: "007" } }],
];

for (const [args, parsed] of taken) {
  Deno.test({
    name: `parseCommandLine() takes ${args.join(" ")}`,
    permissions: "none",
    fn: async () => assertEquals(await parse(...args), parsed),
  });
}

const refused: readonly (readonly [args: readonly string[], problem: string])[] = [
  [[], "<ip> is missing"],
  [["127.0.0.1"], "<port> is missing"],
  [["a", "1", "b", "c\x1b"], 'unexpected argument "c\\u{1b}"'],
  [["a", "1", "--synch"], 'unknown option "--synch" (did you mean --sync?)'],
  [["a", "1", "--quite"], 'unknown option "--quite" (did you mean --quiet?)'],
  [["a", "1", "--form=3"], 'unknown option "--form=3" (did you mean --from?)'],
  [["a", "1", "-quiet"], 'unknown option "-quiet" (did you mean --quiet?)'],
  [["a", "1", "--hlep"], 'unknown option "--hlep" (did you mean --help?)'],
  [["a", "1", "--nope"], 'unknown option "--nope"'],
  [["a", "1", "--fr"], 'unknown option "--fr"'],
  [["a", "1", `--${"x".repeat(200_000)}`], `unknown option "--${"x".repeat(62)}..."`],
  [["a", "1", "-x"], 'unknown option "-x"'],
  [["a", "1", "--__proto__"], 'unknown option "--__proto__"'],
  [["a", "1", "--constructor"], 'unknown option "--constructor"'],
  [["a", "-1"], 'a number must not be negative, got "-1"'],
  [["a", "1", "--sync=3"], '--sync takes no value, got "--sync=3"'],
  [["a", "1", "-q=3"], "--quiet takes no value"],
  [["a", "1", "--from"], "--from needs a value"],
  [["a", "1", "--from="], "--from needs a value"],
  [["a", "1", "--from", "1", "--from=2"], "--from was given twice"],
  [["a", "1", "--from", "1", "--from"], "--from was given twice"],
];

for (const [args, problem] of refused) {
  Deno.test({
    name: `parseCommandLine() refuses "${
      args.join(" ").slice(0, 100)
    }" with the usage and exit code 2`,
    permissions: "none",
    async fn() {
      assertEquals(
        await refusal(args),
        `producer: ${problem}\n` +
          "Usage: producer <ip> <port> [task_file] [options]\nTry producer --help.",
      );
    },
  });
}

for (const args of [["--help"], ["-h"], ["a", "b", "c", "d", "--bad", "-h"], ["-V", "-h"]]) {
  Deno.test({
    name: `parseCommandLine() answers "${args.join(" ")}" with the help`,
    permissions: "none",
    fn: async () => assertEquals(await parseCommandLine(args, line), line.help),
  });
}

for (const args of [["--version"], ["-V"], ["--bad", "-V", "-1"]]) {
  Deno.test({
    name: `parseCommandLine() answers "${args.join(" ")}" with the version, ours and Deno's`,
    permissions: "none",
    async fn() {
      const answer = await parseCommandLine(args, line);
      assert(typeof answer === "string");
      assertEquals(
        answer.replace(/^producer \d+\.\d+\.\d+ /, "producer X "),
        `producer X (Deno ${Deno.version.deno})`,
      );
    },
  });
}

const range = { name: "--from", least: 1, most: 100 };

for (const [text, number] of [["1", 1], ["007", 7], ["100", 100]] as const) {
  Deno.test({
    name: `parseWholeNumber() takes ${text}`,
    permissions: "none",
    fn: () => assertEquals(parseWholeNumber(text, range), number),
  });
}

for (
  const text of [
    ...["", "0", "101", "-1", "+1", "80.5", "abc", "0x10", "1e2", " 1", "1\n", "１", "Infinity"],
    ...["NaN", "99999999999999999999"],
  ]
) {
  Deno.test({
    name: `parseWholeNumber() refuses ${JSON.stringify(text)} with exit code 2`,
    permissions: "none",
    fn() {
      const shown = text === "1\n" ? "1\\u{a}" : text;
      const error = assertThrows(() => parseWholeNumber(text, range), UserError);
      assertEquals(
        [error.message, exitCodeOf(error)],
        [`--from must be a whole number from 1 to 100, got "${shown}"`, 2],
      );
    },
  });
}

Deno.test({
  name: "parseCommandLine() names an argument by the usage, and one that the usage has not as such",
  permissions: "none",
  async fn() {
    const command = { ...line, help: "Usage: worker <ip> [options] -- <command> [args]" };
    assertStringIncludes(await refusal(["a"], command), "producer: <command> is missing\n");
    const nameless = { ...line, help: "Usage: worker" };
    assertStringIncludes(await refusal([], nameless), "producer: an argument is missing\n");
  },
});

Deno.test({
  name: "parseCommandLine() refuses a command behind -- if the program runs none",
  permissions: "none",
  async fn() {
    const without = { ...line, commandRefusal: "runs no commands" };
    for (const args of [["a", "1", "--", "x"], ["a", "1", "--"], ["--", "a", "1"]]) {
      assertEquals(await refusal(args, without), "producer runs no commands");
    }
    assertEquals(await parseCommandLine(["a", "--help", "--", "x"], without), line.help);
  },
});
