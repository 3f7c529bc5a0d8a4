/**
 * Makes the Debian package: the programs, their man pages, the units for systemd and the settings
 * of a first queue. It starts nothing, makes no user, and keeps tasks at its removal.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";
import { dirname, join } from "node:path";
import { UserError } from "../../lib/user_error.ts";
import { runCommand } from "../tool.ts";
import { makeFolder } from "./denort.ts";

/** The name of the package. */
export const packageName = "priority-task-queue";

/** What a program is called when it is installed: `server` alone could be anybody's. */
export function installedName(program: string): string {
  return `task-queue-${program}`;
}

const units = ["task-queue@.service", "task-queue-worker@.service"] as const;
const examples = ["task-queue.default", "task-worker.default"] as const;

/** What a service needs, in contrib/: units for systemd, and the settings of a first queue. */
export const serviceFiles: readonly string[] = [...units, ...examples];

/** Whom Debian's users write to, as MAINTAINERS has it. */
export interface Maintainer {
  /** The name and the address, `NAME <ADDRESS>`. */
  readonly line: string;
  /** False if the address is a placeholder, of a domain that there cannot be. */
  readonly canBeReached: boolean;
}

/**
 * The first of those whom a text in the form of MAINTAINERS names.
 *
 * @throws {UserError} it names nobody.
 */
export function maintainerIn(text: string): Maintainer {
  const line = text.split("\n").find((line) => line !== "" && !line.startsWith("#")) ?? "";
  const [, domain] = /^[^<>]+ <[^<>@\s]+@([^<>@\s]+)>$/.exec(line) ?? [];
  if (domain !== undefined) return { line, canBeReached: !/(?:^|\.)invalid$/.test(domain) };
  throw new UserError(`MAINTAINERS must name somebody as NAME <ADDRESS>, got "${line}"`);
}

/** What {@linkcode makeDebianPackage} needs to know beside the programs. */
export interface DebianPackageOptions {
  /** The folder of the project's sources. */
  readonly source: string;
  /** The man pages by their file names, such as `task-queue-server.1`. */
  readonly manPages: ReadonlyMap<string, string>;
  /** The project's version. */
  readonly version: string;
  /** Who answers for the package, `NAME <ADDRESS>`. */
  readonly maintainer: string;
  /** Debian's name of the machine, such as `amd64`. */
  readonly architecture: string;
  /** The time of every file in it. */
  readonly date: Date;
  /** A folder to work in, which is not there yet. */
  readonly work: string;
  /** The package's own path. */
  readonly output: string;
}

/** Packing takes half a minute; on a busy machine longer. */
const packLimitMs = 600_000;

/** A file of the package: its content, or the path of a file to copy. */
interface PackageFile {
  readonly content: string | Uint8Array | { readonly copyOf: string };
  readonly isExecutable?: boolean;
}

const control = (
  { version, architecture, maintainer }: DebianPackageOptions,
  kilobytes: number,
) =>
  `Package: ${packageName}
Version: ${version}
Architecture: ${architecture}
Maintainer: ${maintainer}
Installed-Size: ${kilobytes}
Depends: libc6 (>= 2.27), libgcc-s1
Section: net
Priority: optional
Description: TCP task queue with priorities
 Producers send tasks to a server, and consumers pull them, the most urgent
 first. This package has the server, a producer, a consumer, a worker that runs
 a command for each task, and services for systemd: task-queue@NAME and
 task-queue-worker@NAME. It starts none of them by itself.
`;

/** What is left of `systemctl enable` when the units are gone: a purge takes it along. */
const forgetEnabled = `if [ "$1" = purge ]; then
  for unit in task-queue@ task-queue-worker@; do
    rm -f "\${DPKG_ROOT:-}"/etc/systemd/system/*.wants/"$unit"*.service
  done
fi
`;

/** What dpkg runs: systemd reads its units anew; only removal stops what runs. */
const scripts: Readonly<Record<string, string>> = {
  postinst: withSystemd("systemctl daemon-reload || true"),
  prerm: withSystemd(
    `if [ "$1" = remove ]; then systemctl stop 'task-queue@*' 'task-queue-worker@*' || true; fi`,
  ),
  postrm: forgetEnabled + withSystemd("systemctl daemon-reload || true"),
};

/** A line of shell not for another root than this system's, and not without systemd. */
function withSystemd(line: string): string {
  return `if [ -z "\${DPKG_ROOT:-}" ] && [ -d /run/systemd/system ]; then
  ${line}
fi
`;
}

const copyright = (license: string) =>
  `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: ${packageName}
Comment: Each program embeds denort, the Deno runtime (MIT, the Deno authors), which contains V8
 (BSD-3-Clause, the V8 project authors), SQLite (public domain) and crates of Rust under licences
 of their own; and parts of Deno's standard library (MIT, the Deno authors).

Files: *
Copyright: ${license.match(/^Copyright \(c\) (.+)$/m)?.[1] ?? ""}
License: Expat
${license.split("\n\n").slice(2).join("\n\n").trim().replaceAll(/^$/gm, ".").replaceAll(/^/gm, " ")}
`;

