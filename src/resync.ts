import type { Database, Sqlite3Static } from "@sqlite.org/sqlite-wasm";
import type { CacheEntry, PositionRecord, WriteCache } from "./cache/write-cache.ts";
import { fault } from "./faults.ts";
import { type Codecs, zstdLevel } from "./format/codecs.ts";
import { ObjectEncoder } from "./format/encode.ts";
import { formatVersion, type ObjectHeader } from "./format/header.ts";
import { lockBytePage } from "./format/layout.ts";
import type { Position } from "./format/position.ts";
import { mayArrive } from "./given-up.ts";
import type { Clock } from "./platform.ts";
import type { ReplicaState } from "./replica-state.ts";
import { readPages } from "./snapshot.ts";
import type { Watermark } from "./vfs/capture.ts";

const TURN_MS = 5;

export interface ResyncContext {
  readonly sqlite3: Sqlite3Static;
  readonly cache: WriteCache;
  readonly codecs: Codecs;
  readonly clock: Clock;
  readonly record: PositionRecord;
}

export interface Resynced {
  /** No longer asks for a resync. */
  readonly record: PositionRecord;
  /** Pages in the segment. */
  readonly pages: number;
}

/**
 * Brings the chain, which ends at `from`, to the database as `db` reads it at the watermark `at`, by one segment: the pages
 * that differ from `replica`, the state at `from`, and all those by which the database is larger. Without a `replica`, all
 * pages. The history before stays restorable.
 *
 * A segment comes also where nothing differs, with page 1 alone: the resync counts as a transaction, and whoever waits
 * for one waits for an object that leads there.
 */
export async function resync(
  { sqlite3, cache, codecs, clock, record }: ResyncContext,
  db: Database,
  from: Position,
  at: Watermark,
  fingerprint: string | null,
  replica: ReplicaState | null,
): Promise<Resynced> {
  const encoder = new ObjectEncoder(segmentHeader(record, from, at, clock.now()), codecs, zstdLevel);
  const append = cache.append();
  try {
    await append.write(encoder.start());
    const differs = differsFrom(replica, codecs);
    const excluded = lockBytePage(at.pageSize);
    let pageOne: Uint8Array | null = null;
    let pages = 0;
    let since = clock.now();
    for (const { pgno, page } of readPages(sqlite3, db, at.pageSize)) {
      if (pgno !== excluded && differs(pgno, page)) {
        const chunk = encoder.page(pgno, page);
        pages += 1;
        if (chunk !== undefined) await append.write(chunk);
      } else if (pgno === 1) pageOne = page.slice();
      if (clock.now() - since < TURN_MS) continue;
      await clock.turn();
      since = clock.now();
    }
    if (pages === 0) encoder.page(++pages, pageOne!);
    const { chunk, id, size } = encoder.finish();
    await append.write(chunk);
    const entry = { from, to: { txid: at.txid, id }, size, time: at.time };
    const next = recordAt(record, entry, at, fingerprint, replica === null);
    fault("resync:before-commit");
    await append.commit(entry, next);
    fault("resync:after-commit");
    return { record: next, pages };
  } catch (error) {
    await append.abort();
    throw error;
  }
}

/** Above the replica's size it has no hash, and every page differs. */
function differsFrom(replica: ReplicaState | null, codecs: Codecs) {
  return (pgno: number, page: Uint8Array): boolean =>
    replica === null || codecs.hash64(page) !== replica.hashes[pgno];
}

function segmentHeader(
  { lineage, writer }: PositionRecord,
  from: Position,
  { txid, pageSize, pageCount, time }: Watermark,
  now: number,
): ObjectHeader {
  return {
    format: formatVersion,
    features: [],
    lineage,
    kind: "segment",
    pageSize,
    pageCount,
    from,
    to: { txid, id: null },
    writer,
    created: Math.max(now, time),
    commits: { first: time, last: time },
  };
}

function recordAt(
  { version, lineage, writer, givenUp }: PositionRecord,
  { from, to: cached }: CacheEntry,
  { pageCount, pageSize, time, wal }: Watermark,
  fingerprint: string | null,
  whole: boolean,
): PositionRecord {
  const late = mayArrive(givenUp, from).length > 0 && { givenUp };
  const next = { version, lineage, writer, cached, pageCount, pageSize, time, wal, fingerprint, ...late };
  // What could not be read cannot be restored either, which a crash would else leave so.
  return whole ? { ...next, snapshotOwed: cached.txid } : next;
}
