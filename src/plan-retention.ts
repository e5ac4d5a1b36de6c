import { LEVEL0_STAYS_MS } from "./level0-stays.ts";
import { covers, firstFrom, GROUP_SIZE, type Levels, largest, levelsOf } from "./plan-compaction.ts";
import type { Listing, SegmentInfo, SnapshotInfo } from "./replica.ts";

const DAY_MS = 24 * 3600 * 1000;

/**
 * An object of level 1 goes before its segments are this old, or stays; those go when they are LEVEL0_STAYS_MS old at the
 * least. The time between is more than a run takes, so two pruners never take both, whatever their rules are.
 */
const TEMPORARY_MS = LEVEL0_STAYS_MS / 2;
/** How long after its listing a plan may be carried out, milliseconds. */
export const PLAN_VALID_MS = LEVEL0_STAYS_MS / 6;

export interface RetentionRules {
  /** History that stays restorable, milliseconds. */
  readonly retentionMs: number;
  /** History of which every segment stays, milliseconds; older than that it has the grain of level 1. */
  readonly fineRetentionMs: number;
  /** Only where of several creators of a key one wins: a key of level 0 that was deleted is free again. */
  readonly deletesLevel0: boolean;
  /** Transactions of snapshots that are being taken. */
  readonly pinned: readonly number[];
}

/** An object that may go, and the one that stands for it, which is to be looked at before. */
export interface Deletion {
  readonly object: SegmentInfo | SnapshotInfo;
  readonly coveredBy: SegmentInfo | SnapshotInfo;
  /**
   * The last segment of level 0 that the listing has within the cover. A younger one that the listing lacks, of a store that
   * lists late, keeps them all; then this one does not end where the cover does.
   */
  readonly lastWithin?: SegmentInfo;
}

/**
 * What of a replica need not stay. Pure. These stay, always:
 * 1. The newest snapshot, the first of each day, and of those before the horizon the newest from which segments lead to
 *    the end: the base. What lies before the base goes. One that ended within a group whose level 0 had gone meanwhile
 *    leads nowhere, and what lies behind it needs an older one.
 * 2. From each of them, and from each pinned position, the shortest way to the end.
 * 3. Behind the base, of every group of level 0: all its segments while one of them is younger than `fineRetentionMs`;
 *    from then on its object of level 1, until what covers that one is older than the horizon.
 * 4. Of overlapping objects of levels 1 to 3 the largest.
 * So every transaction within `fineRetentionMs`, and every end of an object of level 1 within `retentionMs`, can be
 * restored, also while a plan is carried out, in any order, by several at a time. While level 0 is there, smaller merged
 * objects say nothing that it does not: they stay only until a larger one covers them.
 *
 * Where the keys show a gap nothing goes.
 */
export function planRetention(listing: Listing, rules: RetentionRules): Deletion[] {
  const newest = listing.snapshots.at(-1);
  if (newest === undefined) return [];
  const ways = new Ways(listing);
  if (!ways.reachEnd(newest.txid)) return [];
  const { base, kept, thinned } = sortSnapshots(listing, newest, ways, rules);
  const needed = new Set<SegmentInfo>();
  for (const txid of [...kept.map((snapshot) => snapshot.txid), ...rules.pinned])
    for (const segment of ways.from(txid)) needed.add(segment);
  const beforeBase = base === null ? [] : obsolete(listing, base, ways, rules);
  const gone = new Set(beforeBase.map(({ object }) => object));
  const superseded = planSegments(levelsOf(listing), rules).filter(
    ({ object }) => !needed.has(object as SegmentInfo) && !gone.has(object),
  );
  return [...superseded, ...thinned, ...beforeBase];
}

/** Ways through a replica, as far as keys tell. */
class Ways {
  readonly #longest = new Map<number, SegmentInfo>();
  readonly #starts: number[];

  constructor({ segments }: Listing) {
    for (const segment of segments) {
      const other = this.#longest.get(segment.minTxid);
      if (other === undefined || (segment.maxTxid ?? 0) > (other.maxTxid ?? 0))
        this.#longest.set(segment.minTxid, segment);
    }
    this.#starts = [...this.#longest.keys()].sort((a, b) => a - b);
  }

  /** Where a segment ends. At level 0 its key does not tell: at the latest before the next one. */
  endOf({ minTxid, maxTxid }: SegmentInfo): number {
    if (maxTxid !== null) return maxTxid;
    const next = this.#starts[this.#placeOf(minTxid + 1)];
    return next === undefined ? Number.POSITIVE_INFINITY : next - 1;
  }

