/**
 * Code excerpts by name, so that a document cannot show code that is no more. Pure.
 *
 * It relies on `deno fmt`: a declaration ends at the first line of its own indentation that closes
 * it, and a statement has the lines that are indented deeper than its first one. It knows no more of
 * TypeScript than that.
 *
 * @module
 */

const modifiers = "(?:(?:export|default|abstract|async|static|override|protected|private|" +
  "readonly|get|set|declare) )*";

/** The comments that stand for what an excerpt leaves out, by the word that asks for it. */
const elisions = { without: "// option: see appendix", skip: "// ..." };

/** What to leave out: each statement whose first line has the text, with the comments above it. */
export interface Elision {
  /** Why: it belongs to an option, or the document does not explain it. */
  readonly kind: "without" | "skip";
  /** What its first line has. */
  readonly text: string;
}

/** Which part of a declaration to take. */
export interface Cut {
  /** Begin with the first line that has this text; left out: with the comments above it all. */
  readonly from?: string;
  /** End with the statement whose first line has this text; left out: at the declaration's end. */
  readonly to?: string;
  /** What to leave out. */
  readonly elided?: readonly Elision[];
}

/** Code, and where it is from. */
export interface Excerpt {
  /** The lines without their common indentation. */
  readonly text: string;
  /** The number of the first line in its file, from 1. */
  readonly firstLine: number;
  /** The number of the last line in its file. */
  readonly lastLine: number;
}

/** Lines of a file, the first of which is not its first. */
interface Lines {
  readonly lines: readonly string[];
  /** How many lines of the file are before them. */
  readonly before: number;
}

/**
 * Takes a declaration, with the comments right above it, out of a source file; or a part of it.
 *
 * @param symbol the name of a top-level declaration, or `Class.member` (`Class.#member`,
 * `Class.constructor`), or `import.meta.main` for the block under it.
 * @throws {RangeError} if the file declares no such symbol, the end is not found, or a text of the
 * cut is not in it.
 */
export function excerpt(source: string, symbol: string, cut: Cut = {}): Excerpt {
  const whole = find({ lines: source.split("\n"), before: 0 }, symbol);
  const { lines, before } = part(whole, cut);
  const indent = Math.min(
    ...lines.filter((line) => line !== "").map((line) => indentOf(line)),
  );
  return {
    text: elide(lines, cut.elided ?? []).map((line) => line.slice(indent)).join("\n"),
    firstLine: before + 1,
    lastLine: before + lines.length,
  };
}

/**
 * Reads a cut: `from TEXT`, `to TEXT`, and any number of `without TEXT` (what belongs to options)
 * and `skip TEXT` (what the document does not explain).
 *
 * @throws {RangeError} for any other words.
 */
export function parseCut(words: readonly string[]): Cut {
  const ends: { from?: string; to?: string } = {};
  const elided: Elision[] = [];
  for (let i = 0; i < words.length; i += 2) {
    const [word, text] = words.slice(i, i + 2) as [string, string | undefined];
    if (text === undefined || text === "") throw new RangeError(`no text after "${word}"`);
    if (word === "from" || word === "to") ends[word] = text;
    else if (word === "without" || word === "skip") elided.push({ kind: word, text });
    else throw new RangeError(`expected from, to, without or skip, got "${word}"`);
  }
  return { ...ends, elided };
}

