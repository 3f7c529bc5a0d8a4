/**
 * The operator's page: its files as they are, and the same in text for a terminal.
 *
 * @module
 */

import { counted } from "../counted.ts";
import { escape } from "../quote.ts";
import type { Listed, Silence } from "../core/inspection.ts";
import { taskOf } from "../core/reservations.ts";
import { priorities } from "../core/task.ts";
import type { ConsumerStatus } from "../server/status.ts";
import { cutToColumns } from "./cells.ts";
import type { HttpRequest, HttpResponse } from "./message.ts";
import { text } from "./message.ts";
import { drawTimeline } from "./timeline.ts";
import { type Operated, overviewOf, TaskViews, unixSeconds } from "./views.ts";
import actionsJs from "./web/actions.js" with { type: "text" };
import chartJs from "./web/chart.js" with { type: "text" };
import domJs from "./web/dom.js" with { type: "text" };
import feedJs from "./web/feed.js" with { type: "text" };
import formatJs from "./web/format.js" with { type: "text" };
import iconSvg from "./web/icon.svg" with { type: "text" };
import listJs from "./web/list.js" with { type: "text" };
import pageCss from "./web/page.css" with { type: "text" };
import pageHtml from "./web/page.html" with { type: "text" };
import pageJs from "./web/page.js" with { type: "text" };
import tilesJs from "./web/tiles.js" with { type: "text" };
import timelineJs from "./web/timeline.js" with { type: "text" };

/** The page's files as they are written, by path. */
const sources: Readonly<Record<string, string>> = {
  "/": pageHtml,
  "/actions.js": actionsJs,
  "/chart.js": chartJs,
  "/dom.js": domJs,
  "/feed.js": feedJs,
  "/format.js": formatJs,
  "/icon.svg": iconSvg,
  "/list.js": listJs,
  "/page.css": pageCss,
  "/page.js": pageJs,
  "/tiles.js": tilesJs,
  "/timeline.js": timelineJs,
};

const types: Readonly<Record<string, string>> = {
  css: "text/css",
  js: "text/javascript",
  svg: "image/svg+xml",
};

/** What is whose if other servers serve the same tasks. */
const sharedNote = "of all fronts: waiting, delayed, reserved, buried; the rest is of this front";

/** How many columns the text has. */
const columns = 80;

/** How far back the timeline of the text goes, in milliseconds. */
const timelineMs = 60_000;

/** How many rows the timeline, and the list of tasks, have at most. */
const maxRows = 10;

/** A comment on lines of its own. */
const comment = /^[ \t]*(?:\/\/.*|\/\*(?:(?!\*\/)[^])*\*\/)\n/gm;

/** What says the type of a value within a line. */
const cast = /\/\*\* @type \{[^*\n]*\} \*\/ /g;

/** What is sent of a file: not its comments, blanks and types, which are a third of the bytes. */
export function compact(file: string): string {
  return file.replace(comment, "").replace(cast, "").replace(/^\s+/gm, "");
}

/** The page's files as they are sent, each with a mark of what is in it. */
const files: ReadonlyMap<string, { readonly file: string; readonly tag: string }> = new Map(
  Object.entries(sources).map(([path, source]) => {
    const file = compact(source);
    return [path, { file, tag: `"${hashOf(file)}"` }];
  }),
);

/**
 * Has a browser ask for all modules at once, not for each when it has read who imports it; and before
 * them for the styles, without which it draws nothing.
 */
const preloads = [
  "<./page.css>; rel=preload; as=style",
  ...[...files.keys()].filter((path) => path.endsWith(".js"))
    .map((path) => `<.${path}>; rel=modulepreload`),
].join(", ");

/** A file of the page; undefined if there is none of that path. */
export function fileResponse(request: HttpRequest, path: string): HttpResponse | undefined {
  const found = files.get(path);
  if (found === undefined) return undefined;
  const { file, tag } = found;
  const type = types[path.split(".")[1] ?? ""] ?? "text/html";
  const headers = {
    "Content-Type": `${type}; charset=utf-8`,
    "Cache-Control": "no-cache",
    "ETag": tag,
    ...path === "/" ? { "Link": preloads } : {},
  };
  const isKnown = request.header("if-none-match") === headers.ETag;
  return isKnown ? { status: 304, headers, body: "" } : { status: 200, headers, body: file };
}

