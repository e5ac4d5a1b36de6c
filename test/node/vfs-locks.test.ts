import fs from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { fileKey } from "../../node/file-key.ts";
import {
  EXCLUSIVE,
  FileLocks,
  type LevelledFile,
  type LockTable,
  NONE,
  PENDING,
  RESERVED,
  SHARED,
} from "../../node/file-locks.ts";
import { OsFileLocks } from "../../node/os-locks.ts";
import { installSharedNodeVfs } from "../../node/vfs.ts";
import {
  childProcess,
  freshVfs,
  killed,
  NativeShell,
  native,
  nativeComplaint,
  temporaryFolder,
} from "./vfs-fixture.ts";

/** A step: which file, up (lock) or down (unlock) to which level, and what must come of it. */
type Step = readonly [file: number, level: number, levels: readonly [number, number, number]];
const refused = (...levels: [number, number, number]) => levels;

/** The levels after each step say it all: a granted lock shows in them, a refused one leaves them as they were. */
const cases: readonly { name: string; steps: readonly Step[] }[] = [
  {
    name: "many readers",
    steps: [
      [0, SHARED, [1, 0, 0]],
      [1, SHARED, [1, 1, 0]],
      [2, SHARED, [1, 1, 1]],
    ],
  },
  {
    name: "one writer beside readers",
    steps: [
      [0, SHARED, [1, 0, 0]],
      [1, SHARED, [1, 1, 0]],
      [0, RESERVED, [2, 1, 0]],
      [1, RESERVED, refused(2, 1, 0)],
      [1, EXCLUSIVE, refused(2, 1, 0)],
      [2, SHARED, [2, 1, 1]],
      [0, SHARED, [1, 1, 1]],
      [2, RESERVED, [1, 1, 2]],
    ],
  },
  {
    name: "a writer that waits lets no new reader in and is not starved",
    steps: [
      [0, SHARED, [1, 0, 0]],
      [1, SHARED, [1, 1, 0]],
      [0, RESERVED, [2, 1, 0]],
      [0, EXCLUSIVE, refused(3, 1, 0)],
      [2, SHARED, refused(3, 1, 0)],
      [1, RESERVED, refused(3, 1, 0)],
      [1, NONE, [3, 0, 0]],
      [1, SHARED, refused(3, 0, 0)],
      [0, EXCLUSIVE, [4, 0, 0]],
      [1, SHARED, refused(4, 0, 0)],
      [0, NONE, [0, 0, 0]],
      [1, SHARED, [0, 1, 0]],
    ],
  },
  {
    name: "a waiting writer may give up",
    steps: [
      [0, SHARED, [1, 0, 0]],
      [1, SHARED, [1, 1, 0]],
      [0, RESERVED, [2, 1, 0]],
      [0, EXCLUSIVE, refused(3, 1, 0)],
      [0, SHARED, [1, 1, 0]],
      [2, SHARED, [1, 1, 1]],
      [1, RESERVED, [1, 2, 1]],
    ],
  },
  {
    name: "rolling a hot journal back goes from SHARED to EXCLUSIVE, or stays at SHARED",
    steps: [
      [0, SHARED, [1, 0, 0]],
      [1, SHARED, [1, 1, 0]],
      [0, EXCLUSIVE, refused(1, 1, 0)],
      [2, SHARED, [1, 1, 1]],
      [1, NONE, [1, 0, 1]],
      [2, NONE, [1, 0, 0]],
      [0, EXCLUSIVE, [4, 0, 0]],
      [1, SHARED, refused(4, 0, 0)],
      [0, SHARED, [1, 0, 0]],
      [1, SHARED, [1, 1, 0]],
    ],
  },
  {
    name: "asking for what is held changes nothing",
    steps: [
      [0, SHARED, [1, 0, 0]],
      [0, RESERVED, [2, 0, 0]],
      [0, SHARED, [1, 0, 0]],
      [0, SHARED, [1, 0, 0]],
      [0, NONE, [0, 0, 0]],
      [0, NONE, [0, 0, 0]],
    ],
  },
];

/** How the two kinds of locks are made, and what closing a file's descriptor is to each. */
const kinds = {
  "one lock of the process": () => new FileLocks({}),
  "a lock for each level": () => new OsFileLocks(),
} as const;

function threeFiles(makeLocks: () => LockTable) {
  const path = join(temporaryFolder(), "a.db");
  fs.writeFileSync(path, "");
  const locks = makeLocks();
  const open = () => {
    const fd = fs.openSync(path, "r+");
    const file = locks.open(path, fileKey(fs.fstatSync(fd, { bigint: true })), fd, true);
    return {
      file,
      close() {
        fs.closeSync(fd);
        locks.close(file);
      },
    };
  };
  const opened = [open(), open(), open()];
  onTestFinished(() => opened.forEach(({ close }) => void close()));
  return { locks, files: opened.map(({ file }) => file) as LevelledFile[], opened, open };
}

