import type { GivenUp } from "./cache/write-cache.ts";
import { readClaim } from "./claim.ts";
import { isDamage } from "./damage.ts";
import { ReplicaFencedError } from "./errors.ts";
import type { Codecs } from "./format/codecs.ts";
import { maxLevel, segmentKey, segmentPrefix, snapshotPrefix } from "./format/keys.ts";
import { type Position, samePosition } from "./format/position.ts";
import { mayArrive } from "./given-up.ts";
import { isGone } from "./look-again.ts";
import { openStored, parseSegments, parseSnapshots, readStoredId, type SegmentInfo } from "./replica.ts";
import type { ObjectStore } from "./store/object-store.ts";

/** Transactions before our end in which the segment that leads there is looked for: as many keys as one request lists. */
const LOOK_BACK = 1000;

export interface TailContext {
  readonly store: ObjectStore;
  readonly lineage: string;
  readonly writer: string;
  readonly codecs: Codecs;
  /** Nothing can be restored from what is there: it has no claim, or no snapshot. */
  readonly onBare?: () => void;
  readonly givenUp: () => GivenUp | undefined;
}

/**
 * Looks whether another writer has extended the replica beyond `uploaded`, our end of the chain. `pending`: the end of our
 * own next segment, which may have landed without our hearing of it. So one object at level 0 right behind our end proves
 * nothing, its upload will tell; and what was merged up to it may be ours.
 *
 * `holdsEnd`: what leads to our end is there, or to our own beyond. It may be also where this says no: see `requireTail`.
 *
 * Throws ReplicaFencedError, StoreError.
 */
export async function checkTail(
  { store, lineage, codecs, onBare, givenUp }: Omit<TailContext, "writer">,
  uploaded: Position,
  pending: Position | null,
  signal?: AbortSignal,
): Promise<{ readonly holdsEnd: boolean; readonly arrived: Position | null }> {
  const claim = await readClaim(store, signal);
  if (claim === null) {
    onBare?.();
    return { holdsEnd: true, arrived: null }; // Nothing there, or nothing yet.
  }
  if (claim.lineage !== lineage)
    throw new ReplicaFencedError(
      `${store.url} was claimed by another history at ${new Date(claim.created).toISOString()}. ` +
        "Restore from it, or replicate to another prefix.",
      { writer: claim.writer },
    );
  const own = [...(pending === null ? [] : [pending]), ...mayArrive(givenUp(), uploaded)];
  const { snapshots, beyond, last, landed, merged } = await look(store, codecs, uploaded.txid, own, signal);
  if (beyond === null) {
    if (snapshots === 0) onBare?.();
    const arrived = merged === pending ? null : merged;
    const known = landed || uploaded.txid === 0;
    return { arrived, holdsEnd: known || (last !== null && (await hasId(store, last, uploaded.id, signal))) };
  }
  throw new ReplicaFencedError(
    `Another writer extended ${store.url} beyond transaction ${uploaded.txid}. The local database still works; ` +
      "restore from the replica, or decide with onUnknownLocal.",
    { key: beyond },
  );
}

interface Seen {
  /** How many do not lead beyond our end. */
  readonly snapshots: number;
  /** The key of an object that leads beyond our end and cannot be ours. */
  readonly beyond: string | null;
  /** The last segment of level 0 that begins before our end, where one begins not long before. */
  readonly last: SegmentInfo | null;
  /** What may be our own next segment is there. */
  readonly landed: boolean;
  /** The one of them up to which others were merged. */
  readonly merged: Position | null;
}

async function look(
  store: ObjectStore,
  codecs: Codecs,
  txid: number,
  own: readonly Position[],
  signal?: AbortSignal,
): Promise<Seen> {
  const options = { ...(signal && { signal }) };
  let last: SegmentInfo | null = null;
  let landed = false;
  let merged: Position | null = null;
  let snapshots = 0;
  const seen = (beyond: string | null): Seen => ({ snapshots, beyond, last, landed, merged });
  for await (const info of parseSnapshots(store.list(snapshotPrefix, options))) {
    if (info.txid > txid) return seen(info.key);
    snapshots += 1;
  }
  const before = txid - LOOK_BACK;
  const startAfter = before < 1 ? {} : { startAfter: segmentKey(0, before, before) };
  const segments = store.list(segmentPrefix(0), { ...options, ...startAfter });
  for await (const info of parseSegments(segments)) {
    // Keys of level 0 say where a segment begins: one that begins at txid + 1 is the first that can lead beyond.
    if (info.minTxid <= txid) last = info;
    else if (own.length > 0 && info.minTxid === txid + 1) landed = true;
    else return seen(info.key);
  }
  for (let level = 1; level <= maxLevel; level++)
    for await (const info of parseSegments(store.list(segmentPrefix(level), options))) {
      if (info.maxTxid! <= txid) continue;
      if (!own.some((end) => end.txid === info.maxTxid)) return seen(info.key);
      const { to } = await openStored(store, info, codecs, signal);
      merged = own.find((end) => samePosition(end, to)) ?? null;
      if (merged === null) return seen(info.key);
      landed = true;
    }
  return seen(null);
}

/** A segment of level 0 leads to the position of its own id. */
async function hasId(
  store: ObjectStore,
  info: SegmentInfo,
  id: string,
  signal?: AbortSignal,
): Promise<boolean> {
  try {
    return (await readStoredId(store, info, signal)) === id;
  } catch (error) {
    if (isDamage(error) || isGone(error)) return false;
    throw error;
  }
}
