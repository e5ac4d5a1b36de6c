import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { gzipSync } from "node:zlib";
import { build, type Rolldown } from "vite";
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

/** Bytes of gzip that an app's own chunk grows by, SQLite aside. */
const WEB_BUDGET = 43 * 1024;

test("what an app loads of sqlite-sluice/web at once is small; the codecs and the AWS SDK come when they are used", async () => {
  const entry = join(project.folder, "web.js");
  writeFileSync(entry, 'export { SqliteReplicator } from "sqlite-sluice/web";');
  const built = await build({
    root: project.folder,
    configFile: false,
    logLevel: "error",
    build: {
      write: false,
      minify: true,
      // Not as a library, whose white space Vite keeps.
      rolldownOptions: {
        input: entry,
        preserveEntrySignatures: "strict",
        external: ["@sqlite.org/sqlite-wasm"],
      },
    },
  });
  const { output } = built as Rolldown.RolldownOutput;
  const chunks = new Map(output.flatMap((each) => (each.type === "chunk" ? [[each.fileName, each]] : [])));
  const atOnce = new Set(output.flatMap((each) => (each.type === "chunk" && each.isEntry ? [each] : [])));
  for (const chunk of atOnce)
    for (const name of chunk.imports) if (chunks.has(name)) atOnce.add(chunks.get(name)!);
  const sizes = [...atOnce].map(({ code }) => gzipSync(code).length);
  expect(sizes.reduce((sum, size) => sum + size)).toBeLessThanOrEqual(WEB_BUDGET);
});

test("the lock file names no package server", () => {
  expect(readFileSync(join(root, "package-lock.json"), "utf8")).not.toContain('"resolved"');
  expect(readdirSync(root)).toContain(".npmrc");
});
