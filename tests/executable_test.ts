import { ensureExecutables } from "../tools/compile.ts";
import { endToEndTests } from "./end_to_end/end_to_end.ts";
import { executables } from "./support/programs.ts";

const made = await ensureExecutables();
if ("missing" in made) {
  const reason = made.missing.replaceAll(/\s+/g, " ");
  Deno.test.ignore(`executable: every end-to-end test (ignored: ${reason})`, () => {});
} else {
  const emptyFolder = await Deno.makeTempDir({ prefix: "empty folder " });
  Deno.test.afterAll(() => Deno.remove(emptyFolder)); // refuses where something was left in it
  await endToEndTests(executables(made.dir, emptyFolder));
}
