import type { PositionRecord, WriteCache } from "./cache/write-cache.ts";
import { fault } from "./faults.ts";
import { samePosition } from "./format/position.ts";

/**
 * Drops all entries but the head: the chain then ends there, and a resync goes on from it. The mark is durable before
 * anything goes. What fails of the drop is for `onFailed`: the record names the end of what is left all the same.
 */
export async function dropBacklog(
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

/**
 * The record as it is to be after a crash in the middle of `dropBacklog`, which leaves it at the end of what was dropped:
 * the chain ends with what is left. Before anything of that is uploaded, since it then could not be told any more.
 */
export async function mendRecord(
  cache: WriteCache,
  record: PositionRecord | null,
): Promise<PositionRecord | null> {
  const end = cache.entries().at(-1)?.to;
  if (record?.resync === undefined || end === undefined || samePosition(end, record.cached)) return record;
  const mended = { ...record, cached: end };
  cache.savePosition(mended);
  return mended;
}
