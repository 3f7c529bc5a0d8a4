/**
 * Takes tasks and runs a command for each, several at a time.
 *
 * @module
 */

import { sleep } from "../clock.ts";
import type { QueueConsumer } from "../client/consumer_client.ts";
import type { HeldTask } from "../client/held_task.ts";
import { formatSeconds } from "../client/new_task.ts";
import { LostTaskError, QueueError } from "../client/queue_error.ts";
import { formatWorkerEvent, type WorkerEvent } from "../core/events.ts";
import { leaseMs } from "../core/reservations.ts";
import { escape } from "../quote.ts";
import type { SharedOutput } from "./shared_output.ts";
import type { ProcessGroup } from "./process_group.ts";
import { runCommand } from "./run_command.ts";
import { TaskOutput } from "./task_output.ts";
import { judge, type Verdict } from "./verdict.ts";

/**
 * How long before its end of the lease a command gets SIGTERM, in milliseconds: SIGKILL comes 3 s
 * later, and 2 s are left to tell the server.
 */
const endBeforeLeaseMs = 5000;

/** How long a crew that ends when there is no task waits before it looks again, in milliseconds. */
const lookAgainMs = 1000;

/** What stands for the task's name in the arguments. */
const placeholder = "{}";

/** What a crew does. */
export interface CrewOptions {
  /** The program. */
  readonly file: string;
  /** Its arguments; each `{}` in them stands for the task's name. */
  readonly args: readonly string[];
  /** How many commands run at a time. */
  readonly size: number;
  /** Whether each line of output begins with the task's name. */
  readonly isTagged: boolean;
  /** Whether leases are renewed as long as a command runs; else it is ended in time. */
  readonly touches: boolean;
  /** Whether it ends when there is no task and nothing runs. */
  readonly endsWhenEmpty: boolean;
  /** Whether it says what became of each task. */
  readonly isQuiet: boolean;
  /** The output of the commands, and the lines about the tasks. */
  readonly sharedOutput: SharedOutput;
}

/** What became of the tasks. */
export interface CrewResult {
  /** How many tasks were taken and not completed. */
  readonly uncompleted: number;
  /** Why no task can be worked on, if that is how it ended. */
  readonly problem: string | undefined;
}

/** Runs commands for the tasks of one consumer. */
export class Crew {
  /** The process groups that run, to be ended if the worker must end at once. */
  readonly groups = new Set<ProcessGroup>();

  readonly #consumer: QueueConsumer;
  readonly #options: CrewOptions;
  /** Ends the asking. */
  readonly #stopping = new AbortController();
  /** Ends the commands, whose tasks are given back. */
  readonly #hurry = new AbortController();
  /** The free places, by their numbers; the lowest is taken first. */
  readonly #freePlaces: number[];
  readonly #running = new Set<Promise<void>>();
  #change = Promise.withResolvers<void>();
  #uncompleted = 0;
  #problem: string | undefined;

  /** Makes a crew that does nothing yet. */
  constructor(consumer: QueueConsumer, options: CrewOptions) {
    this.#consumer = consumer;
    this.#options = options;
    this.#freePlaces = Array.from({ length: options.size }, (_, i) => i + 1);
  }

  /** How many commands run. */
  get running(): number {
    return this.#running.size;
  }

  /** Takes no more tasks: {@linkcode run} ends when those that run have ended. */
  stop(): void {
    this.#stopping.abort();
    this.#consumer.stop();
  }

  /** Ends the commands that run, and gives their tasks back. */
  hurry(): void {
    this.stop();
    this.#hurry.abort();
  }

