import { afterEach, beforeEach, expect, test } from "vitest";
import { MemoryStore } from "../../src/store/memory-store.ts";
import { DbWorker } from "./db-client.ts";
import { limitQuota } from "./limit-quota.ts";

let db: DbWorker;
beforeEach(() => {
  db = new DbWorker();
});
afterEach(async () => {
  await limitQuota();
  db.end();
});

test("a pool that there is no room for is told, and made when there is", async () => {
  const config = { directory: `/sluice-test-${crypto.randomUUID()}` };
  await limitQuota(1);
  await expect(db.create(config, new MemoryStore())).rejects.toMatchObject({ code: "SLUICE_POOL_FULL" });
  await limitQuota();
  await db.create(config, new MemoryStore());
  await db.call("start");
});

test("what IndexedDB has no room for beside the side file goes up all the same, which makes room", async () => {
  const store = new MemoryStore();
  const { usage = 0 } = await navigator.storage.estimate();
  // At first little, so that IndexedDB asks again when it is to take more.
  await limitQuota(usage + 2_000_000);
  await db.call("useFreshIndexedDb");
  const config = {
    directory: `/sluice-test-${crypto.randomUUID()}`,
    syncIntervalMs: 10,
    uploadIntervalMs: 10,
  };
  await db.create(config, store);
  await db.call("start");
  await db.call("exec", "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)");
  await db.call("waitUntilUploaded");
  await limitQuota(usage + 20_000_000);
  // The WAL has it, and the side file.
  await db.call("exec", "INSERT INTO t(b) VALUES(randomblob(8000000))");
  await db.call("waitUntilUploaded");
  expect(await db.status()).toMatchObject({ captured: 2, uploaded: 2, pendingSegments: 0, lastError: null });
  for (let txid = 3; txid < 5; txid++) {
    await db.call("exec", "INSERT INTO t(b) VALUES(randomblob(100000))");
    await db.call("waitUntilUploaded");
  }
  await limitQuota();
  expect(await db.call("verify")).toMatchObject({ outcome: "equal", position: { txid: 4 } });
});
