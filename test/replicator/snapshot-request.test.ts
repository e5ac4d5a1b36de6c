import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { MemoryStore } from "../../node/index.ts";
import { createTable, insert, useReplicators } from "./fixture.ts";

const { folder, create } = useReplicators();

test("a snapshot that was asked for is taken when the promise resolves, also where the clock ticks at each look", async () => {
  let time = Date.now();
  const ticking = vi.spyOn(Date, "now").mockImplementation(() => ++time);
  onTestFinished(() => ticking.mockRestore());
  const replicator = await create(join(folder(), "data.db"), new MemoryStore(), { snapshotIntervalSecs: 0 });
  await replicator.start();
  const db = replicator.openDatabase();
  createTable(db);
  await replicator.snapshot();
  const first = replicator.status().lastSnapshot;
  expect(first).not.toBeNull();
  insert(db, "more");
  await replicator.waitUntilUploaded();
  await replicator.snapshot();
  expect(replicator.status().lastSnapshot!.txid).toBe(first!.txid + 1);
  db.close();
});
