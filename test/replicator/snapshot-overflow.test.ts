import { join } from "node:path";
import { expect, test } from "vitest";
import { MemoryStore } from "../../node/index.ts";
import { FaultyStore } from "./faulty-store.ts";
import { createTable, insert, next, rows, useReplicators } from "./fixture.ts";

const use = useReplicators();

test("a snapshot under way is not published when its position was dropped with the backlog", async () => {
  const folder = use.folder();
  const store = new FaultyStore(new MemoryStore());
  const replicator = await use.create(join(folder, "a.db"), store, { maxCacheSize: 1 << 16 });
  await replicator.start();
  const db = replicator.openDatabase();
  createTable(db);
  await replicator.snapshot();
  store.fault = (method, key) => (method === "put" && key.startsWith("wal/") ? "before" : "pass");
  for (let i = 0; i < 3; i++) {
    const cached = next(replicator, "wal");
    insert(db, `head ${i}`);
    await cached;
  }
  const streaming = store.holdStream();
  const snapshot = replicator.snapshot();
  const outcome = snapshot.then(
    () => "published",
    () => "given up",
  );
  const release = await streaming;
  const overflow = next(replicator, "cache-overflow");
  let over = false;
  void overflow.then(() => {
    over = true;
  });
  while (!over) {
    const cached = Promise.race([next(replicator, "wal"), overflow]);
    db.exec("INSERT INTO t(b) VALUES (hex(randomblob(10000)))");
    await cached;
  }
  store.fault = () => "pass";
  replicator.wake();
  await replicator.waitUntilUploaded();
  release();
  expect(await outcome).toBe("given up");
  insert(db, "after");
  await replicator.waitUntilUploaded();
  const copy = await use.create(join(folder, "copy.db"), store);
  await copy.start();
  const other = copy.openDatabase();
  expect(rows(other)).toEqual(rows(db));
  other.close();
  db.close();
});
