import { isDamage } from "./damage.ts";
import { BrokenReplicaError, type SluiceError } from "./errors.ts";
import type { Codecs } from "./format/codecs.ts";
import { type Position, samePosition } from "./format/position.ts";
import { lookAgain } from "./look-again.ts";
import { plan } from "./plan.ts";
import { listReplica } from "./replica.ts";
import { type ReplicaState, readReplicaState } from "./replica-state.ts";
import type { ObjectStore } from "./store/object-store.ts";
import { checkTail } from "./tail.ts";

/** What a resync compares the database with: the replica's state where the chain ends; or null, and why it has none. */
export type ResyncBase =
  | { readonly state: ReplicaState; readonly whole: null }
  | { readonly state: null; readonly whole: string; readonly damage: SluiceError | null };

/**
 * Reads the replica's state at `end`, where our chain ends and nobody else has extended it. A replica that is damaged has
 * none, however often it is asked, and nor has one without a snapshot.
 *
 * Throws ReplicaFencedError, UnsupportedFormatError, StoreError.
 */
export async function readResyncBase(
  store: ObjectStore,
  lineage: string,
  end: Position,
  codecs: Codecs,
  signal: AbortSignal,
): Promise<ResyncBase> {
  await checkTail({ store, lineage, codecs }, end, null, signal);
  return lookAgain(async () => {
    const listing = await listReplica(store, signal);
    if (listing.snapshots.length === 0)
      return { state: null, whole: "the replica has no snapshot yet", damage: null };
    try {
      const state = await readReplicaState(store, plan(listing, store.url)!, lineage, codecs, signal);
      if (samePosition(state.position, end)) return { state, whole: null };
      throw endsElsewhere(store, state.position, end);
    } catch (error) {
      if (!isDamage(error)) throw error;
      return { state: null, whole: error.message, damage: error };
    }
  });
}

function endsElsewhere(store: ObjectStore, end: Position, uploaded: Position): BrokenReplicaError {
  return new BrokenReplicaError(
    `${store.url} ends at transaction ${end.txid} (${end.id}), what was uploaded ended at ${uploaded.txid} (${uploaded.id})`,
    { txid: Math.min(end.txid, uploaded.txid) + 1 },
  );
}
