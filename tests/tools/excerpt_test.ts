import { assertEquals, assertThrows } from "@std/assert";
import { type Cut, excerpt, parseCut } from "../../tools/report/excerpt.ts";

const source = `import { a } from "../a.ts";

/** A limit. */
const limit = 10;

/** One of two. */
export type Either =
  | { readonly kind: "left"; readonly value: string }
  | { readonly kind: "right" };

// Said once.
async function work(
  first: string,
  { second }: { readonly second: number },
): Promise<void> {
  if (second > limit) {
    await go(first);
  }
}

/** Works. */
export class Worker<T> {
  readonly #items: T[] = [];

  /** Makes one. */
  constructor(items: T[]) {
    this.#items = items;
  }

  /** Its size. */
  get size(): number {
    return this.#items.length;
  }

  async #run<R>(
    action: () => Promise<R>,
  ): Promise<R | undefined> {
    return await this.size > 0 ? action() : undefined;
  }
}

if (import.meta.main) {
  await work("a", { second: 1 });
}
`;

const excerpts: readonly [symbol: string, first: string, last: string, lines: number][] = [
  ["limit", "/** A limit. */", "const limit = 10;", 2],
  ["Either", "/** One of two. */", '  | { readonly kind: "right" };', 4],
  ["work", "// Said once.", "}", 9],
  ["Worker.constructor", "/** Makes one. */", "}", 4],
  ["Worker.size", "/** Its size. */", "}", 4],
  ["Worker.#run", "async #run<R>(", "}", 5],
  ["Worker", "/** Works. */", "}", 20],
  ["import.meta.main", "if (import.meta.main) {", "}", 3],
];

for (const [symbol, first, last, count] of excerpts) {
  Deno.test({
    name: `excerpt() takes ${symbol} from its comment to its end`,
    permissions: "none",
    fn() {
      const lines = excerpt(source, symbol).text.split("\n");
      assertEquals([lines[0], lines.at(-1), lines.length], [first, last, count]);
    },
  });
}

Deno.test({
  name: "excerpt() refuses a symbol that the source does not declare",
  permissions: "none",
  fn() {
    for (const symbol of ["wor", "Worker.run", "Worker.siz", "items", "Other.size"]) {
      assertThrows(() => excerpt(source, symbol), RangeError, "no declaration of");
    }
  },
});

const dialogue = `/** Serves. */
async function serve(): Promise<void> {
  const line = await read();
  if (line === undefined) {
    return;
  }
  // With an option alone.
  if (store !== undefined) {
    await store.keep(line);
  } else if (isSync) {
    await sync();
  }

  const kept = store === undefined
    ? 0
    : store.size;
  answer(line, {
    kept,
  });
  say(line);
  finish();
}
`;

const cuts: readonly [name: string, cut: Cut, text: string, lines: [number, number]][] = [
  [
    "begins at a line and ends with a statement",
    { from: "if (line", to: "if (store" },
    `if (line === undefined) {
  return;
}
// With an option alone.
if (store !== undefined) {
  await store.keep(line);
} else if (isSync) {
  await sync();
}`,
    [4, 12],
  ],
  [
    "puts one comment in the place of neighbours and what is said of them",
    {
      from: "const line",
      to: "answer",
      elided: [{ kind: "without", text: "store" }, { kind: "skip", text: "answer" }],
    },
    `const line = await read();
if (line === undefined) {
  return;
}
// option: see appendix
// ...`,
    [3, 19],
  ],
  [
    "leaves out a statement inside another, and goes to the end",
    {
      from: "if (line",
      elided: [{ kind: "skip", text: "return" }, { kind: "skip", text: "store" }],
    },
    `  if (line === undefined) {
    // ...
  }
  // ...
  answer(line, {
    kept,
  });
  say(line);
  finish();
}`,
    [4, 22],
  ],
];

for (const [name, cut, text, [firstLine, lastLine]] of cuts) {
  Deno.test({
    name: `excerpt() with a cut ${name}`,
    permissions: "none",
    fn() {
      assertEquals(excerpt(dialogue, "serve", cut), { text, firstLine, lastLine });
    },
  });
}

Deno.test({
  name: "excerpt() refuses a cut whose text is not there: the code has changed",
  permissions: "none",
  fn() {
    const wrong: readonly Cut[] = [
      { from: "const text" },
      { to: "const text" },
      { from: "answer", to: "const line" },
      { elided: [{ kind: "without", text: "const text" }] },
      { from: "answer", elided: [{ kind: "skip", text: "const line" }] },
      // What is said of a statement is not the statement.
      { elided: [{ kind: "without", text: "With an option" }] },
    ];
    for (const cut of wrong) {
      assertThrows(() => excerpt(dialogue, "serve", cut), RangeError, "no ");
    }
  },
});

Deno.test({
  name: "parseCut() reads each word and its text, and refuses others",
  permissions: "none",
  fn() {
    assertEquals(
      parseCut(["from", "a b", "to", "c", "without", "d", "skip", "e", "without", "f"]),
      {
        from: "a b",
        to: "c",
        elided: [
          { kind: "without", text: "d" },
          { kind: "skip", text: "e" },
          { kind: "without", text: "f" },
        ],
      },
    );
    assertEquals(parseCut([]), { elided: [] });
    assertThrows(() => parseCut(["from"]), RangeError, 'no text after "from"');
    assertThrows(() => parseCut(["with", "a"]), RangeError, 'got "with"');
  },
});
