/**
 * A real browser on the real server's page.
 *
 * @module
 */

import axe from "axe-core";
import { type Browser, chromium, type Page } from "playwright-core";
import { denoRun, denoRunWithFiles, type ServerProgram, startServer } from "../lab/processes.ts";

/** Where Debian puts its browser. */
const path = "/usr/bin/chromium";

/** Why tests in a browser cannot run here, if they cannot. */
export const noBrowser: string | undefined = await isThere()
  ? undefined
  : "no chromium: apt-get install -y --no-install-recommends chromium";

async function isThere(): Promise<boolean> {
  try {
    return (await Deno.stat(path)).isFile;
  } catch {
    return false;
  }
}

/** How someone looks at the page. */
export interface Look {
  /** The theme of their system. */
  readonly theme: "light" | "dark";
  /** How wide their window is, in pixels. */
  readonly width: number;
}

/** Every theme and width that the page is drawn for. */
export const looks: readonly Look[] = [
  { theme: "light", width: 1280 },
  { theme: "dark", width: 1280 },
  { theme: "light", width: 390 },
  { theme: "dark", width: 390 },
];

/** A browser that ends with the scope in which it was started. */
export class TestBrowser implements AsyncDisposable {
  readonly #browser: Browser;
  /** What pages wrote to their consoles, errors and breaches of the policy too. */
  readonly messages: string[] = [];

  private constructor(browser: Browser) {
    this.#browser = browser;
  }

  /**
   * Starts one.
   *
   * @param args more arguments of its command line.
   */
  static async launch(...args: string[]): Promise<TestBrowser> {
    // Root has no sandbox, and containers have little shared memory.
    const standard = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"];
    const browser = await chromium.launch({ executablePath: path, args: [...standard, ...args] });
    return new TestBrowser(browser);
  }

  /**
   * Opens a page, and waits for its document.
   *
   * @param options.moves whether the reader's system lets pages move.
   */
  async open(
    address: string,
    { theme, width }: Look = { theme: "light", width: 1280 },
    { moves = false }: { readonly moves?: boolean } = {},
  ) {
    const page = await this.#browser.newPage({
      viewport: { width, height: 900 },
      colorScheme: theme,
      reducedMotion: moves ? "no-preference" : "reduce",
    });
    page.on("console", (message) => this.messages.push(message.text()));
    page.on("pageerror", (error) => this.messages.push(error.message));
    await page.goto(address);
    return page;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#browser.close();
  }
}

/** A server with a page. */
export interface PageServer extends AsyncDisposable {
  /** Its process. */
  readonly server: ServerProgram;
  /** The page's address, with a slash at its end. */
  readonly address: string;
}

/** Starts a server with a page, by default on free ports. */
export async function startPageServer(
  options: {
    readonly ports?: readonly [number, number];
    readonly httpPort?: number;
    readonly args?: readonly string[];
    /** The file that keeps its tasks. */
    readonly store?: string;
  } = {},
): Promise<PageServer> {
  const { ports, httpPort = 0, args = [], store } = options;
  const server = await startServer(store === undefined ? denoRun : denoRunWithFiles, {
    ...ports === undefined ? {} : { ports },
    args: ["--http", `127.0.0.1:${httpPort}`, ...store ? ["--store", store] : [], ...args],
  });
  try {
    const { text } = await server.stderr.line(/^page: /);
    const address = text.slice("page: ".length).trim();
    return { server, address, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
  } catch (error) {
    await server[Symbol.asyncDispose]();
    throw error;
  }
}

/** What axe finds wrong with a page: rule and place. */
export async function violationsOf(page: Page): Promise<string[]> {
  await page.evaluate(axe.source);
  const found = await page.evaluate('axe.run({ resultTypes: ["violations"] })') as axe.AxeResults;
  return found.violations.flatMap(({ id, nodes }) =>
    nodes.map(({ target, failureSummary }) => `${id}: ${target.join(" ")}: ${failureSummary}`)
  );
}

/** By how many pixels a page is wider than its window. */
export async function sidewaysPixels(page: Page): Promise<number> {
  return await page.evaluate("document.documentElement.scrollWidth - innerWidth") as number;
}

/** The text of the element that a selector finds. */
export async function textOf(page: Page, selector: string): Promise<string> {
  return (await page.locator(selector).innerText()).trim();
}

/** Waits until an element has a text, or one that a pattern finds. */
export async function untilText(
  page: Page,
  selector: string,
  text: string | RegExp,
): Promise<void> {
  await page.locator(selector).filter({ hasText: text }).first().waitFor();
}
