import { assert, assertEquals } from "@std/assert";
import { parseTaskFile, TaskFileParser, type TimedTask } from "../../lib/core/task_file.ts";

function parse(text: string): readonly TimedTask[] | readonly string[] {
  const file = parseTaskFile(new TextEncoder().encode(text), "tasks.txt");
  return "errors" in file ? file.errors : file.tasks;
}

const task1: TimedTask = { timestampSeconds: 0, priority: 3, taskId: "task1", duration: "3.0" };
const task2: TimedTask = { timestampSeconds: 2, priority: 1, taskId: "task2", duration: "007.5" };

const files: readonly (readonly [what: string, text: string, tasks: readonly TimedTask[]])[] = [
  ["no line", "", []],
  ["blank lines alone", "\n \t\n\r\n", []],
  ["LF ends", "0.0 3 task1 3.0\n2 1 task2 007.5\n", [task1, task2]],
  ["CRLF ends", "0.0 3 task1 3.0\r\n2 1 task2 007.5\r\n", [task1, task2]],
  ["no end at the last line", "0.0 3 task1 3.0\n2 1 task2 007.5", [task1, task2]],
  ["tabs, runs of blanks, blank lines", "\t0  3\ttask1 \t3.0 \n\n 2 1 task2 007.5\n", [
    task1,
    task2,
  ]],
  ["a payload behind the duration, blanks and all", '0 3 task1 3.0 \t{"path": "a  b"} \r\n', [
    { ...task1, payload: '{"path": "a  b"}' },
  ]],
  ["lines that are not sorted", "2 1 task2 007.5\n0 3 task1 3.0\n", [task1, task2]],
];

for (const [what, text, tasks] of files) {
  Deno.test({
    name: `parseTaskFile() takes ${what}`,
    permissions: "none",
    fn() {
      assertEquals(parse(text), tasks);
    },
  });
}

Deno.test({
  name: "parseTaskFile() keeps the file's order within a timestamp, however it is written",
  permissions: "none",
  fn() {
    const tasks = parse("1 3 a 1\n0 3 b 1\n1.0 1 c 1\n01 2 d 1\n0.5 3 e 1\n") as TimedTask[];
    assertEquals(tasks.map((task) => task.taskId), ["b", "e", "a", "c", "d"]);
  },
});

const wrongLines: readonly (readonly [line: string, error: string])[] = [
  ["0 high a 1", 'priority must be 1, 2 or 3, got "high"'],
  [
    "-1 3 a 1",
    'timestamp must be seconds as digits with an optional fraction, at most 9 digits each, such as 3 or 0.25, got "-1"',
  ],
  [
    "0 3 a 1e3",
    'duration must be seconds as digits with an optional fraction, at most 9 digits each, such as 3 or 0.25, got "1e3"',
  ],
  ["0 3 a\rb 1", 'task_id must have no control or format characters, got "a\\u{d}b"'],
  ["0 3 a", 'expected "timestamp priority task_id duration", got 3 fields: "0 3 a"'],
  [
    "0 3 a 1 # comment",
    'expected "timestamp priority task_id duration", got 6 fields: "0 3 a 1 # comment"',
  ],
  [
    "0 3 a 1 extra",
    'expected "timestamp priority task_id duration", got 5 fields: "0 3 a 1 extra"',
  ],
  ["0 3 a 1 {extra", 'payload must be one JSON object or array, got "{extra"'],
  ["# comment", 'expected "timestamp priority task_id duration", got 2 fields: "# comment"'],
  [
    "2.6999999999999997 3 a 1",
    "timestamp must be seconds as digits with an optional fraction, at most 9 digits each, " +
    'such as 3 or 0.25, got "2.6999999999999997"',
  ],
  [
    "\ufeff0 3 a 1",
    "timestamp must be seconds as digits with an optional fraction, at most 9 digits each, such as 3 or 0.25, " +
    'got "\\u{feff}0"',
  ],
];

