/** A machine that sleeps while its clock is set back: what is safe only for some time is not taken for recent. */
import { expect, test } from "vitest";
import type { WriteCache } from "../../src/cache/write-cache.ts";
import { ReplicaFencedError } from "../../src/errors.ts";
import { segmentKey } from "../../src/format/keys.ts";
import { compact, pruneReplica } from "../../src/housekeeping.ts";
import { KnownTail } from "../../src/known-tail.ts";
import type { Clock } from "../../src/platform.ts";
import { steadyTime } from "../../src/steady-time.ts";
import { stopwatches } from "../../src/stopwatch.ts";
import { MemoryStore } from "../../src/store/memory-store.ts";
import { collect, type PutBody, type PutOptions } from "../../src/store/object-store.ts";
import { uploadHead } from "../../src/upload.ts";
import { Chain, TestClock } from "../compaction/chain.ts";
import { codecs, lineage, writer } from "../format/objects.ts";

const HOUR_MS = 3600 * 1000;
const DAY_MS = 24 * HOUR_MS;

class Machine {
  wall = 1_800_000_000_000;
  running = 5_000_000;
  readonly clock: Clock = {
    now: steadyTime(() => this.wall),
    stopwatch: stopwatches(
      () => this.wall,
      () => this.running,
    ),
    after: () => ({ cancel: () => undefined }),
    turn: async () => undefined,
  };

  pass(wallMs: number, runningMs: number): void {
    this.wall += wallMs;
    this.running += runningMs;
  }
}

/** What the two clocks say of a night of ten hours. */
const nights: Record<string, [number, number]> = {
  "and its clock is right": [10 * HOUR_MS, 10 * HOUR_MS],
  "where nothing else counts": [10 * HOUR_MS, 0],
  "and its clock is set back by as much": [0, 10 * HOUR_MS],
  "and its clock is set back by more": [-HOUR_MS, 10 * HOUR_MS],
  "and its clock is set back by less, where nothing else counts": [2 * HOUR_MS, 0],
  "and its clock is set back by more, where nothing else counts": [-HOUR_MS, 0],
};

test.each(Object.entries(nights))("a night %s is seen to be one", (_, [wall, running]) => {
  const machine = new Machine();
  const evening = machine.clock.stopwatch();
  machine.pass(5000, 5010);
  expect(evening()).toBe(5010);
  machine.pass(wall, running);
  expect(evening()).toBeGreaterThanOrEqual(10 * HOUR_MS);
  const morning = machine.clock.stopwatch();
  machine.pass(HOUR_MS + 900, HOUR_MS);
  expect(morning()).toBe(HOUR_MS + 900);
});

/** Another writer goes on behind `chain`, and what it began with is deleted. */
async function goOnWithoutIt(store: MemoryStore, chain: Chain): Promise<void> {
  await chain.writeMany(40);
  await chain.snapshot();
  await compact(store, codecs, chain.clock, {});
  chain.clock.time += 2 * DAY_MS;
  await chain.writeMany(1);
  const rules = { retentionSecs: 7 * 86_400, fineRetentionSecs: 86_400 };
  expect((await pruneReplica(store, codecs, chain.clock, rules))!.deleted.length).toBeGreaterThan(20);
}

async function begun() {
  const time = new TestClock();
  const store = new MemoryStore({ now: time.now });
  const chain = new Chain(store, time);
  await chain.claim();
  await chain.snapshotOfNothing();
  await chain.writeMany(16);
  // Our next segment: made like one of the chain, and never put there.
  const ours = new Chain(new MemoryStore(), time);
  ours.position = chain.position;
  await ours.writeMany(1);
  const key = segmentKey(0, chain.position.txid + 1, ours.position.txid);
  const bytes = await collect((await ours.store.get(key)).body, 1 << 20);
  const entry = { from: chain.position, to: ours.position, size: bytes.length, time: time.now() };
  const acked: unknown[] = [];
  const cache = {
    read: () => bytes,
    ack: async (each: unknown) => void acked.push(each),
  } as unknown as WriteCache;
  const machine = new Machine();
  const { clock } = machine;
  const claim = { version: 1, lineage, writer, created: 1 } as const;
  const tail = new KnownTail({ store, lineage, writer, codecs, clock, givenUp: () => undefined });
  const context = { store, cache, codecs, clock, tail, claim, claimed: true };
  return { store, chain, entry, key, acked, machine, tail, context };
}

test.each(Object.entries(nights))(
  "a night %s: a writer does not put its next to a key that is free again",
  async (_, night) => {
    const { store, chain, entry, key, acked, machine, tail, context } = await begun();
    await tail.require(entry.from, entry.to);
    expect(tail.known).toBe(true);
    await goOnWithoutIt(store, chain);
    machine.pass(...night);
    await expect(uploadHead(context, entry)).rejects.toBeInstanceOf(ReplicaFencedError);
    await expect(store.get(key)).rejects.toMatchObject({ kind: "not-found" });
    expect(acked).toEqual([]);
  },
);

test.each(Object.entries(nights))(
  "a night %s, in the middle of an upload: it does not count",
  async (_, night) => {
    const { store, chain, entry, acked, machine, context } = await begun();
    const put = store.put.bind(store);
    store.put = async (key: string, body: PutBody, options?: PutOptions) => {
      store.put = put;
      await goOnWithoutIt(store, chain);
      machine.pass(...night);
      await put(key, body, options);
    };
    await expect(uploadHead(context, entry)).rejects.toBeInstanceOf(ReplicaFencedError);
    expect(acked).toEqual([]);
  },
);

test.each(Object.entries(nights))(
  "a night %s, between a look and a delete: nothing is deleted",
  async (_, night) => {
    const time = new TestClock();
    const store = new MemoryStore({ now: time.now });
    const chain = new Chain(store, time);
    await chain.claim();
    await chain.snapshotOfNothing();
    await chain.writeMany(40);
    await compact(store, codecs, time, {});
    time.time += 2 * DAY_MS;
    const machine = new Machine();
    const get = store.get.bind(store);
    store.get = async (key, options) => {
      if (key.startsWith("wal/1/")) machine.pass(...night);
      return get(key, options);
    };
    const { planned, deleted } = (await pruneReplica(store, codecs, machine.clock, {}))!;
    expect(planned.length).toBeGreaterThan(20);
    expect(deleted).toEqual([]);
  },
);
