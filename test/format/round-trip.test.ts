import { describe, expect, test } from "vitest";
import { openObject } from "../../src/format/decode.ts";
import { ObjectEncoder } from "../../src/format/encode.ts";
import { genesisPosition } from "../../src/format/genesis.ts";
import { segmentKey, snapshotKey } from "../../src/format/keys.ts";
import { lockBytePage, pagesPerBlock } from "../../src/format/layout.ts";
import {
  codecs,
  decodeObject,
  encodeObject,
  lineage,
  memorySource,
  type Pages,
  range,
  segmentHeader,
  snapshotHeader,
  somePage,
  somePages,
} from "./objects.ts";

const pageSizes = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536];

function expectSamePages(actual: Pages, expected: Pages): void {
  expect([...actual.keys()]).toEqual([...expected.keys()]);
  for (const [pgno, page] of expected)
    expect(Buffer.compare(actual.get(pgno)!, page), `page ${pgno}`).toBe(0);
}

describe.each(pageSizes)("pages of %i bytes", (pageSize) => {
  const k = pagesPerBlock(pageSize);
  const counts = [...new Set([1, 2, k - 1, k, k + 1, 2 * k, 5 * k + 3])].filter((count) => count > 0);

  test.each(counts)("a snapshot of %i pages", async (count) => {
    const pages = somePages(pageSize, range(1, count));
    const { bytes, id } = encodeObject(snapshotHeader(pageSize, count), pages);
    const { object, pages: decoded } = await decodeObject(bytes, snapshotKey(7));
    expectSamePages(decoded, pages);
    expect(object.id).toBe(id);
    expect(object.blockCount).toBe(Math.ceil(count / k));
    expect(object.header).toEqual(snapshotHeader(pageSize, count));
    expect([object.from, object.to]).toEqual([null, object.header.to]);
  });

  test.each(counts)("a segment of %i pages", async (count) => {
    const header = segmentHeader(pageSize, 3 * count + 10);
    const pages = somePages(pageSize, range(2, 3 * count + 1, 3).slice(0, count));
    const { bytes, id } = encodeObject(header, pages);
    const { object, pages: decoded } = await decodeObject(bytes, segmentKey(0, 8, 8));
    expectSamePages(decoded, pages);
    expect(object.to).toEqual({ txid: 9, id });
    expect(object.from).toEqual(header.from);
    let i = 0;
    for (const pgno of pages.keys()) {
      expect(object.indexOf(pgno)).toBe(i);
      expect(object.indexOf(pgno + 1)).toBe(-1);
      expect(object.blockOf(i)).toBe(Math.floor(i++ / k));
    }
    expect(object.indexOf(1)).toBe(-1);
    expect(object.indexOf(0xffffffff)).toBe(-1);
  });
});

test("all but the last block hold min(64, 256 KiB) pages", () => {
  expect(pageSizes.map(pagesPerBlock)).toEqual([64, 64, 64, 64, 32, 16, 8, 4]);
});

test("a merged segment keeps the chain's id", async () => {
  const id = "ab".repeat(16);
  const { bytes } = encodeObject({ ...segmentHeader(512, 9), to: { txid: 9, id } }, somePages(512, [3]));
  const { object } = await decodeObject(bytes, segmentKey(1, 8, 9));
  expect(object.to).toEqual({ txid: 9, id });
});

test("equal input is equal bytes, other input another id", () => {
  const pages = somePages(4096, range(1, 100));
  const first = encodeObject(snapshotHeader(4096, 100), pages);
  expect(encodeObject(snapshotHeader(4096, 100), pages)).toEqual(first);
  expect(encodeObject({ ...snapshotHeader(4096, 100), created: 5 }, pages).id).not.toBe(first.id);
  const other = new Map(pages).set(50, somePage(4096));
  expect(encodeObject(snapshotHeader(4096, 100), other).id).not.toBe(first.id);
});

test("the id does not depend on how well blocks were compressed", () => {
  const header = snapshotHeader(1024, 3);
  const pages = somePages(1024, range(1, 3));
  const ids = [1, 19, null].map((level) => {
    const encoder = new ObjectEncoder(header, codecs, level);
    encoder.start();
    for (const [pgno, page] of pages) encoder.page(pgno, page);
    return encoder.finish().id;
  });
  expect(new Set(ids).size).toBe(1);
});

test("the encoder copies what it is given", async () => {
  const encoder = new ObjectEncoder(snapshotHeader(512, 3), codecs, 3);
  const chunks = [encoder.start()];
  const reused = new Uint8Array(512);
  for (const pgno of [1, 2, 3]) encoder.page(pgno, reused.fill(pgno));
  chunks.push(encoder.finish().chunk);
  const { pages } = await decodeObject(Buffer.concat(chunks));
  expect([...pages.values()].map((page) => page[511])).toEqual([1, 2, 3]);
});

