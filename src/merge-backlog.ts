import type { CacheEntry, PositionRecord, WriteCache } from "./cache/write-cache.ts";
import { fault } from "./faults.ts";
import type { Codecs } from "./format/codecs.ts";
import { openObject } from "./format/decode.ts";
import { formatVersion, type ObjectHeader } from "./format/header.ts";
import type { ObjectReader } from "./format/object-reader.ts";
import type { Interruption } from "./interruption.ts";
import { mergeSegments } from "./merge.ts";
import type { Clock } from "./platform.ts";

/** Segments that one merge takes: it holds an index and a block of each. */
const MERGE_AT_ONCE = 64;

export interface BacklogContext {
  readonly cache: WriteCache;
  readonly codecs: Codecs;
  readonly clock: Clock;
  readonly record: PositionRecord;
  /** Entries up to this transaction stay as they are: a snapshot under way names the position where they end. */
  readonly keepUpTo: number;
}

/**
 * Merges the newest entries of the cache, the tail among them, since a merged segment has an id of its own and nothing
 * may continue the old one. The head stays: its upload may be under way. Hands over the record saved with the merged entry
 * in the step that saves it. Returns false when there was nothing to merge, or it was interrupted.
 */
export async function mergeBacklog(
  context: BacklogContext,
  interruption: Interruption,
  adopt: (record: PositionRecord) => void,
): Promise<boolean> {
  const { cache, codecs, clock, record, keepUpTo } = context;
  const entries = cache
    .entries()
    .slice(1)
    .filter(({ from }) => from.txid >= keepUpTo)
    .slice(-MERGE_AT_ONCE);
  if (entries.length < 2) return false;
  const segments = await Promise.all(entries.map((entry) => openEntry(cache, entry, codecs)));
  if (interruption.given) return false;
  const { from } = segments[0]!;
  const last = segments.at(-1)!.header;
  const append = interruption.watch(cache.append(entries));
  try {
    const header: ObjectHeader = {
      ...last,
      format: formatVersion,
      from,
      created: Math.max(clock.now(), last.created),
      commits: { first: segments[0]!.header.commits.first, last: last.commits.last },
    };
    const merge = mergeSegments(segments, header, codecs);
    let step = await merge.next();
    for (; !step.done; step = await merge.next()) await append.write(step.value);
    const { id, size } = step.value;
    const to = { txid: last.to.txid, id };
    const next = { ...record, cached: to };
    fault("merge:before-commit");
    // Uploads went on meanwhile; what has become the head must stay as it is.
    if (cache.entries()[0] === entries[0] || !cache.entries().includes(entries[0]!)) {
      append.abort();
      return false;
    }
    append.commit({ from: from!, to, size, time: entries[0]!.time }, next);
    adopt(next);
    return true;
  } catch (error) {
    append.abort();
    if (interruption.given) return false;
    throw error;
  }
}

export function openEntry(cache: WriteCache, entry: CacheEntry, codecs: Codecs): Promise<ObjectReader> {
  const read = (offset: number, length: number) => cache.readRange(entry, offset, length);
  return openObject({ key: `cache entry of transaction ${entry.to.txid}`, size: entry.size, read }, codecs);
}