  #placeOf(txid: number): number {
    let low = 0;
    let high = this.#starts.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#starts[middle]! < txid) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The segments that lead on from a transaction, the longest at each place. */
  *from(txid: number): Generator<SegmentInfo> {
    for (let next = this.#longest.get(txid + 1); next !== undefined; ) {
      yield next;
      next = this.#longest.get(this.endOf(next) + 1);
    }
  }

  /** Whether they lead to the end. */
  reachEnd(txid: number): boolean {
    let end = txid;
    for (const segment of this.from(txid)) end = this.endOf(segment);
    return (this.#starts.at(-1) ?? 0) <= end;
  }
}

interface SortedSnapshots {
  readonly base: SnapshotInfo | null;
  readonly kept: readonly SnapshotInfo[];
  readonly thinned: readonly Deletion[];
}

function sortSnapshots(
  { snapshots }: Listing,
  newest: SnapshotInfo,
  ways: Ways,
  { retentionMs }: RetentionRules,
): SortedSnapshots {
  const firsts = firstOfEachDay(snapshots);
  const base = firsts.findLast(({ age, txid }) => age >= retentionMs && ways.reachEnd(txid)) ?? null;
  const kept: SnapshotInfo[] = [];
  const thinned: Deletion[] = [];
  let before: SnapshotInfo | null = null;
  for (const snapshot of snapshots) {
    if (base !== null && snapshot.txid < base.txid) continue;
    if (snapshot !== newest && !firsts.includes(snapshot) && before !== null && ways.reachEnd(before.txid)) {
      thinned.push({ object: snapshot, coveredBy: before });
      continue;
    }
    kept.push(snapshot);
    before = snapshot;
  }
  return { base, kept, thinned };
}

/**
 * One that was published late, by a writer that had slept, counts as of the day of those behind it: what was the first of
 * its day, and may have been a base, stays that.
 */
function firstOfEachDay(snapshots: readonly SnapshotInfo[]): SnapshotInfo[] {
  let earliest = Number.POSITIVE_INFINITY;
  const days = snapshots.toReversed().map(({ lastModified }) => {
    earliest = Math.min(earliest, lastModified);
    return Math.floor(earliest / DAY_MS);
  });
  days.reverse();
  return snapshots.filter((_, i) => i === 0 || days[i] !== days[i - 1]);
}

/**
 * What leads to the base, or stands before it, by where it ends: whatever has gone when somebody looks, or when a run ends
 * early, the rest is a history without a gap.
 */
function obsolete(listing: Listing, base: SnapshotInfo, ways: Ways, rules: RetentionRules): Deletion[] {
  const { fineRetentionMs, deletesLevel0 } = rules;
  const ends = new Map<SegmentInfo | SnapshotInfo, number>();
  for (const segment of listing.segments)
    if (segment.level > 0 || (deletesLevel0 && segment.age >= fineRetentionMs))
      ends.set(segment, ways.endOf(segment));
  for (const snapshot of listing.snapshots) if (snapshot.txid < base.txid) ends.set(snapshot, snapshot.txid);
  return [...ends]
    .filter(([, end]) => end <= base.txid)
    .sort(([, a], [, b]) => a - b)
    .map(([object]) => ({ object, coveredBy: base }));
}

function planSegments(levels: Levels, rules: RetentionRules): Deletion[] {
  const { retentionMs, fineRetentionMs, deletesLevel0 } = rules;
  const large = largest(levels).sort((a, b) => a.minTxid - b.minTxid);
  const coverOf = (segment: SegmentInfo) =>
    large.find((other) => other !== segment && covers(other, segment));
  const within = ({ minTxid, maxTxid }: SegmentInfo) =>
    levels[0]!.slice(firstFrom(levels[0]!, minTxid), firstFrom(levels[0]!, maxTxid! + 1));
  const deletions: Deletion[] = [];
  const expire = (coveredBy: SegmentInfo) => {
    const group = within(coveredBy);
    if (deletesLevel0 && group.every(({ age }) => age >= fineRetentionMs))
      for (const object of group) deletions.push({ object, coveredBy, lastWithin: group.at(-1)! });
  };
  for (const one of levels[1]!) {
    expire(one);
    const coveredBy = coverOf(one);
    if (coveredBy === undefined) continue;
    const group = within(one);
    // Fewer than 16 may be all there were, or not: then it stays.
    const standsTwice = group.length === GROUP_SIZE && group[0]!.minTxid === one.minTxid;
    const young = group.every(({ age }) => age < TEMPORARY_MS);
    if ((standsTwice && young) || coveredBy.age >= retentionMs) deletions.push({ object: one, coveredBy });
  }
  for (const two of levels[2]!) {
    const coveredBy = coverOf(two);
    if (coveredBy !== undefined) deletions.push({ object: two, coveredBy });
  }
  return deletions;
}
