/**
 * Numbers as people read them. Pure: no document.
 *
 * @module
 */

/** What each priority is called, the most urgent first. */
export const priorityNames = Object.freeze(["High", "Medium", "Low"]);

const grouped = new Intl.NumberFormat("en");

/**
 * A whole number with its thousands apart: `12,369`.
 *
 * @param {number} number
 * @returns {string}
 */
export function count(number) {
  return grouped.format(Math.round(number));
}

/**
 * A number in at most five characters, for an axis: `950`, `12 k`, `1.5 M`.
 *
 * @param {number} number
 * @returns {string}
 */
export function shortCount(number) {
  if (number >= 999_500) return `${Number((number / 1e6).toFixed(1))} M`;
  if (number >= 10_000) return `${Math.round(number / 1000)} k`;
  return grouped.format(Number(number.toFixed(1)));
}

/**
 * How much per second: with a decimal below ten, if it has one to show.
 *
 * @param {number} perSecond
 * @returns {string}
 */
export function rate(perSecond) {
  return perSecond < 9.95 ? perSecond.toFixed(1) : count(perSecond);
}

/** Units of time with their seconds, and with the unit that is said beside them. */
const units = /** @type {const} */ ([
  [86_400, "d", 3600, "h"],
  [3600, "h", 60, "min"],
  [60, "min", 1, "s"],
]);

/**
 * A duration in its two largest units: `0.4 s`, `12 s`, `3 min 48 s`, `2 h 31 min`, `10 d 20 h`.
 *
 * @param {number} seconds a negative one counts as none.
 * @returns {string}
 */
export function duration(seconds) {
  const left = Math.max(0, seconds);
  if (left < 9.95) return `${left.toFixed(1)} s`;
  const whole = Math.round(left);
  for (const [size, name, smallSize, smallName] of units) {
    if (whole < size) continue;
    const small = Math.floor((whole % size) / smallSize);
    const large = `${count(Math.floor(whole / size))} ${name}`;
    return small === 0 ? large : `${large} ${small} ${smallName}`;
  }
  return `${whole} s`;
}

/**
 * How many of a thing there are: `1 task`, `3 tasks`.
 *
 * @param {number} number
 * @param {string} one
 * @param {string} [many] its plural, if that is not `one` and an s.
 * @returns {string}
 */
export function counted(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

/**
 * The time of day, as the reader's clock shows it.
 *
 * @param {number} unixSeconds
 * @returns {string}
 */
export function timeOfDay(unixSeconds) {
  return new Date(unixSeconds * 1000).toLocaleTimeString("en-GB");
}

/**
 * The command that leads a program to this server: `./consumer 127.0.0.1 5001`.
 *
 * @param {string} program
 * @param {string} address what the server listens on; 0.0.0.0 means each of its addresses.
 * @param {object} how
 * @param {string} how.hostname by which this reader reached the server.
 * @param {readonly string[]} how.options which the server asks for.
 * @returns {string}
 */
export function clientCommand(program, address, { hostname, options }) {
  const colon = address.lastIndexOf(":");
  const ip = address.slice(0, colon);
  const host = ip === "0.0.0.0" ? hostname : ip;
  return [`./${program}`, host, address.slice(colon + 1), ...options].join(" ");
}

/**
 * A text cut to a number of characters, with an ellipsis if something is missing.
 *
 * @param {string} text
 * @param {number} most
 * @returns {string}
 */
export function cut(text, most) {
  const characters = Array.from(text);
  return characters.length <= most ? text : `${characters.slice(0, most - 1).join("")}…`;
}
