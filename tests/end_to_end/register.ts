/**
 * Tests that are registered once for each way to start the programs.
 *
 * @module
 */

import type { Launcher } from "../lab/processes.ts";
import { testUnless } from "../test_unless.ts";

interface EndToEndTest {
  readonly name: string;
  readonly run: (launcher: Launcher) => Promise<void>;
  readonly ignored: string | undefined;
}

const tests: EndToEndTest[] = [];

/** Adds a test of the programs; `ignored` is why it cannot run here. */
export function test(
  name: string,
  run: (launcher: Launcher) => Promise<void>,
  { ignored }: { readonly ignored?: string | undefined } = {},
): void {
  tests.push({ name, run, ignored });
}

/** Registers all tests that were added, for one way to start the programs. */
export function registerTests(launcher: Launcher): void {
  for (const { name, run, ignored } of tests) {
    testUnless(ignored, `${launcher.name}: ${name}`, () => run(launcher));
  }
}
