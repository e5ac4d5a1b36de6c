import { execFileSync } from "node:child_process";
import fs from "node:fs";
import { join } from "node:path";
import type { Database, Sqlite3Static } from "@sqlite.org/sqlite-wasm";
import { expect, onTestFinished, test } from "vitest";
import {
  freshVfs,
  isRoot,
  mutableFs,
  native,
  nativeComplaint,
  resultCodeOf,
  systemError,
  temporaryFolder,
} from "./vfs-fixture.ts";

const SQLITE_READONLY = 8;
const SQLITE_FULL = 13;
const SQLITE_CANTOPEN = 14;
const IOERR = {
  read: 266,
  write: 778,
  fsync: 1034,
  dirFsync: 1290,
  truncate: 1546,
  fstat: 1802,
  delete: 2570,
  access: 3338,
};
const READONLY_DIRECTORY = 1544;

/** A database with a table of 20 rows behind a file system that the test can make fail. */
async function database(journal = "delete") {
  const path = join(temporaryFolder(), "a.db");
  const faulty = mutableFs();
  const vfs = await freshVfs({ fs: faulty });
  const db = vfs.open(path);
  db.exec(`PRAGMA journal_mode=${journal}; CREATE TABLE t(a INTEGER PRIMARY KEY, b)`);
  db.exec(
    "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n WHERE i<20) INSERT INTO t SELECT i, zeroblob(3000) FROM n",
  );
  return { ...vfs, path, faulty, db };
}

function lastErrno({ capi, wasm }: Sqlite3Static, db: Database): number {
  const pErrno = wasm.alloc(4);
  capi.sqlite3_file_control(db, "main", capi.SQLITE_FCNTL_LAST_ERRNO, pErrno);
  const errno = wasm.peek32(pErrno) as number;
  wasm.dealloc(pErrno);
  return errno;
}

/** What happens to a write while `call` fails; afterwards the disk works again and the database must be as it was. */
test.each([
  ["writeSync", "ENOSPC", 28, SQLITE_FULL],
  ["writeSync", "EDQUOT", 122, SQLITE_FULL],
  ["writeSync", "EFBIG", 27, SQLITE_FULL],
  ["writeSync", "EIO", 5, IOERR.write],
  ["fdatasyncSync", "EIO", 5, IOERR.fsync],
  ["fsyncSync", "EIO", 5, IOERR.dirFsync],
  ["fstatSync", "EIO", 5, IOERR.fstat],
  ["statSync", "EIO", 5, IOERR.access],
  ["unlinkSync", "EIO", 5, IOERR.delete],
] as const)(
  "%s fails with %s: the commit fails, and nothing of it stays",
  async (call, code, errno, expected) => {
    const { db, faulty, path, sqlite3 } = await database();
    const working = faulty[call];
    faulty[call] = (() => {
      throw systemError(code, errno);
    }) as never;
    expect(resultCodeOf(() => db.exec("UPDATE t SET b = zeroblob(2999)"))).toBe(expected);
    expect(lastErrno(sqlite3, db)).toBe(errno);
    faulty[call] = working as never;
    expect(db.selectValue("SELECT total(length(b)) FROM t")).toBe(60_000);
    db.close();
    expect(native(path, "PRAGMA integrity_check; SELECT total(length(b)) FROM t")).toBe("ok\n60000.0");
  },
);

test("a read fails with EIO; interrupted it is tried again", async () => {
  const { db, faulty, open, path } = await database();
  db.close();
  const again = open(path);
  let error = systemError("EIO", 5);
  let failures = 1;
  faulty.readSync = ((...args: Parameters<typeof fs.readSync>) => {
    if (failures-- > 0) throw error;
    return fs.readSync(...args);
  }) as typeof fs.readSync;
  expect(resultCodeOf(() => again.exec("SELECT * FROM t"))).toBe(IOERR.read);
  error = systemError("EINTR", 4);
  failures = 1;
  expect(again.selectValue("SELECT count(*) FROM t")).toBe(20);
  expect(failures).toBeLessThan(0);
});

