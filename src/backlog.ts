import type { CacheAppend, CacheEntry, PositionRecord, WriteCache } from "./cache/write-cache.ts";
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
  /** Entries up to this transaction stay as they are: a snapshot under way names the position where they end. */
  readonly keepUpTo: number;
}

/** A merge that somebody may need to give up, at any moment, since it holds the cache open. */
export class Interruption {
  #append: CacheAppend | null = null;
  #given = false;

  get given(): boolean {
    return this.#given;
  }

  give(): void {
    this.#given = true;
    this.#append?.abort();
  }

  watch(append: CacheAppend): CacheAppend {
    this.#append = append;
    return append;
  }
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
  cache.markResync(reason);
  fault("overflow:after-mark");
  // The upload of the head goes on meanwhile, and may end.
  const head = cache.entries()[0];
  await cache.dropBacklog();
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
