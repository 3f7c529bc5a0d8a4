import { assertEquals, assertThrows } from "@std/assert";
import { excerpt } from "../../tools/report/excerpt.ts";

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
      const lines = excerpt(source, symbol).split("\n");
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
