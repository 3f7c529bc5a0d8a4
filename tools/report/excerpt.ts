/**
 * Code excerpts by name, so that a document cannot show code that is no more. Pure.
 *
 * It relies on `deno fmt`: a declaration ends at the first line of its own indentation that closes
 * it. It knows no more of TypeScript than that.
 *
 * @module
 */

const modifiers = "(?:(?:export|default|abstract|async|static|override|protected|private|" +
  "readonly|get|set|declare) )*";

/**
 * Takes a declaration, with the comments right above it, out of a source file.
 *
 * @param symbol the name of a top-level declaration, or `Class.member` (`Class.#member`,
 * `Class.constructor`), or `import.meta.main` for the block under it.
 * @returns the lines without their common indentation.
 * @throws {RangeError} where the file declares no such symbol, or the end is not found.
 */
export function excerpt(source: string, symbol: string): string {
  const lines = source.split("\n");
  if (symbol === "import.meta.main") {
    return declaration(lines, /^if \(import\.meta\.main\) \{/, symbol);
  }
  const [owner, member] = symbol.split(".") as [string, string | undefined];
  const topLevel = new RegExp(
    `^${modifiers}(?:function\\*?|class|interface|type|const|let) ${literal(owner)}(?!\\w)`,
  );
  if (member === undefined) return declaration(lines, topLevel, symbol);
  const body = declaration(lines, topLevel, symbol).split("\n");
  // A method's name is followed by its parameters, a field's by its type or value.
  return declaration(
    body,
    new RegExp(`^  ${modifiers}\\*?${literal(member)}(?:[(<=:?]| =|;)`),
    symbol,
  );
}

function declaration(lines: readonly string[], start: RegExp, symbol: string): string {
  const first = lines.findIndex((line) => start.test(line));
  if (first === -1) throw new RangeError(`no declaration of ${symbol}`);
  const indent = /^ */.exec(lines[first] as string)?.[0] ?? "";
  const last = end(lines, { first, indent });
  if (last === -1) throw new RangeError(`no end of ${symbol}`);
  let top = first;
  while (top > 0 && isComment(lines[top - 1] as string, indent)) top--;
  return lines.slice(top, last + 1).map((line) => line.slice(indent.length)).join("\n");
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

function isComment(line: string, indent: string): boolean {
  return line.startsWith(indent) && /^(?:\/\*\*| \*|\/\/)/.test(line.slice(indent.length));
}

function literal(name: string): string {
  return name.replaceAll(/[$#.]/g, "\\$&");
}