test("a truncation fails", async () => {
  const { db, faulty } = await database("truncate");
  faulty.ftruncateSync = () => {
    throw systemError("EIO", 5);
  };
  expect(resultCodeOf(() => db.exec("DELETE FROM t"))).toBe(IOERR.truncate);
});

test("reads and writes that are cut short are continued", async () => {
  const { db, faulty, open, path } = await database();
  faulty.writeSync = ((fd: number, data: Uint8Array, offset: number, length: number, position: number) =>
    fs.writeSync(fd, data, offset, Math.min(length, 1000), position)) as typeof fs.writeSync;
  faulty.readSync = ((fd: number, data: Uint8Array, offset: number, length: number, position: number) =>
    fs.readSync(fd, data, offset, Math.min(length, 999), position)) as typeof fs.readSync;
  db.exec("UPDATE t SET b = randomblob(5000); DELETE FROM t WHERE a > 15");
  db.close();
  const again = open(path);
  expect(again.selectValue("SELECT total(length(b)) FROM t")).toBe(75_000);
  again.close();
  expect(native(path, "PRAGMA integrity_check")).toBe("ok");
});

test("a write that makes no progress is a full disk, not an endless loop", async () => {
  const { db, faulty } = await database();
  faulty.writeSync = () => 0;
  expect(resultCodeOf(() => db.exec("DELETE FROM t"))).toBe(SQLITE_FULL);
});

test("what lies behind the end of the file reads as zeros, not as stale memory", async () => {
  const { db, open, path } = await database();
  db.exec({ sql: "UPDATE t SET b = ?", bind: [new Uint8Array(3000).fill(0xff)] });
  db.exec("VACUUM");
  db.close();
  fs.truncateSync(path, fs.statSync(path).size - 1000); // the rows of a page fill it from its end
  const again = open(path);
  again.exec("PRAGMA cache_size=1");
  const blobs = again.selectValues("SELECT b FROM t") as Uint8Array[];
  const cut = blobs.filter((blob) => blob.includes(0));
  expect(cut).toHaveLength(1);
  expect(cut[0]!.lastIndexOf(0xff)).toBe(1999);
});

test("the folder is synced after the first sync of a journal, and after its deletion", async () => {
  const { db, faulty, path } = await database();
  const calls: string[] = [];
  const names = new Map<number, string>();
  faulty.openSync = ((name: string, ...rest: [never, never]) => {
    const fd = fs.openSync(name, ...rest);
    names.set(fd, name);
    return fd;
  }) as typeof fs.openSync;
  const record = (what: string, fd: number) =>
    calls.push(`${what} ${names.get(fd)?.slice(path.length - 4) ?? "database"}`);
  faulty.fdatasyncSync = (fd) => {
    record("data", fd);
    fs.fdatasyncSync(fd);
  };
  faulty.fsyncSync = (fd) => {
    record("folder", fd);
    fs.fsyncSync(fd);
  };
  faulty.unlinkSync = (name) => {
    calls.push("unlink");
    fs.unlinkSync(name);
  };
  db.exec("PRAGMA synchronous=EXTRA; UPDATE t SET b = 1");
  expect(calls).toEqual([
    "data a.db-journal",
    "folder ",
    "data a.db-journal",
    "data database",
    "unlink",
    "folder ",
  ]);
});

test("a folder that cannot be synced is passed over", async () => {
  const { db, faulty } = await database();
  faulty.fsyncSync = () => {
    throw systemError("EINVAL", 22);
  };
  db.exec("DELETE FROM t");
  expect(db.selectValue("SELECT count(*) FROM t")).toBe(0);
});

test.each(["EACCES", "EPERM", "EROFS"])(
  "%s on opening for writing: read-only, and SQLite knows",
  async (code) => {
    const { db, faulty, open, path } = await database();
    db.close();
    faulty.openSync = ((name: string, flags: number, mode: number) => {
      if (flags & (fs.constants.O_RDWR | fs.constants.O_CREAT)) throw systemError(code, 13);
      return fs.openSync(name, flags, mode);
    }) as typeof fs.openSync;
    const readOnly = open(path);
    expect(readOnly.selectValue("SELECT count(*) FROM t")).toBe(20);
    expect(resultCodeOf(() => readOnly.exec("DELETE FROM t"))).toBe(SQLITE_READONLY);
    expect(resultCodeOf(() => open(`${path}2`))).toBe(SQLITE_CANTOPEN);
  },
);

