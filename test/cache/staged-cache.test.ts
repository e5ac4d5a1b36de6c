import { beforeAll, describe, expect, test } from "vitest";
import { loadCodecs } from "../../node/compression.ts";
import { SideFile } from "../../src/cache/side-file.ts";
import { StagedCache } from "../../src/cache/staged-cache.ts";
import {
  CACHE_LOST,
  type CacheEntry,
  type CacheState,
  type PositionRecord,
} from "../../src/cache/write-cache.ts";
import { samePosition } from "../../src/format/position.ts";
import { systemClock } from "../../web/clock.ts";
import { Random } from "../faults/random.ts";
import {
  append,
  entryOf,
  expectObject,
  object,
  position,
  record,
  writeCacheSuite,
} from "../suites/write-cache.ts";
import { DelayedQueue } from "./delayed-queue.ts";
import { MemoryCacheStorage } from "./memory-cache.ts";
import { DiskFullError, MemoryDisk, MemoryFile } from "./memory-file.ts";

let hash64: (bytes: Uint8Array) => bigint;
beforeAll(async () => {
  ({ hash64 } = await loadCodecs());
});

/** What lasts, and the caches over it. */
class World {
  readonly storage = new MemoryCacheStorage();
  readonly disk = new MemoryDisk();
  readonly troubles: unknown[] = [];
  queue = new DelayedQueue(this.storage);

  open(): StagedCache {
    this.queue = new DelayedQueue(this.storage);
    return new StagedCache({
      name: "test",
      openSide: () => new SideFile(new MemoryFile(this.disk), hash64),
      queue: this.queue,
      clock: systemClock,
      isFull: (error) => error instanceof DiskFullError,
      onTrouble: (error) => this.troubles.push(error),
    });
  }

  /** As it would be found after a crash now: of the process, or of the machine. */
  crashed(machine: boolean): World {
    const world = new World();
    world.storage.record = structuredClone(this.storage.record);
    world.storage.entries = this.storage.entries;
    world.disk.bytes = machine ? this.disk.synced : this.disk.bytes;
    world.disk.synced = this.disk.synced;
    return world;
  }
}

async function loaded(world: World): Promise<{ cache: StagedCache; state: CacheState }> {
  const cache = world.open();
  return { cache, state: await cache.load() };
}

writeCacheSuite("StagedCache", async () => {
  let world = new World();
  const reopen = async () => {
    world = world.crashed(true);
    return world.open();
  };
  return { cache: world.open(), reopen };
});

test("what is staged all the while does not hold up the head", async () => {
  const world = new World();
  const { cache } = await loaded(world);
  await append(cache, 0, 1);
  let last = 1;
  world.queue.onChange = () => {
    const segment = cache.append();
    segment.write(object(last, last + 1));
    segment.commit(entryOf(last, last + 1), record(++last));
    if (last > 200) world.queue.onChange = () => {};
  };
  for (let acked = 0; acked < 3; acked++) await cache.ack(cache.entries()[0]!);
  expect(last).toBeLessThan(100);
  world.queue.onChange = () => {};
  await expect.poll(() => world.storage.record?.cached.txid).toBe(last);
  expect((await loaded(world)).state.entries.map(({ to }) => to.txid)).toEqual(
    Array.from({ length: last - 3 }, (_, i) => i + 4),
  );
});

test("what is closed has all that was staged in its queue, whatever becomes of the side file then", async () => {
  const world = new World();
  const { cache } = await loaded(world);
  for (let txid = 0; txid < 3; txid++) {
    const segment = cache.append();
    segment.write(object(txid, txid + 1));
    segment.commit(entryOf(txid, txid + 1), record(txid + 1));
  }
  cache.savePosition(record(3, { fingerprint: "x" }));
  await cache.close();
  const entries = [entryOf(0, 1), entryOf(1, 2), entryOf(2, 3)];
  world.disk.bytes = new Uint8Array(1024);
  expect((await loaded(world)).state).toEqual({ position: record(3, { fingerprint: "x" }), entries });
});

