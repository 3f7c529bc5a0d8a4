import { assertEquals, assertStringIncludes } from "@std/assert";
import { ScratchFolder } from "../lab/processes.ts";

const unit = await Deno.readTextFile(new URL("../../contrib/task-queue.service", import.meta.url));

/** What systemd-analyze says of the unit; undefined if it is not here. */
async function verify(text: string): Promise<string | undefined> {
  await using folder = new ScratchFolder();
  // systemd looks whether the program is there; this one is on any machine.
  const path = await folder.write(
    "task-queue.service",
    text.replace("/opt/task-queue/server ", "/bin/true "),
  );
  try {
    const { stdout, stderr } = await new Deno.Command("systemd-analyze", {
      args: ["verify", path],
    }).output();
    return new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

const isHere = await verify(unit) !== undefined;
Deno.test({
  name: "systemd finds nothing wrong with contrib/task-queue.service" +
    (isHere ? "" : " (ignored: systemd-analyze is not here; it is in Debian's systemd)"),
  ignore: !isHere,
  async fn() {
    assertEquals(await verify(unit), "");
    // That it looks: it knows no such key.
    const wrong = await verify(unit.replace("NoNewPrivileges", "NoNewPrivilege"));
    assertStringIncludes(wrong as string, "NoNewPrivilege");
  },
});