test.each([
  ["EMFILE", SQLITE_CANTOPEN],
  ["EIO", SQLITE_CANTOPEN],
])("%s on opening is not taken for a read-only file", async (code, expected) => {
  const { db, faulty, open, path } = await database();
  db.close();
  faulty.openSync = ((name: string, flags: number, mode: number) => {
    if (flags & fs.constants.O_RDWR) throw systemError(code, 24);
    return fs.openSync(name, flags, mode);
  }) as typeof fs.openSync;
  expect(resultCodeOf(() => open(path))).toBe(expected);
});

test("a journal that a closed folder refuses says that it is the folder", async () => {
  const { db, faulty } = await database();
  faulty.openSync = ((name: string, flags: number, mode: number) => {
    if (flags & fs.constants.O_CREAT) throw systemError("EACCES", 13);
    return fs.openSync(name, flags, mode);
  }) as typeof fs.openSync;
  expect(resultCodeOf(() => db.exec("DELETE FROM t"))).toBe(READONLY_DIRECTORY);
});

test("descriptors are not leaked, not by opening that fails either", async () => {
  const { db, open, path } = await database();
  db.close();
  const before = fs.readdirSync("/proc/self/fd").length;
  for (let i = 0; i < 20; i++) {
    const again = open(path);
    again.exec("UPDATE t SET b = 1");
    again.close();
    resultCodeOf(() => open(join(path, "..")));
  }
  expect(fs.readdirSync("/proc/self/fd").length).toBe(before);
});

function mount(...args: string[]): string {
  const folder = temporaryFolder();
  execFileSync("mount", [...args, folder]);
  onTestFinished(() => void execFileSync("umount", ["-l", folder]));
  return folder;
}

if (!isRoot) console.warn("SKIPPED: the tests that mount a file system need root");

test.runIf(isRoot)(
  "a disk that is really full: SQLITE_FULL, rolled back, and usable when there is room",
  async () => {
    const folder = mount("-t", "tmpfs", "-o", "size=1m", "tmpfs");
    const path = join(folder, "a.db");
    const { open } = await freshVfs();
    const db = open(path);
    db.exec("CREATE TABLE t(a INTEGER PRIMARY KEY, b)");
    const fill = () => {
      for (;;) db.exec("INSERT INTO t(b) VALUES(zeroblob(50000))");
    };
    expect(resultCodeOf(fill)).toBe(SQLITE_FULL);
    const rows = db.selectValue("SELECT count(*) FROM t");
    expect(rows).toBeGreaterThan(5);
    expect(db.selectValue("PRAGMA integrity_check")).toBe("ok");
    execFileSync("mount", ["-o", "remount,size=3m", folder]);
    db.exec("DELETE FROM t WHERE a > 2; VACUUM");
    db.close();
    expect(native(path, "PRAGMA integrity_check; SELECT count(*) FROM t")).toBe("ok\n2");
  },
);

test.runIf(isRoot)("a file system mounted read-only: reading works, beside native readers too", async () => {
  const folder = mount("-t", "tmpfs", "tmpfs");
  const path = join(folder, "a.db");
  native(path, "CREATE TABLE t(a); INSERT INTO t VALUES(1)");
  execFileSync("mount", ["-o", "remount,ro", folder]);
  const { open } = await freshVfs();
  const db = open(path);
  expect(db.selectValue("SELECT a FROM t")).toBe(1);
  expect(native(path, "SELECT a FROM t")).toBe("1");
  expect(resultCodeOf(() => db.exec("DELETE FROM t"))).toBe(SQLITE_READONLY);
  execFileSync("mount", ["-o", "remount,rw", folder]);
  expect(nativeComplaint(path, "DELETE FROM t")).toContain("locked");
  expect(native(path, "SELECT count(*) FROM t")).toBe("1");
  const writable = open(path);
  expect(
    resultCodeOf(() => writable.exec("DELETE FROM t")),
    "our lock is shared",
  ).toBe(SQLITE_READONLY);
  db.close();
  writable.close();
  open(path).exec("DELETE FROM t");
});
