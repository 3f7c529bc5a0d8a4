/**
 * The seed of random tests: `SEED=7 deno test …` repeats what a failure has printed.
 *
 * @module
 */

/** Read when the module is loaded, since tests of core may not read it; one for all tests of a file. */
export const testSeed: number = Number(Deno.env.get("SEED") ?? Date.now() % 2 ** 31);

/** Runs a random test; if it fails, the error names the seed. */
export async function withSeed(run: (seed: number) => void | Promise<void>): Promise<void> {
  try {
    await run(testSeed);
  } catch (error) {
    throw new Error(`SEED=${testSeed} repeats this failure`, { cause: error });
  }
}
