import { expect, test } from "vitest";
import { MemoryStore, StoreError } from "../../node/index.ts";
import { segmentKey } from "../../src/format/keys.ts";
import type { KnownTail } from "../../src/known-tail.ts";
import type { Clock } from "../../src/platform.ts";
import { UploadTask } from "../../src/upload-task.ts";
import { MemoryCache } from "../cache/memory-cache.ts";
import { codecs, lineage, writer } from "../format/objects.ts";
import { entryOf, object, position, record } from "../suites/write-cache.ts";
import { FaultyStore } from "./faulty-store.ts";

/** An upload takes 200 ms, and one may begin each second. */
function task() {
  let now = 1_000_000;
  const clock: Clock = {
    now: () => now,
    stopwatch: () => () => 0,
    after: () => ({ cancel: () => {} }),
    turn: async () => {},
  };
  const store = new FaultyStore(new MemoryStore());
  store.meanwhile = async (method) => {
    if (method === "put") now += 200;
  };
  const cache = new MemoryCache();
  const tail = { require: async () => {}, confirm: () => {}, forget: () => {} } as unknown as KnownTail;
  const claim = { version: 1, lineage, writer, created: 0 } as const;
  const uploads = new UploadTask({
    context: { store, cache, codecs, clock, tail, claim, claimed: true },
    intervalMs: 1000,
    signal: new AbortController().signal,
    merge: async () => {},
    uploaded: () => position(0),
    onUploaded: () => {},
    giveUp: async () => {},
    onFailed: () => {},
  });
  /** The cache has an entry more, `ms` later. */
  const drain = (txid: number, ms: number) => {
    now += ms;
    const append = cache.append();
    append.write(object(txid - 1, txid));
    append.commit(entryOf(txid - 1, txid), record(txid));
  };
  return { uploads, drain, store, now: () => now };
}

test("under steady commits uploads do not fall behind drains that come once an interval", async () => {
  const { uploads, drain, now } = task();
  drain(1, 0);
  await uploads.run();
  for (let txid = 2; txid < 20; txid++) {
    drain(txid, 1005 - 200); // 1005 ms behind the last one
    expect(uploads.due()).toBeLessThanOrEqual(now());
    await uploads.run();
  }
});

test("what is cached sooner waits until an interval has passed since the last upload began", async () => {
  const { uploads, drain, now } = task();
  drain(1, 0);
  const began = now();
  await uploads.run();
  drain(2, 10);
  expect(uploads.due()).toBe(began + 1000);
});

test("a key that is taken, and of which the list does not know yet, is tried again", async () => {
  const { uploads, drain, store } = task();
  drain(1, 0);
  await store.put(segmentKey(0, 1, 1), object(0, 1));
  store.list = async function* () {};
  await expect(uploads.run()).rejects.toMatchObject({ kind: "unavailable", transient: true });
});

test("a key that is taken, and free again before it was read, is tried again", async () => {
  const { uploads, drain, store } = task();
  drain(1, 0);
  const key = segmentKey(0, 1, 1);
  await store.put(key, object(0, 1));
  store.get = async () => {
    throw new StoreError("not-found", "gone", { key });
  };
  await expect(uploads.run()).rejects.toMatchObject({ kind: "unavailable", transient: true });
});
