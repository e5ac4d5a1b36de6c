import { describe, expect, test } from "vitest";
import { Capture } from "../../src/vfs/capture.ts";
import { incrementalVacuum } from "../replicator/workload.ts";
import { Watched } from "./watched.ts";

const vacuumed = "PRAGMA auto_vacuum=incremental; CREATE TABLE t(id INTEGER PRIMARY KEY, v)";
const insert = (id: number, pages: number) => `INSERT INTO t VALUES(${id}, randomblob(${pages * 4096}))`;
const shrink = "shrink";
/**
 * Makes the database larger by writing its new last page alone, and the new size into page 1, as sqlite3_rsync may. The
 * pages between belong to the database, and no frame holds them. More than 64 KiB of them SQLite would call malformed.
 */
const grow = (pages: number) => `BEGIN IMMEDIATE;
  INSERT INTO sqlite_dbpage(pgno, data) SELECT page_count + ${pages}, randomblob(4096) FROM pragma_page_count;
  UPDATE sqlite_dbpage SET data = CAST(substr(data, 1, 28) || (SELECT unhex(printf('%08x', page_count + ${pages}))
    FROM pragma_page_count) || substr(data, 33) AS BLOB) WHERE pgno = 1;
  COMMIT`;

function shrinkNow({ control }: Watched): void {
  control.exec("DELETE FROM t WHERE id > 1");
  incrementalVacuum(control);
}

const checkpoint = (mode: string) => `PRAGMA wal_checkpoint(${mode})`;

describe("the pages of a drain", () => {
  test("are the newest of each, however often they were written", async () => {
    const w = await Watched.open("CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    for (let i = 0; i < 100; i++) w.control.exec(`INSERT OR REPLACE INTO t VALUES(1, ${i})`);
    expect(w.drain()).toEqual([2]);
    w.expectReplica();
  });

  test("leave out what stood above the last page count", async () => {
    const w = await Watched.open(vacuumed);
    w.control.exec(`${insert(1, 2)}; ${insert(2, 30)}`);
    const { pageCount } = w.header();
    shrinkNow(w);
    expect(w.header().pageCount).toBeLessThan(pageCount);
    expect(Math.max(...w.drain())).toBeLessThanOrEqual(w.header().pageCount);
    w.expectReplica();
  });

  test("hold those that a growth skipped", async () => {
    const w = await Watched.open("CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
    const { pageCount } = w.header();
    const { maxFrame } = w.header();
    w.control.exec(grow(10));
    const grown = w.header().pageCount - pageCount;
    expect(w.header().maxFrame - maxFrame).toBeLessThan(grown);
    expect(w.drain()).toEqual(
      expect.arrayContaining(Array.from({ length: grown }, (_, i) => pageCount + 1 + i)),
    );
    w.expectReplica();
  });

  test("hold what a start finds, by the size after every commit and not only the last", async () => {
    const w = await Watched.open(vacuumed);
    w.control.exec(`${insert(1, 2)}; ${insert(2, 30)}`);
    w.drain();
    const recorded = w.capture.cached;
    shrinkNow(w);
    const { pageCount: smallest } = w.header();
    w.control.exec(grow(12));
    const { txid } = w.capture.captured;
    const next = new Capture(
      recorded,
      () => 0,
      (first, last, each) => w.reader.scan(4096, first, last, each),
    );
    next.take(w.header());
    expect(next.captured.txid).toBe(txid);
    const span = next.span()!;
    expect(span.minPageCount).toBe(smallest);
    expect(next.pages(span)).toEqual(w.capture.pages(w.capture.span()!));
  });
});

/** Every order of growing, shrinking, draining and checkpointing in which a page changes without being written. */
describe("pages that come and go", () => {
  const scripts: Record<string, string[]> = {
    "in one drain": [insert(2, 20), shrink, grow(12)],
    "over drains": [insert(2, 20), "drain", shrink, "drain", grow(12)],
    "shrunk and grown in one drain, written in the one before": [insert(2, 20), "drain", shrink, grow(12)],
    "written in the same drain before the shrink": ["drain", insert(2, 20), shrink, grow(12)],
    "over a restart of the WAL": [insert(2, 20), checkpoint("RESTART"), insert(3, 1), shrink, grow(12)],
    "over two restarts": [
      insert(2, 20),
      checkpoint("RESTART"),
      shrink,
      checkpoint("TRUNCATE"),
      grow(12),
      checkpoint("RESTART"),
      insert(4, 1),
    ],
    "checkpointed while small, with a reader that keeps the WAL": [
      insert(2, 20),
      "drain",
      shrink,
      "drain",
      "read",
      checkpoint("PASSIVE"),
      insert(4, 12),
    ],
    "checkpointed while small, in one drain, with a reader": [
      "drain",
      insert(2, 20),
      shrink,
      "read",
      checkpoint("PASSIVE"),
      insert(4, 12),
    ],
    "checkpointed while small, and no restart": [
      insert(2, 20),
      "drain",
      shrink,
      checkpoint("PASSIVE"),
      grow(12),
      checkpoint("PASSIVE"),
    ],
    "VACUUM, then growth": [insert(2, 40), "drain", "DELETE FROM t WHERE id = 2; VACUUM", grow(12), "drain"],
    "VACUUM, checkpoint, growth": [
      insert(2, 40),
      "drain",
      "DELETE FROM t WHERE id = 2; VACUUM",
      "drain",
      checkpoint("TRUNCATE"),
      grow(12),
      checkpoint("PASSIVE"),
    ],
    "a spill that was rolled back beyond the end": [
      `PRAGMA cache_size=2; BEGIN; ${insert(2, 30)}; ROLLBACK`,
      grow(12),
      insert(3, 25),
    ],
  };

  test.each(Object.entries(scripts))("%s", async (_, script) => {
    const w = await Watched.open(vacuumed);
    w.policy.restart = () => {
      w.drain();
      return true;
    };
    w.control.exec(insert(1, 2));
    for (const step of script) {
      if (step === "drain") w.drain();
      else if (step === "read") w.connect().exec("BEGIN; SELECT count(*) FROM t");
      else if (step === shrink) shrinkNow(w);
      else w.control.exec(step);
    }
    w.drain();
    w.expectReplica();
    expect(w.capture.broken).toBeNull();
  });
});
