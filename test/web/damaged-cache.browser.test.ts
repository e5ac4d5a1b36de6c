import { afterEach, expect, test } from "vitest";
import { MemoryStore } from "../../src/store/memory-store.ts";
import { DbWorker } from "./db-client.ts";

const workers: DbWorker[] = [];
afterEach(() => {
  for (const worker of workers.splice(0)) worker.end();
});

const ROW = "INSERT INTO t(b) VALUES(hex(randomblob(500)))";
const SUM = "SELECT count(*) || ' ' || sum(length(b)) || ' ' || max(a) FROM t";

/** Changes the chunks in a write cache, by their place among them. */
async function spoil(name: string, act: (store: IDBObjectStore, key: IDBValidKey) => void, which: number) {
  const database = await new Promise<IDBDatabase>((resolve, reject) => {
    const request = indexedDB.open(name);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  const transaction = database.transaction("cache", "readwrite");
  const store = transaction.objectStore("cache");
  const keys = store.getAllKeys(IDBKeyRange.bound(["chunk"], ["chunk", []]));
  keys.onsuccess = () => act(store, keys.result[which]!);
  await new Promise((resolve, reject) => {
    transaction.oncomplete = resolve;
    transaction.onabort = () => reject(transaction.error);
  });
  database.close();
}

function change(to: (bytes: Uint8Array) => Uint8Array) {
  return (store: IDBObjectStore, key: IDBValidKey) => {
    const request = store.get(key);
    request.onsuccess = () => store.put(to(request.result), key);
  };
}

const damages: Record<string, (store: IDBObjectStore, key: IDBValidKey) => void> = {
  "is gone": (store, key) => void store.delete(key),
  "is shorter": change((bytes) => bytes.slice(0, -1)),
  "is empty": change(() => new Uint8Array()),
  "has a bit altered": change((bytes) => {
    bytes[bytes.length >> 1]! ^= 1;
    return bytes;
  }),
  "has its format altered": change((bytes) => {
    bytes['........{"format":'.length]! ^= 2;
    return bytes;
  }),
};

test.each(Object.keys(damages))("an entry of the write cache that %s is made up for", async (damage) => {
  const [store, directory, cacheDir] = [
    new MemoryStore(),
    `/sluice-test-${crypto.randomUUID()}`,
    crypto.randomUUID(),
  ];
  const start = async (config: object) => {
    const worker = new DbWorker();
    workers.push(worker);
    await worker.create({ syncIntervalMs: 5, uploadIntervalMs: 2 ** 30, ...config }, store);
    await worker.call("start");
    return worker;
  };
  const worker = await start({ directory, cacheDir });
  await worker.call("exec", "CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT)");
  await worker.call("snapshot");
  for (const which of [0, 1]) {
    for (let i = 0; i < 3; i++) {
      await worker.call("exec", ROW);
      await expect.poll(async () => (await worker.status()).pendingSegments).toBe(i + 1);
    }
    await spoil(cacheDir, damages[damage]!, which);
    await worker.call("waitUntilUploaded");
    const { lastError, state } = await worker.status();
    expect({ lastError, state }).toEqual({
      lastError: expect.stringMatching(/^CacheError: .* is damaged/),
      state: "running",
    });
    const copy = await start({ directory: `${directory}-copy${which}` });
    expect(await copy.call("value", SUM)).toBe(await worker.call("value", SUM));
    copy.end();
  }
});
