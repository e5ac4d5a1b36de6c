import { afterEach, describe, expect, test, vi } from "vitest";
import type { PositionRecord, SegmentQueue } from "../../src/cache/write-cache.ts";
import type { PutBody } from "../../src/store/object-store.ts";
import { loadCodecs } from "../../web/compression.ts";
import { IdbQueue } from "../../web/idb-queue.ts";
import {
  append,
  entryOf,
  expectObject,
  object,
  position,
  record,
  writeCacheSuite,
} from "../suites/write-cache.ts";
import { freshIndexedDb } from "./fresh-indexed-db.ts";
import { limitQuota } from "./limit-quota.ts";

const { hash64 } = await loadCodecs();

writeCacheSuite(
  "IdbQueue",
  async () => {
    const name = crypto.randomUUID();
    return { cache: new IdbQueue(name, hash64), reopen: async () => new IdbQueue(name, hash64) };
  },
  { behind: true },
);

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

/** A cache with one entry. */
async function filled(): Promise<{ name: string; cache: IdbQueue }> {
  const name = crypto.randomUUID();
  const cache = new IdbQueue(name, hash64);
  await cache.load();
  await append(cache, 0, 1);
  return { name, cache };
}

/** Of the request's events the first that comes. */
function eventOf(request: IDBOpenDBRequest, ...types: string[]): Promise<string> {
  return new Promise((resolve) => {
    for (const type of types) request.addEventListener(type, () => resolve(type));
  });
}

async function openRaw(name: string, version?: number): Promise<IDBDatabase> {
  const request = indexedDB.open(name, version);
  expect(await eventOf(request, "success", "error")).toBe("success");
  return request.result;
}

/** Changes records behind the cache's back. */
async function tamper(name: string, change: (store: IDBObjectStore) => void): Promise<void> {
  const database = await openRaw(name);
  const transaction = database.transaction("cache", "readwrite");
  change(transaction.objectStore("cache"));
  await new Promise((resolve) => {
    transaction.oncomplete = resolve;
  });
  database.close();
}

async function recordsOf(name: string): Promise<number> {
  const database = await openRaw(name);
  const request = database.transaction("cache").objectStore("cache").count();
  await new Promise((resolve) => {
    request.onsuccess = resolve;
  });
  database.close();
  return request.result;
}

/** The connections that are opened from now on. */
function connections(): IDBDatabase[] {
  const opened: IDBDatabase[] = [];
  const open = IDBFactory.prototype.open;
  vi.spyOn(IDBFactory.prototype, "open").mockImplementation(function (this: IDBFactory, ...args) {
    const request = open.apply(this, args);
    request.addEventListener("success", () => opened.push(request.result));
    return request;
  });
  return opened;
}

const refused = { code: "SLUICE_CACHE", full: false };

test("every transaction that changes something is strict", async () => {
  const begun = vi.spyOn(IDBDatabase.prototype, "transaction");
  const { cache } = await filled();
  await cache.savePosition(record(1, { fingerprint: "a" }));
  await cache.ack(entryOf(0, 1));
  await cache.markResync("why");
  const changes = begun.mock.calls.filter(([, mode]) => mode === "readwrite");
  expect(changes).toHaveLength(4);
  for (const [, , options] of changes) expect(options).toEqual({ durability: "strict" });
});

describe("a connection", () => {
  test("that was closed is opened again", async () => {
    const opened = connections();
    const { cache } = await filled();
    opened.at(-1)!.close();
    await append(cache, 1, 2);
    expect(opened).toHaveLength(2);
    opened.at(-1)!.close();
    await expectObject(cache, entryOf(0, 1));
    expect(opened).toHaveLength(3);
  });

  test("of which the browser says that it closed it is opened again", async () => {
    const opened = connections();
    const { cache } = await filled();
    opened.at(-1)!.dispatchEvent(new Event("close"));
    await append(cache, 1, 2);
    expect(opened).toHaveLength(2);
  });

  test("is given up for another that wants a new version, whose records are then refused", async () => {
    const { name, cache } = await filled();
    const upgrade = indexedDB.open(name, 2);
    expect(await eventOf(upgrade, "blocked", "success")).toBe("success");
    upgrade.result.close();
    await expect(append(cache, 1, 2)).rejects.toMatchObject(refused);
    await expect(new IdbQueue(name, hash64).load()).rejects.toMatchObject(refused);
  });

  test("that cannot be opened is not waited for without end, and not left open when it comes late", async () => {
    const { name, cache } = await filled();
    const keeper = await openRaw(name);
    const deletion = indexedDB.deleteDatabase(name);
    expect(await eventOf(deletion, "blocked", "success")).toBe("blocked");
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const failure = (act: Promise<unknown>) => act.catch((error: unknown) => error);
    const failures = [failure(append(cache, 1, 2)), failure(new IdbQueue(name, hash64).load())];
    await vi.advanceTimersByTimeAsync(10_000);
    for (const error of await Promise.all(failures)) expect(error).toMatchObject(refused);
    vi.useRealTimers();
    keeper.close();
    await eventOf(deletion, "success");
    // The late openings are in front of this one, and would be in its way.
    const again = indexedDB.deleteDatabase(name);
    expect(await eventOf(again, "blocked", "success")).toBe("success");
  });
});

