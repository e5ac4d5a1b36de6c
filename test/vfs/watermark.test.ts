import { describe, expect, test } from "vitest";
import { resultCodeOf } from "../node/vfs-fixture.ts";
import { Watched } from "./watched.ts";

const SQLITE_IOERR_FSYNC = 1034;
const SQLITE_IOERR_WRITE = 778;

const table = "CREATE TABLE t(id INTEGER PRIMARY KEY, v); CREATE TABLE u(id INTEGER PRIMARY KEY, v)";

/** A commit whose frames, commit frame and all, are in the file, and whose sync then failed: SQLite rolls it back. */
async function failedSync() {
  const w = await Watched.open(table);
  w.control.exec("PRAGMA synchronous=FULL; INSERT INTO t VALUES(1, 'first')");
  const before = w.capture.captured;
  w.disk.fails = ({ operation, path }) => operation === "sync" && path.endsWith("-wal");
  expect(resultCodeOf(() => w.control.exec("INSERT INTO t VALUES(2, randomblob(9000))"))).toBe(
    SQLITE_IOERR_FSYNC,
  );
  w.disk.fails = () => false;
  return { w, before };
}

/** Makes the next connection recover the wal-index from the file, as it does when a writer died while it changed it. */
function spoilWalIndex(w: Watched): void {
  const { abi } = w.shim;
  const out = abi.allocate(4);
  expect(w.call(w.file(w.control, "main"), "xShmMap", 0, 32768, 0, out)).toBe(0);
  abi.bytes.fill(0xff, abi.peek32(out) + 48, abi.peek32(out) + 96);
  abi.free(out);
}

describe("committed is what the wal-index says", () => {
  test("one commit, one transaction; a rollback none; a read none", async () => {
    const w = await Watched.open(table);
    w.control.exec(
      "INSERT INTO t VALUES(1, 1); BEGIN; INSERT INTO t VALUES(2, 2); ROLLBACK; SELECT * FROM t",
    );
    w.control.exec("BEGIN; INSERT INTO t VALUES(3, 3); INSERT INTO u VALUES(3, 3); COMMIT");
    expect(w.capture.captured).toMatchObject({ txid: 2, pageCount: w.header().pageCount });
    expect(w.capture.captured.wal!.frame).toBe(w.header().maxFrame);
    expect(w.policy.commits).toBe(2);
  });

  test("a commit frame that was written, and rolled back when its sync failed, is no commit", async () => {
    const { w, before } = await failedSync();
    expect(w.capture.captured).toEqual(before);
    w.connect().exec("INSERT INTO u VALUES(1, 'second')");
    expect(w.capture.captured.txid).toBe(before.txid + 1);
    w.drain();
    w.expectReplica();
  });

  test("recovery brings such a commit back, and it is captured", async () => {
    const { w, before } = await failedSync();
    spoilWalIndex(w);
    expect(w.connect().selectValue("SELECT count(*) FROM t")).toBe(2);
    expect(w.capture.captured.txid).toBe(before.txid + 1);
    w.drain();
    w.expectReplica();
  });

  test("recovery brings it back even where another transaction was noted in its place", async () => {
    const { w, before } = await failedSync();
    w.disk.fails = ({ operation, path }) => operation === "write" && path.endsWith("-wal");
    const other = w.connect();
    const code = resultCodeOf(() => other.exec("INSERT INTO u VALUES(1, randomblob(20000))"));
    expect(code).toBe(SQLITE_IOERR_WRITE);
    w.disk.fails = () => false;
    spoilWalIndex(w);
    expect(w.connect().selectValue("SELECT count(*) FROM t")).toBe(2);
    expect(w.capture.captured.txid).toBe(before.txid + 1);
    w.drain();
    w.expectReplica();
  });

  test("frames of a spill that a savepoint took back are not in the drain", async () => {
    const w = await Watched.open(table);
    w.control.exec("PRAGMA cache_size=2; BEGIN; INSERT INTO t VALUES(1, randomblob(30000)); SAVEPOINT s");
    w.control.exec("INSERT INTO u VALUES(1, randomblob(90000)); UPDATE t SET v = 1; ROLLBACK TO s; COMMIT");
    w.drain();
    w.expectReplica();
  });

  test("a WAL restarted by the next writer goes on with the next transaction", async () => {
    const w = await Watched.open(table);
    for (let i = 1; i <= 3; i++) {
      w.control.exec(`INSERT INTO t VALUES(${i}, randomblob(20000)); PRAGMA wal_checkpoint(PASSIVE)`);
      w.drain();
      expect(w.capture.captured.txid).toBe(i);
      w.expectReplica();
    }
    expect(w.capture.broken).toBeNull();
  });

  test("a WAL restarted behind the gate's back is noticed, and nothing is drained any more", async () => {
    const w = await Watched.open(table);
    w.control.exec("INSERT INTO t VALUES(1, 1)");
    const lost = w.capture.captured.wal!;
    w.capture.take({ ...w.header(), salt1: lost.salt1 + 1, maxFrame: 0 });
    expect(w.capture.broken).not.toBeNull();
    expect(w.capture.span()).toBeNull();
  });

  test("so is a WAL that lost committed frames", async () => {
    const w = await Watched.open(table);
    w.control.exec("INSERT INTO t VALUES(1, 1); INSERT INTO t VALUES(2, 1)");
    w.capture.take({ ...w.header(), maxFrame: w.header().maxFrame - 1 });
    expect(w.capture.broken).not.toBeNull();
    expect(w.capture.span()).toBeNull();
  });
});
