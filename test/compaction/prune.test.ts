import { describe, expect, test } from "vitest";
import { NotRestorableError, StoreError } from "../../src/errors.ts";
import { compact, type PruneOptions, pruneReplica } from "../../src/housekeeping.ts";
import { plan } from "../../src/plan.ts";
import { listReplica } from "../../src/replica.ts";
import { MemoryStore } from "../../src/store/memory-store.ts";
import type { GetOptions, ObjectStore } from "../../src/store/object-store.ts";
import { codecs } from "../format/objects.ts";
import { Chain, memoryReplica, type TestClock } from "./chain.ts";

const HOUR_MS = 3600 * 1000;
const DAY_MS = 24 * HOUR_MS;

async function count(store: ObjectStore, prefix: string): Promise<number> {
  let found = 0;
  for await (const _ of store.list(prefix)) found += 1;
  return found;
}

/** One upload a minute or so for some days, a snapshot every six hours. `tend` is called every `everyHours`. */
async function history(
  store: MemoryStore,
  clock: TestClock,
  hours: number,
  tend: (chain: Chain) => Promise<void>,
  everyHours = 2,
): Promise<Chain> {
  const chain = new Chain(store, clock);
  await chain.claim();
  await chain.snapshotOfNothing();
  for (let hour = 0; hour < hours; hour++) {
    await chain.writeMany(12);
    clock.time += HOUR_MS - 12_000;
    if (hour % 6 === 0) await chain.snapshot();
    if (hour % everyHours === 0) await tend(chain);
  }
  return chain;
}

const prune = (store: ObjectStore, clock: TestClock, options: PruneOptions = {}) =>
  pruneReplica(store, codecs, clock, { retentionSecs: 2 * 86400, fineRetentionSecs: 6 * 3600, ...options });

