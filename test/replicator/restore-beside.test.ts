import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type GetOptions, type GetResult, MemoryStore, StoreError } from "../../node/index.ts";
import { choosePlan } from "../../src/choose-plan.ts";
import { segmentKey } from "../../src/format/keys.ts";
import { listReplica, openStored, readIndexSize } from "../../src/replica.ts";
import { codecs, encodeObject, segmentHeader, somePages } from "../format/objects.ts";
import { seed } from "../seed.ts";
import { Random } from "./random.ts";
import { infoOf, PAGE_SIZE, restoreState, type Segment, SyntheticReplica } from "./synthetic-replica.ts";

/** Every object's blocks are read by ranged requests of their own. */
const MANY_PAGES = 600;
const FAN_IN = 2;

/** Random pages, so that they do not compress; each segment has its own, and page 1. */
async function largeHistory(segments = 4): Promise<SyntheticReplica> {
  const random = new Random(1);
  const pageCount = segments * MANY_PAGES;
  const replica = new SyntheticReplica(pageCount);
  await replica.snapshot(0);
  for (let i = 0; i < segments; i++) {
    const pages = new Map([[1, random.bytes(PAGE_SIZE).slice()]]);
    for (let pgno = i * MANY_PAGES + 1; pgno <= (i + 1) * MANY_PAGES; pgno++)
      pages.set(pgno, random.bytes(PAGE_SIZE).slice());
    await replica.append({ pages, pageCount, txids: 1, ms: 1000 });
  }
  return replica;
}

/** Before the request with that number, from 0, what happens to the replica happens. Counts requests by object. */
class Interrupted {
  readonly url = "interrupted:";
  readonly gets: string[] = [];
  /** Of requests for a range: which version was asked for, if one was. */
  readonly versions: (string | undefined)[] = [];
  lists = 0;

  constructor(
    readonly store: MemoryStore,
    readonly at: number,
    readonly happens: () => Promise<void>,
  ) {}

  async get(key: string, options?: GetOptions): Promise<GetResult> {
    this.gets.push(key);
    this.versions.push(options?.ifMatch);
    if (this.gets.length - 1 === this.at) await this.happens();
    return this.store.get(key, options);
  }
  list: MemoryStore["list"] = (...args) => {
    this.lists += 1;
    return this.store.list(...args);
  };
  put: MemoryStore["put"] = (...args) => this.store.put(...args);
  putStream: MemoryStore["putStream"] = (...args) => this.store.putStream(...args);
  delete: MemoryStore["delete"] = (...args) => this.store.delete(...args);
  capabilities: MemoryStore["capabilities"] = (...args) => this.store.capabilities(...args);
}

/** Level 0 in groups, which then are deleted. */
async function compactAndPrune(replica: SyntheticReplica): Promise<void> {
  const level0 = replica.segments.filter(({ level }) => level === 0);
  for (let i = 0; i + FAN_IN <= level0.length; i += FAN_IN) {
    const group = level0.slice(i, i + FAN_IN);
    await replica.merge(1, group);
    for (const segment of group) await replica.remove(segment);
  }
}

/** The same state in other bytes: what another compactor makes. */
async function rewrite(replica: SyntheticReplica, segment: Segment): Promise<void> {
  const reader = await openStored(replica.store, await infoOf(replica.store, segment.key), codecs);
  await replica.store.put(segment.key, await replica.encodeAgain(reader));
}

async function countGets(replica: SyntheticReplica): Promise<number> {
  const store = new Interrupted(replica.store, -1, async () => {});
  await restoreState(store, "latest");
  return store.gets.length;
}

test.each([2000, 300_000, 3_000_000])(
  "an object of %i bytes that became shorter is another by now",
  async (listed) => {
    const store = new MemoryStore();
    const { bytes } = encodeObject(segmentHeader(512, 3), somePages(512, [2, 3]));
    const key = segmentKey(0, 8, 9);
    await store.put(key, bytes);
    const changed = { kind: "precondition-failed" };
    await expect(openStored(store, { key, size: listed }, codecs)).rejects.toMatchObject(changed);
    await expect(readIndexSize(store, { key, size: listed })).rejects.toMatchObject(changed);
    expect(await readIndexSize(store, { key, size: bytes.length })).toBeGreaterThan(0);
  },
);

