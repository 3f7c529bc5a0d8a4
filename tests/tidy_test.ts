import { protocolWords } from "../lib/core/protocol.ts";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { ScratchFolder } from "./lab/processes.ts";

const root = new URL("../", import.meta.url);

/** The rooms of the house, and which other rooms the modules of each may import. */
const rooms: Readonly<Record<string, readonly string[]>> = {
  "lib": [],
  "lib/core": ["lib"],
  "lib/net": ["lib"],
  "lib/cli": ["lib"],
  "lib/store": ["lib", "lib/core"],
  "lib/client": ["lib", "lib/core"],
  "lib/consumer": ["lib", "lib/core", "lib/net"],
  "lib/server": ["lib", "lib/core", "lib/net", "lib/store"],
  "lib/http": ["lib", "lib/core", "lib/net", "lib/server"],
  "lib/worker": ["lib", "lib/core", "lib/client"],
  "lib/role": ["lib", "lib/core", "lib/net", "lib/cli", "lib/server", "lib/http"],
  ".": [
    ...["lib", "lib/core", "lib/net", "lib/cli", "lib/store", "lib/client", "lib/server"],
    ...["lib/consumer", "lib/http", "lib/worker", "lib/role"],
  ],
};
const roles = ["server.ts", "producer.ts", "consumer.ts", "worker.ts"];

/** The client library: of it all that other runtimes have, and of `Deno` one module. */
const library = "mod.ts";
const inLibrary =
  /^(?:mod\.ts|lib\/(?:core\/|client\/)?[a-z_]+\.ts|node:(?:dns\/promises|net|timers|tls))$/;