describe("a database that another tab deletes", () => {
  test("is missed aloud, whatever is done, and not made anew", async () => {
    const { name, cache } = await filled();
    const deletion = indexedDB.deleteDatabase(name);
    expect(await eventOf(deletion, "blocked", "success")).toBe("success");
    const acts = [
      () => append(cache, 1, 2),
      () => expectObject(cache, entryOf(0, 1)),
      () => cache.ack(entryOf(0, 1)),
      async () => cache.savePosition(record(1)),
      async () => cache.markResync("why"),
    ];
    for (const act of acts) await expect(act()).rejects.toMatchObject(refused);
    expect((await indexedDB.databases()).map((each) => each.name)).not.toContain(name);
  });

  test("and makes anew is not taken for ours", async () => {
    const { name, cache } = await filled();
    await eventOf(indexedDB.deleteDatabase(name), "success");
    const other = new IdbQueue(name, hash64);
    expect(await other.load()).toEqual({ position: null, entries: [] });
    await expect(append(cache, 1, 2)).rejects.toMatchObject(refused);
    expect(await new IdbQueue(name, hash64).load()).toEqual({ position: null, entries: [] });
  });
});

describe("load", () => {
  test.each<[string, (store: IDBObjectStore) => void]>([
    ["the layout", (store) => store.put({ version: 2, id: "x" }, "cache")],
    ["the position record", (store) => store.put({ version: 2 }, "position")],
    ["an entry", (store) => store.put({ version: 2 }, ["entry", 9])],
  ])("refuses an unknown version of %s, and changes nothing", async (_, change) => {
    const { name, cache } = await filled();
    await cache.close();
    await tamper(name, change);
    const before = await recordsOf(name);
    for (let i = 0; i < 2; i++)
      await expect(new IdbQueue(name, hash64).load()).rejects.toMatchObject(refused);
    expect(await recordsOf(name)).toBe(before);
  });

  test.each<[string, (store: IDBObjectStore) => void]>([
    ["without bytes of an entry", (store) => store.delete(["chunk", 1, 0])],
    ["without an entry in the middle", (store) => store.delete(["entry", 2])],
    ["without the last entry", (store) => store.delete(["entry", 3])],
    ["without the record", (store) => store.delete("position")],
  ])("refuses a cache %s, and changes nothing", async (_, change) => {
    const { name, cache } = await filled();
    await append(cache, 1, 2);
    await append(cache, 2, 3);
    await cache.close();
    await tamper(name, change);
    const before = await recordsOf(name);
    await expect(new IdbQueue(name, hash64).load()).rejects.toMatchObject(refused);
    expect(await recordsOf(name)).toBe(before);
  });

  test("refuses a database that is somebody else's", async () => {
    const name = crypto.randomUUID();
    (await openRaw(name, 1)).close();
    await expect(new IdbQueue(name, hash64).load()).rejects.toMatchObject(refused);
  });

  test("drops the chunks of an append that did not come to its end", async () => {
    const { name, cache } = await filled();
    const clean = await recordsOf(name);
    const segment = cache.append();
    await segment.write(new Uint8Array(1024 * 1024));
    expect(await recordsOf(name)).toBe(clean + 4);
    expect((await new IdbQueue(name, hash64).load()).entries).toEqual([entryOf(0, 1)]);
    expect(await recordsOf(name)).toBe(clean);
  });

  test("takes a record without its permit for one that is marked", async () => {
    const { name, cache } = await filled();
    await cache.close();
    await tamper(name, (store) => store.delete("permit"));
    expect((await new IdbQueue(name, hash64).load()).position?.resync).toBeDefined();
  });
});

