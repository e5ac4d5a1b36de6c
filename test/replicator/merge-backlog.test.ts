/** Merging what waits for upload, while uploads go on. */
import { expect, onTestFinished, test } from "vitest";
import { FsWriteCache } from "../../node/write-cache.ts";
import type { CacheEntry, PositionRecord, WriteCache } from "../../src/cache/write-cache.ts";
import { Interruption } from "../../src/interruption.ts";
import { mergeBacklog, openEntry } from "../../src/merge-backlog.ts";
import { listReplica, openStored } from "../../src/replica.ts";
import { collect } from "../../src/store/collect.ts";
import { Chain, memoryReplica } from "../compaction/chain.ts";
import { codecs, lineage, writer } from "../format/objects.ts";
import { temporaryFolder } from "./replica-fixture.ts";

const COUNT = 6;

/** A cache with the segments of a chain, and what its record says. */
async function backlog() {
  const { store, clock } = memoryReplica();
  const chain = new Chain(store, clock);
  await chain.writeMany(COUNT);
  const cache = new FsWriteCache(temporaryFolder());
  await cache.load();
  onTestFinished(() => cache.close());
  let record: PositionRecord | null = null;
  for (const info of (await listReplica(store)).segments) {
    const { from, to, pageCount, pageSize } = await openStored(store, info, codecs);
    const time = clock.now();
    const segment = cache.append();
    segment.write(await collect((await store.get(info.key)).body, info.size));
    record = {
      version: 1,
      lineage,
      writer,
      cached: to,
      pageCount,
      pageSize,
      time,
      wal: null,
      fingerprint: null,
    };
    segment.commit({ from: from!, to, size: info.size, time }, record);
  }
  return { cache, clock, record: record! };
}

/** Merges, and lets so many heads leave before the merge's read of this number. */
async function mergeWhile(leave: number, read: number) {
  const { cache, clock, record } = await backlog();
  let reads = 0;
  const readRange = cache.readRange.bind(cache);
  cache.readRange = async (entry: CacheEntry, offset: number, length: number) => {
    if (reads++ === read) for (let i = 0; i < leave; i++) await cache.ack(cache.entries()[0]!);
    return readRange(entry, offset, length);
  };
  const context = { cache, codecs, clock, record, keepUpTo: 0 };
  let adopted = record;
  const merged = await mergeBacklog(context, new Interruption(), (next) => {
    adopted = next;
  });
  return { cache, merged, adopted };
}

async function expectWhole(cache: WriteCache, { cached }: PositionRecord): Promise<void> {
  for (const entry of cache.entries()) expect((await openEntry(cache, entry, codecs)).to).toEqual(entry.to);
  expect(cache.entries().at(-1)?.to ?? cached).toEqual(cached);
}

test("all behind the head become one", async () => {
  const { cache, merged, adopted } = await mergeWhile(0, 0);
  expect(merged).toBe(true);
  expect(cache.entries()).toHaveLength(2);
  await expectWhole(cache, adopted);
});

test.each(Array.from({ length: COUNT - 1 }, (_, read) => read))(
  "uploads that overtake the merge at its read %i end it quietly",
  async (read) => {
    for (const leave of [1, 2, 3, COUNT]) {
      const { cache, merged, adopted } = await mergeWhile(leave, read);
      expect(merged).toBe(true);
      await expectWhole(cache, adopted);
    }
  },
);
