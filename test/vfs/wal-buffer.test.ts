import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { resultCodeOf } from "../node/vfs-fixture.ts";
import { type DiskCall, Watched } from "./watched.ts";

const FRAME = 4096 + 24;
const SQLITE_FULL = 13;
const SQLITE_IOERR_WRITE = 778;
const SHM_LOCK_EXCLUSIVE = 2 | 8;
const SHM_UNLOCK_EXCLUSIVE = 1 | 8;

const operations = (calls: DiskCall[]) => calls.map(({ operation }) => operation);

/** Frames of a transaction, spilled from a cache that is too small, stand in the buffer. */
const spill = `PRAGMA cache_size=2; BEGIN IMMEDIATE;
  WITH RECURSIVE n(i) AS (SELECT 1000 UNION ALL SELECT i + 1 FROM n WHERE i < 1020)
  INSERT INTO t SELECT i, randomblob(1500) FROM n`;

describe("coalescing", () => {
  test("a small commit of several pages is one write", async () => {
    const w = await Watched.open("CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE INDEX i ON t(v)");
    const before = w.header().maxFrame;
    const calls = w.disk.walCallsOf(() => w.control.exec("INSERT INTO t VALUES(1, 'x')"));
    const frames = w.header().maxFrame - before;
    expect(frames).toBeGreaterThan(1);
    expect(calls).toEqual([
      { operation: "write", path: w.database.walPath, offset: 32 + before * FRAME, length: frames * FRAME },
    ]);
  });

  test("under FULL the commit frame is written once and synced once, whatever the base promises", async () => {
    const w = await Watched.open("CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    const db = w.connect("psow=0");
    // Then the WAL has zeros ahead (node/wal-ahead.ts), enough for the next one.
    db.exec(
      "PRAGMA synchronous=FULL; INSERT INTO t VALUES(1, randomblob(100000)); INSERT INTO t VALUES(2, 'x')",
    );
    const before = w.header().maxFrame;
    const calls = w.disk.walCallsOf(() => db.exec("INSERT INTO t VALUES(3, 'x')"));
    expect(operations(calls)).toEqual(["write", "sync"]);
    expect(calls[0]!.length).toBe((w.header().maxFrame - before) * FRAME);
  });

  test("a transaction larger than the buffer arrives whole", async () => {
    const w = await Watched.open("CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    w.control.exec("INSERT INTO t VALUES(1, randomblob(3000000))");
    expect(w.crashed("SELECT sum(length(v)) FROM t")).toBe("3000000\nok");
    w.drain();
    w.expectReplica();
  });
});

describe("the buffer belongs to the database", () => {
  test("what one connection spilled and rolled back does not land on another's commit", async () => {
    const w = await Watched.open("CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    const other = w.connect();
    w.control.exec(spill);
    w.control.exec("ROLLBACK");
    other.exec("INSERT INTO t VALUES(1, 'kept')");
    w.control.exec(spill);
    w.control.exec("ROLLBACK");
    expect(w.crashed("SELECT v FROM t")).toBe("kept\nok");
    w.drain();
    w.expectReplica();
  });

  test("it is empty whenever slot 0 is free", async () => {
    const w = await Watched.open("CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    w.control.exec(spill);
    w.control.exec("ROLLBACK");
    const reader = w.connect();
    expect(w.disk.walCallsOf(() => reader.exec("SELECT * FROM t"))).toEqual([]);
    expect(w.disk.walCallsOf(() => reader.exec("INSERT INTO t VALUES(1, 2)"))).toHaveLength(1);
    expect(w.crashed("SELECT * FROM t")).toBe("1|2\nok");
  });

  test("two handles gather in one stream, in the order of their writes", async () => {
    const w = await Watched.open("CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    const other = w.connect();
    other.exec("INSERT INTO t VALUES(1, 2)");
    const at = BigInt(32 + w.header().maxFrame * FRAME);
    const calls = w.disk.walCallsOf(() => {
      const main = w.file(w.control, "main");
      expect(w.call(main, "xShmLock", 0, 1, SHM_LOCK_EXCLUSIVE)).toBe(0);
      w.withBytes(new Uint8Array(24).fill(1), (from) => {
        expect(w.call(w.file(w.control, "wal"), "xWrite", from, 24, at)).toBe(0);
        expect(w.call(w.file(other, "wal"), "xWrite", from, 24, at + 24n)).toBe(0);
      });
      w.call(main, "xShmLock", 0, 1, SHM_UNLOCK_EXCLUSIVE);
    });
    expect(calls.map(({ offset, length }) => [offset, length])).toEqual([[Number(at), 48]]);
  });
});

describe("what is gathered reaches the base before", () => {
  test("a write that does not append", async () => {
    const w = await Watched.open("CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    w.control.exec("INSERT INTO t VALUES(1, 2); BEGIN IMMEDIATE");
    const end = 32 + w.header().maxFrame * FRAME;
    const write = (value: number) =>
      w.withBytes(new Uint8Array(24).fill(value), (from) =>
        expect(w.call(w.file(w.control, "wal"), "xWrite", from, 24, BigInt(end))).toBe(0),
      );
    write(1);
    write(2);
    w.control.exec("ROLLBACK");
    expect(readFileSync(w.database.walPath).subarray(end)).toEqual(Buffer.alloc(24, 2));
  });

  test.each([
    ["xRead", (w: Watched, wal: number, buffer: number) => w.call(wal, "xRead", buffer, 24, 32n)],
    ["xFileSize", (w: Watched, wal: number, buffer: number) => w.call(wal, "xFileSize", buffer)],
    ["xSync", (w: Watched, wal: number) => w.call(wal, "xSync", 2)],
    ["xTruncate", (w: Watched, wal: number) => w.call(wal, "xTruncate", 1n << 30n)],
  ] as const)("%s by another connection", async (_, method) => {
    const w = await Watched.open("CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    const other = w.connect();
    other.exec("INSERT INTO t VALUES(1, 2)");
    w.control.exec("BEGIN IMMEDIATE");
    const end = 32 + w.header().maxFrame * FRAME;
    w.withBytes(new Uint8Array(24).fill(1), (from) => {
      expect(w.call(w.file(w.control, "wal"), "xWrite", from, 24, BigInt(end))).toBe(0);
      const calls = w.disk.walCallsOf(() => expect(method(w, w.file(other, "wal"), from)).toBe(0));
      expect(calls[0]).toMatchObject({ operation: "write", offset: end, length: 24 });
    });
    w.control.exec("ROLLBACK");
  });

  test("a connection that reads back what it spilled", async () => {
    const w = await Watched.open("CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    w.control.exec(spill);
    const sum = "SELECT count(*), sum(length(v)), min(id), max(id) FROM t";
    expect(w.control.selectArray(sum)).toEqual([21, 21 * 1500, 1000, 1020]);
    w.control.exec("COMMIT");
    expect(w.crashed(sum)).toBe("21|31500|1000|1020\nok");
  });
});

describe("a write that fails", () => {
  test("fails the commit, and is not tried again behind SQLite's back", async () => {
    const w = await Watched.open("CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    let failures = 0;
    w.disk.fails = ({ operation, path }) =>
      operation === "write" && path.endsWith("-wal") && failures++ === 0;
    const { txid } = w.capture.captured;
    const calls = w.disk.walCallsOf(() =>
      expect(resultCodeOf(() => w.control.exec("INSERT INTO t VALUES(1, 'lost')"))).toBe(SQLITE_IOERR_WRITE),
    );
    expect(operations(calls)).toEqual(["write"]);
    expect(w.capture.captured.txid).toBe(txid);
    w.connect().exec("INSERT INTO t VALUES(2, 'kept')");
    expect(w.crashed("SELECT v FROM t")).toBe("kept\nok");
    w.drain();
    w.expectReplica();
  });
});

describe("a base that has no code of its own for a full disk", () => {
  test.each([
    ["the WAL", "-wal", "INSERT INTO t VALUES(2)"],
    ["the database", ".db", "PRAGMA wal_checkpoint"],
  ])("a write to %s fails with SQLITE_FULL then, and else as it says", async (_, file, sql) => {
    const w = await Watched.open("CREATE TABLE t(v)");
    w.control.exec("INSERT INTO t VALUES(1)");
    w.disk.fails = ({ operation, path }) => operation === "write" && path.endsWith(file);
    expect(resultCodeOf(() => w.control.exec(sql))).toBe(SQLITE_IOERR_WRITE);
    w.disk.full = true;
    expect(resultCodeOf(() => w.control.exec(sql))).toBe(SQLITE_FULL);
  });
});
