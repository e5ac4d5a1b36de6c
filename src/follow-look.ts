import { choosePlan } from "./choose-plan.ts";
import { readClaim } from "./claim.ts";
import { BrokenReplicaError, FollowError } from "./errors.ts";
import type { CopyState } from "./follow-copy.ts";
import type { Codecs } from "./format/codecs.ts";
import { maxLevel, segmentKey, segmentPrefix, snapshotPrefix } from "./format/keys.ts";
import { parseKey } from "./format/parse-key.ts";
import { samePosition } from "./format/position.ts";
import { segmentsAfter } from "./plan.ts";
import {
  type Listing,
  openStored,
  parseSegments,
  parseSnapshots,
  type SegmentInfo,
  type SnapshotInfo,
} from "./replica.ts";
import type { ObjectStore } from "./store/object-store.ts";

/** Where so many segments wait at level 0, higher levels may hold the same in fewer objects. */
export const TAIL_LIMIT = 64;

/** What begins behind `txid` at level 0, TAIL_LIMIT + 1 segments at the most. One request. */
export async function listTail(
  store: ObjectStore,
  txid: number,
  signal: AbortSignal,
): Promise<SegmentInfo[]> {
  const tail: SegmentInfo[] = [];
  for await (const info of levelZeroAfter(store, txid, signal)) {
    tail.push(info);
    if (tail.length > TAIL_LIMIT) break;
  }
  return tail;
}

function levelZeroAfter(store: ObjectStore, txid: number, signal: AbortSignal): AsyncIterable<SegmentInfo> {
  const startAfter = txid === 0 ? {} : { startAfter: segmentKey(0, txid, txid) };
  return parseSegments(store.list(segmentPrefix(0), { signal, ...startAfter }));
}

/**
 * Everything in the replica but segments of level 0 that begin at `txid` or before. Compaction and retention may go on
 * meanwhile: what they take away is replaced by what is listed later here, a higher level or a newer snapshot.
 */
export async function listAfter(store: ObjectStore, txid: number, signal: AbortSignal): Promise<Listing> {
  const segments: SegmentInfo[] = [];
  for await (const info of levelZeroAfter(store, txid, signal)) segments.push(info);
  for (let level = 1; level <= maxLevel; level++)
    for await (const info of parseSegments(store.list(segmentPrefix(level), { signal }))) segments.push(info);
  const snapshots: SnapshotInfo[] = [];
  for await (const info of parseSnapshots(store.list(snapshotPrefix, { signal }))) snapshots.push(info);
  return { snapshots, segments };
}

/** Objects that may bring the copy to a newer state. */
export interface Way {
  readonly objects: readonly (SegmentInfo | SnapshotInfo)[];
  /** The last transaction that the look saw in the replica, as far as keys tell. */
  readonly furthest: number;
}

/**
 * Looks at the whole replica for what leads on from the copy's state. First segments from exactly there, where there are
 * any; then, for who is still not satisfied, a snapshot and the segments behind it. None where the replica ends exactly
 * where the copy stands.
 *
 * One GET of the claim, one LIST for each level and one for the snapshots (more where one holds over 1,000 keys); where
 * nothing is new a GET of the object that ends there; for the second way the LISTs once more. Throws FollowError,
 * BrokenReplicaError, StoreError.
 */
export async function* findWays(
  store: ObjectStore,
  state: CopyState,
  codecs: Codecs,
  signal: AbortSignal,
): AsyncGenerator<Way> {
  await requireHistory(store, state, signal);
  const { txid } = state.position;
  const listing = await listAfter(store, beforeLastObject(state), signal);
  const furthest = furthestOf(listing);
  if (furthest <= txid) return requireEnd(store, listing, state, codecs, signal);
  const objects = segmentsOrNone(listing, txid, store.url);
  if (objects.length > 0) yield { objects, furthest };
  const whole = await listAfter(store, 0, signal);
  const chosen = await choosePlan(store, whole, "latest", codecs, signal);
  if (chosen === null) throw new BrokenReplicaError(`${store.url} was emptied while it was read`, {});
  yield { objects: [chosen.snapshot, ...chosen.segments], furthest: furthestOf(whole) };
}

/** None where the keys alone show a gap. */
function segmentsOrNone({ segments }: Listing, txid: number, replica: string): readonly SegmentInfo[] {
  try {
    return segmentsAfter(segments, txid, replica);
  } catch (error) {
    if (error instanceof BrokenReplicaError) return [];
    throw error;
  }
}

function furthestOf({ snapshots, segments }: Listing): number {
  let furthest = snapshots.at(-1)?.txid ?? 0;
  for (const { maxTxid, minTxid } of segments) furthest = Math.max(furthest, maxTxid ?? minTxid);
  return furthest;
}

async function requireHistory(store: ObjectStore, state: CopyState, signal: AbortSignal): Promise<void> {
  const claim = await readClaim(store, signal);
  if (claim?.lineage === state.lineage) return;
  const now =
    claim === null ? "holds no replica any more" : `holds another history, begun by ${claim.writer}`;
  throw new FollowError(
    "another-history",
    `${store.url} ${now}; the copy stays at transaction ${state.position.txid} of the old one. ` +
      "To follow the new one, delete the copy and the folder beside it, or follow into another file.",
  );
}

/** Where a list of level 0 has to begin, so that the object that ends at the state is in it. */
function beforeLastObject({ key, position }: CopyState): number {
  const parsed = parseKey(key);
  return parsed?.kind === "segment" && parsed.level === 0 ? parsed.minTxid - 1 : position.txid;
}

/** The replica ends where the copy stands, and not before or beside it. */
async function requireEnd(
  store: ObjectStore,
  { snapshots, segments }: Listing,
  state: CopyState,
  codecs: Codecs,
  signal: AbortSignal,
): Promise<void> {
  const { position } = state;
  const last =
    segments.findLast((info) => info.maxTxid === null || info.maxTxid === position.txid) ??
    snapshots.findLast((info) => info.txid === position.txid);
  const end = last && (await openStored(store, last, codecs, signal)).to;
  if (end !== undefined && samePosition(end, position)) return;
  throw diverged(store, end ? `ends at transaction ${end.txid} (${end.id})` : "ends before that", state);
}

/** The replica does not lead through the state where the copy stands. */
export function diverged(store: ObjectStore, how: string, { position }: CopyState): FollowError {
  return new FollowError(
    "diverged",
    `The copy is at transaction ${position.txid} (${position.id}), and ${store.url} ${how}: objects were deleted or ` +
      "exchanged, or an old state of the bucket was put back. To follow what is there now, delete the copy and the " +
      "folder beside it, or follow into another file.",
  );
}
