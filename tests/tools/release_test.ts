import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  canRun,
  denoScript,
  Program,
  projectFolder,
  type Role,
  ScratchFolder,
} from "../lab/processes.ts";
import { billOfMaterials } from "../../tools/build/bill_of_materials.ts";
import { maintainerIn } from "../../tools/build/debian_package.ts";
import { manPage } from "../../tools/build/man_page.ts";
import { UserError } from "../../lib/user_error.ts";
import { testUnless } from "../test_unless.ts";

const date = new Date("2026-01-02T03:04:05Z");

async function helpOf(program: Role): Promise<string> {
  await using role = new Program(denoScript(`${program}.ts`, ["--no-prompt"], ["--help"]));
  assertEquals(await role.exitCode(), 0);
  return role.stdout.text;
}

function pageOf(program: string, help: string): string {
  const installedAs = `task-queue-${program}`;
  return manPage(help, { program, installedAs, version: "1.2.3", date, seeAlso: [installedAs] });
}

/** The words of a man page's body, without what is roff's. */
function wordsOf(page: string): string[] {
  const [, body = ""] = /\.SH DESCRIPTION\n([^]*)\.SH NOTES/.exec(page) ?? [];
  const text = body.replaceAll(/^\.(?:SH .*|TP|PP)$/gm, "").replaceAll(/^\.B /gm, "");
  return text.replaceAll("\\&", "").replaceAll("\\-", "-").replaceAll("\\e", "\\")
    .match(/\S+/g) ?? [];
}

for (const program of ["server", "producer", "consumer", "worker"] as const) {
  Deno.test(`The man page of ${program} has each word of its --help, in its order`, async () => {
    const help = await helpOf(program);
    const [usage = "", ...lines] = help.split("\n");
    const page = pageOf(program, help);
    const text = lines.join("\n").replaceAll(`Example: ${program}`, `task-queue-${program}`)
      .replaceAll(/^(?:Options|Exit codes):/gm, "");
    assertEquals(wordsOf(page), text.match(/\S+/g));
    const synopsis = usage.replace(`Usage: ${program} `, "").replaceAll("-", "\\-");
    assert(page.includes(`.SH SYNOPSIS\n.B task\\-queue\\-${program}\n${synopsis}\n`), page);
    assert(page.includes("\n.SH OPTIONS\n"), page);
  });
}

for (
  const [checker, args] of [
    ["mandoc", ["-Tlint", "-Wwarning"]],
    ["man", ["--warnings", "--local-file"]],
  ] as const
) {
  const missing = await canRun(checker, ...checker === "man" ? ["--version"] : ["/dev/null"])
    ? undefined
    : `${checker} is not here; it is in Debian's ${checker === "man" ? "man-db" : "mandoc"}`;
  testUnless(missing, `${checker} finds nothing wrong with the man pages`, async () => {
    await using folder = new ScratchFolder();
    const check = async (page: string) => {
      const path = await folder.write("page.1", page);
      const { stdout, stderr } = await new Deno.Command(checker, { args: [...args, path] })
        .output();
      return new TextDecoder().decode(checker === "man" ? stderr : stdout);
    };
    for (const program of ["server", "producer", "consumer", "worker"] as const) {
      assertEquals(await check(pageOf(program, await helpOf(program))), "");
    }
    // That it looks.
    assert(await check(`${pageOf("server", await helpOf("server"))}.RE\n.nosuch\n`) !== "");
  });
}

Deno.test("manPage() takes lines that roff would take for its own as text", () => {
  const page = pageOf("x", "Usage: x <y>\n\nDoes y.\n.so \\file\n'quoted'\n");
  assertEquals(wordsOf(page).join(" "), "Does y. .so \\file 'quoted'");
  assert(page.includes("\n\\&.so \\efile\n\\&'quoted'\n"), page);
});

Deno.test("manPage() refuses what is no help", () => {
  assertThrows(() => pageOf("server", "Segmentation fault\n"), Error, '"Segmentation fault"');
});

