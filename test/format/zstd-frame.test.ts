import { spawnSync } from "node:child_process";
import { expect, test } from "vitest";
import { largestStoredLength } from "../../src/format/layout.ts";
import { storedFrame, zstdContentSize } from "../../src/format/zstd-frame.ts";
import { codecs } from "./objects.ts";

const magic = [0x28, 0xb5, 0x2f, 0xfd];
const frame = (...bytes: number[]) => Uint8Array.from([...magic, ...bytes]);

test.each([0, 1, 255, 256, 257, 65791, 65792, 262144, 1 << 24])(
  "%i bytes, by our codec and by zstd itself",
  (size) => {
    const raw = new Uint8Array(size).map((_, i) => i * i);
    const ours = codecs.compress(raw, 3);
    expect(zstdContentSize(ours)).toBe(size);
    expect(Buffer.compare(codecs.decompress(ours, size), raw)).toBe(0);
    const { stdout } = spawnSync("zstd", ["-c", `--stream-size=${size}`], { input: raw, maxBuffer: 1 << 26 });
    if (size > 0) expect(zstdContentSize(stdout)).toBe(size);
  },
);

test.each([1, 131071, 131072, 131073, 262144, 263712])("%i bytes as they are", (size) => {
  const raw = new Uint8Array(size).map((_, i) => (i * i) >> 3);
  const stored = storedFrame(raw);
  expect(stored.length).toBeLessThanOrEqual(largestStoredLength(size));
  expect(zstdContentSize(stored)).toBe(size);
  expect(Buffer.compare(codecs.decompress(stored, size), raw)).toBe(0);
  const { stdout } = spawnSync("zstd", ["-dc"], { input: stored, maxBuffer: 1 << 26 });
  expect(Buffer.compare(stdout, raw)).toBe(0);
});

test("every form of a frame header (RFC 8878, 3.1.1.1)", () => {
  expect(zstdContentSize(frame(0x20, 7))).toBe(7);
  expect(zstdContentSize(frame(0x21, 0xdd, 7))).toBe(7);
  expect(zstdContentSize(frame(0x22, 0xdd, 0xdd, 7))).toBe(7);
  expect(zstdContentSize(frame(0x23, 0xdd, 0xdd, 0xdd, 0xdd, 7))).toBe(7);
  expect(zstdContentSize(frame(0x60, 1, 1))).toBe(513);
  expect(zstdContentSize(frame(0x40, 0xdd, 1, 1))).toBe(513);
  expect(zstdContentSize(frame(0xa4, 1, 0, 1, 0))).toBe(65537);
  expect(zstdContentSize(frame(0xe0, 0, 0, 0, 0, 1, 0, 0, 0))).toBe(2 ** 32);
  expect(zstdContentSize(frame(0xe0, ...Array(8).fill(0xff)))).toBeGreaterThan(2 ** 63);
});

test.each<[string, Uint8Array]>([
  ["empty", new Uint8Array(0)],
  ["a cut magic", frame().subarray(0, 3)],
  ["a cut header", frame(0xa0, 1, 0, 1)],
  ["no descriptor", frame()],
  ["another magic", Uint8Array.from([0x28, 0xb5, 0x2f, 0xfc, 0x20, 7])],
  ["a skippable frame", Uint8Array.from([0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0])],
  ["no stated size", frame(0x00, 0x58, 1, 0, 0)],
  ["the reserved bit", frame(0x28, 7)],
])("%s has no content size", (_, bytes) => expect(zstdContentSize(bytes)).toBeNull());

test("a frame that states another size is refused before it is unpacked", () => {
  const packed = codecs.compress(new Uint8Array(1000), 3);
  const before = process.memoryUsage();
  const huge = frame(0xe0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0);
  expect(() => codecs.decompress(huge, 1000)).toThrow(RangeError);
  expect(() => codecs.decompress(packed, 999)).toThrow(RangeError);
  expect(() => codecs.decompress(frame(0x00, 0x58, 1, 0, 0), 0)).toThrow(RangeError);
  expect(process.memoryUsage().arrayBuffers - before.arrayBuffers).toBeLessThan(1 << 20);
});

test("a frame that is cut off is an error", () => {
  const raw = new Uint8Array(300000).map((_, i) => (i * i) >> 3);
  const packed = codecs.compress(raw, 3);
  for (const length of [packed.length - 1, packed.length >> 1, 20]) {
    expect(() => codecs.decompress(packed.subarray(0, length), raw.length)).toThrow(Error);
  }
});
