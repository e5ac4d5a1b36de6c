import type { PositionRecord } from "./cache/write-cache.ts";
import { isDamage } from "./damage.ts";
import type { SluiceError } from "./errors.ts";
import type { Codecs } from "./format/codecs.ts";
import type { ObjectReader } from "./format/object-reader.ts";
import type { Position } from "./format/position.ts";
import { lookAgain } from "./look-again.ts";
import { LostEndError } from "./lost-end.ts";
import { requireOwnEnd } from "./own-end.ts";
import { plan } from "./plan.ts";
import { listReplica, openStored } from "./replica.ts";
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
 * Reads the replica's state at `cached`, where our chain ends and nobody else has extended it; behind it, where what we gave
 * up there has arrived; or before it, where the record names a segment that was dropped when nothing could be recorded any
 * more, or the store lost it. A replica that is damaged has none, however often it is asked, and nor has one without a snapshot.
 *
 * Throws ReplicaFencedError, UnsupportedFormatError, StoreError.
 */
export async function readResyncBase(
  store: ObjectStore,
  record: PositionRecord,
  codecs: Codecs,
  signal: AbortSignal,
): Promise<ResyncBase> {
  const { lineage, cached, givenUp } = record;
  await checkTail({ store, lineage, codecs, givenUp: () => givenUp }, cached, null, signal);
  return lookAgain(async () => {
    const listing = await listReplica(store, signal);
    let from = cached;
    let damage: SluiceError | null = null;
    // Also where what leads there turns out to be damaged: behind anything else than its end the segment would leave a gap.
    const goOnFrom = (end: Pick<ObjectReader, "to" | "header">) => {
      requireOwnEnd(store, end, record);
      from = end.to;
      if (from.txid < cached.txid) damage = new LostEndError(store, from, cached);
    };
    try {
      if (listing.snapshots.length === 0) {
        const last = listing.segments.findLast(({ level }) => level === 0);
        if (last !== undefined) goOnFrom(await openStored(store, last, codecs, signal));
        return { from, damage, state: null, whole: "the replica has no snapshot yet" };
      }
      const chosen = plan(listing, store.url)!;
      const state = await readReplicaState(store, chosen, lineage, codecs, signal, goOnFrom);
      return { from, damage, state, whole: null };
    } catch (error) {
      if (!isDamage(error)) throw error;
      return { from, damage: error, state: null, whole: error.message };
    }
  });
}