describe("the lock-byte page", () => {
  test("is where SQLite says", () => {
    expect([512, 4096, 65536].map(lockBytePage)).toEqual([2097153, 262145, 16385]);
  });

  test("stands in a snapshot as zeros, and only so", async () => {
    const pageCount = 16386;
    const zeros = new Uint8Array(65536);
    const last = somePage(65536);
    const encoder = new ObjectEncoder(snapshotHeader(65536, pageCount), codecs, 1);
    const chunks = [encoder.start()];
    for (let pgno = 1; pgno < 16385; pgno++) chunks.push(encoder.page(pgno, zeros) ?? new Uint8Array(0));
    expect(() => encoder.page(16385, last)).toThrow("BUG");
    chunks.push(encoder.page(16385, zeros) ?? new Uint8Array(0));
    encoder.page(16386, last);
    chunks.push(encoder.finish().chunk);

    const object = await openObject(memorySource(Buffer.concat(chunks)), codecs);
    expect(object.indexOf(16385)).toBe(16384);
    const b = object.blockOf(16384);
    const block = object.decodeBlock(b, await object.read(object.blockRange(b)));
    expect([block.firstEntry, block.count]).toEqual([16384, 2]);
    expect(Buffer.compare(block.page(0), zeros)).toBe(0);
    expect(Buffer.compare(block.page(1), last)).toBe(0);
  });

  test("never stands in a segment", async () => {
    const header = segmentHeader(65536, 16400);
    const encoder = new ObjectEncoder(header, codecs, 3);
    encoder.start();
    encoder.page(16384, somePage(65536));
    expect(() => encoder.page(16385, new Uint8Array(65536))).toThrow("BUG");
    const pages = somePages(65536, [16384, 16386]);
    expectSamePages((await decodeObject(encodeObject(header, pages).bytes)).pages, pages);
  });
});

describe("the encoder refuses", () => {
  const page = new Uint8Array(512);
  const opened = (header: ConstructorParameters<typeof ObjectEncoder>[0]) => {
    const encoder = new ObjectEncoder(header, codecs, 3);
    encoder.start();
    return encoder;
  };
  test.each<[string, () => unknown]>([
    ["a page before start", () => new ObjectEncoder(segmentHeader(512, 9), codecs, 3).page(1, page)],
    ["a second start", () => opened(segmentHeader(512, 9)).start()],
    ["page 0", () => opened(segmentHeader(512, 9)).page(0, page)],
    ["a page above pageCount", () => opened(segmentHeader(512, 9)).page(10, page)],
    ["a page of another size", () => opened(segmentHeader(512, 9)).page(1, new Uint8Array(1024))],
    ["an empty segment", () => opened(segmentHeader(512, 9)).finish()],
    ["a snapshot with a gap", () => opened(snapshotHeader(512, 9)).page(2, page)],
    [
      "a snapshot that is not complete",
      () => {
        const encoder = opened(snapshotHeader(512, 2));
        encoder.page(1, page);
        encoder.finish();
      },
    ],
    [
      "pages out of order",
      () => {
        const encoder = opened(segmentHeader(512, 9));
        encoder.page(5, page);
        encoder.page(5, page);
      },
    ],
    [
      "a second finish",
      () => {
        const encoder = opened(snapshotHeader(512, 1));
        encoder.page(1, page);
        encoder.finish();
        encoder.finish();
      },
    ],
  ])("%s", (_, act) => expect(act).toThrow("BUG"));
});

describe("reading", () => {
  test("a small object is one read, also with its blocks", async () => {
    const { bytes } = encodeObject(snapshotHeader(4096, 150), somePages(4096, range(1, 150)));
    expect(bytes.length).toBeLessThan(262144);
    const source = memorySource(bytes);
    const object = await openObject(source, codecs);
    for (let b = 0; b < object.blockCount; b++) await object.read(object.blockRange(b));
    expect(source.reads).toEqual([[0, bytes.length]]);
  });

  test("a larger object is its head and its tail", async () => {
    const { bytes } = encodeObject(snapshotHeader(4096, 1000), somePages(4096, range(1, 1000)));
    const source = memorySource(bytes);
    await openObject(source, codecs);
    expect(source.reads).toEqual([
      [0, 4096],
      [bytes.length - 65536, 65536],
    ]);
  });

  test("an index larger than the tail is one read more", async () => {
    const pages = somePages(512, range(1, 6000));
    const { bytes } = encodeObject(snapshotHeader(512, 6000), pages);
    const source = memorySource(bytes);
    await openObject(source, codecs);
    expect(source.reads.length).toBe(3);
    expectSamePages((await decodeObject(bytes)).pages, pages);
  });

  test("a source's error passes through", async () => {
    const failure = new Error("offline");
    const source = { key: "object", size: 1000, read: () => Promise.reject(failure) };
    await expect(openObject(source, codecs)).rejects.toBe(failure);
  });
});

test("a chain begins at the hash of its lineage", async () => {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(lineage));
  const id = Buffer.from(digest).subarray(0, 16).toString("hex");
  expect(genesisPosition(lineage, codecs)).toEqual({ txid: 0, id });
});
