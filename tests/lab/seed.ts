/**
 * The seed of a random test: `SEED=7 deno test …` repeats what a failure has printed.
 *
 * @module
 */

/** Read when the module is loaded: tests of core have no permissions. */
const given = Deno.env.get("SEED");

/** Each test's own: the one that is given, else one of the clock. */
export function newSeed(): number {
  return given === undefined ? Date.now() % 2 ** 31 : Number(given);
}

/** Runs a random test; if it fails, the error names the seed. */
export async function withSeed(run: (seed: number) => void | Promise<void>): Promise<void> {
  const seed = newSeed();
  try {
    await run(seed);
  } catch (error) {
    throw new Error(`SEED=${seed} repeats this failure`, { cause: error });
  }
}
