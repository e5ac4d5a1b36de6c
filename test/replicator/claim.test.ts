import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { MemoryStore, UnknownLocalHistoryError } from "../../node/index.ts";
import { claimReplica } from "../../src/claim.ts";
import { lineageKey, snapshotPrefix } from "../../src/format/keys.ts";
import { collect } from "../../src/store/object-store.ts";
import { lineage, writer } from "../format/objects.ts";
import { native } from "../node/vfs-fixture.ts";
import { FaultyStore } from "./faulty-store.ts";
import { createTable, insert, rows, useReplicators } from "./fixture.ts";

const use = useReplicators();

/** A replica of one row that comes to be on an empty prefix, whole, before a request. */
async function comesBefore(request: string) {
  const folder = use.folder();
  const [elsewhere, here] = [new MemoryStore(), new MemoryStore()];
  const other = await use.create(join(folder, "other.db"), elsewhere);
  await other.start();
  const db = other.openDatabase();
  createTable(db);
  insert(db, "of the other");
  await other.snapshot();
  db.close();
  await other.stop();
  const store = new FaultyStore(here);
  store.meanwhile = async (method, key) => {
    if (`${method} ${key}` !== request) return;
    store.meanwhile = async () => {};
    for await (const { key } of elsewhere.list(""))
      await here.put(key, await collect((await elsewhere.get(key)).body, 1 << 20));
  };
  return { folder, store };
}

test("a claim between a starter's look for it and that for objects is found, and restored from", async () => {
  const { folder, store } = await comesBefore(`list ${snapshotPrefix}`);
  const replicator = await use.create(join(folder, "a.db"), store);
  await replicator.start();
  const db = replicator.openDatabase();
  expect(rows(db)).toEqual(["of the other"]);
  db.close();
});

test("a claim between these looks of one that has a database is found, and nobody knows which is newer", async () => {
  const { folder, store } = await comesBefore(`list ${snapshotPrefix}`);
  native(join(folder, "a.db"), "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)");
  const replicator = await use.create(join(folder, "a.db"), store);
  await expect(replicator.start()).rejects.toBeInstanceOf(UnknownLocalHistoryError);
});

test("a claim that is taken back, between our try and our look at it, is tried again", async () => {
  const memory = new MemoryStore();
  const store = new FaultyStore(memory);
  const replicator = await use.create(join(use.folder(), "a.db"), store);
  await replicator.start();
  store.meanwhile = async (method, key) => {
    if (`${method} ${key}` !== `put ${lineageKey}`) return;
    await claimReplica(memory, { version: 1, lineage, writer, created: 0 });
    store.meanwhile = async () => {
      store.meanwhile = async () => {};
      await memory.delete([lineageKey]);
    };
  };
  await expect(replicator.snapshot()).rejects.toMatchObject({ kind: "unavailable" });
  await replicator.snapshot();
  expect(replicator.status().state).toBe("running");
});

test("a claim before a first snapshot of a database without commits ends the upload, and no request follows", async () => {
  const folder = use.folder();
  const memory = new MemoryStore();
  const store = new FaultyStore(memory);
  native(join(folder, "a.db"), "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)");
  store.meanwhile = async (method, key) => {
    if (`${method} ${key}` !== `put ${lineageKey}`) return;
    store.meanwhile = async () => {};
    await claimReplica(memory, { version: 1, lineage, writer, created: 0 });
  };
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
  onTestFinished(() => void vi.useRealTimers());
  const replicator = await use.create(join(folder, "a.db"), store);
  let fences = 0;
  replicator.addEventListener("fenced", () => {
    fences += 1;
  });
  await replicator.start();
  await vi.waitUntil(() => fences > 0);
  const { requests } = store;
  await vi.advanceTimersByTimeAsync(3600 * 1000);
  expect({ requests: store.requests, fences }).toEqual({ requests, fences: 1 });
  expect(replicator.status().state).toBe("fenced");
});
