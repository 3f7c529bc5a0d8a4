import { assertEquals, assertStringIncludes } from "@std/assert";
import { canRun, projectFolder, ScratchFolder } from "../lab/processes.ts";
import { testUnless } from "../test_unless.ts";

const units = ["task-queue@.service", "task-queue-worker@.service"] as const;

/** Most exposure that `systemd-analyze security` may find, in tenths: 0 is none, 100 is root's. */
const maxExposure = 20;

const noSystemd = await canRun("systemd-analyze", "--version")
  ? undefined
  : "systemd-analyze is not here; it is in Debian's systemd";

/** Runs systemd-analyze on a unit's text; its exit code, and what it says. */
async function analyze(
  unit: string,
  text: string,
  args: readonly string[],
): Promise<[code: number, output: string]> {
  await using folder = new ScratchFolder();
  // systemd looks whether the program is there; this one is on any machine.
  const path = await folder.write(unit, text.replace(/\/usr\/bin\/task-queue-\w+/, "/bin/true"));
  const command = new Deno.Command("systemd-analyze", { args: [...args, path] });
  const { code, stdout, stderr } = await command.output();
  return [code, new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr)];
}

for (const unit of units) {
  const text = await Deno.readTextFile(`${projectFolder}contrib/${unit}`);

  testUnless(noSystemd, `systemd finds nothing wrong with contrib/${unit}`, async () => {
    assertEquals(await analyze(unit, text, ["verify"]), [0, ""]);
    // That it looks: it knows no such key.
    const wrong = await analyze(unit, text.replace("NoNewPrivileges", "NoNewPrivilege"), [
      "verify",
    ]);
    assertStringIncludes(wrong[1], "NoNewPrivilege");
  });

  testUnless(noSystemd, `systemd finds contrib/${unit} little exposed`, async () => {
    const args = ["security", "--offline=true", `--threshold=${maxExposure}`];
    const [code, output] = await analyze(unit, text, args);
    assertEquals(code, 0, output);
    const open = text.replaceAll(/^(?:Protect|Restrict|SystemCall).*\n/gm, "");
    assertEquals((await analyze(unit, open, args))[0], 1);
  });
}

for (
  const [unit, example] of [
    ["task-queue@.service", "task-queue.default"],
    ["task-queue-worker@.service", "task-worker.default"],
  ] as const
) {
  Deno.test(`contrib/${example} sets what contrib/${unit} takes from it, and nothing else`, async () => {
    const text = await Deno.readTextFile(`${projectFolder}contrib/${unit}`);
    const [start = ""] = text.match(/^ExecStart=.*/m) ?? [];
    const taken = [...start.matchAll(/\$\{?([A-Z_]+)\}?/g)].map(([, name]) => name);
    const settings = await Deno.readTextFile(`${projectFolder}contrib/${example}`);
    const set = [...settings.matchAll(/^#?([A-Z_]+)=/gm)].map(([, name]) => name);
    assertEquals(set.sort(), taken.sort());
  });
}
