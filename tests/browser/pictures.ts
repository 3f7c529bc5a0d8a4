/**
 * Takes the README's pictures of the page, light and dark: of a real server with real peers.
 *
 * ```sh
 * deno task pictures
 * ```
 *
 * @module
 */

import { pause } from "../lab/deadline.ts";
import {
  denoRun,
  projectFolder,
  ScratchFolder,
  type ServerProgram,
  startConsumer,
  startProducer,
} from "../lab/processes.ts";
import { startPageServer, TestBrowser } from "./browser.ts";

/** How long the queue is at work before it is pictured: then its charts have something to tell. */
const workMs = 150_000;

/** How much there is to see, in pixels. */
const size = { width: 1280, height: 1290 };

/** How long the page has to draw itself, in milliseconds. */
const drawMs = 3000;

async function takePictures(): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const scratch = stack.use(new ScratchFolder());
  const { server, address } = stack.use(await startPageServer({ args: ["--quiet"] }));
  await prepareBuried(server);
  for (let i = 0; i < 6; i++) stack.use(startConsumer(denoRun, server.consumerPort));
  const taskFile = await scratch.write("tasks.txt", await repeated("examples/lively.txt", 4));
  stack.use(startProducer(denoRun, server.producerPort, taskFile));
  await pause(workMs);
  const browser = stack.use(await TestBrowser.launch());
  for (const theme of ["light", "dark"] as const) {
    const page = await browser.open(address, { theme, width: size.width });
    await page.setViewportSize(size);
    await page.locator("tbody tr").first().waitFor();
    await pause(drawMs);
    const path = `${projectFolder}docs/figures/page_${theme}.png`;
    await page.screenshot({ path, fullPage: true });
    console.log(path);
  }
}

/** Buries two tasks: a picture without one would not show what can be done about it. */
async function prepareBuried(server: ServerProgram): Promise<void> {
  await using producer = await server.producer();
  await using consumer = await server.consumer();
  for (const name of ["invoice-0", "backup-0"]) {
    await producer.ask(`CREATE 2 ${name} 2.0\nSCHEDULE 900 3 later-${name} 4.0\nSYNC`);
    await consumer.ask("RESERVE");
    await consumer.ask(`BURY ${name}\nSYNC`);
  }
}

/** A task file several times in a row, a minute apart, its work a little more each time. */
async function repeated(path: string, times: number): Promise<string> {
  const lines = (await Deno.readTextFile(projectFolder + path)).trim().split("\n");
  return Array.from({ length: times }, (_, round) =>
    lines.map((line) => {
      const [time, priority, name, duration] = line.split(" ");
      const longer = (Number(duration) * (1.6 + 0.2 * round)).toFixed(1);
      return `${(Number(time) + 60 * round).toFixed(1)} ${priority} ${name} ${longer}\n`;
    })).flat().join("");
}

if (import.meta.main) await takePictures();
