/**
 * Looks for a schedule that the code under test does not stand, and makes it short. Pure.
 *
 * @module
 */

import { drawSchedule, type Schedule, type Step } from "./schedule.ts";
import { Simulation, type SimulationOptions } from "./simulation.ts";

/** Which schedules are run. */
export interface Search extends SimulationOptions {
  /** Of the first schedule; the next ones count up. */
  readonly seed: number;
  /** How many. */
  readonly schedules: number;
  /** Is told now and then how many are done. */
  readonly progress?: (done: number) => void;
}

/** How often progress is told, in schedules. */
const schedulesPerProgress = 500;

/** Runs schedules. @returns the first one that fails, shortened and told; undefined where none. */
export async function simulate(
  { seed: first, schedules, progress, ...options }: Search,
): Promise<string | undefined> {
  for (let i = 0; i < schedules; i++) {
    const seed = first + i;
    const schedule = drawSchedule(seed);
    if (await findFault(schedule, options) !== undefined) {
      return await explain(await shorten(schedule, options), seed, options);
    }
    if (i % schedulesPerProgress === 0) progress?.(i);
  }
  return undefined;
}

/** Tells a failing schedule, drawn from that seed, as a dialogue. */
async function explain(
  schedule: Schedule,
  seed: number,
  options: SimulationOptions,
): Promise<string> {
  const lines: string[] = [];
  const fault = await findFault(schedule, { ...options, tell: (line) => lines.push(line) });
  return [
    `seed ${seed} fails; the shortest schedule found has ${schedule.steps.length} steps ` +
    `(at most ${schedule.maxTasks} tasks, ${schedule.maxPayloadChars} characters of payloads, ${
      schedule.hasStore ? "with" : "without"
    } a store):`,
    ...foldRepeats(lines).map((line) => `  ${line}`),
    `${fault?.name}: ${fault?.message}`,
  ].join("\n");
}

/** Says of lines that are repeated only how often they are. */
function foldRepeats(lines: readonly string[]): string[] {
  const folded: string[] = [];
  for (let i = 0; i < lines.length;) {
    const line = lines[i] as string;
    const start = i;
    while (lines[i] === line) i++;
    folded.push(i - start === 1 ? line : `${line} (${i - start} times)`);
  }
  return folded;
}

/** Runs a schedule. @returns what went wrong, or undefined. */
export async function findFault(
  schedule: Schedule,
  options: SimulationOptions = {},
): Promise<Error | undefined> {
  try {
    await new Simulation(schedule, options).run();
    return undefined;
  } catch (error) {
    // Whatever the code under test throws is what is looked for.
    return error instanceof Error ? error : new Error(String(error));
  }
}

/**
 * Shortens a schedule that fails: cuts its end off, then leaves out ever smaller runs of steps, for
 * as long as it still fails (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing
 * Input", 2002).
 */
export async function shorten(
  schedule: Schedule,
  options: SimulationOptions = {},
): Promise<Schedule> {
  let shortest = schedule;
  const tryWith = async (steps: readonly Step[]): Promise<boolean> => {
    const candidate = { ...shortest, steps };
    if (await findFault(candidate, options) === undefined) return false;
    shortest = candidate;
    return true;
  };
  for (let size = shortest.steps.length >> 1; size >= 1;) {
    let hasShortened = false;
    for (let end = shortest.steps.length; end > 0; end -= size) {
      const start = Math.max(0, end - size);
      const steps = shortest.steps.toSpliced(start, Math.min(size, end));
      if (await tryWith(steps)) hasShortened = true;
    }
    for (const [index, step] of size === 1 ? shortest.steps.entries() : []) {
      if (step.do === "send" && await shortenSend(shortest, index, tryWith)) hasShortened = true;
    }
    if (!hasShortened || size > 1) size >>= 1;
  }
  return shortest;
}

async function shortenSend(
  schedule: Schedule,
  index: number,
  tryWith: (steps: readonly Step[]) => Promise<boolean>,
): Promise<boolean> {
  let steps = schedule.steps;
  let hasShortened = false;
  const step = steps[index];
  if (step?.do !== "send") return false;
  let intents = step.intents;
  for (let i = intents.length - 1; i >= 0 && intents.length > 1; i--) {
    const fewer = intents.toSpliced(i, 1);
    const candidate = steps.with(index, { ...step, intents: fewer });
    if (!await tryWith(candidate)) continue;
    hasShortened = true;
    intents = fewer;
    steps = candidate;
  }
  return hasShortened;
}