/** What must not import what, by folder: who, what, and why. */
const fences: readonly (readonly [importer: RegExp, imported: RegExp, why: string])[] = [
  [/^(?:tools|bench|tests\/lab)\//, /^tests\/(?!lab\/)/, "what is shared is in tests/lab"],
  [/^(?!tools\/|tests\/(?:long\/)?tools\/)/, /^tools\//, "only tests/tools knows tools"],
  [/^(?!(?:cluster\/)?bench\/)/, /^bench\//, "only benches know bench"],
  [/^(?!cluster\/)/, /^cluster\//, "code of others is in cluster/ alone, which nobody needs"],
];

/** Words that only some files of a folder may say. */
const reserved: readonly (readonly [files: RegExp, word: RegExp, why: string])[] = [
  [/^tests\/lab\//, /\bDeno\.test\b/, "the laboratory has no tests"],
  [/^tools\/(?!tool\.ts$)/, /\bDeno\.exit\b/, "tools end by tools/tool.ts"],
  [/^(?:tools|bench)\//, /\bparseArgs\b/, "options are read by lib/cli/arguments.ts"],
];

/** What the language itself has that is not pure; all else is unknown where only the language is. */
const impure =
  /\bDate\b|\bTemporal\b|\bMath\.random\b|\basync\b|\bawait\b|\bPromise\b|\bglobalThis\b|\beval\b|\bFunction\b/g;

const strictness = {
  strict: true,
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true,
};

/** All that the core may use beside the language. */
const pureGlobals = `
  declare class TextEncoder {
    encode(text: string): Uint8Array;
    encodeInto(text: string, into: Uint8Array): { read: number; written: number };
  }
  declare class TextDecoder {
    constructor(label?: string, options?: { fatal?: boolean; ignoreBOM?: boolean });
    decode(bytes?: Uint8Array, options?: { stream?: boolean }): string;
  }`;

/** What `deno info --json` says of a module, as far as it is used here. */
interface ModuleInfo {
  readonly specifier: string;
  readonly dependencies?: readonly {
    readonly code?: { readonly specifier: string };
    readonly type?: { readonly specifier: string };
  }[];
}

/** Runs this Deno at the root of the project. */
async function deno(...args: string[]): Promise<{ code: number; output: string; errors: string }> {
  const command = new Deno.Command(Deno.execPath(), {
    args,
    cwd: root,
    env: { NO_COLOR: "1" },
    stdin: "null",
  });
  const { code, stdout, stderr } = await command.output();
  const decoder = new TextDecoder();
  return { code, output: decoder.decode(stdout), errors: decoder.decode(stderr) };
}

/** The modules that a file leads to, by their paths in the project where they are its own. */
async function moduleGraph(file: string): Promise<Map<string, ModuleInfo>> {
  const { output, errors } = await deno("info", "--json", file);
  assertStringIncludes(output, '"modules"', errors);
  const { modules } = JSON.parse(output) as { modules: ModuleInfo[] };
  return new Map(modules.map((module) => [inProject(module.specifier), module]));
}

function inProject(specifier: string): string {
  return specifier.startsWith(root.href) ? specifier.slice(root.href.length) : specifier;
}

/** What a module imports: all, or only what is there at run time. */
function importsOf(module: ModuleInfo | undefined, options: { types: boolean }): string[] {
  return (module?.dependencies ?? []).flatMap(({ code, type }) => {
    const specifier = code?.specifier ?? (options.types ? type?.specifier : undefined);
    return specifier === undefined ? [] : [inProject(specifier)];
  });
}

/** What a module leads to at run time, itself too, each with a module that imports it. */
function reachedFrom(start: string, graph: Map<string, ModuleInfo>): Map<string, string> {
  const reached = new Map([[start, start]]);
  for (const path of reached.keys()) {
    for (const next of importsOf(graph.get(path), { types: false })) {
      if (!reached.has(next)) reached.set(next, path);
    }
  }
  return reached;
}

async function namesIn(folder: string): Promise<string[]> {
  const names: string[] = [];
  for await (const entry of Deno.readDir(new URL(folder, root))) names.push(entry.name);
  return names.sort();
}

/** Every file and folder of the project, but for what a machine makes. */
async function allPaths(folder = ""): Promise<string[]> {
  const paths: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(new URL(`./${folder}`, root))) {
    if (/^(?:\.git|\.cache|node_modules)$/.test(name)) continue;
    paths.push(folder + name);
    if (isDirectory) paths.push(...await allPaths(`${folder}${name}/`));
  }
  return paths;
}

const projectPaths = await allPaths();

function withoutComments(source: string): string {
  return source.replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, "");
}

function roomOf(path: string): string {
  return path.includes("/") ? path.slice(0, path.lastIndexOf("/")) : ".";
}

Deno.test("Imports point down: each room knows only those below it, and no role or test", async () => {
  const wrong: string[] = [];
  const seen = new Set<string>();
  for (const role of [...roles, library]) {
    for (const [path, module] of await moduleGraph(role)) {
      if (!path.endsWith(".ts") || path.startsWith("file:")) continue;
      seen.add(roomOf(path));
      for (const imported of importsOf(module, { types: true })) {
        if (!imported.endsWith(".ts") || roomOf(imported) === roomOf(path)) continue;
        const isAllowed = rooms[roomOf(path)]?.includes(roomOf(imported)) ?? false;
        if (!isAllowed) wrong.push(`${path} imports ${imported}`);
      }
    }
  }
  assertEquals(wrong, []);
  assertEquals([...seen].sort(), Object.keys(rooms).sort());
});

Deno.test("Tools, tests and benches share tests/lab, and keep their other rooms to themselves", async () => {
  const wrong: string[] = [];
  let imports = 0;
  for (const path of projectPaths.filter((path) => path.endsWith(".ts"))) {
    const source = withoutComments(await Deno.readTextFile(new URL(path, root)));
    for (const [, specifier] of source.matchAll(/\b(?:from|import)[\s(]*"(\.[^"]+)"/g)) {
      const imported = inProject(new URL(specifier as string, new URL(path, root)).href);
      const fence = fences.find(([who, what]) => who.test(path) && what.test(imported));
      if (fence !== undefined) wrong.push(`${path} imports ${imported}: ${fence[2]}`);
      imports++;
    }
    for (const [files, word, why] of reserved) {
      if (files.test(path) && word.test(source)) wrong.push(`${path} says ${word.source}: ${why}`);
    }
  }
  assertEquals(wrong, []);
  assert(imports > 300, "the imports are not read");
});

Deno.test("Imports go round in no circle", async () => {
  const circles: string[] = [];
  for (const role of [...roles, library]) {
    const graph = await moduleGraph(role);
    const done = new Set<string>();
    const visit = (path: string, way: readonly string[]): void => {
      if (way.includes(path)) circles.push([...way, path].join(" -> "));
      else if (!done.has(path)) {
        for (const imported of importsOf(graph.get(path), { types: true })) {
          visit(imported, [...way, path]);
        }
        done.add(path);
      }
    };
    visit(role, []);
    assert(done.size > 10, `the graph of ${role} is not read`);
  }
  assertEquals(circles, []);
});

for (const role of roles) {
  Deno.test(`${role} needs at run time this project, Deno's built-ins and Deno std alone`, async () => {
    const graph = await moduleGraph(role);
    const reached = [...reachedFrom(role, graph).keys()];
    const foreign = reached.filter((path) =>
      !/^(?:[a-z]+\.ts|lib\/(?:[a-z_]+\/)?[a-z_]+\.ts|lib\/http\/web\/[a-z_]+\.(?:html|css|js|svg)|deno\.json|node:[a-z/]+|npm:deno-std@[\d.]+\/.+)$/
        .test(
          path,
        )
    );
    assertEquals(foreign, []);
    assert(reached.some((path) => path.startsWith("npm:deno-std@")), "the graph is not read");
  });
}

Deno.test("Of Node's modules, the page has only small ones loaded before somebody comes", async () => {
  const page = "lib/http/open_http.ts";
  const reached = [...reachedFrom(page, await moduleGraph(page)).keys()];
  assertEquals(reached.filter((path) => path.startsWith("node:")).sort(), [
    "node:buffer",
    // For a page that is given by name.
    "node:dns/promises",
    "node:timers",
  ]);
});

Deno.test("The client library runs on ground and core, by what Deno, Node and Bun share", async () => {
  const graph = await moduleGraph(library);
  const reached = [...reachedFrom(library, graph).keys()];
  assertEquals(reached.filter((path) => !inLibrary.test(path)), []);
  const own = reached.filter((path) => path.endsWith(".ts"));
  const sources = await Promise.all(own.map((path) => Deno.readTextFile(new URL(path, root))));
  const denoUsers = own.filter((_, i) => /\bDeno\./.test(withoutComments(sources[i] as string)));
  assertEquals(denoUsers, ["lib/client/deno_transport.ts"]);
});

Deno.test("What is published of this project is what the client library reaches", async () => {
  const graph = await moduleGraph(library);
  const reached = [...graph.keys()].filter((path) => /^(?!file:).*(?<!\.d)\.ts$/.test(path));
  const { errors } = await deno("publish", "--dry-run", "--allow-dirty");
  const published = [...errors.matchAll(/^ +file:\S+?([^/\s]+\.ts|lib\/\S+\.ts) \(/gm)].map((
    [, path],
  ) => path);
  assertEquals(published.sort(), reached.sort());
});

Deno.test("What makes a module impure is found in code, and not in comments", () => {
  const source =
    "/** Not a Date. */\n// nor console\nconst now = Date.now(); // await\nDeno.exit();";
  assertEquals(withoutComments(source).match(impure), ["Date"]);
});

Deno.test("What lib/core reaches is core or ground, and pure: no I/O, clock, randomness or waiting", async () => {
  const reached = new Map<string, string>();
  for (const name of await namesIn("lib/core/")) {
    const start = `lib/core/${name}`;
    for (const [path, by] of reachedFrom(start, await moduleGraph(start))) reached.set(path, by);
  }
  const impurities: string[] = [];
  for (const [path, by] of reached) {
    if (!["lib", "lib/core"].includes(roomOf(path))) impurities.push(`${by} reaches ${path}`);
    else {
      const source = withoutComments(await Deno.readTextFile(new URL(path, root)));
      for (const word of source.match(impure) ?? []) impurities.push(`${path} says ${word}`);
    }
  }
  assertEquals(impurities, []);
  assert(reached.has("lib/heap.ts"), "the graphs are not read");
});

Deno.test("lib/core needs the language and text codecs alone: no other global is known to it", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/globals.d.ts`, pureGlobals);
    const compilerOptions = { lib: ["esnext"], types: ["./globals.d.ts"], ...strictness };
    await Deno.writeTextFile(`${folder}/deno.json`, JSON.stringify({ compilerOptions }));
    const check = async (...files: string[]) =>
      await deno("check", "--no-lock", "--config", `${folder}/deno.json`, ...files);
    const files = (await namesIn("lib/core/")).map((name) => `lib/core/${name}`);
    const { code, errors } = await check(...files);
    assertEquals([code, errors.match(/TS\d+.*/g) ?? []], [0, []]);
    // That it can fail: the names that no list has.
    await Deno.writeTextFile(`${folder}/impure.ts`, "queueMicrotask(() => {}); process.exit();");
    assertEquals((await check(`${folder}/impure.ts`)).errors.match(/Cannot find name/g)?.length, 2);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("File names are snake_case", () => {
  const rooms = /^(?:bench|cluster|docs|examples|lib|tests|tools)\/|^[^/]+\.ts$/;
  const names = projectPaths.filter((path) => rooms.test(path)).flatMap((path) => path.split("/"));
  assert(names.includes("task_queue.ts"), "the folders are not read");
  const snakeCase = /^[a-z0-9]+(?:_[a-z0-9]+)*(?:\.[a-z0-9]+)*$/;
  // As decisions are named everywhere: 0001-what-it-is-about.md
  const decision = /^\d{4}(?:-[a-z0-9]+)+\.md$/;
  const isExempt = (name: string) => decision.test(name) || name === "README.md";
  assertEquals(names.filter((name) => !snakeCase.test(name) && !isExempt(name)), []);
});

/** What links call the sections of a document: as pandoc is told by `{#name}`, or as GitHub does. */
function anchorsOf(document: string): string[] {
  return [...document.matchAll(/^#+ (.+?)(?: \{(?:#([\w-]+))?.*\})?$/gm)].map((
    [, title = "", name],
  ) => name ?? title.toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-"));
}

const documents = new Map<string, string>();
for (const path of projectPaths.filter((path) => path.endsWith(".md"))) {
  documents.set(path, await Deno.readTextFile(new URL(path, root)));
}

for (const path of ["CONTRIBUTING.md", "docs/architecture.md"]) {
  Deno.test(`${path} has the rooms, and what each may import`, () => {
    const rows = (documents.get(path) ?? "").matchAll(
      /^\| [[`]*(lib(?:\/\w+)?)\/[^|]*\|[^|]*\| ([^|]*?) *\|$/gm,
    );
    const table = [...rows].map(([, room = "", imports = ""]): [string, string[]] => {
      const names = imports === "nothing" ? [] : imports.replace(/ \(.*/, "").split(", ");
      return [room, names.map((name) => name === "ground" ? "lib" : `lib/${name}`)];
    });
    const { ".": _roles, ...expected } = rooms;
    assertEquals(Object.fromEntries(table), expected);
  });
}

Deno.test("Each member of a class that docs/architecture.md names is there", async () => {
  const sources: string[] = [];
  for (const path of projectPaths.filter((path) => /^lib\/.*\.ts$/.test(path))) {
    sources.push(await Deno.readTextFile(new URL(path, root)));
  }
  const document = documents.get("docs/architecture.md") ?? "";
  const named = [...document.matchAll(/`([A-Z]\w+)\.(#?\w+)`/g)];
  const missing = named.filter(([, type, member]) => {
    const declared = new RegExp(`\\b(?:class|interface) ${type}\\b[^]*^  [\\w ]*${member}\\(`, "m");
    return !sources.some((source) => declared.test(source));
  });
  assertEquals(missing.map(([name]) => name), []);
  assert(named.length > 15, "the document is not read");
});

Deno.test("Each link in a document leads to a file, and to a section that it has", () => {
  const broken: string[] = [];
  let count = 0;
  for (const [path, document] of documents) {
    for (const [, link = ""] of document.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^\w+:/.test(link)) continue;
      count++;
      const { href, hash } = new URL(link, new URL(path, root));
      const target = inProject(href.split("#", 1)[0] as string).replace(/\/$/, "");
      const section = decodeURIComponent(hash.slice(1));
      const isThere = projectPaths.includes(target) &&
        (section === "" || anchorsOf(documents.get(target) ?? "").includes(section));
      if (!isThere) broken.push(`${path} links to ${link}`);
    }
  }
  assertEquals(broken, []);
  assert(count > 30, "the documents are not read");
});

Deno.test("Each file or folder that a document names is there", () => {
  const folders = [
    ...new Set(projectPaths.flatMap((path) => path.split("/").slice(0, -1)[0] ?? [])),
  ]
    .map((folder) => folder.replaceAll(".", "\\.")).join("|");
  const named = new RegExp(
    `(?<![\\w./<*@-])(?:(?:${folders})/[\\w./@-]*|[\\w-]+\\.(?:ts|py|md|dot|svg|service))(?![\\w*<])`,
    "g",
  );
  const missing: string[] = [];
  let count = 0;
  for (const [path, document] of documents) {
    // It tells of what was.
    if (path === "CHANGELOG.md") continue;
    for (const [name] of document.matchAll(named)) {
      count++;
      const clean = name.replace(/[./]+$/, "");
      const isThere = projectPaths.some((other) => other === clean || other.endsWith(`/${clean}`));
      if (!isThere) missing.push(`${path} names ${name}`);
    }
  }
  assertEquals(missing, []);
  assert(count > 100, "the documents are not read");
});

Deno.test("Each task that a document names is one of deno.json", async () => {
  const config = JSON.parse(await Deno.readTextFile(new URL("deno.json", root)));
  const unknown: string[] = [];
  let count = 0;
  for (const [path, document] of documents) {
    for (const [, name] of document.matchAll(/`(?:npx -y )?deno(?:@[\d.]+)? task ([\w:]+)/g)) {
      count++;
      const isKnown = (name as string) in config.tasks;
      if (!isKnown && path !== "CHANGELOG.md") unknown.push(`${path} names ${name}`);
    }
  }
  assertEquals(unknown, []);
  assert(count > 20, "the documents are not read");
});

Deno.test("No module of lib/ has state: two servers in one process share nothing", async () => {
  const found: string[] = [];
  for (const path of projectPaths.filter((path) => /^lib\/.*\.ts$/.test(path))) {
    const source = withoutComments(await Deno.readTextFile(new URL(path, root)));
    const state =
      /^(?:export )?(?:let |const \w+(?:: [^=]+)? = (?:\[\]|\{\}|new (?:Map|Set)\(\)))/gm;
    for (const [line] of source.matchAll(state)) found.push(`${path}: ${line}`);
  }
  assertEquals(found, []);
});

Deno.test("No verb of the protocol or the console is spelled outside the codecs", async () => {
  const words = [...protocolWords, "REQUEUE", "BURY"].join("|");
  const spelled = new RegExp(`["'\`]\\[?(?:${words})(?=[\\]\\s"'\`])`, "g");
  const found: string[] = [];
  for (const path of projectPaths.filter((path) => /^lib\/.*\.ts$/.test(path))) {
    if (["lib/core/protocol.ts", "lib/core/events.ts"].includes(path)) continue;
    const source = withoutComments(await Deno.readTextFile(new URL(path, root)));
    for (const [word] of source.matchAll(spelled)) found.push(`${path}: ${word}`);
  }
  // SQL.
  assertEquals([...new Set(found)], ["lib/store/sqlite_store.ts: `CREATE"]);
});

for (const file of ["deno.lock", "cluster/deno.lock"]) {
  Deno.test(`${file} holds no download address: it works with any registry`, async () => {
    const lock = await Deno.readTextFile(new URL(file, root));
    assertStringIncludes(lock, "npm:deno-std@");
    assertEquals(lock.match(/\w+:\/\/[^"]*/g) ?? [], []);
  });
}

Deno.test("What the cluster needs is not fetched with the programs", async () => {
  // Deno fetches all that the lock file names at the first run of any program.
  const lock = await Deno.readTextFile(new URL("deno.lock", root));
  assertEquals(lock.match(/"(?:npm:)?pg@/g) ?? [], []);
  assertStringIncludes(await Deno.readTextFile(new URL("cluster/deno.lock", root)), '"pg@');
});

Deno.test("deno task test names no folder: Deno then takes the tests of a workspace member in it alone", async () => {
  const { tasks } = JSON.parse(await Deno.readTextFile(new URL("deno.json", root)));
  const words = tasks.test.command.split(" ").slice(2);
  assertEquals(words.filter((word: string) => !word.startsWith("--")), []);
});

Deno.test("The sanitizers are on: a test that leaks a timer or a socket fails", async () => {
  await using scratch = new ScratchFolder();
  const folder = scratch.path;
  const file = `${folder}/leaks_test.ts`;
  await Deno.writeTextFile(
    file,
    `Deno.test("timer", () => { setTimeout(() => {}, 100_000); });
     Deno.test("socket", () => { Deno.listen({ hostname: "127.0.0.1", port: 0 }); });
     Deno.test("neither", () => {});`,
  );
  const config = ["--config", "deno.json", "--no-lock"];
  const { code, output } = await deno("test", "--no-check", "--allow-net", ...config, file);
  assertEquals(code, 1);
  assertStringIncludes(output, "A timer was started in this test, but never completed");
  assertStringIncludes(output, "A TCP listener was opened during the test, but not closed");
  assertStringIncludes(output, "1 passed | 2 failed");
});
