import { BrokenReplicaError } from "./errors.ts";
import type { Listing, SegmentInfo, SnapshotInfo } from "./replica.ts";

/** The objects that lead to the newest state of a replica, in the order of history. */
export interface Plan {
  readonly snapshot: SnapshotInfo;
  readonly segments: readonly SegmentInfo[];
}

/**
 * Chooses the newest snapshot and the segments after it, the longest where several begin at the same transaction. Pure:
 * a listing in, a plan out. Null where the listing holds nothing at all. Throws BrokenReplicaError naming the first
 * transaction that cannot be reached.
 *
 * Keys of level 0 tell their first transaction only, so whether neighbours really adjoin, and by the same ids, is for
 * whoever opens them to check (see `openChain`).
 */
export function plan(listing: Listing, replica: string): Plan | null {
  const snapshot = listing.snapshots.at(-1);
  if (snapshot === undefined) {
    if (listing.segments.length === 0) return null;
    throw new BrokenReplicaError(
      `${replica} holds segments but no snapshot: its first one was never completed`,
      {
        txid: 0,
      },
    );
  }
  return { snapshot, segments: segmentsAfter(listing.segments, snapshot.txid, replica) };
}

/** The segments that lead on from `txid` to the end, the longest where several begin at the same transaction. */
export function segmentsAfter(
  listed: readonly SegmentInfo[],
  txid: number,
  replica: string,
): readonly SegmentInfo[] {
  const segments: SegmentInfo[] = [];
  const later = listed.filter((segment) => segment.minTxid > txid);
  const starts = [...new Set(later.map((segment) => segment.minTxid))].sort((a, b) => a - b);
  let next = txid + 1;
  while (starts.length > 0 && starts.at(-1)! >= next) {
    const candidates = later.filter((segment) => segment.minTxid === next);
    if (candidates.length === 0)
      throw new BrokenReplicaError(`${replica} has no segment that begins with transaction ${next}`, {
        txid: next,
      });
    const longest = candidates.reduce((a, b) => ((b.maxTxid ?? 0) > (a.maxTxid ?? 0) ? b : a));
    segments.push(longest);
    // A level-0 segment reaches to the next start, as far as keys tell.
    next = (longest.maxTxid ?? (starts.find((start) => start > next) ?? next + 1) - 1) + 1;
  }
  return segments;
}
