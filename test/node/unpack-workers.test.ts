import { randomBytes } from "node:crypto";
import { availableParallelism } from "node:os";
import { describe, expect, onTestFinished, test } from "vitest";
import { openWorkers } from "../../node/unpack-workers.ts";
import { CorruptObjectError } from "../../src/errors.ts";
import type { Unpacker } from "../../src/format/codecs.ts";
import { openObject } from "../../src/format/decode.ts";
import { codecs, encodeObject, memorySource, range, snapshotHeader, somePages } from "../format/objects.ts";

const LARGE = 1 << 30;

test("little is not worth a thread", () => {
  expect(openWorkers(1 << 20, codecs.decompress)).toBeNull();
});

/** Workers need a second processor; Node 22.15 and later unpack without them. */
const kinds = Object.entries({
  workers: (bytes: number) => openWorkers(bytes, codecs.decompress),
  platform: codecs.openUnpacker,
}).filter(([, open]) => open !== undefined && availableParallelism() > 1);

describe.each(kinds)("%s", (_, open) => {
  const workers = (): Unpacker => {
    const unpacker = open!(LARGE)!;
    onTestFinished(() => unpacker.end());
    return unpacker;
  };

  test("many frames at a time come out as they went in, whichever thread unpacks them", async () => {
    const unpacker = workers();
    const raws = Array.from({ length: 40 }, (_, i) => new Uint8Array(randomBytes(1000 + 7000 * i)));
    const unpacked = await Promise.all(
      raws.map((raw) => unpacker.unpack(codecs.compress(raw, 1), raw.length)),
    );
    for (const [i, raw] of unpacked.entries()) expect(Buffer.compare(raw, raws[i]!)).toBe(0);
  });

  test("a view is not taken away from what it is a view of", async () => {
    const unpacker = workers();
    const frame = codecs.compress(new Uint8Array(5000).fill(7), 1);
    const around = new Uint8Array(frame.length + 20);
    around.set(frame, 10);
    const raw = await unpacker.unpack(around.subarray(10, 10 + frame.length), 5000);
    expect([raw.length, raw[4999]]).toEqual([5000, 7]);
    expect(Buffer.compare(around.subarray(10, 10 + frame.length), frame)).toBe(0);
  });

  test("a frame that states another size is refused before any thread sees it; a damaged one rejects, and the next unpacks", async () => {
    const unpacker = workers();
    const frame = codecs.compress(new Uint8Array(randomBytes(5000)), 1);
    await expect(unpacker.unpack(frame, 4999)).rejects.toThrow(RangeError);
    const cut = frame.slice(0, frame.length - 100);
    await expect(unpacker.unpack(cut, 5000)).rejects.toThrow();
    expect((await unpacker.unpack(frame, 5000)).length).toBe(5000);
  });

  test("a block that other threads unpack is checked as one that this one unpacks", async () => {
    const unpacker = workers();
    const { bytes } = encodeObject(snapshotHeader(4096, 100), somePages(4096, range(1, 100)));
    const object = await openObject(memorySource(bytes), codecs);
    for (let b = 0; b < object.blockCount; b++) {
      const { offset, length } = object.blockRange(b);
      const compressed = bytes.slice(offset, offset + length);
      const block = await object.decodeBlockBeside(b, compressed, unpacker);
      expect(Buffer.compare(block.raw, object.decodeBlock(b, compressed).raw)).toBe(0);
      const other = codecs.compress(new Uint8Array(block.raw.length), 1);
      const grown = new Uint8Array(length);
      grown.set(other.subarray(0, length));
      await expect(object.decodeBlockBeside(b, grown, unpacker)).rejects.toBeInstanceOf(CorruptObjectError);
      await expect(object.decodeBlockBeside(b, other, unpacker)).rejects.toBeInstanceOf(CorruptObjectError);
    }
    // A page that is not the one which the index names.
    const swapped: Unpacker = {
      unpack: async (frame, rawLength) => codecs.decompress(frame, rawLength).fill(1, 0, 4096),
      end: async () => {},
    };
    const { offset, length } = object.blockRange(0);
    const block = object.decodeBlockBeside(0, bytes.slice(offset, offset + length), swapped);
    await expect(block).rejects.toMatchObject({ part: "page" });
  });
});

test.runIf(availableParallelism() > 1)(
  "what is under way at the end rejects, and so does what comes after",
  async () => {
    const unpacker = openWorkers(LARGE, codecs.decompress)!;
    const frame = codecs.compress(new Uint8Array(1 << 20), 1);
    const under = Array.from({ length: 8 }, () =>
      unpacker.unpack(frame, 1 << 20).then(() => "whole", String),
    );
    await unpacker.end();
    for (const answer of await Promise.all(under)) expect(answer).toMatch(/whole|ended/);
    await expect(unpacker.unpack(frame, 1 << 20)).rejects.toThrow("ended");
  },
);

test.runIf(availableParallelism() > 1)("a thread that ended is not taken for a damaged object", async () => {
  const unpacker = openWorkers(LARGE, codecs.decompress)!;
  await unpacker.end();
  const { bytes } = encodeObject(snapshotHeader(4096, 100), somePages(4096, range(1, 100)));
  const object = await openObject(memorySource(bytes), codecs);
  for (let b = 0; b < object.blockCount; b++) {
    const { offset, length } = object.blockRange(b);
    const compressed = bytes.slice(offset, offset + length);
    const block = await object.decodeBlockBeside(b, compressed, unpacker);
    expect(Buffer.compare(block.raw, object.decodeBlock(b, compressed).raw)).toBe(0);
  }
});
