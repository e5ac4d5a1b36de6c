import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { CorruptObjectError, type ObjectPart, UnsupportedFormatError } from "../../src/errors.ts";
import { openObject } from "../../src/format/decode.ts";
import type { ObjectHeader } from "../../src/format/header.ts";
import { segmentKey, snapshotKey } from "../../src/format/keys.ts";
import { seed } from "../seed.ts";
import {
  asNewer,
  codecs,
  decodeObject,
  encodeObject,
  memorySource,
  type Pages,
  partsOf,
  range,
  repackFirstBlock,
  segmentHeader,
  snapshotHeader,
  somePages,
} from "./objects.ts";

const objects: [name: string, header: ObjectHeader, pages: Pages][] = [
  ["snapshot", snapshotHeader(1024, 150), somePages(1024, range(1, 150))],
  ["segment", segmentHeader(1024, 400), somePages(1024, range(3, 301, 2))],
  ["large snapshot", snapshotHeader(4096, 300), somePages(4096, range(1, 300))],
];

async function expectCorrupt(bytes: Uint8Array, part: ObjectPart, key = "the key"): Promise<void> {
  const error = await decodeObject(bytes, key).catch((caught: unknown) => caught);
  expect(error).toBeInstanceOf(CorruptObjectError);
  expect(error).toMatchObject({ key, part });
}

