/**
 * A real terminal window with panes, by tmux: types, waits, and takes pictures of what is there.
 *
 * @module
 */

import { sleep } from "../../lib/clock.ts";
import { UserError } from "../../lib/user_error.ts";
import { runCommand } from "../tool.ts";

/** How long a pane may take to show what it should, in milliseconds: tasks take seconds. */
const showLimitMs = 60_000;

/** How often a pane is looked at, in milliseconds. */
const lookMs = 40;

/** What a pane shows, and where it is in its window, in characters. */
export interface PaneView {
  /** What stands above it. */
  readonly title: string;
  /** Columns to its left. */
  readonly left: number;
  /** Rows above it. */
  readonly top: number;
  /** Its columns. */
  readonly width: number;
  /** Its rows. */
  readonly height: number;
  /** Its lines, with their SGR sequences (colours, bold). */
  readonly lines: readonly string[];
}

/** One pane: a shell. */
export class Pane {
  readonly #tmux: (...args: string[]) => Promise<string>;
  /** What tmux calls it. */
  readonly id: string;
  /** What stands above it. */
  readonly title: string;

  /** For {@linkcode TerminalWindow} alone. */
  constructor(tmux: (...args: string[]) => Promise<string>, id: string, title: string) {
    this.#tmux = tmux;
    this.id = id;
    this.title = title;
  }

  /** Types text, as a user would. */
  async type(text: string): Promise<void> {
    await this.#tmux("send-keys", "-t", this.id, "-l", "--", text);
  }

  /** Presses a key by tmux's name for it: `Enter`, `C-c`. */
  async press(key: string): Promise<void> {
    await this.#tmux("send-keys", "-t", this.id, key);
  }

  /** Types a command and starts it. */
  async run(command: string): Promise<void> {
    await this.type(command);
    await this.press("Enter");
  }

  /** Types a command, and waits until the shell asks for the next one. */
  async finish(command: string): Promise<void> {
    const before = countPrompts(await this.text());
    await this.run(command);
    await this.until((text) => countPrompts(text) > before && /(?:^|\n)\$ *$/.test(text), command);
  }

  /**
   * Waits until the pane shows something.
   *
   * @throws {UserError} with what it shows instead, after a minute.
   */
  async shows(pattern: RegExp): Promise<void> {
    await this.until((text) => pattern.test(text), String(pattern));
  }

  /** Waits until what the pane shows is right; `what` is said where it does not become so. */
  async until(isRight: (text: string) => boolean, what: string): Promise<void> {
    const deadline = performance.now() + showLimitMs;
    let text = await this.text();
    while (!isRight(text)) {
      if (performance.now() > deadline) {
        throw new UserError(`Pane "${this.title}" never came to ${what}. It shows:\n${text}`);
      }
      await sleep(lookMs);
      text = await this.text();
    }
  }

  /** Its text, all that it has shown: lines that wrapped are joined, blank ends cut. */
  async text(): Promise<string> {
    const text = await this.#tmux("capture-pane", "-p", "-J", "-S", "-", "-t", this.id);
    return text.split("\n").map((line) => line.trimEnd()).join("\n").trimEnd();
  }
}

function countPrompts(text: string): number {
  return text.match(/^\$/gm)?.length ?? 0;
}

/** One window of a tmux server of its own. */
export class TerminalWindow implements AsyncDisposable {
  readonly #socket: string;
  readonly #panes: Pane[] = [];
  readonly #tmux = async (...args: string[]): Promise<string> =>
    await runCommand("tmux", { args: ["-u", "-L", this.#socket, "-f", "/dev/null", ...args] });
  readonly #folder: string;

  private constructor(socket: string, folder: string) {
    this.#socket = socket;
    this.#folder = folder;
  }

  /** Opens a window with one pane. `folder` is where its shells are. */
  static async open(
    title: string,
    options: { readonly folder: string; readonly columns: number; readonly rows: number },
  ): Promise<[TerminalWindow, Pane]> {
    const window = new TerminalWindow(`snapshot-${crypto.randomUUID()}`, options.folder);
    const size = ["-x", String(options.columns), "-y", String(options.rows)];
    const pane = await window.#add(title, ["new-session", "-d", ...size]);
    await window.#tmux("set-option", "-g", "status", "off");
    await window.#tmux("set-option", "-g", "escape-time", "0");
    return [window, pane];
  }

  /** Splits a pane: the new one is below it, or to its right, and has so many rows or columns. */
  async split(
    pane: Pane,
    options: {
      readonly title: string;
      readonly where: "below" | "right";
      readonly size: number;
    },
  ): Promise<Pane> {
    const direction = options.where === "below" ? "-v" : "-h";
    const size = ["-l", String(options.size)];
    return await this.#add(options.title, ["split-window", direction, ...size, "-t", pane.id]);
  }

  /** What every pane shows now. */
  async view(): Promise<PaneView[]> {
    const format = "#{pane_left} #{pane_top} #{pane_width} #{pane_height}";
    return await Promise.all(this.#panes.map(async ({ id, title }) => {
      const geometry = await this.#tmux("display-message", "-p", "-t", id, format);
      const [left, top, width, height] = geometry.trim().split(" ").map(Number) as [
        number,
        number,
        number,
        number,
      ];
      const lines = (await this.#tmux("capture-pane", "-e", "-p", "-t", id)).split("\n");
      return { title, left, top, width, height, lines };
    }));
  }

  /** Closes the window and ends what runs in it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#tmux("kill-server");
  }

  async #add(title: string, how: readonly string[]): Promise<Pane> {
    const shell = [
      "env",
      "-i",
      "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
      "TERM=screen",
      "LANG=C.UTF-8",
      "PS1=\\[\\e[1;32m\\]$\\[\\e[0m\\] ",
      "bash",
      "--norc",
      "--noprofile",
    ];
    const where = ["-P", "-F", "#{pane_id}", "-c", this.#folder];
    const id = await this.#tmux(...how, ...where, ...shell);
    const pane = new Pane(this.#tmux, id.trim(), title);
    this.#panes.push(pane);
    await pane.shows(/^\$/m);
    return pane;
  }
}
