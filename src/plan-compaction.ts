import { maxLevel } from "./format/keys.ts";
import type { Listing, SegmentInfo } from "./replica.ts";

/** Neighbours of one level that make one object of the next. */
export const GROUP_SIZE = 16;

/** The segments of each level, ascending: `levels[0]` as they were uploaded. */
export type Levels = readonly SegmentInfo[][];

export function levelsOf(listing: Listing): SegmentInfo[][] {
  const levels: SegmentInfo[][] = Array.from({ length: maxLevel + 1 }, () => []);
  for (const segment of listing.segments) levels[segment.level]!.push(segment);
  return levels;
}

/** What no listing tells, found out by opening objects. The same whoever opens them. */
export interface Facts {
  /** Keys of segments that cannot be merged: too large, damaged, of another history. */
  readonly unmergeable: Set<string>;
  /** First transactions of segments that do not continue the one before. */
  readonly breaks: Set<number>;
}

/** The transaction up to which `level`, or one above it, has been made. */
export function endOf(levels: Levels, level: number): number {
  let end = 0;
  for (const segments of levels.slice(level))
    for (const { maxTxid } of segments) end = Math.max(end, maxTxid ?? 0);
  return end;
}

/**
 * The groups that can become objects of `level`, oldest first: 16 neighbours of the level below each. The first begins
 * where the last object of `level` or above ends, so whatever of the level below was deleted because it is covered, the
 * groups are the same, and two compactors make the same objects. Fewer than 16 make a group only before something that
 * can never be part of one; fewer than two never do. Pure.
 */
export function nextGroups(levels: Levels, level: number, facts: Facts): SegmentInfo[][] {
  const end = endOf(levels, level);
  const groups: SegmentInfo[][] = [];
  let group: SegmentInfo[] = [];
  const close = () => {
    if (group.length > 1) groups.push(group);
    group = [];
  };
  for (const segment of levels[level - 1]!) {
    if (segment.minTxid <= end) continue;
    const before = group.at(-1);
    // Keys of level 0 do not tell where a segment ends: opening them does.
    const adjoins = !before || before.maxTxid === null || before.maxTxid + 1 === segment.minTxid;
    if (!adjoins || facts.breaks.has(segment.minTxid)) close();
    if (facts.unmergeable.has(segment.key)) {
      close();
      continue;
    }
    group.push(segment);
    if (group.length === GROUP_SIZE) close();
  }
  return groups;
}

export interface Remake {
  readonly group: SegmentInfo[];
  /** Where it ends, as far as keys tell. */
  readonly maxTxid: number;
}

/**
 * The groups of level 0 that have no object of level 1 any more, and need it again because they are about to go: it went
 * when an object of a higher level covered it (see `planRetention`). Each is exactly what it was made of, since that
 * object begins where the higher one does, or where its predecessor ends. Pure.
 */
export function groupsToRemake(
  levels: Levels,
  facts: Facts,
  isExpired: (segment: SegmentInfo) => boolean,
): Remake[] {
  const groups: Remake[] = [];
  const made = new Map(levels[1]!.map((segment) => [segment.minTxid, segment.maxTxid!]));
  const [fine] = levels as [SegmentInfo[]];
  for (const { minTxid, maxTxid } of largest(levels)) {
    let next = minTxid;
    let i = firstFrom(fine, next);
    while (next <= maxTxid!) {
      const end = made.get(next);
      if (end !== undefined) {
        next = end + 1;
        while (i < fine.length && fine[i]!.minTxid < next) i += 1;
        continue;
      }
      const group = fine.slice(i, i + GROUP_SIZE);
      // Where some of a group have gone, the next 16 reach over its end.
      const bound = Math.min(levels[1]![firstFrom(levels[1]!, next)]?.minTxid ?? maxTxid! + 1, maxTxid! + 1);
      const whole =
        group[0]?.minTxid === next && group.length === GROUP_SIZE && group.at(-1)!.minTxid < bound;
      if (!whole || group.some(({ key, minTxid }) => facts.unmergeable.has(key) || facts.breaks.has(minTxid)))
        break;
      i += GROUP_SIZE;
      next = Math.min(fine[i]?.minTxid ?? bound, bound);
      if (group.every(isExpired)) groups.push({ group, maxTxid: next - 1 });
    }
  }
  return groups;
}

/** The objects of levels 2 and 3 that no other covers. */
export function largest(levels: Levels): SegmentInfo[] {
  const found: SegmentInfo[] = [];
  for (let level = maxLevel; level > 1; level--)
    for (const segment of levels[level]!)
      if (!found.some((other) => covers(other, segment))) found.push(segment);
  return found;
}

export function covers(outer: SegmentInfo, inner: SegmentInfo): boolean {
  return outer.minTxid <= inner.minTxid && inner.maxTxid !== null && inner.maxTxid <= outer.maxTxid!;
}

/** The place of the first of ascending segments that begins with `txid` or later. */
export function firstFrom(segments: readonly SegmentInfo[], txid: number): number {
  let low = 0;
  let high = segments.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (segments[middle]!.minTxid < txid) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The part of the levels that decides what comes next: `nextGroups` says the same of it. */
export function frontier(levels: Levels): SegmentInfo[][] {
  return levels.map((segments, level) => {
    const from = level === maxLevel ? Number.POSITIVE_INFINITY : endOf(levels, level + 1) + 1;
    return segments.slice(
      Math.min(firstFrom(segments, from), Math.max(0, segments.length - (level === 0 ? 0 : 1))),
    );
  });
}
