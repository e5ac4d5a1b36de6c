import { describe, expect, test } from "vitest";
import { segmentKey, snapshotKey } from "../../src/format/keys.ts";
import { type Plan, plan } from "../../src/plan.ts";
import type { Listing, SegmentInfo } from "../../src/replica.ts";
import { restorableSpans } from "../../src/restorable.ts";

const FAN_IN = 16;

function listing(snapshots: readonly number[], segments: readonly SegmentInfo[]): Listing {
  const stored = { size: 1000, lastModified: 0, age: 0 };
  return { snapshots: snapshots.map((txid) => ({ ...stored, key: snapshotKey(txid), txid })), segments };
}

/** Segments of a level over transactions `first` to `last`, as many as fit, each of `16 ** level` transactions. */
function level(level: number, first: number, last: number): SegmentInfo[] {
  const infos: SegmentInfo[] = [];
  const each = FAN_IN ** level;
  for (let minTxid = first; minTxid + each - 1 <= last; minTxid += each) {
    const maxTxid = level === 0 ? null : minTxid + each - 1;
    const key = segmentKey(level, minTxid, minTxid + each - 1);
    infos.push({ key, size: 1000, lastModified: 0, age: 0, level, minTxid, maxTxid });
  }
  return infos;
}

const steps = (chosen: Plan | null) =>
  chosen && {
    from: chosen.snapshot.txid,
    levels: chosen.segments.map((segment) => segment.level).join(""),
    to: chosen.txid,
  };

describe("10,000 segments of level 0, compacted", () => {
  const all = [0, 1, 2, 3].flatMap((each) => level(each, 1, 10_000));

  test("restore opens few objects, whichever state", () => {
    expect(steps(plan(listing([0], all), "x"))).toEqual({ from: 0, levels: "3322222221", to: 10_000 });
    let most = 0;
    for (let txid = 0; txid <= 10_000; txid += 333) {
      const chosen = plan(listing([0], all), "x", { txid })!;
      expect(chosen.txid).toBe(txid);
      most = Math.max(most, chosen.segments.length + 1);
    }
    expect(most).toBeLessThanOrEqual(50);
  });

  test("from a snapshot in the middle of groups, too", () => {
    const { levels, from } = steps(plan(listing([0, 1000], all), "x"))!;
    expect(from).toBe(1000);
    expect(levels.length).toBeLessThanOrEqual(69);
  });
});

describe("what can be restored", () => {
  const ends = (given: Listing) =>
    restorableSpans(given).map(({ from, to, states, level }) => [from.txid, to.txid, states, level]);

  test("fine at the end, coarser before", () => {
    const segments = [...level(2, 1, 1024), ...level(1, 257, 1024), ...level(0, 769, 1030)];
    expect(ends(listing([0], segments))).toEqual([
      [0, 256, 2, 2],
      [256, 768, 33, 1],
      [768, 1030, 263, 0],
    ]);
  });

  test("a snapshot within a merged segment is a state, and no gap", () => {
    expect(ends(listing([0, 20], level(1, 1, 48)))).toEqual([[0, 48, 5, 1]]);
  });

  test("behind a gap stands what can be reached by itself", () => {
    const segments = [...level(1, 1, 16), ...level(0, 101, 110)];
    expect(ends(listing([0, 50, 100], segments))).toEqual([
      [0, 16, 2, 1],
      [50, 50, 1, null],
      [100, 110, 11, 0],
    ]);
  });

  test("level 0 of which the first are gone is none, but behind a snapshot", () => {
    const segments = [...level(1, 1, 48), ...level(0, 20, 48)];
    expect(ends(listing([0], segments))).toEqual([
      [0, 32, 3, 1],
      [32, 48, 17, 0],
    ]);
    expect(ends(listing([0, 24], segments))).toEqual([
      [0, 24, 3, 1],
      [24, 48, 25, 0],
    ]);
  });

  test("nothing where nothing is, or no snapshot", () => {
    expect(ends(listing([], []))).toEqual([]);
    expect(ends(listing([], level(0, 1, 9)))).toEqual([]);
  });
});
