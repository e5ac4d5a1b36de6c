import { afterEach, describe, expect, test, vi } from "vitest";
import type { CacheEntry, SegmentQueue } from "../../src/cache/write-cache.ts";
import { CacheError } from "../../src/errors.ts";
import { collect, type PutBody } from "../../src/store/object-store.ts";
import { loadCodecs } from "../../web/compression.ts";
import { IdbQueue } from "../../web/idb-queue.ts";
import { append, entryOf, record } from "../suites/write-cache.ts";
import { FAULTS, type Fault, faultTransactions } from "./idb-faults.ts";

const { hash64 } = await loadCodecs();

afterEach(() => {
  vi.restoreAllMocks();
});

/** More than two chunks. */
const LARGE = 600_000;

async function appendLarge(cache: SegmentQueue, txid: number): Promise<void> {
  const segment = cache.append();
  for (let at = 0; at < LARGE; at += 100_000) await segment.write(new Uint8Array(100_000).fill(at / 100_000));
  await segment.commit({ ...entryOf(txid, txid + 1), size: LARGE }, record(txid + 1));
}

/** One life of a cache, step by step; each can be tried again. */
const STEPS: Record<string, (cache: SegmentQueue) => Promise<unknown>> = {
  "first record": async (cache) => cache.savePosition(record(0)),
  "append 1": (cache) => append(cache, 0, 1),
  "append 2": (cache) => append(cache, 1, 2),
  "append 3": (cache) => append(cache, 2, 3),
  "append large": (cache) => appendLarge(cache, 3),
  "ack 1": (cache) => cache.ack(entryOf(0, 1)),
  "append 5": (cache) => append(cache, 4, 5),
  merge: (cache) => append(cache, 2, 5, { replacing: cache.entries().slice(1) }),
  "ack 2": (cache) => cache.ack(cache.entries()[0]!),
  "append 6": (cache) => append(cache, 5, 6),
  abort: async (cache) => {
    const segment = cache.append();
    await segment.write(new Uint8Array(LARGE));
    await segment.abort();
  },
  checkpoint: async (cache) => cache.savePosition(record(6, { wal: null, fingerprint: "checkpointed" })),
  "append 7": (cache) => append(cache, 6, 7),
  mark: async (cache) => cache.markResync("why"),
  drop: (cache) => cache.dropBacklog(),
  resync: (cache) => append(cache, 5, 9),
  "append 10": (cache) => append(cache, 9, 10),
};

interface Seen {
  readonly entries: readonly CacheEntry[];
  readonly cached: unknown;
  readonly marked: boolean;
  readonly wal: boolean;
}

/** What a start after a crash finds, all bytes read. */
async function crash(name: string): Promise<Seen> {
  const cache = new IdbQueue(name, hash64);
  const { entries, position: saved } = await cache.load();
  for (const entry of entries) await readWhole(cache, entry);
  await cache.close();
  const marked = saved?.resync !== undefined;
  return { entries, cached: saved?.cached, marked, wal: saved !== null && saved.wal !== null };
}

async function readWhole(cache: SegmentQueue, entry: CacheEntry): Promise<void> {
  const body = cache.read(entry) as Exclude<PutBody, Uint8Array>;
  expect((await collect(body.chunks(), LARGE)).length).toBe(entry.size);
}

/** What a crash after each step leaves, and the numbers of its transactions. */
async function withoutFaults() {
  const name = crypto.randomUUID();
  const cache = new IdbQueue(name, hash64);
  await cache.load();
  const after: Seen[] = [await crash(name)];
  const first: number[] = [];
  const count = faultTransactions(() => undefined);
  let crashes = 0;
  for (const step of Object.values(STEPS)) {
    first.push(count() - crashes);
    await step(cache);
    const before = count();
    after.push(await crash(name));
    crashes += count() - before;
  }
  first.push(count() - crashes);
  vi.restoreAllMocks();
  return { after, first };
}

/** Runs all steps with a fault in the transactions from `at` on, `times` of them. */
async function withFault(
  fault: Fault,
  at: number,
  times: number,
  onStep: (
    cache: SegmentQueue,
    name: string,
    step: number,
    act: () => Promise<unknown>,
  ) => Promise<"go on" | "end">,
): Promise<void> {
  const name = crypto.randomUUID();
  const cache = new IdbQueue(name, hash64);
  await cache.load();
  faultTransactions((n) => (n >= at && n < at + times ? fault : undefined));
  for (const [step, act] of Object.values(STEPS).entries()) {
    if ((await onStep(cache, name, step, () => act(cache))) === "end") break;
  }
  vi.restoreAllMocks();
  await cache.close();
}

