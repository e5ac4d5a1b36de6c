import { DamagedEntryError } from "./cache/damaged-entry.ts";
import type { CacheEntry, PositionRecord, WriteCache } from "./cache/write-cache.ts";
import type { Drainer } from "./drainer.ts";
import { fault } from "./faults.ts";
import { samePosition } from "./format/position.ts";
import { ArrivedError, alsoGivenUp } from "./given-up.ts";
import { LostEndError } from "./lost-end.ts";

/**
 * Gives up the head of the cache, which is damaged, continues what the store lost, or was to make up for one that was given up
 * before and has arrived, and all that continues it: a resync makes up for them, from the database, and for what was lost. So
 * nothing damaged and no gap gets into the store, and the replica stays what it was until the resync leads on from it. Nobody
 * waits in vain: who waits for one of these transactions waits for that.
 *
 * The caller has looked whether the head is in the store already. Throws any other error. Returns why there is a resync; null
 * where nothing waits and it was marked already, or made since the caller looked.
 */
export async function giveUp(
  cache: WriteCache,
  drainer: Drainer,
  head: CacheEntry | undefined,
  error: unknown,
): Promise<string | null> {
  const lost = error instanceof LostEndError;
  const arrived = error instanceof ArrivedError;
  if (!lost && !arrived && !(error instanceof DamagedEntryError)) throw error;
  while (drainer.busy) await drainer.settled();
  const { cached, resync } = drainer.record;
  const from = head?.from ?? cache.entries()[0]?.from ?? cached;
  if (lost && !samePosition(from, error.uploaded)) return null;
  const reason =
    lost || arrived
      ? error.message
      : `the write cache is damaged: transaction ${from.txid + 1} and what is behind it`;
  if (resync === undefined) drainer.markResync(reason);
  drainer.dropBehind(lost ? from.txid - 1 : from.txid);
  if (head === undefined) return resync === undefined ? reason : null;
  const end = arrived ? error.end : undefined;
  await drainer.exclusively(() => discardEntries(cache, head, drainer.record, reason, end));
  return reason;
}

/**
 * Lets go of everything that waits for upload; the mark comes first, so that a crash in between is noticed. Our part of the
 * chain in the store then ends at `end`, before the head: what it led to must not be taken for a position of the replica, as
 * long as it does not stand there. It may have been sent, and arrive.
 */
export async function discardEntries(
  cache: WriteCache,
  head: CacheEntry,
  record: PositionRecord,
  resync: string,
  end = head.from,
): Promise<PositionRecord> {
  cache.markResync(resync);
  fault("discard:after-mark");
  await cache.dropBacklog();
  const next = {
    ...record,
    cached: end,
    givenUp: alsoGivenUp(record.givenUp, head),
    resync,
  };
  cache.savePosition(next);
  fault("discard:before-ack");
  await cache.ack(head);
  return next;
}
