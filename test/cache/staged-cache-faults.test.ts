import { beforeAll, expect, test } from "vitest";
import { loadCodecs } from "../../node/compression.ts";
import { SideFile } from "../../src/cache/side-file.ts";
import { StagedCache } from "../../src/cache/staged-cache.ts";
import { collect, type PutBody } from "../../src/store/object-store.ts";
import { systemClock } from "../../web/clock.ts";
import { append, entryOf, expectObject, object, record } from "../suites/write-cache.ts";
import { DelayedQueue } from "./delayed-queue.ts";
import { MemoryCacheStorage } from "./memory-cache.ts";
import { MemoryDisk, MemoryFile } from "./memory-file.ts";

let hash64: (bytes: Uint8Array) => bigint;
beforeAll(async () => {
  ({ hash64 } = await loadCodecs());
});

const storage = () => new MemoryCacheStorage();

async function open(lasting: MemoryCacheStorage, disk: MemoryDisk, clock = systemClock) {
  const queue = new DelayedQueue(lasting);
  const cache = new StagedCache({
    name: "test",
    openSide: () => new SideFile(new MemoryFile(disk), hash64),
    queue,
    clock,
    isFull: () => false,
    onTrouble: () => undefined,
  });
  return { queue, cache, state: await cache.load() };
}

/** What a crash of the process leaves now, opened. */
async function afterCrash(lasting: MemoryCacheStorage, disk: MemoryDisk) {
  const found = storage();
  found.record = structuredClone(lasting.record);
  found.entries = lasting.entries;
  const copy = new MemoryDisk();
  copy.bytes = disk.bytes;
  const { cache, state } = await open(found, copy);
  await cache.close();
  return state;
}

test("a queue that takes nothing more still gives what it has: its head goes up and leaves, which makes room", async () => {
  const { queue, cache } = await open(storage(), new MemoryDisk());
  await append(cache, 0, 1);
  await cache.readRange(entryOf(0, 1), 0, 1);
  queue.fails = (change) => change !== "ack";
  await append(cache, 1, 2);
  await expectObject(cache, entryOf(0, 1));
  await cache.readRange(entryOf(0, 1), 0, 1);
  await cache.ack(entryOf(0, 1));
  queue.fails = () => false;
  await expectObject(cache, entryOf(1, 2));
  await cache.close();
});

test("what a queue has no room for, as it stands in the side file, too, goes up from there", async () => {
  const lasting = storage();
  const disk = new MemoryDisk();
  const { queue, cache } = await open(lasting, disk);
  queue.fails = (change) => change === "write" || change === "commit";
  for (let txid = 0; txid < 4; txid++) await append(cache, txid, txid + 1);
  cache.savePosition(record(4, { fingerprint: "x" }));
  for (let txid = 0; txid < 3; txid++) {
    const head = entryOf(txid, txid + 1);
    await expectObject(cache, head);
    expect(await cache.readRange(head, 1, 5)).toEqual(object(txid, txid + 1).slice(1, 6));
    await cache.ack(head);
    const entries = [entryOf(1, 2), entryOf(2, 3), entryOf(3, 4)].slice(txid);
    expect(cache.entries()).toEqual(entries);
    expect(await afterCrash(lasting, disk)).toEqual({ position: record(4, { fingerprint: "x" }), entries });
  }
  expect(lasting.entries).toEqual([]);
  // Neither is another read so, nor does anything leave where that could not be made durable.
  await append(cache, 4, 5);
  await expect(cache.readRange(entryOf(4, 5), 0, 1)).rejects.toMatchObject({ full: true });
  queue.fails = () => true;
  await expect(cache.ack(entryOf(3, 4))).rejects.toMatchObject({ full: true });
  expect(cache.entries()).toEqual([entryOf(3, 4), entryOf(4, 5)]);
  queue.fails = () => false;
  await cache.ack(entryOf(3, 4));
  await cache.close();
  expect(await afterCrash(lasting, disk)).toEqual({ position: record(5), entries: [entryOf(4, 5)] });
});

test("what gets room while it is read from the side file is not read on there, where the next step may be by then", async () => {
  const { queue, cache } = await open(storage(), new MemoryDisk());
  queue.fails = (change) => change === "write";
  const bytes = new Uint8Array(300_000).fill(7);
  const entry = { ...entryOf(0, 1), size: bytes.length };
  const segment = cache.append();
  segment.write(bytes);
  segment.commit(entry, record(1));
  const chunks = async () => (cache.read(entry) as Exclude<PutBody, Uint8Array>).chunks();
  const reading = (await chunks())[Symbol.asyncIterator]();
  expect((await reading.next()).value).toHaveLength(256 * 1024);
  expect(await cache.readRange(entry, 256 * 1024 - 1, 2)).toEqual(new Uint8Array([7, 7]));
  queue.fails = () => false;
  await cache.readRange(entry, 0, 1);
  await expect(reading.next()).rejects.toMatchObject({ code: "SLUICE_CACHE", full: false });
  expect(Buffer.compare(await collect(await chunks(), bytes.length), bytes)).toBe(0);
  await cache.ack(entry);
  await cache.close();
});

test("what gets room while it leaves the side file is let go of by the queue", async () => {
  const lasting = storage();
  // As soon as that may be.
  const retry = async (again: () => void) => {
    for (let i = 0; i < 20; i++) await Promise.resolve().then(again);
  };
  const after: typeof systemClock.after = (_ms, _holding, again) => {
    void retry(again);
    return { cancel: () => {} };
  };
  const { queue, cache } = await open(lasting, new MemoryDisk(), { ...systemClock, after });
  let failed = 0;
  queue.fails = (change) => change === "write" && failed++ === 0;
  await append(cache, 0, 1);
  await append(cache, 1, 2);
  const changes: string[] = [];
  queue.ack = async (entry) => {
    changes.push(`ack ${entry.to.txid}`);
    await DelayedQueue.prototype.ack.call(queue, entry);
  };
  await cache.ack(entryOf(0, 1));
  expect({ failed: failed > 1, changes }).toEqual({ failed: true, changes: ["ack 1"] });
  await expectObject(cache, entryOf(1, 2));
  await cache.close();
  expect(lasting.entries.map(({ entry }) => entry)).toEqual([entryOf(1, 2)]);
});