test("a side file that is gone may have held a mark: there is one until a record without it is saved", async () => {
  const world = new World();
  const { cache } = await loaded(world);
  await append(cache, 0, 1);
  await append(cache, 1, 2);
  await cache.close();
  const position = record(2, { resync: "the write cache lost its side file" });
  const entries = [entryOf(0, 1), entryOf(1, 2)];
  // Also where the process ends between any two writes of the one that finds it gone.
  for (const size of [0, 1, 40, 80, 200, 1023, 1024]) {
    const found = world.crashed(true);
    found.disk.bytes = new Uint8Array(0);
    expect((await loaded(found)).state).toEqual({ position, entries });
    const again = found.crashed(true);
    again.disk.bytes = found.disk.bytes.slice(0, size);
    const { cache: last, state } = await loaded(again);
    expect(state).toEqual({ position, entries });
    last.savePosition(record(2));
    expect((await loaded(again.crashed(true))).state).toEqual({ position: record(2), entries });
  }
});

describe("a step", () => {
  test("is durable when the call returns, before anything is in the queue", async () => {
    const world = new World();
    const { cache } = await loaded(world);
    const segment = cache.append();
    segment.write(object(0, 1));
    segment.commit(entryOf(0, 1), record(1));
    cache.savePosition(record(1, { fingerprint: "x" }));
    cache.markResync("why");
    expect(world.storage.record).toBeNull();
    const { state, cache: after } = await loaded(world.crashed(true));
    expect(state).toEqual({
      position: record(1, { fingerprint: "x", resync: "why" }),
      entries: [entryOf(0, 1)],
    });
    await expectObject(after, entryOf(0, 1));
  });

  test("that stays in the side file is taken once", async () => {
    const world = new World();
    const { cache } = await loaded(world);
    for (let txid = 0; txid < 4; txid++) await append(cache, txid, txid + 1);
    for (const entry of cache.entries()) await cache.ack(entry);
    // All four stand in the file still, and none is wanted any more.
    expect((await loaded(world.crashed(true))).state).toEqual({ position: record(4), entries: [] });
  });

  test("of 40 MiB passes, and leaves a small file", async () => {
    const world = new World();
    const { cache } = await loaded(world);
    const segment = cache.append();
    const chunk = new Uint8Array(1 << 20).fill(9);
    for (let i = 0; i < 40; i++) segment.write(chunk);
    segment.commit({ ...entryOf(0, 1), size: 40 << 20 }, record(1));
    expect(world.disk.bytes.length).toBeGreaterThan(40 << 20);
    await cache.readRange({ ...entryOf(0, 1), size: 40 << 20 }, 0, 1);
    // The queue has it: what else needs room does not wait for the next step.
    expect(world.disk.bytes.length).toBeLessThan(1 << 20);
  });

  test("that is open when the queue has taken those before it is not cut short", async () => {
    const world = new World();
    const { cache } = await loaded(world);
    const first = cache.append();
    first.write(new Uint8Array(8 << 20).fill(1));
    first.commit({ ...entryOf(0, 1), size: 8 << 20 }, record(1));
    const second = cache.append();
    second.write(object(1, 2));
    await cache.readRange({ ...entryOf(0, 1), size: 8 << 20 }, 0, 1);
    second.commit(entryOf(1, 2), record(2));
    expect((await loaded(world.crashed(true))).state.entries).toHaveLength(2);
    await expectObject(cache, entryOf(1, 2));
  });

  test("is not taken from a file whose queue was lost, but who wrote and how far", async () => {
    const world = new World();
    const { cache } = await loaded(world);
    for (let txid = 0; txid < 4; txid++) {
      await append(cache, txid, txid + 1);
      await cache.ack(entryOf(txid, txid + 1));
    }
    const lost = new World();
    lost.disk.bytes = world.disk.bytes;
    const { state } = await loaded(lost);
    expect(state).toEqual({ position: record(4, { resync: CACHE_LOST }), entries: [] });
    const again = await loaded(lost.crashed(true));
    expect(again.state).toEqual(state);
    await append(again.cache, 4, 5);
  });

  test("torn at any byte leaves the state before it", async () => {
    const world = new World();
    const { cache } = await loaded(world);
    await append(cache, 0, 1);
    await cache.ack(entryOf(0, 1));
    const before = world.disk.bytes;
    world.queue.failing = true;
    await append(cache, 1, 2);
    for (let cut = 1024; cut < world.disk.bytes.length; cut += 13) {
      const torn = world.crashed(true);
      torn.disk.bytes = world.disk.bytes.slice();
      torn.disk.bytes.set(before.subarray(cut), cut);
      torn.disk.bytes.fill(0, Math.max(cut, before.length));
      expect((await loaded(torn)).state).toEqual({ position: record(1), entries: [] });
    }
    await cache.close();
  });

  test("of an unknown version is refused, with nothing changed", async () => {
    const world = new World();
    const { cache } = await loaded(world);
    world.queue.failing = true;
    await append(cache, 0, 1);
    await cache.close();
    const file = new SideFile(new MemoryFile(world.disk), hash64);
    file.load();
    file.begin(2).commit(null, { ...record(1), version: 1 });
    const text = new TextDecoder("latin1").decode(world.disk.bytes);
    const at = text.lastIndexOf('"version":1,"entry"');
    expect(at).toBeGreaterThan(0);
    world.disk.bytes[at + '"version":'.length] = "2".charCodeAt(0);
    rehash(world.disk.bytes, text.lastIndexOf("SLUI") - 8);
    const bytes = world.disk.bytes.slice();
    await expect(loaded(world)).rejects.toMatchObject({ code: "SLUICE_CACHE", full: false });
    expect(world.disk.bytes).toEqual(bytes);
  });
});