describe.each(objects)("%s", (_, header, pages) => {
  const { bytes } = encodeObject(header, pages);
  const parts = partsOf(bytes);
  const changed = (at: number, ...values: number[]) => {
    const copy = bytes.slice();
    copy.set(values.length > 0 ? values : [copy[at]! ^ 0x40], at);
    return copy;
  };
  const headerText = new TextDecoder().decode(bytes.subarray(parts.header, parts.blocks));
  const inHeader = (text: string, replacement: string) =>
    withHeaderText(bytes, headerText.replace(text, replacement));
  const without = (first: number, last: number) =>
    Buffer.concat([bytes.subarray(0, first), bytes.subarray(last)]);

  test.each<[string, ObjectPart, () => Uint8Array]>([
    ["nothing", "size", () => new Uint8Array(0)],
    ["a few bytes", "size", () => bytes.slice(0, 20)],
    ["an object cut within its header", "header", () => bytes.slice(0, 300)],
    ["an object cut within its blocks", "trailer", () => bytes.slice(0, parts.index - 100)],
    ["an object cut within its index", "trailer", () => bytes.slice(0, parts.trailer - 10)],
    ["an object without its trailer", "trailer", () => bytes.slice(0, parts.trailer)],
    ["an object without its last byte", "trailer", () => bytes.slice(0, -1)],
    ["an object without its first byte", "header", () => bytes.slice(1)],
    ["a byte too many", "trailer", () => Buffer.concat([bytes, Buffer.alloc(1)])],
    ["a byte too many in front", "header", () => Buffer.concat([Buffer.alloc(1), bytes])],
    ["a byte lost in the blocks", "trailer", () => without(parts.blocks + 50, parts.blocks + 51)],
    [
      "a byte gained in the blocks",
      "trailer",
      () => Buffer.concat([bytes.subarray(0, 900), bytes.subarray(899)]),
    ],
    ["a second trailer", "trailer", () => Buffer.concat([bytes, bytes.subarray(parts.trailer)])],

    ["the magic of the header", "header", () => changed(0)],
    ["the length of the header: 4 GiB", "header", () => changed(4, 255, 255, 255, 255)],
    ["the length of the header: past the limit", "header", () => changed(4, 0, 0, 2, 0)],
    ["the length of the header: one more", "header", () => changed(4, bytes[4]! + 1)],
    ["the length of the header: one less", "header", () => changed(4, bytes[4]! - 1)],
    ["the header as another encoding", "header", () => changed(parts.header + 20, 0xff)],
    ["a page size of the header", "header", () => inHeader('"pageSize":', '"pageSizf":')],
    ["the lineage of the header", "id", () => inHeader("0123456789abcdef", "1123456789abcdef")],
    ["the time of the header", "id", () => inHeader('"created":17', '"created":16')],
    ["the position of the header", "id", () => inHeader('"txid":7', '"txid":6')],
    ["an unknown field of the header", "id", () => inHeader('"created"', '"later":1,"created"')],

    ["the magic of the first block", "block", () => changed(parts.blocks)],
    [
      "the content size of the first block: 4 GiB",
      "block",
      () => changed(parts.blocks + 5, 255, 255, 255, 255),
    ],

    ["the magic of the index", "index", () => changed(parts.index)],
    ["the length of the index", "index", () => changed(parts.index + 4)],
    ["the entry count", "index", () => changed(parts.index + 8)],
    ["the entry count: 2^32-1", "index", () => changed(parts.index + 8, 255, 255, 255, 255)],
    ["the block count", "index", () => changed(parts.index + 12)],
    ["a page number", "id", () => changed(parts.pgnos + 4)],
    ["the first hash", "id", () => changed(parts.hashes)],
    ["the last hash", "id", () => changed(parts.blockTable - 1)],
    ["a compressed length", "index", () => changed(parts.blockTable)],
    ["a compressed length: 0", "index", () => changed(parts.blockTable, 0, 0, 0, 0)],
    ["a raw length", "index", () => changed(parts.blockTable + 4)],

    ["the magic of the trailer", "trailer", () => changed(parts.trailer)],
    ["the length of the trailer", "trailer", () => changed(parts.trailer + 4)],
    ["the offset of the index", "trailer", () => changed(parts.trailer + 8)],
    ["the offset of the index: 2^63", "trailer", () => changed(parts.trailer + 15, 0x80)],
    ["the length of the index frame", "trailer", () => changed(parts.trailer + 16)],
    ["the length of the index frame: 2^56", "trailer", () => changed(parts.trailer + 23, 1)],
    ["the id", "id", () => changed(parts.trailer + 24)],
    ["the end of the id", "id", () => changed(parts.trailer + 39)],
    ["the mark", "trailer", () => changed(parts.trailer + 40)],
    ["the end of the mark", "trailer", () => changed(parts.trailer + 47)],
  ])("%s -> %s", (_, part, damaged) => expectCorrupt(damaged(), part));

  test("two compressed lengths that still add up", async () => {
    const copy = bytes.slice();
    const view = new DataView(copy.buffer);
    view.setUint32(parts.blockTable, view.getUint32(parts.blockTable, true) - 1, true);
    view.setUint32(parts.blockTable + 8, view.getUint32(parts.blockTable + 8, true) + 1, true);
    await expectCorrupt(copy, "block");
  });

  test("the end of the last block, where zstd may not notice but the hash does", async () => {
    const error = await decodeObject(changed(parts.index - 1)).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(CorruptObjectError);
    expect(["block", "page"]).toContain((error as CorruptObjectError).part);
  });

  test("two blocks in each other's place", async () => {
    const object = await openObject(memorySource(bytes), codecs);
    const [first, second] = [
      await object.read(object.blockRange(0)),
      await object.read(object.blockRange(1)),
    ];
    expect(() => object.decodeBlock(0, second)).toThrow(CorruptObjectError);
    expect(() => object.decodeBlock(1, first)).toThrow(CorruptObjectError);
    expect(() => object.decodeBlock(0, first.subarray(1))).toThrow(CorruptObjectError);
    const skippable = Buffer.from("502a4d1800000000", "hex");
    expect(() => object.decodeBlock(0, Buffer.concat([first, skippable]))).toThrow(CorruptObjectError);
  });

  test("an object of another format or feature is not called damaged", async () => {
    for (const [known, unknown] of [
      ['"format":1', '"format":2'],
      ['"format":1', '"format":10'],
      ['"features":[]', '"features":["encryption"]'],
    ] as const)
      await expect(decodeObject(asNewer(bytes, known, unknown))).rejects.toThrow(UnsupportedFormatError);
    const damaged = inHeader('"features":[]', '"features":["encryption"]');
    await expect(decodeObject(damaged)).rejects.toThrow(UnsupportedFormatError);
  });

  test("one whose id is that of this format is: the number was damaged", async () => {
    for (const digit of "023456789")
      await expectCorrupt(inHeader('"format":1', `"format":${digit}`), "header");
  });

  test("where more is damaged, nobody can tell", async () => {
    const damaged = inHeader('"format":1', '"format":3');
    damaged[parts.hashes]! ^= 1;
    await expect(decodeObject(damaged)).rejects.toThrow(UnsupportedFormatError);
  });

  test("an object under another's key", () =>
    expectCorrupt(bytes, "header", header.kind === "snapshot" ? snapshotKey(8) : segmentKey(0, 9, 9)));

  test("a source that answers with fewer bytes", async () => {
    const source = { ...memorySource(bytes), read: async () => bytes.subarray(0, 100) };
    await expect(openObject(source, codecs)).rejects.toMatchObject({
      code: "SLUICE_CORRUPT_OBJECT",
      part: "size",
    });
  });
});

