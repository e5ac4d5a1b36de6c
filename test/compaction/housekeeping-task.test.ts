import { expect, test } from "vitest";
import { StoreError } from "../../src/errors.ts";
import { HousekeepingTask } from "../../src/housekeeping-task.ts";
import { MemoryStore } from "../../src/store/memory-store.ts";
import { codecs, lineage } from "../format/objects.ts";
import { Chain, TestClock } from "./chain.ts";

function upload(task: HousekeepingTask, txid: number): void {
  const from = { txid, id: "" };
  task.uploaded(
    { from, to: { txid: txid + 1, id: "" }, size: 100 } as Parameters<typeof task.uploaded>[0],
    "",
  );
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
  const task = new HousekeepingTask({
    platform: { codecs, clock },
    store,
    lineage,
    compaction: true,
    retention: { retentionMs: 7 * 86_400_000, fineRetentionMs: 86_400_000 },
    signal: new AbortController().signal,
    paused: () => false,
    pinned: () => [],
    onFailed: () => undefined,
  });
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
