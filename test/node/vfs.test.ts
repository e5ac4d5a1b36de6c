import fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { installNodeVfs } from "../../node/vfs.ts";
import { freshVfs, mutableFs, NativeShell, native, resultCodeOf, temporaryFolder } from "./vfs-fixture.ts";

const SQLITE_BUSY = 5;
const SQLITE_READONLY = 8;
const SQLITE_CANTOPEN = 14;

test("is installed once, and not as the default", async () => {
  const { sqlite3 } = await freshVfs();
  const found = sqlite3.capi.sqlite3_vfs_find("sluice-node");
  expect(installNodeVfs(sqlite3)).toBe("sluice-node");
  expect(sqlite3.capi.sqlite3_vfs_find("sluice-node")).toBe(found);
  expect(sqlite3.capi.sqlite3_vfs_find(null as never)).not.toBe(found);
});

test.each(["delete", "truncate", "persist"])(
  "journal_mode=%s: native sqlite3 finds what was committed",
  async (mode) => {
    const path = join(temporaryFolder(), "a.db");
    const { open } = await freshVfs();
    const db = open(path);
    db.exec(`PRAGMA journal_mode=${mode}; CREATE TABLE t(a INTEGER PRIMARY KEY, b)`);
    for (let i = 0; i < 50; i++) db.exec({ sql: "INSERT INTO t(b) VALUES(randomblob(?))", bind: [i * 400] });
    db.exec("BEGIN; DELETE FROM t; ROLLBACK; DELETE FROM t WHERE a % 3 = 0; VACUUM; REINDEX");
    const sum = db.selectValue("SELECT total(length(b)) FROM t");
    db.close();
    expect(native(path, "PRAGMA integrity_check; SELECT total(length(b)) FROM t").split("\n")).toEqual([
      "ok",
      expect.stringMatching(new RegExp(`^${sum}`)),
    ]);
    expect(fs.existsSync(`${path}-journal`)).toBe(mode !== "delete");
  },
);

test("connections see each other's commits, and refuse what would collide", async () => {
  const path = join(temporaryFolder(), "a.db");
  const { open } = await freshVfs();
  const [one, two, three] = [open(path), open(path), open(path)];
  one.exec("CREATE TABLE t(a); INSERT INTO t VALUES(1)");
  expect(two.selectValue("SELECT count(*) FROM t")).toBe(1);

  one.exec("BEGIN IMMEDIATE; INSERT INTO t VALUES(2)");
  expect(resultCodeOf(() => two.exec("BEGIN IMMEDIATE"))).toBe(SQLITE_BUSY);
  expect(two.selectValue("SELECT count(*) FROM t"), "RESERVED lets readers in").toBe(1);
  two.exec("BEGIN; SELECT * FROM t");
  expect(
    resultCodeOf(() => one.exec("COMMIT")),
    "a reader holds up the commit",
  ).toBe(SQLITE_BUSY);
  expect(
    resultCodeOf(() => three.exec("SELECT * FROM t")),
    "PENDING lets no new reader in",
  ).toBe(SQLITE_BUSY);
  two.exec("COMMIT");
  one.exec("COMMIT");
  expect(three.selectValue("SELECT count(*) FROM t")).toBe(2);
});

test("a busy timeout does not sleep for another connection of this thread", async () => {
  const path = join(temporaryFolder(), "a.db");
  const { open, sqlite3 } = await freshVfs();
  const [one, two] = [open(path), open(path)];
  one.exec("CREATE TABLE t(a); BEGIN IMMEDIATE");
  sqlite3.capi.sqlite3_busy_timeout(two, 600_000);
  const wait = vi.spyOn(Atomics, "wait").mockReturnValue("timed-out");
  onTestFinished(() => wait.mockRestore());
  expect(resultCodeOf(() => two.exec("BEGIN IMMEDIATE"))).toBe(SQLITE_BUSY);
  expect(wait).not.toHaveBeenCalled();
});

test("a busy timeout waits for another process, and goes on when that is done", async () => {
  const path = join(temporaryFolder(), "a.db");
  native(path, "CREATE TABLE t(a)");
  const shell = new NativeShell(path);
  await shell.run("BEGIN EXCLUSIVE; INSERT INTO t VALUES(1);");
  const { open, sqlite3 } = await freshVfs();
  const db = open(path);
  expect(resultCodeOf(() => db.exec("SELECT * FROM t"))).toBe(SQLITE_BUSY);
  shell.write(".shell sleep 0.2\nCOMMIT;\n");
  sqlite3.capi.sqlite3_busy_timeout(db, 60_000);
  expect(db.selectValue("SELECT count(*) FROM t")).toBe(1);
});

