import type { CacheEntry } from "./cache/write-cache.ts";
import { ReplicaFencedError } from "./errors.ts";
import { findObject, openStored } from "./replica.ts";
import type { UploadContext } from "./upload.ts";

/**
 * Bytes of the object under `key`, where that is the entry itself, from an earlier try whose answer was lost. Null where no
 * object is listed there.
 *
 * Throws ReplicaFencedError where it is another.
 */
export async function findOurs(
  { store, codecs }: UploadContext,
  entry: CacheEntry,
  key: string,
  signal?: AbortSignal,
): Promise<number | null> {
  const info = await findObject(store, key, signal);
  if (info === null) return null;
  const standing = await openStored(store, info, codecs, signal);
  if (standing.id === entry.to.id) return info.size;
  throw new ReplicaFencedError(
    `Another writer extended ${store.url} at transaction ${entry.from.txid + 1}. The local database still works; ` +
      "what it holds beyond that transaction is not in the replica.",
    { key, writer: standing.header.writer },
  );
}
