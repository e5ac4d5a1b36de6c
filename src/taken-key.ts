import type { CacheEntry } from "./cache/write-cache.ts";
import { ReplicaFencedError, StoreError } from "./errors.ts";
import { findObject, openStored } from "./replica.ts";
import type { UploadContext } from "./upload.ts";

/** The object under `key` is the entry itself, from an earlier try whose answer was lost. Returns its bytes. */
export async function requireOurs(
  { store, codecs }: UploadContext,
  entry: CacheEntry,
  key: string,
  signal?: AbortSignal,
): Promise<number> {
  const info = await findObject(store, key, signal);
  if (info === null) throw new StoreError("unavailable", `${key} exists but is not listed`, { key });
  const standing = await openStored(store, info, codecs, signal);
  if (standing.id === entry.to.id) return info.size;
  throw new ReplicaFencedError(
    `Another writer extended ${store.url} at transaction ${entry.from.txid + 1}. The local database still works; ` +
      "what it holds beyond that transaction is not in the replica.",
    { key, writer: standing.header.writer },
  );
}