function rehash(bytes: Uint8Array, at: number): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const length = view.getUint32(at + 24, true);
  view.setBigUint64(at, hash64(bytes.subarray(at + 8, at + 32 + length)), true);
}

describe("a queue that fails", () => {
  test("costs nothing: steps stay, are told of, and go on when it works again", async () => {
    const world = new World();
    const { cache } = await loaded(world);
    world.queue.failing = true;
    await append(cache, 0, 1);
    await append(cache, 1, 2);
    await expect(cache.ack(entryOf(0, 1))).rejects.toMatchObject({ code: "SLUICE_CACHE" });
    expect(world.troubles.length).toBeGreaterThan(0);
    expect((await loaded(world.crashed(true))).state.entries).toHaveLength(2);
    world.queue.failing = false;
    await cache.ack(entryOf(0, 1));
    await expectObject(cache, entryOf(1, 2));
  });

  test("does not keep a marked backlog from being dropped", async () => {
    const world = new World();
    const { cache } = await loaded(world);
    await append(cache, 0, 1);
    await cache.readRange(entryOf(0, 1), 0, 1);
    world.queue.failing = true;
    await append(cache, 1, 2);
    cache.markResync("no room");
    await expect(cache.dropBacklog()).rejects.toThrow();
    world.queue.failing = false;
    await cache.dropBacklog();
    expect(cache.entries()).toEqual([entryOf(0, 1)]);
    await cache.ack(entryOf(0, 1));
    cache.savePosition(record(1, { resync: "no room" }));
    expect((await loaded(world.crashed(true))).state).toEqual({
      position: record(1, { resync: "no room" }),
      entries: [],
    });
  });
});

test("the head that leaves before the queue has answered a drop does not make what was dropped the head", async () => {
  const world = new World();
  const { cache } = await loaded(world);
  for (let txid = 0; txid < 3; txid++) await append(cache, txid, txid + 1);
  cache.markResync("full");
  const { queue } = world;
  const drop = queue.dropBacklog.bind(queue);
  let acked: Promise<void> | undefined;
  queue.dropBacklog = async () => {
    await drop();
    acked = cache.ack(entryOf(0, 1));
    for (let turns = 0; turns < 5; turns++) await new Promise((resolve) => setImmediate(resolve));
  };
  await cache.dropBacklog();
  await acked;
  expect(cache.entries()).toEqual([]);
  expect(queue.entries()).toEqual([]);
});

