import { BrokenReplicaError, NotRestorableError } from "./errors.ts";
import { History, type Reached } from "./history.ts";
import type { Listing, SegmentInfo, SnapshotInfo } from "./replica.ts";

/** Which state: the newest one, or the last one at or before a transaction. */
export type PlanTarget = "latest" | { readonly txid: number };

/** The objects that lead to one state of a replica, in the order of history. */
export interface Plan {
  readonly snapshot: SnapshotInfo;
  readonly segments: readonly SegmentInfo[];
  /** The transaction at which it ends; null where only the last object, of level 0, can tell. */
  readonly txid: number | null;
  /** Whether nothing in the listing leads beyond its end. */
  readonly newest: boolean;
  /** Of level 0, and where they end decides whether this plan is right: to be found out first (`choosePlan`). */
  readonly unsettled: readonly SegmentInfo[];
  /** Where merged segments stand for the stretch in which it ends: what leads on to the end of each, the inner ones first. */
  readonly proof: readonly Stretch[];
}

/**
 * A merged segment is the canonical form of what it holds, and lower levels agree with it if they end where it does:
 * `segments` lead there, from where the stretch before ends.
 */
export interface Stretch {
  readonly segments: readonly SegmentInfo[];
  readonly merged: SegmentInfo;
}

/**
 * Chooses the objects that lead to the newest state, or to the last one at or before a transaction: the newest snapshot
 * from which segments lead there without a gap, and the fewest of them. States are where objects end: what a segment
 * holds is restored as a whole. Pure: a listing in, a plan out. Null where the listing holds nothing at all.
 *
 * A level-0 segment inside of a merged one counts only together with all others up to where the merged one ends, since
 * only then can the two be compared.
 *
 * Throws BrokenReplicaError naming the first transaction that cannot be reached, and NotRestorableError for a transaction
 * before the first restorable state or after the last.
 *
 * Keys of level 0 tell their first transaction only, so whether neighbours really adjoin, and by the same ids, is for
 * whoever opens them to check (see `openChain`).
 */
export function plan(listing: Listing, replica: string, target: PlanTarget = "latest"): Plan | null {
  const [oldest] = listing.snapshots;
  if (oldest === undefined) {
    if (listing.segments.length === 0) return null;
    const message = `${replica} holds segments but no snapshot: its first one was never completed`;
    throw new BrokenReplicaError(message, { txid: 0 });
  }
  const history = new History(listing);
  const upTo = target === "latest" ? Number.POSITIVE_INFINITY : target.txid;
  const { reached, crossing } = history.walk(upTo);
  const last = reached.at(-1);
  if (last === undefined) throw outside(replica, upTo, listing, history);
  if (crossing.length === 0 && last.txid < upTo) {
    if (history.leadsBeyond(last.txid))
      throw new BrokenReplicaError(
        `${replica} has a gap: no segment leads on with transaction ${last.txid + 1}`,
        { txid: last.txid + 1 },
      );
    if (target !== "latest" && !isOpen(history, last)) throw outside(replica, upTo, listing, history);
  }
  const end = reached.findLast((state) => history.isRestorable(state))!;
  const doubts = target === "latest" ? [] : doubtful(history, last, crossing);
  // What leads on from an earlier state has to be known to do so, or there is a gap between.
  if (end !== last) {
    const origins = new Set(crossing.map(({ minTxid }) => minTxid - 1));
    for (const state of [last, ...reached.filter(({ txid }) => origins.has(txid))])
      doubts.push(...unsettledOf(history, wayTo(state)));
  }
  return planOf(history, end, doubts);
}

/** The segments that lead on from `txid` to the end, the fewest. Throws as `plan` does. */
export function segmentsAfter(
  listed: readonly SegmentInfo[],
  txid: number,
  replica: string,
): readonly SegmentInfo[] {
  const here: SnapshotInfo = { txid, key: "", size: 0, lastModified: 0, age: 0 };
  const later = listed.filter(({ minTxid }) => minTxid > txid);
  return plan({ snapshots: [here], segments: later }, replica)!.segments;
}

/** A segment of level 0 with nothing behind it: where it ends, it alone knows. */
function isOpen(history: History, { object, level }: Reached): boolean {
  return level !== null && history.endOf(object as SegmentInfo) === null;
}

function outside(replica: string, txid: number, listing: Listing, history: History): NotRestorableError {
  const oldest = listing.snapshots[0]!.txid;
  const newest = history.walk(Number.POSITIVE_INFINITY).reached.at(-1)!.txid;
  const side = txid < oldest ? "before the oldest" : "after the newest";
  return new NotRestorableError(
    `Transaction ${txid} is ${side} state of ${replica} that can be restored: those go from ${oldest} to ${newest}.`,
    { txid: oldest },
    { txid: newest },
  );
}

/** What may end before the target, or reach over it. */
function doubtful(history: History, last: Reached, crossing: readonly SegmentInfo[]): SegmentInfo[] {
  const open = isOpen(history, last) ? [last.object as SegmentInfo] : [];
  return [...open, ...crossing.filter(({ maxTxid }) => maxTxid === null)];
}

function planOf(history: History, end: Reached, doubts: readonly SegmentInfo[]): Plan {
  const segments = wayTo(end);
  const proof = proofOf(history, end);
  const within = unsettledOf(history, [...segments, ...proof.flatMap((stretch) => stretch.segments)]);
  let begin = end;
  while (begin.before !== null) begin = begin.before;
  return {
    snapshot: begin.object as SnapshotInfo,
    segments,
    txid: isOpen(history, end) ? null : end.txid,
    newest: isOpen(history, end) || !history.leadsBeyond(end.txid),
    unsettled: [...new Set([...within, ...doubts])],
    proof,
  };
}

/** The segments that lead to a position, in the order of history. */
function wayTo(end: Reached): SegmentInfo[] {
  const segments: SegmentInfo[] = [];
  for (let step = end; step.before !== null; step = step.before) segments.push(step.object as SegmentInfo);
  return segments.reverse();
}

/** Of level 0 within merged segments, where a neighbour may be missing: they may end before the next begins. */
function unsettledOf(history: History, segments: readonly SegmentInfo[]): SegmentInfo[] {
  return segments.filter((info) => info.maxTxid === null && history.coverOf(info.minTxid) !== null);
}

function proofOf(history: History, { txid, before, object }: Reached): Stretch[] {
  const onward = history.onwardFrom(txid);
  // A snapshot stands by itself.
  if (before === null || onward === null) return [];
  const stretches: Stretch[] = [];
  let segments: SegmentInfo[] = [];
  const compareAt = (at: number) => {
    for (const merged of history.mergedTo(at)) {
      if (merged === object || merged.minTxid > txid) continue;
      stretches.push({ segments, merged });
      segments = [];
    }
  };
  compareAt(txid);
  for (const step of onward) {
    segments.push(step);
    compareAt(history.endOf(step)!);
  }
  return stretches;
}