test("what left leaves no bytes behind: acknowledged, merged, aborted, dropped", async () => {
  const { name, cache } = await filled();
  for (let txid = 1; txid < 6; txid++) await append(cache, txid, txid + 1);
  await append(cache, 2, 5, { replacing: cache.entries().slice(2, 5), saved: record(6) });
  const segment = cache.append();
  await segment.write(new Uint8Array(600_000));
  await segment.abort();
  await cache.markResync("why");
  await cache.dropBacklog();
  await cache.ack(entryOf(0, 1));
  // The layout, the position, the permit of before.
  expect(await recordsOf(name)).toBe(3);
});

test("an entry that a merge replaces does not become the head while the merge is committed", async () => {
  const { cache } = await filled();
  for (let txid = 1; txid < 4; txid++) await append(cache, txid, txid + 1);
  const segment = cache.append(cache.entries().slice(1));
  await segment.write(object(1, 4));
  const heads: number[] = [];
  const acked = cache.ack(entryOf(0, 1)).then(() => heads.push(cache.entries()[0]!.to.txid));
  await segment.commit(entryOf(1, 4), record(4));
  await acked;
  expect(heads).toEqual([4]);
  expect(cache.entries()).toEqual([entryOf(1, 4)]);
});

test("64 MiB go through in 256 KiB, in and out", async () => {
  const { name, cache } = await filled();
  const size = 64 * 1024 * 1024;
  const put = vi.spyOn(IDBObjectStore.prototype, "put");
  const segment = cache.append();
  for (let i = 0; i < 64; i++) await segment.write(new Uint8Array(1024 * 1024).fill(i));
  // All was handed over before the commit, which has nothing more to carry.
  expect(put).toHaveBeenCalledTimes(256);
  for (const [chunk] of put.mock.calls) expect((chunk as Uint8Array).buffer.byteLength).toBe(256 * 1024);
  const entry = { ...entryOf(1, 2), size };
  await segment.commit(entry, record(2));
  const after = new IdbQueue(name, hash64);
  await after.load();
  let seen = 0;
  for await (const chunk of (after.read(entry) as Exclude<PutBody, Uint8Array>).chunks()) {
    expect(chunk.length).toBe(256 * 1024);
    expect(chunk[0]).toBe(Math.floor(seen / (1024 * 1024)));
    seen += chunk.length;
  }
  expect(seen).toBe(size);
  const across = await after.readRange(entry, 1024 * 1024 - 2, 4);
  expect([...across]).toEqual([0, 0, 1, 1]);
});

describe("a full quota", () => {
  afterEach(() => limitQuota());

  /** Does not compress. Returns how many entries there was room for. */
  async function fill(cache: SegmentQueue): Promise<number> {
    const bytes = new Uint8Array(200_000);
    for (let txid = 0; txid < 1000; txid++) {
      const segment = cache.append();
      for (let at = 0; at < bytes.length; at += 50_000)
        crypto.getRandomValues(bytes.subarray(at, at + 50_000));
      try {
        await segment.write(bytes);
        await segment.commit({ ...entryOf(txid, txid + 1), size: bytes.length }, record(txid + 1));
      } catch (error) {
        expect(error).toMatchObject({ code: "SLUICE_CACHE", full: true });
        return txid;
      }
    }
    throw new Error("the quota was not held");
  }

  /** Chromium still grants what it last counted as free: saves a record until there is no room for it. */
  async function useUp(cache: SegmentQueue, saved: PositionRecord): Promise<void> {
    for (let i = 0; i < 5000; i++) {
      try {
        await cache.savePosition(saved);
      } catch (error) {
        expect(error).toMatchObject({ code: "SLUICE_CACHE", full: true });
        return;
      }
    }
    throw new Error("the quota was not held");
  }

  test("is told; marking, dropping and acknowledging work; with room it goes on", async () => {
    const factory = await freshIndexedDb();
    const open = () => new IdbQueue("full", hash64, factory);
    const { usage = 0 } = await navigator.storage.estimate();
    await limitQuota(usage + 1_000_000);
    const cache = open();
    await cache.load();
    const count = await fill(cache);
    expect(count).toBeGreaterThan(1);
    await limitQuota(1);
    await useUp(cache, record(count));
    // Larger than the record that was refused.
    const reason = "full ".repeat(100);
    await cache.markResync(reason);
    const marked = await open().load();
    expect(marked.entries).toHaveLength(count);
    // The general reason: there was no room for this one.
    expect(marked.position?.resync).toBeDefined();
    expect(marked.position?.resync).not.toBe(reason);
    await cache.dropBacklog();
    await cache.ack(cache.entries()[0]!);
    expect((await open().load()).entries).toEqual([]);
    await limitQuota();
    await append(cache, count, count + 1);
    const healed = await open().load();
    expect(healed.position?.cached).toEqual(position(count + 1));
    expect(healed.position?.resync).toBeUndefined();
  });
});
