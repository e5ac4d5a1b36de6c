import { DamagedEntryError } from "./cache/damaged-entry.ts";
import type { CacheEntry, WriteCache } from "./cache/write-cache.ts";
import type { Claim } from "./claim.ts";
import { ReplicaFencedError, StoreError } from "./errors.ts";
import { fault } from "./faults.ts";
import type { Codecs } from "./format/codecs.ts";
import { segmentKey } from "./format/keys.ts";
import type { KnownTail } from "./known-tail.ts";
import { loadUpkeep } from "./load.ts";
import type { Clock } from "./platform.ts";
import type { StoredInfo } from "./replica.ts";
import type { ObjectStore, PutBody } from "./store/object-store.ts";

/** What an upload works with. */
export interface UploadContext {
  readonly store: ObjectStore;
  readonly cache: WriteCache;
  readonly codecs: Codecs;
  readonly clock: Clock;
  /** Whether the blocks of an entry are still to be packed. */
  readonly isStored?: (entry: CacheEntry) => boolean;
  readonly tail: KnownTail;
  /** Ours, known to stand in the store once `claimed` is true. */
  readonly claim: Claim;
  claimed: boolean;
  /** In the store, but not let go of: its local bytes may be gone since that was tried. */
  landed?: { readonly entry: CacheEntry; readonly object: StoredInfo };
}

/**
 * Ships the head of the cache: claim the prefix, create the object under the key that its first transaction fixes, and
 * only then let go of the local copy. After an unclear failure the same bytes are sent again, so a key that is taken is
 * either our own earlier try or another writer's segment: its id tells. A key that is free was never taken, if the end of
 * the chain was looked at not long before the answer; a machine may sleep in between, so that is asked again then.
 *
 * Returns what the store has, whose size is not that of the entry where it was packed on its way.
 *
 * Throws ReplicaFencedError when another writer was there first, DamagedEntryError where the entry cannot be sent and is
 * not in the store from an earlier try, CacheError and StoreError otherwise.
 */
export async function uploadHead(
  context: UploadContext,
  entry: CacheEntry,
  signal?: AbortSignal,
): Promise<StoredInfo> {
  const { object } = context.landed?.entry === entry ? context.landed : await land(context, entry, signal);
  fault("upload:before-ack");
  await context.cache.ack(entry);
  fault("upload:after-ack");
  return object;
}

async function land(
  context: UploadContext,
  entry: CacheEntry,
  signal: AbortSignal | undefined,
): Promise<NonNullable<UploadContext["landed"]>> {
  const { clock, tail } = context;
  const key = segmentKey(0, entry.from.txid + 1, entry.to.txid);
  await tail.require(entry.from, entry.to, signal);
  const since = clock.stopwatch();
  const size = await send(context, entry, key, signal);
  await tail.require(entry.from, entry.to, signal);
  tail.confirm(since);
  context.landed = { entry, object: { key, size } };
  return context.landed;
}

/** Returns the bytes of what stands under the key then. */
async function send(
  context: UploadContext,
  entry: CacheEntry,
  key: string,
  signal: AbortSignal | undefined,
): Promise<number> {
  const { store } = context;
  await ensureClaim(context, signal);
  try {
    const body = await bodyOf(context, entry, signal);
    fault("upload:before-put");
    await store.put(key, body, { ifNoneMatch: "*", ...(signal && { signal }) });
    return "chunks" in body ? body.size : body.length;
  } catch (error) {
    const taken = error instanceof StoreError && error.kind === "precondition-failed";
    if (!taken && !(error instanceof DamagedEntryError)) throw error;
    const { findOurs } = await loadUpkeep();
    return findOurs(context, entry, key, error, signal);
  }
}

async function bodyOf(
  context: UploadContext,
  entry: CacheEntry,
  signal: AbortSignal | undefined,
): Promise<PutBody> {
  const { cache, isStored } = context;
  if (isStored?.(entry) !== true) return cache.read(entry);
  const { repack } = await loadUpkeep();
  return repack(context, entry, signal);
}

export async function ensureClaim(context: UploadContext, signal?: AbortSignal): Promise<void> {
  if (context.claimed) return;
  const { claimReplica } = await loadUpkeep();
  const standing = await claimReplica(context.store, context.claim, signal);
  if (standing.lineage !== context.claim.lineage)
    throw new ReplicaFencedError(
      `${context.store.url} was claimed by another history at ${new Date(standing.created).toISOString()}. ` +
        "Restore from it, or replicate to another prefix.",
      { writer: standing.writer },
    );
  fault("upload:after-claim");
  context.claimed = true;
}