describe("while a restore reads", () => {
  test("level 0 is merged and deleted, at each request: the same state, from what is there then", async () => {
    const total = await countGets(await largeHistory(2));
    expect(total).toBeGreaterThan(5);
    for (let at = 0; at < total; at++) {
      const replica = await largeHistory(2);
      const store = new Interrupted(replica.store, at, () => compactAndPrune(replica));
      const { state, content } = await restoreState(store, "latest");
      expect(state.position).toEqual(replica.last.position);
      expect(Buffer.compare(content, replica.last.content)).toBe(0);
    }
  });

  test("a merged object is replaced by another of the same state, at each request", async () => {
    const merged = async () => {
      const replica = await largeHistory();
      await compactAndPrune(replica);
      return replica;
    };
    const total = await countGets(await merged());
    let again = 0;
    for (let at = 0; at < total; at++) {
      const replica = await merged();
      const store = new Interrupted(replica.store, at, async () => {
        for (const segment of replica.segments) await rewrite(replica, segment);
      });
      const { content } = await restoreState(store, "latest");
      expect(Buffer.compare(content, replica.last.content)).toBe(0);
      if (store.lists > 2) again += 1;
    }
    expect(again).toBeGreaterThan(total / 2);
  });

  test("pages that are written stay, where the same position can still be reached", async () => {
    const replica = await largeHistory();
    const plain = await restoreState(replica.store, "latest");
    const total = await countGets(replica);
    const store = new Interrupted(replica.store, total - 1, () => compactAndPrune(replica));
    const { fetched } = await restoreState(store, "latest");
    expect(store.lists).toBe(5); // snapshots and segments, twice; and level 0 once more behind what was merged
    expect(fetched).toBeLessThan(1.5 * plain.fetched);
  });

  test("the state that was chosen goes: begun again with the last one before it", async () => {
    const replica = await largeHistory();
    const store = new Interrupted(replica.store, 6, () => compactAndPrune(replica));
    const { state, content } = await restoreState(store, { txid: 3 });
    expect(state.position).toEqual(replica.stateAt(2).position);
    expect(Buffer.compare(content, replica.stateAt(2).content)).toBe(0);
  });

  test("every read of an object but those that open it asks for the version that was opened", async () => {
    const replica = await largeHistory();
    const store = new Interrupted(replica.store, -1, async () => {});
    await restoreState(store, "latest");
    const opening = store.versions.filter((version) => version === undefined).length;
    // A large object is opened by its two ends at once, and the snapshot compresses to a small one.
    expect(opening).toBe(2 * 4 + 1);
    expect(store.versions.length - opening).toBeGreaterThanOrEqual(4);
  });

  test("what is listed and never there is given up", async () => {
    const replica = await largeHistory(2);
    const store = new Interrupted(replica.store, -1, async () => {});
    store.get = async (key) => {
      throw new StoreError("not-found", `${key} is not there`, { key });
    };
    await expect(restoreState(store, "latest")).rejects.toMatchObject({ kind: "not-found" });
    expect(store.lists).toBe(20);
  });
});

describe("a stray in level 0", () => {
  /** Three states of another history, under the keys of transactions 5 to 7, whose own were merged and deleted. */
  async function withStrays(): Promise<SyntheticReplica> {
    const replica = new SyntheticReplica();
    const append = (fill: number, ms: number) =>
      replica.append({
        pages: new Map([[1, new Uint8Array(PAGE_SIZE).fill(fill)]]),
        pageCount: 2,
        txids: 1,
        ms,
      });
    await replica.snapshot(0);
    for (let i = 1; i <= 4; i++) await append(i, 1000);
    const before = replica.states.length;
    for (let i = 5; i <= 8; i++) await append(i, 1000);
    const level0 = [...replica.segments];
    await replica.merge(1, level0.slice(0, 4));
    await replica.merge(1, level0.slice(4, 8));
    for (const segment of level0.slice(4)) await replica.remove(segment);
    const canonical = replica.states.splice(before);
    for (let i = 0; i < 3; i++) await append(100 + i, 100_000);
    await replica.append({
      pages: new Map([[1, new Uint8Array(PAGE_SIZE).fill(103)]]),
      pageCount: 2,
      txids: 1,
      ms: 0,
    });
    replica.states.splice(before);
    replica.states.push(...canonical);
    await append(9, 1000);
    return replica;
  }

  test("is no state, and no fork", async () => {
    const replica = await withStrays();
    expect(replica.segments.filter(({ level }) => level === 0)).toHaveLength(9);
    const states = async (txid: number) => (await restoreState(replica.store, { txid })).state.position;
    for (const txid of [1, 2, 3, 4, 8, 9]) expect(await states(txid)).toEqual(replica.stateAt(txid).position);
    for (const txid of [5, 6, 7]) expect(await states(txid)).toEqual(replica.stateAt(4).position);
    const { content } = await restoreState(replica.store, "latest");
    expect(Buffer.compare(content, replica.last.content)).toBe(0);
  });

  test("does not mislead the search for a time", async () => {
    const replica = await withStrays();
    for (const { position, time } of [...replica.states.slice(0, 5), ...replica.states.slice(8)])
      expect((await restoreState(replica.store, { timestamp: time })).state.position).toEqual(position);
  });
});

describe("requests", () => {
  test("to find a time among 10,000 segments: about log2 of them, small ones", async () => {
    const replica = new SyntheticReplica();
    await replica.snapshot(0);
    const pages = new Map([[1, new Uint8Array(PAGE_SIZE)]]);
    for (let i = 0; i < 10_000; i++) await replica.append({ pages, pageCount: 2, txids: 1, ms: 1000 });
    const listing = await listReplica(replica.store);
    const find = async (timestamp: number) => {
      const store = new Interrupted(replica.store, -1, async () => {});
      const chosen = await choosePlan(store, listing, { timestamp }, codecs);
      return { txid: chosen!.txid, gets: store.gets.length };
    };
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: 10_000 }), async (txid) => {
        const found = await find(replica.states[txid]!.time + 500);
        expect(found).toEqual({ txid, gets: expect.toSatisfy((gets) => gets <= 16) });
      }),
      { numRuns: 8, ...seed, examples: [[0], [10_000]] },
    );
  });
});
