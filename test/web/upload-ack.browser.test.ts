import { afterEach, expect, test, vi } from "vitest";
import { SideFile } from "../../src/cache/side-file.ts";
import { StagedCache } from "../../src/cache/staged-cache.ts";
import { KnownTail } from "../../src/known-tail.ts";
import { MemoryStore } from "../../src/store/memory-store.ts";
import { uploadHead } from "../../src/upload.ts";
import { systemClock } from "../../web/clock.ts";
import { loadCodecs } from "../../web/compression.ts";
import { IdbQueue } from "../../web/idb-queue.ts";
import { MemoryDisk, MemoryFile } from "../cache/memory-file.ts";
import { append, entryOf } from "../suites/write-cache.ts";
import { FAULTS, faultTransactions } from "./idb-faults.ts";

afterEach(() => {
  vi.restoreAllMocks();
});

test("an entry whose acknowledgement failed, although it took place, is not needed for the next try", async () => {
  const codecs = await loadCodecs();
  const cache = new StagedCache({
    name: "test",
    openSide: () => new SideFile(new MemoryFile(new MemoryDisk()), codecs.hash64),
    queue: new IdbQueue(crypto.randomUUID(), codecs.hash64),
    clock: systemClock,
    isFull: () => false,
    onTrouble: () => undefined,
  });
  await cache.load();
  await append(cache, 0, 1);
  await append(cache, 1, 2);
  await cache.readRange(entryOf(1, 2), 0, 1);
  const claim = { version: 1, lineage: "a".repeat(32), writer: "b".repeat(32), created: 1 } as const;
  const [store, clock] = [new MemoryStore(), systemClock];
  const tail = new KnownTail({
    store,
    lineage: claim.lineage,
    writer: claim.writer,
    codecs,
    clock,
    givenUp: () => undefined,
  });
  const context = { store, cache, codecs, clock, tail, claim, claimed: false };
  const [head] = cache.entries();
  faultTransactions((count) => (count < 2 ? FAULTS["is lost after it took place"] : undefined));
  await expect(uploadHead(context, head!)).rejects.toMatchObject({ code: "SLUICE_CACHE" });
  await uploadHead(context, cache.entries()[0]!);
  expect(cache.entries()).toEqual([entryOf(1, 2)]);
  await cache.close();
});
