import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { gzipSync } from "node:zlib";
import { build, minifySync, type Rolldown } from "vite";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { addPackages, dependenciesOfPackage, installPackage, type Project, run } from "./project.ts";

const root = resolve(import.meta.dirname, "../..");

/** Its dependencies are ours, and nothing else; with @types/node as a Node project has it. */
let project: Project;

beforeAll(() => {
  project = installPackage();
  addPackages(project, [...dependenciesOfPackage(), "@types/node"], "link");
}, 240_000);

afterAll(() => project.remove());

/** What an ES module written into the project prints as JSON. */
function evaluate(name: string, source: string, ...nodeArguments: string[]): unknown {
  writeFileSync(join(project.folder, name), source);
  return JSON.parse(run(process.execPath, [...nodeArguments, name], project.folder));
}

test("the tarball holds what a user needs, and no sources or tests", () => {
  const { contents } = project;
  const folders = new Set(contents.map((path) => path.split("/").slice(0, 2).join("/")));
  expect(folders).toContain("README.md");
  expect(folders).toContain("FORMAT.md");
  expect(folders).toContain("CHANGELOG.md");
  expect(folders).toContain("LICENSE");
  expect(folders).toContain("dist/node.js");
  expect(folders).toContain("dist/web.js");
  expect(folders).toContain("dist/types");
  expect(contents.filter((path) => /^(test|scripts|node|web)\//.test(path))).toEqual([]);
  expect(contents.filter((path) => path.startsWith("src/"))).toEqual(["src/README.md"]);
});

const USE = `
  import { SqliteReplicator } from "sqlite-sluice/node";
  const make = (dbPath) => SqliteReplicator.create({ dbPath, replica: new URL("replica", import.meta.url).href });
  const first = await make("first.db");
  await first.start();
  const db = first.openDatabase();
  db.exec("CREATE TABLE t(a); INSERT INTO t VALUES('hello')");
  await first.waitUntilUploaded();
  db.close();
  const { uploaded } = await first.stop();
  const second = await make("second.db");
  await second.start();
  const copy = second.openDatabase();
  const found = copy.selectValue("SELECT a FROM t");
  copy.close();
  await second.stop();
  console.log(JSON.stringify({ uploaded, found }));
`;

test("an installed package replicates and restores", () => {
  expect(evaluate("use.mjs", USE)).toEqual({ uploaded: true, found: "hello" });
});

test("importing does no work: nothing keeps the process alive", () => {
  const source = `
    await import("sqlite-sluice/node");
    const modulesAndOutput = /Req$|Pipe|TTY|File/;
    console.log(JSON.stringify(process.getActiveResourcesInfo().filter((name) => !modulesAndOutput.test(name))));
  `;
  expect(evaluate("import.mjs", source)).toEqual([]);
});

describe("what the entries export", () => {
  const names = (entry: string, ...nodeArguments: string[]) =>
    evaluate(
      "names.mjs",
      `console.log(JSON.stringify(Object.keys(await import("${entry}")).sort()))`,
      ...nodeArguments,
    );

  test("sqlite-sluice/node", () => {
    expect(names("sqlite-sluice/node")).toMatchSnapshot();
  });

  test("sqlite-sluice/web", () => {
    expect(names("sqlite-sluice/web")).toMatchSnapshot();
  });

  test("sqlite-sluice/page", () => {
    expect(names("sqlite-sluice/page")).toEqual(["forwardLifecycle", "persistStorage"]);
  });

  test("sqlite-sluice/gateway", () => {
    expect(names("sqlite-sluice/gateway")).toEqual(["GatewayStore", "createGateway"]);
  });

  test("sqlite-sluice is one of them, by conditions", () => {
    expect(names("sqlite-sluice")).toEqual(names("sqlite-sluice/node"));
  });

  test("the types", () => {
    const types = (entry: string) =>
      [
        ...readFileSync(join(project.installed, "dist/types", entry), "utf8").matchAll(
          /export (?:type )?\{([^}]*)\}/g,
        ),
      ]
        .flatMap(([, list]) => list!.split(","))
        .map((name) => name.trim())
        .filter((name) => name !== "")
        .sort();
    expect(types("src/public.d.ts")).toMatchSnapshot();
  });
});

const TYPED_USE = `
  import { type ReplicationStatus, type ReplicatorEvent, SqliteReplicator, type SqliteReplicatorConfig } from "sqlite-sluice/node";
  import { MemoryStore, StoreError } from "sqlite-sluice/web";

  const config: SqliteReplicatorConfig = { dbPath: "a.db", replica: new MemoryStore(), syncIntervalMs: 100 };
  export async function use(): Promise<number> {
    const replicator = await SqliteReplicator.create(config);
    await replicator.start({ onProgress: ({ bytes, totalBytes }) => console.log(bytes / totalBytes) });
    replicator.addEventListener("upload", ({ detail }) => console.log(detail.key, detail.position.txid));
    const status: ReplicationStatus = replicator.status();
    const rows: number = replicator.openDatabase().exec("SELECT 1", { returnValue: "resultRows" }).length;
    const { uploaded } = await replicator.stop();
    return uploaded ? status.uploaded + rows : 0;
  }
  export const kind = (error: unknown) => (error instanceof StoreError ? error.kind : null);
  export const fenced = (event: ReplicatorEvent<"fenced">): string => event.detail.code;
  // @ts-expect-error An unknown field is an error.
  export const wrong: SqliteReplicatorConfig = { ...config, dbPth: "a.db" };
`;

test.each([
  ["bundler", "ESNext"],
  ["node16", "Node16"],
])("a TypeScript project with moduleResolution %s sees the types", (moduleResolution, module) => {
  const compilerOptions = {
    target: "ES2022",
    module,
    moduleResolution,
    lib: ["ES2023", "DOM", "ESNext.Disposable"],
    types: ["node"],
    strict: true,
    exactOptionalPropertyTypes: true,
    noEmit: true,
    skipLibCheck: false,
  };
  const name = `tsconfig.${moduleResolution}.json`;
  const { folder } = project;
  writeFileSync(join(folder, "use.ts"), TYPED_USE);
  writeFileSync(join(folder, name), JSON.stringify({ compilerOptions, files: ["use.ts"] }));
  run(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), "-p", name], folder);
});