function find(file: Lines, symbol: string): Lines {
  if (symbol === "import.meta.main") {
    return declaration(file, /^if \(import\.meta\.main\) \{/, symbol);
  }
  const [owner, member] = symbol.split(".") as [string, string | undefined];
  const topLevel = new RegExp(
    `^${modifiers}(?:function\\*?|class|interface|type|const|let) ${literal(owner)}(?!\\w)`,
  );
  const body = declaration(file, topLevel, symbol);
  if (member === undefined) return body;
  // A method's name is followed by its parameters, a field's by its type or value.
  return declaration(
    body,
    new RegExp(`^  ${modifiers}\\*?${literal(member)}(?:[(<=:?]| =|;)`),
    symbol,
  );
}

function declaration({ lines, before }: Lines, start: RegExp, symbol: string): Lines {
  const first = lines.findIndex((line) => start.test(line));
  if (first === -1) throw new RangeError(`no declaration of ${symbol}`);
  const indent = " ".repeat(indentOf(lines[first] as string));
  const last = end(lines, { first, indent });
  if (last === -1) throw new RangeError(`no end of ${symbol}`);
  const top = topOfComments(lines, first);
  return { lines: lines.slice(top, last + 1), before: before + top };
}

/** The last line of the declaration, or -1. */
function end(
  lines: readonly string[],
  { first, indent }: { readonly first: number; readonly indent: string },
): number {
  const opening = lines[first] as string;
  if (/[;}]$/.test(opening)) return first;
  // `type A =` and its union: the last line is the only one at this depth that ends with `;`.
  const closing = opening.endsWith("=")
    ? new RegExp(`^${indent}  \\S.*;$`)
    : new RegExp(`^${indent}[)}\\]\`].*[;})]$|^${indent}[}\\]]$`);
  return lines.findIndex((line, index) => index > first && closing.test(line));
}

function part({ lines, before }: Lines, { from, to }: Cut): Lines {
  const first = from === undefined ? 0 : lineWith(lines, from, 0);
  const last = to === undefined
    ? lines.length - 1
    : statementEnd(lines, lineWith(lines, to, first));
  return { lines: lines.slice(first, last + 1), before: before + first };
}

function lineWith(lines: readonly string[], text: string, from: number): number {
  const index = lines.findIndex((line, index) => index >= from && line.includes(text));
  if (index === -1) throw new RangeError(`no line with "${text}"`);
  return index;
}

/** The last line of the statement that begins at a line. */
function statementEnd(lines: readonly string[], first: number): number {
  const depth = indentOf(lines[first] as string);
  let last = first;
  for (let index = first + 1; index < lines.length; index++) {
    const line = lines[index] as string;
    if (line === "") continue;
    const isCloser = indentOf(line) === depth && /^ *[)}\]]/.test(line);
    if (indentOf(line) <= depth && !isCloser) break;
    last = index;
  }
  return last;
}

/** Puts one comment in the place of statements that follow each other and are left out. */
function elide(lines: readonly string[], elided: readonly Elision[]): string[] {
  const unused = new Set(elided);
  const kept: string[] = [];
  for (let index = 0; index < lines.length; index++) {
    const line = lines[index] as string;
    const found = isComment(line) ? undefined : elided.find(({ text }) => line.includes(text));
    if (found === undefined) {
      kept.push(line);
      continue;
    }
    unused.delete(found);
    kept.length = topOfComments(kept, kept.length);
    const note = " ".repeat(indentOf(line)) + elisions[found.kind];
    if (kept.findLast((line) => line !== "") === note) kept.length = kept.lastIndexOf(note);
    kept.push(note);
    index = statementEnd(lines, index);
  }
  const [missing] = unused;
  if (missing !== undefined) throw new RangeError(`no statement with "${missing.text}"`);
  return kept;
}

/** The first of the comment lines that are right above a line, or the line itself. */
function topOfComments(lines: readonly string[], index: number): number {
  const notes: readonly string[] = Object.values(elisions);
  let top = index;
  while (
    top > 0 && isComment(lines[top - 1] as string) &&
    !notes.includes((lines[top - 1] as string).trim())
  ) top--;
  return top;
}

function isComment(line: string): boolean {
  return /^ *(?:\/\*\*| \*|\/\/)/.test(line);
}

function indentOf(line: string): number {
  return (/^ */.exec(line) as RegExpExecArray)[0].length;
}

function literal(name: string): string {
  return name.replaceAll(/[$#.]/g, "\\$&");
}
