import { assert, assertEquals } from "@std/assert";
import { projectFolder, ScratchFolder, startStoreServer } from "../lab/processes.ts";
import { noUnix, testUnless } from "../test_unless.ts";

/** The scripts of a section of docs/operations.md, with a test's folders in place of the system's. */
async function scriptsOf(section: string, folder: string): Promise<string[]> {
  const document = await Deno.readTextFile(`${projectFolder}docs/operations.md`);
  const [, text = ""] = new RegExp(`\n## ${section}\n([^]*?)\n## `).exec(document) ?? [];
  const scripts = [...text.matchAll(/^```sh\n([^]*?)^```$/gm)].map(([, script = ""]) => script);
  return scripts.map((script) =>
    script.replaceAll(/^(store|backup)=(\/\S+)$/gm, `$1='${folder}$2'`)
  );
}

/** Stops the server that the file `pid` names, as systemd does; a start is the test's. */
const systemctl = `#!/bin/sh
echo "$*" >> "\${0%/*}/calls"
test "$1" = stop || exit 0
pid=$(cat "\${0%/*}/pid")
kill "$pid" && while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
exit 0
`;

testUnless(
  noUnix,
  "What docs/operations.md says of backup and restore brings back the tasks of the backup",
  async () => {
    await using folder = new ScratchFolder();
    await Deno.chmod(await folder.write("systemctl", systemctl), 0o755);
    const store = `${folder.path}/var/lib/task-queue/main`;
    await Deno.mkdir(store, { recursive: true });
    await Deno.mkdir(`${folder.path}/var/backups`);
    const scripts = await scriptsOf("Backup and restore", folder.path);
    assertEquals(scripts.length, 2);
    const [backup, restore] = scripts as [string, string];
    const run = async (script: string) => {
      const env = { PATH: `${folder.path}:${Deno.env.get("PATH") ?? ""}` };
      const command = new Deno.Command("sh", { args: ["-euc", script], env });
      const { success, stderr } = await command.output();
      assert(success, new TextDecoder().decode(stderr));
    };
    const start = async () => {
      const server = await startStoreServer(`${store}/tasks`);
      await folder.write("pid", String(server.pid));
      return server;
    };

    for (const tasks of [["a", "b"], ["a", "b", "c"]]) { // the second one replaces a backup
      await using server = await start();
      await using producer = await server.producer();
      await producer.send(`CREATE 1 ${tasks.at(-1)} 1\n`);
      if (tasks.length === 2) await producer.send("CREATE 1 a 1\n");
      await producer.ask("SYNC");
      await run(backup);
      assertEquals(await server.exitCode(), 0);
    }
    {
      await using server = await start();
      assertEquals((await server.drain()).sort(), ["a", "b", "c"]);
      await run(restore);
      assertEquals(await server.exitCode(), 0);
    }
    await using server = await start();
    assertEquals((await server.drain()).sort(), ["a", "b", "c"]);
    const calls = await Deno.readTextFile(`${folder.path}/systemctl`.replace(/\w+$/, "calls"));
    const pair = "stop task-queue@main\nstart task-queue@main\n";
    assertEquals(calls, pair.repeat(3));
  },
);