/** The state of the queue as text, for `curl` and `watch`. */
export async function textPage(operated: Operated): Promise<HttpResponse> {
  const { inspection, server } = operated;
  const listing = { wanted: priorities, skip: 0, limit: maxRows };
  const listed = await new Promise<Listed | Silence>((resolve) =>
    inspection.afterAll(() => inspection.list("waiting", listing, resolve))
  );
  const next = listed === "no answer" ? [] : listed.tasks;
  const overview = overviewOf(operated);
  const perPriority = (of: (index: number) => string | number) =>
    priorities.map((_, index) => String(of(index)).padStart(12)).join("");
  const age = (seconds: number | null | undefined) =>
    seconds == null ? "-" : `${seconds.toFixed(1)} s`;
  const notes = [
    overview.paused.creates ? ["creates are paused: producers wait"] : [],
    overview.paused.requests ? ["requests are paused: consumers get no task"] : [],
    overview.store === "full" ? ["the store is full: new tasks are refused"] : [],
    overview.store === "silent" ? ["what keeps the tasks does not answer: clients wait"] : [],
    inspection.isShared ? [sharedNote] : [],
  ].flat();
  const views = new TaskViews(operated);
  const lines = [
    `task queue ${server.version}   producers ${server.producers}   consumers ${server.consumers}`,
    ...notes,
    "",
    `priority        ${perPriority((index) => index + 1)}`,
    `waiting         ${perPriority((index) => overview.waiting[index] ?? 0)}`,
    `oldest          ${perPriority((index) => age(overview.oldestAgeSeconds[index]))}`,
    `created         ${perPriority((index) => overview.created[index] ?? 0)}`,
    `handed out      ${perPriority((index) => overview.handedOut[index] ?? 0)}`,
    "",
    `${overview.working} of ${overview.consumers} consumers at work, ${overview.producers} producers; ` +
    `delayed ${overview.delayed}, reserved ${overview.reserved}, buried ${overview.buried}`,
    `${age(overview.workSeconds)} of work waits, done in ${age(overview.drainedInSeconds)}`,
    "",
    timelineOf(operated),
    "",
    next.length === 0 ? "nothing waits" : "next:",
    ...next.map((one) => {
      const { position, priority, taskId, duration, ageSeconds } = views.of(one);
      const start = `${String(position).padStart(4)}  ${priority}  `;
      const end = ` ${duration}, waits ${age(ageSeconds)}`;
      return start + cutToColumns(escape(taskId), columns - start.length - end.length) + end;
    }),
  ];
  return text(lines.map((line) => line.trimEnd()).join("\n") + "\n");
}

function timelineOf(operated: Operated): string {
  const { status } = operated;
  const endMs = status.look();
  const startMs = endMs - timelineMs;
  const bars = status.barsSince(0).filter((bar) => bar.endMs > startMs);
  const connected = new Map(status.consumers.map((one) => [one.number, one]));
  // Those that have left have rows as well; if there are too many, those that worked last.
  const all = new Set([
    ...connected.values().filter(({ held }) => held.length > 0).map(({ number }) => number),
    ...bars.toReversed().map(({ consumer }) => consumer),
    ...connected.keys(),
  ]);
  const numbers = [...all].slice(0, maxRows).sort((a, b) => a - b);
  const rows = numbers.map((number) => ({
    name: `consumer${number}`,
    bars: [
      ...bars.filter(({ consumer }) => consumer === number),
      ...barAtWork(connected.get(number), endMs),
    ].map((bar) => ({
      label: escape(bar.taskId),
      priority: bar.priority,
      startMs: Math.max(startMs, bar.startMs),
      endMs: bar.endMs,
    })),
  }));
  const firstMs = Math.min(...rows.flatMap((row) => row.bars.map((bar) => bar.startMs)), endMs);
  const from = new Date(1000 * unixSeconds(operated, firstMs)).toISOString().slice(11, 19);
  const more = all.size - numbers.length;
  return [
    `work of the last minute, from ${from} UTC`,
    drawTimeline(rows, { width: columns }),
    ...more === 0 ? [] : [`and ${counted(more, "more consumer")}`],
  ].join("\n");
}

/** The bar of what a consumer works on now, if it is connected and does. */
function barAtWork(consumer: ConsumerStatus | undefined, endMs: number) {
  const first = consumer?.held[0];
  if (consumer === undefined || first === undefined) return [];
  return [{ ...taskOf(first), startMs: consumer.sinceMs, endMs }];
}

/** 32-bit FNV-1a, as hexadecimal digits. */
function hashOf(file: string): string {
  let hash = 0x811c9dc5;
  for (let i = 0; i < file.length; i++) hash = Math.imul(hash ^ file.charCodeAt(i), 0x01000193);
  return (hash >>> 0).toString(16);
}
