import type { DamagedEntryError } from "./cache/damaged-entry.ts";
import type { CacheEntry } from "./cache/write-cache.ts";
import { ReplicaFencedError, StoreError } from "./errors.ts";
import { samePosition } from "./format/position.ts";
import { ArrivedError } from "./given-up.ts";
import { isGone } from "./look-again.ts";
import { findObject, openStored } from "./replica.ts";
import type { UploadContext } from "./upload.ts";

/**
 * Bytes of the object under `key`, where that is the entry itself, from an earlier try whose answer was lost. `failure` is
 * what this try met: that the key is taken, or that the entry is damaged.
 *
 * Throws ReplicaFencedError where it is another, ArrivedError where that was given up before. Where no object is there, a
 * damaged entry's failure; a key that is taken will be listed, or was freed by retention since, so then StoreError, to be tried
 * again.
 */
export async function findOurs(
  { store, codecs, tail }: UploadContext,
  entry: CacheEntry,
  key: string,
  failure: StoreError | DamagedEntryError,
  signal?: AbortSignal,
): Promise<number> {
  const info = await findObject(store, key, signal);
  const standing =
    info &&
    (await openStored(store, info, codecs, signal).catch((error: unknown) => {
      if (!isGone(error)) throw error;
      return null;
    }));
  if (standing === null) {
    if (!(failure instanceof StoreError)) throw failure;
    throw new StoreError("unavailable", `${key} exists but is not there`, { key }, { cause: failure });
  }
  if (standing.id === entry.to.id) return standing.size;
  const own = tail.mayArrive(entry.from).find((end) => samePosition(end, standing.to));
  if (own !== undefined) throw new ArrivedError(store, own);
  throw new ReplicaFencedError(
    `Another writer extended ${store.url} at transaction ${entry.from.txid + 1}. The local database still works; ` +
      "what it holds beyond that transaction is not in the replica.",
    { key, writer: standing.header.writer },
  );
}
