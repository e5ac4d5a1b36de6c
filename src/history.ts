import type { Listing, SegmentInfo, SnapshotInfo } from "./replica.ts";

/** A position that a snapshot and segments lead to, as far as keys tell, and the last step of the best way there. */
export interface Reached {
  readonly txid: number;
  /** Ends here; a snapshot is the beginning of the way. */
  readonly object: SnapshotInfo | SegmentInfo;
  /** Of the object; null for a snapshot. */
  readonly level: number | null;
  readonly before: Reached | null;
  /** Transaction of the snapshot at which the way begins. */
  readonly root: number;
  readonly objects: number;
}

/** What a walk along the segments found. */
export interface Walk {
  /** Ascending. */
  readonly reached: readonly Reached[];
  /** Segments that lead from a reached position over the end of the walk. */
  readonly crossing: readonly SegmentInfo[];
}

/**
 * The graph that the keys of a listing make: transactions joined by segments. Pure.
 *
 * Keys of level 0 do not tell where a segment ends. Where it is not known from elsewhere (`maxTxid`), it is taken to reach
 * to the next place at which anything begins or ends: no object of a chain reaches over one. It may end before that, where
 * the one behind it is missing; only the object itself can tell.
 */
export class History {
  readonly #snapshots: ReadonlyMap<number, SnapshotInfo>;
  /** By the first transaction. */
  readonly #segments = new Map<number, SegmentInfo[]>();
  /** Where something begins or ends, ascending. */
  readonly #places: readonly number[];
  /** Segments above level 0, by where they begin, each only if it reaches farther than all before it. */
  readonly #covers: readonly SegmentInfo[];
  /** Segments above level 0, by where they end. */
  readonly #merged = new Map<number, SegmentInfo[]>();
  /** From a place inside of a merged segment, the step by which lower levels lead on to where the merged one ends. */
  readonly #onward = new Map<number, SegmentInfo>();

  constructor({ snapshots, segments }: Listing) {
    this.#snapshots = new Map(snapshots.map((info) => [info.txid, info]));
    const places = new Set<number>(this.#snapshots.keys());
    const covers: SegmentInfo[] = [];
    for (const info of segments) {
      const { minTxid, maxTxid } = info;
      places.add(minTxid - 1);
      if (maxTxid !== null) places.add(maxTxid);
      addTo(this.#segments, minTxid, info);
      if (info.level === 0) continue;
      addTo(this.#merged, maxTxid!, info);
      covers.push(info);
    }
    this.#places = [...places].sort((a, b) => a - b);
    covers.sort((a, b) => a.minTxid - b.minTxid || b.maxTxid! - a.maxTxid!);
    let farthest = 0;
    this.#covers = covers.filter(({ maxTxid }) => {
      if (maxTxid! <= farthest) return false;
      farthest = maxTxid!;
      return true;
    });
    this.#findOnward();
  }

  /** The transaction after which a segment ends, as far as keys tell; null at level 0 where nothing follows. */
  endOf({ minTxid, maxTxid }: SegmentInfo): number | null {
    return maxTxid ?? this.#places[firstAtOrAfter(this.#places, minTxid, (place) => place)] ?? null;
  }

  /** Whether any object says that there are transactions behind `txid`. */
  leadsBeyond(txid: number): boolean {
    if ((this.#places.at(-1) ?? -1) > txid) return true;
    return this.#segments.has(txid + 1);
  }

  /**
   * Every position up to `upTo` that can be reached from a snapshot up to `upTo`, each on the way from the newest snapshot
   * possible, by the fewest objects of the highest levels.
   */
  walk(upTo: number): Walk {
    const best = new Map<number, Reached>();
    const reached: Reached[] = [];
    const crossing: SegmentInfo[] = [];
    const visit = (here: Reached) => {
      reached.push(here);
      for (const object of this.#segments.get(here.txid + 1) ?? []) {
        const txid = this.endOf(object) ?? object.minTxid;
        if (txid > upTo) crossing.push(object);
        else {
          const { root, objects } = here;
          const there = { txid, object, level: object.level, before: here, root, objects: objects + 1 };
          if (isBetter(there, best.get(txid))) best.set(txid, there);
        }
      }
    };
    for (const txid of this.#places) {
      if (txid > upTo) break;
      const snapshot = this.#snapshots.get(txid);
      const here =
        snapshot === undefined
          ? best.get(txid)
          : { txid, object: snapshot, level: null, before: null, root: txid, objects: 1 };
      best.delete(txid);
      if (here !== undefined) visit(here);
    }
    // What is left ends at no place that another key names: the last segment of level 0.
    for (const here of [...best.values()].sort((a, b) => a.txid - b.txid)) visit(here);
    return { reached, crossing };
  }

  /**
   * Whether a position may be restored: a snapshot stands by itself; segments within a merged one only where they lead on
   * to its end, so that the two can be compared.
   */
  isRestorable({ txid, before }: Reached): boolean {
    return before === null || this.onwardFrom(txid) !== null;
  }

  /** The merged segment that holds transaction `txid` and reaches farthest, or null. */
  coverOf(txid: number): SegmentInfo | null {
    // Both ends ascend, so it is the last that begins at `txid` or before.
    const cover = this.#covers[firstAtOrAfter(this.#covers, txid + 1, ({ minTxid }) => minTxid) - 1];
    return cover !== undefined && cover.maxTxid! >= txid ? cover : null;
  }

  /** Whether `txid` lies within a merged segment, not at its end. */
  isCovered(txid: number): boolean {
    return (this.coverOf(txid)?.maxTxid ?? txid) > txid;
  }

  /** The merged segments that end with `txid`. */
  mergedTo(txid: number): readonly SegmentInfo[] {
    return this.#merged.get(txid) ?? [];
  }

  /**
   * The lower-level segments that lead on from `txid` to the end of the merged segment around it, so that the two can be
   * compared; none where it is at an end. Null where some are missing.
   */
  onwardFrom(txid: number): readonly SegmentInfo[] | null {
    const steps: SegmentInfo[] = [];
    for (let at = txid; this.isCovered(at); ) {
      const step = this.#onward.get(at);
      if (step === undefined) return null;
      steps.push(step);
      at = this.endOf(step)!;
    }
    return steps;
  }

  #findOnward(): void {
    for (let i = this.#places.length - 1; i >= 0; i--) {
      const place = this.#places[i]!;
      const cover = this.coverOf(place);
      if (cover === null || cover.maxTxid === place) continue;
      let farthest = 0;
      for (const step of this.#segments.get(place + 1) ?? []) {
        const end = this.endOf(step);
        if (end === null || end > cover.maxTxid! || end <= farthest) continue;
        if (this.isCovered(end) && !this.#onward.has(end)) continue;
        farthest = end;
        this.#onward.set(place, step);
      }
    }
  }
}

function addTo(map: Map<number, SegmentInfo[]>, txid: number, info: SegmentInfo): void {
  const beside = map.get(txid);
  if (beside === undefined) map.set(txid, [info]);
  else beside.push(info);
}

/** From a newer snapshot, by fewer objects, by a higher level, whose keys tell more. */
function isBetter(one: Reached, other: Reached | undefined): boolean {
  if (other === undefined) return true;
  if (one.root !== other.root) return one.root > other.root;
  if (one.objects !== other.objects) return one.objects < other.objects;
  return one.level! > other.level!;
}

/** Index of the first item whose number is `least` or more; numbers ascend. */
function firstAtOrAfter<T>(items: readonly T[], least: number, numberOf: (item: T) => number): number {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (numberOf(items[middle]!) < least) low = middle + 1;
    else high = middle;
  }
  return low;
}
