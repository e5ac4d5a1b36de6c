import { expect, test } from "vitest";
import { segmentKey, snapshotKey } from "../../src/format/keys.ts";
import { fitsKey, parseKey } from "../../src/format/parse-key.ts";
import { segmentHeader, snapshotHeader } from "./objects.ts";

test("keys and what they name", () => {
  expect(snapshotKey(0)).toBe("snapshots/0000000000000000.sqlite.zst");
  expect(segmentKey(0, 8, 9)).toBe("wal/0/0000000000000008.wal.zst");
  expect(segmentKey(3, 8, 0x1f)).toBe("wal/3/0000000000000008-000000000000001f.wal.zst");
  expect(parseKey(snapshotKey(2 ** 40))).toEqual({ kind: "snapshot", txid: 2 ** 40 });
  expect(parseKey(segmentKey(0, 8, 9))).toEqual({ kind: "segment", level: 0, minTxid: 8, maxTxid: null });
  expect(parseKey(segmentKey(2, 8, 9))).toEqual({ kind: "segment", level: 2, minTxid: 8, maxTxid: 9 });
  expect(parseKey("lineage.json")).toEqual({ kind: "lineage" });
  expect(parseKey("metadata.json")).toEqual({ kind: "metadata" });
});

test("keys sort as their transactions do", () => {
  const txids = [1, 9, 10, 255, 256, 2 ** 32, 2 ** 53 - 1];
  expect(txids.map(snapshotKey).sort()).toEqual(txids.map(snapshotKey));
});

test.each([
  "",
  "snapshots/",
  "snapshots/0.sqlite.zst",
  "snapshots/000000000000000A.sqlite.zst",
  "snapshots/0000000000000007.sqlite.zst ",
  "snapshots/0000000000000007.sqlite.zst.part",
  "/snapshots/0000000000000007.sqlite.zst",
  "x/snapshots/0000000000000007.sqlite.zst",
  "snapshots/0020000000000000.sqlite.zst",
  "snapshots/ffffffffffffffff.sqlite.zst",
  "wal/0/0000000000000000.wal.zst",
  "wal/0/0000000000000001-0000000000000002.wal.zst",
  "wal/1/0000000000000001.wal.zst",
  "wal/1/0000000000000002-0000000000000001.wal.zst",
  "wal/4/0000000000000001-0000000000000002.wal.zst",
  "wal/01/0000000000000001-0000000000000002.wal.zst",
  "wal/1/0000000000000001-0020000000000000.wal.zst",
  "lineage.json\n",
  "Metadata.json",
])("%j is not ours", (key) => expect(parseKey(key)).toBeNull());

test.each([
  () => segmentKey(4, 1, 1),
  () => segmentKey(0, 0, 1),
  () => segmentKey(1, 2, 1),
  () => snapshotKey(-1),
  () => snapshotKey(2 ** 53),
])("%s is refused", (act) => expect(act).toThrow("BUG"));

test("a header fits the keys of its own positions only", () => {
  const merged = { ...segmentHeader(512, 1), to: { txid: 9, id: "ab".repeat(16) } };
  const fits = (header: Parameters<typeof fitsKey>[0], key: string) => fitsKey(header, parseKey(key)!);
  expect(fits(snapshotHeader(512, 1), snapshotKey(7))).toBe(true);
  expect(fits(snapshotHeader(512, 1), snapshotKey(8))).toBe(false);
  expect(fits(snapshotHeader(512, 1), segmentKey(0, 7, 7))).toBe(false);
  expect(fits(segmentHeader(512, 1), segmentKey(0, 8, 9))).toBe(true);
  expect(fits(segmentHeader(512, 1), segmentKey(0, 9, 9))).toBe(false);
  expect(fits(segmentHeader(512, 1), segmentKey(1, 8, 9))).toBe(false);
  expect(fits(segmentHeader(512, 1), snapshotKey(9))).toBe(false);
  expect(fits(merged, segmentKey(1, 8, 9))).toBe(true);
  expect(fits(merged, segmentKey(1, 8, 10))).toBe(false);
  expect(fits(merged, segmentKey(0, 8, 9))).toBe(false);
  expect(fits(merged, "lineage.json")).toBe(false);
});
