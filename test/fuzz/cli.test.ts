import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, expect, vi } from "vitest";
import { runCli } from "../../node/cli/run.ts";
import { createQuietly, hashFolder } from "../replicator/history-fixture.ts";
import { fuzz } from "./fuzz.ts";
import { byteEdits, editBytes } from "./mutate.ts";

const folder = mkdtempSync(join(tmpdir(), "sluice-fuzz-"));
const original = join(folder, "original");
const place = join(folder, "place");
const object = "snapshots/0000000000000001.sqlite.zst";
beforeAll(async () => {
  mkdirSync(original);
  const replicator = await createQuietly({
    dbPath: join(folder, "app.db"),
    replica: `file://${original}/replica`,
  });
  await replicator.start();
  const db = replicator.openDatabase();
  db.exec("CREATE TABLE t(a); INSERT INTO t VALUES(randomblob(5000))");
  db.close();
  await replicator.flush();
  await replicator.snapshot();
  await replicator.stop();
  writeFileSync(join(original, "neighbour"), "somebody else's");
  vi.spyOn(console, "log").mockImplementation(() => undefined);
});
afterAll(() => {
  vi.restoreAllMocks();
  rmSync(folder, { recursive: true, force: true });
});

// `gateway` listens until it is interrupted, and `demo` takes long: both have tests of their own.
const command = fc.constantFrom(
  "restore",
  "ls",
  "inspect",
  "status",
  "destroy",
  "help",
  "--help",
  "x",
  "__proto__",
  "",
);
const word = fc.oneof(
  fc.constantFrom(
    `file://${place}/replica`,
    `file://${place}/none`,
    `${place}/replica`,
    join(place, "out.db"),
    object,
  ),
  fc.constantFrom(
    join(place, "replica", object),
    join(place, "neighbour"),
    "s3://b/p?secret=x",
    "https://u:p@h/",
    "file://",
    "",
  ),
  fc.constantFrom(
    "--json",
    "--overwrite",
    "--integrity",
    "--integrity=full",
    "--integrity=x",
    "--max-age",
    "--max-age=1",
    "--max-age=x",
  ),
  fc.constantFrom(
    "--yes=1",
    "--",
    "-",
    "-h",
    "--no-json",
    "--json=1",
    "--__proto__",
    "--constructor=1",
    "-x",
  ),
  fc
    .tuple(fc.constantFrom("--integrity=full", "--max-age=3600", "--json"), byteEdits)
    // Without slashes: a word may be a path, and is then taken at it.
    .map(([text, edits]) =>
      Buffer.from(editBytes(Buffer.from(text), edits))
        .toString("latin1")
        .replaceAll("/", ""),
    ),
);

fuzz(
  "arguments of the command line",
  60,
  fc.tuple(command, fc.array(word, { maxLength: 5 })),
  async ([name, words]) => {
    rmSync(place, { recursive: true, force: true });
    cpSync(original, place, { recursive: true });
    const before = hashFolder(place);
    const said: unknown[] = [];
    vi.spyOn(console, "error").mockImplementation((text) => void said.push(text));
    const code = await runCli([name, ...words]);
    expect([0, 1, 2, 3]).toContain(code);
    for (const text of said) expect(String(text)).toMatch(/^sluice: /);
    if (code === 1 || code === 2) expect(said).not.toEqual([]);
    const after = hashFolder(place);
    for (const [name, hash] of Object.entries(before)) expect(after[name]).toBe(hash);
    const made = Object.keys(after).filter((name) => !(name in before));
    expect(made.filter((name) => name !== "out.db" && name !== "replica" + "/none")).toEqual([]);
    expect(existsSync("out.db")).toBe(false);
    expect(readdirSync(place)).toContain("neighbour");
  },
);
