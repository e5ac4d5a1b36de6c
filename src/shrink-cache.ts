import { DamagedEntryError } from "./cache/damaged-entry.ts";
import { bytesOf, type PositionRecord, type WriteCache } from "./cache/write-cache.ts";
import { fault } from "./faults.ts";
import { type OverflowTaskOptions, tooMuchCached } from "./overflow-task.ts";

/** Merges what the cache holds too much of, and where that does not do, drops it and marks a resync. */
export async function shrinkCache(options: OverflowTaskOptions): Promise<void> {
  const { platform, drainer, maxCacheSize, onOverflow, onFailed } = options;
  const { cache } = platform;
  const bytes = () => bytesOf(cache.entries());
  const merge = () =>
    drainer.merge().catch((error: unknown) => {
      if (!(error instanceof DamagedEntryError)) throw error;
      onFailed(error);
      return false;
    });
  // Under a mark nothing continues what would be merged.
  const isMarked = () => drainer.record.resync !== undefined;
  while (!isMarked() && !drainer.busy && bytes() > maxCacheSize / 2) if (!(await merge())) break;
  // Of an application that commits without a pause a drain is always under way.
  while (drainer.busy) await drainer.settled();
  const before = bytes();
  if (before <= maxCacheSize || cache.entries().length < 2) return;
  const reason = tooMuchCached(maxCacheSize);
  const marked = isMarked();
  // From here on nothing continues what is dropped, also where that fails.
  drainer.markResync(reason);
  drainer.dropBehind(cache.entries()[0]!.to.txid);
  await drainer.exclusively(() => dropBacklog(cache, drainer.record, reason, onFailed));
  onOverflow(before - bytes(), marked ? null : reason);
}

/**
 * Drops all entries but the head: the chain then ends there, and a resync goes on from it. The mark is durable before
 * anything goes. What fails of the drop is for `onFailed`: the record names the end of what is left all the same.
 */
async function dropBacklog(
  cache: WriteCache,
  record: PositionRecord,
  reason: string,
  onFailed: (error: unknown) => void,
): Promise<PositionRecord> {
  cache.markResync(reason);
  fault("overflow:after-mark");
  // The upload of the head goes on meanwhile, and may end.
  const head = cache.entries()[0];
  await cache.dropBacklog().catch(onFailed);
  fault("overflow:after-drop");
  const cached = (cache.entries().at(-1) ?? head)?.to ?? record.cached;
  const next = { ...record, cached, resync: reason };
  cache.savePosition(next);
  return next;
}
