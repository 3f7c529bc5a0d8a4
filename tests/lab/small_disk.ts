/**
 * A small disk in memory, for tests that fill one.
 *
 * @module
 */

import { assert } from "@std/assert";
import { patienceMs, pause } from "./deadline.ts";
import { ScratchFolder } from "./processes.ts";

const ballastBytes = 4096;

/** A disk of a few MiB in memory, if this test may mount one. */
export class SmallDisk implements AsyncDisposable {
  readonly #folder = new ScratchFolder();
  readonly #isMounted: boolean;
  /** Where it is. */
  readonly path: string = this.#folder.path;

  /** Makes one of that size. */
  constructor(mebibytes: number) {
    this.#isMounted = this.#mount(`size=${mebibytes}m`);
  }

  /** True if disks can be mounted. */
  static async isPossible(): Promise<boolean> {
    if (Deno.build.os !== "linux" || Deno.uid() !== 0) return false;
    await using disk = new SmallDisk(1);
    return disk.#isMounted;
  }

  /** Makes it larger. */
  grow(): void {
    assert(this.#mount("remount,size=64m"));
  }

  /** Takes all room that there is. */
  fill(): void {
    using ballast = Deno.openSync(`${this.path}/ballast`, { append: true, create: true });
    try {
      for (;;) ballast.writeSync(new Uint8Array(ballastBytes));
    } catch (error) {
      assert(error instanceof Error && "code" in error && error.code === "ENOSPC", String(error));
    }
  }

  /** Gives back what {@linkcode fill} took. */
  free(): void {
    Deno.removeSync(`${this.path}/ballast`);
  }

  #mount(options: string): boolean {
    return run("mount", "-t", "tmpfs", "-o", options, "tmpfs", this.path);
  }

  /** A process that a test beside this one starts holds all open files until it is another program. */
  async #unmount(): Promise<void> {
    const endMs = performance.now() + patienceMs;
    while (!run("umount", this.path)) {
      assert(performance.now() < endMs, `${this.path} is still in use`);
      await pause(20);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isMounted) await this.#unmount();
    await this.#folder[Symbol.asyncDispose]();
  }
}

function run(program: string, ...args: string[]): boolean {
  return new Deno.Command(program, { args, stderr: "null" }).outputSync().success;
}

/** Why no disk can be mounted here, if none can. */
export const noDisk: string | undefined = await SmallDisk.isPossible()
  ? undefined
  : "only root may mount a small disk";
