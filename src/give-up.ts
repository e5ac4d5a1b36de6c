import type { CacheEntry, PositionRecord, WriteCache } from "./cache/write-cache.ts";
import type { Drainer } from "./drainer.ts";
import { fault } from "./faults.ts";

/**
 * Gives up the head of the cache, which is damaged, and all that continues it: a resync makes up for them, from the
 * database. So nothing damaged gets into the store, and the replica stays what it was until the resync leads on from it.
 * Nobody waits in vain: who waits for one of these transactions waits for that.
 *
 * The caller has looked whether the head is in the store already. Returns why there is a resync.
 */
export async function giveUp(cache: WriteCache, drainer: Drainer, head: CacheEntry): Promise<string> {
  const reason = `the write cache is damaged: transaction ${head.from.txid + 1} and what is behind it`;
  while (drainer.busy) await drainer.settled();
  if (drainer.record.resync === undefined) drainer.markResync(reason);
  drainer.dropBehind(head.from.txid);
  await drainer.exclusively(() => discardEntries(cache, head, drainer.record, reason));
  return reason;
}

/**
 * Lets go of everything that waits for upload; the mark comes first, so that a crash in between is noticed. Our part of the
 * chain in the store then ends before the head: what it led to must not be taken for a position of the replica.
 */
export async function discardEntries(
  cache: WriteCache,
  head: CacheEntry,
  record: PositionRecord,
  resync: string,
): Promise<PositionRecord> {
  cache.markResync(resync);
  fault("discard:after-mark");
  await cache.dropBacklog();
  const next = { ...record, cached: head.from, resync };
  cache.savePosition(next);
  fault("discard:before-ack");
  await cache.ack(head);
  return next;
}
