import { assertEquals } from "@std/assert";
import { ensureExecutables } from "../../tools/build/compile.ts";
import { registerTests } from "../end_to_end/end_to_end.ts";
import { registerSecureTests } from "../end_to_end/secure.ts";
import { executables, ScratchFolder, startStoreServer } from "../lab/processes.ts";

const made = await ensureExecutables();
if ("missing" in made) {
  const reason = made.missing.replaceAll(/\s+/g, " ");
  Deno.test.ignore(`executable: every end-to-end test (ignored: ${reason})`, () => {});
} else {
  const emptyFolder = await Deno.makeTempDir({ prefix: "empty folder " });
  Deno.test.afterAll(() => Deno.remove(emptyFolder)); // refuses where something was left in it
  const launcher = executables(made.dir, emptyFolder);
  registerTests(launcher);
  registerSecureTests(launcher);

  Deno.test("executable: --store keeps tasks over a restart", async () => {
    await using folder = new ScratchFolder();
    const start = () => startStoreServer(`${folder.path}/tasks`, { launcher });
    {
      await using server = await start();
      await using producer = await server.producer();
      await producer.send("CREATE 2 low 1\nCREATE 1 high 1\n");
      assertEquals(await producer.ask("SYNC"), "OK 2");
      assertEquals(await server.stop(), 0);
    }
    await using server = await start();
    await using consumer = await server.consumer();
    assertEquals(await consumer.ask("REQUEST"), "ASSIGN high 1");
    assertEquals(await consumer.ask("REQUEST"), "ASSIGN low 1");
    assertEquals(await consumer.ask("REQUEST"), "NOTASK");
  });
}
