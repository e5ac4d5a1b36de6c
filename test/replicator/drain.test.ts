import { closeSync, openSync, readSync, writeSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { installNodeVfs } from "../../node/vfs.ts";
import { MemoryStore } from "../../src/store/memory-store.ts";
import { walFrameHeaderSize, walHeaderSize } from "../../src/wal/wal-format.ts";
import { WalDamagedError } from "../../src/wal/wal-reader.ts";
import { Disk } from "../vfs/watched.ts";
import {
  pageHashes,
  quietModule,
  quietReplicator,
  restoredPages,
  temporaryFolder,
} from "./replica-fixture.ts";

async function running() {
  const sqlite3 = await quietModule();
  const disk = new Disk();
  installNodeVfs(sqlite3, { fs: disk.fs });
  const store = new MemoryStore();
  const dbPath = join(temporaryFolder(), "data.db");
  const { replicator, complaints } = await quietReplicator({ dbPath, replica: store, sqlite3 });
  await replicator.start();
  const db = replicator.openDatabase();
  db.exec(
    "PRAGMA wal_autocheckpoint=0; PRAGMA synchronous=NORMAL; CREATE TABLE t(id INTEGER PRIMARY KEY, v)",
  );
  await replicator.snapshot(); // the first one, whose reader would hold the WAL
  onTestFinished(async () => {
    db.close();
    await replicator.stop();
  });
  return { replicator, complaints, db, disk, dbPath, sqlite3, store };
}

/** Turns one bit of a file over. */
function flip(path: string, offset: number): void {
  const fd = openSync(path, "r+");
  const byte = new Uint8Array(1);
  readSync(fd, byte, 0, 1, offset);
  byte[0]! ^= 1;
  writeSync(fd, byte, 0, 1, offset);
  closeSync(fd);
}

test.each([
  ["page", 2000],
  ["page number", 4096 + 3],
  ["salt", 4096 + 9],
  ["checksum", 4096 + 17],
])("a damaged %s in the WAL is not cached, and nothing is lost when it heals", async (_, before) => {
  const { replicator, db, dbPath } = await running();
  db.exec("INSERT INTO t VALUES(1, 'x')");
  const { cached, pendingSegments, captured, walFrames } = replicator.status();
  const frameSize = Number(db.selectValue("PRAGMA page_size")) + walFrameHeaderSize;
  const offset = walHeaderSize + walFrames * frameSize - 1 - before;
  flip(`${dbPath}-wal`, offset);
  await expect(replicator.flush()).rejects.toThrow(WalDamagedError);
  expect(replicator.status()).toMatchObject({ cached, pendingSegments });
  flip(`${dbPath}-wal`, offset);
  await replicator.flush();
  expect(replicator.status()).toMatchObject({ cached: captured, uploaded: captured });
});

test("the WAL is synced before what it holds is cached", async () => {
  const { replicator, db, disk } = await running();
  db.exec("INSERT INTO t VALUES(1, 'x')");
  const before = disk.calls.length;
  await replicator.flush();
  const synced = disk.calls
    .slice(before)
    .filter(({ operation, path }) => operation === "sync" && path.endsWith("-wal"));
  expect(synced).toHaveLength(1);
});

test("a WAL that cannot be synced is not cached", async () => {
  const { replicator, db, disk } = await running();
  db.exec("INSERT INTO t VALUES(1, 'x')");
  const { cached } = replicator.status();
  disk.fails = ({ operation, path }) => operation === "sync" && path.endsWith("-wal");
  await expect(replicator.flush()).rejects.toThrow();
  expect(replicator.status().cached).toBe(cached);
  disk.fails = () => false;
  await replicator.flush();
  expect(replicator.status().cached).toBe(replicator.status().captured);
});

test("under synchronous=OFF the main file is synced before the WAL that it was filled from is overwritten", async () => {
  const { db, disk, dbPath } = await running();
  db.exec("PRAGMA synchronous=OFF; INSERT INTO t VALUES(1, 'x'); PRAGMA wal_checkpoint(PASSIVE)");
  const before = disk.calls.length;
  db.exec("INSERT INTO t VALUES(2, 'y')");
  const calls = disk.calls.slice(before);
  const synced = calls.findIndex(({ operation, path }) => operation === "sync" && path === dbPath);
  const restarted = calls.findIndex(({ operation, path, offset }) => {
    return operation === "write" && path === `${dbPath}-wal` && offset === 0;
  });
  expect(synced).toBeGreaterThanOrEqual(0);
  expect(restarted).toBeGreaterThan(synced);
});

test("commits that could not be captured are carried by a resync, without waiting for more", async () => {
  const { replicator, complaints, db, disk, sqlite3, store } = await running();
  db.exec("INSERT INTO t VALUES(1, 'x'); PRAGMA wal_checkpoint(PASSIVE)");
  await replicator.flush();
  // The first commit of the next WAL is looked up there.
  let failures = 0;
  disk.fails = ({ operation, path }) => operation === "read" && path.endsWith("-wal") && failures++ === 0;
  db.exec("INSERT INTO t VALUES(2, 'y')");
  expect(failures).toBeGreaterThan(0);
  expect(replicator.status().state).toBe("resync");
  await replicator.waitUntilUploaded();
  expect(complaints).not.toEqual([]);
  const { captured, uploaded, state } = replicator.status();
  expect({ state, uploaded }).toEqual({ state: "running", uploaded: captured });
  const path = join(temporaryFolder(), "restored.db");
  expect(await restoredPages(sqlite3, store, path, 8192)).toEqual(pageHashes(sqlite3, db));
});

test("a connection that outlives stop() can go on, and its WAL is not restarted before a mark is durable", async () => {
  const { replicator, db, disk } = await running();
  await replicator.stop();
  disk.fails = () => false;
  for (let i = 1; i <= 20; i++)
    db.exec(`INSERT INTO t VALUES(${i}, randomblob(20000)); PRAGMA wal_checkpoint(PASSIVE)`);
  expect(db.selectArray("SELECT count(*), sum(length(v)) FROM t")).toEqual([20, 400_000]);
  expect(db.selectValue("PRAGMA integrity_check")).toBe("ok");
});
