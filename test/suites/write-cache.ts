import { beforeEach, describe, expect, test } from "vitest";
import type { CacheEntry, CacheState, PositionRecord, SegmentQueue } from "../../src/cache/write-cache.ts";
import { CacheError } from "../../src/errors.ts";
import type { Position } from "../../src/format/position.ts";
import { collect, type PutBody } from "../../src/store/object-store.ts";

/** A cache that was not loaded yet; `reopen` answers another over the same storage, as after a crash: without a close. */
export interface OpenedCache {
  readonly cache: SegmentQueue;
  reopen(): Promise<SegmentQueue>;
}

/**
 * What every SegmentQueue must do. `open` answers an empty one each time. `behind`: it is one behind a write cache, which
 * minds the head.
 */
export function writeCacheSuite(
  name: string,
  open: () => Promise<OpenedCache>,
  { behind = false } = {},
): void {
  describe(`${name} as a write cache`, () => {
    let cache: SegmentQueue;
    let reopen: () => Promise<SegmentQueue>;

    /** Crashes and starts again. */
    const restart = async (): Promise<CacheState> => {
      cache = await reopen();
      return cache.load();
    };

    beforeEach(async () => {
      ({ cache, reopen } = await open());
    });

    describe("at first", () => {
      test("there is no record and no entry, also after a restart", async () => {
        expect(await cache.load()).toEqual({ position: null, entries: [] });
        expect(cache.entries()).toEqual([]);
        expect(await restart()).toEqual({ position: null, entries: [] });
      });

      test("a mark for resync has nothing to mark", async () => {
        await cache.load();
        await cache.markResync("nothing there");
        expect(await restart()).toEqual({ position: null, entries: [] });
      });

      test("a position can be saved before any entry", async () => {
        await cache.load();
        await cache.savePosition(record(0));
        expect(await restart()).toEqual({ position: record(0), entries: [] });
      });
    });

    describe("append", () => {
      beforeEach(async () => {
        await cache.load();
      });

      test("entries come out first in, first out, with their bytes, also after a restart", async () => {
        const entries = [];
        for (let txid = 0; txid < 5; txid++) entries.push(await append(cache, txid, txid + 1));
        expect(cache.entries()).toEqual(entries);
        expect(await restart()).toEqual({ position: record(5), entries });
        for (const entry of entries) await expectObject(cache, entry);
      });

      test("the order is that of the history, beyond 9, 10, 16 and 256", async () => {
        for (let txid = 0; txid < 300; txid++) await append(cache, txid, txid + 1);
        const { entries, position } = await restart();
        expect(entries.map((entry) => entry.to.txid)).toEqual(Array.from({ length: 300 }, (_, i) => i + 1));
        expect(position).toEqual(record(300));
      });

      test("a crash before the commit leaves neither entry nor record", async () => {
        await append(cache, 0, 1);
        const segment = cache.append();
        await segment.write(object(1, 2));
        expect((await restart()).entries).toHaveLength(1);
        expect(await restart()).toMatchObject({ position: record(1) });
        await append(cache, 1, 2);
        expect((await restart()).position).toEqual(record(2));
      });

      test("nothing is seen before the commit", async () => {
        const segment = cache.append();
        await segment.write(object(0, 1));
        expect(cache.entries()).toEqual([]);
        await segment.commit(entryOf(0, 1), record(1));
        expect(cache.entries()).toEqual([entryOf(0, 1)]);
      });

      test("the chunk's array may be used again by the caller", async () => {
        const chunk = object(0, 1).slice();
        const segment = cache.append();
        await segment.write(chunk);
        chunk.fill(0);
        await segment.commit(entryOf(0, 1), record(1));
        await expectObject(cache, entryOf(0, 1));
      });

      test("many chunks, and empty ones, make one object", async () => {
        const whole = object(0, 1);
        const segment = cache.append();
        for (let at = 0; at < whole.length; at += 97) {
          await segment.write(whole.subarray(at, at + 97));
          await segment.write(new Uint8Array());
        }
        await segment.commit(entryOf(0, 1), record(1));
        await restart();
        await expectObject(cache, entryOf(0, 1));
      });

      test("a segment of several transactions", async () => {
        await append(cache, 0, 40);
        await append(cache, 40, 41);
        expect((await restart()).entries).toEqual([entryOf(0, 40), entryOf(40, 41)]);
      });

      test("an object of 3 MiB", async () => {
        const segment = cache.append();
        const chunk = new Uint8Array(256 * 1024).fill(7);
        for (let i = 0; i < 12; i++) await segment.write(chunk);
        const entry = { ...entryOf(0, 1), size: 3 * 1024 * 1024 };
        await segment.commit(entry, record(1));
        await restart();
        const whole = await collectBody(cache.read(entry));
        expect(whole.length).toBe(entry.size);
        expect(whole.every((byte) => byte === 7)).toBe(true);
      });

      test("an abort forgets the segment, and may come twice, or after the commit", async () => {
        const first = cache.append();
        await first.write(object(0, 1));
        await first.abort();
        await first.abort();
        await cache.append().abort();
        const second = cache.append();
        await second.write(object(0, 1));
        await second.commit(entryOf(0, 1), record(1));
        await second.abort();
        expect(await restart()).toEqual({ position: record(1), entries: [entryOf(0, 1)] });
      });

      test("one segment is open at a time", async () => {
        const segment = cache.append();
        expect(() => cache.append()).toThrow();
        await segment.abort();
        await cache.append().abort();
      });

      test.each([
        ["a wrong size", { ...entryOf(1, 2), size: 1 }, record(2)],
        ["a gap before it", entryOf(2, 3), record(3)],
        ["a fork before it", { ...entryOf(1, 2), from: { txid: 1, id: "f".repeat(32) } }, record(2)],
        ["another end than the record", entryOf(1, 2), record(3)],
        ["no way forward", { ...entryOf(1, 2), to: position(1) }, record(1)],
      ])("a commit with %s is refused, and changes nothing", async (_, entry, saved) => {
        await append(cache, 0, 1);
        const segment = cache.append();
        await segment.write(object(entry.from.txid, entry.to.txid));
        await expect((async () => segment.commit(entry, saved))()).rejects.toThrow();
        await segment.abort();
        await append(cache, 1, 2);
        expect(await restart()).toEqual({ position: record(2), entries: [entryOf(0, 1), entryOf(1, 2)] });
      });
    });

    describe("read", () => {
      beforeEach(async () => {
        await cache.load();
        for (let txid = 0; txid < 3; txid++) await append(cache, txid, txid + 1);
      });

      test("can be read again and again, by two readers at once, and left early", async () => {
        const body = cache.read(entryOf(0, 1));
        expect(await Promise.all([collectBody(body), collectBody(body)])).toEqual([
          object(0, 1),
          object(0, 1),
        ]);
        for await (const _ of chunksOf(body)) break;
        expect(await collectBody(body)).toEqual(object(0, 1));
        expect(sizeOf(body)).toBe(object(0, 1).length);
      });

      test("reads ranges, and refuses one beyond the end", async () => {
        const whole = object(1, 2);
        expect(await cache.readRange(entryOf(1, 2), 3, 5)).toEqual(whole.slice(3, 8));
        expect(await cache.readRange(entryOf(1, 2), 0, whole.length)).toEqual(whole);
        await expect(cache.readRange(entryOf(1, 2), 1, whole.length)).rejects.toBeInstanceOf(CacheError);
      });

      test("works while a segment is appended", async () => {
        const segment = cache.append();
        await segment.write(object(3, 4).subarray(0, 10));
        await expectObject(cache, entryOf(1, 2));
        await segment.write(object(3, 4).subarray(10));
        await segment.commit(entryOf(3, 4), record(4));
        await expectObject(cache, entryOf(0, 1));
        await expectObject(cache, entryOf(3, 4));
      });
    });

    describe("ack", () => {
      beforeEach(async () => {
        await cache.load();
        for (let txid = 0; txid < 3; txid++) await append(cache, txid, txid + 1);
      });

      test("removes the head, one after the other", async () => {
        for (let txid = 0; txid < 3; txid++) {
          await cache.ack(entryOf(txid, txid + 1));
          const rest = [entryOf(0, 1), entryOf(1, 2), entryOf(2, 3)].slice(txid + 1);
          expect(cache.entries()).toEqual(rest);
          expect(await restart()).toEqual({ position: record(3), entries: rest });
        }
      });

      test("of anything but the head is refused", async () => {
        await expect(cache.ack(entryOf(1, 2))).rejects.toThrow();
        await expect(cache.ack(entryOf(5, 6))).rejects.toThrow();
        expect((await restart()).entries).toHaveLength(3);
      });

      test("of the last keeps the record, and the queue goes on from there", async () => {
        for (let txid = 0; txid < 3; txid++) await cache.ack(entryOf(txid, txid + 1));
        await append(cache, 3, 4);
        expect(await restart()).toEqual({ position: record(4), entries: [entryOf(3, 4)] });
        await expectObject(cache, entryOf(3, 4));
        await cache.ack(entryOf(3, 4));
        expect(await restart()).toEqual({ position: record(4), entries: [] });
      });

      test("of a large last entry keeps the record", async () => {
        const size = 300_000;
        const entry = { ...entryOf(3, 4), size };
        const segment = cache.append();
        await segment.write(new Uint8Array(size));
        await segment.commit(entry, record(4));
        for (const each of cache.entries()) await cache.ack(each);
        expect(await restart()).toEqual({ position: record(4), entries: [] });
      });

      test("goes on while segments are appended and positions saved", async () => {
        for (let txid = 3; txid < 20; txid++) {
          const acked = cache.ack(cache.entries()[0]!);
          await append(cache, txid, txid + 1);
          await cache.savePosition(record(txid + 1, { fingerprint: "checkpointed" }));
          await acked;
        }
        const { entries, position: saved } = await restart();
        expect(entries.map((entry) => entry.from.txid)).toEqual([17, 18, 19]);
        expect(saved).toEqual(record(20, { fingerprint: "checkpointed" }));
      });

      test("of the last, while a newer record arrives, keeps the newer one", async () => {
        await cache.ack(entryOf(0, 1));
        await cache.ack(entryOf(1, 2));
        const acked = cache.ack(entryOf(2, 3));
        await cache.savePosition(record(3, { fingerprint: "newer" }));
        await acked;
        expect(await restart()).toEqual({ position: record(3, { fingerprint: "newer" }), entries: [] });
      });
    });

    describe("savePosition", () => {
      beforeEach(async () => {
        await cache.load();
      });

      test("the newest record counts, whichever way it came", async () => {
        await append(cache, 0, 1);
        await cache.savePosition(record(1, { wal: null }));
        expect((await restart()).position).toEqual(record(1, { wal: null }));
        await append(cache, 1, 2);
        expect((await restart()).position).toEqual(record(2));
        await cache.savePosition(record(2, { fingerprint: "a" }));
        await cache.savePosition(record(2, { fingerprint: "b" }));
        expect(await restart()).toEqual({
          position: record(2, { fingerprint: "b" }),
          entries: [entryOf(0, 1), entryOf(1, 2)],
        });
        await cache.ack(entryOf(0, 1));
        await cache.ack(entryOf(1, 2));
        expect((await restart()).position).toEqual(record(2, { fingerprint: "b" }));
      });

      test("every field comes back as it was", async () => {
        const full: PositionRecord = {
          version: 1,
          lineage: "0123456789abcdef0123456789abcdef",
          writer: "fedcba9876543210fedcba9876543210",
          cached: { txid: Number.MAX_SAFE_INTEGER, id: "ff".repeat(16) },
          pageCount: 4_294_967_294,
          pageSize: 65_536,
          time: 1_790_000_000_123,
          wal: {
            salt1: 4_294_967_295,
            salt2: 0,
            frame: 4_294_967_295,
            checksum1: 2_147_483_648,
            checksum2: 1,
          },
          fingerprint: 'ünï "quoted" \n 日本',
          resync: "why: 100 % 🙂",
          snapshotOwed: Number.MAX_SAFE_INTEGER - 1,
          givenUp: { from: { txid: 0, id: "0".repeat(32) }, to: [{ txid: 1, id: "ff".repeat(16) }] },
        };
        await cache.savePosition(full);
        expect((await restart()).position).toEqual(full);
      });

      test("somewhere else than where the entries end is refused", async () => {
        await append(cache, 0, 1);
        await expect((async () => cache.savePosition(record(2)))()).rejects.toThrow();
        expect((await restart()).position).toEqual(record(1));
      });

      test("a record of a newer release is refused, and stays", async () => {
        await cache.savePosition({ ...record(0), version: 2 } as unknown as PositionRecord);
        for (let i = 0; i < 2; i++) {
          const next = await reopen();
          await expect(next.load()).rejects.toMatchObject({ code: "SLUICE_CACHE", full: false });
        }
      });
    });

    describe("replacing", () => {
      beforeEach(async () => {
        await cache.load();
        for (let txid = 0; txid < 5; txid++) await append(cache, txid, txid + 1);
      });

      test("entries in the middle become one", async () => {
        await append(cache, 1, 4, {
          replacing: [entryOf(1, 2), entryOf(2, 3), entryOf(3, 4)],
          saved: record(5),
        });
        const entries = [entryOf(0, 1), entryOf(1, 4), entryOf(4, 5)];
        expect(cache.entries()).toEqual(entries);
        expect(await restart()).toEqual({ position: record(5), entries });
        await expectObject(cache, entryOf(1, 4));
        for (const entry of entries) await cache.ack(entry);
        expect(await restart()).toEqual({ position: record(5), entries: [] });
      });

      test("all behind the head, the tail too", async () => {
        await append(cache, 1, 5, { replacing: cache.entries().slice(1) });
        expect(await restart()).toEqual({ position: record(5), entries: [entryOf(0, 1), entryOf(1, 5)] });
      });

      test("the tail together with newer transactions, and again", async () => {
        await append(cache, 3, 7, { replacing: [entryOf(3, 4), entryOf(4, 5)] });
        await append(cache, 1, 9, { replacing: [entryOf(1, 2), entryOf(2, 3), entryOf(3, 7)] });
        const entries = [entryOf(0, 1), entryOf(1, 9)];
        expect(await restart()).toEqual({ position: record(9), entries });
        for (const entry of entries) await expectObject(cache, entry);
      });

      test("a crash before the commit leaves what was to be replaced", async () => {
        const segment = cache.append(cache.entries().slice(1));
        await segment.write(object(1, 5));
        const { entries } = await restart();
        expect(entries).toHaveLength(5);
        for (const entry of entries) await expectObject(cache, entry);
      });

      test.skipIf(behind)("the head is refused", () => {
        expect(() => cache.append([entryOf(0, 1), entryOf(1, 2)])).toThrow();
      });

      test("strangers, and entries that are no neighbours are refused", async () => {
        expect(() => cache.append([entryOf(7, 8)])).toThrow();
        expect(() => cache.append([entryOf(1, 2), entryOf(3, 4)])).toThrow();
        await cache.append([entryOf(1, 2)]).abort();
      });

      test("a range that does not cover what it replaces is refused", async () => {
        const segment = cache.append([entryOf(1, 2), entryOf(2, 3)]);
        await segment.write(object(1, 2));
        await expect((async () => segment.commit(entryOf(1, 2), record(5)))()).rejects.toThrow();
        await segment.abort();
        expect((await restart()).entries).toHaveLength(5);
      });

      test.skipIf(behind)("what became the head meanwhile is not replaced", async () => {
        const segment = cache.append([entryOf(1, 2), entryOf(2, 3)]);
        await segment.write(object(1, 3));
        await cache.ack(entryOf(0, 1));
        await expect((async () => segment.commit(entryOf(1, 3), record(5)))()).rejects.toThrow();
        await segment.abort();
        expect((await restart()).entries.map((entry) => entry.from.txid)).toEqual([1, 2, 3, 4]);
      });
    });

    describe("resync", () => {
      beforeEach(async () => {
        await cache.load();
        for (let txid = 0; txid < 4; txid++) await append(cache, txid, txid + 1);
      });

      test("the mark stays over restarts and acknowledgements until a record without it is saved", async () => {
        await cache.markResync("the cache was full");
        await cache.markResync("a second reason does not matter");
        for (let txid = 0; txid < 4; txid++) {
          expect((await restart()).position).toEqual(record(4, { resync: "the cache was full" }));
          await cache.ack(entryOf(txid, txid + 1));
        }
        expect((await restart()).position).toEqual(record(4, { resync: "the cache was full" }));
        await cache.savePosition(record(4));
        expect((await restart()).position).toEqual(record(4));
        await cache.markResync("again");
        expect((await restart()).position?.resync).toBe("again");
        await append(cache, 4, 5);
        expect((await restart()).position).toEqual(record(5));
      });

      test("a commit that says resync keeps the mark", async () => {
        await cache.markResync("why");
        await append(cache, 4, 5, { saved: record(5, { resync: "why" }) });
        expect((await restart()).position).toEqual(record(5, { resync: "why" }));
      });

      test("the backlog is dropped only after the mark, and the head stays", async () => {
        await expect(cache.dropBacklog()).rejects.toThrow();
        expect((await restart()).entries).toHaveLength(4);
        await cache.markResync("full");
        await cache.dropBacklog();
        expect(cache.entries()).toEqual([entryOf(0, 1)]);
        expect(await restart()).toEqual({
          position: record(4, { resync: "full" }),
          entries: [entryOf(0, 1)],
        });
        await expectObject(cache, entryOf(0, 1));
        await cache.dropBacklog();
        // One segment that leads from what the store has to the present.
        await append(cache, 1, 9);
        expect(await restart()).toEqual({ position: record(9), entries: [entryOf(0, 1), entryOf(1, 9)] });
        await cache.ack(entryOf(0, 1));
        await cache.ack(entryOf(1, 9));
        expect(await restart()).toEqual({ position: record(9), entries: [] });
      });

      test.each([
        ["drop", "ack"],
        ["ack", "drop"],
      ])("the head may leave meanwhile: %s, then %s", async (...order) => {
        await cache.markResync("full");
        const calls = { drop: () => cache.dropBacklog(), ack: () => cache.ack(entryOf(0, 1)) };
        await Promise.all(order.map((call) => calls[call as keyof typeof calls]()));
        const left = cache.entries();
        expect([[], [entryOf(1, 2)]]).toContainEqual(left);
        expect((await restart()).entries).toEqual(left);
        for (const entry of left) {
          await expectObject(cache, entry);
          await cache.ack(entry);
        }
        const end = 1 + left.length;
        await cache.savePosition(record(end, { resync: "full" }));
        await append(cache, end, 9);
        expect((await restart()).entries).toEqual([entryOf(end, 9)]);
      });

      test("there may be nothing to drop", async () => {
        for (const entry of cache.entries()) await cache.ack(entry);
        await cache.markResync("full");
        await cache.dropBacklog();
        expect(await restart()).toEqual({ position: record(4, { resync: "full" }), entries: [] });
      });
    });

    test("close, then load again", async () => {
      await cache.load();
      await append(cache, 0, 1);
      await cache.close();
      expect(await restart()).toEqual({ position: record(1), entries: [entryOf(0, 1)] });
    });
  });
}

