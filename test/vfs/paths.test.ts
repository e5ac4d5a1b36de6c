import { mkdirSync, readFileSync, symlinkSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { describe, expect, test } from "vitest";
import { native } from "../node/vfs-fixture.ts";
import { Watched } from "./watched.ts";

/** Other names of the watched database. */
const spellings: [string, (path: string) => string][] = [
  ["a relative path", (path) => relative(process.cwd(), path)],
  ["dots", (path) => join(dirname(path), "x").concat(`/.././${basename(path)}`)],
  ["doubled slashes", (path) => path.replaceAll("/", "//")],
  ["a URI", (path) => `file:${path}?cache=private`],
  [
    "a link to the file",
    (path) => {
      symlinkSync(path, `${path}.link`);
      return `${path}.link`;
    },
  ],
  [
    "a link to its folder",
    (path) => {
      symlinkSync(dirname(path), `${path}.folder`);
      return join(`${path}.folder`, basename(path));
    },
  ],
];

describe("the same database by another name", () => {
  test.each(spellings)("%s", async (_, spell) => {
    const w = await Watched.open("CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    mkdirSync(join(dirname(w.database.path), "x"));
    const db = new w.sqlite3.oo1.DB({ filename: spell(w.database.path), flags: "c", vfs: w.shim.name });
    db.exec("INSERT INTO t VALUES(1, 'x')");
    expect(w.shim.connections(w.database)).toBe(2);
    expect(w.capture.captured.txid).toBe(1);
    db.close();
    w.drain();
    w.expectReplica();
  });
});

describe("other databases through the shim", () => {
  test("are not watched, in any journal mode that the base has", async () => {
    const w = await Watched.open("CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    const path = join(dirname(w.database.path), "other.db");
    const other = new w.sqlite3.oo1.DB({ filename: path, flags: "c", vfs: w.shim.name });
    other.exec(
      "CREATE TABLE o(x); INSERT INTO o VALUES(1); PRAGMA journal_mode=truncate; INSERT INTO o VALUES(2)",
    );
    other.exec("PRAGMA locking_mode=exclusive; INSERT INTO o VALUES(3); VACUUM");
    other.close();
    expect(native(path, "SELECT sum(x) FROM o; PRAGMA integrity_check")).toBe("6\nok");
    expect(w.capture.captured.txid).toBe(0);
  });

  test("are attached to a watched one, and the watched one to them", async () => {
    const w = await Watched.open("CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    const path = join(dirname(w.database.path), "other.db");
    w.control.exec(`ATTACH '${path}' AS o; CREATE TABLE o.t(x); BEGIN; INSERT INTO o.t VALUES(1)`);
    w.control.exec("INSERT INTO main.t VALUES(1, 1); COMMIT; DETACH o");
    const other = new w.sqlite3.oo1.DB({ filename: path, flags: "c", vfs: w.shim.name });
    other.exec(`ATTACH '${w.database.path}' AS w; INSERT INTO w.t SELECT 2, x FROM main.t`);
    other.close();
    expect(w.capture.captured.txid).toBe(2);
    w.drain();
    w.expectReplica();
    expect(native(path, "SELECT * FROM t")).toBe("1");
  });

  test("temporary files pass", async () => {
    const w = await Watched.open("CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    w.control.exec(
      "PRAGMA temp_store=FILE; CREATE TEMP TABLE x AS SELECT randomblob(3000000) AS v; DROP TABLE x",
    );
    expect(w.capture.captured.txid).toBe(0);
  });
});

const POWERSAFE_OVERWRITE = 0x1000;

describe("a base that does not say that writes leave alone what is beside them", () => {
  const over = (w: Watched) => w.call(w.file(w.connect("psow=0"), "main"), "xDeviceCharacteristics");

  test("gets no frame twice while commits are captured", async () => {
    const w = await Watched.open("CREATE TABLE t(v)");
    expect(over(w) & POWERSAFE_OVERWRITE).toBe(POWERSAFE_OVERWRITE);
  });

  test("finds the journal of a change from before capture, which it takes for none if it is shorter than its sectors", async () => {
    const w = await Watched.open("CREATE TABLE t(v)");
    w.database.capture = null;
    expect(over(w) & POWERSAFE_OVERWRITE).toBe(0);
    w.database.capture = w.capture;
    const path = join(dirname(w.database.path), "small.db");
    const small = w.shim.watch(path);
    small.admitting = true;
    const filename = `file:${path}?psow=0`;
    const db = new w.sqlite3.oo1.DB({ filename, flags: "c", vfs: w.shim.name });
    db.exec("PRAGMA page_size=512; CREATE TABLE t(v); BEGIN; INSERT INTO t VALUES(1)");
    expect(readFileSync(`${path}-journal`).readUInt32BE(20)).toBe(4096);
    db.exec("COMMIT");
    db.close();
    w.shim.unwatch(small);
  });
});
