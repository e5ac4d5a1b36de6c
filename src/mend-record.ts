import type { PositionRecord, WriteCache } from "./cache/write-cache.ts";
import { samePosition } from "./format/position.ts";

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