test("a second instance of sqlite-wasm cannot have the same file, nor by another name", async () => {
  const folder = temporaryFolder();
  const path = join(folder, "a.db");
  const one = (await freshVfs()).open(path);
  one.exec("CREATE TABLE t(a)");
  fs.linkSync(path, join(folder, "b.db"));
  const other = await freshVfs();
  const two = other.open(join(folder, "b.db"));
  expect(resultCodeOf(() => two.exec("SELECT * FROM t"))).toBe(SQLITE_BUSY);
  one.close();
  two.exec("INSERT INTO t VALUES(1)");
});

test("two names of one file share their locks; a link is resolved before the journal is named", async () => {
  const folder = temporaryFolder();
  const path = join(folder, "real", "a.db");
  fs.mkdirSync(join(folder, "real"));
  fs.symlinkSync("real/../real/a.db", join(folder, "soft.db")); // dangling as yet
  const { open } = await freshVfs();
  const soft = open(join(folder, "soft.db"));
  soft.exec("PRAGMA journal_mode=persist; CREATE TABLE t(a)");
  expect(fs.readdirSync(folder).sort()).toEqual(["real", "soft.db"]);
  expect(fs.readdirSync(join(folder, "real")).sort()).toEqual(["a.db", "a.db-journal"]);
  fs.linkSync(path, join(folder, "hard.db"));
  const hard = open(join(folder, "hard.db"));
  soft.exec("BEGIN IMMEDIATE");
  expect(resultCodeOf(() => hard.exec("BEGIN IMMEDIATE"))).toBe(SQLITE_BUSY);
});

test("SQLITE_OPEN_NOFOLLOW refuses a symbolic link, and only that", async () => {
  const folder = temporaryFolder();
  fs.symlinkSync("a.db", join(folder, "soft.db"));
  const { sqlite3, vfs } = await freshVfs();
  const { capi, wasm } = sqlite3;
  const openWithoutLinks = (name: string) => {
    const ppDb = wasm.alloc(4);
    const flags = capi.SQLITE_OPEN_READWRITE | capi.SQLITE_OPEN_CREATE | capi.SQLITE_OPEN_NOFOLLOW;
    const code = capi.sqlite3_open_v2(join(folder, name), ppDb, flags, vfs);
    capi.sqlite3_close_v2(wasm.peekPtr(ppDb) as number);
    wasm.dealloc(ppDb);
    return code & 0xff;
  };
  expect(openWithoutLinks("soft.db")).toBe(SQLITE_CANTOPEN);
  expect(fs.existsSync(join(folder, "a.db"))).toBe(false);
  expect(openWithoutLinks("a.db")).toBe(0);
});

test("links that go in circles, folders and missing folders cannot be opened", async () => {
  const folder = temporaryFolder();
  fs.symlinkSync("b", join(folder, "a"));
  fs.symlinkSync("a", join(folder, "b"));
  fs.writeFileSync(join(folder, "file"), "");
  const { open } = await freshVfs();
  for (const path of ["a", ".", "missing/a.db", "file/a.db", "x".repeat(300), `${"y/".repeat(2100)}a`])
    expect(
      resultCodeOf(() => open(join(folder, path)).exec("SELECT * FROM sqlite_schema")) ?? 0,
      path,
    ).toSatisfy((code: number) => (code & 0xff) === SQLITE_CANTOPEN);
});

test("the journal inherits the database's mode, whatever the umask", async () => {
  const path = join(temporaryFolder(), "a.db");
  const before = process.umask(0o077);
  onTestFinished(() => void process.umask(before));
  const { open } = await freshVfs();
  const db = open(path);
  fs.chmodSync(path, 0o664);
  db.exec("PRAGMA journal_mode=persist; CREATE TABLE t(a)");
  expect(fs.statSync(`${path}-journal`).mode & 0o777).toBe(0o664);
});

test("temporary files have no name while they are open", async () => {
  const real = mutableFs();
  const opened: string[] = [];
  real.openSync = ((path: string, ...rest: [never, never]) => {
    opened.push(path);
    return fs.openSync(path, ...rest);
  }) as typeof fs.openSync;
  const { open } = await freshVfs({ fs: real });
  const db = open(join(temporaryFolder(), "a.db"));
  db.exec("PRAGMA temp_store=file; PRAGMA cache_size=5; PRAGMA temp.cache_size=5");
  db.exec(
    "CREATE TEMP TABLE x AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<3000) SELECT i, randomblob(500) b FROM n",
  );
  db.exec("BEGIN; UPDATE x SET b = randomblob(600)");
  const temporary = opened.filter(
    (path) => path.startsWith(join(tmpdir(), "sluice-")) && !path.endsWith(".db"),
  );
  expect(temporary.length).toBeGreaterThan(0);
  for (const path of temporary) expect(fs.existsSync(path), path).toBe(false);
  db.exec("ROLLBACK");
  expect(db.selectValue("SELECT count(*) FROM x WHERE length(b) = 500")).toBe(3000);
});

