/**
 * Tests that not every machine can run: they are ignored there, and their names say why.
 *
 * @module
 */

/** Why a test of Unix's files cannot run here, if it cannot. */
export const noUnix: string | undefined = Deno.build.os === "windows"
  ? "Windows has no such modes, and no ulimit"
  : undefined;

/** Registers a test that is ignored if there is a reason. */
export function testUnless(
  reason: string | undefined,
  name: string,
  fn: () => void | Promise<void>,
): void {
  const why = reason === undefined ? "" : ` (ignored: ${reason})`;
  Deno.test({ name: name + why, ignore: reason !== undefined, fn });
}
