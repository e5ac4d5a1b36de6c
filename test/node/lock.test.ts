import { spawn } from "node:child_process";
import fs from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { fileKey } from "../../node/file-key.ts";
import { acquireConnectionLock, acquireDatabaseLock, acquireFileLock } from "../../node/lock.ts";
import { DatabaseInUseError, LocalDatabaseError, LockUnavailableError } from "../../src/errors.ts";
import {
  childProcess,
  freshVfs,
  killed,
  NativeShell,
  native,
  nativeComplaint,
  temporaryFolder,
} from "./vfs-fixture.ts";

const nativeLibrary = vi.hoisted(() => ({ missing: false, failsWith: "" }));
vi.mock("node:module", async (original) => {
  const actual = await original<typeof import("node:module")>();
  return {
    ...actual,
    createRequire: (url: string) => {
      if (nativeLibrary.missing)
        return () => {
          throw Object.assign(new Error("no binary for this platform"), { code: "ADDON_NOT_FOUND" });
        };
      if (nativeLibrary.failsWith)
        return () => ({
          tryLock() {
            throw Object.assign(new Error("injected"), { code: nativeLibrary.failsWith });
          },
        });
      return actual.createRequire(url);
    },
  };
});

function withLibrary(how: Partial<typeof nativeLibrary>): void {
  Object.assign(nativeLibrary, how);
  onTestFinished(() => void Object.assign(nativeLibrary, { missing: false, failsWith: "" }));
}

function nativeDatabase(): string {
  const path = join(temporaryFolder(), "a.db");
  native(path, "CREATE TABLE t(a); INSERT INTO t VALUES(1)");
  return path;
}

function thrownBy(call: () => unknown): unknown {
  try {
    call();
    return undefined;
  } catch (error) {
    return error;
  }
}

const keyOf = (path: string) => fileKey(fs.statSync(path, { bigint: true }));

test("keeps native sqlite3 out until it is released", () => {
  const path = nativeDatabase();
  const lock = acquireDatabaseLock(path);
  expect(nativeComplaint(path, "SELECT * FROM t")).toContain("database is locked");
  expect(nativeComplaint(path, "INSERT INTO t VALUES(2)")).toContain("database is locked");
  lock.release();
  expect(native(path, "INSERT INTO t VALUES(2); SELECT count(*) FROM t")).toBe("2");
});

test("belongs to the open file, as /proc/locks says, and stays when other descriptors are closed", () => {
  const path = nativeDatabase();
  const lock = acquireDatabaseLock(path);
  fs.closeSync(fs.openSync(path, "r+"));
  fs.readFileSync(path);
  const inode = fs.statSync(path).ino;
  const line = fs
    .readFileSync("/proc/locks", "utf8")
    .split("\n")
    .find((each) => each.includes(`:${inode} `));
  expect(line).toMatch(/OFDLCK\s+ADVISORY\s+WRITE .* 1073741824 1073742335/);
  expect(nativeComplaint(path, "SELECT * FROM t")).toContain("database is locked");
  lock.release();
  expect(native(path, "SELECT a FROM t")).toBe("1");
});

test("is not inherited by a child process", () => {
  const path = nativeDatabase();
  const lock = acquireDatabaseLock(path);
  const child = spawn("sleep", ["1000"], { stdio: "ignore" });
  onTestFinished(() => void child.kill("SIGKILL"));
  lock.release();
  expect(native(path, "SELECT a FROM t")).toBe("1");
});

test("is gone when its process is killed", async () => {
  const path = nativeDatabase();
  const child = await childProcess("holdDatabase", path);
  expect(nativeComplaint(path, "SELECT * FROM t")).toContain("database is locked");
  const error = thrownBy(() => acquireDatabaseLock(path));
  expect(error).toBeInstanceOf(DatabaseInUseError);
  expect((error as DatabaseInUseError).holder).toContain(String(child.pid));
  await killed(child);
  acquireDatabaseLock(path).release();
  expect(native(path, "SELECT a FROM t")).toBe("1");
});