describe("a full disk", () => {
  test("is told; the mark still goes in; with room it goes on", async () => {
    const world = new World();
    const { cache } = await loaded(world);
    await append(cache, 0, 1);
    world.disk.capacity = world.disk.bytes.length;
    world.queue.failing = true;
    await expect(append(cache, 1, 2)).rejects.toMatchObject({ code: "SLUICE_CACHE", full: true });
    expect(() => cache.savePosition(record(1))).toThrow(expect.objectContaining({ full: true }));
    cache.markResync("full");
    expect((await loaded(world.crashed(true))).state.position).toEqual(record(1, { resync: "full" }));
    world.disk.capacity = Number.POSITIVE_INFINITY;
    world.queue.failing = false;
    await append(cache, 1, 2);
    expect((await loaded(world.crashed(true))).state.position).toEqual(record(2));
  });
});

/** What a crash may leave: the state of the last step that returned, or of the one under way. */
test("a crash at any change of a random history leaves what was acknowledged", async () => {
  let crashes = 0;
  for (let seed = 1; seed <= 60; seed++) {
    const random = new Random(seed);
    const world = new World();
    const { cache } = await loaded(world);
    const allowed = new Set<string>([JSON.stringify({ position: null, entries: [] })]);
    let latest: { position: PositionRecord | null; entries: readonly CacheEntry[] } = {
      position: null,
      entries: [],
    };
    const found: Promise<void>[] = [];
    const crash = () => {
      const expected = [...allowed];
      const { storage, disk } = world.crashed(random.chance(0.5));
      const later = new World();
      later.storage.record = storage.record;
      later.storage.entries = storage.entries;
      later.disk.bytes = disk.bytes.slice();
      found.push(
        loaded(later).then(({ state }) => {
          crashes += 1;
          expect(expected, `seed ${seed}`).toContain(JSON.stringify(sorted(state)));
        }),
      );
    };
    world.queue.onChange = crash;
    const becomes = (next: typeof latest) => {
      latest = next;
      allowed.clear();
      allowed.add(JSON.stringify(sorted(latest)));
    };
    let txid = 0;
    for (let step = 0; step < 40; step++) {
      const { entries } = latest;
      switch (random.pick(["append", "append", "position", "ack", "merge", "turn"])) {
        case "append": {
          await append(cache, txid, txid + 1);
          txid += 1;
          becomes({ position: record(txid), entries: [...entries, entryOf(txid - 1, txid)] });
          break;
        }
        case "position": {
          const next = record(txid, { fingerprint: `${step}` });
          cache.savePosition(next);
          becomes({ position: next, entries });
          break;
        }
        case "ack": {
          const [head, ...rest] = entries;
          if (head === undefined) break;
          allowed.add(JSON.stringify(sorted({ ...latest, entries: rest })));
          await cache.ack(head);
          becomes({ ...latest, entries: rest });
          break;
        }
        case "merge": {
          const [head, ...replacing] = entries;
          if (head === undefined || replacing.length < 2) break;
          const next = {
            position: record(txid),
            entries: [head, entryOf(head.to.txid, txid)],
          };
          allowed.add(JSON.stringify(sorted(next)));
          await append(cache, head.to.txid, txid, { replacing });
          becomes(next);
          break;
        }
        default:
          await new Promise((resolve) => setImmediate(resolve));
      }
      crash();
      expect(cache.entries()).toEqual(latest.entries);
    }
    await Promise.all(found);
    const tail = cache.entries().at(-1);
    expect(tail === undefined || samePosition(tail.to, position(txid))).toBe(true);
    await cache.close();
  }
  expect(crashes).toBeGreaterThan(3000);
});

function sorted({ position, entries }: { position: PositionRecord | null; entries: readonly CacheEntry[] }) {
  return {
    position: position && Object.fromEntries(Object.entries(position).sort()),
    entries,
  };
}
