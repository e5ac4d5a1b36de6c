import { readClaim } from "./claim.ts";
import { ReplicaFencedError } from "./errors.ts";
import type { Codecs } from "./format/codecs.ts";
import { maxLevel, segmentKey, segmentPrefix, snapshotKey, snapshotPrefix } from "./format/keys.ts";
import { type Position, samePosition } from "./format/position.ts";
import { openStored, parseSegments, parseSnapshots } from "./replica.ts";
import type { ObjectStore } from "./store/object-store.ts";

export interface TailContext {
  readonly store: ObjectStore;
  readonly lineage: string;
  readonly codecs: Codecs;
}

/**
 * Looks whether another writer has extended the replica beyond `uploaded`, our end of the chain. `pending`: the end of our
 * own next segment, which may have landed without our hearing of it. So one object at level 0 right behind our end proves
 * nothing, its upload will tell; and what was merged up to it may be ours.
 *
 * Throws ReplicaFencedError, StoreError.
 */
export async function checkTail(
  { store, lineage, codecs }: TailContext,
  uploaded: Position,
  pending: Position | null,
  signal?: AbortSignal,
): Promise<void> {
  const claim = await readClaim(store, signal);
  if (claim === null) return; // Nothing there, or nothing yet.
  if (claim.lineage !== lineage)
    throw new ReplicaFencedError(
      `${store.url} was claimed by another history at ${new Date(claim.created).toISOString()}. ` +
        "Restore from it, or replicate to another prefix.",
      { writer: claim.writer },
    );
  const beyond = await findBeyond(store, codecs, uploaded.txid, pending, signal);
  if (beyond === null) return;
  throw new ReplicaFencedError(
    `Another writer extended ${store.url} beyond transaction ${uploaded.txid}. The local database still works; ` +
      "restore from the replica, or decide with onUnknownLocal.",
    { key: beyond },
  );
}

/** The key of an object that leads beyond `txid` and cannot be ours. */
async function findBeyond(
  store: ObjectStore,
  codecs: Codecs,
  txid: number,
  pending: Position | null,
  signal?: AbortSignal,
): Promise<string | null> {
  const options = { ...(signal && { signal }) };
  const snapshots = store.list(snapshotPrefix, { ...options, startAfter: snapshotKey(txid) });
  for await (const info of parseSnapshots(snapshots)) return info.key;
  // Keys of level 0 say where a segment begins: one that begins at txid + 1 is the first that can lead beyond.
  const after = pending === null ? txid : txid + 1;
  const startAfter = after === 0 ? {} : { startAfter: segmentKey(0, after, after) };
  const segments = store.list(segmentPrefix(0), { ...options, ...startAfter });
  for await (const info of parseSegments(segments)) return info.key;
  for (let level = 1; level <= maxLevel; level++)
    for await (const info of parseSegments(store.list(segmentPrefix(level), options))) {
      if (info.maxTxid! <= txid) continue;
      if (info.maxTxid !== pending?.txid) return info.key;
      if (!samePosition((await openStored(store, info, codecs, signal)).to, pending)) return info.key;
    }
  return null;
}