for (const [line, error] of wrongLines) {
  Deno.test({
    name: `parseTaskFile() says where and what is wrong with ${JSON.stringify(line)}`,
    permissions: "none",
    fn() {
      assertEquals(parse(line), [`tasks.txt:1: ${error}`]);
    },
  });
}

Deno.test({
  name: "parseTaskFile() lists every wrong line by its number in the file, and no task",
  permissions: "none",
  fn() {
    assertEquals(parse("\n0 9 a 1\r\n0 3 good 1\n\n0 4 b 1\n"), [
      'tasks.txt:2: priority must be 1, 2 or 3, got "9"',
      'tasks.txt:5: priority must be 1, 2 or 3, got "4"',
    ]);
  },
});

Deno.test({
  name: "parseTaskFile() lists 20 errors and counts the rest",
  permissions: "none",
  fn() {
    const all20 = parse("0 9 a 1\n".repeat(20));
    assertEquals([all20.length, all20.at(-1)], [
      20,
      'tasks.txt:20: priority must be 1, 2 or 3, got "9"',
    ]);
    const first20 = parse("0 9 a 1\n".repeat(1020));
    assertEquals([first20.length, first20.at(-1)], [
      21,
      "tasks.txt: 1000 more lines with errors",
    ]);
  },
});

Deno.test({
  name: "parseTaskFile() refuses bytes that are not UTF-8 in one line",
  permissions: "none",
  fn() {
    assertEquals(parseTaskFile(new Uint8Array([0x30, 0xff, 0x0a]), "photo.jpg"), {
      errors: ["photo.jpg: not a text file: it must be valid UTF-8"],
    });
  },
});

Deno.test({
  name: "TaskFileParser finds the same, wherever the file is cut",
  permissions: "none",
  fn() {
    const bytes = new TextEncoder().encode("1 1 작업 1\r\n\n0 2 b😀 2\n0 3 c 3");
    const whole = parseTaskFile(bytes, "tasks.txt");
    assert("tasks" in whole);
    assertEquals(whole.tasks.map((task) => task.taskId), ["b😀", "c", "작업"]);
    for (let cut = 0; cut <= bytes.length; cut++) {
      const parser = new TaskFileParser("tasks.txt");
      parser.add(bytes.subarray(0, cut));
      parser.add(bytes.subarray(cut));
      assertEquals(parser.finish(), whole, `cut at ${cut}`);
    }
  },
});

Deno.test({
  name: "TaskFileParser names a line that is too long, and keeps none of it",
  permissions: "none",
  fn() {
    const parser = new TaskFileParser("tasks.txt");
    const piece = new Uint8Array(1024 * 1024).fill(0x78);
    parser.add(new TextEncoder().encode("0 1 a 1\n"));
    for (let i = 0; i < 32; i++) parser.add(piece);
    parser.add(new TextEncoder().encode("\n0 9 b 1\n"));
    assertEquals(parser.finish(), {
      errors: [
        "tasks.txt:2: a line must have at most 16384 characters",
        'tasks.txt:3: priority must be 1, 2 or 3, got "9"',
      ],
    });
  },
});

Deno.test({
  name: "parseTaskFile() refuses a file that ends within a character",
  permissions: "none",
  fn() {
    const bytes = new TextEncoder().encode("0 1 작 1\n0 1 작").slice(0, -1);
    assertEquals(parseTaskFile(bytes, "a"), {
      errors: ["a: not a text file: it must be valid UTF-8"],
    });
  },
});

Deno.test({
  name: "parseTaskFile() takes 1,000,000 lines",
  permissions: "none",
  fn() {
    const file = parseTaskFile(
      new TextEncoder().encode("1 2 task 0.5\n".repeat(1_000_000)),
      "tasks.txt",
    );
    assert("tasks" in file);
    assertEquals(file.tasks.length, 1_000_000);
  },
});