Deno.test("billOfMaterials() gives the same bytes for the same release, with all that is in it", () => {
  const release = {
    ...{ name: "queue", version: "1.2.3", license: "MIT", commit: "0123456789".repeat(4), date },
    deno: "2.9.6",
    packages: [{ name: "@a/b", version: "1.0.0", integrity: "sha512-AQID", license: "ISC" }],
    denorts: [{ target: "x", version: "2.9.4", sha256: "00ff", origin: "npm" }],
  };
  const text = billOfMaterials(release);
  assertEquals(text, billOfMaterials(release));
  const bill = JSON.parse(text);
  assertEquals(
    bill.components.map(({ name, version, hashes }: Record<string, unknown>) => [
      ...[name, version, hashes],
    ]),
    [
      ["@a/b", "1.0.0", [{ alg: "SHA-512", content: "010203" }]],
      ["denort", "2.9.4", [{ alg: "SHA-256", content: "00ff" }]],
    ],
  );
  assertEquals(bill.dependencies[0].dependsOn, ["pkg:npm/%40a/b@1.0.0", "denort-x"]);
});

Deno.test("The package's maintainer is the first whom MAINTAINERS names, as NAME <ADDRESS>", async () => {
  const own = maintainerIn("# Who\n\nAda Lovelace <ada@example.org>\nB <b@example.org>\n");
  assertEquals(own, { line: "Ada Lovelace <ada@example.org>", canBeReached: true });
  assertEquals(maintainerIn("A <a@queue.invalid>").canBeReached, false);
  maintainerIn(await Deno.readTextFile(`${projectFolder}MAINTAINERS`));
  for (const text of ["", "# A <a@example.org>\n", "Ada\n", "Ada <ada>\n", "A <a@b>\u000bX: y\n"]) {
    assertThrows(() => maintainerIn(text), UserError, "MAINTAINERS must name somebody");
  }
});

testUnless(
  await canRun("hadolint", "--version") ? undefined : "hadolint is not here; Debian has none",
  "hadolint finds nothing wrong with contrib/Dockerfile",
  async () => {
    const command = new Deno.Command("hadolint", { args: [`${projectFolder}contrib/Dockerfile`] });
    const { success, stdout } = await command.output();
    assert(success, new TextDecoder().decode(stdout));
  },
);

Deno.test("deno task release ends with 2 on a system that it does not know, and names it", async () => {
  const args = ["--targets", "x86_64-unknown-linux-gnu,amiga"];
  const flags = ["--allow-read", "--allow-env"];
  await using tool = new Program(denoScript("tools/build/release.ts", flags, args));
  assertEquals(await tool.exitCode(), 2);
  assert(tool.stderr.text.includes('got "amiga"'), tool.stderr.text);
});

Deno.test("deno task release writes into an empty folder alone", async () => {
  await using folder = new ScratchFolder();
  await folder.write("mine", "mine");
  const flags = ["--allow-read", "--allow-write", "--allow-env", "--allow-run"];
  const args = ["--output", folder.path, "--targets", "x86_64-unknown-linux-gnu"];
  await using tool = new Program(denoScript("tools/build/release.ts", flags, args));
  assertEquals(await tool.exitCode(), 1);
  assert(/must be empty, has mine|Not installed/.test(tool.stderr.text), tool.stderr.text);
});

Deno.test("What contrib/Dockerfile builds from is enough to compile the programs", async () => {
  const ignored = await Deno.readTextFile(`${projectFolder}contrib/Dockerfile.dockerignore`);
  const kept = [...ignored.matchAll(/^!(.+)$/gm)].map(([, path = ""]) => path);
  await using folder = new ScratchFolder();
  const script = 'for path in $KEPT; do cp -r --parents $path "$0"; done';
  const copied = await new Deno.Command("sh", {
    ...{ args: ["-ec", script, folder.path], env: { KEPT: kept.join(" ") }, cwd: projectFolder },
  }).output();
  assert(copied.success, new TextDecoder().decode(copied.stderr));
  const scripts = ["server.ts", "producer.ts", "consumer.ts", "worker.ts"];
  const cached = await new Deno.Command(Deno.execPath(), {
    args: ["cache", "--quiet", "tools/build/compile.ts", ...scripts],
    cwd: folder.path,
  }).output();
  assert(cached.success, new TextDecoder().decode(cached.stderr));
});

Deno.test("contrib/Dockerfile has the Deno that the project is tested with", async () => {
  const dockerfile = await Deno.readTextFile(`${projectFolder}contrib/Dockerfile`);
  const ci = await Deno.readTextFile(`${projectFolder}.ci/run`);
  const [, version] = /deno@([\d.]+)/.exec(ci) ?? [];
  assertEquals(/^FROM denoland\/deno:(\S+)/m.exec(dockerfile)?.[1], version);
});
