import type { CacheEntry, PositionRecord, WriteCache } from "./cache/write-cache.ts";
import { fault } from "./faults.ts";
import type { Codecs } from "./format/codecs.ts";
import { openObject } from "./format/decode.ts";
import { formatVersion } from "./format/header.ts";
import type { ObjectReader } from "./format/object-reader.ts";
import { samePosition } from "./format/position.ts";
import { mergeSegments } from "./merge.ts";
import type { Clock } from "./platform.ts";

/** Segments that one merge takes: it holds an index and a block of each. */
const MERGE_AT_ONCE = 64;
const MERGE_LEVEL = 3;

export interface BacklogContext {
  readonly cache: WriteCache;
  readonly codecs: Codecs;
  readonly clock: Clock;
  readonly record: PositionRecord;
}

/**
 * Merges the newest entries of the cache, the tail among them, since a merged segment has an id of its own and nothing
 * may continue the old one. The head stays: its upload may be under way. Returns the record saved with the merged entry,
 * or null when there was nothing to merge.
 */
export async function mergeBacklog(context: BacklogContext): Promise<PositionRecord | null> {
  const { cache, codecs, clock, record } = context;
  const entries = cache.entries().slice(1).slice(-MERGE_AT_ONCE);
  if (entries.length < 2) return null;
  const segments = await Promise.all(entries.map((entry) => openEntry(cache, entry, codecs)));
  const { from } = segments[0]!;
  const last = segments.at(-1)!.header;
  const append = cache.append(entries);
  try {
    const { id, size } = await mergeSegments(
      segments,
      {
        ...last,
        format: formatVersion,
        from,
        created: Math.max(clock.now(), last.created),
        commits: { first: segments[0]!.header.commits.first, last: last.commits.last },
      },
      codecs,
      MERGE_LEVEL,
      (chunk) => append.write(chunk),
    );
    const to = { txid: last.to.txid, id };
    const next = { ...record, cached: to };
    fault("merge:before-commit");
    // Uploads went on meanwhile; what has become the head must stay as it is.
    if (cache.entries()[0] === entries[0] || !cache.entries().includes(entries[0]!)) {
      await append.abort();
      return null;
    }
    await append.commit({ from: from!, to, size, time: entries[0]!.time }, next);
    return next;
  } catch (error) {
    await append.abort();
    throw error;
  }
}

function openEntry(cache: WriteCache, entry: CacheEntry, codecs: Codecs): Promise<ObjectReader> {
  const read = (offset: number, length: number) => cache.readRange(entry, offset, length);
  return openObject({ key: `cache entry of transaction ${entry.to.txid}`, size: entry.size, read }, codecs);
}

/**
 * Drops all entries but the head: the chain then ends there, and a resync goes on from it. The mark is durable before
 * anything goes.
 */
export async function dropBacklog(
  cache: WriteCache,
  record: PositionRecord,
  reason: string,
): Promise<PositionRecord> {
  await cache.markResync(reason);
  fault("overflow:after-mark");
  // The upload of the head goes on meanwhile, and may end.
  const head = cache.entries()[0];
  await cache.dropBacklog();
  fault("overflow:after-drop");
  const cached = (cache.entries().at(-1) ?? head)?.to ?? record.cached;
  const next = { ...record, cached, resync: reason };
  await cache.savePosition(next);
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
  await cache.savePosition(mended);
  return mended;
}