/** The object with another header, its lengths made right, but not its id. */
function withHeaderText(bytes: Uint8Array, text: string): Uint8Array {
  const { blocks, index } = partsOf(bytes);
  const json = new TextEncoder().encode(text);
  const head = Buffer.alloc(8);
  head.writeUInt32LE(0x184d2a5a, 0);
  head.writeUInt32LE(json.length, 4);
  const copy = Buffer.concat([head, json, bytes.subarray(blocks)]);
  copy.writeBigUInt64LE(BigInt(index + 8 + json.length - blocks), copy.length - 40);
  return new Uint8Array(copy);
}

/** The object with the id that its bytes give, by FORMAT.md and node:crypto. */
function withRightId(bytes: Uint8Array): Uint8Array {
  const { header, blocks, index, blockTable, trailer } = partsOf(bytes);
  const hash = createHash("sha256")
    .update(bytes.subarray(header, blocks))
    .update(bytes.subarray(index + 8, blockTable));
  const copy = bytes.slice();
  copy.set(hash.digest().subarray(0, 16), trailer + 24);
  return copy;
}

describe("an object whose id is right all the same", () => {
  const pages = somePages(65536, [16384, 16386, 16388]);
  const { bytes } = encodeObject(segmentHeader(65536, 16400), pages);
  const withPgno = (entry: number, pgno: number) => {
    const copy = bytes.slice();
    new DataView(copy.buffer).setUint32(partsOf(copy).pgnos + 4 * entry, pgno, true);
    return withRightId(copy);
  };
  const text = new TextDecoder().decode(bytes.subarray(8, partsOf(bytes).blocks));

  test("is the one that the encoder made", () => expect(withRightId(bytes)).toEqual(bytes));
  test("has page numbers that do not ascend", () => expectCorrupt(withPgno(1, 16384), "index"));
  test("has page 0", () => expectCorrupt(withPgno(0, 0), "index"));
  test("has a page above pageCount", () => expectCorrupt(withPgno(2, 16401), "index"));
  test("has the lock-byte page", () => expectCorrupt(withPgno(1, 16385), "index"));
  test("has another page", () => expectCorrupt(withPgno(1, 16387), "block"));
  test("is a snapshot without all of its pages", () => {
    const snapshot = encodeObject(snapshotHeader(512, 3), somePages(512, [1, 2, 3])).bytes;
    const json = new TextDecoder().decode(snapshot.subarray(8, partsOf(snapshot).blocks));
    return expectCorrupt(
      withRightId(withHeaderText(snapshot, json.replace('"pageCount":3', '"pageCount":4'))),
      "index",
    );
  });
  test("has another page size", () =>
    expectCorrupt(withRightId(withHeaderText(bytes, text.replace("65536", "32768"))), "index"));
  test("leads elsewhere than its WAL header", () =>
    expectCorrupt(withRightId(withHeaderText(bytes, text.replace('"txid":9', '"txid":10'))), "block"));
  test("has a block less in its table", () => {
    const snapshot = encodeObject(snapshotHeader(512, 65), somePages(512, range(1, 65))).bytes;
    const { index, blockTable, trailer } = partsOf(snapshot);
    const copy = Buffer.concat([snapshot.subarray(0, blockTable + 8), snapshot.subarray(trailer)]);
    copy.writeUInt32LE(copy.readUInt32LE(index + 4) - 8, index + 4);
    copy.writeUInt32LE(1, index + 12);
    copy.writeUInt32LE(index - partsOf(snapshot).blocks, blockTable);
    copy.writeUInt32LE(copy.readUInt32LE(copy.length - 32) - 8, copy.length - 32);
    return expectCorrupt(withRightId(new Uint8Array(copy)), "index");
  });
  test("has an empty block in its table", () => {
    const snapshot = encodeObject(snapshotHeader(512, 65), somePages(512, range(1, 65))).bytes;
    const view = new DataView(snapshot.buffer);
    const { blockTable } = partsOf(snapshot);
    const sum = view.getUint32(blockTable, true) + view.getUint32(blockTable + 8, true);
    view.setUint32(blockTable, sum, true);
    view.setUint32(blockTable + 8, 0, true);
    return expectCorrupt(snapshot, "index");
  });
  test("has a block in more bytes than zstd could need, which are refused before they are fetched", async () => {
    const snapshot = encodeObject(snapshotHeader(512, 5), somePages(512, range(1, 5))).bytes;
    const { blocks, index, blockTable } = partsOf(snapshot);
    const stored = (length: number) => {
      const padding = Buffer.alloc(length - (index - blocks));
      const copy = Buffer.concat([snapshot.subarray(0, index), padding, snapshot.subarray(index)]);
      copy.writeUInt32LE(length, blockTable + padding.length);
      copy.writeBigUInt64LE(BigInt(index + padding.length), copy.length - 40);
      return new Uint8Array(copy);
    };
    const most = 5 * 512 + 10 + 64;
    await expectCorrupt(stored(most), "block");
    await expectCorrupt(stored(most + 1), "index");
  });
  test("has a field more in its header, and is read", async () => {
    const later = withRightId(withHeaderText(bytes, text.replace('"created"', '"later":{"x":1},"created"')));
    expect((await decodeObject(later)).pages).toEqual(pages);
  });
});

