/**
 * Makes a program's man page out of what its `--help` prints, so that there is one text. Pure.
 *
 * @module
 */

/** What a man page has beside the help. */
export interface ManPageOptions {
  /** The program as the help calls it. */
  readonly program: string;
  /** What it is called when it is installed. */
  readonly installedAs: string;
  /** The project's version. */
  readonly version: string;
  /** The day that the page is of. */
  readonly date: Date;
  /** The installed names of the programs that belong to it. */
  readonly seeAlso: readonly string[];
}

/** What begins a section of the help, and the section's name in a man page. */
const sections: Readonly<Record<string, string>> = {
  "Options": "OPTIONS",
  "Exit codes": "EXIT STATUS",
  "Example": "EXAMPLES",
};

/** A row of a list, by its indentation: what is described begins here. */
const rowIndent = "  ";

/**
 * The man page in roff, section 1.
 *
 * Each line of the help gets into it, in the order of the help: the usage becomes the synopsis, the
 * first sentence also the description of the name, what is indented a list.
 *
 * @param help begins with `Usage: <program> …`.
 * @throws {Error} the help is none.
 */
export function manPage(help: string, options: ManPageOptions): string {
  const { installedAs: name, version, program } = options;
  const [usage = "", ...lines] = help.trimEnd().split("\n");
  const summary = lines.find((line) => line !== "");
  if (!usage.startsWith(`Usage: ${program} `) || summary === undefined) {
    throw new Error(`the help of ${program} begins with "${usage}"`);
  }
  const day = options.date.toISOString().slice(0, 10);
  const synopsis = usage.slice(`Usage: ${program} `.length);
  const alike = options.seeAlso.filter((other) => other !== name);
  return [
    `.TH ${name.toUpperCase()} 1 ${day} "${name} ${version}"`,
    ".SH NAME",
    `${roff(name)} \\- ${roff(asPhrase(summary))}`,
    ".SH SYNOPSIS",
    `.B ${roff(name)}`,
    roff(synopsis),
    ".SH DESCRIPTION",
    ...body(lines, (line) => line.replaceAll(`: ${program} `, `: ${name} `)),
    ".SH NOTES",
    `In its own messages the program is called ${roff(program)}.`,
    ".SH SEE ALSO",
    ...alike.map((other, i) => `.BR ${roff(other)} (1)${i < alike.length - 1 ? "," : ""}`),
    "",
  ].join("\n");
}

/** The lines behind the usage: sections, paragraphs and lists. */
function body(lines: readonly string[], rename: (line: string) => string): string[] {
  const out: string[] = [];
  let column: number | undefined;
  for (const line of lines) {
    if (line === "") {
      column = undefined;
      if (out.length > 0) out.push(".PP");
      continue;
    }
    if (line.startsWith(rowIndent)) {
      column ??= /^ {2}\S.*? {2,}(?=\S)/.exec(line)?.[0].length ?? line.length;
      const [term, text] = [line.slice(0, column).trim(), line.slice(column).trim()];
      if (term !== "") out.push(".TP", `.B ${roff(term)}`);
      if (text !== "") out.push(roff(text));
      continue;
    }
    const [, word = "", rest = ""] = /^([^:]+):(?: (.*))?$/.exec(rename(line)) ?? [];
    const section = sections[word];
    if (section === undefined) out.push(roff(line));
    else out.push(`.SH ${section}`, ...rest === "" ? [] : [roff(rest)]);
  }
  // A blank line in front of a section is the section's own.
  return out.filter((line, i) => line !== ".PP" || !/^\.(?:SH|TP)/.test(out[i + 1] ?? ".SH"));
}

/** Text as roff takes it literally. */
function roff(text: string): string {
  const escaped = text.replaceAll("\\", "\\e").replaceAll("-", "\\-");
  return /^[.']/.test(escaped) ? `\\&${escaped}` : escaped;
}

/** A sentence's first line as the phrase that stands behind a name. */
function asPhrase(sentence: string): string {
  return (sentence.charAt(0).toLowerCase() + sentence.slice(1)).replace(/\..*$/, "");
}