test("a transaction over two attached databases is atomic and leaves no super-journal", async () => {
  const folder = temporaryFolder();
  const { open } = await freshVfs();
  const db = open(join(folder, "a.db"));
  db.exec({ sql: "ATTACH ? AS b", bind: [join(folder, "b.db")] });
  db.exec(
    "CREATE TABLE t(a); CREATE TABLE b.u(a); BEGIN; INSERT INTO t VALUES(1); INSERT INTO u VALUES(1); COMMIT",
  );
  db.close();
  expect(fs.readdirSync(folder).sort()).toEqual(["a.db", "b.db"]);
  expect(native(join(folder, "b.db"), "SELECT a FROM u")).toBe("1");
});

test("offsets beyond 2 and 4 GiB", async () => {
  const path = join(temporaryFolder(), "a.db");
  const { open, sqlite3 } = await freshVfs();
  const db = open(path);
  db.exec("PRAGMA page_size=65536; CREATE TABLE t(a INTEGER PRIMARY KEY, b)");
  db.exec("INSERT INTO t VALUES(1, 'low')");
  db.close();
  // Grow the file, all zeros, and tell the header (pages at byte 28, free pages: none). SQLite then appends behind it.
  const pages = 5 * 2 ** 14; // 5 GiB of 64 KiB pages
  const fd = fs.openSync(path, "r+");
  fs.ftruncateSync(fd, pages * 65536);
  const field = Buffer.alloc(4);
  field.writeUInt32BE(pages);
  fs.writeSync(fd, field, 0, 4, 28);
  fs.closeSync(fd);
  const big = open(path);
  big.exec({ sql: "INSERT INTO t VALUES(2, ?)", bind: ["high".repeat(50_000)] });
  expect(fs.statSync(path).size).toBeGreaterThan(pages * 65536);
  big.close();
  const again = open(path);
  expect(again.selectValue("SELECT b FROM t WHERE a = 2")).toBe("high".repeat(50_000));
  expect(again.selectValue("PRAGMA page_count")).toBe(fs.statSync(path).size / 65536);
  again.exec("DELETE FROM t WHERE a = 2; BEGIN; INSERT INTO t VALUES(3, zeroblob(70000)); ROLLBACK");
  again.close();
  expect(native(path, "SELECT count(*) FROM t")).toBe("1");
  expect(sqlite3.capi.sqlite3_libversion()).toBe("3.54.1");
});

test("an empty journal is none; a file that was replaced is noticed before a write", async () => {
  const folder = temporaryFolder();
  const path = join(folder, "a.db");
  const { open } = await freshVfs();
  const db = open(path);
  db.exec("CREATE TABLE t(a)");
  fs.writeFileSync(`${path}-journal`, "");
  expect(db.selectValue("SELECT count(*) FROM t")).toBe(0);
  fs.rmSync(`${path}-journal`);
  fs.renameSync(path, join(folder, "moved.db"));
  expect((resultCodeOf(() => db.exec("INSERT INTO t VALUES(1)")) ?? 0) & 0xff).toBe(SQLITE_READONLY);
  expect(fs.readdirSync(folder)).toEqual(["moved.db"]);
});

test("a read-only connection cannot write, and does not create", async () => {
  const folder = temporaryFolder();
  const path = join(folder, "a.db");
  native(path, "CREATE TABLE t(a)");
  const { open } = await freshVfs();
  const db = open(path, "r");
  expect(db.selectValue("SELECT count(*) FROM t")).toBe(0);
  expect(resultCodeOf(() => db.exec("INSERT INTO t VALUES(1)"))).toBe(SQLITE_READONLY);
  expect(resultCodeOf(() => open(join(folder, "b.db"), "r"))).toBe(SQLITE_CANTOPEN);
  expect(fs.readdirSync(folder)).toEqual(["a.db"]);
});

test("the heap may grow between and during calls", async () => {
  const path = join(temporaryFolder(), "a.db");
  const { open } = await freshVfs();
  const db = open(path);
  db.exec("PRAGMA cache_size=-200000; CREATE TABLE t(a, b)");
  db.exec("BEGIN");
  for (let i = 0; i < 40; i++) db.exec({ sql: "INSERT INTO t VALUES(?, zeroblob(1000000))", bind: [i] });
  db.exec("COMMIT");
  expect(db.selectValue("SELECT total(length(b)) FROM t")).toBe(40_000_000);
  db.close();
  expect(native(path, "PRAGMA integrity_check")).toBe("ok");
});

test("the clock and the random numbers work", async () => {
  const { open } = await freshVfs();
  const db = open(join(temporaryFolder(), "a.db"));
  const now = Number(db.selectValue("SELECT strftime('%s','now')"));
  expect(Math.abs(now - Date.now() / 1000)).toBeLessThan(60);
  expect(db.selectValue("SELECT hex(randomblob(16))")).not.toBe(db.selectValue("SELECT hex(randomblob(16))"));
});