/** Bytes of gzip. What an app's worker loads of us before its own code runs; SQLite is not counted. */
const AT_ONCE = 25_000;
/** The same once a database is open, is written to, goes up through a gateway and is kept in shape, without zstd and the hashes. */
const IN_USE = 60 * 1024;

test("what sqlite-sluice/web loads at once is small, and so is what it needs to open, write and upload", async () => {
  const chunks = await bundle('export { SqliteReplicator } from "sqlite-sluice/web";');
  const size = (...lazy: string[]) => {
    const loaded = new Set([...chunks.values()].filter(({ isEntry }) => isEntry));
    for (const name of lazy) {
      const holds = ({ moduleIds }: { moduleIds: string[] }) =>
        moduleIds.some((id) => id.includes(`/dist/chunks/${name}-`));
      const found = [...chunks.values()].filter(holds);
      expect(found, name).not.toEqual([]);
      for (const chunk of found) loaded.add(chunk);
    }
    for (const chunk of loaded)
      for (const name of chunk.imports) if (chunks.has(name)) loaded.add(chunks.get(name)!);
    return [...loaded].reduce((sum, { code }) => sum + gzipSync(code).length, 0);
  };
  expect(size()).toBeLessThanOrEqual(AT_ONCE);
  expect(size("open", "gateway-store", "upkeep")).toBeLessThanOrEqual(IN_USE);
});

/** The chunks of a worker of an app, minified. */
async function bundle(source: string): Promise<Map<string, Pick<Rolldown.OutputChunk, BundledField>>> {
  const entry = join(project.folder, "web.js");
  writeFileSync(entry, source);
  const built = await build({
    root: project.folder,
    configFile: false,
    logLevel: "error",
    build: {
      write: false,
      // As a library, which has no preloading for pages in it, as a worker has none; Vite then leaves white space.
      minify: false,
      lib: { entry, formats: ["es"], fileName: "web" },
      rolldownOptions: { external: ["@sqlite.org/sqlite-wasm"] },
    },
  });
  const [{ output }] = built as [Rolldown.RolldownOutput];
  return new Map(
    output.flatMap((chunk) => {
      if (chunk.type !== "chunk") return [];
      const { fileName, isEntry, imports, moduleIds } = chunk;
      const { code } = minifySync(fileName, chunk.code, { module: true });
      return [[fileName, { isEntry, imports, moduleIds, code }]];
    }),
  );
}
type BundledField = "isEntry" | "imports" | "moduleIds" | "code";

test("no script of the package makes code out of text", () => {
  const names = readdirSync(join(project.installed, "dist"), { recursive: true, encoding: "utf8" });
  const scripts = names.filter((name) => name.endsWith(".js"));
  expect(scripts.length).toBeGreaterThan(5);
  for (const name of scripts) {
    const source = readFileSync(join(project.installed, "dist", name), "utf8");
    expect(source.match(/(?<![\w$.])eval\s*\(|\bnew Function\b|(?<![\w$.])Function\s*\(/), name).toBeNull();
  }
});

test("the lock file names no package server", () => {
  expect(readFileSync(join(root, "package-lock.json"), "utf8")).not.toContain('"resolved"');
  expect(readdirSync(root)).toContain(".npmrc");
});
