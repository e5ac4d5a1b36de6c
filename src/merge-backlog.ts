import { DamagedEntryError } from "./cache/damaged-entry.ts";
import type { CacheAppend, CacheEntry, PositionRecord, WriteCache } from "./cache/write-cache.ts";
import { CorruptObjectError, UnsupportedFormatError } from "./errors.ts";
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
 * in the step that saves it. Returns whether fewer wait, by this or by uploads that went on meanwhile and overtook it; false
 * when there was nothing to merge, or it was interrupted. Throws CacheError, DamagedEntryError where one of them is damaged.
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
  const [first] = entries;
  if (first === undefined || entries.length < 2) return false;
  // What has become the head must stay as it is, and what has left cannot be read.
  const overtaken = () => cache.entries().indexOf(first) < 1;
  let append: CacheAppend | null = null;
  try {
    const segments = await Promise.all(entries.map((entry) => openEntry(cache, entry, codecs)));
    if (interruption.given) return false;
    if (overtaken()) return true;
    const { from } = segments[0]!;
    const last = segments.at(-1)!.header;
    append = interruption.watch(cache.append(entries));
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
    if (overtaken()) {
      append.abort();
      return !interruption.given;
    }
    append.commit({ from: from!, to, size, time: first.time }, next);
    adopt(next);
    return true;
  } catch (error) {
    append?.abort();
    if (interruption.given) return false;
    if (overtaken()) return true;
    throw asEntryDamage(error);
  }
}

/**
 * What is wrong with an entry that was opened as an object. Also an unknown format is damage there: a release that writes
 * another one has to give the records of its caches another version, which is refused before any entry is looked at. In a
 * replica it is not, see `openObject`.
 */
export function asEntryDamage(error: unknown): unknown {
  if (!(error instanceof CorruptObjectError || error instanceof UnsupportedFormatError)) return error;
  return new DamagedEntryError(error.key, error.message, { cause: error });
}

export function openEntry(cache: WriteCache, entry: CacheEntry, codecs: Codecs): Promise<ObjectReader> {
  const read = (offset: number, length: number) => cache.readRange(entry, offset, length);
  return openObject({ key: `cache entry of transaction ${entry.to.txid}`, size: entry.size, read }, codecs);
}