test("is refused while native sqlite3 reads, and names it", async () => {
  const path = nativeDatabase();
  const shell = new NativeShell(path);
  await shell.run("BEGIN; SELECT * FROM t;");
  const error = thrownBy(() => acquireDatabaseLock(path));
  expect((error as DatabaseInUseError).holder).toBe(`process ${shell.pid} (sqlite3)`);
  await shell.run("COMMIT;");
  acquireDatabaseLock(path).release();
});

test("is refused while a native connection in WAL mode is open, and refuses one", async () => {
  const path = nativeDatabase();
  native(path, "PRAGMA journal_mode=wal");
  const shell = new NativeShell(path);
  await shell.run("SELECT * FROM t;");
  expect(thrownBy(() => acquireDatabaseLock(path))).toBeInstanceOf(DatabaseInUseError);
  shell.write(".quit\n");
  await vi.waitUntil(() => !fs.existsSync(`${path}-wal`));
  const lock = await vi.waitUntil(
    () => thrownBy(() => acquireDatabaseLock(path).release()) === undefined && acquireDatabaseLock(path),
  );
  expect(nativeComplaint(path, "SELECT * FROM t")).toContain("database is locked");
  lock.release();
});

test("is one lock for all holders in the process, by file and not by name", async () => {
  const path = nativeDatabase();
  fs.linkSync(path, `${path}-other`);
  const [one, two] = [acquireDatabaseLock(path), acquireDatabaseLock(`${path}-other`)];
  const { open } = await freshVfs();
  const db = open(path);
  expect(db.selectValue("SELECT a FROM t")).toBe(1);
  one.release();
  one.release();
  two.release();
  expect(nativeComplaint(path, "SELECT * FROM t"), "the connection has it still").toContain("locked");
  db.close();
  expect(native(path, "SELECT a FROM t")).toBe("1");
});

test("a connection takes it with its first read, and keeps it between transactions", async () => {
  const path = nativeDatabase();
  const { open } = await freshVfs();
  const [one, two] = [open(path), open(path)];
  expect(native(path, "SELECT a FROM t")).toBe("1");
  one.exec("SELECT * FROM t");
  two.exec("SELECT * FROM t");
  expect(nativeComplaint(path, "SELECT * FROM t")).toContain("database is locked");
  one.close();
  expect(nativeComplaint(path, "SELECT * FROM t")).toContain("database is locked");
  two.close();
  expect(native(path, "SELECT a FROM t")).toBe("1");
});

test("moves with the file: a lock on what is renamed over the database covers it there", () => {
  const path = nativeDatabase();
  const fresh = `${path}.new`;
  native(fresh, "CREATE TABLE t(a); INSERT INTO t VALUES(7)");
  const [old, next] = [acquireDatabaseLock(path), acquireDatabaseLock(fresh)];
  fs.renameSync(fresh, path);
  old.release();
  expect(nativeComplaint(path, "SELECT * FROM t")).toContain("database is locked");
  next.release();
  expect(native(path, "SELECT a FROM t")).toBe("7");
});

test("a connection whose file was replaced before its first read gets an error, not the old file", async () => {
  const path = nativeDatabase();
  const key = keyOf(path);
  fs.renameSync(path, `${path}.old`);
  native(path, "CREATE TABLE t(a)");
  expect(thrownBy(() => acquireConnectionLock(path, key))).toBeInstanceOf(LocalDatabaseError);
  expect(native(path, "SELECT count(*) FROM t")).toBe("0");
});