export function position(txid: number): Position {
  return { txid, id: txid.toString(16).padStart(32, "a") };
}

export function record(txid: number, change: Partial<PositionRecord> = {}): PositionRecord {
  return {
    version: 1,
    lineage: "1".repeat(32),
    writer: "2".repeat(32),
    cached: position(txid),
    pageCount: 10 + txid,
    pageSize: 4096,
    time: 1_790_000_000_000 + txid,
    wal: { salt1: 1, salt2: 2, frame: txid + 1, checksum1: 3, checksum2: 4 },
    fingerprint: null,
    ...change,
  };
}

/** The bytes of the segment from one txid to another. */
export function object(from: number, to: number): Uint8Array {
  return Uint8Array.from({ length: 1000 + from * 7 + to }, (_, i) => i * 31 + from * 5 + to);
}

export function entryOf(from: number, to: number): CacheEntry {
  return { from: position(from), to: position(to), size: object(from, to).length, time: 1000 * from };
}

export async function append(
  cache: SegmentQueue,
  from: number,
  to: number,
  { replacing, saved = record(to) }: { replacing?: readonly CacheEntry[]; saved?: PositionRecord } = {},
): Promise<CacheEntry> {
  const whole = object(from, to);
  const segment = cache.append(replacing);
  await segment.write(whole.subarray(0, 500));
  await segment.write(whole.subarray(500));
  await segment.commit(entryOf(from, to), saved);
  return entryOf(from, to);
}

export async function expectObject(cache: SegmentQueue, entry: CacheEntry): Promise<void> {
  expect(await collectBody(cache.read(entry))).toEqual(object(entry.from.txid, entry.to.txid));
}

function chunksOf(body: PutBody): AsyncIterable<Uint8Array> {
  return "chunks" in body
    ? body.chunks()
    : (async function* () {
        yield body;
      })();
}

async function collectBody(body: PutBody): Promise<Uint8Array> {
  return Uint8Array.from(await collect(chunksOf(body), 1 << 30));
}

function sizeOf(body: PutBody): number {
  return "chunks" in body ? body.size : body.length;
}