async function withFirstBlock(
  header: ObjectHeader,
  pages: Pages,
  change: (raw: Uint8Array) => void,
): Promise<Uint8Array> {
  return repackFirstBlock(encodeObject(header, pages).bytes, change);
}

describe("a block that is sound zstd but not what the index says", () => {
  const snapshot = [snapshotHeader(512, 5), somePages(512, range(1, 5))] as const;
  const segment = [segmentHeader(512, 50), somePages(512, range(3, 11, 2))] as const;
  const flip = (at: number) => (raw: Uint8Array) => {
    raw[at]! ^= 1;
  };
  test("unchanged is accepted", async () => {
    const bytes = await withFirstBlock(...segment, () => {});
    expect((await decodeObject(bytes)).pages).toEqual(segment[1]);
  });
  test("a page of a snapshot", async () =>
    expectCorrupt(await withFirstBlock(...snapshot, flip(512)), "page"));
  test("the last byte of a snapshot", async () =>
    expectCorrupt(await withFirstBlock(...snapshot, flip(2559)), "page"));
  test("a page of a segment", async () =>
    expectCorrupt(await withFirstBlock(...segment, flip(32 + 24)), "page"));
  test("a frame's page number", async () =>
    expectCorrupt(await withFirstBlock(...segment, flip(32 + 3)), "block"));
  test("a commit mark", async () => expectCorrupt(await withFirstBlock(...segment, flip(32 + 7)), "block"));
  test("no commit mark", async () =>
    expectCorrupt(await withFirstBlock(...segment, flip(32 + 4 * 536 + 7)), "block"));
  test("the WAL's salts", async () => expectCorrupt(await withFirstBlock(...segment, flip(16)), "block"));
  test("two pages exchanged", async () =>
    expectCorrupt(
      await withFirstBlock(...snapshot, (raw) => {
        const first = raw.slice(0, 512);
        raw.copyWithin(0, 512, 1024);
        raw.set(first, 512);
      }),
      "page",
    ));
});