const everyCase = Object.entries(kinds).flatMap(([kind, makeLocks]) =>
  cases.map((each) => ({ ...each, kind, makeLocks })),
);

test.each(everyCase)("$kind: $name", ({ steps, makeLocks }) => {
  const { locks, files } = threeFiles(makeLocks);
  steps.forEach(([index, level, expected], number) => {
    const file = files[index]!;
    const before = file.level;
    if (level < before) locks.unlock(file, level);
    else {
      const granted = expected[index] === level;
      expect(locks.lock(file, level), `step ${number}`).toBe(granted ? "granted" : "busy-here");
    }
    expect(
      files.map((each) => each.level),
      `step ${number}`,
    ).toEqual(expected);
    // Only a file that holds SHARED asks.
    const writer = files.some((each) => each.level > SHARED);
    for (const each of files) if (each.level >= SHARED) expect(locks.isReserved(each)).toBe(writer);
  });
});

describe.each(Object.values(kinds))("%o", (makeLocks) => {
  test("closing gives back what the file held", () => {
    const { locks, files, opened, open } = threeFiles(makeLocks);
    for (const level of [SHARED, RESERVED, EXCLUSIVE]) locks.lock(files[0]!, level);
    opened[0]!.close();
    expect(locks.lock(files[1]!, SHARED)).toBe("granted");
    opened[0] = open();
  });

  test("SQLite's own mistakes are refused loudly", () => {
    const { locks, files } = threeFiles(makeLocks);
    expect(() => locks.lock(files[0]!, RESERVED)).toThrow();
    locks.lock(files[0]!, SHARED);
    expect(() => locks.lock(files[0]!, PENDING)).toThrow();
  });
});

describe("levels shared with native sqlite3", () => {
  async function shared() {
    const path = join(temporaryFolder(), "a.db");
    native(path, "CREATE TABLE t(a); INSERT INTO t VALUES(1)");
    const { sqlite3 } = await freshVfs();
    const vfs = installSharedNodeVfs(sqlite3);
    const db = new sqlite3.oo1.DB({ filename: path, flags: "w", vfs });
    onTestFinished(() => db.close());
    const shell = new NativeShell(path);
    return { path, db, shell };
  }

  test("readers there and a writer here go side by side until it commits", async () => {
    const { path, db, shell } = await shared();
    db.exec("BEGIN IMMEDIATE; UPDATE t SET a = 2");
    expect(native(path, "SELECT a FROM t")).toBe("1");
    expect(nativeComplaint(path, "UPDATE t SET a = 3")).toContain("locked");
    await shell.run("BEGIN; SELECT a FROM t;");
    expect(() => db.exec("COMMIT")).toThrow(/BUSY/);
    // PENDING is ours: who comes now waits, so that the writer is not starved.
    expect(nativeComplaint(path, "SELECT a FROM t")).toContain("locked");
    await shell.run("COMMIT;");
    db.exec("COMMIT");
    expect(native(path, "SELECT a FROM t")).toBe("2");
  });

  test("a writer there keeps us out, and no longer than it writes", async () => {
    const { db, shell } = await shared();
    await shell.run("BEGIN EXCLUSIVE; UPDATE t SET a = 5;");
    expect(() => db.selectValue("SELECT a FROM t")).toThrow(/BUSY/);
    await shell.run("COMMIT;");
    expect(db.selectValue("SELECT a FROM t")).toBe(5);
  });

  test("a reader there does not take a journal for hot while its writer here lives", async () => {
    const { path, db } = await shared();
    db.exec("PRAGMA cache_size=1; BEGIN IMMEDIATE; UPDATE t SET a = 7");
    expect(fs.existsSync(`${path}-journal`)).toBe(true);
    expect(native(path, "SELECT a FROM t")).toBe("1");
    expect(fs.existsSync(`${path}-journal`)).toBe(true);
    db.exec("COMMIT");
    expect(native(path, "SELECT a FROM t")).toBe("7");
  });

  test("what a killed writer left half is rolled back by the next reader there", async () => {
    const path = join(temporaryFolder(), "a.db");
    native(
      path,
      "CREATE TABLE t(a INTEGER PRIMARY KEY, b); INSERT INTO t SELECT value, zeroblob(1000) FROM generate_series(1, 200)",
    );
    await killed(await childProcess("writeHalfShared", path));
    expect(fs.existsSync(`${path}-journal`)).toBe(true);
    expect(native(path, "SELECT max(length(b)), count(*) FROM t; PRAGMA integrity_check")).toBe(
      "1000|200\nok",
    );
    expect(fs.existsSync(`${path}-journal`)).toBe(false);
  });
});