test("what was dropped before it reached the queue does not come back, nor keep the cache from opening", async () => {
  const lasting = storage();
  const disk = new MemoryDisk();
  const { queue, cache } = await open(lasting, disk);
  await append(cache, 0, 1);
  await cache.readRange(entryOf(0, 1), 0, 1);
  queue.fails = (change) => change === "position" || change === "commit";
  await append(cache, 1, 2);
  cache.markResync("no room");
  await cache.dropBacklog();
  cache.savePosition(record(1, { resync: "no room" }));
  expect(await afterCrash(lasting, disk)).toEqual({
    position: record(1, { resync: "no room" }),
    entries: [entryOf(0, 1)],
  });
  // A resync goes on from where the head ends.
  await append(cache, 1, 3);
  expect(await afterCrash(lasting, disk)).toEqual({
    position: record(3),
    entries: [entryOf(0, 1), entryOf(1, 3)],
  });
  queue.fails = () => false;
  await expectObject(cache, entryOf(1, 3));
  await cache.close();
});

test("a backlog is dropped in the same turn in which a step was made", async () => {
  const lasting = storage();
  const { queue, cache } = await open(lasting, new MemoryDisk());
  const segment = cache.append();
  segment.write(object(0, 1));
  segment.commit(entryOf(0, 1), record(1));
  await append(cache, 1, 2);
  const last = cache.append();
  last.write(object(2, 3));
  last.commit(entryOf(2, 3), record(3));
  cache.markResync("why");
  await cache.dropBacklog();
  expect(cache.entries()).toEqual([entryOf(0, 1)]);
  expect(queue.entries()).toEqual([entryOf(0, 1)]);
  cache.savePosition(record(1));
  await append(cache, 1, 2);
  await expectObject(cache, entryOf(1, 2));
  await cache.close();
});

test("the rest of an earlier step does not complete one that was cut short", () => {
  const disk = new MemoryDisk();
  const file = new SideFile(new MemoryFile(disk), hash64);
  file.load();
  const first = file.begin(1);
  first.write(new Uint8Array(300_000).fill(1));
  first.commit({ ...entryOf(0, 1), size: 300_000 }, record(1));
  file.rewind();
  file.begin(2).write(new Uint8Array(300_000).fill(2));
  expect(new SideFile(new MemoryFile(disk), hash64).load().steps).toEqual([]);
});

test("what a try that failed has written is no part of the next, whatever of that one reached the disk", () => {
  const disk = new MemoryDisk();
  const file = new SideFile(new MemoryFile(disk), hash64);
  file.load();
  const part = 256 * 1024;
  const size = part + 1000;
  file.begin(1).write(new Uint8Array(size).fill(1));
  const failed = disk.bytes.slice();
  const next = file.begin(1);
  next.write(new Uint8Array(size).fill(2));
  next.commit({ ...entryOf(0, 1), size }, record(1));
  expect(new SideFile(new MemoryFile(disk), hash64).load().steps).toHaveLength(1);
  // Power fails before the sync returned: of the writes before it only the last was done.
  disk.bytes.set(failed.subarray(0, 1024 + 32 + part));
  expect(new SideFile(new MemoryFile(disk), hash64).load().steps).toEqual([]);
});

test("a step that found no room gives back what it took of it", async () => {
  const disk = new MemoryDisk();
  const { queue, cache } = await open(storage(), disk);
  queue.fails = () => true;
  await append(cache, 0, 1);
  disk.capacity = 20 << 20;
  const segment = cache.append();
  expect(() => {
    for (;;) segment.write(new Uint8Array(1 << 20));
  }).toThrow("no room");
  expect(disk.bytes.length).toBeLessThan(5 << 20);
  await append(cache, 1, 2);
  queue.fails = () => false;
  await expectObject(cache, entryOf(0, 1));
  await expectObject(cache, entryOf(1, 2));
  await cache.close();
});

/** A side file whose process ends before it syncs. */
function dying(): { disk: MemoryDisk; file: SideFile } {
  const disk = new MemoryDisk();
  const memory = new MemoryFile(disk);
  const file = new SideFile(memory, hash64);
  file.load();
  memory.sync = () => {
    throw new Error("the process ends");
  };
  return { disk, file };
}

test("a step that a process wrote and did not live to sync is durable once it was found", () => {
  const { disk, file } = dying();
  expect(() => file.begin(1).commit(null, record(1))).toThrow();
  const found = new SideFile(new MemoryFile(disk), hash64).load();
  expect(found.steps.map(({ serial }) => serial)).toEqual([1]);
  // Power fails.
  disk.bytes = disk.synced;
  expect(new SideFile(new MemoryFile(disk), hash64).load()).toEqual(found);
});

test("so is a mark alone, which may be all that says that commits are missing", () => {
  const { disk, file } = dying();
  expect(() => file.mark({ serial: 0, reason: "why" })).toThrow();
  const found = new SideFile(new MemoryFile(disk), hash64).load();
  expect(found.mark).toEqual({ serial: 0, reason: "why" });
  disk.bytes = disk.synced;
  expect(new SideFile(new MemoryFile(disk), hash64).load()).toEqual(found);
});