  /** Works until {@linkcode stop}, or until there is no task if the options say so. */
  async run(): Promise<CrewResult> {
    while (!this.#stopping.signal.aborted) {
      if (this.#freePlaces.length === 0) {
        await this.#change.promise;
        continue;
      }
      const task = await this.#next();
      if (task === "none") break;
      if (task !== undefined) this.#start(task);
    }
    await Promise.all(this.#running);
    return { uncompleted: this.#uncompleted, problem: this.#problem };
  }

  /** Waits for a task; undefined if it is time to look around, "none" if it is time to end. */
  async #next(): Promise<HeldTask | undefined | "none"> {
    if (!this.#options.endsWhenEmpty) return await this.#consumer.next();
    const found = await this.#consumer.look();
    if (typeof found !== "string") return found;
    if (found !== "none") return undefined;
    if (this.#running.size === 0) return "none";
    // Not a wait at the server: a task might come by it just when another connection is told that
    // there is none, and the last command has ended.
    const changed = new AbortController();
    this.#change.promise.then(() => changed.abort());
    await sleep(lookAgainMs, AbortSignal.any([changed.signal, this.#stopping.signal]));
    return undefined;
  }

  #start(task: HeldTask): void {
    const place = this.#freePlaces.shift() as number;
    const work = this.#workOn(task, place).finally(() => {
      this.#running.delete(work);
      this.#freePlaces.push(place);
      this.#freePlaces.sort((a, b) => a - b);
      this.#change.resolve();
      this.#change = Promise.withResolvers();
    });
    this.#running.add(work);
  }

  /** Works on one task to its end, and to the end of its output. */
  async #workOn(task: HeldTask, place: number): Promise<void> {
    const { file, args, size, isTagged, touches, isQuiet, sharedOutput } = this.#options;
    const lease = leaseMs(task.duration);
    const output = new TaskOutput(sharedOutput, {
      mode: size > 1 ? "grouped" : isTagged ? "passed on" : "inherited",
      ...isTagged ? { tag: `${task.id}\t` } : {},
    });
    const ended = new AbortController();
    if (touches) this.#touch(task, lease, ended.signal);
    const end = await runCommand({
      file,
      args: args.map((arg) => arg.replaceAll(placeholder, () => task.id)),
      env: {
        TASK_ID: task.id,
        TASK_DURATION: formatSeconds("duration", task.duration),
        TASK_LEASE: String(lease / 1000),
        WORKER: String(place),
      },
      // Programs that read lines expect the last one to end.
      input: task.payloadText === undefined ? undefined : `${task.payloadText}\n`,
      output,
      timeoutMs: touches ? undefined : lease - endBeforeLeaseMs,
      stopped: AbortSignal.any([task.signal, this.#hurry.signal]),
      groups: this.groups,
    });
    ended.abort();
    const event = await this.#settle(task, judge(end));
    await output.finish(isQuiet ? undefined : formatWorkerEvent(event));
  }

  /** Tells the server what became of a task; returns what to tell the user. */
  async #settle(task: HeldTask, verdict: Verdict): Promise<WorkerEvent> {
    const taskId = task.id;
    try {
      const event = await this.#say(task, verdict);
      if (event.kind !== "completed") this.#uncompleted++;
      return event;
    } catch (error) {
      if (!(error instanceof QueueError)) throw error;
      this.#uncompleted++;
      return { kind: "lost", taskId, why: escape(reasonOf(error, taskId)) };
    }
  }

  async #say(task: HeldTask, verdict: Verdict): Promise<WorkerEvent> {
    const taskId = task.id;
    switch (verdict.say) {
      case "complete":
        await task.complete();
        return { kind: "completed", taskId };
      case "fail":
        await task.fail();
        return { kind: "failed", taskId, why: verdict.why };
      case "bury":
        await task.bury();
        return { kind: "buried", taskId, why: verdict.why };
      case "release": {
        const delay = verdict.delaySeconds;
        await task.release(delay === 0 ? {} : { delay });
        const again = delay === 0 ? "" : `, again in ${delay} s`;
        return { kind: "released", taskId, why: verdict.why + again };
      }
      case "give up":
        this.#problem ??= verdict.why;
        this.hurry();
        await task.release();
        return { kind: "released", taskId, why: verdict.why };
      default:
        return verdict satisfies never;
    }
  }

  /** Renews a lease as long as its command runs. Never rejects. */
  async #touch(task: HeldTask, lease: number, ended: AbortSignal): Promise<void> {
    while (await sleep(lease / 2, ended)) {
      try {
        await task.touch();
      } catch {
        // If the task is lost, its signal says so.
      }
    }
  }
}

/** What an error says beside the task's name. */
function reasonOf(error: QueueError, taskId: string): string {
  const { message } = new LostTaskError(taskId, "");
  return error.message.startsWith(message) ? error.message.slice(message.length) : error.message;
}
