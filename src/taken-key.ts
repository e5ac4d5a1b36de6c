import type { CacheEntry } from "./cache/write-cache.ts";
import { CorruptObjectError, ReplicaFencedError, StoreError } from "./errors.ts";
import { findObject, openStored, type StoredInfo } from "./replica.ts";
import type { UploadContext } from "./upload.ts";

/**
 * The object under `key` is the entry itself, from an earlier try whose answer was lost. Returns its bytes. One that was
 * damaged in the cache, and so has no id to be known by, is known by being what the cache holds.
 */
export async function requireOurs(
  context: UploadContext,
  entry: CacheEntry,
  key: string,
  signal?: AbortSignal,
): Promise<number> {
  const { store, codecs } = context;
  const info = await findObject(store, key, signal);
  if (info === null) throw new StoreError("unavailable", `${key} exists but is not listed`, { key });
  const standing = await openStored(store, info, codecs, signal).catch(async (error: unknown) => {
    if (error instanceof CorruptObjectError && (await isCached(context, entry, info, signal))) return null;
    throw error;
  });
  if (standing === null || standing.id === entry.to.id) return info.size;
  throw new ReplicaFencedError(
    `Another writer extended ${store.url} at transaction ${entry.from.txid + 1}. The local database still works; ` +
      "what it holds beyond that transaction is not in the replica.",
    { key, writer: standing.header.writer },
  );
}

/** Whether an object is, byte for byte, what the cache holds of an entry. */
async function isCached(
  { store, cache }: UploadContext,
  entry: CacheEntry,
  { key, size }: StoredInfo,
  signal?: AbortSignal,
): Promise<boolean> {
  if (size !== entry.size) return false;
  const { body } = await store.get(key, { ...(signal && { signal }) });
  let at = 0;
  for await (const chunk of body) {
    if (at + chunk.length > size) return false;
    const cached = await cache.readRange(entry, at, chunk.length);
    if (chunk.some((byte, i) => byte !== cached[i])) return false;
    at += chunk.length;
  }
  return at === size;
}
