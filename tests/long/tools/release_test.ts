import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { findDenort } from "../../../tools/build/denort.ts";
import {
  canRun,
  denoScript,
  type Launcher,
  Program,
  ScratchFolder,
  startStoreServer,
} from "../../lab/processes.ts";
import { testUnless } from "../../test_unless.ts";

const target = "x86_64-unknown-linux-gnu";
const validator = "npm:@cyclonedx/cyclonedx-library@10.3.0";
const formats = ["npm:ajv@8.20.0", "npm:ajv-formats@3.0.1", "npm:ajv-formats-draft2019@1.6.1"];

/** Making a release takes a minute; on a busy machine several. */
const releaseLimitMs = 1_200_000;

/** SQLite calls it only as root, which a service is not. */
const callsOfRoot = ["fchown"];

/** Why no release can be made and tried here, if so. */
async function whyNot(): Promise<string | undefined> {
  if (Deno.build.target !== target) return `it is made for ${target}`;
  if (Deno.uid() !== 0) return "dpkg needs root, also in a folder";
  for (const name of ["dpkg-deb", "git", "tar", "xz"]) {
    if (!await canRun(name, "--version")) return `${name} is not here`;
  }
  const noDenort = await findDenort().then(() => undefined, () => "no denort can be had");
  if (noDenort !== undefined) return noDenort;
  return await canRun("git", "rev-parse", "HEAD") ? undefined : "there is no commit to make it of";
}

/** Runs a program; what it prints. */
async function run(file: string, args: readonly string[], cwd?: string): Promise<string> {
  const options = cwd === undefined ? {} : { cwd };
  const { success, stdout, stderr } = await new Deno.Command(file, { args: [...args], ...options })
    .output();
  const text = new TextDecoder();
  assert(success, `${file} ${args.join(" ")}: ${text.decode(stderr)}`);
  return text.decode(stdout);
}

async function makeRelease(output: string): Promise<void> {
  const flags = ["--allow-read", "--allow-write", "--allow-run", "--allow-env"];
  const args = ["--targets", target, "--output", output];
  await using tool = new Program(denoScript("tools/build/release.ts", flags, args));
  assertEquals(await tool.exitCode(releaseLimitMs), 0, tool.stderr.text);
}

/** All files and empty folders below a folder. */
async function leavesOf(folder: string): Promise<string[]> {
  const found = await run("find", [folder, "(", "-type", "f", "-o", "-empty", ")", "-print"]);
  return found.split("\n").filter((path) => path !== "").map((path) => path.slice(folder.length));
}

const why = await whyNot();
const folder = new ScratchFolder("release ");
Deno.test.afterAll(() => folder[Symbol.asyncDispose]());
const first = `${folder.path}/first`;

/** The one file of the first release whose name ends so. */
async function fileOf(end: string): Promise<string> {
  const names = (await Array.fromAsync(Deno.readDir(first))).map(({ name }) => name);
  const found = names.filter((name) => name.endsWith(end));
  assertEquals(found.length, 1, names.join(" "));
  return `${first}/${found[0]}`;
}

testUnless(
  why,
  "deno task release makes the same bytes twice, and the sums are theirs",
  async () => {
    const second = `${folder.path}/second`;
    await makeRelease(first);
    await makeRelease(second);
    const sums = await Deno.readTextFile(`${first}/SHA256SUMS`);
    assertEquals(sums.split("\n").length, 5, sums);
    assertEquals(await Deno.readTextFile(`${second}/SHA256SUMS`), sums);
    await run("sha256sum", ["--check", "--strict", "SHA256SUMS"], second);
  },
);

