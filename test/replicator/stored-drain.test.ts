import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { MemoryStore, type SqliteReplicatorConfig } from "../../node/index.ts";
import { FsWriteCache } from "../../node/write-cache.ts";
import { native } from "../node/vfs-fixture.ts";
import { FaultyStore } from "./faulty-store.ts";
import {
  pageHashes,
  quietModule,
  quietReplicator,
  restoredPages,
  temporaryFolder,
} from "./replica-fixture.ts";
import { smallDisk } from "./small-disk.ts";

/** Bytes of the rows of one burst, which zstd makes much smaller. */
const BURST = 1_000_000;

/** A database whose application does not let anything else run: the gate drains, and nothing goes up meanwhile. */
async function bursts({
  pageSize = 4096,
  dbPath = join(temporaryFolder(), "data.db"),
  ...config
}: Partial<SqliteReplicatorConfig> & { pageSize?: number } = {}) {
  const sqlite3 = await quietModule();
  const memory = new MemoryStore();
  const store = new FaultyStore(memory);
  native(dbPath, `PRAGMA page_size=${pageSize}; CREATE TABLE other(a)`);
  const start = async () => {
    const session = await quietReplicator({ dbPath, replica: store, sqlite3, ...config });
    await session.replicator.start();
    const db = session.replicator.openDatabase();
    onTestFinished(async () => {
      db.close();
      await session.replicator.stop();
    });
    return { ...session, db };
  };
  const first = await start();
  first.db.exec("CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
  await first.replicator.snapshot();
  await first.replicator.waitUntilUploaded();
  let row = 0;
  /** Writes, and has the WAL restarted. Returns the bytes that wait for upload since. */
  const burst = ({ db, replicator }: typeof first, size = BURST): number => {
    const before = replicator.status().pendingBytes;
    for (const end = row + 10; row < end; row++)
      db.exec(`INSERT INTO t VALUES(${row}, hex(zeroblob(${size / 20})) || ${row})`);
    db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
    return replicator.status().pendingBytes - before;
  };
  /** Bytes of each segment in the store. */
  const segments = async () => {
    const sizes: number[] = [];
    for await (const { size } of memory.list("wal/0/")) sizes.push(size);
    return sizes.slice(1);
  };
  const expectRestored = async (db: typeof first.db) => {
    const path = join(temporaryFolder(), "restored.db");
    const restored = await restoredPages(sqlite3, memory, path, Number(db.selectValue("PRAGMA page_size")));
    expect(restored).toEqual(pageHashes(sqlite3, db));
  };
  /** The answer to each upload is lost once. */
  const uploadedAtTheSecondTry = async () => {
    store.fault = (method, key) => (method === "put" && key.startsWith("wal/") ? "after" : "pass");
    const uploaded = first.replicator.waitUntilUploaded();
    await expect.poll(() => first.replicator.status().lastError).not.toBeNull();
    store.offline = false;
    await uploaded;
  };
  return {
    ...first,
    uploadedAtTheSecondTry,
    store,
    start,
    burst: (size?: number) => burst(first, size),
    segments,
    expectRestored,
  };
}

const PACKED = BURST / 10;

test("what a gate stores as it is, behind the head, is packed when it goes up", async () => {
  const { replicator, db, burst, segments, expectRestored } = await bursts();
  expect(burst()).toBeLessThan(PACKED);
  expect(burst()).toBeGreaterThan(BURST);
  await replicator.waitUntilUploaded();
  const sizes = await segments();
  expect(sizes).toHaveLength(2);
  expect(Math.max(...sizes)).toBeLessThan(PACKED);
  await expectRestored(db);
});

test("merged segments are packed too", async () => {
  const { replicator, db, burst, segments, expectRestored } = await bursts({ uploadIntervalMs: 50 });
  const cached = [burst(), burst(), burst()];
  expect(Math.max(...cached)).toBeGreaterThan(BURST);
  await expect.poll(() => replicator.status().pendingSegments).toBe(0);
  const sizes = await segments();
  expect(sizes).toHaveLength(2);
  expect(Math.max(...sizes)).toBeLessThan(PACKED);
  await expectRestored(db);
});

test("no more is stored than the cache may hold", async () => {
  const { replicator, db, burst, segments, expectRestored } = await bursts({ maxCacheSize: 2.5 * BURST });
  const stored = [burst(), burst(), burst(), burst()].map((bytes) => bytes > BURST);
  expect(stored).toEqual([false, true, true, false]);
  await replicator.waitUntilUploaded();
  expect(await segments()).toHaveLength(4);
  await expectRestored(db);
});

test("small pages take their frames' room beside: nothing is given up for what was stored", async () => {
  const { replicator, db, burst, expectRestored } = await bursts({
    maxCacheSize: 2.5 * BURST,
    pageSize: 512,
  });
  const given: unknown[] = [];
  replicator.addEventListener("cache-overflow", ({ detail }) => given.push(detail));
  burst(1000);
  burst(2.44 * BURST);
  await replicator.waitUntilUploaded();
  expect(given).toEqual([]);
  await expectRestored(db);
});

test("a disk that is nearly full is not filled with what takes less when it is packed", async ({ skip }) => {
  const disk = smallDisk() ?? skip("no right to mount a tmpfs");
  const { replicator, db, burst, store, expectRestored } = await bursts({ dbPath: join(disk, "data.db") });
  store.offline = true;
  burst();
  // The main file grows by as much as the WAL has, which is two thirds of what was free.
  expect(burst()).toBeLessThan(PACKED);
  store.offline = false;
  replicator.wake();
  await replicator.waitUntilUploaded();
  await expectRestored(db);
});

test("what the disk has no room for as it is goes in packed", async ({ skip }) => {
  // What other users may take of it, a quota say, is not seen.
  vi.spyOn(FsWriteCache.prototype, "free").mockReturnValue(Number.POSITIVE_INFINITY);
  onTestFinished(() => void vi.restoreAllMocks());
  const disk = smallDisk() ?? skip("no right to mount a tmpfs");
  const { replicator, db, burst, expectRestored } = await bursts({ cacheDir: join(disk, "cache") });
  burst();
  const ballast = join(disk, "ballast");
  writeFileSync(ballast, Buffer.alloc(3.5 * BURST));
  expect(burst()).toBeLessThan(PACKED);
  rmSync(ballast);
  expect(burst()).toBeGreaterThan(BURST);
  expect(replicator.status().state).toBe("running");
  await replicator.waitUntilUploaded();
  await expectRestored(db);
});

test("an upload whose answer was lost is known again, packed as it is", async () => {
  const { db, burst, uploadedAtTheSecondTry, expectRestored } = await bursts();
  burst();
  burst();
  await uploadedAtTheSecondTry();
  await expectRestored(db);
});

test("what an upload says it sent, and others count by, is what the store has", async () => {
  const { replicator, burst, uploadedAtTheSecondTry, segments } = await bursts();
  const said: number[] = [];
  replicator.addEventListener("upload", ({ detail }) => said.push(detail.size));
  burst();
  burst();
  await replicator.waitUntilUploaded();
  burst();
  burst();
  await uploadedAtTheSecondTry();
  expect(said).toEqual(await segments());
});

test("housekeeping knows what was packed on its way", async () => {
  const { replicator, db, burst, store, expectRestored } = await bursts({ snapshotIntervalSecs: 0 });
  const listed: string[] = [];
  const made = async () => {
    let count = 0;
    for await (const _ of store.list("wal/1/")) count += 1;
    return count;
  };
  store.fault = (method, key) => {
    if (method === "list" && key === "wal/") listed.push(key);
    return "pass";
  };
  for (let uploads = 0; uploads < 20; uploads += 2) {
    burst(1000);
    burst(3 * BURST);
    await replicator.waitUntilUploaded();
  }
  await expect.poll(made).toBe(1);
  expect(replicator.status().lastError).toBeNull();
  expect(listed).toHaveLength(1);
  await expectRestored(db);
});

test("a later run sends what it finds as it is", async () => {
  const { replicator, db, burst, store, start, segments, expectRestored } = await bursts({
    stopTimeoutMs: 0,
  });
  burst();
  burst();
  store.offline = true;
  db.close();
  await replicator.stop();
  store.offline = false;
  const next = await start();
  await next.replicator.waitUntilUploaded();
  expect(Math.max(...(await segments()))).toBeGreaterThan(BURST);
  await expectRestored(next.db);
});