describe("prune", () => {
  test("what retention promises can be restored at every step; what it does not goes", async () => {
    const { store, clock } = memoryReplica();
    const chain = await history(store, clock, 80, async (chain) => {
      await compact(store, codecs, clock, {});
      const report = await prune(store, clock);
      expect(report).toMatchObject({ problems: [], refused: false });
      expect(await chain.missing(6 * HOUR_MS)).toEqual([]);
    });
    const restorable = await chain.restorable();
    // In steps of 16 segments back to the horizon.
    const ends = [...chain.times].filter((_, i) => i % 16 === 15);
    const within = ends.filter(([, time]) => time > clock.now() - 2 * DAY_MS).map(([txid]) => txid);
    expect(within.filter((txid) => !restorable.has(txid))).toEqual([]);
    expect(within.length).toBeGreaterThan(30);
    expect(await count(store, "wal/0/")).toBeLessThan(12 * 12 + 4 * 15);
    expect(await count(store, "snapshots/")).toBeLessThanOrEqual(5);
  });

  test("a dry run deletes nothing, and says what a run then deletes", async () => {
    const { store, clock } = memoryReplica();
    await history(store, clock, 40, async () => {});
    await compact(store, codecs, clock, {});
    const before = await count(store, "");
    const dry = await prune(store, clock, { dryRun: true });
    expect(await count(store, "")).toBe(before);
    expect(dry!.deleted).toEqual([]);
    const real = await prune(store, clock);
    expect(real!.deleted.toSorted()).toEqual(dry!.planned.map(({ key }) => key).toSorted());
    expect(real!.deleted.length).toBeGreaterThan(100);
  });

  test("one that sleeps behind its last look deletes nothing by what it saw before", async () => {
    const { store, clock } = memoryReplica();
    const chain = new Chain(store, clock);
    await chain.claim();
    await chain.snapshotOfNothing();
    await chain.writeMany(256);
    await compact(store, codecs, clock, {});
    let slept = 0;
    class Sleeper extends MemoryStore {
      override list: MemoryStore["list"] = (prefix, options) => store.list(prefix, options);
      override delete: MemoryStore["delete"] = (keys, options) => store.delete(keys, options);
      override async get(key: string, options?: GetOptions) {
        const found = await store.get(key, options);
        // The smaller merged objects are to go, since all of level 0 is there; the last of them is being looked at.
        if (key !== last || slept++ > 0) return found;
        clock.time += 7 * HOUR_MS;
        const { deleted } = (await prune(store, clock))!;
        expect(deleted.length).toBe(256);
        return found;
      }
    }
    let last = "";
    for await (const { key } of store.list("wal/1/")) last = key;
    const { deleted } = (await prune(new Sleeper({ now: clock.now }), clock))!;
    expect(slept).toBeGreaterThan(0);
    expect(deleted).toEqual([]);
    const restorable = await chain.restorable();
    const ends = [...chain.times.keys()].filter((_, i) => i % 16 === 15);
    expect(ends.filter((txid) => !restorable.has(txid))).toEqual([]);
  });

  test("one that sleeps between two looks deletes nothing either", async () => {
    const { store, clock } = memoryReplica();
    await history(store, clock, 40, async () => {});
    await compact(store, codecs, clock, {});
    const covers: string[] = [];
    for await (const { key } of store.list("wal/1/")) covers.push(key);
    const get = store.get.bind(store);
    store.get = async (key, options) => {
      if (key === covers[3]) clock.time += 2 * HOUR_MS;
      return get(key, options);
    };
    const { planned, deleted } = (await prune(store, clock))!;
    expect(planned.length).toBeGreaterThan(100);
    expect(deleted).toEqual([]);
  });

  test("what is uploaded and merged while levels are listed, by a store that lists late, keeps what was the newest until then", async () => {
    const { store, clock } = memoryReplica();
    const chain = new Chain(store, clock);
    await chain.claim();
    await chain.snapshotOfNothing();
    await chain.writeMany(15);
    const newest = chain.position.txid;
    clock.time += 7 * HOUR_MS;
    class Slow extends MemoryStore {
      override get: MemoryStore["get"] = (key, options) => store.get(key, options);
      override delete: MemoryStore["delete"] = (keys, options) => store.delete(keys, options);
      override async *list(prefix: string) {
        if (prefix === "wal/0/") return;
        for await (const found of store.list(prefix)) if (!found.key.startsWith("wal/1")) yield found;
        if (prefix !== "wal/") return;
        await chain.writeMany(1);
        await compact(store, codecs, clock, {});
        yield* store.list("wal/1/");
      }
    }
    const { planned, deleted } = (await prune(new Slow({ now: clock.now }), clock))!;
    expect(planned).toHaveLength(15);
    expect(deleted).toEqual([]);
    expect((await chain.restorable()).has(newest)).toBe(true);
  });

  test("ended between any two deletes it leaves a history without a gap", async () => {
    const { store, clock } = memoryReplica();
    const chain = await history(store, clock, 56, async () => {});
    await compact(store, codecs, clock, {});
    const ends = [...chain.times.keys()].filter((_, i) => i % 10 === 0);
    const remove = store.delete.bind(store);
    store.delete = async (keys) => {
      for (const [i, key] of keys.entries()) {
        await remove([key]);
        if (i % 8 > 0 && i < keys.length - 20) continue;
        const listing = await listReplica(store);
        const { txid: oldest } = listing.snapshots[0]!;
        for (const txid of ends) {
          if (txid < oldest) expect(() => plan(listing, "", { txid })).toThrow(NotRestorableError);
          else expect(plan(listing, "", { txid })).not.toBeNull();
        }
      }
    };
    const { planned } = (await prune(store, clock, { retentionSecs: 86400 }))!;
    const beforeBase = planned.filter(({ coveredBy }) => coveredBy.startsWith("snapshots/"));
    expect(beforeBase.filter(({ key }) => key.startsWith("wal/")).length).toBeGreaterThan(20);
  });

  test("what another one replaces meanwhile is left for the next time", async () => {
    const { store, clock } = memoryReplica();
    await history(store, clock, 40, async () => {});
    await compact(store, codecs, clock, {});
    let cover = "";
    for await (const { key } of store.list("wal/1/")) cover ||= key;
    const get = store.get.bind(store);
    store.get = async (key, options) => {
      if (key === cover) throw new StoreError("precondition-failed", "another version by now", { key });
      return get(key, options);
    };
    const { planned, deleted, problems } = (await prune(store, clock))!;
    expect(problems).toEqual([]);
    const gone = new Set(deleted);
    expect(planned.filter(({ key }) => !gone.has(key)).map(({ coveredBy }) => coveredBy)).toContain(cover);
    expect(deleted.length).toBeGreaterThan(100);
  });

  test("a cover that is damaged, or of another history, covers nothing", async () => {
    const { store, clock } = memoryReplica();
    await history(store, clock, 40, async () => {});
    await compact(store, codecs, clock, {});
    const covers: string[] = [];
    for await (const { key } of store.list("wal/1/")) covers.push(key);
    await store.put(covers[0]!, new Uint8Array(4000));
    const before = await count(store, "wal/0/");
    const report = await prune(store, clock);
    expect(report!.problems).toMatchObject([{ key: covers[0] }]);
    const left = await count(store, "wal/0/");
    expect(left).toBeLessThan(before);
    const gone = new Set(report!.deleted);
    const ofFirst = report!.planned.filter(({ coveredBy }) => coveredBy === covers[0]);
    expect(ofFirst.length).toBeGreaterThan(10);
    expect(ofFirst.filter(({ key }) => gone.has(key))).toEqual([]);
  });

  test("credentials that may not delete: said so, and everything stays", async () => {
    const clock = memoryReplica().clock;
    class NoDelete extends MemoryStore {
      override async delete(keys: readonly string[]): Promise<void> {
        throw new StoreError("access-denied", "no", { key: keys[0]! });
      }
    }
    const store = new NoDelete({ now: clock.now });
    const chain = await history(store, clock, 40, async () => {});
    await compact(store, codecs, clock, {});
    const before = await chain.restorable();
    expect(await prune(store, clock)).toMatchObject({ deleted: [], refused: true });
    expect(await chain.restorable()).toEqual(before);
  });

  test("an object that may not be read is no refusal to delete", async () => {
    const { store, clock } = memoryReplica();
    await history(store, clock, 40, async () => {});
    await compact(store, codecs, clock, {});
    const get = store.get.bind(store);
    store.get = async (key, options) => {
      if (key.startsWith("wal/1/")) throw new StoreError("access-denied", "no", { key });
      return get(key, options);
    };
    await expect(prune(store, clock)).rejects.toMatchObject({ kind: "access-denied" });
  });

  test("where creates are not exclusive no key of level 0 becomes free", async () => {
    const clock = memoryReplica().clock;
    class NoConditions extends MemoryStore {
      override async capabilities() {
        return { conditionalCreate: "none" } as const;
      }
    }
    const store = new NoConditions({ now: clock.now });
    await history(store, clock, 60, async () => {});
    await compact(store, codecs, clock, {});
    const before = await count(store, "wal/0/");
    const report = await prune(store, clock);
    expect(report!.deleted.length).toBeGreaterThan(0);
    expect(await count(store, "wal/0/")).toBe(before);
  });
});
