import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
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
  flags: ["sync"],
  options: ["from"],
};

/** What a command line holds, as plain data. */
function parse(...args: string[]): unknown {
  const parsed = parseCommandLine(args, line);
  assert(typeof parsed !== "string", "help or version is not expected");
  const { positionals, flags, options } = parsed;
  return { positionals, flags: [...flags], options: Object.fromEntries(options) };
}

function refusal(run: () => unknown): readonly [message: string, code: number] {
  const error = assertThrows(run, UserError);
  return [error.message, exitCodeOf(error)];
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
  [["a", "1", "--from=007"], { positionals: ["a", "1"], flags: [], options: { from: "007" } }],
];

for (const [args, parsed] of taken) {
  Deno.test({
    name: `parseCommandLine() takes ${args.join(" ")}`,
    permissions: "none",
    fn: () => assertEquals(parse(...args), parsed),
  });
}

const refused: readonly (readonly [args: readonly string[], problem: string])[] = [
  [[], "an argument is missing"],
  [["127.0.0.1"], "an argument is missing"],
  [["a", "1", "b", "c\x1b"], 'unexpected argument "c\\u{1b}"'],
  [["a", "1", "--synch"], 'unknown option "--synch"'],
  [["a", "1", "-x"], 'unknown option "-x"'],
  [["a", "1", "--__proto__"], 'unknown option "--__proto__"'],
  [["a", "1", "--constructor"], 'unknown option "--constructor"'],
  [["a", "-1"], 'a number must not be negative, got "-1"'],
];

for (const [args, problem] of refused) {
  Deno.test({
    name: `parseCommandLine() refuses "${args.join(" ")}" with the usage and exit code 2`,
    permissions: "none",
    fn() {
      assertEquals(refusal(() => parse(...args)), [
        `producer: ${problem}\n` +
        "Usage: producer <ip> <port> [task_file] [options]\nTry producer --help.",
        2,
      ]);
    },
  });
}

for (const args of [["--help"], ["-h"], ["a", "b", "c", "d", "--bad", "-h"], ["-V", "-h"]]) {
  Deno.test({
    name: `parseCommandLine() answers "${args.join(" ")}" with the help`,
    permissions: "none",
    fn: () => assertEquals(parseCommandLine(args, line), line.help),
  });
}

for (const args of [["--version"], ["-V"], ["--bad", "-V", "-1"]]) {
  Deno.test({
    name: `parseCommandLine() answers "${args.join(" ")}" with the version, ours and Deno's`,
    permissions: "none",
    fn() {
      const answer = parseCommandLine(args, line);
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
      assertEquals(refusal(() => parseWholeNumber(text, range)), [
        `--from must be a whole number from 1 to 100, got "${shown}"`,
        2,
      ]);
    },
  });
}

Deno.test("parseCommandLine() refuses a value for a flag that takes none", () => {
  const args = ["127.0.0.1", "5000", "--sync=3"];
  const error = assertThrows(() => parseCommandLine(args, line), UserError);
  assertEquals(exitCodeOf(error), 2);
  assertStringIncludes(error.message, '--sync takes no value, got "--sync=3"');
});

Deno.test("parseCommandLine() refuses an option that lacks its value", () => {
  const args = ["127.0.0.1", "5000", "--from"];
  const error = assertThrows(() => parseCommandLine(args, line), UserError);
  assertEquals(exitCodeOf(error), 2);
  assertStringIncludes(error.message, "--from needs a value");
});
