import { existsSync, readFileSync, statSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { canonicalPath } from "../../node/platform.ts";
import { resultCodeOf } from "../node/vfs-fixture.ts";
import { Watched } from "./watched.ts";

const SQLITE_ERROR = 1;
const SQLITE_BUSY = 5;
const SQLITE_IOERR_WRITE = 778;
const SQLITE_IOERR_TRUNCATE = 1546;
const SQLITE_IOERR_DELETE = 2570;
const FCNTL_PERSIST_WAL = 10;
const RESERVED = 2;
const EXCLUSIVE = 4;
const LOCK_SHARED = 2 | 4;
const LOCK_EXCLUSIVE = 2 | 8;
const UNLOCK_EXCLUSIVE = 1 | 8;

/** A commit that is not cached, and a gate that stays shut until it is. */
async function closedGate() {
  const w = await Watched.open("CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
  w.policy.restart = () => !w.capture.pending;
  w.policy.checkpoint = () => !w.capture.pending;
  w.control.exec("INSERT INTO t VALUES(1, randomblob(9000))");
  expect(w.capture.pending).toBe(true);
  return w;
}

describe("shared-memory locks while the gate is closed", () => {
  const locked = (w: Watched, offset: number, count: number, flags: number) => {
    const main = w.file(w.control, "main");
    const code = w.call(main, "xShmLock", offset, count, flags);
    if (code === 0) w.call(main, "xShmLock", offset, count, (flags & ~2) | 1);
    return code;
  };

  test("exactly two exclusive requests are refused", async () => {
    const w = await closedGate();
    const refused: [number, number][] = [];
    for (let offset = 0; offset < 8; offset++)
      for (let count = 1; offset + count <= 8; count++)
        if (locked(w, offset, count, LOCK_EXCLUSIVE) === SQLITE_BUSY) refused.push([offset, count]);
    expect(refused).toEqual([
      [1, 1],
      [4, 4],
    ]);
    w.drain();
    expect(locked(w, 1, 1, LOCK_EXCLUSIVE)).toBe(0);
    expect(locked(w, 4, 4, LOCK_EXCLUSIVE)).toBe(0);
  });

  test("shared requests and unlocks pass", async () => {
    const w = await closedGate();
    for (let offset = 0; offset < 8; offset++) expect(locked(w, offset, 1, LOCK_SHARED)).toBe(0);
    const main = w.file(w.control, "main");
    expect(w.call(main, "xShmLock", 4, 4, UNLOCK_EXCLUSIVE)).toBe(0);
    expect(w.call(main, "xShmLock", 1, 1, UNLOCK_EXCLUSIVE)).toBe(0);
  });

  test("a second connection does not get what the first holds", async () => {
    const w = await closedGate();
    const other = w.connect();
    other.selectValue("SELECT count(*) FROM t");
    const [a, b] = [w.file(w.control, "main"), w.file(other, "main")];
    expect(w.call(a, "xShmLock", 0, 1, LOCK_EXCLUSIVE)).toBe(0);
    expect(w.call(b, "xShmLock", 0, 1, LOCK_EXCLUSIVE)).toBe(SQLITE_BUSY);
    expect(w.call(a, "xShmLock", 0, 1, UNLOCK_EXCLUSIVE)).toBe(0);
    expect(w.call(b, "xShmLock", 0, 1, LOCK_EXCLUSIVE)).toBe(0);
    expect(w.call(b, "xShmLock", 0, 1, UNLOCK_EXCLUSIVE)).toBe(0);
  });

  test("the WAL grows, and no checkpoint runs; then it is restarted", async () => {
    const w = await closedGate();
    const { salt1 } = w.header();
    const before = readFileSync(w.database.path);
    for (let i = 2; i < 50; i++) {
      w.control.exec(`INSERT INTO t VALUES(${i}, randomblob(5000))`);
      const mode = ["PASSIVE", "FULL", "RESTART", "TRUNCATE"][i % 4];
      expect(w.control.selectArray(`PRAGMA wal_checkpoint(${mode})`)![0]).toBe(1);
    }
    expect(w.header().salt1).toBe(salt1);
    expect(readFileSync(w.database.path)).toEqual(before);
    w.drain();
    w.expectReplica();
    w.control.exec("PRAGMA wal_checkpoint(PASSIVE); INSERT INTO t VALUES(100, 1)");
    expect(w.header().salt1).not.toBe(salt1);
    expect(w.capture.broken).toBeNull();
    w.drain();
    w.expectReplica();
  });

  test("only the restart is refused where checkpoints may run", async () => {
    const w = await closedGate();
    w.policy.checkpoint = () => true;
    const { salt1 } = w.header();
    for (let i = 2; i < 20; i++) {
      w.control.exec(`INSERT INTO t VALUES(${i}, randomblob(5000)); PRAGMA wal_checkpoint(PASSIVE)`);
    }
    expect(w.header().salt1).toBe(salt1);
    expect(w.capture.broken).toBeNull();
    w.drain();
    w.expectReplica();
  });
});

describe("writes to the WAL itself while the gate is closed", () => {
  test("it is not cut below what is captured", async () => {
    const w = await closedGate();
    const wal = w.file(w.control, "wal");
    const end = 32 + w.header().maxFrame * (4096 + 24);
    expect(w.call(wal, "xTruncate", 0n)).toBe(SQLITE_IOERR_TRUNCATE);
    expect(w.call(wal, "xTruncate", BigInt(end - 1))).toBe(SQLITE_IOERR_TRUNCATE);
    expect(statSync(w.database.walPath).size).toBeGreaterThanOrEqual(end);
    expect(w.call(wal, "xTruncate", BigInt(end))).toBe(0);
    expect(w.control.selectValue("PRAGMA integrity_check")).toBe("ok");
  });

  test("its header is not written", async () => {
    const w = await closedGate();
    const main = w.file(w.control, "main");
    const before = readFileSync(w.database.walPath);
    const writeHeader = () =>
      w.withBytes(new Uint8Array(32), (at) => w.call(w.file(w.control, "wal"), "xWrite", at, 32, 0n));
    expect(w.call(main, "xShmLock", 0, 1, LOCK_EXCLUSIVE)).toBe(0);
    expect(writeHeader()).toBe(SQLITE_IOERR_WRITE);
    expect(w.call(main, "xShmLock", 0, 1, UNLOCK_EXCLUSIVE)).toBe(0);
    expect(readFileSync(w.database.walPath)).toEqual(before);
  });

  test("it is not deleted", async () => {
    const w = await closedGate();
    const { abi, name } = w.shim;
    const vfs = abi.findVfs(name);
    const xDelete = abi.callable(abi.member(abi.vfs, vfs, "xDelete")) as (...args: number[]) => number;
    const path = abi.cstring(w.database.walPath);
    expect(xDelete(vfs, path, 0)).toBe(SQLITE_IOERR_DELETE);
    expect(existsSync(w.database.walPath)).toBe(true);
    abi.free(path);
  });

  test("it is not written without the write lock, whether the gate is open or closed", async () => {
    const w = await closedGate();
    const before = readFileSync(w.database.walPath);
    const end = BigInt(before.length);
    const write = () =>
      w.withBytes(new Uint8Array(24), (at) => w.call(w.file(w.control, "wal"), "xWrite", at, 24, end));
    expect(write()).toBe(SQLITE_IOERR_WRITE);
    w.drain();
    expect(write()).toBe(SQLITE_IOERR_WRITE);
    expect(w.call(w.file(w.control, "wal"), "xSync", 2)).toBe(0);
    expect(readFileSync(w.database.walPath)).toEqual(before);
  });
});

describe("no way round", () => {
  test("PERSIST_WAL answers 1, whatever it is set to", async () => {
    const w = await closedGate();
    expect(w.fileControl(w.control, FCNTL_PERSIST_WAL, 0)).toBe(1);
    expect(w.fileControl(w.control, FCNTL_PERSIST_WAL, 0xffffffff)).toBe(1);
  });

  test.each([
    ["closed", () => {}],
    ["open", (w: Watched) => w.drain()],
  ])("no connection gets more than a SHARED lock, gate %s", async (_, prepare) => {
    const w = await closedGate();
    prepare(w);
    w.control.selectValue("SELECT 1 FROM t");
    const main = w.file(w.control, "main");
    expect(w.call(main, "xLock", RESERVED)).toBe(SQLITE_BUSY);
    expect(w.call(main, "xLock", EXCLUSIVE)).toBe(SQLITE_BUSY);
  });

  test("the last connection to close neither checkpoints nor deletes the WAL", async () => {
    const w = await closedGate();
    const main = readFileSync(w.database.path);
    const wal = readFileSync(w.database.walPath);
    w.control.close();
    expect(readFileSync(w.database.path)).toEqual(main);
    expect(readFileSync(w.database.walPath)).toEqual(wal);
    expect(w.shim.inUse(w.database)).toBe(false);
  });

  test.each(["delete", "truncate", "persist", "memory", "off"])(
    "journal_mode=%s is refused, through ATTACH too",
    async (mode) => {
      const w = await closedGate();
      w.drain();
      expect(resultCodeOf(() => w.control.exec(`PRAGMA journal_mode=${mode}`))).toBe(SQLITE_ERROR);
      const { oo1 } = w.sqlite3;
      const outside = new oo1.DB({ filename: `${w.database.path}.other`, flags: "c", vfs: w.shim.name });
      outside.exec(`ATTACH '${w.database.path}' AS it`);
      const path = w.database.path;
      // Without a schema's name the pragma is for all of them, and asks the first one only. 5, SQLITE_BUSY, is an answer too.
      resultCodeOf(() => outside.exec(`SELECT count(*) FROM it.t; PRAGMA journal_mode=${mode}`));
      expect(outside.selectValue("PRAGMA it.journal_mode")).toBe("wal");
      outside.close();
      expect(readFileSync(path).subarray(18, 20)).toEqual(Buffer.from([2, 2]));
      w.control.exec("INSERT INTO t VALUES(7, 7)");
      w.drain();
      w.expectReplica();
    },
  );

  test("locking_mode=exclusive is refused, and through ATTACH it cannot write", async () => {
    const w = await closedGate();
    expect(resultCodeOf(() => w.control.exec("PRAGMA locking_mode=exclusive"))).toBe(SQLITE_ERROR);
    const outside = new w.sqlite3.oo1.DB({ filename: ":memory:", vfs: w.shim.name });
    outside.exec(`ATTACH '${w.database.path}' AS it`);
    outside.exec("SELECT count(*) FROM it.t; PRAGMA locking_mode=exclusive");
    expect(resultCodeOf(() => outside.exec("INSERT INTO it.t VALUES(7, 7)"))).toBe(SQLITE_BUSY);
    // Before its shared memory is mapped, a connection in this mode would keep the wal-index for itself.
    const alone = new w.sqlite3.oo1.DB({ filename: ":memory:", vfs: w.shim.name });
    alone.exec("PRAGMA locking_mode=exclusive");
    expect(resultCodeOf(() => alone.exec(`ATTACH '${w.database.path}' AS it`))).toBe(SQLITE_BUSY);
    alone.close();
    outside.close();
    w.control.exec("INSERT INTO t VALUES(8, 8)");
    w.drain();
    w.expectReplica();
  });

  test("the base VFS itself does not open the database meanwhile", async () => {
    const w = await closedGate();
    const { oo1 } = w.sqlite3;
    const db = new oo1.DB({ filename: w.database.path, flags: "c", vfs: w.shim.baseName });
    expect(resultCodeOf(() => db.exec("SELECT * FROM t"))).toBeDefined();
    expect(
      resultCodeOf(() => db.exec("PRAGMA locking_mode=exclusive; INSERT INTO t VALUES(9, 9)")),
    ).toBeDefined();
    db.close();
    expect(canonicalPath(w.database.path)).toBe(w.database.path);
    expect(w.crashed("SELECT id FROM t")).toBe("1\nok");
  });
});
