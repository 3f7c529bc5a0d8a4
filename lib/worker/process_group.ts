/**
 * A command with all processes that it starts: they are ended together.
 *
 * The command leads a process group of its own, so it also does not get the terminal's Ctrl+C, which
 * is for the worker. A process that leaves the group (`setsid`) is out of reach.
 *
 * @module
 */

import { nowMs, sleep } from "../clock.ts";

/** How often it is looked whether a group has ended, in milliseconds. */
const lookMs = 20;

/** The group of one command. */
export class ProcessGroup {
  readonly #leader: Deno.ChildProcess;
  #hasLeader = true;

  /** Takes over a process that was started with `detached: true`. */
  constructor(leader: Deno.ChildProcess) {
    this.#leader = leader;
    leader.status.then(() => this.#hasLeader = false);
  }

  /**
   * Sends a signal to all of them. If the permission is for the command alone (`--allow-run=FILE`),
   * which Deno lets signal no other process, only the command gets it.
   *
   * @returns whether anybody was there to get it.
   */
  signal(signal: Deno.Signal): boolean {
    try {
      Deno.kill(-this.#leader.pid, signal);
      return true;
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return false;
    }
    if (this.#hasLeader) {
      try {
        this.#leader.kill(signal);
      } catch {
        // It ended meanwhile.
      }
    }
    return this.#hasLeader;
  }

  /** Waits until nobody is left, but only until a time of the clock; returns whether nobody is. */
  async ended(untilMs: number): Promise<boolean> {
    // SIGCONT does nothing to a process that runs.
    while (this.signal("SIGCONT")) {
      if (nowMs() >= untilMs) return false;
      await sleep(lookMs);
    }
    return true;
  }
}