testUnless(
  why,
  "its bill of materials is valid CycloneDX, and lists Deno std and denort",
  async () => {
    const bill = await Deno.readTextFile(await fileOf(".cdx.json"));
    const { components } = JSON.parse(bill);
    assertEquals(components.map(({ name }: { name: string }) => name), ["deno-std", "denort"]);
    // Not by the project's configuration: its lock file has what users need, and no validators.
    await using scratch = new ScratchFolder();
    const script = `${formats.map((name) => `import "${name}";`).join("\n")}
    import { Spec, Validation } from "${validator}";
    const text = await new Response(Deno.stdin.readable).text();
    const schema = new Validation.JsonStrictValidator(Spec.Version.v1dot6);
    console.log(JSON.stringify(await schema.validate(text)));`;
    const path = await scratch.write("validate.mjs", script);
    const validate = async (text: string): Promise<string> => {
      const args = ["run", "--quiet", "--no-config", "--no-lock", "-A", path];
      await using program = new Program({ file: Deno.execPath(), args }, { stdin: "piped" });
      await program.type(text);
      await program.closeStdin();
      assertEquals(await program.exitCode(120_000), 0, program.stderr.text);
      return program.stdout.text.trim();
    };
    assertEquals(await validate(bill), "null");
    assertStringIncludes(
      await validate(bill.replace('"platform"', '"plattform"')),
      "/components/1",
    );
  },
);

