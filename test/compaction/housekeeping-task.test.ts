import { expect, test } from "vitest";
import { StoreError } from "../../src/errors.ts";
import { compact } from "../../src/housekeeping.ts";
import { HousekeepingTask } from "../../src/housekeeping-task.ts";
import { MemoryStore } from "../../src/store/memory-store.ts";
import type { ObjectStore } from "../../src/store/object-store.ts";
import { codecs, lineage } from "../format/objects.ts";
import { Chain, TestClock } from "./chain.ts";

function upload(task: HousekeepingTask, txid: number): void {
  task.uploaded({ txid, id: "" }, { key: "", size: 100 });
}

function taskOver(store: ObjectStore, clock: TestClock, compaction: boolean): HousekeepingTask {
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