test("a block that states 4 GiB is never given to zstd", async () => {
  const { bytes } = encodeObject(snapshotHeader(4096, 64), somePages(4096, range(1, 64)));
  const { blocks } = partsOf(bytes);
  bytes.set([0xff, 0xff, 0xff, 0xff], blocks + 5);
  let calls = 0;
  const counting = {
    ...codecs,
    decompress() {
      calls++;
      return new Uint8Array(0);
    },
  };
  const object = await openObject(memorySource(bytes), counting);
  const stored = await object.read(object.blockRange(0));
  expect(() => object.decodeBlock(0, stored)).toThrow(CorruptObjectError);
  expect(calls).toBe(0);
});

test("an index of 4 GiB is never asked for", async () => {
  const { bytes } = encodeObject(snapshotHeader(4096, 64), somePages(4096, range(1, 64)));
  const size = 5 * 2 ** 30;
  const tail = bytes.slice(-48);
  const view = new DataView(tail.buffer);
  view.setBigUint64(8, 4096n, true);
  view.setBigUint64(16, BigInt(size - 48 - 4096), true);
  const source = {
    key: "k",
    size,
    read: async (offset: number, length: number) => {
      expect(length).toBeLessThanOrEqual(65536);
      const answer = new Uint8Array(length);
      if (offset === 0) answer.set(bytes.subarray(0, length));
      else answer.set(tail, length - 48);
      return answer;
    },
  };
  await expect(openObject(source, codecs)).rejects.toMatchObject({ part: "index" });
});

test("whatever happens to an object, it is refused or its pages are the right ones", async () => {
  const small = objects.slice(0, 2).map(([, header]) => {
    const pages = somePages(1024, header.kind === "snapshot" ? range(1, 70) : range(2, 141, 2));
    return {
      pages,
      bytes: encodeObject({ ...header, pageCount: header.kind === "snapshot" ? 70 : 200 }, pages).bytes,
    };
  });
  const place = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
  const near = fc.oneof(
    fc.nat(700).map((n) => (size: number) => n % size),
    fc.nat(1200).map((n) => (size: number) => size - 1 - (n % size)),
    place.map((x) => (size: number) => Math.floor(x * size)),
  );
  const mutation = fc.oneof(
    fc.tuple(near, fc.integer({ min: 1, max: 255 })).map(([at, bits]) => (bytes: Uint8Array) => {
      bytes[at(bytes.length)]! ^= bits;
      return bytes;
    }),
    near.map(
      (at) =>
        (bytes: Uint8Array): Uint8Array =>
          bytes.slice(0, at(bytes.length)),
    ),
    fc.tuple(near, fc.uint8Array({ maxLength: 64 })).map(([at, extra]) => (bytes: Uint8Array) => {
      const where = at(bytes.length);
      return new Uint8Array(Buffer.concat([bytes.subarray(0, where), extra, bytes.subarray(where)]));
    }),
    fc.tuple(near, near, fc.nat(64)).map(([from, to, length]) => (bytes: Uint8Array) => {
      const source = from(bytes.length);
      return bytes.copyWithin(to(bytes.length), source, source + length);
    }),
  );
  let refused = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.nat(1),
      fc.array(mutation, { minLength: 1, maxLength: 3 }),
      async (which, mutations) => {
        const { bytes, pages } = small[which]!;
        let mutated: Uint8Array = bytes.slice();
        for (const mutate of mutations) if (mutated.length > 0) mutated = mutate(mutated);
        try {
          const { object, pages: decoded } = await decodeObject(mutated);
          expect([...decoded.keys()]).toEqual([...pages.keys()]);
          for (const [pgno, page] of pages) expect(Buffer.compare(decoded.get(pgno)!, page)).toBe(0);
          expect(object.to.txid).toBe(which === 0 ? 7 : 9);
        } catch (error) {
          if (!(error instanceof CorruptObjectError || error instanceof UnsupportedFormatError)) throw error;
          refused++;
        }
      },
    ),
    { numRuns: 3000, ...seed },
  );
  expect(refused).toBeGreaterThan(2000);
});
