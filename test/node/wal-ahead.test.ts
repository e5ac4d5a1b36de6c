import fs from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { freshVfs, mutableFs, native, resultCodeOf, systemError, temporaryFolder } from "./vfs-fixture.ts";

const SQLITE_FULL = 13;
const FRAME = 4096 + 24;
const COMMITS = 40;

/** A database in WAL mode, in a connection that commits one row at a time. */
async function walDatabase(synchronous: string) {
  const path = join(temporaryFolder(), "a.db");
  const faulty = mutableFs();
  const { open } = await freshVfs({ fs: faulty });
  const db = open(path);
  db.exec("PRAGMA page_size=4096; PRAGMA locking_mode=exclusive; PRAGMA journal_mode=wal");
  db.exec(`PRAGMA synchronous=${synchronous}; CREATE TABLE t(a INTEGER PRIMARY KEY, b)`);
  const commit = (rows = COMMITS) => {
    for (let i = 0; i < rows; i++) db.exec("INSERT INTO t(b) VALUES(hex(randomblob(50)))");
  };
  return { db, open, path, wal: `${path}-wal`, faulty, commit };
}

/** Bytes up to the last one that is not zero: the end of the last frame, since the rows of a page end where it does. */
function written(path: string): number {
  const bytes = fs.readFileSync(path);
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === 0) end -= 1;
  return end;
}

test("a WAL that is synced as it grows gets zeros ahead, no more than it has frames", async () => {
  const { commit, wal } = await walDatabase("FULL");
  commit();
  const { size } = fs.statSync(wal);
  expect(size).toBeGreaterThan(written(wal));
  expect(size).toBeLessThanOrEqual(2 * written(wal) + 4096);
});

test("one that is not synced gets none", async () => {
  const { commit, wal } = await walDatabase("NORMAL");
  commit();
  expect(fs.statSync(wal).size).toBe(written(wal));
});

test("native sqlite3 recovers every commit from a WAL with zeros behind, as a crash leaves it", async () => {
  const { commit, path, wal } = await walDatabase("FULL");
  commit();
  const copy = join(temporaryFolder(), "copy.db");
  fs.copyFileSync(path, copy);
  fs.copyFileSync(wal, `${copy}-wal`);
  expect(native(copy, "PRAGMA integrity_check; SELECT count(*) FROM t")).toBe(`ok\n${COMMITS}`);
});

test("old frames behind the end are left as they are, by a handle that has not written them too", async () => {
  const { commit, path, wal, open } = await walDatabase("FULL");
  commit(200);
  const copy = join(temporaryFolder(), "copy.db");
  fs.copyFileSync(path, copy);
  fs.copyFileSync(wal, `${copy}-wal`);
  const again = open(copy);
  again.exec("PRAGMA locking_mode=exclusive; PRAGMA synchronous=FULL; PRAGMA wal_checkpoint(RESTART)");
  const before = fs.readFileSync(`${copy}-wal`);
  for (let i = 0; i < 3; i++) again.exec("INSERT INTO t(b) VALUES('restarts it')");
  const after = fs.readFileSync(`${copy}-wal`);
  const end = 32 + 3 * 2 * FRAME;
  expect(after.subarray(0, 32).equals(before.subarray(0, 32))).toBe(false);
  expect(after.subarray(end).equals(before.subarray(end))).toBe(true);
});

test("where zeros do not fit, the commit does, and the room is given back", async () => {
  const { db, commit, wal, faulty } = await walDatabase("FULL");
  commit();
  let refused = 0;
  faulty.writeSync = ((fd: number, data: Uint8Array, offset: number, length: number, position: number) => {
    if (data.length !== 1 << 20 || data.buffer.byteLength !== 1 << 20)
      return fs.writeSync(fd, data, offset, length, position);
    if (refused++ > 0) throw systemError("ENOSPC", 28);
    return fs.writeSync(fd, data, offset, Math.min(length, 50_000), position);
  }) as typeof fs.writeSync;
  while (refused < 2) commit(1);
  expect(fs.statSync(wal).size).toBe(written(wal));
  const before = Number(db.selectValue("SELECT count(*) FROM t"));
  commit();
  expect(refused).toBe(2); // cut short, then refused, then not tried again
  expect(fs.statSync(wal).size).toBe(written(wal));
  expect(db.selectValue("SELECT count(*) FROM t")).toBe(before + COMMITS);
});

test("a full disk still fails the commit itself", async () => {
  const { db, commit, faulty } = await walDatabase("FULL");
  commit();
  faulty.writeSync = (() => {
    throw systemError("ENOSPC", 28);
  }) as typeof fs.writeSync;
  expect(resultCodeOf(() => commit())).toBe(SQLITE_FULL);
  faulty.writeSync = fs.writeSync;
  expect(db.selectValue("PRAGMA integrity_check")).toBe("ok");
  expect(db.selectValue("SELECT count(*) FROM t")).toBe(COMMITS);
});

test("TRUNCATE and journal_size_limit cut the zeros too, and it grows anew", async () => {
  const { db, commit, wal } = await walDatabase("FULL");
  commit();
  db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  expect(fs.statSync(wal).size).toBe(0);
  commit();
  db.exec("PRAGMA journal_size_limit=20000; PRAGMA wal_checkpoint(RESTART)");
  commit(1);
  expect(fs.statSync(wal).size).toBe(20_000);
  expect(db.selectValue("PRAGMA integrity_check")).toBe("ok");
});
