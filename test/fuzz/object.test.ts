import fc from "fast-check";
import { expect } from "vitest";
import { openObject } from "../../src/format/decode.ts";
import { zstdContentSize } from "../../src/format/zstd-frame.ts";
import {
  codecs,
  encodeObject,
  memorySource,
  range,
  segmentHeader,
  snapshotHeader,
  somePages,
} from "../format/objects.ts";
import { forge, forgery } from "./forge.ts";
import { fuzz, typed } from "./fuzz.ts";
import { byteEdits, editBytes } from "./mutate.ts";

/** 64 pages of 4096 bytes, or fewer larger ones, with their frame headers and the WAL's. */
const LARGEST_BLOCK = 262144 + 64 * 24 + 32;

const originals = [
  encodeObject(snapshotHeader(512, 150), somePages(512, range(1, 150))),
  encodeObject(segmentHeader(512, 400), somePages(512, range(3, 301, 2))),
  encodeObject(segmentHeader(65536, 9), somePages(65536, [1, 5])),
  // Read in parts, not whole.
  encodeObject(snapshotHeader(4096, 300), somePages(4096, range(1, 300))),
].map(({ bytes }) => bytes);
const original = fc.constantFrom(...originals);

/** What unpacks an object while it is watched how much memory that takes. */
const watched: typeof codecs = {
  ...codecs,
  decompress(frame, rawLength) {
    expect(rawLength).toBeLessThanOrEqual(LARGEST_BLOCK);
    expect(zstdContentSize(frame)).toBe(rawLength);
    return codecs.decompress(frame, rawLength);
  },
};

/** Opens an object and unpacks every block. What comes of it without an error holds together. */
async function readAll(bytes: Uint8Array): Promise<void> {
  await typed(async () => {
    const source = memorySource(bytes, "object");
    const read = source.read;
    source.read = (offset, length) => {
      expect(offset).toBeGreaterThanOrEqual(0);
      expect(offset + length).toBeLessThanOrEqual(bytes.length);
      return read(offset, length);
    };
    const object = await openObject(source, watched);
    for (let b = 0; b < object.blockCount; b++) {
      const stored = object.blockRange(b);
      expect(stored.length, "bytes that a block may be stored in").toBeLessThanOrEqual(2 * LARGEST_BLOCK);
      const block = object.decodeBlock(b, await object.read(stored));
      for (let j = 0; j < block.count; j++) {
        const pgno = object.pgnos[block.firstEntry + j]!;
        expect(pgno).toBeGreaterThanOrEqual(1);
        expect(pgno).toBeLessThanOrEqual(object.pageCount);
        expect(block.page(j).length).toBe(object.pageSize);
      }
    }
  });
}

fuzz("an object with bytes changed", 1000, fc.tuple(original, byteEdits), ([bytes, edits]) =>
  readAll(editBytes(bytes, edits)),
);

fuzz("bytes that never were an object", 500, fc.uint8Array({ maxLength: 2000 }), (bytes) => readAll(bytes));

fuzz("an object forged by who knows the format", 700, fc.tuple(original, forgery), ([bytes, changes]) =>
  readAll(forge(bytes, changes)),
);
