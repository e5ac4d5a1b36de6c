import { appendFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { CacheError, MemoryStore, type SqliteReplicator } from "../../node/index.ts";
import { FaultyStore } from "./faulty-store.ts";
import { useReplicators } from "./fixture.ts";
import { smallDisk } from "./small-disk.ts";

const use = useReplicators();
const MiB = 1 << 20;

const turn = () => new Promise((resolve) => setImmediate(resolve));

/** Commits one after the other; those that fail for want of room are as if they had never been. */
async function commits(
  replicator: SqliteReplicator,
  count: number,
): Promise<{ made: number; refused: number }> {
  const db = replicator.openDatabase();
  let made = 0;
  let refused = 0;
  for (let i = 0; i < count; i++) {
    try {
      db.exec("UPDATE t SET b = randomblob(2000) WHERE a = abs(random()) % 50; UPDATE n SET n = n + 1");
      made += 1;
    } catch (error) {
      expect(String(error)).toContain("SQLITE_FULL");
      refused += 1;
    }
    await turn();
  }
  db.close();
  return { made, refused };
}

test("a disk that is full while the store is away: the app goes on, and a resync makes up for it", async ({
  skip,
}) => {
  const disk = smallDisk() ?? skip("no right to mount a tmpfs");
  const store = new FaultyStore(new MemoryStore());
  const replicator = await use.create(join(disk, "a.db"), store, { syncIntervalMs: 1 });
  await replicator.start();
  const db = replicator.openDatabase();
  db.exec(`
    CREATE TABLE n(n INTEGER); INSERT INTO n VALUES(0);
    CREATE TABLE t(a INTEGER PRIMARY KEY, b);
    WITH RECURSIVE c(i) AS (VALUES(0) UNION ALL SELECT i + 1 FROM c WHERE i < 49)
      INSERT INTO t SELECT i, randomblob(2000) FROM c`);
  await replicator.snapshot();
  // The main file has its pages: those that it would grow by need room that nobody can make.
  expect(db.selectValue("PRAGMA wal_checkpoint(TRUNCATE)")).toBe(0);
  store.offline = true;
  const needed: string[] = [];
  replicator.addEventListener("resync", ({ detail }) => needed.push(detail.phase));

  await commits(replicator, 50);
  const ballast = join(disk, "ballast");
  writeFileSync(ballast, "");
  expect(() => appendFileSync(ballast, Buffer.alloc(4 * MiB))).toThrow("ENOSPC");
  let total = Number(db.selectValue("SELECT n FROM n"));
  let settled = 0;
  // Some are refused until the WAL begins anew, and none from then on.
  for (let round = 0; round < 100 && settled < 3; round++) {
    const { made, refused } = await commits(replicator, 100);
    total += made;
    settled = made === 100 && refused === 0 && needed.length > 0 ? settled + 1 : 0;
  }
  expect(settled, "the app goes on").toBe(3);
  expect(needed).toEqual(["needed"]);
  expect(db.selectValue("SELECT n FROM n")).toBe(total);

  rmSync(ballast);
  store.offline = false;
  replicator.wake();
  await replicator.waitUntilUploaded();
  const pages = db.selectValues("SELECT data FROM sqlite_dbpage");
  db.close();
  expect(await replicator.stop()).toEqual({ uploaded: true });
  const copy = await use.create(join(use.folder(), "copy.db"), store);
  await copy.start();
  const restored = copy.openDatabase();
  expect(restored.selectValues("SELECT data FROM sqlite_dbpage")).toEqual(pages);
  restored.close();
});

test("a WAL that took all the room gives it back to the resync that it made necessary", async ({ skip }) => {
  const disk = smallDisk() ?? skip("no right to mount a tmpfs");
  const store = new MemoryStore();
  const replicator = await use.create(join(disk, "a.db"), store, { syncIntervalMs: 1, logger: {} });
  await replicator.start();
  const db = replicator.openDatabase();
  db.exec(`
    CREATE TABLE n(n INTEGER); INSERT INTO n VALUES(0);
    CREATE TABLE t(a INTEGER PRIMARY KEY, b);
    WITH RECURSIVE c(i) AS (VALUES(0) UNION ALL SELECT i + 1 FROM c WHERE i < 49)
      INSERT INTO t SELECT i, randomblob(2000) FROM c`);
  await replicator.snapshot();
  const ballast = join(disk, "ballast");
  const fill = () =>
    expect(() => {
      for (;;) appendFileSync(ballast, Buffer.alloc(4096));
    }).toThrow("ENOSPC");
  expect(db.selectValue("PRAGMA wal_checkpoint(TRUNCATE)")).toBe(0);
  // Whatever is free, or becomes free by an upload, is somebody else's at once.
  let needed = false;
  replicator.addEventListener("resync", ({ detail }) => {
    needed ||= detail.phase === "needed";
    if (detail.phase === "needed") fill();
  });
  replicator.addEventListener("upload", () => needed && replicator.status().state === "resync" && fill());
  // A transaction that reads keeps the WAL from beginning anew while it grows; then nothing else fits.
  const reader = replicator.openDatabase();
  reader.exec("BEGIN; SELECT count(*) FROM t");
  await commits(replicator, 100);
  fill();
  for (let round = 0; round < 100 && !needed; round++) await commits(replicator, 50);
  expect(needed).toBe(true);
  reader.close();
  await replicator.waitUntilUploaded();
  expect(await replicator.verify()).toMatchObject({ outcome: "equal" });
  db.close();
  expect(await replicator.stop()).toEqual({ uploaded: true });
});

test("a checkpoint that finds the disk full, too, does not tell so once more", async ({ skip }) => {
  const disk = smallDisk() ?? skip("no right to mount a tmpfs");
  const store = new MemoryStore();
  const replicator = await use.create(join(disk, "a.db"), store, { syncIntervalMs: 600_000 });
  await replicator.start();
  const db = replicator.openDatabase();
  db.exec("CREATE TABLE t(a INTEGER PRIMARY KEY, b)");
  await replicator.snapshot();
  db.exec("INSERT INTO t(b) VALUES(randomblob(60000))");
  const ballast = join(disk, "ballast");
  expect(() => {
    for (;;) appendFileSync(ballast, Buffer.alloc(4096));
  }).toThrow("ENOSPC");
  const heard: unknown[] = [];
  replicator.addEventListener("error", ({ detail }) => heard.push(detail));
  const failures = (inCache: boolean) =>
    heard.filter((error) => error instanceof CacheError === inCache).length;
  expect(() => db.exec("INSERT INTO t(b) VALUES(randomblob(600000))")).toThrow("SQLITE_FULL");
  // The drain says so, and the resync that makes up for it: not the checkpoints behind them, too.
  await expect.poll(() => failures(true)).toBeGreaterThanOrEqual(2);
  for (let turns = 0; turns < 50; turns++) await turn();
  expect(failures(false)).toBeLessThanOrEqual(1);
  rmSync(ballast);
  await replicator.waitUntilUploaded();
  expect(await replicator.verify()).toMatchObject({ outcome: "equal" });
  db.close();
});
