import { describe, expect, test } from "vitest";
import { BrokenReplicaError, type SluiceError, StoreError } from "../../src/errors.ts";
import { segmentKey, snapshotPrefix } from "../../src/format/keys.ts";
import { compact, pruneReplica } from "../../src/housekeeping.ts";
import { HousekeepingTask } from "../../src/housekeeping-task.ts";
import { MemoryStore } from "../../src/store/memory-store.ts";
import type { ListOptions, ObjectStore } from "../../src/store/object-store.ts";
import { codecs, lineage } from "../format/objects.ts";
import { Chain, TestClock } from "./chain.ts";

const LISTING_INTERVAL_MS = 15 * 60_000;

function upload(task: HousekeepingTask, txid: number): void {
  task.uploaded({ txid, id: "" }, { key: "", size: 100 });
}

function taskOver(
  store: ObjectStore,
  clock: TestClock,
  compaction: boolean,
  onBroken = async (_: SluiceError) => {},
): HousekeepingTask {
  return new HousekeepingTask({
    platform: { codecs, clock },
    store,
    lineage,
    compaction,
    retention: { retentionMs: 7 * 86_400_000, fineRetentionMs: 86_400_000 },
    signal: new AbortController().signal,
    paused: () => false,
    pinned: () => [],
    onFailed: () => undefined,
    onBroken,
  });
}

test("housekeeping that fails is not tried again until something was written", async () => {
  const clock = new TestClock();
  let lists = 0;
  class NoList extends MemoryStore {
    // biome-ignore lint/correctness/useYield: nothing is listed
    override async *list(): ReturnType<MemoryStore["list"]> {
      lists += 1;
      throw new StoreError("access-denied", "no", {});
    }
  }
  const store = new NoList({ now: clock.now });
  await new Chain(store, clock).claim();
  const task = taskOver(store, clock, true);
  upload(task, 0);
  expect(task.due()).not.toBeNull();
  await expect(task.run()).rejects.toThrow(StoreError);
  expect(lists).toBe(1);
  clock.time += 86_400_000;
  expect(task.due()).toBeNull();
  upload(task, 1);
  expect(task.due()).not.toBeNull();
  await expect(task.run()).rejects.toThrow(StoreError);
  // A group's worth of uploads is reason enough too, and then the replica is listed, since nothing is known of it.
  for (let txid = 2; txid < 17; txid++) upload(task, txid);
  expect(task.due()).toBeNull();
  upload(task, 17);
  expect(task.due()).not.toBeNull();
  await expect(task.run()).rejects.toThrow(StoreError);
  expect(lists).toBe(3);
});

test.each([true, false])(
  "who may not delete is asked again after hours (compaction: %s)",
  async (compaction) => {
    const clock = new TestClock();
    let [may, asked] = [false, 0];
    class Forbidding extends MemoryStore {
      override async delete(keys: readonly string[]): Promise<void> {
        asked += 1;
        if (!may) throw new StoreError("access-denied", "no", { key: keys[0]! });
        await super.delete(keys);
      }
    }
    const store = new Forbidding({ now: clock.now });
    const chain = new Chain(store, clock);
    await chain.claim();
    await chain.snapshotOfNothing();
    await chain.writeMany(40);
    await compact(store, codecs, clock, {});
    clock.time += 2 * 86_400_000;
    const task = taskOver(store, clock, compaction);
    /** Returns whether it had something to do. */
    const write = async () => {
      task.snapshotTaken();
      if (task.due() === null) return false;
      await task.run();
      return true;
    };
    await write();
    expect([asked, task.refused]).toEqual([1, true]);
    clock.time += 5 * 3_600_000;
    expect(await write()).toBe(compaction);
    expect([asked, task.refused]).toEqual([1, true]);
    clock.time += 3_600_000;
    await write();
    expect([asked, task.refused]).toEqual([2, true]);
    may = true;
    clock.time += 6 * 3_600_000;
    await write();
    expect([asked, task.refused]).toEqual([3, false]);
    expect(await chain.missing(1000)).toEqual([]);
  },
);

describe.each([true, false])(
  "what the store has lost of what was uploaded (compaction: %s)",
  (compaction) => {
    /** A snapshot and 20 segments, and a task that knows of them. */
    async function known() {
      const clock = new TestClock();
      let looks = 0;
      class Counting extends MemoryStore {
        override list(prefix: string, options?: ListOptions): ReturnType<MemoryStore["list"]> {
          if (prefix === snapshotPrefix) looks += 1;
          return super.list(prefix, options);
        }
      }
      const store = new Counting({ now: clock.now });
      const chain = new Chain(store, clock);
      await chain.claim();
      await chain.snapshotOfNothing();
      const broken: SluiceError[] = [];
      const task = taskOver(store, clock, compaction, async (damage) => void broken.push(damage));
      const write = async (count: number) => {
        const keys: string[] = [];
        for (let i = 0; i < count; i++) {
          const { txid } = chain.position;
          const key = segmentKey(0, txid + 1, txid + 1);
          await chain.write([2], 4);
          task.uploaded({ txid, id: "" }, { key, size: 100 });
          keys.push(key);
        }
        return keys;
      };
      const list = async () => {
        clock.time += LISTING_INTERVAL_MS;
        await write(1);
        expect(task.due()).not.toBeNull();
        looks = 0;
        await task.run();
        return looks;
      };
      await write(20);
      await list();
      return { clock, store, chain, broken, write, list };
    }

    test.each([0, 2])("is found by the next listing, %i uploads after the last", async (uploads) => {
      const { store, broken, write, list } = await known();
      const keys = await write(uploads);
      const all: string[] = [];
      for await (const { key } of store.list("wal/0/")) all.push(key);
      await store.delete(all.slice(-1 - uploads));
      await list();
      expect({ keys: keys.length, broken }).toMatchObject({
        keys: uploads,
        broken: [expect.any(BrokenReplicaError)],
      });
    });

    test("is nothing where a snapshot leads beyond it, or where it was to go", async () => {
      const { clock, store, chain, broken, write, list } = await known();
      await store.delete(await write(2));
      await chain.snapshot();
      expect(await list()).toBeGreaterThan(1);
      await write(40);
      await list();
      // Another one merges and deletes.
      await compact(store, codecs, clock, {});
      await chain.snapshot();
      clock.time += 8 * 86_400_000;
      const report = await pruneReplica(store, codecs, clock, {});
      expect(report?.deleted.length).toBeGreaterThan(40);
      expect(await list()).toBe(1);
      expect(broken).toHaveLength(0);
    });
  },
);
