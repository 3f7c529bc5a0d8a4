/**
 * How much room text takes on a terminal.
 *
 * @module
 */

/** What takes two columns: Korean, Chinese and Japanese characters, and emoji. */
const wide = new RegExp(
  "[\\u1100-\\u115f\\u2e80-\\ua4cf\\ua960-\\ua97c\\uac00-\\ud7a3\\uf900-\\ufaff\\ufe30-\\ufe6f" +
    "\\uff00-\\uff60\\uffe0-\\uffe6\\u{20000}-\\u{3fffd}\\p{Emoji_Presentation}]",
  "u",
);

/** What is drawn over the character before it: accents, and the vowels of some scripts. */
const combining = /[\p{Mn}\p{Me}]/u;

/** The columns of a text: each has its character, the second one of a wide character is empty. */
export function cellsOf(text: string): string[] {
  const cells: string[] = [];
  // The column of the last character that has width.
  let last = 0;
  for (const char of text) {
    if (combining.test(char) && cells.length > 0) {
      cells[last] += char;
      continue;
    }
    last = cells.push(char) - 1;
    if (wide.test(char)) cells.push("");
  }
  return cells;
}

/** Cuts a text to so many columns, 1 or more, and shows that by its end. */
export function cutToColumns(text: string, columns: number): string {
  const cells = cellsOf(text);
  if (cells.length <= columns) return text;
  // Half a wide character is none.
  const end = cells[columns - 1] === "" ? columns - 2 : columns - 1;
  return cells.slice(0, end).join("") + "…";
}