testUnless(
  why,
  "its archive has the programs, which start, and its npm package the library",
  async () => {
    await using scratch = new ScratchFolder();
    await run("tar", ["-xf", await fileOf(".tar.xz"), "-C", scratch.path, "--strip-components=1"]);
    for (const program of ["server", "producer", "consumer", "worker"]) {
      const version = await run(`${scratch.path}/${program}`, ["--version"]);
      assert(version.startsWith(`${program} `), version);
      await Deno.stat(`${scratch.path}/man/task-queue-${program}.1`);
    }
    await run("tar", ["-xf", await fileOf(".tgz"), "-C", scratch.path]);
    const args = ["eval", "--no-config", "--no-lock"];
    const names = await run(Deno.execPath(), [
      ...args,
      `console.log(Object.keys(await import(${
        JSON.stringify(`file://${encodeURI(scratch.path)}/package/mod.js`)
      })).join())`,
    ]);
    assertStringIncludes(names, "connectConsumer");
  },
);

testUnless(why, "its Debian package installs, serves, and leaves nothing but tasks", async () => {
  await using scratch = new ScratchFolder("dpkg-root-");
  const root = scratch.path;
  for (const path of ["updates", "info", "parts"]) {
    await Deno.mkdir(`${root}/var/lib/dpkg/${path}`, { recursive: true });
  }
  await Deno.writeTextFile(`${root}/var/lib/dpkg/status`, "");
  await Deno.mkdir(`${root}/var/log`);
  // Its scripts run outside of the folder, and see by DPKG_ROOT that it is not this system's.
  const dpkg = (...args: string[]) =>
    run("dpkg", [`--root=${root}`, "--force-depends", "--force-script-chrootless", ...args]);
  const isState = (path: string) => /^\/var\/lib\/dpkg\/|^\/var\/log/.test(path);
  const before = (await leavesOf(root)).filter((path) => !isState(path));

  await dpkg("--install", await fileOf(".deb"));
  const version = await run(`${root}/usr/bin/task-queue-server`, ["--version"]);
  assert(version.startsWith("server "), version);
  for (const program of ["server", "producer", "consumer", "worker"]) {
    const page = `${root}/usr/share/man/man1/task-queue-${program}.1.gz`;
    assertStringIncludes(await run("man", ["--local-file", page]), `task-queue-${program}`);
  }
  const launcher: Launcher = {
    name: "installed",
    command: (role, args) => ({ file: `${root}/usr/bin/task-queue-${role}`, args }),
  };
  const store = `${root}/var/lib/task-queue/main`;
  await Deno.mkdir(store, { recursive: true });
  {
    await using server = await startStoreServer(`${store}/tasks`, { launcher });
    await using producer = await server.producer();
    assertEquals(await producer.ask("CREATE 1 a 1\nSYNC"), "OK 1");
    assertEquals(await server.stop("SIGTERM"), 0);
  }
  for (
    const file of ["usr/lib/systemd/system/task-queue@.service", "etc/default/task-queue-main"]
  ) {
    assert((await leavesOf(root)).includes(`/${file}`), file);
  }
  // As `systemctl enable` does.
  const wants = `${root}/etc/systemd/system/multi-user.target.wants`;
  await Deno.mkdir(wants, { recursive: true });
  for (const unit of ["task-queue@main.service", "task-queue-worker@a.service", "ssh.service"]) {
    await Deno.symlink(`/lib/systemd/system/${unit.replace(/@.*\./, "@.")}`, `${wants}/${unit}`);
  }
  const enabled = async () => (await Array.fromAsync(Deno.readDir(wants))).map(({ name }) => name);
  await dpkg("--remove", "priority-task-queue");
  assertEquals((await enabled()).length, 3);
  await dpkg("--purge", "priority-task-queue");
  assertEquals(await enabled(), ["ssh.service"]);
  const left = (await leavesOf(root)).filter((path) => !isState(path) && !before.includes(path));
  assertEquals(left, ["/var/lib/task-queue/main/tasks"]);
});

testUnless(
  why ?? (await canRun("lintian", "--version") ? undefined : "lintian is not here"),
  "lintian finds nothing wrong with its Debian package",
  async () => {
    const args = ["--fail-on", "error,warning", await fileOf(".deb")];
    assertEquals(await run("lintian", args), "");
  },
);

const noStrace = why ?? (await canRun("strace", "--version") ? undefined : "strace is not here") ??
  (await canRun("systemd-analyze", "--version") ? undefined : "systemd-analyze is not here");

testUnless(noStrace, "the server makes no system call that its unit forbids", async () => {
  await using scratch = new ScratchFolder();
  await run("tar", ["-xf", await fileOf(".tar.xz"), "-C", scratch.path, "--strip-components=1"]);
  const unit = await Deno.readTextFile(`${scratch.path}/contrib/task-queue@.service`);
  const trace = `${scratch.path}/trace`;
  const launcher: Launcher = {
    name: "traced",
    command: (role, args) => ({
      file: "strace",
      args: ["-f", "-o", trace, `${scratch.path}/${role}`, ...args],
    }),
  };
  {
    await using server = await startStoreServer(`${scratch.path}/tasks`, { launcher });
    await using producer = await server.producer();
    assertEquals(await producer.ask("CREATE 1 a 1\nSYNC"), "OK 1");
    assertEquals(await server.drain("RESERVE"), ["a"]);
    // strace keeps signals from itself while it traces: the server gets them by its own id.
    const children = await Deno.readTextFile(`/proc/${server.pid}/task/${server.pid}/children`);
    Deno.kill(Number(children.trim().split(" ")[0]), "SIGTERM");
    assertEquals(await server.exitCode(), 0);
  }
  const calls = new Set<string>();
  for (const [, call = ""] of (await Deno.readTextFile(trace)).matchAll(/^\d+ +(\w+)\(/gm)) {
    calls.add(call);
  }
  assert(calls.size > 30, "the trace is not read");
  const allowed = await allowedCalls(unit);
  const forbidden = [...calls].filter((call) => !allowed.has(call) && !callsOfRoot.includes(call));
  assertEquals(forbidden, []);
});

/** The system calls that the lines `SystemCallFilter=` of a unit allow, in the end. */
async function allowedCalls(unit: string): Promise<Set<string>> {
  const expand = async (name: string): Promise<string[]> => {
    if (!name.startsWith("@")) return [name];
    const text = await run("systemd-analyze", ["syscall-filter", name]);
    const lines = text.split("\n").slice(1).map((line) => line.trim());
    const names = lines.filter((line) => line !== "" && !line.startsWith("#"));
    return (await Promise.all(names.map(expand))).flat();
  };
  const allowed = new Set<string>();
  for (const [, not, names = ""] of unit.matchAll(/^SystemCallFilter=(~?)(.*)$/gm)) {
    for (const name of names.split(" ")) {
      for (const call of await expand(name)) not === "~" ? allowed.delete(call) : allowed.add(call);
    }
  }
  return allowed;
}