/** What lintian is told about itself: its checks are for what Debian compiles. */
const overrides =
  `# Each program embeds denort, the Deno runtime, as Deno's makers link it: statically.
${packageName}: embedded-library *
`;

/** The package's own history, which Debian wants; the project's is beside it. */
const changelog = ({ version, date, maintainer }: DebianPackageOptions) =>
  `${packageName} (${version}) stable; urgency=medium

  * Version ${version}: see CHANGELOG.md.gz.

 -- ${maintainer}  ${date.toUTCString().replace("GMT", "+0000")}
`;

/**
 * Makes the package by `dpkg-deb`. The same input gives the same bytes.
 *
 * @param programs the executables' paths, by program.
 * @throws {UserError} dpkg-deb is not there or fails.
 */
export async function makeDebianPackage(
  programs: ReadonlyMap<string, string>,
  options: DebianPackageOptions,
): Promise<void> {
  const files = await packageFiles(programs, options);
  const sums: string[] = [];
  let bytes = 0;
  for (const [path, file] of files) {
    const content = await put(join(options.work, path), file);
    bytes += content.length;
    sums.push(`${createHash("md5").update(content).digest("hex")}  ${path}\n`);
  }
  const information: [string, PackageFile][] = [
    ["control", { content: control(options, Math.ceil(bytes / 1024)) }],
    ["md5sums", { content: sums.join("") }],
    ["conffiles", { content: conffiles(files) }],
    ...Object.entries(scripts).map(([name, lines]): [string, PackageFile] => [
      name,
      { content: `#!/bin/sh\nset -e\n${lines}`, isExecutable: true },
    ]),
  ];
  for (const [name, file] of information) await put(join(options.work, "DEBIAN", name), file);
  await setFolderModes(options.work);
  const seconds = Math.floor(options.date.getTime() / 1000);
  await runCommand("dpkg-deb", {
    // xz with little effort: with more it takes several times as long, for a tenth less. Not zstd,
    // which dpkg reads only since Debian 12. One thread: the bytes depend on how many there are.
    args: [
      ...["--root-owner-group", "-Zxz", "-z0", "--threads-max=1"],
      ...["--build", options.work, options.output],
    ],
    env: { SOURCE_DATE_EPOCH: String(seconds) },
    purpose: "make the Debian package",
    limitMs: packLimitMs,
  });
}

/** All that is installed, by path, in a fixed order. */
async function packageFiles(
  programs: ReadonlyMap<string, string>,
  options: DebianPackageOptions,
): Promise<Map<string, PackageFile>> {
  const { source, manPages } = options;
  const from = (path: string) => Deno.readTextFile(join(source, path));
  const documentation = `usr/share/doc/${packageName}`;
  const files = new Map<string, PackageFile>();
  for (const [program, path] of programs) {
    const file = { content: { copyOf: path }, isExecutable: true };
    files.set(`usr/bin/${installedName(program)}`, file);
  }
  for (const unit of units) {
    files.set(`usr/lib/systemd/system/${unit}`, { content: await from(`contrib/${unit}`) });
  }
  for (const example of examples) {
    const content = await from(`contrib/${example}`);
    files.set(`etc/default/${example.replace(".default", "-main")}`, { content });
  }
  for (const [name, page] of manPages) {
    files.set(`usr/share/man/man1/${name}.gz`, { content: packed(page) });
  }
  files.set(`${documentation}/copyright`, { content: copyright(await from("LICENSE")) });
  const changes = packed(await from("CHANGELOG.md"));
  files.set(`${documentation}/CHANGELOG.md.gz`, { content: changes });
  files.set(`usr/share/lintian/overrides/${packageName}`, { content: overrides });
  const log = packed(changelog(options));
  return files.set(`${documentation}/changelog.gz`, { content: log });
}

/** What dpkg keeps if a user has changed it, and removes at a purge. */
function conffiles(files: ReadonlyMap<string, unknown>): string {
  const settings = [...files.keys()].filter((path) => path.startsWith("etc/"));
  return settings.map((path) => `/${path}\n`).join("");
}

async function put(path: string, { content, isExecutable }: PackageFile): Promise<Uint8Array> {
  const bytes = typeof content === "string"
    ? new TextEncoder().encode(content)
    : content instanceof Uint8Array
    ? content
    : await Deno.readFile(content.copyOf);
  await makeFolder(dirname(path));
  await Deno.writeFile(path, bytes);
  // Of its own: a new file's mode depends on the umask.
  await Deno.chmod(path, isExecutable ? 0o755 : 0o644);
  return bytes;
}

async function setFolderModes(folder: string): Promise<void> {
  await Deno.chmod(folder, 0o755);
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    if (isDirectory) await setFolderModes(join(folder, name));
  }
}

/** As `gzip -n` packs: without a time. */
function packed(text: string): Uint8Array {
  return gzipSync(text, { level: 9 });
}
