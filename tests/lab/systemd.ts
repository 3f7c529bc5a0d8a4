/**
 * A systemd of its own, as process 1 of a container that has this machine's programs and network:
 * units run in it as they do on a machine, with all that they forbid.
 *
 * @module
 */

import { pause } from "./deadline.ts";
import { canRun, type Command, Program, ScratchFolder } from "./processes.ts";

/** How long it may take to start or to halt, on a busy machine; otherwise 2 s. */
const limitMs = 60_000;

/** Where control groups are, of either version: systemd has its units' processes in them. */
const cgroupRoots = ["/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"];

/** Gives the container control groups of its own: another one has units of the same names. */
const inOwnCgroup = `for root in ${cgroupRoots.join(" ")}; do
  test -e $root/cgroup.procs || continue
  mkdir -p $root/$0 && echo $$ > $root/$0/cgroup.procs || exit 1
done
exec systemd-nspawn "$@"`;

/** What begins a program in a container whose root is a folder. */
function nspawn(root: string, args: readonly string[]): Command {
  const name = nameOf(root);
  const container = [`--machine=${name}`, "--register=no", "--keep-unit", "--console=pipe"];
  // What is installed below the root's usr is seen beside what this machine has.
  const shared = ["--quiet", "--directory", root, `--overlay-ro=/usr:${root}.usr:/usr`];
  return {
    file: "/bin/sh",
    args: ["-c", inOwnCgroup, name, ...container, ...shared, ...args],
  };
}

/** The container's name: its folder's, which no other one has. */
function nameOf(root: string): string {
  return root.split("/").at(-2) ?? "";
}

/** Ends all that is in the control groups of a container, and removes them. */
async function removeCgroups(root: string): Promise<void> {
  const groups = cgroupRoots.map((path) => `${path}/${nameOf(root)}`);
  const find = async (...args: readonly string[]) => {
    const command = new Deno.Command("find", { args: [...groups, ...args], stderr: "null" });
    return new TextDecoder().decode((await command.output()).stdout);
  };
  // A container outlives the program that made it, if that is killed.
  const pids = await find("-name", "cgroup.procs", "-exec", "cat", "{}", ";");
  for (const pid of new Set(pids.split("\n").map(Number).filter(Boolean))) {
    try {
      Deno.kill(pid, "SIGKILL");
    } catch {
      // It has ended meanwhile, as all do when the container's first process has.
    }
  }
  const startMs = performance.now();
  while (await find("-maxdepth", "0") !== "") {
    await find("-depth", "-type", "d", "-exec", "rmdir", "{}", ";");
    if (performance.now() - startMs > limitMs) throw new Error(`${nameOf(root)} does not end`);
    await pause(20);
  }
}

/** A folder that is to be the root of a container. */
async function layRoot(root: string): Promise<void> {
  const folders = ["usr", "dev", "proc", "sys", "run", "tmp", "etc/systemd/system"];
  for (const path of [...folders, "var/log/journal"]) {
    await Deno.mkdir(`${root}/${path}`, { recursive: true });
  }
  await Deno.mkdir(`${root}.usr`);
  for (const name of ["bin", "sbin", "lib", "lib64"]) {
    await Deno.symlink(`usr/${name}`, `${root}/${name}`);
  }
  const etc: Readonly<Record<string, string>> = {
    "os-release": "ID=test\n",
    // Without one systemd takes it for the first start, and enables all services of this machine.
    "machine-id": `${"0123456789abcdef".repeat(2)}\n`,
    passwd: "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/usr/sbin/nologin\n",
    group: "root:x:0:\nnogroup:x:65534:\n",
  };
  for (const [name, text] of Object.entries(etc)) {
    await Deno.writeTextFile(`${root}/etc/${name}`, text);
  }
}

/** A container; it is ended when its scope is left. */
export class Systemd implements AsyncDisposable {
  readonly #folder = new ScratchFolder("systemd-");
  #program: Program | undefined;

  private constructor() {}

  /** Makes one that has not started. */
  static async prepare(): Promise<Systemd> {
    const systemd = new Systemd();
    await layRoot(systemd.root);
    return systemd;
  }

  /** Why there can be none on this machine, if so. */
  static async whyNot(): Promise<string | undefined> {
    if (Deno.build.os !== "linux" || Deno.uid() !== 0) return "a container needs Linux, and root";
    if (!await canRun("systemd-nspawn", "--version")) {
      return "systemd-nspawn is not here; it is in Debian's systemd-container";
    }
    await using probe = await Systemd.prepare();
    const { file, args } = nspawn(probe.root, ["/usr/bin/true"]);
    return await canRun(file, ...args) ? undefined : "systemd-nspawn may not make a container";
  }

  /** The root of the container. */
  get root(): string {
    return `${this.#folder.path}/root`;
  }

  /** Puts a file into it, and the folders above; below /usr it is for reading alone. */
  async put(path: string, content: string | { readonly copyOf: string }, mode = 0o644) {
    const file = path.startsWith("/usr/")
      ? path.replace("/usr", `${this.root}.usr`)
      : this.root + path;
    await Deno.mkdir(file.replace(/\/[^/]*$/, ""), { recursive: true });
    if (typeof content === "string") await Deno.writeTextFile(file, content);
    else await Deno.copyFile(content.copyOf, file);
    await Deno.chmod(file, mode);
  }

  /** Starts it, with some units and what these need. */
  async boot(units: readonly string[]): Promise<void> {
    await this.put("/etc/systemd/system/test.target", `[Unit]\nWants=${units.join(" ")}\n`);
    const boot = ["--boot", "systemd.unit=test.target", "systemd.show_status=no"];
    this.#program = new Program(nspawn(this.root, boot));
  }

  /** What the services have said so far, and systemd about them: a line each. */
  async journal(): Promise<string> {
    const args = ["--quiet", "--no-pager", "--output=cat", "-D", `${this.root}/var/log/journal`];
    const { stdout } = await new Deno.Command("journalctl", { args, stderr: "null" }).output();
    return new TextDecoder().decode(stdout);
  }

  /** Waits until the journal has a line. */
  async line(expression: RegExp): Promise<void> {
    const line = new RegExp(expression.source, "m");
    const startMs = performance.now();
    for (;;) {
      const journal = await this.journal();
      if (line.test(journal)) return;
      if (performance.now() - startMs > limitMs) throw new Error(`no ${line} in:\n${journal}`);
      await pause(100);
    }
  }

  /** Halts it in order. */
  async halt(): Promise<void> {
    this.#program?.kill("SIGTERM");
    await this.#program?.exitCode(limitMs);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await removeCgroups(this.root);
    await this.#program?.[Symbol.asyncDispose]();
    await this.#folder[Symbol.asyncDispose]();
  }
}
