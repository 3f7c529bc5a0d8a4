/**
 * Changes a folder as a whole or not at all.
 *
 * @module
 */

import { basename, dirname, join } from "node:path";
import { cp } from "node:fs/promises";

/**
 * Lets `make` work in a copy of a folder, and moves what it made or changed back when it is done.
 * If it throws, or is ended, the folder is what it was. A file that `make` removes stays.
 *
 * @param folder where the result goes; the copy is beside it, so that moving is one step per file.
 */
export async function replaceTogether(
  folder: string,
  make: (copy: string) => Promise<void>,
): Promise<void> {
  const copy = await Deno.makeTempDir({ dir: dirname(folder), prefix: `.${basename(folder)}-` });
  try {
    await cp(folder, copy, { recursive: true });
    await make(copy);
    await moveFiles(copy, folder);
  } finally {
    await Deno.remove(copy, { recursive: true });
  }
}

async function moveFiles(from: string, to: string): Promise<void> {
  await Deno.mkdir(to, { recursive: true });
  for await (const { name, isDirectory } of Deno.readDir(from)) {
    if (isDirectory) await moveFiles(join(from, name), join(to, name));
    else await Deno.rename(join(from, name), join(to, name));
  }
}