async function outcome(act: () => Promise<unknown>): Promise<unknown> {
  return act().then(
    () => null,
    (error: unknown) => error,
  );
}

describe.each(Object.entries(FAULTS))("a transaction that %s", (_, fault: Fault) => {
  const retried = fault.error !== "QuotaExceededError";

  test.runIf(retried)("once, wherever it is, is not noticed", async () => {
    const { after, first } = await withoutFaults();
    for (let at = 0; at < first.at(-1)!; at++) {
      await withFault(fault, at, 1, async (_, name, step, act) => {
        expect(await outcome(act), `transaction ${at}`).toBeNull();
        // Looked at where the fault was, and at the end: each look costs.
        if (first[step + 1] === at + 1 || step === after.length - 2)
          expect(await peekAt(name), `transaction ${at}, step ${step}`).toEqual(after[step + 1]);
        return "go on";
      });
    }
  });

  const times = retried ? 2 : 1;

  test("for good is a CacheError; the same step succeeds later", async () => {
    const { after, first } = await withoutFaults();
    let failed = 0;
    for (let at = 0; at < first.at(-1)!; at++) {
      await withFault(fault, at, times, async (_, name, step, act) => {
        const error = await outcome(act);
        if (error === null) return "go on";
        failed += 1;
        expect(error).toBeInstanceOf(CacheError);
        expect((error as CacheError).full).toBe(!retried);
        expect(await outcome(act), `transaction ${at}`).toBeNull();
        expect(await peekAt(name), `transaction ${at}, step ${step}`).toEqual(after[step + 1]);
        return "end";
      });
    }
    // All but those of sweeps, and of the mark, which has a second way.
    expect(failed).toBeGreaterThanOrEqual(Object.keys(STEPS).length - 1);
  });

  test("for good, and then a crash: the state before or after it", async () => {
    const { after, first } = await withoutFaults();
    for (let at = 0; at < first.at(-1)!; at++) {
      await withFault(fault, at, times, async (_, name, step, act) => {
        if ((await outcome(act)) === null) return "go on";
        expect([after[step], after[step + 1]], `transaction ${at}`).toContainEqual(await peekAt(name));
        return "end";
      });
    }
  });

  test("for good, and then something else: what the cache says is what a crash leaves", async () => {
    const { first } = await withoutFaults();
    for (let at = 0; at < first.at(-1)!; at++) {
      await withFault(fault, at, times, async (cache, name, _, act) => {
        if ((await outcome(act)) === null) return "go on";
        const [head] = cache.entries();
        if (head === undefined) return "end";
        for (const entry of cache.entries()) if (entry !== head) await readWhole(cache, entry);
        await cache.ack(head);
        expect((await peekAt(name)).entries, `transaction ${at}`).toEqual(cache.entries());
        return "end";
      });
    }
  });
});

/** `crash`, spared by the faults. */
async function peekAt(name: string): Promise<Seen> {
  vi.restoreAllMocks();
  return crash(name);
}

test("an ack that failed and took place all the same is not undone by what follows", async () => {
  const name = crypto.randomUUID();
  const cache = new IdbQueue(name, hash64);
  await cache.load();
  await append(cache, 0, 1);
  faultTransactions((n) => (n < 2 ? FAULTS["is lost after it took place"] : undefined));
  await expect(cache.ack(entryOf(0, 1))).rejects.toBeInstanceOf(CacheError);
  expect(cache.entries()).toEqual([entryOf(0, 1)]);
  await append(cache, 1, 2);
  expect((await crash(name)).entries).toEqual([entryOf(1, 2)]);
  await cache.ack(entryOf(0, 1));
  expect(cache.entries()).toEqual([entryOf(1, 2)]);
});

test("where not even a deletion works, the mark for resync fails aloud", async () => {
  const cache = new IdbQueue(crypto.randomUUID(), hash64);
  await cache.load();
  await append(cache, 0, 1);
  faultTransactions(() => FAULTS["exceeds the quota"]);
  await expect(cache.markResync("full")).rejects.toMatchObject({ code: "SLUICE_CACHE", full: true });
});