test("creates a database that is missing, empty; a folder that is missing is an error", () => {
  const folder = temporaryFolder();
  const path = join(folder, "a.db");
  acquireDatabaseLock(path).release();
  expect(fs.statSync(path).size).toBe(0);
  expect(thrownBy(() => acquireDatabaseLock(join(folder, "b", "a.db")))).toBeInstanceOf(LocalDatabaseError);
  expect(thrownBy(() => acquireDatabaseLock(folder))).toBeInstanceOf(LocalDatabaseError);
});

test.each([{ missing: true }, { failsWith: "ENOLCK" }])(
  "where there are no locks (%o) one must say so",
  async (how) => {
    const path = nativeDatabase();
    withLibrary(how);
    expect(thrownBy(() => acquireDatabaseLock(path))).toBeInstanceOf(LockUnavailableError);
    expect(thrownBy(() => acquireFileLock(`${path}.lock`))).toBeInstanceOf(LockUnavailableError);
    const safe = (await freshVfs()).open(path);
    expect(thrownBy(() => safe.exec("SELECT * FROM t"))).toMatchObject({ resultCode: 3850 });
    safe.close();
    const unsafe = (await freshVfs({ unsafeNoLock: true })).open(path);
    unsafe.exec("INSERT INTO t VALUES(2)");
    unsafe.close();
    const lock = acquireDatabaseLock(path, { unsafeNoLock: true });
    const beside = (await freshVfs()).open(path);
    expect(beside.selectValue("SELECT count(*) FROM t"), "the process has decided already").toBe(2);
    lock.release();
  },
);

test("unsafeNoLock does not overrule a lock that somebody holds", async () => {
  const path = nativeDatabase();
  await childProcess("holdDatabase", path);
  expect(thrownBy(() => acquireDatabaseLock(path, { unsafeNoLock: true }))).toBeInstanceOf(
    DatabaseInUseError,
  );
});

test("a conflict that the system calls EACCES is a conflict", () => {
  const path = nativeDatabase();
  withLibrary({ failsWith: "EACCES" });
  expect(thrownBy(() => acquireDatabaseLock(path))).toBeInstanceOf(DatabaseInUseError);
});

test("a lock file: one holder in the process and outside it, named by its id", async () => {
  const path = join(temporaryFolder(), "lock");
  const lock = acquireFileLock(path);
  expect(fs.readFileSync(path, "utf8")).toBe(`${process.pid}\n`);
  expect(thrownBy(() => acquireFileLock(path))).toBeInstanceOf(DatabaseInUseError);
  lock.release();
  const child = await childProcess("holdFile", path);
  const error = thrownBy(() => acquireFileLock(path));
  expect((error as DatabaseInUseError).holder).toContain(String(child.pid));
  await killed(child);
  acquireFileLock(path).release();
});

test("no descriptor is left behind, neither by success nor by failure", async () => {
  const path = nativeDatabase();
  const busy = nativeDatabase();
  await childProcess("holdDatabase", busy);
  const before = fs.readdirSync("/proc/self/fd").length;
  for (let i = 0; i < 10; i++) {
    const [one, two] = [acquireDatabaseLock(path), acquireDatabaseLock(path)];
    one.release();
    two.release();
    acquireFileLock(path).release();
    thrownBy(() => acquireDatabaseLock(busy));
    thrownBy(() => acquireFileLock(busy));
  }
  expect(fs.readdirSync("/proc/self/fd").length).toBe(before);
});

test("a lock file that its last holder deleted is made anew: a lock on the deleted one would keep nobody out", () => {
  const path = join(temporaryFolder(), "lock");
  const openSync = fs.openSync.bind(fs);
  const spy = vi.spyOn(fs, "openSync").mockImplementationOnce((...args) => {
    const fd = openSync(...args);
    fs.unlinkSync(path);
    return fd;
  });
  onTestFinished(() => spy.mockRestore());
  const lock = acquireFileLock(path);
  expect(spy).toHaveBeenCalledTimes(2);
  expect(thrownBy(() => acquireFileLock(path))).toBeInstanceOf(DatabaseInUseError);
  lock.release();
});
