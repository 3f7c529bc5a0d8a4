/**
 * Tests that are registered once for each way to start the programs.
 *
 * @module
 */

import type { Launcher } from "../lab/processes.ts";
import { testUnless } from "../test_unless.ts";

/** Registers tests of one way to start the programs; `ignored` is why one cannot run here. */
export type Register = (
  name: string,
  run: () => Promise<void>,
  options?: { readonly ignored?: string | undefined },
) => void;

/** Makes the function that registers tests for a launcher. */
export function registerFor(launcher: Launcher): Register {
  return (name, run, { ignored } = {}) => {
    testUnless(ignored, `${launcher.name}: ${name}`, run);
  };
}
