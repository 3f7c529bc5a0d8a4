/** The units of contrib/ at work, with the executables, under a systemd of their own. */

import {
  assert,
  assertEquals,
  assertMatch,
  assertNotMatch,
  assertStringIncludes,
} from "@std/assert";
import { ensureExecutables } from "../../tools/build/compile.ts";
import { Authority, noOpenssl } from "../lab/certificates.ts";
import { freePort } from "../lab/free_port.ts";
import { RawPeer } from "../lab/peers.ts";
import { processesWith, statusOf } from "../lab/proc.ts";
import { projectFolder } from "../lab/processes.ts";
import { Systemd } from "../lab/systemd.ts";
import { testUnless } from "../test_unless.ts";

const made = await ensureExecutables();
const noService = noOpenssl ??
  ("missing" in made ? made.missing.replaceAll(/\s+/g, " ") : await Systemd.whyNot());

const token = "correct-horse-battery-staple";

/** Puts programs, units and settings where the Debian package puts them. */
async function install(systemd: Systemd): Promise<void> {
  for (const program of ["server", "worker"]) {
    const file = { copyOf: `${"dir" in made ? made.dir : ""}/${program}` };
    await systemd.put(`/usr/bin/task-queue-${program}`, file, 0o755);
  }
  for (const unit of ["task-queue@.service", "task-queue-worker@.service"]) {
    const file = { copyOf: `${projectFolder}contrib/${unit}` };
    await systemd.put(`/usr/lib/systemd/system/${unit}`, file);
  }
}

/** Settings of contrib/, some of them changed. */
async function settings(example: string, changes: Readonly<Record<string, string | number>>) {
  let text = await Deno.readTextFile(`${projectFolder}contrib/${example}`);
  for (const [name, value] of Object.entries(changes)) {
    text = text.replace(new RegExp(`^#?${name}=.*$`, "m"), `${name}=${value}`);
  }
  return text;
}

/** A block of docs/operations.md by its language and its first line. */
async function blockOf(language: string, start: string): Promise<string> {
  const document = await Deno.readTextFile(`${projectFolder}docs/operations.md`);
  const blocks = [...document.matchAll(/^```(\w+)\n([^]*?)^```$/gm)];
  const found = blocks.filter(([, kind, text = ""]) => kind === language && text.startsWith(start));
  assertEquals(found.length, 1, start);
  return found[0]?.[2] ?? "";
}

/** What a unit promises of a process: a user of its own, no capability, a filter of system calls. */
function expectConfined(pid: number): void {
  const { Uid = "", CapEff, CapBnd, NoNewPrivs, Seccomp, Umask } = statusOf(pid);
  assertMatch(Uid, /^6\d{4}\t/, "no dynamic user");
  assertEquals({ CapEff, CapBnd, NoNewPrivs, Seccomp, Umask }, {
    ...{ CapEff: "0".repeat(16), CapBnd: "0".repeat(16) },
    ...{ NoNewPrivs: "1", Seccomp: "2", Umask: "0077" },
  });
}

testUnless(
  noService,
  "systemd runs a queue and its worker as contrib/ says, confined",
  async () => {
    await using systemd = await Systemd.prepare();
    await install(systemd);
    const [producerPort, consumerPort] = [freePort(), freePort()];
    const ports = { PRODUCER_PORT: producerPort, CONSUMER_PORT: consumerPort };
    await systemd.put("/etc/default/task-queue-main", await settings("task-queue.default", ports));
    const work = { ...ports, COMMAND: '/bin/sh -c "echo did {}; echo x > mine"' };
    await systemd.put("/etc/default/task-worker-main", await settings("task-worker.default", work));
    await systemd.boot(["task-queue@main.service", "task-queue-worker@main.service"]);

    await systemd.line(/^listening: producers 127\.0\.0\.1:/);
    await using producer = await RawPeer.connect(producerPort);
    assertEquals(await producer.ask("CREATE 1 a 1\nSYNC"), "OK 1");
    await systemd.line(/^\[COMPLETE\] a$/);
    await systemd.line(/^did a$/);
    for (const program of ["server", "worker"]) {
      const [pid, ...more] = processesWith(`/usr/bin/task-queue-${program}`, String(consumerPort));
      assert(pid !== undefined && more.length === 0, program);
      expectConfined(pid);
    }
    const state = `${systemd.root}/var/lib/private`;
    for (const path of ["task-queue/main/tasks", "task-queue-worker/main/mine"]) {
      assertEquals(((await Deno.stat(`${state}/${path}`)).mode ?? 0) & 0o777, 0o600, path);
    }
    await systemd.halt();
    const journal = await systemd.journal();
    for (const unit of ["task-queue@main", "task-queue-worker@main"]) {
      assertStringIncludes(journal, `${unit}.service: Deactivated successfully.`);
    }
  },
);

testUnless(
  noService,
  "systemd hands a queue its token and certificate as docs/operations.md says, and restarts it after a crash",
  async () => {
    await using systemd = await Systemd.prepare();
    await using authority = await Authority.found();
    await install(systemd);
    const { cert, key } = await authority.give();
    await systemd.put("/etc/task-queue/token", `${token}\n`, 0o600);
    await systemd.put("/etc/task-queue/cert.pem", { copyOf: cert }, 0o600);
    await systemd.put("/etc/task-queue/key.pem", { copyOf: key }, 0o600);
    const dropIn = await blockOf("ini", "[Service]\nLoadCredential=");
    await systemd.put("/etc/systemd/system/task-queue@main.service.d/override.conf", dropIn);
    const [producerPort, consumerPort] = [freePort(), freePort()];
    await systemd.put(
      "/etc/default/task-queue-main",
      await settings("task-queue.default", {
        ...{ PRODUCER_PORT: producerPort, CONSUMER_PORT: consumerPort },
        OPTIONS: (await blockOf("sh", "OPTIONS=")).trim().slice("OPTIONS=".length),
      }),
    );
    await systemd.boot(["task-queue@main.service"]);
    await systemd.line(/^listening: /);
    const caCerts = [await Deno.readTextFile(authority.file)];
    {
      await using producer = await RawPeer.connect(producerPort, { token, caCerts });
      assertEquals(await producer.ask("CREATE 1 a 1\nSYNC"), "OK 1");
    }
    await using stranger = await RawPeer.connect(producerPort, { caCerts });
    assertEquals(await stranger.ask("SYNC"), "ERROR authentication required");

    const [pid = 0] = processesWith("/usr/bin/task-queue-server", String(consumerPort));
    expectConfined(pid);
    Deno.kill(pid, "SIGKILL");
    await systemd.line(/^store: 1 task$/);
    await using consumer = await RawPeer.connect(consumerPort, { token, caCerts });
    assertEquals(await consumer.received.next(), "Consumer1");
    assertEquals(await consumer.ask("REQUEST"), "ASSIGN a 1");
    await systemd.halt();
    const journal = await systemd.journal();
    assertStringIncludes(journal, "task-queue@main.service: Failed with result 'signal'.");
    assertNotMatch(journal, /correct-horse|may be read by others/);
  },
);
