import type { PositionRecord } from "./cache/write-cache.ts";
import { isDamage } from "./damage.ts";
import { BrokenReplicaError, ReplicaFencedError, type SluiceError } from "./errors.ts";
import type { Codecs } from "./format/codecs.ts";
import { type Position, samePosition } from "./format/position.ts";
import { lookAgain } from "./look-again.ts";
import { plan } from "./plan.ts";
import { type Listing, listReplica, openStored } from "./replica.ts";
import { type ReplicaState, readReplicaState } from "./replica-state.ts";
import type { ObjectStore } from "./store/object-store.ts";
import { checkTail } from "./tail.ts";

/**
 * What a resync goes on from, where the chain ends, and what it compares the database with: the replica's state there; or
 * null, and why it has none.
 */
export type ResyncBase = {
  readonly from: Position;
  /** What is to be told of the replica. */
  readonly damage: SluiceError | null;
} & (
  | { readonly state: ReplicaState; readonly whole: null }
  | { readonly state: null; readonly whole: string }
);

/**
 * Reads the replica's state at `end`, where our chain ends and nobody else has extended it; or before it, where the record
 * names a segment that was dropped when nothing could be recorded any more, or the store lost it. A replica that is damaged has none, however
 * often it is asked, and nor has one without a snapshot.
 *
 * Throws ReplicaFencedError, UnsupportedFormatError, StoreError.
 */
export async function readResyncBase(
  store: ObjectStore,
  { lineage, writer, cached: end }: PositionRecord,
  codecs: Codecs,
  signal: AbortSignal,
): Promise<ResyncBase> {
  await checkTail({ store, lineage, codecs }, end, null, signal);
  return lookAgain(async () => {
    const listing = await listReplica(store, signal);
    if (listing.snapshots.length === 0)
      return {
        from: await endWithoutSnapshot(store, listing, end, codecs, signal),
        state: null,
        whole: "the replica has no snapshot yet",
        damage: null,
      };
    try {
      const state = await readReplicaState(store, plan(listing, store.url)!, lineage, codecs, signal);
      const from = state.position;
      if (samePosition(from, end)) return { from, state, whole: null, damage: null };
      if (from.txid >= end.txid) throw extendedSince(store, from);
      const damage = endsElsewhere(store, from, end);
      if (state.writer !== writer) throw damage;
      return { from, state, whole: null, damage };
    } catch (error) {
      if (!isDamage(error)) throw error;
      return { from: end, state: null, whole: error.message, damage: error };
    }
  });
}

/** Where the last segment leads, if not as far as was recorded. */
async function endWithoutSnapshot(
  store: ObjectStore,
  { segments }: Listing,
  end: Position,
  codecs: Codecs,
  signal: AbortSignal,
): Promise<Position> {
  const last = segments.findLast(({ level }) => level === 0);
  if (last === undefined) return end;
  const { to } = await openStored(store, last, codecs, signal);
  return to.txid < end.txid ? to : end;
}

/** Between the look at the tail and this one. */
function extendedSince(store: ObjectStore, { txid }: Position): ReplicaFencedError {
  return new ReplicaFencedError(
    `Another writer extended ${store.url} to transaction ${txid}. The local database still works; ` +
      "restore from the replica, or decide with onUnknownLocal.",
    {},
  );
}

function endsElsewhere(store: ObjectStore, end: Position, uploaded: Position): BrokenReplicaError {
  return new BrokenReplicaError(
    `${store.url} ends at transaction ${end.txid} (${end.id}), what was uploaded ended at ${uploaded.txid} (${uploaded.id})`,
    { txid: Math.min(end.txid, uploaded.txid) + 1 },
  );
}
